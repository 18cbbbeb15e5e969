package httpapi

import (
	"context"
	"net/http"
	"net/netip"
	"slices"

	"vouchsafe/engine/admin"
	"vouchsafe/engine/audit"
)

// AdminTokens finds the token that is shown on the admin side over TCP.
type AdminTokens interface {
	Find(secret string) (admin.Token, bool)
}

// AdminLedger puts on record how a token is used. An error means that it is not.
type AdminLedger interface {
	Record(ctx context.Context, u admin.Use) error
}

// AdminCaller is who asks on the admin side: whoever could open the socket, who
// may do everything, or the holder of a token.
type AdminCaller struct{ token *admin.Token }

// Name is the token's, or "socket".
func (a AdminCaller) Name() string {
	if a.token == nil {
		return "socket"
	}
	return a.token.Name
}

// All reports whether the caller may ask about every site, and about what
// concerns none in particular.
func (a AdminCaller) All() bool { return a.token == nil || a.token.Global() }

// May reports whether the caller may ask about a site.
func (a AdminCaller) May(site string) bool {
	return a.token == nil || a.token.For(site)
}

// Sites are the sites that the caller may ask about, nil for every one.
func (a AdminCaller) Sites() []string {
	if a.All() {
		return nil
	}
	return append([]string{}, a.token.Sites...)
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

// Who may use a route over TCP that does not say.
var (
	readers = []admin.Role{admin.Auditor, admin.Operator}
	actors  = []admin.Role{admin.Operator}
)

func (r *AdminRoute) roles() []admin.Role {
	switch {
	case r.Roles != nil:
		return r.Roles
	case r.Method == http.MethodGet:
		return readers
	}
	return actors
}

// keepers are what a listener asks about tokens.
type keepers struct {
	tokens AdminTokens
	ledger AdminLedger
}

// admit finds out who asks on the admin side, and refuses who may not. Whatever
// a token is used for is on record before it is answered.
func (x *exchange) admit() error {
	if x.route.only == nil {
		return nil
	}
	shown, cause := bearer(x.r.Header["Authorization"])
	if shown == "" && cause == "" {
		return &problem{code: codeAdminAbsent, detail: "The admin side asks for a bearer token."}
	}
	var token admin.Token
	found := false
	if cause == "" {
		token, found = x.route.only.tokens.Find(shown)
	}
	if !found {
		// It is refused whether or not that can be recorded.
		_ = x.route.only.ledger.Record(x.r.Context(), admin.Use{Source: network(x.r), Code: codeAdminInvalid})
		return &problem{code: codeAdminInvalid, detail: "That is not a token of this server's admin side, or not any more."}
	}
	x.admin = AdminCaller{&token}
	use := admin.Use{Token: token.Name, Method: methodLabel(x.r.Method), Route: x.route.path, Site: x.useSite(), Object: bounded(x.c.Param("id"))}
	if q := x.r.URL.Query(); use.Method == http.MethodGet {
		use.Subject = bounded(q.Get("subject"))
	}
	var refused error
	if x.route.roles != nil && !slices.Contains(x.route.roles, token.Role) {
		refused = &problem{code: codeAdminForbidden, detail: "This token's role is not for that."}
		use.Code = codeAdminForbidden
	}
	if err := x.route.only.ledger.Record(x.r.Context(), use); err != nil && !x.route.regardless {
		return err
	}
	return refused
}

// network is where a request comes from, in words: an IPv4 address, or the 64 bits
// of IPv6 that one customer usually has.
func network(r *http.Request) string {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return admin.Elsewhere
	}
	addr := ap.Addr().WithZone("").Unmap()
	if addr.Is4() {
		return addr.String()
	}
	return netip.PrefixFrom(addr, 64).Masked().String()
}

// useSite is the site that a request of the admin side is about.
func (x *exchange) useSite() string {
	for _, id := range []string{x.c.Param("site"), x.r.URL.Query().Get("site")} {
		if (*x.s.sites.Load())[id] != nil {
			return id
		}
	}
	return audit.GateSite
}

// maxUseName bounds what the record of a use repeats of a request.
const maxUseName = 255

func bounded(s string) string { return s[:min(len(s), maxUseName)] }

// AdminTCP returns the handler of an admin listener that others can reach. It
// takes the tokens that are found and nobody else, and answers nothing whose use
// is not on record.
func (s *Server) AdminTCP(tokens AdminTokens, ledger AdminLedger) http.Handler {
	return s.adminRoutes(&keepers{tokens, ledger})
}
