// Package output prints what a command found, as text for people or as JSON
// for programs, and says how a command ends.
package output

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Format is how results are printed. The zero Format is Pretty.
type Format uint8

// The formats.
const (
	Pretty Format = iota // aligned text
	JSON                 // one object, or one object a line
)

// ParseFormat reads the value of --format.
func ParseFormat(s string) (Format, error) {
	switch s {
	case "pretty":
		return Pretty, nil
	case "json":
		return JSON, nil
	}
	return Pretty, fmt.Errorf("unknown format %q: want pretty or json", s)
}

// Printer writes results to one stream and errors to another. What it writes
// for people can hold words that a visitor typed, so control characters are
// written out and never reach the terminal.
type Printer struct {
	out, err io.Writer
	format   Format
}

// New returns a Printer.
func New(out, err io.Writer, format Format) *Printer {
	return &Printer{out: out, err: err, format: format}
}

// Format returns the format that results are printed in.
func (p *Printer) Format() Format { return p.format }

// Line prints a line of prose, for people only: nothing in JSON.
func (p *Printer) Line(format string, args ...any) error {
	if p.format == JSON {
		return nil
	}
	_, err := fmt.Fprintln(p.out, visible(fmt.Sprintf(format, args...), true))
	return err
}

// Field is one line of a single result, for people.
type Field struct{ Name, Value string }

// Object prints a single result: v as one JSON object, or the fields.
func (p *Printer) Object(v any, fields ...Field) error {
	if p.format == JSON {
		return p.json(v)
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		fmt.Fprintf(w, "%s\t%s\n", visible(f.Name, false), visible(f.Value, false))
	}
	return w.Flush()
}

func (p *Printer) json(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("printing JSON: %w", err)
	}
	return nil
}

// Table is a list of results. JSON Lines are written as rows come; aligned
// text when the table is flushed.
type Table struct {
	p *Printer
	w *tabwriter.Writer
	// header is printed before the first row, so that an empty list prints
	// nothing.
	header []string
	rows   int
}

// Table begins a list whose text has the named columns.
func (p *Printer) Table(header ...string) *Table {
	return &Table{p: p, w: tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0), header: header}
}

// Row adds a result: v for JSON, the cells for people, one for each column.
func (t *Table) Row(v any, cells ...string) error {
	t.rows++
	if t.p.format == JSON {
		return t.p.json(v)
	}
	if t.rows == 1 && len(t.header) > 0 {
		if err := t.line(t.header); err != nil {
			return err
		}
	}
	return t.line(cells)
}

func (t *Table) line(cells []string) error {
	shown := make([]string, len(cells))
	for i, c := range cells {
		if shown[i] = visible(c, false); shown[i] == "" {
			shown[i] = "-"
		}
	}
	_, err := fmt.Fprintln(t.w, strings.Join(shown, "\t"))
	return err
}

// Rows returns how many rows were added.
func (t *Table) Rows() int { return t.rows }

// Flush writes what is still held back.
func (t *Table) Flush() error { return t.w.Flush() }

// Error prints an error and its hint to the error stream, in either format.
// An Exit without an error of its own prints nothing: the result already said
// all there is.
func (p *Printer) Error(err error) {
	if err == nil {
		return
	}
	if e, ok := errors.AsType[*Exit](err); ok && e.Err == nil {
		return
	}
	fmt.Fprintf(p.err, "vouchsafe: %s\n", visible(err.Error(), true))
	if h, ok := errors.AsType[*hinted](err); ok {
		fmt.Fprintf(p.err, "  %s\n", visible(h.hint, false))
	}
}

// visible writes out whatever would move the cursor, change the direction of
// the text or hide. Newlines stay where lines is set; what follows one is
// indented.
func visible(s string, lines bool) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' && lines:
			b.WriteString("\n  ")
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}
