package conversation

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"vouchsafe/engine"
	"vouchsafe/engine/confirm"
	"vouchsafe/engine/conversation/plan"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/phrase"
	"vouchsafe/engine/policy"
)

// turn is one turn in the making.
type turn struct {
	s      *Service
	in     Turn
	state  *state
	answer Answer
	emit   func(Reply)
}

func (t *turn) say(r Reply) {
	t.answer.Replies = append(t.answer.Replies, r)
	if t.emit != nil {
		t.emit(r)
	}
}

// request is an intent with the facts of this turn.
func (t *turn) request(i engine.Intent) gate.Request {
	return gate.Request{
		Site:         t.in.Site,
		Identity:     t.in.Identity,
		Intent:       i,
		Channel:      engine.ChannelChat,
		Conversation: policy.Conversation{ID: t.answer.Conversation, Subject: t.state.Subject},
	}
}

// subject is whose the turn is, as far as a signature says, expired or not.
func (t *turn) subject() string {
	if t.in.Identity.State == identity.Expired {
		return t.in.Identity.Expired.Subject
	}
	return t.in.Identity.Visitor.Subject()
}

// doubts tells the visitor, once, of calls of which it is not known what became.
// On a conversation that is somebody's, only they hear it, signed in. A note
// that cannot be taken out is told next time.
func (t *turn) doubts(ctx context.Context) {
	if len(t.state.Doubts) == 0 || t.state.Subject != "" && t.in.Identity.State != identity.Verified {
		return
	}
	doubts, err := t.s.states.undoubt(ctx, t.answer.Conversation)
	if err != nil {
		return
	}
	t.state.Doubts = nil
	for _, d := range doubts {
		what := "what you asked for before"
		if a, ok := t.in.Site.Action(d.Action); ok {
			what = "\"" + phrase.Summary(phrase.Said{Site: t.in.Site.Site, Action: a, Args: d.Args}) + "\""
		}
		t.say(Reply{Type: TypeFailed, Code: engine.CodeOutcomeUnknown, Action: d.Action, Decision: d.Decision,
			Text: "I was interrupted while I was busy with " + what + ", and cannot tell whether it was done. Please check before you ask for it again."})
	}
}

func (t *turn) message(ctx context.Context) {
	waiting := t.waiting()
	t.in.Message = plain(t.in.Message)
	p := t.s.planner(t.in.Site).Plan(plan.Message{
		Text: t.in.Message, Now: t.s.clock(), Location: t.in.Site.Location,
		Open: t.state.Open, Pending: len(waiting) > 0,
	})
	asked := t.state.Asked
	if t.state.Open != nil {
		open := t.state.Open
		t.forget(ctx)
		if p.Kind == plan.Act && asked != nil && p.Intents[0].Intent.Action == open.Action {
			// The answer to our question belongs to the request it was asked for.
			a := &p.Intents[0].Intent.Asserted
			a.Emails = append(a.Emails, asked.Asserted.Emails...)
			a.Names = append(a.Names, asked.Asserted.Names...)
		}
	}
	switch p.Kind {
	case plan.Yes:
		if len(waiting) > 1 {
			// Which of them is meant cannot be told from a word; each has a
			// button.
			t.say(Reply{Type: TypeClarify, Text: "More than one thing is waiting for your yes. Please use the buttons, or ask again for the one you mean.", Options: []Option{}})
			return
		}
		t.confirm(ctx, waiting[0], p.Asserted)
	case plan.No:
		for _, id := range waiting {
			t.drop(ctx, id)
		}
		t.say(Reply{Type: TypeClarify, Text: leftAsItIs, Options: []Option{}})
	case plan.Act:
		for _, step := range p.Intents {
			t.run(ctx, step, asked != nil && asked.MustConfirm)
		}
	case plan.Question:
		t.ask(ctx, p.Question, p.Asserted, nil)
	case plan.Greeting:
		t.say(Reply{Type: TypeClarify, Text: "Hello! What can I do for you?", Options: t.suggestions(nil)})
	case plan.Thanks:
		t.say(Reply{Type: TypeClarify, Text: "You're welcome. Is there anything else?", Options: []Option{}})
	case plan.Handoff:
		t.ask(ctx, "How can I contact you and speak to a person?", p.Asserted, nil)
	default:
		t.ask(ctx, t.in.Message, p.Asserted, p.Suggest)
	}
}

