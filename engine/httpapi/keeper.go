package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
)

// AdminToken is a bearer token for the admin side over TCP, and what it is good
// for. The zero AdminToken is good for nothing.
type AdminToken struct {
	Name     string            // for the log
	SHA256   [sha256.Size]byte // of the token; the token itself is not kept
	Operator bool              // may change things; an auditor only reads
	Sites    []string          // whose
	Global   bool              // every site's, and what concerns none in particular
}

// AdminCaller is who asks on the admin side: whoever could open the socket, who
// may do everything, or the holder of a token.
type AdminCaller struct{ token *AdminToken }

// Name is the token's, or "socket".
func (a AdminCaller) Name() string {
	if a.token == nil {
		return "socket"
	}
	return a.token.Name
}

// All reports whether the caller may ask about every site, and about what
// concerns none in particular.
func (a AdminCaller) All() bool { return a.token == nil || a.token.Global }

// May reports whether the caller may ask about a site.
func (a AdminCaller) May(site string) bool {
	return a.All() || slices.Contains(a.token.Sites, site)
}

// site is the site that is meant when none is named: every one, or the only one
// the caller has.
func (a AdminCaller) site() (string, error) {
	switch {
	case a.All():
		return "", nil
	case len(a.token.Sites) == 1:
		return a.token.Sites[0], nil
	}
	return "", &problem{code: codeAdminForbidden, detail: "This token is for some sites only: name one with the parameter site."}
}

// AdminScope is what a route of the admin side concerns.
type AdminScope uint8

// The scopes. A route that does not say is closed to tokens of some sites.
const (
	ScopeAll   AdminScope = iota // no site in particular
	ScopeSite                    // the one that the path's :site names
	ScopeServe                   // Serve asks Caller.May itself
)

var errOtherSites = &problem{code: codeAdminForbidden, detail: "This token is not for that."}

// permits holds a route's scope against the caller. A site that is not theirs
// and one that does not exist are the same.
func (a AdminCaller) permits(s AdminScope, site string) error {
	switch {
	case a.All(), s == ScopeServe, s == ScopeSite && a.May(site):
		return nil
	}
	return errOtherSites
}

// keepers are the tokens that a listener takes.
type keepers struct{ tokens []AdminToken }

// find returns the token that was shown. It takes as long whichever it is, and
// compares nothing but hashes.
func (k *keepers) find(shown string) *AdminToken {
	sum := sha256.Sum256([]byte(shown))
	var found *AdminToken
	for i := range k.tokens {
		if subtle.ConstantTimeCompare(sum[:], k.tokens[i].SHA256[:]) == 1 {
			found = &k.tokens[i]
		}
	}
	return found
}

// admit finds out who asks on the admin side, and refuses who may not.
func (x *exchange) admit() error {
	if x.route.only == nil {
		return nil
	}
	shown, cause := bearer(x.r.Header["Authorization"])
	if shown == "" && cause == "" {
		return &problem{code: codeAdminAbsent, detail: "The admin side asks for a bearer token."}
	}
	var token *AdminToken
	if cause == "" {
		token = x.route.only.find(shown)
	}
	if token == nil {
		return &problem{code: codeAdminInvalid, detail: "That is not a token of this server's admin side."}
	}
	x.admin = AdminCaller{token}
	if !token.Operator && x.r.Method != http.MethodGet {
		return &problem{code: codeAdminForbidden, detail: "This token is an auditor's, and changes nothing."}
	}
	return nil
}

// AdminTCP returns the handler of an admin listener that others can reach. It
// takes the given tokens and nobody else.
func (s *Server) AdminTCP(tokens []AdminToken) http.Handler {
	return s.adminRoutes(&keepers{slices.Clone(tokens)})
}
