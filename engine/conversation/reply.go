package conversation

import (
	"time"

	"vouchsafe/engine/identity"
)

// Reply is one thing the visitor is told. Type says which further fields are
// set.
type Reply struct {
	Type      string     `json:"type"`
	Text      string     `json:"text"`
	Action    string     `json:"action,omitempty"`
	Data      any        `json:"data,omitempty"`
	Decision  string     `json:"decision,omitempty"`
	Code      string     `json:"code,omitempty"`
	URL       string     `json:"url,omitempty"`
	Resume    string     `json:"resume,omitempty"`
	Pending   string     `json:"pending,omitempty"`
	Summary   string     `json:"summary,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	RetryAt   *time.Time `json:"retry_at,omitempty"`   // of limit_reached
	MaxAge    int64      `json:"max_age,omitempty"`    // of step_up_required, in seconds
	ACRValues []string   `json:"acr_values,omitempty"` // of step_up_required
	Options   []Option   `json:"options,omitempty"`
	Citations []Citation `json:"citations,omitempty"`
}

// The reply types.
const (
	TypeAnswer   = "answer"
	TypeDeclined = "declined"
	TypeSignIn   = "sign_in"
	TypeConfirm  = "confirm"
	TypeResult   = "result"
	TypeRefused  = "refused"
	TypeClarify  = "clarify"
	TypeFailed   = "failed"
)

// Option is one way to answer a clarify: Value is sent as the next message.
type Option struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

// Citation is where a sentence of an answer stands.
type Citation struct {
	Document string `json:"document"`
	Title    string `json:"title"`
	URL      string `json:"url,omitempty"`
	Passage  string `json:"passage"`
}

// Shown is what the visitor is told about their own identity.
type Shown struct {
	State string `json:"state"`
	Name  string `json:"name,omitempty"`
}

// Answer is a whole turn's reply.
type Answer struct {
	Conversation string  `json:"conversation"`
	Identity     Shown   `json:"identity"`
	Replies      []Reply `json:"replies"`
}

// shown has four states: to the visitor a token that is not believed any more
// is one that does not verify.
func shown(r identity.Result) Shown {
	if r.State == identity.Revoked {
		r.State = identity.Invalid
	}
	return Shown{State: r.State.String(), Name: r.Visitor.Name()}
}
