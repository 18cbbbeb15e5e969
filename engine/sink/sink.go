// Package sink sends what the decision log holds elsewhere: to a file, a webhook
// or a syslog, each at its own pace.
//
// A sink reads the log behind the gate's back, from where it last knew that its
// target had everything. That place is on disk, so that a target which is slow,
// or away for days, costs no request anything and misses nothing that the log
// still keeps. A record may arrive more than once, after a crash or an answer
// that was lost; its id is always the same.
package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/audit"
	"vouchsafe/engine/store"
)

// Log is the decision log.
type Log interface {
	Sites() []string
	Range(site string) (from, end uint64)
	Scan(site string, from uint64, fn func(audit.Item) error) (next uint64, err error)
	Show(id string) (audit.Entry, error)
	Notes(site string, size uint64, fn func(size uint64, note string) error) error
	Changed() <-chan struct{}
}

// Target takes records. It returns nil once it has them all; after an error it
// is given them again.
type Target interface {
	Send(ctx context.Context, batch []Record) error
	Close() error
}

// Record is one record on its way.
type Record struct {
	ID   string // unique, and the same however often it is sent: SITE/NUMBER, or SITE/checkpoint/SIZE
	Kind string // decision, outcome, act or checkpoint
	Time time.Time
	Deny bool   // a decision that denies
	Body []byte // one JSON document, or a checkpoint as it was signed; without the last line's end
}

// Options describe a sink.
type Options struct {
	Name   string
	Kind   string   // of its target, for the status
	Sites  []string // whose records; every site's and the gate's own when empty
	Source Source
	Log    Log
	State  *store.DB
	Clock  func() time.Time
	Logger *slog.Logger
}

// Bounds of what is sent at once.
const (
	batchRecords = 256
	batchBytes   = 1 << 20
)

// How long a sink waits after a failure: doubling, up to the most.
const (
	firstWait = time.Second
	longest   = 5 * time.Minute
)

// Status is how a sink is.
type Status struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Behind uint64 `json:"behind"` // records that are still to be sent, or to be covered by a checkpoint that is
	Sent   uint64 `json:"sent"`   // since the start
	// Missed are records that the log dropped, by age, before they were sent.
	Missed uint64    `json:"missed,omitempty"`
	Last   time.Time `json:"last,omitzero"` // when something was last sent
	// Failing is since when nothing could be sent, and Problem why.
	Failing time.Time `json:"failing,omitzero"`
	Problem string    `json:"problem,omitempty"`
}

// Sink is one sink.
type Sink struct {
	o      Options
	target Target

	mu      sync.Mutex
	cursors map[string]uint64 // by site, the number of the next record to send
	status  Status
}

// New makes a sink that goes on where it was, or begins with the oldest record
// that is kept. It owns the target.
func New(o Options, target Target) (*Sink, error) {
	s := &Sink{o: o, target: target, status: Status{Name: o.Name, Kind: o.Kind}}
	var err error
	if s.cursors, err = readCursors(o.State, o.Name); err != nil {
		return nil, fmt.Errorf("reading how far the sink %s came: %w", o.Name, err)
	}
	return s, nil
}

// Run sends until ctx is done, and closes the target.
func (s *Sink) Run(ctx context.Context) error {
	wait := firstWait
	for ctx.Err() == nil {
		changed := s.o.Log.Changed() // before looking, so that nothing is slept through
		sent, err := s.round(ctx)
		pause := time.Duration(0)
		switch {
		case err != nil:
			s.failed(ctx, err)
			pause = wait/2 + rand.N(wait) // many gates must not come back at once
			if asked, ok := errors.AsType[*RetryError](err); ok {
				pause = max(pause, min(asked.After, longest))
			}
			wait = min(2*wait, longest)
		case sent:
			wait = firstWait
			continue
		default:
			s.well()
			wait = firstWait
		}
		var timer <-chan time.Time
		if pause > 0 {
			timer, changed = time.After(pause), nil
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer:
		}
	}
	return s.target.Close()
}

