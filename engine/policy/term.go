package policy

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"vouchsafe/engine"
)

// The keys of the input document, made once.
var (
	keyAction        = fixed("action")
	keyArgs          = fixed("args")
	keyAsserted      = fixed("asserted")
	keyChannel       = fixed("channel")
	keyClaims        = fixed("claims")
	keyConfirmation  = fixed("confirmation")
	keyConfirmed     = fixed("confirmed")
	keyConversation  = fixed("conversation")
	keyEmail         = fixed("email")
	keyEmailVerified = fixed("email_verified")
	keyEmails        = fixed("emails")
	keyExpiresAt     = fixed("expires_at")
	keyFields        = fixed("fields")
	keyID            = fixed("id")
	keyIdentity      = fixed("identity")
	keyIssuedAt      = fixed("issued_at")
	keyLifetime      = fixed("lifetime")
	keyMaxLifetime   = fixed("max_token_lifetime")
	keyMinTier       = fixed("min_tier")
	keyName          = fixed("name")
	keyNames         = fixed("names")
	keyNow           = fixed("now")
	keyPersonal      = fixed("personal")
	keyRecords       = fixed("records")
	keyRevoked       = fixed("revoked")
	keyRisk          = fixed("risk")
	keySite          = fixed("site")
	keyState         = fixed("state")
	keySubject       = fixed("subject")
	keyTarget        = fixed("target")
	keyTier          = fixed("tier")
	keyTokenID       = fixed("token_id")
)

// The values that come again and again.
var (
	emptyObject       = ast.ObjectTerm()
	emptyArray        = ast.ArrayTerm()
	absentTerm        = ast.ObjectTerm([2]*ast.Term{keyState, fixed("absent")})
	nothingAsserted   = ast.ObjectTerm([2]*ast.Term{keyEmails, emptyArray}, [2]*ast.Term{keyNames, emptyArray})
	confirmationTerms = [2]*ast.Term{
		ast.ObjectTerm([2]*ast.Term{keyConfirmed, ast.InternedTerm(false)}),
		ast.ObjectTerm([2]*ast.Term{keyConfirmed, ast.InternedTerm(true)}),
	}
)

func fixed(s string) *ast.Term { return ast.InternedTerm(s) }

// words are the strings of the vocabulary, whose terms are shared.
var words = vocabulary(
	"", "absent", "invalid", "expired", "verified", "free", "pro", "business",
	"read", "write", "destructive", string(engine.ChannelChat), string(engine.ChannelAction),
)

func vocabulary(list ...string) map[string]*ast.Term {
	terms := make(map[string]*ast.Term, len(list))
	for _, w := range list {
		terms[w] = ast.StringTerm(w)
	}
	return terms
}

func stringTerm(s string) *ast.Term {
	if len(s) <= len("destructive") {
		if t, ok := words[s]; ok {
			return t
		}
	}
	return ast.StringTerm(text(s))
}

// text replaces what is not UTF-8, which JSON could not carry.
func text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

func stringsTerm(list []string) *ast.Term {
	if len(list) == 0 {
		return emptyArray
	}
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = stringTerm(s)
	}
	return ast.ArrayTerm(terms...)
}

func intTerm(n int64) *ast.Term {
	if n >= 0 && n <= 512 {
		return ast.InternedTerm(n)
	}
	return ast.NumberTerm(json.Number(strconv.FormatInt(n, 10)))
}

// lastSecond holds the term of the second that was asked for last.
var lastSecond atomic.Pointer[second]

type second struct {
	unix int64
	term *ast.Term
}

func secondsTerm(t time.Time) *ast.Term {
	unix := t.Unix()
	if s := lastSecond.Load(); s != nil && s.unix == unix {
		return s.term
	}
	term := intTerm(unix)
	lastSecond.Store(&second{unix, term})
	return term
}

// siteFacts is all of a site that policies see.
type siteFacts struct {
	id          string
	tier        engine.Tier
	maxLifetime time.Duration
}

// actionFacts is all of an action that policies see, but for its arguments.
type actionFacts struct {
	name     string
	personal bool
	risk     engine.Risk
	minTier  engine.Tier
}

type siteEntry struct {
	facts siteFacts
	term  *ast.Term
}

type actionEntry struct {
	facts                         actionFacts
	name, personal, risk, minTier *ast.Term
	withoutArgs                   *ast.Term
}

// sites and actions hold the terms of those met so far. They are few and live
// as long as the configuration, so each is emptied only when it has grown past
// any configuration's size.
var (
	sites   shelf[*engine.Site, siteEntry]
	actions shelf[*engine.Action, actionEntry]
)

const shelfSize = 1 << 14

// shelf is a map that is read often, written rarely and bounded.
type shelf[K comparable, V any] struct {
	m sync.Map
	n atomic.Int64
}

