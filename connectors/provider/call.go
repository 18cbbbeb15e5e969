package provider

import (
	"fmt"
	"time"

	"vouchsafe/engine/voucher"
)

// Call is one request to an outside system, named by its connection: the
// caller knows neither the system's address nor its credential.
type Call struct {
	Site           string
	Connection     string
	Method         string
	Path           string // percent-encoded, starts with "/", relative to the connection's base URL
	Query          string // percent-encoded, without "?"
	Body           []byte
	ContentType    string // of Body
	IdempotencyKey string // "" sends none
	// Headers are sent on as they are. Those that CheckHeader refuses, and the
	// one that carries the connection's credential, are refused.
	Headers  map[string]string
	MaxReply int64 // bytes of the reply's body; 0 means what the provider allows
	// Grant vouches for the call. Without one nothing is sent.
	Grant Voucher
}

// Voucher signs a call for the provider that goes by the name of audience. A
// gate.Grant does, and only a redeemed Permit gives one.
type Voucher interface {
	Vouch(audience string, c voucher.Call) (string, error)
}

// Reply is the outside system's answer, whatever its status.
type Reply struct {
	Status      int
	ContentType string
	RetryAfter  time.Duration // 0 when the system did not say
	Link        string        // the Link header (RFC 8288), as it came; "" for none
	ETag        string        // the entity tag (RFC 9110, 8.8.3), as it came; "" for none
	Location    string        // of a 2xx, as it came; "" for none
	Body        []byte
}

// Error is a call that has no Reply. It holds no address, credential or body.
// The zero Error is the careful one: something may have been sent.
type Error struct {
	Code    string // one of the codes below
	NotSent bool   // the outside system has certainly not received the request
	Timeout bool   // time ran out
	Message string // what our own provider says of it, in words; may be empty

	audience string // whom a voucher must be for, when that is what is wrong
}

// The codes of an Error.
const (
	CodeProviderDown      = "provider_unreachable"
	CodeProviderBroke     = "provider_failed" // the provider broke off, or gave no sensible answer
	CodeUnauthorized      = "unauthorized"
	CodeInvalidHeaders    = "invalid_headers"
	CodeInvalidRequest    = "invalid_request"
	CodeUnknownConnection = "unknown_connection"
	CodeUpstreamRefused   = "upstream_unreachable" // no connection could be made
	CodeUpstreamBlocked   = "upstream_blocked"     // its name leads to an address that is not allowed
	CodeUpstreamTimeout   = "upstream_timeout"
	CodeUpstreamBroke     = "upstream_broken" // the connection ended before the reply did
	CodeReplyTooLarge     = "reply_too_large"
	CodeCallNotAllowed    = "call_not_allowed"       // no rule of the connection allows it
	CodeReconnectNeeded   = "reconnect_needed"       // somebody must grant access first, or again
	CodeCredential        = "credential_unavailable" // no access token can be had at the moment
	CodeVoucherMissing    = "voucher_missing"
	CodeVoucherInvalid    = "voucher_invalid" // malformed, or its signature is wrong
	CodeVoucherUnknownKey = "voucher_unknown_key"
	CodeVoucherExpired    = "voucher_expired"
	CodeVoucherAudience   = "voucher_other_run" // for an earlier run of the provider, or for another provider
	CodeVoucherMismatch   = "voucher_mismatch"  // for another call
	CodeVoucherUsed       = "voucher_used"
	CodeVoucherCrowded    = "voucher_too_many"
)

func (e *Error) Error() string {
	sent := "the request may have been sent"
	if e.NotSent {
		sent = "nothing was sent"
	}
	text := fmt.Sprintf("connection provider: %s (%s)", e.Code, sent)
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}
