package gate

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"sync/atomic"
	"time"

	"vouchsafe/engine"
)

// Permit is proof that one action was allowed, recorded and is about to run
// for one customer. Only the gate mints one. The zero Permit redeems nothing;
// copies of a Permit share its single use.
type Permit struct{ p *permit }

type permit struct {
	site, action string
	args         [sha256.Size]byte
	grant        Grant
	expires      time.Time
	used         atomic.Bool
}

// Claim is what a connector believes it was asked to do.
type Claim struct {
	Site   string
	Action string
	Args   map[string]any
}

// Grant is what a redeemed Permit gives a connector.
type Grant struct {
	Pinned         Pinned // zero for a public action
	Decision       string // id of the recorded decision
	IdempotencyKey string // the same for every attempt at one pending write

	owns     func(Owner) bool // nil for a public action
	vouching *vouching        // nil in a Grant that was not redeemed
}

// Owns reports whether a record is the customer's, as the gate itself judges it
// before it releases one. A connector asks where one record leads to the next.
func (g Grant) Owns(o Owner) bool { return g.owns != nil && g.owns(o) }

// Pinned is the customer, as the signature named them.
type Pinned struct {
	Email   string
	Name    string
	Subject string
}

// Errors of Redeem.
var (
	ErrNoPermit      = errors.New("no permit")
	ErrPermitExpired = errors.New("permit expired")
	ErrPermitUsed    = errors.New("permit already used")
	ErrPermitOther   = errors.New("permit is for another site, action or arguments")
)

// Redeem uses the permit up for exactly the claimed site, action and arguments.
// A connector calls it before it does anything else, with its own idea of what
// it is about to do. A mismatch does not use the permit up.
func (p Permit) Redeem(c Claim, now time.Time) (Grant, error) {
	if p.p == nil {
		return Grant{}, ErrNoPermit
	}
	hash := engine.ArgsHash(c.Args)
	if p.p.site != c.Site || p.p.action != c.Action || subtle.ConstantTimeCompare(hash[:], p.p.args[:]) != 1 {
		return Grant{}, ErrPermitOther
	}
	if !now.Before(p.p.expires) {
		return Grant{}, ErrPermitExpired
	}
	if !p.p.used.CompareAndSwap(false, true) {
		return Grant{}, ErrPermitUsed
	}
	return p.p.grant, nil
}

// Connector performs actions in an outside system. Call must redeem the permit
// for its own site, action and args before any effect, and take the customer
// from the Grant alone.
//
// Its errors are *engine.Error with one of the codes not_found,
// connector_failed (nothing was done), connector_timeout (a read that took too
// long) and outcome_unknown (a write may have happened).
type Connector interface {
	Call(ctx context.Context, c Claim, p Permit) (Response, error)
}

// Response is what a connector brings back, not yet released to anybody.
type Response struct {
	Status  int // of the upstream, for the audit; 0 when there is none
	Records []Record
	// Partial says that there is more than the connector asks for.
	Partial bool
}

// Record is one record of the outside system.
type Record struct {
	ID     string         // "" when the manifest names none
	Owner  Owner          // compared with the pin before the record is released
	Fields map[string]any // only the manifest's fields
}

// Owner is whose record it is, as the outside system says. The zero Owner is
// nobody's, and is withheld from everybody.
type Owner struct {
	Email   string // as the outside system writes it
	Subject string
	// Any are several, each of whom it belongs to, as to the contacts of a
	// booking; then nothing else is set.
	Any []Owner
}
