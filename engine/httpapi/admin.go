package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vouchsafe/engine/admin"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/sink"
)

// AdminRequest is a request to an admin route, read and bounded.
type AdminRequest struct {
	Context context.Context
	Caller  AdminCaller
	Query   url.Values
	Body    []byte              // of a POST; only until Serve returns
	Param   func(string) string // a parameter of the path
}

// AdminRoute is a route of the admin listener. Serve's answer is sent as JSON;
// its error becomes a problem document.
type AdminRoute struct {
	Method string
	Path   string // as gin writes it: "/v1/admin/things/:id"
	// Query names the parameters Serve knows; any other is refused.
	Query []string
	Scope AdminScope
	// Roles are whose tokens it takes over TCP: without any, auditors and
	// operators where it only reads, and else operators.
	Roles []admin.Role
	// SocketOnly keeps it off the TCP listener.
	SocketOnly bool
	// Regardless answers although the log cannot record who asked: it tells what
	// is wrong.
	Regardless bool
	MaxBody    int // of a POST, in bytes; 64 KiB when 0
	Serve      func(AdminRequest) (any, error)

	stream func(*exchange, AdminRequest) error // writes the response itself, instead of Serve
}

func (s *Server) adminRoutes(only *keepers) http.Handler {
	g := s.engine(only)
	mine := []AdminRoute{
		{Method: http.MethodGet, Path: "/v1/admin/status", Roles: admin.Roles, Regardless: true, Serve: s.adminStatus},
		{Method: http.MethodGet, Path: "/v1/admin/decisions", Scope: ScopeServe, Serve: s.adminDecisions,
			Query: append([]string{"since", "until", "cursor", "limit", "order"}, filters...)},
		{Method: http.MethodGet, Path: "/v1/admin/decisions/follow", Scope: ScopeServe, Query: append([]string{"last", "cursor"}, filters...), stream: s.adminFollow},
		{Method: http.MethodGet, Path: "/v1/admin/decisions/:id", Scope: ScopeServe, Serve: s.adminDecision},
	}
	for _, r := range append(mine, s.o.AdminRoutes...) {
		if r.SocketOnly && only != nil {
			continue
		}
		g.Handle(r.Method, r.Path, s.handle(&route{method: r.Method, path: r.Path, only: only, roles: r.roles(), regardless: r.Regardless,
			body: r.Method == http.MethodPost, maxBody: r.MaxBody, serve: adminServe(r)}))
	}
	scrape := promhttp.HandlerFor(s.o.Metrics, promhttp.HandlerOpts{})
	g.GET("/metrics", s.handle(&route{method: http.MethodGet, path: "/metrics", only: only, roles: readers, regardless: true, serve: func(x *exchange) error {
		if !x.admin.All() {
			return errOtherSites
		}
		scrape.ServeHTTP(x.w, x.r)
		return nil
	}}))
	return g
}

func adminServe(r AdminRoute) func(*exchange) error {
	return func(x *exchange) error {
		if err := x.admin.permits(r.Scope, x.c.Param("site")); err != nil {
			return err
		}
		q, err := url.ParseQuery(x.r.URL.RawQuery)
		if err != nil {
			return &problem{code: codeInvalidRequest, detail: "The query cannot be read."}
		}
		for name, values := range q {
			if !slices.Contains(r.Query, name) {
				return &problem{code: codeInvalidRequest, detail: fmt.Sprintf("The parameter %q is not known here.", name)}
			}
			if len(values) != 1 {
				return &problem{code: codeInvalidRequest, detail: fmt.Sprintf("The parameter %q occurs twice.", name)}
			}
		}
		in := AdminRequest{Context: x.r.Context(), Caller: x.admin, Query: q, Body: x.in, Param: x.c.Param}
		if r.stream != nil {
			return r.stream(x, in)
		}
		out, err := r.Serve(in)
		if err != nil {
			return err
		}
		if x.out, err = appendValue(x.out[:0], out); err != nil {
			return err
		}
		return x.json(http.StatusOK)
	}
}

// status is the server as an operator sees it.
type status struct {
	Version       string        `json:"version"`
	UptimeSeconds int64         `json:"uptime_seconds"`
	Ready         bool          `json:"ready"`
	Degraded      []string      `json:"degraded"`
	Policy        policyStatus  `json:"policy"`
	Sites         []siteStatus  `json:"sites"`
	Audit         *auditStatus  `json:"audit,omitempty"`
	Sinks         []sink.Status `json:"sinks,omitempty"`
}

type policyStatus struct {
	Revision string `json:"revision"`
	Note     string `json:"note,omitempty"`
}

type siteStatus struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Tier    string `json:"tier"`
	Actions int    `json:"actions"`
	// TestMode says that the site tells strangers why it refuses tokens.
	TestMode bool `json:"test_mode,omitempty"`
}

type auditStatus struct {
	Healthy bool   `json:"healthy"`
	Problem string `json:"problem,omitempty"`
	Waiting int    `json:"waiting"`
	// Logs are those of the sites, and of the gate itself.
	Logs []LogState `json:"logs,omitempty"`
}

// LogState is how a site's log is.
type LogState struct {
	audit.State
	// RetentionDays is how long records are kept; 0 is for ever.
	RetentionDays int `json:"retention_days"`
}

func (s *Server) adminStatus(AdminRequest) (any, error) {
	h := s.o.Health()
	out := status{Version: s.o.Version, UptimeSeconds: int64(s.o.Clock().Sub(s.started) / time.Second),
		Ready: h.Ready, Degraded: append([]string{}, h.Degraded...),
		Policy: policyStatus{Revision: s.o.Policy(), Note: s.o.PolicyNote()}, Sites: []siteStatus{}}
	for _, site := range *s.sites.Load() {
		out.Sites = append(out.Sites, siteStatus{ID: site.id, Name: site.gate.Name,
			Tier: site.gate.Tier.String(), Actions: len(site.gate.Actions()), TestMode: site.testMode})
	}
	slices.SortFunc(out.Sites, func(a, b siteStatus) int { return strings.Compare(a.ID, b.ID) })
	if s.o.Sinks != nil {
		out.Sinks = s.o.Sinks()
	}
	if s.o.Log != nil {
		out.Audit = &auditStatus{Healthy: true, Waiting: s.o.Log.Waiting()}
		if s.o.Logs != nil {
			out.Audit.Logs = s.o.Logs()
		}
		if err := s.o.Log.Health(); err != nil {
			out.Audit.Healthy, out.Audit.Problem = false, err.Error()
		}
	}
	return out, nil
}
