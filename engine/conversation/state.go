package conversation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/conversation/plan"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/store"
)

// How long a conversation is kept after its last turn.
const (
	anonymousLife = 4 * time.Hour
	ownedLife     = 24 * time.Hour
)

// maxPending bounds the unanswered confirmations that are remembered; an older
// one can still be answered by its button.
const maxPending = 5

// maxParked bounds the requests one conversation keeps for after sign-in; the
// oldest makes room.
const maxParked = 5

// maxDoubts bounds what is told at once; it is all in the log.
const maxDoubts = 5

// state is a conversation on disk. What was said is not in it, only what a later
// turn needs.
type state struct {
	Version int        `json:"v"`
	Site    string     `json:"site"`
	Subject string     `json:"subject,omitempty"` // "" while anonymous
	Open    *plan.Open `json:"open,omitempty"`
	Asked   *asked     `json:"asked,omitempty"` // what Open asks on behalf of
	// Pending are the confirmations that were offered and not answered, the
	// newest last.
	Pending []string `json:"pending,omitempty"`
	Parked  []parked `json:"parked,omitempty"`
	// Doubts are calls of which it is not known what became, and of which the
	// visitor is yet to hear.
	Doubts []Doubt `json:"doubts,omitempty"`
}

// Doubt is a call of which it is not known what became: it was permitted, and
// the process ended before it was over.
type Doubt struct {
	Decision string         `json:"decision"`
	Action   string         `json:"action"`
	Args     map[string]any `json:"args,omitempty"`
}

// asked is what a question's answer must be joined with.
type asked struct {
	Asserted    engine.Asserted `json:"asserted"`
	MustConfirm bool            `json:"must_confirm,omitempty"`
}

// parked is a request that waits for its visitor to sign in.
type parked struct {
	ID   string    `json:"id"`
	Step plan.Step `json:"step"`
	// MustConfirm says that nobody had signed in when it was made, so that
	// whoever signs in is asked before anything is written. It stays with the
	// request however often that is parked.
	MustConfirm bool `json:"must_confirm,omitempty"`
}

var (
	errOfAnother = &engine.Error{Code: "conversation_of_another",
		Message: "This conversation belongs to somebody else. Start a new one."}
	errNotWaiting = &engine.Error{Code: engine.CodeNotFound,
		Message: "That request is no longer waiting. Please ask again."}
)

// conversations keeps states.
type conversations struct {
	db    *store.DB
	clock func() time.Time
	shelf store.Shelf
}

// enter finds the conversation that a turn belongs to, or starts one. It
// follows the rules of ownership: an anonymous conversation that its visitor
// signs into gets a fresh id, and the old one is dead.
func (c *conversations) enter(ctx context.Context, site, id string, who identity.Result) (string, error) {
	subject := who.Visitor.Subject()
	now := c.clock()
	var entered string
	err := c.db.Commit(ctx, func(tx *bbolt.Tx) error {
		old, err := c.read(tx, id, now)
		if err != nil {
			return err
		}
		if old != nil && old.Site != site {
			old = nil
		}
		fresh := &state{Version: 1, Site: site, Subject: subject}
		switch {
		case old == nil:
		case who.State == identity.Verified && old.Subject == "":
			fresh.Parked, fresh.Doubts = old.Parked, old.Doubts
			if err := c.shelf.Delete(tx, id); err != nil {
				return err
			}
		case who.State == identity.Verified && old.Subject != subject:
			return errOfAnother
		case who.State == identity.Verified,
			old.Subject == "",
			who.State == identity.Expired && old.Subject == who.Expired.Subject:
			entered = id
			return c.write(tx, id, old, now)
		}
		entered = engine.NewSecretID("cv")
		return c.write(tx, entered, fresh, now)
	})
	return entered, err
}