func (s *shelf[K, V]) get(k K) *V {
	if v, ok := s.m.Load(k); ok {
		return v.(*V)
	}
	return nil
}

func (s *shelf[K, V]) put(k K, v *V) {
	if s.n.Add(1) > shelfSize {
		s.m.Clear()
		s.n.Store(1)
	}
	s.m.Store(k, v)
}

func siteTerm(s *engine.Site) *ast.Term {
	facts := siteFacts{s.ID, s.Tier, s.MaxTokenLifetime}
	if e := sites.get(s); e != nil && e.facts == facts {
		return e.term
	}
	var items [3][2]*ast.Term
	o := append(items[:0], [2]*ast.Term{keyID, stringTerm(s.ID)})
	if tier := s.Tier.String(); tier != "" {
		o = append(o, [2]*ast.Term{keyTier, stringTerm(tier)})
	}
	if max := int64(s.MaxTokenLifetime / time.Second); max > 0 {
		o = append(o, [2]*ast.Term{keyMaxLifetime, intTerm(max)})
	}
	term := ast.ObjectTerm(o...)
	sites.put(s, &siteEntry{facts, term})
	return term
}

func actionTerm(a *engine.Action, args map[string]any) *ast.Term {
	facts := actionFacts{a.Name, a.Personal, a.Risk, a.MinTier}
	e := actions.get(a)
	if e == nil || e.facts != facts {
		e = &actionEntry{facts: facts, name: stringTerm(a.Name), personal: ast.InternedTerm(a.Personal)}
		if risk := a.Risk.String(); risk != "" {
			e.risk = stringTerm(risk)
		}
		if tier := a.MinTier.String(); tier != "" {
			e.minTier = stringTerm(tier)
		}
		e.withoutArgs = e.with(emptyObject)
		actions.put(a, e)
	}
	if len(args) == 0 {
		return e.withoutArgs
	}
	return e.with(objectTerm(args))
}

func (e *actionEntry) with(args *ast.Term) *ast.Term {
	var items [5][2]*ast.Term
	o := append(items[:0], [2]*ast.Term{keyName, e.name}, [2]*ast.Term{keyPersonal, e.personal})
	if e.risk != nil {
		o = append(o, [2]*ast.Term{keyRisk, e.risk})
	}
	if e.minTier != nil {
		o = append(o, [2]*ast.Term{keyMinTier, e.minTier})
	}
	return ast.ObjectTerm(append(o, [2]*ast.Term{keyArgs, args})...)
}

// claimsTerm reads the claims; what is not a JSON object is absent.
func claimsTerm(raw json.RawMessage) *ast.Term {
	claims := parseClaims(raw)
	if claims == nil {
		return nil
	}
	return objectTerm(claims)
}

func parseClaims(raw json.RawMessage) map[string]any {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var claims map[string]any
	if dec.Decode(&claims) != nil || dec.More() {
		return nil
	}
	return claims
}

func objectTerm(m map[string]any) *ast.Term {
	if len(m) == 0 {
		return emptyObject
	}
	items := make([][2]*ast.Term, 0, len(m))
	for k, v := range m {
		items = append(items, [2]*ast.Term{stringTerm(k), jsonTerm(v)})
	}
	return ast.ObjectTerm(items...)
}

// jsonTerm turns a decoded JSON value into a term. What no JSON decoder makes
// becomes null, here and in AppendJSON alike.
func jsonTerm(v any) *ast.Term {
	switch v := v.(type) {
	case string:
		return stringTerm(v)
	case bool:
		return ast.InternedTerm(v)
	case map[string]any:
		return objectTerm(v)
	case []any:
		if len(v) == 0 {
			return emptyArray
		}
		terms := make([]*ast.Term, len(v))
		for i := range v {
			terms[i] = jsonTerm(v[i])
		}
		return ast.ArrayTerm(terms...)
	case []string:
		return stringsTerm(v)
	}
	if n, ok := number(v); ok {
		return ast.NumberTerm(n)
	}
	return ast.NullTerm()
}

// number returns the JSON number v holds, if it does.
func number(v any) (json.Number, bool) {
	switch v := v.(type) {
	case json.Number:
		// A json.Number is only a string: without this check, one made by hand
		// could smuggle text into the document.
		if v == "" || (v[0] != '-' && (v[0] < '0' || v[0] > '9')) || !json.Valid([]byte(v)) {
			return "", false
		}
		return v, true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", false
		}
		b, err := json.Marshal(v)
		return json.Number(b), err == nil
	case int:
		return json.Number(strconv.Itoa(v)), true
	case int64:
		return json.Number(strconv.FormatInt(v, 10)), true
	}
	return "", false
}

// sortedKeys returns m's keys in the order AppendJSON writes them.
func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
