// Package audit is the decision log: what was asked, by whom, what the policy
// said, and what was then done.
//
// Decision returns only when the record is on disk, so that whoever acts after
// it has proof that the act was decided. It promises nothing to whoever can
// write the file behind the server's back.
package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/store"
)

// FileKind is what the log's file calls itself.
const FileKind = "audit"

var (
	sitesBucket     = []byte("sites")
	decisionsBucket = []byte("decisions")
	outcomesBucket  = []byte("outcomes")
)

// ErrNotFound means that the log holds no such decision.
var ErrNotFound = errors.New("no such decision")

// Log is the decision log.
type Log struct {
	db   *store.DB
	bufs sync.Pool
}

// Open opens the log at path.
func Open(path string, o store.Options) (*Log, error) {
	db, err := store.Open(path, FileKind, o)
	if err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	return &Log{db: db, bufs: sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}}, nil
}

// Close finishes the writes that wait and closes the file.
func (l *Log) Close() error { return l.db.Close() }

// Health returns nil when decisions can be recorded, else why not.
func (l *Log) Health() error { return l.db.Health() }

// Waiting returns how many records wait for the disk.
func (l *Log) Waiting() int { return l.db.Waiting() }

// Decision records d and returns once it is on disk. The caller's context may
// end before; the record is written all the same.
func (l *Log) Decision(ctx context.Context, d *Decision) error {
	buf := l.bufs.Get().(*[]byte)
	*buf = d.AppendJSON((*buf)[:0])
	// bbolt reads key and value until the transaction ends, which it has when
	// put returns.
	err := l.put(ctx, d.Site, decisionsBucket, d.ID, *buf)
	l.bufs.Put(buf)
	return err
}

// Outcome records what became of a decision that was allowed.
func (l *Log) Outcome(ctx context.Context, site string, o Outcome) error {
	o.Version = recordVersion
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encoding an outcome: %w", err)
	}
	return l.put(ctx, site, outcomesBucket, o.Decision, b)
}

func (l *Log) put(ctx context.Context, site string, bucket []byte, key string, value []byte) error {
	return l.db.Commit(context.WithoutCancel(ctx), func(tx *bbolt.Tx) error {
		b, err := siteBucket(tx, site, bucket)
		if err != nil {
			return err
		}
		// Ids rise with time, so nearly every record goes to the end.
		b.FillPercent = 0.9
		return b.Put([]byte(key), value)
	})
}

func siteBucket(tx *bbolt.Tx, site string, bucket []byte) (*bbolt.Bucket, error) {
	sites := tx.Bucket(sitesBucket)
	if sites == nil {
		var err error
		if sites, err = tx.CreateBucket(sitesBucket); err != nil {
			return nil, err
		}
	}
	s := sites.Bucket([]byte(site))
	if s == nil {
		var err error
		if s, err = sites.CreateBucket([]byte(site)); err != nil {
			return nil, err
		}
	}
	if b := s.Bucket(bucket); b != nil {
		return b, nil
	}
	return s.CreateBucket(bucket)
}

// Query selects decisions. Zero fields select all.
type Query struct {
	Site, Subject, Action, Code, Conversation string
	Allow                                     *bool
	Since, Until                              time.Time
	// Before is the id of a decision: only older ones are listed.
	Before string
	Limit  int // 50 when 0
}

// MaxLimit is the most entries List returns at once.
const MaxLimit = 1000

// List returns the newest decisions that match, newest first.
func (l *Log) List(q Query) ([]Entry, error) {
	if q.Limit <= 0 {
		q.Limit = 50
	}
	q.Limit = min(q.Limit, MaxLimit)
	var out []Entry
	err := l.db.View(func(tx *bbolt.Tx) error {
		sites := tx.Bucket(sitesBucket)
		if sites == nil {
			return nil
		}
		return sites.ForEachBucket(func(site []byte) error {
			if q.Site != "" && q.Site != string(site) {
				return nil
			}
			found, err := listSite(sites.Bucket(site), string(site), q)
			out = append(out, found...)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(b.Decision.ID, a.Decision.ID) })
	return out[:min(len(out), q.Limit)], nil
}

func listSite(s *bbolt.Bucket, site string, q Query) ([]Entry, error) {
	decisions, outcomes := s.Bucket(decisionsBucket), s.Bucket(outcomesBucket)
	if decisions == nil {
		return nil, nil
	}
	var out []Entry
	c := decisions.Cursor()
	k, v := c.Last()
	if q.Before != "" {
		// Seek goes to the first key at or after Before; the one before it is
		// the newest that is older.
		if at, _ := c.Seek([]byte(q.Before)); at != nil {
			k, v = c.Prev()
		}
	}
	for ; k != nil && len(out) < q.Limit; k, v = c.Prev() {
		e, err := decode(site, k, v, outcomes)
		if err != nil {
			return nil, err
		}
		if !q.Since.IsZero() && e.Decision.Time.Before(q.Since) {
			break
		}
		if q.matches(&e) {
			out = append(out, e)
		}
	}
	return out, nil
}

func (q *Query) matches(e *Entry) bool {
	switch {
	case !q.Until.IsZero() && !e.Decision.Time.Before(q.Until),
		q.Subject != "" && q.Subject != e.About.Identity.Subject,
		q.Action != "" && q.Action != e.About.Action.Name,
		q.Conversation != "" && q.Conversation != e.About.Conversation.ID,
		q.Allow != nil && *q.Allow != e.Decision.Allow:
		return false
	}
	if q.Code == "" {
		return true
	}
	return slices.Contains(e.Decision.Reasons, q.Code) ||
		e.Outcome != nil && (e.Outcome.Code == q.Code || slices.Contains(e.Outcome.Withheld, q.Code))
}

// Show returns one decision with its outcome.
func (l *Log) Show(id string) (Entry, error) {
	var out Entry
	err := l.db.View(func(tx *bbolt.Tx) error {
		sites := tx.Bucket(sitesBucket)
		if sites == nil {
			return ErrNotFound
		}
		found := false
		err := sites.ForEachBucket(func(site []byte) error {
			s := sites.Bucket(site)
			decisions := s.Bucket(decisionsBucket)
			if decisions == nil {
				return nil
			}
			v := decisions.Get([]byte(id))
			if v == nil {
				return nil
			}
			found = true
			var err error
			out, err = decode(string(site), []byte(id), v, s.Bucket(outcomesBucket))
			return err
		})
		if err == nil && !found {
			err = ErrNotFound
		}
		return err
	})
	return out, err
}

// decode copies a stored decision and its outcome out of the transaction.
func decode(site string, key, value []byte, outcomes *bbolt.Bucket) (Entry, error) {
	e := Entry{Site: site}
	if err := json.Unmarshal(bytes.Clone(value), &e.Decision); err != nil {
		return e, fmt.Errorf("reading decision %s: %w", key, err)
	}
	if e.Decision.Version != recordVersion {
		return e, fmt.Errorf("reading decision %s: version %d is not known", key, e.Decision.Version)
	}
	if len(e.Decision.Input) > 0 {
		if err := json.Unmarshal(e.Decision.Input, &e.About); err != nil {
			return e, fmt.Errorf("reading the input of decision %s: %w", key, err)
		}
	}
	if outcomes == nil {
		return e, nil
	}
	if v := outcomes.Get(key); v != nil {
		e.Outcome = new(Outcome)
		if err := json.Unmarshal(v, e.Outcome); err != nil {
			return e, fmt.Errorf("reading the outcome of decision %s: %w", key, err)
		}
	}
	return e, nil
}
