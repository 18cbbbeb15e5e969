// Package doubt finds the permitted calls of which nobody wrote down what became
// of them, and writes down that it is not known.
//
// A Watch stands between the gate and its log. It knows which permitted calls
// are under way, and keeps in the state file how far the log needs not be looked
// at again: everything before has its outcome. Settle, before anything is
// served, looks at the rest.
package doubt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/store"
)

// Log is the decision log.
type Log interface {
	Decision(ctx context.Context, d *audit.Decision) error
	Outcome(ctx context.Context, site string, o audit.Outcome) error
	Show(id string) (audit.Entry, error)
	Health() error
	Sites() []string
	Range(site string) (from, end uint64)
	Scan(site string, from uint64, fn func(audit.Item) error) (next uint64, err error)
}

// Watch passes decisions and outcomes on to a log and remembers those decisions
// whose outcome is due. It is safe for concurrent use.
type Watch struct {
	log   Log
	db    *store.DB
	clock func() time.Time

	mu      sync.Mutex
	turn    uint64            // counts the calls of Look
	due     map[string]uint64 // decisions whose outcome is due, and the turn they came in
	late    map[string]late   // outcomes that could not be written
	settled map[string]uint64 // what is on disk: by site, the number before which all is settled
	seen    map[string]uint64 // by site, how far the log went when turn began
	ready   bool              // what an earlier process left is settled
}

// late is an outcome to be written when that can be done again.
type late struct {
	site string
	audit.Outcome
	// uncertain says that the decision itself may not be in the log.
	uncertain bool
}

// New makes a Watch over a log and the state file.
func New(log Log, db *store.DB, clock func() time.Time) (*Watch, error) {
	w := &Watch{log: log, db: db, clock: clock, due: map[string]uint64{}, late: map[string]late{}}
	var err error
	if w.settled, err = w.read(); err != nil {
		return nil, fmt.Errorf("reading how far outcomes are settled: %w", err)
	}
	return w, nil
}

// Decision records d.
func (w *Watch) Decision(ctx context.Context, d *audit.Decision) error {
	awaits := d.Allow && !d.Asked
	if awaits {
		w.mu.Lock()
		w.due[d.ID] = w.turn
		w.mu.Unlock()
	}
	err := w.log.Decision(ctx, d)
	if err != nil && awaits {
		// Whoever asked does nothing now. Should the record be on disk after
		// all, it says so.
		w.mu.Lock()
		w.late[d.ID] = late{d.Site, audit.Outcome{Decision: d.ID, Code: engine.CodeAuditUnavailable,
			Problem: "the decision could not be acknowledged, so nothing was done"}, true}
		w.mu.Unlock()
	}
	return err
}

// Outcome records o. When it cannot be, it is recorded as soon as that is
// possible again; until then, and for good if this process ends before, the
// error holds.
func (w *Watch) Outcome(ctx context.Context, site string, o audit.Outcome) error {
	err := w.log.Outcome(ctx, site, o)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.late[o.Decision] = late{site: site, Outcome: o}
		return err
	}
	delete(w.due, o.Decision)
	return nil
}

// Look writes what could not be written before, and notes how far the log is
// settled. It is called every so often, and last before the log is closed.
func (w *Watch) Look(ctx context.Context) error {
	if !w.ready {
		return nil // nothing is known to be settled
	}
	if err := w.writeLate(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	if w.seen != nil {
		for _, turn := range w.due {
			if turn < w.turn { // it may be before what was seen
				w.mu.Unlock()
				return nil
			}
		}
	}
	settled := w.seen
	w.mu.Unlock()
	if settled != nil && !same(settled, w.settled) {
		if err := w.write(ctx, settled); err != nil {
			return err
		}
	}
	// What is in the log now came in this turn or before; what comes in the next
	// is behind it.
	seen := w.ends()
	w.mu.Lock()
	defer w.mu.Unlock()
	if settled != nil {
		w.settled = settled
	}
	w.seen = seen
	w.turn++
	return nil
}

func (w *Watch) ends() map[string]uint64 {
	out := map[string]uint64{}
	for _, site := range w.log.Sites() {
		_, out[site] = w.log.Range(site)
	}
	return out
}

func same(a, b map[string]uint64) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// writeLate writes the outcomes that could not be written when they were due.
func (w *Watch) writeLate(ctx context.Context) error {
	w.mu.Lock()
	todo := make([]late, 0, len(w.late))
	for _, l := range w.late {
		todo = append(todo, l)
	}
	w.mu.Unlock()
	if len(todo) == 0 {
		return nil
	}
	if err := w.log.Health(); err != nil {
		return err // what the disk has is not known before it can be written again
	}
	for _, l := range todo {
		o := l.Outcome
		if l.uncertain {
			switch _, err := w.log.Show(o.Decision); {
			case errors.Is(err, audit.ErrNotFound):
				w.forget(o.Decision)
				continue
			case err != nil:
				return err
			}
			o.Time = w.clock()
		} else {
			o.Released = 0
			if o.Problem == "" {
				o.Problem = "the visitor was not told: this could only be recorded later"
			}
		}
		// What could not be acknowledged may be on disk all the same.
		if err := w.log.Outcome(ctx, l.site, o); err != nil && !errors.Is(err, audit.ErrEnded) {
			return err
		}
		w.forget(o.Decision)
	}
	return nil
}

func (w *Watch) forget(decision string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.late, decision)
	delete(w.due, decision)
}

// Settled is the number of a site's first record that may still lack its
// outcome: every permitted call recorded before has one.
func (w *Watch) Settled(site string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.settled[site]
}

// Waiting is how many permitted calls have no outcome yet.
func (w *Watch) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.due)
}

var (
	bucket     = []byte("doubt")
	settledKey = []byte("settled")
)

// kept is how far the log is settled, on disk.
type kept struct {
	Version int               `json:"v"`
	Settled map[string]uint64 `json:"settled"`
}

const recordVersion = 1

func (w *Watch) read() (map[string]uint64, error) {
	k := kept{Version: recordVersion}
	err := w.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if b == nil {
			return nil
		}
		v := b.Get(settledKey)
		if v == nil {
			return nil
		}
		return json.Unmarshal(v, &k)
	})
	if err == nil && k.Version != recordVersion {
		err = fmt.Errorf("version %d is not known", k.Version)
	}
	return k.Settled, err
}

func (w *Watch) write(ctx context.Context, settled map[string]uint64) error {
	v, err := json.Marshal(kept{recordVersion, settled})
	if err != nil {
		return errors.New("encoding how far outcomes are settled")
	}
	return w.db.Commit(ctx, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		return b.Put(settledKey, v)
	})
}

// Close notes how far the log is settled, when nothing is under way any more.
func (w *Watch) Close(ctx context.Context) error {
	if err := w.Look(ctx); err != nil {
		return err
	}
	return w.Look(ctx) // the first only saw how far the log goes
}
