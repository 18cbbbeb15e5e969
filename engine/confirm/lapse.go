package confirm

import (
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/policy"
)

// A pending action that nobody says yes to ends too, and its ending is recorded
// like any other: when it is cancelled, or when its time has passed. That it
// ended is written to the state first, which decides between a yes and a no
// that come at once; then its record; then that it has its record. Whatever
// moment the process dies at, the next one finds what is left to record, and
// records it once.

// dueBucket holds what waits or has no record of its ending yet, by the time it
// lapses: eight bytes of Unix milliseconds, and the id.
var dueBucket = []byte("pending_due")

const dueLen = 8

// unrecordedLife is how long a pending action is kept for its ending to be
// recorded: longer than a server is down before its operators give it up.
const unrecordedLife = 7 * 24 * time.Hour

// sweptAtOnce bounds the endings that one look records.
const sweptAtOnce = 256

func dueKey(id string, p *stored) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, dueLen+len(id)), uint64(p.Expires.UnixMilli())), id...)
}

// wait writes an action that waits for its customer.
func (s *Store) wait(tx *bbolt.Tx, id string, p *stored, now time.Time) error {
	due, err := tx.CreateBucketIfNotExists(dueBucket)
	if err != nil {
		return err
	}
	if err := due.Put(dueKey(id, p), nil); err != nil {
		return err
	}
	return s.write(tx, id, p, p.Expires.Add(unrecordedLife), now)
}

// spend writes that an action does not wait any more, and that there is nothing
// to record about it. Nothing of the customer's is kept longer than needed.
func (s *Store) spend(tx *bbolt.Tx, id string, p *stored, now time.Time) error {
	p.Spent, p.Args, p.Summary, p.Email, p.Record = true, nil, "", "", ""
	if due := tx.Bucket(dueBucket); due != nil {
		if err := due.Delete(dueKey(id, p)); err != nil {
			return err
		}
	}
	return s.write(tx, id, p, p.Expires, now)
}

// end writes that an action has come to nothing, to be recorded under an id of
// its own.
func (s *Store) end(tx *bbolt.Tx, id string, p *stored, code string, now time.Time) error {
	p.Spent, p.Ended, p.Record = true, code, engine.NewID("d", now)
	return s.write(tx, id, p, p.Expires.Add(unrecordedLife), now)
}

// record writes the decision that says how p ended, and then that it has been
// written.
func (s *Store) record(ctx context.Context, id string, p *stored) error {
	now := s.clock()
	d := audit.Decision{
		Decision: engine.Decision{ID: p.Record, Time: now, Policy: p.Policy, Reasons: []engine.Reason{{Code: p.Ended}}},
		Site:     p.Site,
		Parent:   p.Decision,
		Input: &policy.Input{
			Site:         &engine.Site{ID: p.Site},
			Identity:     policy.Identity{State: "verified", Subject: p.Subject, Email: p.Email},
			Action:       &engine.Action{Name: p.Action, Personal: true},
			Args:         p.Args,
			Target:       p.Email,
			Conversation: policy.Conversation{ID: p.Conversation, Subject: p.Subject},
			Channel:      p.channel(),
			Now:          now,
		},
	}
	if err := s.log.Decision(ctx, &d); err != nil {
		return err
	}
	return s.recorded(ctx, id)
}

func (p *stored) channel() engine.Channel {
	if p.Conversation == "" {
		return engine.ChannelAction
	}
	return engine.ChannelChat
}

func (s *Store) recorded(ctx context.Context, id string) error {
	now := s.clock()
	return s.db.Commit(ctx, func(tx *bbolt.Tx) error {
		p, err := s.stored(tx, id, now)
		if err != nil || p == nil {
			return err
		}
		return s.spend(tx, id, p, now)
	})
}

// Lapse ends and records what its customers did not answer in time, and records
// what an earlier process ended and did not come to record. An error leaves the
// rest for the next time.
func (s *Store) Lapse(ctx context.Context) error {
	for {
		ids, err := s.due()
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := s.lapse(ctx, id); err != nil {
				return err
			}
		}
		if len(ids) < sweptAtOnce {
			return nil
		}
	}
}

// due are the ids of what has lapsed.
func (s *Store) due() (ids []string, err error) {
	now := uint64(s.clock().UnixMilli())
	err = s.db.View(func(tx *bbolt.Tx) error {
		due := tx.Bucket(dueBucket)
		if due == nil {
			return nil
		}
		c := due.Cursor()
		for k, _ := c.First(); len(k) > dueLen && binary.BigEndian.Uint64(k) <= now && len(ids) < sweptAtOnce; k, _ = c.Next() {
			ids = append(ids, string(k))
		}
		return nil
	})
	return ids, err
}

// Decisions are the decisions of a site that something here follows from yet:
// those that asked for a yes which still waits, or whose ending has no record.
func (s *Store) Decisions(site string) (ids []string, err error) {
	now := s.clock()
	err = s.db.View(func(tx *bbolt.Tx) error {
		due := tx.Bucket(dueBucket)
		if due == nil {
			return nil
		}
		return due.ForEach(func(k, _ []byte) error {
			if len(k) <= dueLen {
				return nil
			}
			p, err := s.stored(tx, string(k[dueLen:]), now)
			if err == nil && p != nil && p.Site == site {
				ids = append(ids, p.Decision)
			}
			return err
		})
	})
	return ids, err
}

// lapse ends one action, named by its key in dueBucket.
func (s *Store) lapse(ctx context.Context, key string) error {
	s.ending.Lock()
	defer s.ending.Unlock()
	now, id := s.clock(), key[dueLen:]
	var ended *stored
	var before bool // an earlier process came as far as this
	err := s.db.Commit(ctx, func(tx *bbolt.Tx) error {
		p, err := s.stored(tx, id, now)
		ended, before = nil, false
		if err != nil {
			return err
		}
		if p == nil { // too old to be kept
			return tx.Bucket(dueBucket).Delete([]byte(key))
		}
		ended, before = p, p.Ended != ""
		if before {
			return nil
		}
		return s.end(tx, id, p, engine.CodeConfirmationLapsed, now)
	})
	if err != nil || ended == nil {
		return err
	}
	return s.recordOnce(ctx, id, ended, before)
}
