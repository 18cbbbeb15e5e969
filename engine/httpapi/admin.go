package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vouchsafe/engine"
	"vouchsafe/engine/admin"
	"vouchsafe/engine/audit"
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
}

func (s *Server) adminRoutes(only *keepers) http.Handler {
	g := s.engine(only)
	mine := []AdminRoute{
		{Method: http.MethodGet, Path: "/v1/admin/status", Roles: admin.Roles, Regardless: true, Serve: s.adminStatus},
		{Method: http.MethodGet, Path: "/v1/admin/decisions", Scope: ScopeServe, Serve: s.adminDecisions, Query: []string{
			"site", "subject", "action", "code", "conversation", "allow", "since", "until", "before", "limit"}},
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
		out, err := r.Serve(AdminRequest{Context: x.r.Context(), Caller: x.admin, Query: q, Body: x.in, Param: x.c.Param})
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
	Version       string       `json:"version"`
	UptimeSeconds int64        `json:"uptime_seconds"`
	Ready         bool         `json:"ready"`
	Degraded      []string     `json:"degraded"`
	Policy        policyStatus `json:"policy"`
	Sites         []siteStatus `json:"sites"`
	Audit         *auditStatus `json:"audit,omitempty"`
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
	if s.o.Log != nil {
		out.Audit = &auditStatus{Healthy: true, Waiting: s.o.Log.Waiting()}
		if err := s.o.Log.Health(); err != nil {
			out.Audit.Healthy, out.Audit.Problem = false, err.Error()
		}
	}
	return out, nil
}

// decisionList is one page of decisions, newest first. Next, when there may be
// more, is the value of before that continues it.
type decisionList struct {
	Decisions []audit.Entry `json:"decisions"`
	Next      string        `json:"next,omitempty"`
}

func (s *Server) adminDecisions(r AdminRequest) (any, error) {
	q, err := parseQuery(r.Query)
	if err != nil {
		return nil, &problem{code: codeInvalidRequest, detail: err.Error()}
	}
	if q.Site == "" {
		if q.Site, err = r.Caller.site(); err != nil {
			return nil, err
		}
	} else if !r.Caller.May(q.Site) {
		return nil, errOtherSites
	}
	entries, err := s.o.Log.List(q)
	if err != nil {
		return nil, err
	}
	out := decisionList{Decisions: append([]audit.Entry{}, entries...)}
	if len(entries) == q.Limit {
		out.Next = entries[len(entries)-1].Decision.ID
	}
	return out, nil
}

const defaultListed = 50

func parseQuery(v url.Values) (audit.Query, error) {
	q := audit.Query{Site: v.Get("site"), Subject: v.Get("subject"), Action: v.Get("action"), Code: v.Get("code"),
		Conversation: v.Get("conversation"), Before: v.Get("before"), Limit: defaultListed}
	if s := v.Get("allow"); s != "" {
		allow, err := strconv.ParseBool(s)
		if err != nil {
			return q, errors.New("allow is true or false")
		}
		q.Allow = &allow
	}
	for name, into := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if s := v.Get(name); s != "" {
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				return q, fmt.Errorf("%s is a time such as 2026-01-31T09:00:00Z", name)
			}
			*into = t
		}
	}
	if s := v.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > audit.MaxLimit {
			return q, fmt.Errorf("limit is a number from 1 to %d", audit.MaxLimit)
		}
		q.Limit = n
	}
	return q, nil
}

func (s *Server) adminDecision(r AdminRequest) (any, error) {
	e, err := s.o.Log.Show(r.Param("id"))
	if errors.Is(err, audit.ErrNotFound) || err == nil && !r.Caller.May(e.Site) {
		return nil, &problem{code: engine.CodeNotFound, detail: "There is no such decision."}
	}
	return e, err
}
