package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"vouchsafe/engine"
)

// option is one thing that could be different, in words and as a change of the
// input.
type option struct {
	dimension string // at most one option of a dimension is chosen at a time
	words     string
	// joins, when set, says several options of the dimension in one breath:
	// "tier " of pro and business makes "tier pro or business". words is then
	// the one option's own.
	joins string
	edits []edit
}

// edit sets a member of the input, or takes it away.
type edit struct {
	path  string
	value any
	drop  bool
}

// nobody is an address that is no visitor's.
const nobody = "somebody.else@vouchsafe.example"

// facts reads the input for the words.
type facts struct{ input map[string]any }

func (f facts) text(path string) string {
	v, _ := member(f.input, path)
	s, _ := v.(string)
	return s
}

func (f facts) seconds(path string) (int64, bool) {
	v, _ := member(f.input, path)
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

func (f facts) is(path string, want bool) bool {
	v, ok := member(f.input, path)
	return ok && v == want
}

func number64(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }

// passing is what each dimension takes at its boundary, for a denial.
func (f facts) passing() []option {
	now, _ := f.seconds("now")
	most, limited := f.seconds("site.max_token_lifetime")
	var out []option
	add := func(dimension, words string, edits ...edit) {
		out = append(out, option{dimension: dimension, words: words, edits: edits})
	}
	if state := f.text("identity.state"); state != "verified" {
		words := map[string]string{"absent": "sign in", "expired": "sign in again"}[state]
		if words == "" {
			words = "a token that verifies"
		}
		email := f.text("target.email")
		if email == "" {
			email = "visitor@vouchsafe.example"
		} else if f.is("action.personal", true) {
			words += ", as the account it is aimed at"
		}
		life := int64(60)
		if limited {
			life = min(life, most)
		}
		identity := map[string]any{"state": "verified", "subject": "visitor", "email": email, "token_id": "token",
			"issued_at": number64(now), "expires_at": number64(now + life), "lifetime": number64(life)}
		add("identity", words, edit{path: "identity", value: identity}, edit{path: "target.email", value: email})
	} else {
		if expires, known := f.seconds("identity.expires_at"); !known || now >= expires {
			add("expiry", "a token that has not expired", edit{path: "identity.expires_at", value: number64(now + 1)})
		}
		if email := f.text("identity.email"); email != "" && email != f.text("target.email") {
			add("target", "the visitor's own account as the target", edit{path: "target.email", value: email})
		}
		life, known := f.seconds("identity.lifetime")
		switch {
		case limited && (!known || life > most):
			add("lifetime", "a token of at most "+span(most), edit{path: "identity.lifetime", value: number64(most)})
		case !limited && known:
			add("lifetime", "a max_token_lifetime for the site", edit{path: "site.max_token_lifetime", value: number64(life)})
		}
	}
	if f.is("identity.revoked", true) {
		add("revoked", "a sign-in that has not been ended", edit{path: "identity.revoked", drop: true})
	}
	if f.is("identity.email_verified", false) {
		add("email_verified", "a verified e-mail address", edit{path: "identity.email_verified", value: true})
	}
	if !f.is("confirmation.confirmed", true) {
		add("confirmation", "confirm", edit{path: "confirmation.confirmed", value: true})
	}
	if emails, _ := member(f.input, "asserted.emails"); !empty(emails) {
		add("asserted", "no address in the message", edit{path: "asserted.emails", value: []any{}})
	}
	if names, _ := member(f.input, "asserted.names"); !empty(names) {
		add("asserted names", "no name in the message", edit{path: "asserted.names", value: []any{}})
	}
	return append(out, f.either()...)
}

func empty(v any) bool {
	list, ok := v.([]any)
	return !ok || len(list) == 0
}

// failing is what each dimension takes just past its boundary, for an allow.
func (f facts) failing() []option {
	var out []option
	add := func(dimension, words string, edits ...edit) {
		out = append(out, option{dimension: dimension, words: words, edits: edits})
	}
	unaimed := []edit{}
	if f.text("target.email") == f.text("identity.email") {
		unaimed = append(unaimed, edit{path: "target", drop: true})
	}
	if f.text("identity.state") != "absent" {
		add("identity", "without a sign-in", append(unaimed, edit{path: "identity", value: map[string]any{"state": "absent"}})...)
		add("identity", "a token that does not verify", append(unaimed, edit{path: "identity", value: map[string]any{"state": "invalid"}})...)
	}
	if f.text("identity.state") == "verified" {
		if expires, known := f.seconds("identity.expires_at"); known {
			add("expiry", "once the sign-in has expired, at "+clock(expires), edit{path: "now", value: number64(expires)})
		}
		add("revoked", "a sign-in that has been ended", edit{path: "identity.revoked", value: true})
		add("email_verified", "an e-mail address that is not verified", edit{path: "identity.email_verified", value: false})
		add("target", "somebody else's account as the target", edit{path: "target.email", value: nobody})
		if most, limited := f.seconds("site.max_token_lifetime"); limited {
			add("lifetime", "a token of more than "+span(most), edit{path: "identity.lifetime", value: number64(most + 1)})
		}
	}
	if f.is("confirmation.confirmed", true) {
		add("confirmation", "without the confirmation", edit{path: "confirmation.confirmed", value: false})
	} else {
		add("confirmation", "confirm", edit{path: "confirmation.confirmed", value: true})
	}
	add("asserted", "another address in the message", edit{path: "asserted.emails", value: []any{nobody}})
	add("asserted names", "a name in the message", edit{path: "asserted.names", value: []any{"Somebody Else"}})
	return append(out, f.either()...)
}

// either is what may open or close alike: the tier, the channel, the kind of
// action, and the hour and the day.
func (f facts) either() []option {
	var out []option
	list := func(dimension, path, joins string, values ...string) {
		for _, v := range values {
			if v != f.text(path) {
				out = append(out, option{dimension: dimension, words: v, joins: joins, edits: []edit{{path: path, value: v}}})
			}
		}
	}
	list("tier", "site.tier", "tier ", engine.Free.String(), engine.Pro.String(), engine.Business.String())
	list("channel", "channel", "the channel ", string(engine.ChannelChat), string(engine.ChannelAction))
	list("risk", "action.risk", "an action of risk ", engine.Read.String(), engine.Write.String(), engine.Destructive.String())
	now, known := f.seconds("now")
	if !known {
		return out
	}
	later := func(dimension, words string, by int64) {
		edits := []edit{{path: "now", value: number64(now + by)}}
		for _, path := range []string{"identity.issued_at", "identity.expires_at"} {
			if at, known := f.seconds(path); known {
				edits = append(edits, edit{path: path, value: number64(at + by)})
			}
		}
		out = append(out, option{dimension: dimension, words: words, edits: edits})
	}
	hour := int64(time.Hour / time.Second)
	for h := int64(1); h < 24; h++ {
		at := (now/hour + h) * hour
		later("hour", "at "+time.Unix(at, 0).UTC().Format("15:04")+" UTC", at-now)
	}
	for d := int64(1); d < 7; d++ {
		later("day", "on a "+time.Unix(now+d*24*hour, 0).UTC().Weekday().String(), d*24*hour)
	}
	return out
}

// covered are the members that the dimensions above change, and those whose
// change would only name another question.
var covered = []string{"action.personal", "action.risk", "action.min_tier", "asserted.emails", "asserted.names", "channel",
	"confirmation.confirmed", "identity.email", "identity.email_verified", "identity.expires_at", "identity.issued_at",
	"identity.lifetime", "identity.revoked", "identity.state", "now", "site.max_token_lifetime", "site.tier", "target.email"}

// generic is what else rules look at: each member as something else, absent,
// and as each literal of the policy that it could be.
func (f facts) generic(looked map[string]bool, s *Set) []option {
	var out []option
	texts, numbers := s.literals()
	for _, path := range slices.Sorted(maps.Keys(looked)) {
		if isCovered(path) {
			continue
		}
		was, there := member(f.input, path)
		if _, whole := was.(map[string]any); whole {
			continue
		}
		name := nameOf(path)
		add := func(words string, e edit) {
			e.path = path
			out = append(out, option{dimension: path, words: words, edits: []edit{e}})
		}
		if there {
			if _, text := was.(string); text {
				add("another "+name, edit{value: "something else"})
			}
			if _, list := was.([]any); list {
				add("an empty "+name, edit{value: []any{}})
			}
			if !required[path] {
				add("no "+name, edit{drop: true})
			}
		}
		// A value of another kind would only ask how OPA orders kinds.
		if _, is := was.(bool); is || !there {
			for _, b := range []bool{true, false} {
				add(fmt.Sprintf("%s of %t", name, b), edit{value: b})
			}
		}
		if _, is := was.(string); is || !there {
			for _, t := range texts {
				add(fmt.Sprintf("%s of %q", name, t), edit{value: t})
			}
		}
		if number, is := was.(json.Number); is || !there {
			for _, n := range nearestTo(number, numbers) {
				add(fmt.Sprintf("%s of %s", name, n), edit{value: n})
			}
		}
	}
	return out
}

// nearestTo puts the numbers nearest to one first, so that what is named is at
// the boundary.
func nearestTo(one json.Number, numbers []json.Number) []json.Number {
	at, err := one.Float64()
	if err != nil {
		return numbers
	}
	far := func(n json.Number) float64 {
		f, _ := n.Float64() // a whole number
		return math.Abs(f - at)
	}
	return slices.SortedStableFunc(slices.Values(numbers), func(a, b json.Number) int { return cmp.Compare(far(a), far(b)) })
}

// nameOf is a member as one would say it.
func nameOf(path string) string {
	switch path {
	case "action.name":
		return "action"
	case "site.id":
		return "site"
	}
	return strings.TrimPrefix(strings.TrimPrefix(path, "identity."), "action.")
}

// required are the members that every question has.
var required = map[string]bool{"site.id": true, "action.name": true, "action.args": true}

func isCovered(path string) bool {
	for _, c := range covered {
		if path == c || strings.HasPrefix(c, path+".") {
			return true
		}
	}
	return false
}

// maxLiterals bounds how many literals of a policy are tried.
const maxLiterals = 40

// literals are the policy's own words and numbers, with each number's
// neighbours: what a rule may compare a member of input with.
func (s *Set) literals() (texts []string, numbers []json.Number) {
	seenText, seenNumber := map[string]bool{}, map[json.Number]bool{}
	for _, name := range sortedNames(s.compiler.Modules) {
		for _, rule := range s.compiler.Modules[name].Rules {
			ast.WalkTerms(rule.Body, func(t *ast.Term) bool {
				switch v := t.Value.(type) {
				case ast.Ref:
					return true // its steps are names
				case ast.String:
					if len(texts) < maxLiterals && !seenText[string(v)] && len(v) <= 64 {
						seenText[string(v)] = true
						texts = append(texts, string(v))
					}
				case ast.Number:
					if i, ok := v.Int64(); ok && len(numbers) < maxLiterals && !seenNumber[json.Number(v)] {
						seenNumber[json.Number(v)] = true
						numbers = append(numbers, number64(i), number64(i-1), number64(i+1))
					}
				}
				return false
			})
		}
	}
	return texts, numbers
}

// span is a number of seconds in words.
func span(seconds int64) string {
	n, unit := seconds, "second"
	switch {
	case seconds >= 3600 && seconds%3600 == 0:
		n, unit = seconds/3600, "hour"
	case seconds >= 60 && seconds%60 == 0:
		n, unit = seconds/60, "minute"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

func clock(unix int64) string { return time.Unix(unix, 0).UTC().Format("15:04:05Z") }

// needsInGo says what it takes where Go refused.
func (x *explainer) needsInGo() []string {
	var out []string
	if _, known := needsInGo[x.refused]; known {
		return append(out, needsInGo[x.refused])
	}
	for _, o := range x.obliges {
		switch {
		case o.Kind == engine.ObligationLimit && x.refused == engine.CodeLimitReached:
			out = append(out, fmt.Sprintf("room under the limit: at most %d in any %s", o.N, engine.Period(o.Window)))
		case o.Kind == engine.ObligationLimit && x.refused != engine.CodeStepUpRequired:
			out = append(out, "a sign-in: the limit is counted for a visitor who is known")
		case o.Kind == engine.ObligationStepUp && x.refused == engine.CodeStepUpRequired:
			if o.MaxAge > 0 {
				out = append(out, "a sign-in (auth_time) at most "+engine.Period(o.MaxAge)+" ago")
			}
			if len(o.ACR) > 0 {
				out = append(out, "a sign-in with acr "+alternatives(o.ACR))
			}
		}
	}
	if len(out) == 0 {
		out = append(out, "what the obligations then asked for")
	}
	return out
}
