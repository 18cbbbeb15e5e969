// Package conversation answers visitors: it plans what a message wants, takes
// each intent to the gate, and says what came of it.
package conversation

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
	"weak"

	"vouchsafe/engine"
	"vouchsafe/engine/confirm"
	"vouchsafe/engine/conversation/plan"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/store"
)

// Gate decides intents and lets the allowed ones act.
type Gate interface {
	Ask(ctx context.Context, r gate.Request) (engine.Decision, error)
	Do(ctx context.Context, r gate.Request) (gate.Result, error)
}

// Confirmer takes requests to the gate and keeps those that wait for a yes.
type Confirmer interface {
	Do(ctx context.Context, r gate.Request, confirm string) (confirm.Result, error)
	Find(id string, h confirm.Holder) (confirm.Pending, error)
	Spent(ctx context.Context, r gate.Request) (confirm.Result, error)
	Cancel(ctx context.Context, id string, h confirm.Holder) error
}

// Service holds conversations.
type Service struct {
	gate    Gate
	confirm Confirmer
	states  *conversations
	clock   func() time.Time

	planners sync.Map // weak.Pointer[gate.Site] -> *plan.Planner
}

// New makes a Service over the state file.
func New(db *store.DB, g Gate, c Confirmer, clock func() time.Time) *Service {
	return &Service{gate: g, confirm: c, clock: clock,
		states: &conversations{db: db, clock: clock, shelf: store.NewShelf("conversations")}}
}

// Turn is one message, or one answer to a confirmation or sign-in prompt:
// exactly one of Message, Confirm, Cancel and Resume is set.
type Turn struct {
	Site         *gate.Site
	Identity     identity.Result
	Conversation string // "" starts one
	Message      string
	Confirm      string
	Cancel       string
	Resume       string
}

// Turn answers one turn. emit, when not nil, is called with each reply as it is
// known. Whatever the gate refuses is a reply; the error is
// conversation_of_another.
func (s *Service) Turn(ctx context.Context, in Turn, emit func(Reply)) (Answer, error) {
	t := &turn{s: s, in: in, emit: emit, answer: Answer{Identity: shown(in.Identity), Replies: []Reply{}}}
	id, err := s.states.enter(ctx, in.Site.ID, in.Conversation, in.Identity)
	if errors.Is(err, errOfAnother) {
		return Answer{}, err
	}
	if err == nil {
		t.answer.Conversation = id
		t.state, err = s.states.load(id)
	}
	if err != nil {
		if t.answer.Conversation == "" {
			t.answer.Conversation = in.Conversation
		}
		t.fail(err, nil, "")
		return t.answer, nil
	}
	t.doubts(ctx)
	switch {
	case in.Confirm != "":
		t.confirm(ctx, in.Confirm, engine.Asserted{})
	case in.Cancel != "":
		t.cancel(ctx, in.Cancel)
	case in.Resume != "":
		t.resume(ctx, in.Resume)
	default:
		t.message(ctx)
	}
	return t.answer, nil
}

// Doubt has the visitor told, when they come back to the conversation, that it is
// not known what became of a call they asked for there. subject is whose the
// conversation is, "" for nobody's. One that has lapsed is gone, and so is its
// visitor.
func (s *Service) Doubt(ctx context.Context, site, conversation, subject string, d Doubt) error {
	return s.states.doubt(ctx, site, conversation, subject, d)
}

// End deletes a conversation of the site for the subject that signs out of it.
// One of somebody else is left alone, and nothing is said about it.
func (s *Service) End(ctx context.Context, site, conversation, subject string) error {
	return s.states.end(ctx, site, conversation, subject)
}

// planner returns the site's planner. It is kept for as long as the site is: one
// that a new configuration replaced is let go with its planner.
func (s *Service) planner(site *gate.Site) *plan.Planner {
	at := weak.Make(site)
	if p, ok := s.planners.Load(at); ok {
		return p.(*plan.Planner)
	}
	p, known := s.planners.LoadOrStore(at, plan.New(site.Actions()))
	if !known {
		runtime.AddCleanup(site, func(at weak.Pointer[gate.Site]) { s.planners.Delete(at) }, at)
	}
	return p.(*plan.Planner)
}
