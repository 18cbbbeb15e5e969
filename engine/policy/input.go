package policy

import (
	"encoding/json"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"vouchsafe/engine"
)

// Input is one question to the policy. policies/schema/input.json is its shape;
// what is empty or not known is absent from it, so that a policy finds it
// undefined rather than zero.
type Input struct {
	Site         *engine.Site
	Identity     Identity
	Action       *engine.Action
	Args         map[string]any // JSON values; numbers as json.Number
	Target       string         // canonical e-mail the action would run against
	Asserted     engine.Asserted
	Confirmed    bool
	Conversation Conversation
	Channel      engine.Channel
	Now          time.Time // policies see whole seconds
}

// Identity is what a token came to, as policies see it.
type Identity struct {
	State         string // absent, invalid, expired or verified
	Subject       string
	Email         string // canonical
	Name          string
	TokenID       string
	EmailVerified *bool // nil when the token did not say
	IssuedAt      time.Time
	ExpiresAt     time.Time     // exp plus the site's clock skew
	Lifetime      time.Duration // exp - iat, without the skew
	Revoked       bool
	Claims        json.RawMessage // a JSON object, or nil
}

// Conversation is the chat the question came up in.
type Conversation struct {
	ID      string
	Subject string // whose it is, "" while it is anonymous
}

// Record is one record of an outside system, as release policies see it.
type Record struct {
	ID     string
	Fields map[string]any // JSON values; numbers as json.Number
}

// Value returns the input as the value OPA evaluates. It shares no memory with
// in that a later change to in could reach.
func (in *Input) Value() ast.Value { return in.value(nil) }

// value adds the records to the input when there are any to release.
func (in *Input) value(records *ast.Term) ast.Value {
	var items [11][2]*ast.Term
	o := items[:0]
	if in.Site != nil {
		o = append(o, [2]*ast.Term{keySite, siteTerm(in.Site)})
	}
	o = append(o, [2]*ast.Term{keyIdentity, in.Identity.term()})
	if in.Action != nil {
		o = append(o, [2]*ast.Term{keyAction, actionTerm(in.Action, in.Args)})
	}
	if in.Target != "" {
		o = append(o, [2]*ast.Term{keyTarget, ast.ObjectTerm([2]*ast.Term{keyEmail, stringTerm(in.Target)})})
	}
	o = append(o,
		[2]*ast.Term{keyAsserted, assertedTerm(in.Asserted)},
		[2]*ast.Term{keyConfirmation, confirmationTerms[b2i(in.Confirmed)]},
		[2]*ast.Term{keyChannel, stringTerm(string(in.Channel))},
		[2]*ast.Term{keyNow, secondsTerm(in.Now)},
	)
	if in.Conversation != (Conversation{}) {
		o = append(o, [2]*ast.Term{keyConversation, in.Conversation.term()})
	}
	if records != nil {
		o = append(o, [2]*ast.Term{keyRecords, records})
	}
	return ast.NewObject(o...)
}

func (id *Identity) term() *ast.Term {
	if id.State == "absent" && id.bare() {
		return absentTerm
	}
	var items [11][2]*ast.Term
	o := items[:0]
	add := func(key, value *ast.Term) { o = append(o, [2]*ast.Term{key, value}) }
	add(keyState, stringTerm(id.State))
	if id.Subject != "" {
		add(keySubject, stringTerm(id.Subject))
	}
	if id.Email != "" {
		add(keyEmail, stringTerm(id.Email))
	}
	if id.EmailVerified != nil {
		add(keyEmailVerified, ast.InternedTerm(*id.EmailVerified))
	}
	if id.Name != "" {
		add(keyName, stringTerm(id.Name))
	}
	if !id.IssuedAt.IsZero() {
		add(keyIssuedAt, intTerm(id.IssuedAt.Unix()))
	}
	if !id.ExpiresAt.IsZero() {
		add(keyExpiresAt, intTerm(id.ExpiresAt.Unix()))
	}
	if s := seconds(id.Lifetime); s > 0 {
		add(keyLifetime, intTerm(s))
	}
	if id.TokenID != "" {
		add(keyTokenID, stringTerm(id.TokenID))
	}
	if id.Revoked {
		add(keyRevoked, ast.InternedTerm(true))
	}
	if claims := claimsTerm(id.Claims); claims != nil {
		add(keyClaims, claims)
	}
	return ast.ObjectTerm(o...)
}

// bare reports that nothing but the state is known.
func (id *Identity) bare() bool {
	return id.Subject == "" && id.Email == "" && id.Name == "" && id.TokenID == "" &&
		id.EmailVerified == nil && id.IssuedAt.IsZero() && id.ExpiresAt.IsZero() &&
		seconds(id.Lifetime) <= 0 && !id.Revoked && len(id.Claims) == 0
}

func (c Conversation) term() *ast.Term {
	if c.Subject == "" {
		return ast.ObjectTerm([2]*ast.Term{keyID, stringTerm(c.ID)})
	}
	if c.ID == "" {
		return ast.ObjectTerm([2]*ast.Term{keySubject, stringTerm(c.Subject)})
	}
	return ast.ObjectTerm([2]*ast.Term{keyID, stringTerm(c.ID)}, [2]*ast.Term{keySubject, stringTerm(c.Subject)})
}

func assertedTerm(a engine.Asserted) *ast.Term {
	if len(a.Emails) == 0 && len(a.Names) == 0 {
		return nothingAsserted
	}
	return ast.ObjectTerm([2]*ast.Term{keyEmails, stringsTerm(a.Emails)}, [2]*ast.Term{keyNames, stringsTerm(a.Names)})
}

func recordsTerm(recs []Record) *ast.Term {
	terms := make([]*ast.Term, len(recs))
	for i, r := range recs {
		terms[i] = ast.ObjectTerm(
			[2]*ast.Term{keyID, stringTerm(r.ID)},
			[2]*ast.Term{keyFields, objectTerm(r.Fields)},
		)
	}
	return ast.ArrayTerm(terms...)
}

// seconds rounds up, so that a lifetime just over a limit is not cut to fit it.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// About returns whom and what the question is about.
func (in *Input) About() engine.About {
	id := &in.Identity
	a := engine.About{Subject: id.Subject, Email: id.Email, Name: id.Name, TokenID: id.TokenID,
		Conversation: in.Conversation.ID, Channel: in.Channel, Asserted: in.Asserted,
		Unverified: id.EmailVerified != nil && !*id.EmailVerified}
	if in.Action != nil {
		a.Action = in.Action.Name
	}
	return a
}
