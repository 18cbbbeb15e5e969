// Package engine is the vocabulary of Vouchsafe: the nouns that the packages
// beneath it, the connectors and the knowledge base exchange. It is a leaf; it
// imports nothing of the project.
//
// Types that carry proof are not here: a Visitor can be made only by
// engine/identity, a Permit only by engine/gate.
package engine

import (
	"fmt"
	"time"
)

// TimeInWords is how a time is said to a visitor, in the site's time zone: "Tuesday
// 1 December 2026 at 10:00 GMT".
const TimeInWords = "Monday 2 January 2006 at 15:04 MST"

// Tier is a site's plan. The zero Tier is no tier at all and ranks below every
// other, so that a forgotten tier denies.
type Tier uint8

// The tiers, in rank order.
const (
	NoTier Tier = iota
	Free
	Pro
	Business
)

var tierNames = [...]string{"", "free", "pro", "business"}

// ParseTier reads a tier's name.
func ParseTier(s string) (Tier, error) {
	for i, name := range tierNames {
		if i > 0 && s == name {
			return Tier(i), nil
		}
	}
	return NoTier, fmt.Errorf("unknown tier %q: want free, pro or business", s)
}

// String returns the tier's name, "" for NoTier.
func (t Tier) String() string {
	if int(t) < len(tierNames) {
		return tierNames[t]
	}
	return ""
}

// Risk says what an action can do to the customer's data. The zero Risk is
// unknown and is treated as the most dangerous.
type Risk uint8

// The risks, least first.
const (
	UnknownRisk Risk = iota
	Read
	Write
	Destructive
)

var riskNames = [...]string{"", "read", "write", "destructive"}

// ParseRisk reads a risk's name.
func ParseRisk(s string) (Risk, error) {
	for i, name := range riskNames {
		if i > 0 && s == name {
			return Risk(i), nil
		}
	}
	return UnknownRisk, fmt.Errorf("unknown risk %q: want read, write or destructive", s)
}

// String returns the risk's name, "" for UnknownRisk.
func (r Risk) String() string {
	if int(r) < len(riskNames) {
		return riskNames[r]
	}
	return ""
}

// Channel is the door an intent came through.
type Channel string

// The channels.
const (
	ChannelChat   Channel = "chat"
	ChannelAction Channel = "action"
)

// Site is one website (tenant), as the decision path sees it. Its keys belong
// to engine/identity, its manifests to connectors, its documents to kb.
type Site struct {
	ID               string
	Name             string         // shown to visitors
	Tier             Tier           // what the site has paid for
	Location         *time.Location // for dates typed by visitors and shown to them
	SignInURL        string         // where a visitor signs in; "" when the page does it itself
	Origins          []string       // exact origins allowed to call from a browser
	MaxTokenLifetime time.Duration  // exp - iat allowed by the default policy
	FoldEmailLocal   bool           // the shop ignores ASCII letter case before the @
	// FreshConfirmation says that a destructive action is confirmed only with a
	// token whose id has confirmed nothing before.
	FreshConfirmation bool
	// RefuseStale says that personal actions are refused while the policy in
	// force is older than the gate may trust.
	RefuseStale bool
}

// Action is one entry of a site's catalog.
type Action struct {
	Name     string
	Title    string // an imperative phrase shown to visitors: "Cancel one of my orders"
	Personal bool   // concerns one customer, so it needs a verified identity
	Risk     Risk
	MinTier  Tier
	Args     *ArgSchema
	Examples []string // phrasings, for planners

	// Resources are the arguments that name a record of the customer, each
	// with the read action that proves whose it is. Ownership is proven before
	// this action runs.
	Resources []Resource
	// IDArgument is the argument that names the record this action itself
	// returns, "" when it returns a list or its record is implied by the pin.
	IDArgument string
	// List says that the action returns any number of records rather than one.
	List bool
	// Fields are the only record fields that may leave the connector, in the
	// order they are shown.
	Fields []string
	// Reply is an optional text/template for what the visitor is told; see
	// connectors/README.md. "" means a text made from Title and Fields.
	Reply string
	// Connector names the manifest's connector, for the audit.
	Connector string
	// Revision names the content of the manifest that declares the action.
	Revision string
}

// Resource is an argument that names a record, proven by a read action.
type Resource struct {
	Argument string // of the action that holds the Resource
	Action   string // the read action: it takes the same argument, or lists what the customer owns
}

// Intent is what a planner or an API caller wants. Nothing in it is trusted.
type Intent struct {
	Action   string
	Args     map[string]any // JSON values; numbers as json.Number
	Asserted Asserted
}

// Asserted is who the visitor says they are or whom they name. It is evidence;
// an e-mail that differs from the pin becomes the target, which is then denied.
type Asserted struct {
	Emails []string
	Names  []string
}

// Reason is one cause of a decision. Code and Message are for the visitor,
// Audit is for the auditor and never leaves the admin side.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Audit   string `json:"-"`
}

// Decision is what was decided of one intent.
type Decision struct {
	ID      string // d_...
	Time    time.Time
	Allow   bool
	Reasons []Reason // empty when allowed; the one to show first
	// Obligations are the conditions under which the allow holds. Those of a
	// denial are the ones that were not met: but for them it would be allowed.
	Obligations []Obligation
	Policy      string    // revision: content hash of the policy and its data
	Rules       []string  // of the policy, those that brought it about: "authz/expiry.rego:17"
	RetryAt     time.Time // of limit_reached: when there is a use again
}

// Reason codes produced in Go. Those of the default policy live in its Rego.
const (
	CodeIdentityAbsent        = "identity_absent"
	CodeIdentityInvalid       = "identity_invalid"
	CodeIdentityExpired       = "identity_expired"
	CodeIdentityRevoked       = "identity_revoked"
	CodeTargetMismatch        = "target_mismatch"
	CodeTierInsufficient      = "tier_insufficient"
	CodeUnknownAction         = "unknown_action"
	CodeInvalidArguments      = "invalid_arguments"
	CodeNotFound              = "not_found"
	CodeNotOwner              = "not_owner" // audit only; visitors see not_found
	CodeUnsupportedObligation = "unsupported_obligation"
	CodePolicyError           = "policy_error"
	CodePolicyStale           = "policy_stale"
	CodeAuditUnavailable      = "audit_unavailable"
	CodeWall                  = "wall"
	CodeConfirmationRequired  = "confirmation_required"
	CodeConfirmationSpent     = "confirmation_spent"
	CodeConfirmationCancelled = "confirmation_cancelled" // audit only
	CodeConfirmationLapsed    = "confirmation_lapsed"    // audit only
	CodeConnectorFailed       = "connector_failed"
	CodeConnectorTimeout      = "connector_timeout"
	CodeOutcomeUnknown        = "outcome_unknown"
	CodeClientGone            = "client_gone" // audit and logs only: nobody is left to hear it
	CodeInterrupted           = "interrupted" // audit only: the process ended before a read was shown
	CodeInternal              = "internal"
	CodeLimitReached          = "limit_reached"
	CodeStepUpRequired        = "step_up_required"

	// What an operator asked for and did not get.
	CodeUnknownRevision = "unknown_revision" // of a policy: it is not kept
	CodePolicyRefused   = "policy_refused"   // it may not be put in force
	CodeLogInconsistent = "log_inconsistent" // it is not what a checkpoint was signed for

	// The site wants a token that has confirmed nothing before; see
	// Site.FreshConfirmation.
	CodeConfirmationNeedsFreshToken = "confirmation_needs_fresh_token"
)
