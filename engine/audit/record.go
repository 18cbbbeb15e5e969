package audit

import (
	"encoding/json"
	"strconv"
	"time"

	"vouchsafe/engine"
)

// recordVersion is written into every record; a reader refuses one it does not
// know.
const recordVersion = 1

// Question is the exact input the policy was asked about, as JSON.
type Question interface {
	AppendJSON(b []byte) []byte
}

// Decision is one decision, to be recorded.
type Decision struct {
	engine.Decision
	Site string
	// Cause is why a token did not verify, for auditors and integrators.
	Cause string
	// Problem says more: which claim was at fault, what was wrong with
	// arguments, or why the policy could not be asked. It quotes no value.
	Problem string
	// Parent is the decision this one serves, when it resolves a record for it,
	// or the one whose confirmation it carries out.
	Parent string
	// Asked says that nothing was to follow from the decision: it was only asked
	// for. An allowed decision that was not only asked for has an outcome.
	Asked bool
	// Input is what the policy was asked, and holds whom it was about.
	Input Question
}

// AppendJSON encodes the record once, in its stored form.
func (d *Decision) AppendJSON(b []byte) []byte {
	b = append(b, `{"v":1,"id":"`...)
	b = append(b, d.ID...)
	b = append(b, `","time":"`...)
	b = d.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","allow":`...)
	b = strconv.AppendBool(b, d.Allow)
	if len(d.Reasons) > 0 {
		b = append(b, `,"reasons":[`...)
		for i, r := range d.Reasons {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, r.Code)
		}
		b = append(b, ']')
	}
	if len(d.Obligations) > 0 {
		b = append(b, `,"obligations":[`...)
		for i, o := range d.Obligations {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, o.String())
		}
		b = append(b, ']')
	}
	b = append(b, `,"policy":`...)
	b = appendString(b, d.Policy)
	for _, f := range [...]struct{ name, value string }{
		{`,"cause":`, d.Cause}, {`,"problem":`, d.Problem}, {`,"parent":`, d.Parent},
	} {
		if f.value != "" {
			b = append(b, f.name...)
			b = appendString(b, f.value)
		}
	}
	if d.Asked {
		b = append(b, `,"asked":true`...)
	}
	if d.Input != nil {
		b = append(b, `,"input":`...)
		b = d.Input.AppendJSON(b)
	}
	return append(b, '}')
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			q, _ := json.Marshal(s) // a string always encodes
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// Outcome is what became of a permitted call.
type Outcome struct {
	Version   int       `json:"v"`
	Decision  string    `json:"decision"`
	Time      time.Time `json:"time"`
	Connector string    `json:"connector,omitempty"`
	Status    int       `json:"status,omitempty"` // of the upstream
	Returned  int       `json:"returned"`         // records the connector brought back
	Released  int       `json:"released"`         // records that reached the visitor
	Withheld  []string  `json:"withheld,omitempty"`
	Redacted  []string  `json:"redacted,omitempty"`
	// Code is "" when the call did what it was for.
	Code string `json:"code,omitempty"`
	// Problem is why, for operators. It quotes nothing of the customer's.
	Problem        string `json:"problem,omitempty"`
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	Milliseconds   int64  `json:"milliseconds"`
}

// Record is a decision as it was stored.
type Record struct {
	Version     int             `json:"v"`
	ID          string          `json:"id"`
	Time        time.Time       `json:"time"`
	Allow       bool            `json:"allow"`
	Reasons     []string        `json:"reasons,omitempty"`
	Obligations []string        `json:"obligations,omitempty"`
	Policy      string          `json:"policy"`
	Cause       string          `json:"cause,omitempty"`
	Problem     string          `json:"problem,omitempty"`
	Parent      string          `json:"parent,omitempty"`
	Asked       bool            `json:"asked,omitempty"`
	Input       json.RawMessage `json:"input,omitempty"`
}

// Subject is the part of a Record's input that listings filter by and show.
type Subject struct {
	Site     struct{ ID string } `json:"site"`
	Identity struct {
		State   string `json:"state"`
		Subject string `json:"subject"`
		Email   string `json:"email"`
		TokenID string `json:"token_id"`
	} `json:"identity"`
	Action struct {
		Name string `json:"name"`
	} `json:"action"`
	Target struct {
		Email string `json:"email"`
	} `json:"target"`
	Asserted struct {
		Emails []string `json:"emails"`
		Names  []string `json:"names"`
	} `json:"asserted"`
	Conversation struct {
		ID string `json:"id"`
	} `json:"conversation"`
	Channel string `json:"channel"`
}

// Entry is a decision with its outcome, if it has one yet.
type Entry struct {
	Site     string   `json:"site"`
	Decision Record   `json:"decision"`
	Outcome  *Outcome `json:"outcome,omitempty"`
	About    Subject  `json:"-"`
}

// Code returns the entry's one code: the first reason of a denial, else the
// outcome's, else "".
func (e *Entry) Code() string {
	if len(e.Decision.Reasons) > 0 {
		return e.Decision.Reasons[0]
	}
	if e.Outcome != nil {
		return e.Outcome.Code
	}
	return ""
}
