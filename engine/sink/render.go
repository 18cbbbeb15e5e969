package sink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"vouchsafe/engine/audit"
	"vouchsafe/engine/export"
)

// Source is what of the log a sink sends, and how.
type Source struct {
	// next reads what comes behind the first records of a site, and says behind
	// how many what comes next is, and how many records between were missed,
	// because the log has dropped them by their age.
	next func(log Log, site string, from uint64) (batch []Record, next, missed uint64, err error)
}

// render makes a record of an item; ok is false for one that is not sent.
type render func(log Log, it audit.Item) (r Record, ok bool, err error)

var errFull = errors.New("the batch is full")

// source sends what render makes of each item.
func (render render) source() Source {
	return Source{next: func(log Log, site string, from uint64) (batch []Record, next, missed uint64, err error) {
		size, read := 0, uint64(0)
		next, err = log.Scan(site, from, func(it audit.Item) error {
			if len(batch) >= batchRecords || size >= batchBytes {
				return errFull
			}
			r, ok, err := render(log, it)
			if err != nil {
				return err
			}
			if ok {
				batch = append(batch, r)
				size += len(r.Body)
			}
			read++
			return nil
		})
		if errors.Is(err, errFull) {
			err = nil
		}
		return batch, next, next - from - read, err
	}}
}

// Checkpoints sends the signed states of the sites' logs and nothing of what is
// in them: as they were signed when plain, for a file that `vouchsafe audit verify
// --checkpoint` reads, else in JSON.
func Checkpoints(plain bool) Source {
	return Source{next: func(log Log, site string, from uint64) (batch []Record, next, _ uint64, err error) {
		next = from
		err = log.Notes(site, from, func(size uint64, note string) error {
			if len(batch) >= batchRecords {
				return errFull
			}
			r := Record{ID: fmt.Sprintf("%s/checkpoint/%d", site, size), Kind: "checkpoint"}
			if plain {
				r.Body = bytes.TrimRight([]byte(note), "\n")
			} else if r.Body, err = encode(signed{r.ID, site, r.Kind, size, note}); err != nil {
				return err
			}
			batch, next = append(batch, r), size
			return nil
		})
		if errors.Is(err, errFull) {
			err = nil
		}
		return batch, next, 0, err
	}}
}

// signed is a checkpoint as it is sent.
type signed struct {
	ID         string `json:"id"`
	Site       string `json:"site"`
	Kind       string `json:"kind"`
	Size       uint64 `json:"size"` // of the log, in records
	Checkpoint string `json:"checkpoint"`
}

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
func Records(personal bool) Source {
	return render(func(_ Log, it audit.Item) (Record, bool, error) {
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
	}).source()
}

// Documents renders each decision as one document of a format, once it is
// complete: a denial at once, what was permitted with its outcome.
func Documents(f export.Format, o export.Options) Source {
	return render(func(log Log, it audit.Item) (Record, bool, error) {
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
	}).source()
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
