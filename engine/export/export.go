// Package export writes decisions in the formats that other systems read: JSON
// Lines, CSV, decision-log events of OPA, and OCSF.
package export

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"vouchsafe/engine/audit"
)

// Format is one of the formats.
type Format string

// The formats.
const (
	JSONLines Format = "jsonl" // one decision with its outcome on a line, as stored
	CSV       Format = "csv"   // RFC 4180, with a header
	OPA       Format = "opa"   // one decision-log event of OPA on a line
	OCSF      Format = "ocsf"  // one API Activity event (6003) of OCSF 1.4.0 on a line
)

// Formats are all formats.
var Formats = []Format{JSONLines, CSV, OPA, OCSF}

// Options vary what is written.
type Options struct {
	// Personal keeps what is about a person: subject, addresses, names,
	// arguments, token and conversation ids. Without it they are left out.
	Personal bool
	Version  string // of the program that exports
}

// Writer writes decisions one after the other and keeps none of them.
type Writer struct {
	format Format
	o      Options
	buf    *bufio.Writer
	csv    *csv.Writer
}

// NewWriter writes to w. Close writes what is left.
func NewWriter(w io.Writer, f Format, o Options) (*Writer, error) {
	if !slices.Contains(Formats, f) {
		return nil, fmt.Errorf("the format %q is not known: jsonl, csv, opa or ocsf", f)
	}
	out := &Writer{format: f, o: o, buf: bufio.NewWriterSize(w, 64<<10)}
	if f == CSV {
		out.csv = csv.NewWriter(out.buf)
		if err := out.csv.Write(columns); err != nil {
			return nil, fmt.Errorf("writing the header: %w", err)
		}
	}
	return out, nil
}

// Write writes one decision.
func (w *Writer) Write(e *audit.Entry) error {
	if w.format == CSV {
		return w.csv.Write(row(e, w.o.Personal))
	}
	b, err := Append(nil, w.format, e, w.o)
	if err != nil {
		return err
	}
	_, err = w.buf.Write(append(b, '\n'))
	return err
}

// Close writes what is left. It does not close what it writes to.
func (w *Writer) Close() error {
	if w.csv != nil {
		w.csv.Flush()
		if err := w.csv.Error(); err != nil {
			return err
		}
	}
	return w.buf.Flush()
}

// Append adds one decision as one JSON document, in any format but CSV.
func Append(b []byte, f Format, e *audit.Entry, o Options) ([]byte, error) {
	var v any
	switch f {
	case JSONLines:
		entry := *e
		if !o.Personal {
			entry = masked(e)
		}
		v = entry
	case OPA:
		v = opaEvent(e, o)
	case OCSF:
		v = ocsfEvent(e, o)
	default:
		return b, fmt.Errorf("the format %q has no documents", f)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return b, fmt.Errorf("encoding decision %s: %w", e.Decision.ID, err)
	}
	return append(b, bytes.TrimRight(out.Bytes(), "\n")...), nil
}

// personless is what of an input is about nobody.
type personless struct {
	Site struct {
		ID   string `json:"id,omitempty"`
		Tier string `json:"tier,omitempty"`
	} `json:"site"`
	Identity struct {
		State string `json:"state"`
	} `json:"identity"`
	Action struct {
		Name     string `json:"name"`
		Personal bool   `json:"personal"`
		Risk     string `json:"risk,omitempty"`
		MinTier  string `json:"min_tier,omitempty"`
	} `json:"action"`
	Confirmation struct {
		Confirmed bool `json:"confirmed"`
	} `json:"confirmation"`
	Channel string `json:"channel,omitempty"`
	Now     int64  `json:"now,omitempty"`
}

// stripped is a decision's input without whom it is about. One that cannot be read
// is left out whole, and so is the name of an action that the visitor made up.
func stripped(d *audit.Record) json.RawMessage {
	var p personless
	if len(d.Input) == 0 || json.Unmarshal(d.Input, &p) != nil {
		return nil
	}
	p.Action.Name = d.Action
	b, err := json.Marshal(p)
	if err != nil {
		return nil
	}
	return b
}

// masked is an entry without whom it is about.
func masked(e *audit.Entry) audit.Entry {
	out := *e
	out.Decision = *MaskedDecision(&e.Decision)
	if e.Outcome != nil {
		out.Outcome = MaskedOutcome(e.Outcome)
	}
	return out
}

// MaskedDecision is a decision without whom it is about. What is stored for
// operators to read may describe a person, and goes too.
func MaskedDecision(d *audit.Record) *audit.Record {
	out := *d
	out.Input, out.Problem = stripped(d), ""
	return &out
}

// MaskedOutcome is an outcome in the same way.
func MaskedOutcome(o *audit.Outcome) *audit.Outcome {
	out := *o
	out.Problem, out.IdempotencyKey = "", ""
	return &out
}

// columns are those of CSV, in order.
var columns = []string{"time", "site", "decision", "parent", "channel", "action", "allow", "reasons", "obligations", "policy", "rules",
	"identity", "cause", "subject", "email", "token_id", "conversation", "target", "asserted",
	"outcome", "outcome_time", "connector", "status", "returned", "released", "withheld", "redacted", "milliseconds"}

func row(e *audit.Entry, personal bool) []string {
	d, a := &e.Decision, &e.About
	action := a.Action.Name
	if !personal {
		action = d.Action // one that the visitor made up has no name there
	}
	r := []string{d.Time.UTC().Format(time.RFC3339Nano), e.Site, d.ID, d.Parent, a.Channel, action,
		strconv.FormatBool(d.Allow), strings.Join(d.Reasons, " "), strings.Join(d.Obligations, " "), d.Policy,
		strings.Join(d.Rules, " "), a.Identity.State, d.Cause}
	if personal {
		r = append(r, a.Identity.Subject, a.Identity.Email, a.Identity.TokenID, a.Conversation.ID, a.Target.Email,
			strings.Join(append(slices.Clone(a.Asserted.Emails), a.Asserted.Names...), " "))
	} else {
		r = append(r, "", "", "", "", "", "")
	}
	if o := e.Outcome; o != nil {
		r = append(r, outcome(e), o.Time.UTC().Format(time.RFC3339Nano), o.Connector, strconv.Itoa(o.Status), strconv.Itoa(o.Returned),
			strconv.Itoa(o.Released), strings.Join(o.Withheld, " "), strings.Join(o.Redacted, " "), strconv.FormatInt(o.Milliseconds, 10))
	} else {
		r = append(r, outcome(e), "", "", "", "", "", "", "", "")
	}
	for i, cell := range r {
		r[i] = inert(cell)
	}
	return r
}

// inert keeps a spreadsheet from taking a cell for a formula: a visitor may have
// made it up.
func inert(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

// outcome is what became of a decision, in a word.
func outcome(e *audit.Entry) string {
	switch {
	case !e.Decision.Allow:
		return ""
	case e.Decision.Asked:
		return "asked"
	case e.Outcome == nil:
		return "open"
	case e.Outcome.Code != "":
		return e.Outcome.Code
	}
	return "done"
}
