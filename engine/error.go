package engine

import (
	"errors"
	"time"
)

// Error is the one coded error of the project. Message is fit for whoever
// called; Err is the cause, for logs, and is never sent. Neither holds a
// secret, a token or an e-mail address.
type Error struct {
	Code       string
	Message    string
	RetryAfter time.Duration // a hint, when trying again later may help
	Unmet      []Obligation  // of step_up_required: what the sign-in did not meet
	Err        error
}

// Errorf makes an Error with a cause.
func Errorf(code, message string, cause error) *Error {
	return &Error{Code: code, Message: message, Err: cause}
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Code + ": " + e.Message + ": " + e.Err.Error()
	}
	return e.Code + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first Error in err's chain, CodeInternal for
// any other error and "" for nil.
func CodeOf(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
