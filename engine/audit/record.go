package audit

import (
	"encoding/json"
	"time"

	"vouchsafe/engine"
)

// Question is the exact input the policy was asked about.
type Question interface {
	AppendJSON(b []byte) []byte
	About() engine.About
}

// Decision is one decision, to be recorded.
type Decision struct {
	engine.Decision
	Site string
	// Cause is why a token did not verify, for auditors and integrators.
	Cause string
	// Problem says more: which claim was at fault, what was wrong with
	// arguments, or why the policy could not be asked. It quotes no value.
	Problem string
	// Parent is the decision this one serves, when it resolves a record for it,
	// or the one whose confirmation it carries out.
	Parent string
	// Asked says that nothing was to follow from the decision: it was only asked
	// for. An allowed decision that was not only asked for has an outcome.
	Asked bool
	// Input is what the policy was asked, and holds whom it was about.
	Input Question
}

// Outcome is what became of a permitted call. Problem and IdempotencyKey are
// enciphered; the rest is stored in clear, so nothing personal may be added to
// it.
type Outcome struct {
	Version   int       `json:"v"`
	Decision  string    `json:"decision"`
	Time      time.Time `json:"time"`
	Connector string    `json:"connector,omitempty"`
	Status    int       `json:"status,omitempty"` // of the upstream
	Returned  int       `json:"returned"`         // records the connector brought back
	Released  int       `json:"released"`         // records that reached the visitor
	// Partial says that the upstream has more than the connector asks for.
	Partial  bool     `json:"partial,omitempty"`
	Withheld []string `json:"withheld,omitempty"`
	Redacted []string `json:"redacted,omitempty"`
	// Code is "" when the call did what it was for.
	Code string `json:"code,omitempty"`
	// Problem is why, for operators. It quotes nothing of the customer's.
	Problem        string `json:"problem,omitempty"`
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	Milliseconds   int64  `json:"milliseconds"`
}

// GateSite stands for the gate itself, in acts that concern no site in
// particular. No site can have this id.
const GateSite = "_gate"

// Act is what an operator did to a site on the admin side. Subject and TokenID
// are enciphered; the rest is stored in clear, so nothing personal may be added
// to it.
type Act struct {
	Version int       `json:"v"`
	ID      string    `json:"id"` // a_..., given by Act
	Time    time.Time `json:"time"`
	Site    string    `json:"site"`
	// By is who: the name of an admin token, or "socket" for whoever could
	// open the admin socket; "" for somebody who showed what is no token.
	By   string `json:"by"`
	Kind string `json:"kind"` // such as "revocation"
	// Subject and TokenID are whom or what it was done to, where it was.
	Subject string `json:"subject,omitempty"`
	TokenID string `json:"token_id,omitempty"`
	// Object is what else it was done to: an admin token, a decision.
	Object string `json:"object,omitempty"`
	// Route and Uses are of a request over TCP, or of as many that were alike;
	// Code is why it was refused.
	Route string `json:"route,omitempty"`
	Uses  int    `json:"uses,omitempty"`
	Code  string `json:"code,omitempty"`
	// From is what a policy took the place of, or would have; Reason is why it
	// was refused.
	From   string `json:"from,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Statement is what was signed of records before they were dropped by their
	// age: see Drop.
	Statement string `json:"statement,omitempty"`
}

// Why a part of a record cannot be read.
const (
	UnreadableErased  = "erased"   // the key of whom it was about is gone
	UnreadableSealed  = "sealed"   // the log was opened without the master key
	UnreadableDamaged = "damaged"  // it does not decipher
	UnreadableNotKept = "not_kept" // it could not be enciphered, so it was not stored
)

// Record is a decision as it was stored.
type Record struct {
	Version     int       `json:"v"`
	ID          string    `json:"id"`
	Time        time.Time `json:"time"`
	Allow       bool      `json:"allow"`
	Reasons     []string  `json:"reasons,omitempty"`
	Obligations []string  `json:"obligations,omitempty"`
	Policy      string    `json:"policy"`
	// Rules are where in the policy the rules are that brought it about.
	Rules  []string `json:"rules,omitempty"`
	Parent string   `json:"parent,omitempty"`
	Asked  bool     `json:"asked,omitempty"`
	// Action is "" for one that the catalog did not know; Input has its name.
	Action  string         `json:"action,omitempty"`
	Channel engine.Channel `json:"channel,omitempty"`
	// Unreadable is why Cause, Problem and Input are missing, "" when they are
	// not.
	Unreadable string          `json:"unreadable,omitempty"`
	Cause      string          `json:"cause,omitempty"`
	Problem    string          `json:"problem,omitempty"`
	Input      json.RawMessage `json:"input,omitempty"`
	// Masked is why Input has marks in place of people whom the visitor named,
	// "" when it is what the policy was asked.
	Masked string `json:"masked,omitempty"`
}

// Subject is the part of a Record's input that listings filter by and show.
type Subject struct {
	Site     struct{ ID string } `json:"site"`
	Identity struct {
		State   string `json:"state"`
		Subject string `json:"subject"`
		Email   string `json:"email"`
		TokenID string `json:"token_id"`
	} `json:"identity"`
	Action struct {
		Name string `json:"name"`
	} `json:"action"`
	Target struct {
		Email string `json:"email"`
	} `json:"target"`
	Asserted struct {
		Emails []string `json:"emails"`
		Names  []string `json:"names"`
	} `json:"asserted"`
	Conversation struct {
		ID string `json:"id"`
	} `json:"conversation"`
	Channel string `json:"channel"`
}

// Entry is a decision with its outcome, if it has one yet.
type Entry struct {
	Site     string   `json:"site"`
	Seq      uint64   `json:"seq"` // the decision's number in its site's log
	Decision Record   `json:"decision"`
	Outcome  *Outcome `json:"outcome,omitempty"`
	About    Subject  `json:"-"`
	Written  int64    `json:"-"` // Unix nanoseconds
}

// Position is where the decision is among all that List returns.
func (e *Entry) Position() Position { return Position{e.Written, e.Site, e.Seq} }

// ReadAbout fills in About, which an entry does not carry over the wire.
func (e *Entry) ReadAbout() error {
	e.About = Subject{}
	e.About.Site.ID = e.Site
	e.About.Action.Name, e.About.Channel = e.Decision.Action, string(e.Decision.Channel)
	if len(e.Decision.Input) == 0 {
		return nil
	}
	return json.Unmarshal(e.Decision.Input, &e.About)
}

// Code returns the entry's one code: the first reason of a denial, else the
// outcome's, else "".
func (e *Entry) Code() string {
	if len(e.Decision.Reasons) > 0 {
		return e.Decision.Reasons[0]
	}
	if e.Outcome != nil {
		return e.Outcome.Code
	}
	return ""
}
