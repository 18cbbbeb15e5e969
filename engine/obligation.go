package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Obligation is a condition under which an allow holds. Kind says which of the
// other fields are set.
type Obligation struct {
	Kind     string
	Argument string        // of ownership
	N        int           // of limit: at most so many uses
	Window   time.Duration // of limit: in any period of this length
	MaxAge   time.Duration // of step_up: since the visitor signed in; 0 when that does not matter
	ACR      []string      // of step_up: how they signed in, one of these; empty when that does not matter
}

// The obligation kinds the engine can enforce. Any other denies.
const (
	ObligationConfirm   = "confirm"
	ObligationLimit     = "limit"
	ObligationStepUp    = "step_up"
	ObligationOwnership = "ownership" // added by the gate, not by policies
)

// Bounds of what an obligation may ask for.
const (
	MaxLimit  = 1000 // every use in the window is kept
	MaxPeriod = 366 * 24 * time.Hour
	MaxACR    = 16 // values, each of at most maxACRLength bytes

	maxACRLength = 255
)

// Valid reports whether a policy may oblige to this, as an error that says what
// is wrong.
func (o *Obligation) Valid() error {
	period := func(name string, d time.Duration) error {
		if d < time.Second || d > MaxPeriod || d%time.Second != 0 {
			return fmt.Errorf("%s is whole seconds, from 1s to 366d", name)
		}
		return nil
	}
	switch o.Kind {
	case ObligationConfirm:
		return nil
	case ObligationLimit:
		if o.N < 1 || o.N > MaxLimit {
			return fmt.Errorf("n is a whole number from 1 to %d", MaxLimit)
		}
		return period("window", o.Window)
	case ObligationStepUp:
		if o.MaxAge == 0 && len(o.ACR) == 0 {
			return fmt.Errorf("step_up takes max_age, acr or both")
		}
		if len(o.ACR) > MaxACR {
			return fmt.Errorf("acr has more than %d values", MaxACR)
		}
		for _, v := range o.ACR {
			if !isACR(v) {
				return fmt.Errorf("a value of acr is 1 to %d visible ASCII characters but quotes and backslashes", maxACRLength)
			}
		}
		if o.MaxAge == 0 {
			return nil
		}
		return period("max_age", o.MaxAge)
	}
	return fmt.Errorf("the kind %q is not known", o.Kind)
}

// isACR accepts what stands in a list of acr_values that spaces divide, and in
// a quoted string of a header, as it is.
func isACR(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= maxACRLength
}

// String is the obligation as it is recorded: "confirm", "limit 3/24h",
// "step_up max_age=5m acr=urn:a,urn:b". The kind is its first word.
func (o Obligation) String() string {
	switch o.Kind {
	case ObligationLimit:
		return fmt.Sprintf("%s %d/%s", o.Kind, o.N, Period(o.Window))
	case ObligationStepUp:
		out := o.Kind
		if o.MaxAge > 0 {
			out += " max_age=" + Period(o.MaxAge)
		}
		if len(o.ACR) > 0 {
			out += " acr=" + strings.Join(o.ACR, ",")
		}
		return out
	}
	return o.Kind
}

// AppendJSON appends the obligation as API callers see it, and as a policy
// writes it.
func (o Obligation) AppendJSON(b []byte) []byte {
	text := func(b []byte, s string) []byte {
		q, _ := json.Marshal(s) // a string always encodes
		return append(b, q...)
	}
	b = append(b, `{"kind":`...)
	b = text(b, o.Kind)
	if o.Argument != "" {
		b = append(b, `,"argument":`...)
		b = text(b, o.Argument)
	}
	if o.N > 0 {
		b = append(b, `,"n":`...)
		b = strconv.AppendInt(b, int64(o.N), 10)
		b = append(b, `,"window":`...)
		b = text(b, Period(o.Window))
	}
	if o.MaxAge > 0 {
		b = append(b, `,"max_age":`...)
		b = text(b, Period(o.MaxAge))
	}
	if len(o.ACR) > 0 {
		b = append(b, `,"acr":[`...)
		for i, v := range o.ACR {
			if i > 0 {
				b = append(b, ',')
			}
			b = text(b, v)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// periodUnits are the units a policy writes a period in, the longest first.
var periodUnits = []struct {
	letter byte
	unit   time.Duration
}{{'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// ParsePeriod reads a period as policies write it: a whole number without sign
// or leading zero, and one of s, m, h and d: "90s", "5m", "24h", "7d".
func ParsePeriod(s string) (time.Duration, error) {
	bad := fmt.Errorf("a period is a whole number and one of s, m, h and d, such as 5m or 7d")
	if len(s) < 2 || len(s) > 9 || s[0] == '0' {
		return 0, bad
	}
	for _, u := range periodUnits {
		if s[len(s)-1] != u.letter {
			continue
		}
		n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
		if err != nil || time.Duration(n) > MaxPeriod/u.unit {
			return 0, bad
		}
		return time.Duration(n) * u.unit, nil
	}
	return 0, bad
}

// Period writes whole seconds as ParsePeriod reads them, in the longest unit
// that leaves no rest; one day is 24h.
func Period(d time.Duration) string {
	for _, u := range periodUnits {
		if d%u.unit == 0 && d != 24*time.Hour {
			return strconv.FormatInt(int64(d/u.unit), 10) + string(u.letter)
		}
		if d == 24*time.Hour && u.unit == time.Hour {
			return "24h"
		}
	}
	return d.String()
}

// Obliges reports whether one of the obligations is of the kind.
func Obliges(os []Obligation, kind string) bool {
	return slices.ContainsFunc(os, func(o Obligation) bool { return o.Kind == kind })
}

// StepUp is what a sign-in must be to meet every step_up among the obligations:
// at most so old, 0 for any age, and one of these acr values, none for any. Of
// two that share no value each is asked for in its turn, the first first.
func StepUp(os []Obligation) (maxAge time.Duration, acr []string) {
	for _, o := range os {
		if o.Kind != ObligationStepUp {
			continue
		}
		if o.MaxAge > 0 && (maxAge == 0 || o.MaxAge < maxAge) {
			maxAge = o.MaxAge
		}
		if len(acr) == 0 {
			acr = o.ACR
			continue
		}
		both := slices.DeleteFunc(slices.Clone(acr), func(v string) bool { return !slices.Contains(o.ACR, v) })
		if len(o.ACR) > 0 && len(both) > 0 {
			acr = both
		}
	}
	return maxAge, acr
}
