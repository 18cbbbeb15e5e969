// Package limit counts how often a visitor has done an action.
//
// It counts exactly: every use is kept with its time for as long as a limit
// looks back on it, so that no period of a limit's length holds more uses than
// the limit, wherever the period begins. A window that starts anew on the hour
// would let twice as many through around its edge.
package limit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/store"
)

// Counter keeps uses in the state file. One visitor's uses of one action are
// one entry, whose key begins with the site, so that they can be kept wherever
// the site's state is.
type Counter struct {
	db    *store.DB
	shelf store.Shelf
}

// New makes a Counter over the state file.
func New(db *store.DB) *Counter { return &Counter{db: db, shelf: store.NewShelf("limits")} }

const recordVersion = 1

// stored is one visitor's uses of one action on disk.
type stored struct {
	Version int `json:"v"`
	// Keep is how long a use is kept, in seconds: the longest window that was
	// ever asked for while there was one. A policy with a shorter one that is in
	// force for a while makes nobody's uses forgotten.
	Keep int64   `json:"keep"`
	Uses []int64 `json:"uses"` // Unix milliseconds, the oldest first
}

// key is the site, and a hash of what and who: the file holds no subject for it.
// No site's id, action's name or verified subject holds a control character, so
// the parts cannot run into each other.
func key(u gate.Use) string {
	sum := sha256.Sum256([]byte(u.Action + "\x00" + u.Subject))
	return u.Site + "\x00" + hex.EncodeToString(sum[:20])
}

// Next returns when the use could be made, which is u.At when it could now. It
// counts nothing.
func (c *Counter) Next(u gate.Use) (time.Time, error) {
	at := u.At
	err := c.db.View(func(tx *bbolt.Tx) error {
		s, err := c.read(tx, u)
		if err == nil {
			at = s.next(u)
		}
		return err
	})
	return at, err
}

// Take counts the use, if the limits leave room for it, and returns when it is
// on disk. Otherwise it counts nothing and returns when there will be room. The
// room is looked for and taken in one transaction of the file's one writer, so
// no two callers get the same.
func (c *Counter) Take(ctx context.Context, u gate.Use) (time.Time, error) {
	var at time.Time
	err := c.db.Commit(ctx, func(tx *bbolt.Tx) error {
		s, err := c.read(tx, u)
		if err != nil {
			return err
		}
		if at = s.next(u); at.After(u.At) {
			return nil
		}
		s.Keep = max(s.Keep, longest(u.Limits))
		s.Uses = append(s.Uses, u.At.UnixMilli())
		slices.Sort(s.Uses) // a clock may have been turned back
		return c.write(tx, u, s)
	})
	return at, err
}

// GiveBack takes back one use that was counted at u.At.
func (c *Counter) GiveBack(ctx context.Context, u gate.Use) error {
	return c.db.Commit(context.WithoutCancel(ctx), func(tx *bbolt.Tx) error {
		s, err := c.read(tx, u)
		if err != nil {
			return err
		}
		i := slices.Index(s.Uses, u.At.UnixMilli())
		if i < 0 {
			return nil
		}
		s.Uses = slices.Delete(s.Uses, i, i+1)
		if len(s.Uses) == 0 {
			return c.shelf.Delete(tx, key(u))
		}
		return c.write(tx, u, s)
	})
}

// next is when the use fits under every limit. A use that is dated after now
// counts: a clock that was turned back forgets nothing.
func (s *stored) next(u gate.Use) time.Time {
	at := u.At
	for _, l := range u.Limits {
		since := u.At.Add(-l.Window).UnixMilli()
		first := 0 // of those that still count
		for first < len(s.Uses) && s.Uses[first] <= since {
			first++
		}
		if over := len(s.Uses) - first - l.N; over >= 0 {
			if free := time.UnixMilli(s.Uses[first+over]).Add(l.Window); free.After(at) {
				at = free
			}
		}
	}
	return at
}

// read returns the uses that may still count.
func (c *Counter) read(tx *bbolt.Tx, u gate.Use) (*stored, error) {
	s := &stored{Version: recordVersion}
	b, _ := c.shelf.Get(tx, key(u), u.At)
	if b == nil {
		return s, nil
	}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, unreadable(err)
	}
	if s.Version != recordVersion {
		return nil, unreadable(fmt.Errorf("version %d is not known", s.Version))
	}
	return s, nil
}

func (c *Counter) write(tx *bbolt.Tx, u gate.Use, s *stored) error {
	keep := time.Duration(s.Keep) * time.Second
	s.Uses = slices.DeleteFunc(s.Uses, func(at int64) bool { return at <= u.At.Add(-keep).UnixMilli() })
	if n := len(s.Uses) - engine.MaxLimit; n > 0 {
		s.Uses = s.Uses[n:] // no limit looks back further
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding the uses of an action: %w", err)
	}
	last := u.At
	if n := len(s.Uses); n > 0 {
		if at := time.UnixMilli(s.Uses[n-1]); at.After(last) {
			last = at
		}
	}
	return c.shelf.Put(tx, key(u), b, last.Add(keep), u.At)
}

// longest is the longest window, in seconds.
func longest(limits []engine.Obligation) int64 {
	var out time.Duration
	for _, l := range limits {
		out = max(out, l.Window)
	}
	return int64(out / time.Second)
}

// unreadable means that nobody can tell how often something was done, so that
// it is not done again.
func unreadable(cause error) error {
	return engine.Errorf(engine.CodeAuditUnavailable,
		"How often this was done cannot be read at the moment, so nothing was done. Please contact the site.", cause)
}
