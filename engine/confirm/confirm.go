// Package confirm holds what waits for a customer's yes; each yes works once.
package confirm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/phrase"
	"vouchsafe/engine/store"
)

// Pending is one action waiting for its customer's confirmation.
type Pending struct {
	ID      string
	Action  string
	Args    map[string]any
	Summary string
	Expires time.Time
	// MustConfirm says that it was asked for before anybody had signed in.
	MustConfirm bool
}

// stored is a Pending on disk with everything it is bound to.
type stored struct {
	Version      int            `json:"v"`
	Spent        bool           `json:"spent,omitempty"`
	Site         string         `json:"site"`
	Subject      string         `json:"subject"`
	Email        string         `json:"email"`
	Conversation string         `json:"conversation,omitempty"`
	Action       string         `json:"action"`
	Args         map[string]any `json:"args,omitempty"`
	ArgsHash     []byte         `json:"args_hash"`
	Policy       string         `json:"policy"`
	Summary      string         `json:"summary"`
	Decision     string         `json:"decision"` // that asked for the confirmation
	MustConfirm  bool           `json:"must_confirm,omitempty"`
	Definition   string         `json:"definition,omitempty"` // revision of the action's manifest
	Expires      time.Time      `json:"expires"`
	// Ended is why it came to nothing, and Record the decision that says so,
	// until that is on disk; see lapse.go.
	Ended  string `json:"ended,omitempty"`
	Record string `json:"record,omitempty"`
}

const recordVersion = 2 // 1 held no expiry of its own

// DefaultLife is how long a confirmation waits.
const DefaultLife = 5 * time.Minute

var errSpent = engine.Errorf(engine.CodeConfirmationSpent,
	"That confirmation has been used or is no longer valid. Please ask again.", nil)

// Doer takes a request down the gate's path, or records why it was not taken.
type Doer interface {
	Do(ctx context.Context, r gate.Request) (gate.Result, error)
	Refuse(ctx context.Context, r gate.Request, code string) (engine.Decision, error)
}

// Log takes the records of what nobody answered.
type Log interface {
	Decision(ctx context.Context, d *audit.Decision) error
	Show(id string) (audit.Entry, error)
}

// Store holds pending actions.
type Store struct {
	db    *store.DB
	gate  Doer
	log   Log
	clock func() time.Time
	shelf store.Shelf
	used  store.Shelf // tokens that have confirmed something; see use

	ending sync.RWMutex // a look for what has no record yet, and those who just write theirs
}

// New makes a Store over the state file.
func New(db *store.DB, g Doer, log Log, clock func() time.Time) *Store {
	return &Store{db: db, gate: g, log: log, clock: clock,
		shelf: store.NewShelf("pending"), used: store.NewShelf("confirmed_tokens")}
}

// Result is the gate's result, with the confirmation it asks for, if any.
type Result struct {
	gate.Result
	Issued *Pending // set when Result.Pending
}

// Do takes r through the gate. With the id of a pending action in confirm, that
// action must be r's own, and is used up before anything else happens; the
// policy is asked again. It is given back when nothing was done and the same yes
// may do it yet: when no decision could be recorded, when a limit leaves no room
// now, and when the sign-in is too old.
//
// It fails with confirmation_spent when the id is unknown, used, lapsed, or
// bound to anything else than r; and with confirmation_needs_fresh_token when
// the site wants one, and then the action waits on for it. Both are recorded,
// and the Result names that decision.
func (s *Store) Do(ctx context.Context, r gate.Request, confirm string) (Result, error) {
	var taken *taken
	if confirm != "" {
		var err error
		if taken, err = s.take(ctx, r, confirm); err != nil {
			return s.refuse(ctx, r, err)
		}
		// Under another policy than the one that asked for it, a yes means
		// nothing any more: the gate starts the request over.
		r.Confirmed, r.Follows = taken.Policy, taken.Decision
		r.MustConfirm = r.MustConfirm || taken.MustConfirm
		if a, ok := r.Site.Action(r.Intent.Action); !ok || a.Revision != taken.Definition {
			r.Confirmed = "" // nor to an action that has become another
		}
		r.IdempotencyKey = confirm
	}
	res, err := s.gate.Do(ctx, r)
	if taken != nil && Waits(res, err) {
		// Where this cannot be written the yes is lost, and nothing else.
		_ = s.giveBack(ctx, confirm, taken)
	}
	if err != nil || !res.Pending {
		return Result{Result: res}, err
	}
	p, err := s.issue(ctx, r, res)
	return Result{Result: res, Issued: p}, err
}

// refuse puts on record that a yes was not taken.
func (s *Store) refuse(ctx context.Context, r gate.Request, cause error) (Result, error) {
	code := engine.CodeOf(cause)
	if code != engine.CodeConfirmationSpent && code != engine.CodeConfirmationNeedsFreshToken {
		return Result{}, cause
	}
	d, err := s.gate.Refuse(ctx, r, code)
	if err != nil {
		return Result{}, err
	}
	a, _ := r.Site.Action(r.Intent.Action)
	return Result{Result: gate.Result{Decision: d, Action: a}}, cause
}

// Spent records that r's visitor gave a yes that nothing waits for, and returns
// confirmation_spent with it.
func (s *Store) Spent(ctx context.Context, r gate.Request) (Result, error) {
	return s.refuse(ctx, r, errSpent)
}

// Waits reports whether a confirmed request that came to this did nothing and
// still waits for the same yes.
func Waits(res gate.Result, err error) bool {
	code := engine.CodeOf(err)
	switch {
	case err != nil && res.Decision.ID == "":
		return true // not even a decision was recorded
	case err == nil && !res.Decision.Allow && len(res.Decision.Reasons) > 0:
		code = res.Decision.Reasons[len(res.Decision.Reasons)-1].Code
	}
	return code == engine.CodeStepUpRequired || code == engine.CodeLimitReached
}

