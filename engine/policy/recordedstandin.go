package policy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// standIns replaces the people in recorded inputs. Equal texts get equal
// stand-ins wherever they stand, texts that differ get different ones, and
// texts that differ only in their letters' case still differ only in that. Who
// stands for whom is forgotten with the standIns.
//
// Replaced are everything that says who somebody is, and every text and every
// long number in arguments and claims. Numbers in claims are replaced whatever
// their length. What the policy itself has a literal for stays, unless it is
// also somebody's name: without it a policy could not decide as it did.
type standIns struct {
	key      [sha256.Size]byte
	literals map[string]bool
}

// protocolClaims say how somebody signed in, and not who they are.
var protocolClaims = map[string]bool{"acr": true, "amr": true, "auth_time": true}

// longNumber is how many digits make a number in an argument an account, a
// telephone or a card rather than an amount.
const longNumber = 7

func newStandIns(s *Set) *standIns {
	out := &standIns{literals: map[string]bool{}}
	rand.Read(out.key[:])
	note := func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.String:
			out.literals[string(v)] = true
		case ast.Number:
			out.literals[string(v)] = true
		}
		return false
	}
	for _, m := range s.compiler.Modules {
		ast.WalkTerms(m, note)
	}
	ast.WalkTerms(ast.NewTerm(s.data.root), note)
	return out
}

// replace returns the input with stand-ins.
func (s *standIns) replace(input []byte) ([]byte, error) {
	v, err := plainRecorded(input)
	if err != nil {
		return nil, err
	}
	in, _ := v.(map[string]any) // an object, or it could not have been read
	r := replacement{standIns: s}
	r.members(in["identity"], "subject", "email", "name", "token_id")
	r.members(in["target"], "email")
	r.members(in["asserted"], "emails", "names")
	r.members(in["conversation"], "id", "subject")
	if action, ok := in["action"].(map[string]any); ok {
		if args, ok := action["args"].(map[string]any); ok {
			action["args"] = r.object(args, func(n json.Number) bool { return len(n) >= longNumber })
		}
	}
	if identity, ok := in["identity"].(map[string]any); ok {
		if claims, ok := identity["claims"].(map[string]any); ok {
			kept := map[string]any{}
			for name := range protocolClaims {
				if v, ok := claims[name]; ok && r.harmless(v) {
					kept[name] = v
					delete(claims, name)
				}
			}
			claims = r.object(claims, func(json.Number) bool { return true })
			for name, v := range kept {
				claims[name] = v
			}
			identity["claims"] = claims
		}
	}
	return appendObject(nil, in), nil
}

// replacement is the replacing of one input.
type replacement struct {
	*standIns
	people []string // the texts that say who somebody is, in lower case
}

// members replaces the named members of an object, which all say who somebody
// is.
func (r *replacement) members(v any, names ...string) {
	o, ok := v.(map[string]any)
	if !ok {
		return
	}
	for _, name := range names {
		switch v := o[name].(type) {
		case string:
			o[name] = r.person(v)
		case []any:
			for i := range v {
				if text, ok := v[i].(string); ok {
					v[i] = r.person(text)
				}
			}
		}
	}
}

func (r *replacement) person(s string) string {
	if len(s) > 2 {
		r.people = append(r.people, strings.ToLower(s))
	}
	return r.standIn(s)
}

// names reports whether a text holds what says who somebody is.
func (r *replacement) names(s string) bool {
	lower := strings.ToLower(s)
	return strings.Contains(s, "@") ||
		slices.ContainsFunc(r.people, func(person string) bool { return strings.Contains(lower, person) })
}

// partly reports whether a text stands in what says who somebody is.
func (r *replacement) partly(s string) bool {
	lower := strings.ToLower(s)
	return len(s) > 2 && slices.ContainsFunc(r.people, func(person string) bool { return strings.Contains(person, lower) })
}

// harmless reports a value that names nobody, at any depth.
func (r *replacement) harmless(v any) bool {
	switch v := v.(type) {
	case string:
		return !r.names(v) && !r.partly(v)
	case []any:
		for i := range v {
			if !r.harmless(v[i]) {
				return false
			}
		}
	case map[string]any:
		return len(v) == 0
	}
	return true
}

// object replaces what arguments and claims hold. Member names stay, unless
// they name somebody.
func (r *replacement) object(o map[string]any, telling func(json.Number) bool) map[string]any {
	out := make(map[string]any, len(o))
	for name, v := range o {
		if r.names(name) {
			name = r.standIn(name)
		}
		out[name] = r.value(v, telling)
	}
	return out
}

func (r *replacement) value(v any, telling func(json.Number) bool) any {
	switch v := v.(type) {
	case string:
		if r.literals[v] && !r.names(v) && !r.partly(v) {
			return v
		}
		return r.standIn(v)
	case json.Number:
		if r.literals[string(v)] || !telling(v) {
			return v
		}
		return json.Number(r.digits(string(v), len(v)))
	case map[string]any:
		return r.object(v, telling)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = r.value(v[i], telling)
		}
		return out
	}
	return v
}

// standIn is what stands for a text. An address keeps the form of one, and
// addresses of one domain keep having it in common.
func (s *standIns) standIn(text string) string {
	if text == "" {
		return ""
	}
	lower := strings.ToLower(text)
	out := ""
	switch at := strings.LastIndexByte(lower, '@'); {
	case at > 0 && at < len(lower)-1:
		return s.cased(text, lower, s.letters(lower)) + "@" + s.letters(lower[at:]) + ".example"
	case strings.HasPrefix(lower, "cv_"):
		out = "cv_" + s.letters(lower)
	case strings.Trim(lower, "0123456789") == "":
		return s.digits(lower, max(len(lower), 15))
	default:
		out = s.letters(lower)
	}
	return s.cased(text, lower, out)
}

// cased carries over that a text was not in lower case, and in which way.
func (s *standIns) cased(text, lower, out string) string {
	if text == lower {
		return out
	}
	sum, b := s.sum("case", text), []byte(out)
	b[len(b)-1] -= 'a' - 'A'
	for i := range b[:len(b)-1] {
		if b[i] >= 'a' && b[i] <= 'z' && sum[i%len(sum)]&1 == 1 {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

// consonants make words that nobody is called.
const consonants = "bcdfghjklmnpqrstvwxz"

// letters returns 14 letters, some 60 bits, for a text.
func (s *standIns) letters(text string) string {
	sum := s.sum("letters", text)
	out := make([]byte, 14)
	for i := range out {
		out[i] = consonants[int(sum[i])%len(consonants)]
	}
	return string(out)
}

// digits returns n digits for a text, the first not 0.
func (s *standIns) digits(text string, n int) string {
	out := make([]byte, 0, n)
	for sum := s.sum("digits", text); len(out) < n; sum = s.sum("more", string(sum[:])) {
		for i := 0; i+8 <= len(sum) && len(out) < n; i += 8 {
			d := byte(binary.BigEndian.Uint64(sum[i:]) % 10)
			if len(out) == 0 {
				d = max(d, 1)
			}
			out = append(out, '0'+d)
		}
	}
	return string(out)
}

func (s *standIns) sum(kind, text string) [sha256.Size]byte {
	h := hmac.New(sha256.New, s.key[:])
	h.Write([]byte(kind))
	h.Write([]byte{0})
	h.Write([]byte(text))
	return [sha256.Size]byte(h.Sum(nil))
}