// end deletes a conversation, if it is the subject's or nobody's.
func (c *conversations) end(ctx context.Context, site, id, subject string) error {
	return c.db.Commit(context.WithoutCancel(ctx), func(tx *bbolt.Tx) error {
		s, err := c.read(tx, id, c.clock())
		if err != nil || s == nil || s.Site != site || s.Subject != "" && s.Subject != subject {
			return err
		}
		return c.shelf.Delete(tx, id)
	})
}

// load returns a conversation that enter returned.
func (c *conversations) load(id string) (*state, error) {
	var s *state
	err := c.db.View(func(tx *bbolt.Tx) error {
		var err error
		s, err = c.read(tx, id, c.clock())
		return err
	})
	if err == nil && s == nil {
		s = &state{Version: 1}
	}
	return s, err
}

// update changes a conversation. A conversation that has lapsed meanwhile stays
// gone.
func (c *conversations) update(ctx context.Context, id string, change func(*state)) error {
	now := c.clock()
	return c.db.Commit(ctx, func(tx *bbolt.Tx) error {
		s, err := c.read(tx, id, now)
		if err != nil || s == nil {
			return err
		}
		change(s)
		return c.write(tx, id, s, now)
	})
}

// doubt keeps a doubt for its visitor, once. The conversation must be the
// subject's, or nobody's when that is "".
func (c *conversations) doubt(ctx context.Context, site, id, subject string, d Doubt) error {
	return c.update(ctx, id, func(s *state) {
		known := slices.ContainsFunc(s.Doubts, func(o Doubt) bool { return o.Decision == d.Decision })
		if s.Site == site && s.Subject == subject && !known && len(s.Doubts) < maxDoubts {
			s.Doubts = append(s.Doubts, d)
		}
	})
}

// undoubt takes the doubts out, so that each is told once.
func (c *conversations) undoubt(ctx context.Context, id string) (doubts []Doubt, err error) {
	err = c.update(ctx, id, func(s *state) { doubts, s.Doubts = s.Doubts, nil })
	return doubts, err
}

// park keeps a step for after sign-in and returns the id that resumes it.
func (c *conversations) park(ctx context.Context, id string, step plan.Step, mustConfirm bool) (string, error) {
	p := parked{ID: engine.NewSecretID("pa"), Step: step, MustConfirm: mustConfirm}
	err := c.update(ctx, id, func(s *state) {
		s.Parked = append(s.Parked, p)
		if n := len(s.Parked) - maxParked; n > 0 {
			s.Parked = slices.Delete(s.Parked, 0, n)
		}
	})
	return p.ID, err
}

// unpark takes a parked request out, so that it is resumed once.
func (c *conversations) unpark(ctx context.Context, id, resume string) (parked, error) {
	var found *parked
	err := c.update(ctx, id, func(s *state) {
		found = nil
		if i := slices.IndexFunc(s.Parked, func(p parked) bool { return p.ID == resume }); i >= 0 {
			p := s.Parked[i]
			found = &p
			s.Parked = slices.Delete(s.Parked, i, i+1)
		}
	})
	if err != nil {
		return parked{}, err
	}
	if found == nil {
		return parked{}, errNotWaiting
	}
	return *found, nil
}

func (c *conversations) read(tx *bbolt.Tx, id string, now time.Time) (*state, error) {
	b, _ := c.shelf.Get(tx, id, now)
	if b == nil {
		return nil, nil
	}
	return decode(b)
}

func decode(b []byte) (*state, error) {
	var s state
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("reading a conversation: %w", err)
	}
	if s.Version != 1 {
		return nil, fmt.Errorf("reading a conversation: version %d is not known", s.Version)
	}
	return &s, nil
}

func (c *conversations) write(tx *bbolt.Tx, id string, s *state, now time.Time) error {
	life := anonymousLife
	if s.Subject != "" {
		life = ownedLife
	}
	return c.put(tx, id, s, now.Add(life), now)
}

func (c *conversations) put(tx *bbolt.Tx, id string, s *state, until, now time.Time) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding a conversation: %w", err)
	}
	return c.shelf.Put(tx, id, b, until, now)
}
