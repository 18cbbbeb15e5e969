package gate

import (
	"slices"

	"vouchsafe/engine"
)

// goReasons are the texts of the codes that are produced in Go.
var goReasons = map[string]engine.Reason{
	engine.CodeUnknownAction: {
		Message: "This site's assistant has no such action.",
		Audit:   "The intent named an action that is not in the site's catalog.",
	},
	engine.CodeInvalidArguments: {
		Message: "Something in the request is missing or not understood. Please check it and try again.",
		Audit:   "The arguments did not meet the action's schema; no connector saw them.",
	},
	engine.CodeUnsupportedObligation: {
		Message: "The assistant cannot do this at the moment. Please contact the site.",
		Audit:   "The policy allowed this under an obligation that this version cannot enforce.",
	},
	engine.CodePolicyError: {
		Message: "The assistant cannot check whether this is allowed, so it did nothing. Please try again later.",
		Audit:   "The policy was undefined, failed, timed out or answered in another shape.",
	},
	engine.CodeConfirmationCancelled: {
		Message: "All right, I have left it as it is.",
		Audit:   "The customer was asked to confirm and said no. Nothing was done.",
	},
	engine.CodeConfirmationLapsed: {
		Message: "That was not confirmed in time, so nothing was done.",
		Audit:   "The customer was asked to confirm and did not answer in time. Nothing was done.",
	},
	engine.CodeConfirmationSpent: {
		Message: "That confirmation has been used or is no longer valid. Please ask again.",
		Audit:   "A confirmation was given that is unknown, used, lapsed or somebody else's. Nothing was done.",
	},
	engine.CodeConfirmationNeedsFreshToken: {
		Message: "To be sure it is still you, this needs a fresh sign-in. Please sign in again and I will carry on.",
		Audit:   "A confirmation was given with a token that has confirmed something before, which the site does not accept.",
	},
	engine.CodePolicyStale: {
		Message: "The assistant cannot check at the moment whether this is allowed, so it did nothing. Please try again later.",
		Audit:   "The policy allowed this, but its source has not confirmed it for longer than max_staleness, and the site refuses personal actions then.",
	},
	engine.CodeAuditUnavailable: {
		Message: "The assistant cannot check whether this is allowed, so it did nothing. Please try again shortly.",
		Audit:   "How often the visitor has done this could not be read, so its limit could not be kept.",
	},
	engine.CodeLimitReached: {
		Message: "You have done this as often as is allowed for now.",
		Audit:   "The visitor has done this as often as the policy's limit obligation lets them in its window; the call was not made.",
	},
	engine.CodeStepUpRequired: {
		Message: "To be sure it is still you, this needs a fresh sign-in. Please sign in again and I will carry on.",
		Audit:   "The token's auth_time or acr does not meet the policy's step_up obligation, or it has none.",
	},
	// These four are also codes of the default policy, which words them itself.
	// In Go they come of a limit, which is held for a visitor who is known.
	engine.CodeIdentityAbsent: {
		Message: "Please sign in first, then I can do that for you.",
		Audit:   "The action is under a limit, which is counted for a visitor, and nobody was signed in.",
	},
	engine.CodeIdentityInvalid: {
		Message: "I could not confirm your sign-in. Please sign in again and I will carry on.",
		Audit:   "The action is under a limit, which is counted for a visitor, and the token does not verify.",
	},
	engine.CodeIdentityExpired: {
		Message: "Your sign-in has expired. Please sign in again and I will carry on.",
		Audit:   "The action is under a limit, which is counted for a visitor, and the token has expired.",
	},
	engine.CodeIdentityRevoked: {
		Message: "This sign-in has been ended. Please sign in again and I will carry on.",
		Audit:   "The action is under a limit, which is counted for a visitor, and the token was revoked.",
	},
	engine.CodeWall: {
		Message: "The assistant cannot do this. Please contact the site.",
		Audit:   "The policy allowed what no policy may allow: the second lock refused it. Review the policy.",
	},
}

// Reasons returns the texts of every code that Go produces of a decision or an
// outcome.
func Reasons() map[string]engine.Reason {
	out := map[string]engine.Reason{
		engine.CodeNotOwner: {Code: engine.CodeNotOwner, Message: errNotFound.Message,
			Audit: "The record belongs to somebody else, or to nobody. The visitor heard what a missing record gets."},
	}
	for code := range goReasons {
		out[code] = goReason(code)
	}
	return out
}

func goReason(code string) engine.Reason {
	r := goReasons[code]
	r.Code = code
	return r
}

// first orders reasons so that the one to show a visitor comes first: what the
// site does not offer at all, before asking anybody to sign in for it; then who
// they are; then whom it is about.
var first = []string{
	engine.CodeTierInsufficient,
	engine.CodeIdentityAbsent,
	engine.CodeIdentityInvalid,
	engine.CodeIdentityRevoked,
	engine.CodeIdentityExpired,
	"identity_too_long_lived",
	"email_unverified",
	engine.CodeTargetMismatch,
}

func orderReasons(rs []engine.Reason) {
	if len(rs) < 2 {
		return
	}
	rank := func(r engine.Reason) int {
		if i := slices.Index(first, r.Code); i >= 0 {
			return i
		}
		return len(first)
	}
	slices.SortStableFunc(rs, func(a, b engine.Reason) int { return rank(a) - rank(b) })
}

// Refusals of a permitted call, as the visitor hears them.
var (
	errNotFound = engine.Errorf(engine.CodeNotFound,
		"I can't find that in your account. Please check the number and try again.", nil)
	errUnrecorded = engine.Errorf(engine.CodeAuditUnavailable,
		"This cannot be recorded at the moment, so nothing was shown. Please try again shortly.", nil)
	errDoneUnrecorded = engine.Errorf(engine.CodeOutcomeUnknown,
		"This was sent, but I can't confirm what became of it. Please check before you try again.", nil)
)