const leftAsItIs = "All right, I have left it as it is."

// holder is who answers confirmations in this turn.
func (t *turn) holder() confirm.Holder {
	return confirm.Holder{Site: t.in.Site.ID, Subject: t.subject(), Email: t.in.Identity.Visitor.Email(), Conversation: t.answer.Conversation}
}

// waiting are the confirmations that can still be given.
func (t *turn) waiting() []string {
	var out []string
	for _, id := range t.state.Pending {
		if _, err := t.s.confirm.Find(id, t.holder()); err == nil {
			out = append(out, id)
		}
	}
	return out
}

// answered forgets a confirmation that is not waiting any more.
func (t *turn) answered(ctx context.Context, id string) {
	if slices.Contains(t.state.Pending, id) {
		t.update(ctx, func(s *state) {
			s.Pending = slices.DeleteFunc(s.Pending, func(p string) bool { return p == id })
		})
	}
}

// forget drops the question that this message answers or abandons.
func (t *turn) forget(ctx context.Context) {
	t.state.Open, t.state.Asked = nil, nil
	t.update(ctx, func(s *state) { s.Open, s.Asked = nil, nil })
}

// update changes the stored conversation. A change that cannot be written costs
// the visitor a repeated question and nothing else, so the turn goes on.
func (t *turn) update(ctx context.Context, change func(*state)) {
	change(t.state)
	_ = t.s.states.update(ctx, t.answer.Conversation, change)
}

// run takes a step to the gate, asking for what it lacks.
func (t *turn) run(ctx context.Context, step plan.Step, mustConfirm bool) {
	a, ok := t.in.Site.Action(step.Intent.Action)
	if !ok {
		t.decided(ctx, step, false)
		return
	}
	if len(t.lacking(a, step)) > 0 {
		// Whoever may not do this at all is told so before being asked for
		// details.
		d, err := t.s.gate.Ask(ctx, t.request(engine.Intent{Action: a.Name, Asserted: step.Intent.Asserted}))
		if err != nil {
			t.fail(err, a, "")
			return
		}
		if !d.Allow {
			t.refuse(ctx, d, a, &step, mustConfirm)
			return
		}
		if !t.complete(ctx, a, &step, mustConfirm) {
			return
		}
	}
	t.decided(ctx, step, mustConfirm && a.Risk != engine.Read)
}

// decided takes a complete step through the gate and says what came of it.
func (t *turn) decided(ctx context.Context, step plan.Step, mustConfirm bool) {
	r := t.request(step.Intent)
	r.MustConfirm = mustConfirm
	res, err := t.s.confirm.Do(ctx, r, "")
	t.report(ctx, res, err, step, mustConfirm)
}

// report puts what the gate said into a reply.
func (t *turn) report(ctx context.Context, res confirm.Result, err error, step plan.Step, mustConfirm bool) {
	d := res.Decision
	switch {
	case err != nil:
		t.failed(err, res.Action, d.ID, t.parks(ctx, &step, mustConfirm))
	case !d.Allow:
		t.refuse(ctx, d, res.Action, &step, mustConfirm)
	case res.Issued != nil:
		p := res.Issued
		waiting := append(t.waiting(), p.ID)
		t.update(ctx, func(s *state) { s.Pending = waiting[max(0, len(waiting)-maxPending):] })
		t.say(Reply{Type: TypeConfirm, Text: "Shall I go ahead? " + p.Summary + ".", Pending: p.ID, Action: p.Action,
			Summary: p.Summary, ExpiresAt: &p.Expires, Decision: d.ID})
	case res.Action.Name == plan.KnowledgeAction:
		t.cite(res.Result)
	default:
		t.say(Reply{Type: TypeResult, Action: res.Action.Name, Data: res.Data(), Decision: d.ID,
			Text: phrase.Result(phrase.Said{Site: t.in.Site.Site, Action: res.Action, Args: step.Intent.Args, Before: res.Before, Records: res.Records, Partial: res.Partial})})
	}
}

