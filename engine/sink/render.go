package sink

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"vouchsafe/engine/audit"
	"vouchsafe/engine/export"
)

// Render makes a record of an item; ok is false for one that is not sent.
type Render func(log Log, it audit.Item) (r Record, ok bool, err error)

// event is a record as it is sent, whole.
type event struct {
	ID      string    `json:"id"`
	Site    string    `json:"site"`
	Number  uint64    `json:"number"` // rises by one from record to record of a site
	Written time.Time `json:"written"`
	Kind    string    `json:"kind"`
	Record  any       `json:"record"`
}

// Records renders every record as it was written: decisions, outcomes and acts.
// Without the personal part, whom they are about is left out.
func Records(personal bool) Render {
	return func(_ Log, it audit.Item) (Record, bool, error) {
		r := start(it)
		e := event{ID: r.ID, Site: it.Site, Number: it.Seq, Written: r.Time, Kind: r.Kind}
		switch {
		case it.Decision != nil:
			d := it.Decision
			if !personal {
				d = export.MaskedDecision(d)
			}
			e.Record = d
		case it.Outcome != nil:
			o := it.Outcome
			if !personal {
				o = export.MaskedOutcome(o)
			}
			e.Record = o
		case it.Act != nil:
			a := *it.Act
			if !personal {
				a.Subject, a.TokenID = "", ""
			}
			e.Record = a
		default:
			return r, false, nil
		}
		var err error
		r.Body, err = encode(e)
		return r, err == nil, err
	}
}

// Documents renders each decision as one document of a format, once it is
// complete: a denial at once, what was permitted with its outcome.
func Documents(f export.Format, o export.Options) Render {
	return func(log Log, it audit.Item) (Record, bool, error) {
		r := start(it)
		var e audit.Entry
		switch {
		case it.Decision != nil && (!it.Decision.Allow || it.Decision.Asked):
			e = audit.Entry{Site: it.Site, Decision: *it.Decision}
			// What cannot be read is about nobody; it must not keep the rest back.
			_ = e.ReadAbout()
		case it.Outcome != nil:
			var err error
			if e, err = log.Show(it.Outcome.Decision); errors.Is(err, audit.ErrNotFound) {
				return r, false, nil // its decision is not kept any more
			} else if err != nil {
				return r, false, err
			}
		default:
			return r, false, nil
		}
		var err error
		r.Body, err = export.Append(nil, f, &e, o)
		return r, err == nil, err
	}
}

func start(it audit.Item) Record {
	r := Record{ID: it.Site + "/" + strconv.FormatUint(it.Seq, 10), Time: time.Unix(0, it.Written).UTC()}
	switch {
	case it.Decision != nil:
		r.Kind, r.Deny = "decision", !it.Decision.Allow
	case it.Outcome != nil:
		r.Kind = "outcome"
	case it.Act != nil:
		r.Kind = "act"
	}
	return r
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
