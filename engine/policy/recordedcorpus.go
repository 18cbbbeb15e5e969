package policy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
)

// corpusVersion stands in the first line of every corpus.
const corpusVersion = 1

// CorpusHeader is the first line of a corpus.
type CorpusHeader struct {
	Corpus   int       `json:"corpus"` // the version of the format
	Policy   string    `json:"policy"` // under which its decisions were checked
	Exported time.Time `json:"exported"`
}

// CorpusReport is what became of the decisions given to a CorpusWriter.
type CorpusReport struct {
	Policy  string `json:"policy"`
	Written int    `json:"written"`
	// OtherPolicy counts those of the written that another revision had
	// decided: the policy in force answers both their inputs alike.
	OtherPolicy int `json:"other_policy"`
	// LeftOut counts the others by why; would_change are those that would be
	// decided otherwise with stand-ins.
	LeftOut map[string]int `json:"left_out"`
}

// CorpusWriter writes recorded decisions with stand-ins for the people in
// them, as JSON Lines. One writer gives everybody one stand-in; no two writers
// give the same.
type CorpusWriter struct {
	w      *bufio.Writer
	active *Set
	people *standIns
	report CorpusReport
}

// NewCorpusWriter begins a corpus with its header. Decisions are checked under
// active.
func NewCorpusWriter(w io.Writer, active *Set, now time.Time) (*CorpusWriter, error) {
	c := &CorpusWriter{w: bufio.NewWriter(w), active: active, people: newStandIns(active),
		report: CorpusReport{Policy: active.Revision(), LeftOut: map[string]int{}}}
	return c, c.line(CorpusHeader{Corpus: corpusVersion, Policy: active.Revision(), Exported: now.UTC().Truncate(time.Second)})
}

// Add writes a decision, or counts why not.
func (c *CorpusWriter) Add(ctx context.Context, rec Recorded) error {
	before, why := rec.said()
	if why != "" {
		c.report.LeftOut[why]++
		return nil
	}
	input, err := c.people.replace(rec.Input)
	if err != nil {
		c.report.LeftOut["unreadable_input"]++
		return nil
	}
	if rec.Policy != c.active.Revision() {
		before = saidOf(c.active.DecideRecorded(ctx, rec.Input))
	}
	check := answered{before: before, after: saidOf(c.active.DecideRecorded(ctx, input))}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("exporting decisions: %w", err)
	}
	if check.flip() != "" {
		c.report.LeftOut["would_change"]++
		return nil
	}
	if rec.Policy != c.active.Revision() {
		c.report.OtherPolicy++
	}
	c.report.Written++
	rec.Input = input
	return c.line(rec)
}

func (c *CorpusWriter) line(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = c.w.Write(append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing the corpus: %w", err)
	}
	return nil
}

// Close writes what is still held back and says what became of everything.
func (c *CorpusWriter) Close() (CorpusReport, error) {
	if err := c.w.Flush(); err != nil {
		return c.report, fmt.Errorf("writing the corpus: %w", err)
	}
	return c.report, nil
}

// CorpusReader reads a corpus, line by line, each held to the schema of input.
type CorpusReader struct {
	Header CorpusHeader
	lines  *bufio.Scanner
	schema *InputSchema
	line   int
}

// maxCorpusLine is several times the longest decision a gate records.
const maxCorpusLine = 1 << 20

// ReadCorpus reads a corpus' header.
func ReadCorpus(r io.Reader, schema *InputSchema) (*CorpusReader, error) {
	c := &CorpusReader{lines: bufio.NewScanner(r), schema: schema}
	c.lines.Buffer(make([]byte, 0, 64<<10), maxCorpusLine)
	if err := c.read(&c.Header); errors.Is(err, io.EOF) {
		return nil, errors.New("the corpus is empty: its first line says of which version it is")
	} else if err != nil {
		return nil, err
	}
	if c.Header.Corpus != corpusVersion {
		return nil, fmt.Errorf("the corpus is of version %d, and only %d is known", c.Header.Corpus, corpusVersion)
	}
	return c, nil
}

func (c *CorpusReader) read(v any) error {
	if !c.lines.Scan() {
		if err := c.lines.Err(); err != nil {
			return fmt.Errorf("line %d of the corpus: %w", c.line+1, err)
		}
		return io.EOF
	}
	c.line++
	if err := json.Unmarshal(c.lines.Bytes(), v, json.RejectUnknownMembers(true)); err != nil {
		// The cause may quote what stands there.
		return fmt.Errorf("line %d of the corpus is not what is expected there", c.line)
	}
	return nil
}

// Next returns the next decision, io.EOF after the last.
func (c *CorpusReader) Next() (Recorded, error) {
	var rec Recorded
	if err := c.read(&rec); err != nil {
		return rec, err
	}
	if rec.ID == "" || len(rec.Input) == 0 {
		return rec, fmt.Errorf("line %d of the corpus has no id or no input", c.line)
	}
	if err := c.schema.Validate(rec.Input); err != nil {
		return rec, fmt.Errorf("line %d of the corpus: %w", c.line, err)
	}
	return rec, nil
}
