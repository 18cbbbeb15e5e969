package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/confirm"
	"vouchsafe/engine/identity"
)

// Codes of problems that only HTTP has. The others are engine's and the
// policy's.
const (
	codeUnknownRoute         = "unknown_route"
	codeUnknownSite          = "unknown_site"
	codeMethodNotAllowed     = "method_not_allowed"
	codeMisdirected          = "misdirected"
	codeOriginNotAllowed     = "origin_not_allowed"
	codeUnexpectedQuery      = "unexpected_query"
	codeUnsupportedMediaType = "unsupported_media_type"
	codeBodyTooLarge         = "body_too_large"
	codeIncompleteBody       = "incomplete_body"
	codeMalformedJSON        = "malformed_json"
	codeInvalidRequest       = "invalid_request"
	codeMessageTooLong       = "message_too_long"
	codeRateLimited          = "rate_limited"
	codeOfAnother            = "conversation_of_another"
	codeAlreadyDone          = "already_done"
	codeInFlight             = "idempotency_in_flight"
	codeMismatch             = "idempotency_mismatch"
	codeNotReady             = "not_ready"
	codeNoShadow             = "no_shadow" // these three are the admin side's
	codeShadowRunning        = "shadow_running"
	codeShadowDiffers        = "shadow_differs"
	codeAdminAbsent          = "admin_token_absent" // these three on the admin side only
	codeAdminInvalid         = "admin_token_invalid"
	codeAdminForbidden       = "admin_forbidden"
	codeClientGone           = "client_gone" // logs only
)

// statuses maps a code to its status. A code that is not here is a refusal by a
// policy.
var statuses = map[string]int{
	codeUnexpectedQuery:       http.StatusBadRequest,
	codeMalformedJSON:         http.StatusBadRequest,
	codeIncompleteBody:        http.StatusBadRequest,
	codeOriginNotAllowed:      http.StatusForbidden,
	codeUnknownRoute:          http.StatusNotFound,
	codeUnknownSite:           http.StatusNotFound,
	codeMethodNotAllowed:      http.StatusMethodNotAllowed,
	codeOfAnother:             http.StatusConflict,
	codeAlreadyDone:           http.StatusConflict,
	codeInFlight:              http.StatusConflict,
	codeBodyTooLarge:          http.StatusRequestEntityTooLarge,
	codeUnsupportedMediaType:  http.StatusUnsupportedMediaType,
	codeMisdirected:           http.StatusMisdirectedRequest,
	codeInvalidRequest:        http.StatusUnprocessableEntity,
	codeMessageTooLong:        http.StatusUnprocessableEntity,
	codeMismatch:              http.StatusUnprocessableEntity,
	codeRateLimited:           http.StatusTooManyRequests,
	engine.CodeLimitReached:   http.StatusTooManyRequests,
	engine.CodeStepUpRequired: http.StatusUnauthorized,
	codeNotReady:              http.StatusServiceUnavailable,

	engine.CodeUnknownAction:        http.StatusNotFound,
	engine.CodeNotFound:             http.StatusNotFound,
	engine.CodeConfirmationRequired: http.StatusConflict,
	engine.CodeConfirmationSpent:    http.StatusConflict,
	engine.CodeInvalidArguments:     http.StatusUnprocessableEntity,
	engine.CodeConnectorFailed:      http.StatusBadGateway,
	engine.CodeOutcomeUnknown:       http.StatusBadGateway,
	engine.CodeConnectorTimeout:     http.StatusGatewayTimeout,
	engine.CodeAuditUnavailable:     http.StatusServiceUnavailable,
	engine.CodeInternal:             http.StatusInternalServerError,

	engine.CodeConfirmationNeedsFreshToken: http.StatusConflict,
}

// adminStatuses are of codes that only the admin side answers with, which the
// public description leaves out.
var adminStatuses = map[string]int{
	engine.CodeUnknownRevision: http.StatusNotFound,
	engine.CodePolicyRefused:   http.StatusConflict,
	engine.CodeLogInconsistent: http.StatusConflict,
}

// statusOf is the one place where a code becomes a status.
func statusOf(code string) int {
	if s, ok := statuses[code]; ok {
		return s
	}
	if s, ok := adminStatuses[code]; ok {
		return s
	}
	if strings.HasPrefix(code, "identity_") || code == codeAdminAbsent || code == codeAdminInvalid {
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}

// problem is an RFC 9457 problem document. Fields beside code and detail are
// sent when they are set.
type problem struct {
	code, detail string
	decision     string
	reasons      []engine.Reason
	pending      *confirm.Pending
	retryAfter   time.Duration
	unmet        []engine.Obligation // of step_up_required
	cause        error               // for the log; never sent
}

func (p *problem) Error() string { return p.code + ": " + p.detail }
func (p *problem) Unwrap() error { return p.cause }

// problemOf turns any error into a problem. What is not coded is internal, and
// says nothing.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*engine.Error](err); ok && e.Code != engine.CodeInternal {
		return &problem{code: e.Code, detail: e.Message, retryAfter: e.RetryAfter, unmet: e.Unmet, cause: e.Err}
	}
	return &problem{code: engine.CodeInternal, detail: "Something went wrong here. It has been logged.", cause: err}
}