// taken is a pending action as it was before it was used up.
type taken struct {
	stored
	mark string // what use marked, "" for nothing
}

// take uses a pending action up.
func (s *Store) take(ctx context.Context, r gate.Request, id string) (*taken, error) {
	now := s.clock()
	var out *taken
	err := s.db.Commit(ctx, func(tx *bbolt.Tx) error {
		out = nil
		p, err := s.read(tx, id, now)
		if err != nil || p == nil || !p.binds(r) {
			return err
		}
		out = &taken{stored: *p}
		if out.mark, err = s.use(tx, r, now); err != nil {
			return err
		}
		return s.spend(tx, id, p, now)
	})
	if err == nil && out == nil {
		err = errSpent
	}
	return out, err
}

// giveBack makes a used-up pending action wait again.
func (s *Store) giveBack(ctx context.Context, id string, t *taken) error {
	return s.db.Commit(context.WithoutCancel(ctx), func(tx *bbolt.Tx) error {
		if t.mark != "" {
			if err := s.used.Delete(tx, t.mark); err != nil {
				return err
			}
		}
		return s.wait(tx, id, &t.stored, s.clock())
	})
}

// binds reports whether r is the very request that p waits for.
func (p *stored) binds(r gate.Request) bool {
	v := r.Identity.Visitor
	hash := engine.ArgsHash(r.Intent.Args)
	return !p.Spent && v.Email() != "" &&
		p.Site == r.Site.ID && p.Subject == v.Subject() && p.Email == v.Email() &&
		p.Conversation == r.Conversation.ID && p.Action == r.Intent.Action && bytes.Equal(p.ArgsHash, hash[:])
}

func (s *Store) issue(ctx context.Context, r gate.Request, res gate.Result) (*Pending, error) {
	now := s.clock()
	v := r.Identity.Visitor
	hash := engine.ArgsHash(r.Intent.Args)
	p := &stored{Version: recordVersion, Site: r.Site.ID, Subject: v.Subject(), Email: v.Email(), Conversation: r.Conversation.ID,
		Action: r.Intent.Action, Args: r.Intent.Args, ArgsHash: hash[:], Policy: res.Decision.Policy,
		Decision: res.Decision.ID, MustConfirm: r.MustConfirm, Definition: res.Action.Revision,
		Expires: now.Add(DefaultLife),
		Summary: phrase.Summary(phrase.Said{Site: r.Site.Site, Action: res.Action, Args: r.Intent.Args, Before: res.Before})}
	id := engine.NewSecretID("pa")
	err := s.db.Commit(ctx, func(tx *bbolt.Tx) error { return s.wait(tx, id, p, now) })
	if err != nil {
		return nil, err
	}
	return &Pending{ID: id, Action: p.Action, Args: p.Args, Summary: p.Summary, Expires: p.Expires}, nil
}

// Holder is who may find and cancel a pending action. Email is "" for a token
// that has expired, which names none.
type Holder struct{ Site, Subject, Email, Conversation string }

func (h Holder) holds(p *stored) bool {
	return h.Subject != "" && p.Site == h.Site && p.Subject == h.Subject && p.Conversation == h.Conversation &&
		(h.Email == "" || p.Email == h.Email)
}

// Find returns the pending action of that id if it still waits for its holder.
func (s *Store) Find(id string, h Holder) (Pending, error) {
	var out Pending
	now := s.clock()
	err := s.db.View(func(tx *bbolt.Tx) error {
		p, err := s.read(tx, id, now)
		if err != nil {
			return err
		}
		if p == nil || p.Spent || !h.holds(p) {
			return errSpent
		}
		out = Pending{ID: id, Action: p.Action, Args: p.Args, Summary: p.Summary, Expires: p.Expires, MustConfirm: p.MustConfirm}
		return nil
	})
	return out, err
}

// Cancel uses a pending action up without doing it, and records that.
func (s *Store) Cancel(ctx context.Context, id string, h Holder) error {
	s.ending.RLock()
	defer s.ending.RUnlock()
	now := s.clock()
	var ended *stored
	err := s.db.Commit(ctx, func(tx *bbolt.Tx) error {
		p, err := s.read(tx, id, now)
		if err != nil {
			return err
		}
		if p == nil || p.Spent || !h.holds(p) {
			return errSpent
		}
		ended = p
		return s.end(tx, id, p, engine.CodeConfirmationCancelled, now)
	})
	if err != nil {
		return err
	}
	return s.record(context.WithoutCancel(ctx), id, ended)
}

// read returns a pending action, used up or not, unless its time has passed.
func (s *Store) read(tx *bbolt.Tx, id string, now time.Time) (*stored, error) {
	p, err := s.stored(tx, id, now)
	if err != nil || p == nil || !now.Before(p.Expires) {
		return nil, err
	}
	return p, nil
}

func (s *Store) stored(tx *bbolt.Tx, id string, now time.Time) (*stored, error) {
	b, _ := s.shelf.Get(tx, id, now)
	if b == nil {
		return nil, nil
	}
	return decode(b)
}

func decode(b []byte) (*stored, error) {
	var p stored
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("reading a pending action: %w", err)
	}
	if p.Version != recordVersion {
		return nil, fmt.Errorf("reading a pending action: version %d is not known", p.Version)
	}
	return &p, nil
}

func (s *Store) write(tx *bbolt.Tx, id string, p *stored, lapses, now time.Time) error {
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encoding a pending action: %w", err)
	}
	return s.shelf.Put(tx, id, b, lapses, now)
}
