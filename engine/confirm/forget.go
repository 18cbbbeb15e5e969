package confirm

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
)

// Whom tells by what somebody who is to be forgotten is named.
type Whom interface {
	Is(site, subject string) bool
	NamedIn(site string, doc []byte) bool
}

// Forget ends what waits for somebody's yes, and what names them while it waits
// for another's, as if its time had passed; each ending is on record. It returns
// how many there were. What is then left of them is in free pages of the file.
func (s *Store) Forget(ctx context.Context, who Whom) (int, error) {
	s.ending.Lock()
	defer s.ending.Unlock()
	ids, err := s.about(who)
	if err != nil {
		return 0, err
	}
	for i, id := range ids {
		if err := s.forget(ctx, id); err != nil {
			return i, err
		}
	}
	return len(ids), nil
}

// about are the ids of what is somebody's or names them, used up or not.
func (s *Store) about(who Whom) (ids []string, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		return s.shelf.Each(tx, func(id string, doc []byte, _ time.Time) error {
			p, err := decode(doc)
			if err == nil && (who.Is(p.Site, p.Subject) || who.NamedIn(p.Site, bytes.Clone(doc))) {
				ids = append(ids, id)
			}
			return err
		})
	})
	return ids, err
}

// forget records how one ends, unless it has, and deletes it.
func (s *Store) forget(ctx context.Context, id string) error {
	now := s.clock()
	var ended *stored
	var before bool // it ended before, and the record of that may be missing
	err := s.db.Commit(ctx, func(tx *bbolt.Tx) error {
		ended, before = nil, false
		p, err := s.stored(tx, id, now)
		if err != nil || p == nil || p.Spent && p.Record == "" {
			return err
		}
		ended, before = p, p.Ended != ""
		if before {
			return nil
		}
		return s.end(tx, id, p, engine.CodeConfirmationLapsed, now)
	})
	if err == nil && ended != nil {
		err = s.recordOnce(ctx, id, ended, before)
	}
	if err != nil {
		return err
	}
	return s.db.Commit(ctx, func(tx *bbolt.Tx) error { return s.shelf.Delete(tx, id) })
}

// recordOnce records how p ended, unless an earlier process did.
func (s *Store) recordOnce(ctx context.Context, id string, p *stored, before bool) error {
	if before {
		switch _, err := s.log.Show(p.Record); {
		case err == nil:
			return s.recorded(ctx, id)
		case !errors.Is(err, audit.ErrNotFound):
			return err
		}
	}
	return s.record(ctx, id, p)
}
