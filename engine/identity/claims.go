package identity

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxOtherClaims = 4 << 10      // bytes of claims that are not ours
	maxText        = 255          // bytes of sub, name and jti
	maxTime        = 253402300799 // the end of the year 9999
	maxDepth       = 16           // of claims that are not ours
	maxLifetime    = 24 * time.Hour
)

// claims are the members of a payload, typed but not yet judged.
type claims struct {
	issuer        string
	audience      []string
	subject       string
	issuedAt      time.Time
	expires       time.Time
	notBefore     time.Time // zero when there is no nbf
	rawEmail      string
	emailVerified *bool
	name          string
	tokenID       string
	authTime      time.Time // zero when there is no auth_time, or none that can be read
	acr           string    // "" likewise
	other         json.RawMessage
	seen          map[string]bool
}

// requiredClaims are those no token may lack, in the order they are missed.
var requiredClaims = []string{"iss", "aud", "sub", "iat", "exp", "email"}

// parseClaims reads a payload: one JSON object without duplicate members at
// any depth and nothing after it. It judges types and bounds, not meaning.
func parseClaims(payload []byte) (claims, fault) {
	c := claims{seen: map[string]bool{}}
	malformed := fault{CauseClaimsMalformed, "payload is not one strict JSON object"}
	d := jsontext.NewDecoder(bytes.NewReader(payload))
	if d.PeekKind() != '{' {
		return c, malformed
	}
	if _, err := d.ReadToken(); err != nil {
		return c, malformed
	}
	var other bytes.Buffer
	var f fault // the first one; the whole payload is read, so that what is malformed is called so
	for d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return c, malformed
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return c, malformed
		}
		c.seen[name] = true
		own, why := c.set(name, value)
		if why != "" && f == (fault{}) {
			f = fault{CauseClaimInvalid, name + " " + why}
		}
		if own {
			continue
		}
		if other.Len() == 0 {
			other.WriteByte('{')
		} else {
			other.WriteByte(',')
		}
		quoted, err := jsontext.AppendQuote(nil, name)
		if err != nil {
			return c, malformed
		}
		value = slices.Clone(value)
		if err := value.Compact(); err != nil {
			return c, malformed
		}
		other.Write(quoted)
		other.WriteByte(':')
		other.Write(value)
		if !modest(value) && f == (fault{}) {
			f = fault{CauseClaimInvalid, "another claim is nested too deep or holds a number out of range"}
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return c, malformed
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return c, malformed
	}
	for _, name := range requiredClaims {
		if !c.seen[name] {
			return c, fault{CauseClaimMissing, name}
		}
	}
	if f != (fault{}) {
		return c, f
	}
	if other.Len() > 0 {
		other.WriteByte('}')
		if other.Len() > maxOtherClaims {
			return c, fault{CauseClaimsTooLarge, "more than 4096 bytes besides the claims that are known"}
		}
		c.other = other.Bytes()
	}
	return c, fault{}
}

// set takes one member. It reports whether the name is one of ours, and what
// is wrong with the value, "" for nothing.
func (c *claims) set(name string, v jsontext.Value) (own bool, why string) {
	switch name {
	case "iss":
		c.issuer, why = text(v)
	case "aud":
		c.audience, why = audience(v)
	case "sub":
		if c.subject, why = text(v); why == "" && c.subject == "" {
			why = "is empty"
		}
	case "iat":
		c.issuedAt, why = numericDate(v)
	case "exp":
		c.expires, why = numericDate(v)
	case "nbf":
		c.notBefore, why = numericDate(v)
	case "email":
		if s, ok := stringOf(v); ok {
			c.rawEmail = s
		} else {
			why = "is not a string"
		}
	case "email_verified":
		switch v.Kind() {
		case 't', 'f':
			verified := v.Kind() == 't'
			c.emailVerified = &verified
		default:
			why = "is neither true nor false"
		}
	case "name":
		c.name, why = text(v)
	case "jti":
		c.tokenID, why = text(v)
	default:
		c.note(name, v)
		return false, ""
	}
	return true, why
}

// note takes what a token says of how its bearer signed in (OpenID Connect
// Core 1.0, section 2). Policies see these as claims like any other. A value of
// the wrong type proves nothing and spoils nothing: it is as if it were absent.
func (c *claims) note(name string, v jsontext.Value) {
	switch name {
	case "auth_time":
		if t, why := numericDate(v); why == "" {
			c.authTime = t
		}
	case "acr":
		if s, why := text(v); why == "" {
			c.acr = s
		}
	}
}

// text reads a string that is shown or recorded: bounded, without control
// characters, line separators or the marks that reorder what is displayed.
func text(v jsontext.Value) (string, string) {
	s, ok := stringOf(v)
	if !ok {
		return "", "is not a string"
	}
	if len(s) > maxText {
		return "", "is longer than 255 bytes"
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) {
			return "", "holds a control character"
		}
	}
	return s, ""
}

// audience reads a string or an array of strings.
func audience(v jsontext.Value) ([]string, string) {
	if v.Kind() == '"' {
		s, why := text(v)
		return []string{s}, why
	}
	if v.Kind() != '[' {
		return nil, "is neither a string nor an array of strings"
	}
	var all []string
	d := jsontext.NewDecoder(bytes.NewReader(v))
	d.ReadToken() // the bracket; the value has been read before, so it is well formed
	for d.PeekKind() != ']' {
		item, err := d.ReadValue()
		if err != nil {
			return nil, "is neither a string nor an array of strings"
		}
		s, why := text(item)
		if why != "" {
			return nil, "holds something that " + why
		}
		all = append(all, s)
	}
	return all, ""
}

// numericDate reads seconds since 1970, whole or with a fraction.
func numericDate(v jsontext.Value) (time.Time, string) {
	if v.Kind() != '0' {
		return time.Time{}, "is not a number"
	}
	if len(v) > 32 || bytes.ContainsAny(v, "eE") {
		return time.Time{}, "is not a date in plain digits"
	}
	seconds, err := strconv.ParseFloat(string(v), 64)
	if err != nil || v[0] == '-' || seconds > maxTime {
		return time.Time{}, "is not a date between 1970 and 9999"
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), ""
}

// modest reports whether a claim that goes to policies is nested no deeper
// than it needs to be and has only numbers a float64 can hold.
func modest(v jsontext.Value) bool {
	d := jsontext.NewDecoder(bytes.NewReader(v))
	for {
		token, err := d.ReadToken()
		if err != nil {
			return err == io.EOF
		}
		if d.StackDepth() > maxDepth {
			return false
		}
		if token.Kind() == '0' {
			if n := token.String(); len(n) > 64 {
				return false
			} else if _, err := strconv.ParseFloat(n, 64); err != nil {
				return false
			}
		}
	}
}
