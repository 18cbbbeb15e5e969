package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
)

// site is a Site with what its responses repeat, made once.
type site struct {
	id      string
	gate    *gate.Site
	verify  Verify
	origins origins
	realm   string // of its challenges
	// testMode says that causes are shown, and exposed names what pages of
	// other origins may read.
	testMode  bool
	exposed   []string
	published func() identity.JWKSStatus
	// The encoded answers of the action listing.
	publicActions, allActions []byte
}

func newSite(id string, given *Site) (*site, error) {
	if given == nil || given.Gate == nil || given.Verify == nil || given.Gate.ID != id {
		return nil, fmt.Errorf("site %s: it needs a gate site of the same id and a verifier", id)
	}
	s := &site{id: id, gate: given.Gate, verify: given.Verify, origins: newOrigins(given.Gate.Origins),
		realm: `Bearer realm="` + quotable(id) + `"`, testMode: given.TestMode, exposed: exposedHeaders, published: given.Published}
	if s.testMode {
		s.exposed = []string{exposedHeaders[0] + ", Vouchsafe-Token-Cause"}
	}
	var err error
	if s.publicActions, err = describeActions(given.Gate, false); err != nil {
		return nil, err
	}
	s.allActions, err = describeActions(given.Gate, true)
	return s, err
}

// quotable keeps what may stand inside a quoted string of a header.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '_'
		}
		return r
	}, s)
}

// described is an action as its listing shows it.
type described struct {
	Name     string         `json:"name"`
	Title    string         `json:"title"`
	Personal bool           `json:"personal"`
	Risk     string         `json:"risk"`
	MinTier  string         `json:"min_tier"`
	Args     map[string]any `json:"args"`
}

// describeActions encodes the actions that the site's tier includes, with or
// without the personal ones.
func describeActions(s *gate.Site, personal bool) ([]byte, error) {
	list := []described{}
	for _, a := range s.Actions() {
		if a.MinTier == engine.NoTier || s.Tier < a.MinTier || a.Personal && !personal {
			continue
		}
		list = append(list, described{Name: a.Name, Title: a.Title, Personal: a.Personal,
			Risk: a.Risk.String(), MinTier: a.MinTier.String(), Args: a.Args.Source()})
	}
	b, err := appendValue(nil, struct {
		Actions []described `json:"actions"`
	}{list})
	if err != nil {
		return nil, fmt.Errorf("site %s: describing its actions: %w", s.ID, err)
	}
	return b, nil
}

// origins are the exact origins that may call from a browser, each with the
// header value that allows it.
type origins map[string][]string

func newOrigins(list []string) origins {
	out := make(origins, len(list))
	for _, o := range list {
		out[o] = []string{o}
	}
	return out
}

var (
	varyOrigin     = []string{"Origin"}
	exposedHeaders = []string{"Retry-After, WWW-Authenticate, Idempotent-Replayed"}
	allowedMethods = []string{"GET, POST"}
	allowedHeaders = []string{"Authorization, Content-Type, Idempotency-Key"}
	preflightLife  = []string{"600"}
)

// origin lets a browser's request through when it comes from an allowed origin.
// A request without Origin does not come from a foreign page. Credentials such
// as cookies are never asked for, so none are allowed.
func (x *exchange) origin(allowed origins) error {
	h := x.w.Header()
	h["Vary"] = varyOrigin
	given := x.r.Header["Origin"]
	if len(given) == 0 {
		return nil
	}
	value, ok := allowed[given[0]]
	if !ok || len(given) != 1 {
		return &problem{code: codeOriginNotAllowed, detail: "This page's origin may not use this site's assistant."}
	}
	h["Access-Control-Allow-Origin"] = value
	h["Access-Control-Expose-Headers"] = exposedHeaders
	if x.site != nil {
		h["Access-Control-Expose-Headers"] = x.site.exposed
	}
	return nil
}

func preflight(x *exchange) error {
	h := x.w.Header()
	h["Access-Control-Allow-Methods"] = allowedMethods
	h["Access-Control-Allow-Headers"] = allowedHeaders
	h["Access-Control-Max-Age"] = preflightLife
	x.w.WriteHeader(http.StatusNoContent)
	x.w.WriteHeaderNow()
	return nil
}