// refuse says why a step was denied. A step that only lacks an identity, or one
// that is fresh enough, is parked until its visitor has signed in.
func (t *turn) refuse(ctx context.Context, d engine.Decision, a *engine.Action, step *plan.Step, mustConfirm bool) {
	t.deny(d, a, t.parks(ctx, step, mustConfirm))
}

// failed says that something could not be carried out. A read that it rests on
// may have wanted a fresher sign-in, and then it waits for that.
func (t *turn) failed(err error, a *engine.Action, decision string, resume func() (string, error)) {
	e, ok := errors.AsType[*engine.Error](err)
	if !ok || e.Code != engine.CodeStepUpRequired {
		t.fail(err, a, decision)
		return
	}
	t.deny(engine.Decision{ID: decision, Reasons: []engine.Reason{{Code: e.Code, Message: e.Message}}, Obligations: e.Unmet}, a, resume)
}

// parks returns what parks a step when it is called.
func (t *turn) parks(ctx context.Context, step *plan.Step, mustConfirm bool) func() (string, error) {
	return func() (string, error) {
		return t.s.states.park(ctx, t.answer.Conversation, *step, mustConfirm || t.state.Subject == "")
	}
}

// deny says why something was denied. resume returns what resumes it once its
// visitor has signed in.
func (t *turn) deny(d engine.Decision, a *engine.Action, resume func() (string, error)) {
	why := d.Reasons[0]
	r := Reply{Type: TypeRefused, Text: why.Message, Code: why.Code, Decision: d.ID}
	if a != nil {
		r.Action = a.Name
	}
	switch why.Code {
	case engine.CodeLimitReached:
		r.RetryAt = instant(d.RetryAt)
	case engine.CodeIdentityAbsent, engine.CodeIdentityInvalid, engine.CodeIdentityExpired, engine.CodeIdentityRevoked, engine.CodeStepUpRequired:
		if why.Code == engine.CodeIdentityRevoked {
			// A page can do one of three things about a sign-in; about this one
			// it does what it does about any that is not accepted. The decision
			// keeps the code.
			r.Code = engine.CodeIdentityInvalid
		}
		id, err := resume()
		if err != nil {
			t.fail(err, a, d.ID)
			return
		}
		r.Type, r.URL, r.Resume = TypeSignIn, t.in.Site.SignInURL, id
		if why.Code == engine.CodeStepUpRequired {
			t.challenge(&r, d.Obligations)
		}
	}
	t.say(r)
}

// challenge says in a sign-in prompt how old and of which kind the sign-in may
// be: in fields of its own, and in the address, by the names that OpenID Connect
// Core 1.0, section 3.1.2.1 gives them. Without them the sign-in page would
// find a session and send the visitor straight back.
func (t *turn) challenge(r *Reply, unmet []engine.Obligation) {
	maxAge, acr := engine.StepUp(unmet)
	r.MaxAge, r.ACRValues = int64(maxAge/time.Second), acr
	u, err := url.Parse(r.URL)
	if err != nil || r.URL == "" {
		return
	}
	q := u.Query()
	if maxAge > 0 {
		q.Set("max_age", strconv.FormatInt(r.MaxAge, 10))
	}
	if len(acr) > 0 {
		q.Set("acr_values", strings.Join(acr, " "))
	}
	u.RawQuery = q.Encode()
	r.URL = u.String()
}

// fail says that a step could not be carried out.
func (t *turn) fail(err error, a *engine.Action, decision string) {
	r := Reply{Type: TypeFailed, Code: engine.CodeInternal, Decision: decision,
		Text: "Something went wrong on our side. Please try again later."}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		r.Code, r.Text = e.Code, e.Message
		if e.Code == engine.CodeLimitReached {
			r.RetryAt = instant(t.s.clock().Add(e.RetryAfter))
		}
	}
	switch r.Code {
	case engine.CodeNotFound, engine.CodeConnectorFailed, engine.CodeConnectorTimeout, engine.CodeOutcomeUnknown,
		engine.CodeConfirmationSpent, engine.CodeInternal, engine.CodeInvalidArguments:
	default:
		r.Type = TypeRefused
	}
	if a != nil {
		r.Action = a.Name
	}
	t.say(r)
}