// round sends one batch of each site that has something.
func (s *Sink) round(ctx context.Context) (sent bool, err error) {
	for _, site := range s.o.Log.Sites() {
		if len(s.o.Sites) > 0 && !slices.Contains(s.o.Sites, site) {
			continue
		}
		any, err := s.batch(ctx, site)
		if err != nil {
			return sent, err
		}
		sent = sent || any
	}
	return sent, nil
}

// batch sends the next records of one site.
func (s *Sink) batch(ctx context.Context, site string) (sent bool, err error) {
	s.mu.Lock()
	from := s.cursors[site]
	s.mu.Unlock()
	first, end := s.o.Log.Range(site)
	if from > end {
		from = first // the log is another than the one that was sent
	}
	if from >= end {
		return false, nil
	}
	batch, next, missed, err := s.o.Source.next(s.o.Log, site, from)
	if err != nil {
		return false, fmt.Errorf("reading the log of site %s: %w", site, err)
	}
	if len(batch) > 0 {
		if err := s.target.Send(ctx, batch); err != nil {
			return false, err
		}
	}
	if next == from {
		return false, nil
	}
	s.mu.Lock()
	cursors := make(map[string]uint64, len(s.cursors)+1)
	for k, v := range s.cursors {
		cursors[k] = v
	}
	s.mu.Unlock()
	cursors[site] = next
	if err := writeCursors(ctx, s.o.State, s.o.Name, cursors); err != nil {
		return false, fmt.Errorf("noting how far the sink came: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursors = cursors
	s.status.Sent += uint64(len(batch))
	s.status.Missed += missed
	s.status.Last = s.o.Clock()
	s.status.Failing, s.status.Problem = time.Time{}, ""
	return true, nil
}

func (s *Sink) failed(ctx context.Context, err error) {
	s.mu.Lock()
	begins := s.status.Failing.IsZero()
	if begins {
		s.status.Failing = s.o.Clock()
	}
	s.status.Problem = err.Error()
	s.mu.Unlock()
	if begins && ctx.Err() == nil {
		s.o.Logger.Warn("a sink cannot send; it goes on where it was once it can", "sink", s.o.Name, "cause", err.Error())
	}
}

func (s *Sink) well() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Failing, s.status.Problem = time.Time{}, ""
}

// Status says how the sink is.
func (s *Sink) Status() Status {
	s.mu.Lock()
	out, cursors := s.status, s.cursors
	s.mu.Unlock()
	for _, site := range s.o.Log.Sites() {
		if len(s.o.Sites) > 0 && !slices.Contains(s.o.Sites, site) {
			continue
		}
		if first, end := s.o.Log.Range(site); end > cursors[site] {
			out.Behind += end - max(cursors[site], first)
		}
	}
	return out
}

// RetryError is a failure whose target said when to come back.
type RetryError struct {
	After time.Duration
	Err   error
}

func (e *RetryError) Error() string { return e.Err.Error() }
func (e *RetryError) Unwrap() error { return e.Err }

var bucket = []byte("sinks")

// kept is how far a sink came, on disk.
type kept struct {
	Version int               `json:"v"`
	Next    map[string]uint64 `json:"next"`
}

const recordVersion = 1

func readCursors(db *store.DB, name string) (map[string]uint64, error) {
	k := kept{Version: recordVersion}
	err := db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if b == nil {
			return nil
		}
		v := b.Get([]byte(name))
		if v == nil {
			return nil
		}
		return json.Unmarshal(v, &k)
	})
	if err == nil && k.Version != recordVersion {
		err = fmt.Errorf("version %d is not known", k.Version)
	}
	if k.Next == nil {
		k.Next = map[string]uint64{}
	}
	return k.Next, err
}

func writeCursors(ctx context.Context, db *store.DB, name string, next map[string]uint64) error {
	v, err := json.Marshal(kept{recordVersion, next})
	if err != nil {
		return err
	}
	// What has been sent is noted even when the sink is being stopped.
	return db.Commit(context.WithoutCancel(ctx), func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		return b.Put([]byte(name), v)
	})
}
