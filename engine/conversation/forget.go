package conversation

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// Whom tells by what somebody who is to be forgotten is named.
type Whom interface {
	Is(site, subject string) bool
	NamedIn(site string, doc []byte) bool
}

// Forget deletes somebody's conversations, and what names them in those of
// others: questions that are open, requests that wait for a sign-in, and the
// arguments of calls of which it is not known what became. It returns in how many
// conversations they were. What is then left of them is in free pages of the file.
func (s *Service) Forget(ctx context.Context, who Whom) (int, error) {
	return s.states.forget(ctx, who)
}

func (c *conversations) forget(ctx context.Context, who Whom) (n int, err error) {
	err = c.db.Commit(ctx, func(tx *bbolt.Tx) error {
		n = 0
		changed := map[string]*state{} // nil for those to delete
		err := c.shelf.Each(tx, func(id string, doc []byte, _ time.Time) error {
			s, err := decode(doc)
			switch {
			case err != nil:
				return err
			case who.Is(s.Site, s.Subject):
				changed[id] = nil
			case s.without(who):
				changed[id] = s
			}
			return nil
		})
		if err != nil {
			return err
		}
		now := c.clock()
		for id, s := range changed {
			n++
			_, until := c.shelf.Get(tx, id, now)
			if s == nil || until.IsZero() { // it has lapsed
				err = c.shelf.Delete(tx, id)
			} else {
				err = c.put(tx, id, s, until, now)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// without takes out what names somebody, and reports whether there was anything.
func (s *state) without(who Whom) (changed bool) {
	named := func(v any) bool {
		doc, err := json.Marshal(v)
		return err != nil || who.NamedIn(s.Site, doc)
	}
	if s.Open != nil && (named(s.Open) || named(s.Asked)) {
		s.Open, s.Asked, changed = nil, nil, true
	}
	if s.Asked != nil && named(s.Asked) {
		s.Asked, changed = nil, true
	}
	before := len(s.Parked)
	s.Parked = slices.DeleteFunc(s.Parked, func(p parked) bool { return named(p) })
	changed = changed || len(s.Parked) < before
	for i := range s.Doubts {
		if d := &s.Doubts[i]; named(d) {
			d.Args, changed = nil, true // that it is in doubt is still to be told
		}
	}
	return changed
}