// refusal is a decision that denies, as a problem.
func (x *exchange) refusal(d *engine.Decision) *problem {
	p := &problem{code: engine.CodePolicyError, decision: d.ID, reasons: d.Reasons}
	if len(d.Reasons) > 0 {
		p.code, p.detail = d.Reasons[0].Code, d.Reasons[0].Message
	}
	switch p.code {
	case engine.CodeLimitReached:
		p.retryAfter = max(d.RetryAt.Sub(x.s.o.Clock()), time.Second)
	case engine.CodeStepUpRequired:
		p.unmet = d.Obligations
	}
	return p
}

// fail answers with a problem, unless the response has begun.
func (x *exchange) fail(err error) {
	p := problemOf(err)
	x.code = p.code
	status := statusOf(p.code)
	if status >= 500 && p.cause != nil {
		x.s.o.Logger.ErrorContext(x.r.Context(), "request failed", "route", x.route.path, "code", p.code, "cause", p.cause.Error())
	}
	if x.w.Written() {
		return
	}
	h := x.w.Header()
	if status == http.StatusUnauthorized {
		h["Www-Authenticate"] = []string{x.challenge(p)}
	}
	if s := retrySeconds(p, status); s > 0 {
		h["Retry-After"] = []string{strconv.Itoa(s)}
	}
	x.out = p.append(x.out[:0], status)
	_ = x.send(status, problemType) // send never fails
}

// retrySeconds is when to try again, 0 for no hint. A lost disk is tried again
// often, so a moment is worth waiting.
func retrySeconds(p *problem, status int) int {
	switch {
	case p.retryAfter > 0:
		return int((p.retryAfter + time.Second - 1) / time.Second)
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return 1
	}
	return 0
}

// challenge is the WWW-Authenticate header of RFC 6750, section 3, and of RFC
// 9470, section 3, for a sign-in that is too old or too weak. A request without
// a token is told no error.
func (x *exchange) challenge(p *problem) string {
	realm := "Bearer"
	if x.site != nil {
		realm = x.site.realm
	}
	switch p.code {
	case engine.CodeIdentityAbsent, codeAdminAbsent:
		return realm
	case engine.CodeIdentityExpired:
		return realm + `, error="invalid_token", error_description="The token has expired"`
	case engine.CodeStepUpRequired:
		if x.identity.State != identity.Absent {
			realm += `, error="insufficient_user_authentication", error_description="A more recent or another sign-in is required"`
		}
		maxAge, acr := engine.StepUp(p.unmet)
		if len(acr) > 0 {
			realm += `, acr_values="` + strings.Join(acr, " ") + `"`
		}
		if maxAge > 0 {
			realm += `, max_age="` + strconv.FormatInt(int64(maxAge/time.Second), 10) + `"`
		}
		return realm
	}
	return realm + `, error="invalid_token", error_description="The token is not accepted"`
}

// append adds the document to b.
func (p *problem) append(b []byte, status int) []byte {
	b = append(b, `{"type":"urn:vouchsafe:problem:`...)
	b = appendEscaped(b, p.code)
	b = append(b, `","title":`...)
	b = appendString(b, http.StatusText(status))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"code":`...)
	b = appendString(b, p.code)
	if p.detail != "" {
		b = append(b, `,"detail":`...)
		b = appendString(b, p.detail)
	}
	if p.decision != "" {
		b = append(b, `,"decision":`...)
		b = appendString(b, p.decision)
	}
	if len(p.reasons) > 0 {
		b = append(b, `,"reasons":`...)
		b = appendReasons(b, p.reasons)
	}
	if p.pending != nil {
		b = append(b, `,"pending":`...)
		b = appendString(b, p.pending.ID)
		b = append(b, `,"action":`...)
		b = appendString(b, p.pending.Action)
		b = append(b, `,"summary":`...)
		b = appendString(b, p.pending.Summary)
		b = append(b, `,"expires_at":"`...)
		b = p.pending.Expires.UTC().AppendFormat(b, time.RFC3339)
		b = append(b, '"')
	}
	return append(b, '}')
}