// instant is a time to be sent, rounded up to the second.
func instant(at time.Time) *time.Time {
	at = at.Add(time.Second - 1).UTC().Truncate(time.Second)
	return &at
}

// confirm carries a pending action out. asserted is whom the visitor named with
// their yes.
func (t *turn) confirm(ctx context.Context, id string, asserted engine.Asserted) {
	p, err := t.s.confirm.Find(id, t.holder())
	if err != nil {
		var res confirm.Result
		if engine.CodeOf(err) == engine.CodeConfirmationSpent {
			res, err = t.s.confirm.Spent(ctx, t.request(engine.Intent{Asserted: asserted}))
		}
		t.fail(err, nil, res.Decision.ID)
		return
	}
	step := plan.Step{Intent: engine.Intent{Action: p.Action, Args: p.Args, Asserted: asserted}}
	r := t.request(step.Intent)
	if t.in.Identity.State != identity.Verified || len(asserted.Emails) > 0 {
		// The token ran out between the question and its yes, or the yes is for
		// somebody else. The refusal is recorded, and the action waits on.
		d, err := t.s.gate.Ask(ctx, r)
		a, _ := t.in.Site.Action(p.Action)
		switch {
		case err != nil:
			t.fail(err, a, "")
			return
		case !d.Allow:
			t.deny(d, a, func() (string, error) { return id, nil })
			return
		case t.in.Identity.State != identity.Verified:
			t.fail(errNotWaiting, a, d.ID)
			return
		}
	}
	res, err := t.s.confirm.Do(ctx, r, id)
	if engine.CodeOf(err) == engine.CodeConfirmationNeedsFreshToken {
		// To the page this is a token to be renewed: it gets another and
		// resumes, and no page needs to know more than it does already.
		e, _ := errors.AsType[*engine.Error](err)
		t.say(Reply{Type: TypeSignIn, Text: e.Message, Code: engine.CodeIdentityExpired, Action: p.Action, URL: t.in.Site.SignInURL, Resume: id, Decision: res.Decision.ID})
		return
	}
	switch {
	case confirm.Waits(res.Result, err):
		// The yes still stands, and a fresh sign-in resumes with it.
		a, _ := t.in.Site.Action(p.Action)
		same := func() (string, error) { return id, nil }
		if err != nil {
			t.failed(err, a, res.Decision.ID, same)
		} else {
			t.deny(res.Decision, a, same)
		}
		return
	case engine.CodeOf(err) != engine.CodeAuditUnavailable:
		t.answered(ctx, id)
	}
	t.report(ctx, res, err, step, p.MustConfirm)
}

// cancel drops a pending action.
func (t *turn) cancel(ctx context.Context, id string) {
	if err := t.drop(ctx, id); err != nil {
		t.fail(err, nil, "")
		return
	}
	t.say(Reply{Type: TypeClarify, Text: leftAsItIs, Options: []Option{}})
}

func (t *turn) drop(ctx context.Context, id string) error {
	err := t.s.confirm.Cancel(ctx, id, t.holder())
	if err == nil {
		t.answered(ctx, id)
	}
	return err
}

// resume runs a request that waited for its visitor to sign in. One that was
// made while nobody had signed in comes back as a confirmation when it writes.
func (t *turn) resume(ctx context.Context, id string) {
	p, err := t.s.states.unpark(ctx, t.answer.Conversation, id)
	if errors.Is(err, errNotWaiting) {
		// A confirmation whose token had run out resumes under its own id.
		if _, found := t.s.confirm.Find(id, t.holder()); found == nil {
			t.confirm(ctx, id, engine.Asserted{})
			return
		}
	}
	if err != nil {
		t.fail(err, nil, "")
		return
	}
	if question, ok := p.Step.Intent.Args["question"].(string); ok && p.Step.Intent.Action == plan.KnowledgeAction {
		t.ask(ctx, question, p.Step.Intent.Asserted, nil)
		return
	}
	t.run(ctx, p.Step, p.MustConfirm)
}

// plain takes out of a message what a person does not type: control characters
// and those that turn the direction of text around.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return ' '
		}
		return r
	}, s)
}
