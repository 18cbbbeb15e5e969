package output

import "errors"

// The exit codes. 0 is: what was checked holds, or what was asked was done.
const (
	CodeFails  = 1 // it was checked, and does not hold
	CodeCannot = 2 // it could not be asked
)

// Exit is an error that says how the process ends.
type Exit struct {
	Code int
	Err  error // nil when there is nothing to add to what was printed
}

// Fails returns an Exit for what was checked and does not hold.
func Fails(err error) *Exit { return &Exit{Code: CodeFails, Err: err} }

// Cannot returns an Exit for what could not be asked.
func Cannot(err error) *Exit { return &Exit{Code: CodeCannot, Err: err} }

func (e *Exit) Error() string {
	if e.Err == nil {
		return "the check does not hold"
	}
	return e.Err.Error()
}

func (e *Exit) Unwrap() error { return e.Err }

// CodeOf returns the exit code for the error a command returned. Only an Exit
// that says so is 1: an error that nobody classified means the question was not
// answered.
func CodeOf(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Exit](err); ok && e.Code == CodeFails {
		return CodeFails
	}
	return CodeCannot
}

// hinted is an error with advice.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// WithHint adds what to do next, which Printer.Error prints below the error.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{error: err, hint: hint}
}
