package httpapi

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"vouchsafe/engine/admin"
	"vouchsafe/engine/identity"
)

// maxBody is the longest request body, where a route does not allow more.
const maxBody = 64 << 10

// A body over the limit is read to its end, up to this much and this long,
// because a client that sends before it reads would see a reset connection
// instead of the reason.
const (
	drainBytes = 16 << 20
	drainTime  = 3 * time.Second
)

// route is one method of one path, and what the adapter does before serve.
type route struct {
	method, path string
	public       bool         // on the public listener: Host and limits apply
	site         bool         // names a site: its origins, its tokens, its visitors' limits
	body         bool         // takes a JSON body
	maxBody      int          // of that many bytes; maxBody when 0
	preflight    bool         // asks what a browser may send; carries no identity
	unlimited    bool         // is not counted against an address
	demo         bool         // is the demo page's
	mayBeEmpty   bool         // the body may be left out
	only         *keepers     // whose token it takes; nil for none
	roles        []admin.Role // of those tokens; nil for any
	regardless   bool         // of whether its use can be recorded
	serve        func(*exchange) error

	counters counters
}

// exchange is one request and its response on their way through the adapter.
// Exchanges are reused; nothing may keep one, or its buffers, after serve.
type exchange struct {
	s        *Server
	route    *route
	c        *gin.Context
	w        gin.ResponseWriter
	r        *http.Request
	site     *site
	identity identity.Result
	admin    AdminCaller // on the admin side
	now      time.Time
	code     string // of the problem that was answered, "" when none
	doc      document
	in       []byte
	out      []byte
}

var exchanges = sync.Pool{New: func() any {
	return &exchange{in: make([]byte, 0, 2048), out: make([]byte, 0, 2048)}
}}

// Response headers that never change share one value each.
var (
	jsonType      = []string{"application/json"}
	problemType   = []string{"application/problem+json"}
	nosniff       = []string{"nosniff"}
	noStore       = []string{"no-store"}
	noReferrer    = []string{"no-referrer"}
	contentPolicy = []string{"default-src 'none'; frame-ancestors 'none'"}
)

// handle is the one adapter between gin and a route.
func (s *Server) handle(rt *route) gin.HandlerFunc {
	s.metrics.prepare(rt)
	return func(c *gin.Context) {
		x := exchanges.Get().(*exchange)
		x.s, x.route, x.c, x.w, x.r, x.now = s, rt, c, c.Writer, c.Request, s.o.Clock()
		defer x.finish()
		if err := x.pass(); err != nil {
			x.fail(err)
		}
	}
}

// pass takes the request through every check its route asks for, and serves it.
func (x *exchange) pass() error {
	rt, h := x.route, x.w.Header()
	h["X-Content-Type-Options"] = nosniff
	h["Cache-Control"] = noStore
	h["Referrer-Policy"] = noReferrer
	h["Content-Security-Policy"] = contentPolicy
	if !rt.public {
		if err := x.admit(); err != nil {
			return err
		}
		return x.serve()
	}
	if x.s.o.Hosts != nil && !x.s.o.Hosts(x.r.Host) {
		return &problem{code: codeMisdirected, detail: "This server does not answer to that host name."}
	}
	if strings.Contains(x.r.URL.RawPath, "%") {
		// Routes are matched on the decoded path; a proxy in front that filters
		// the encoded one must not see another.
		return &problem{code: codeUnknownRoute, detail: "No part of a path here needs escaping."}
	}
	if rt.site {
		if x.site = (*x.s.sites.Load())[x.c.Param("site")]; x.site == nil {
			return &problem{code: codeUnknownSite, detail: "There is no such site."}
		}
		if err := x.origin(x.site.origins); err != nil {
			return err
		}
		if x.r.URL.RawQuery != "" {
			return &problem{code: codeUnexpectedQuery,
				detail: "Nothing is taken from the URL. Tokens go in the Authorization header, arguments in the body."}
		}
	}
	if rt.demo {
		if err := x.origin(x.s.demoOrigins()); err != nil {
			return err
		}
	}
	if !rt.unlimited && !rt.preflight {
		if wait, limited := x.s.addresses.take(addressKey(x.s.o.TrustedProxies, x.r)); limited {
			return x.s.limited("address", wait)
		}
	}
	return x.serve()
}

// serve reads what the route takes and runs it.
func (x *exchange) serve() error {
	rt := x.route
	if rt.body {
		readable := isJSON(x.r.Header["Content-Type"])
		if !readable && !rt.mayBeEmpty {
			return errMediaType
		}
		if err := x.readBody(); err != nil {
			return err
		}
		if !readable && len(x.in) > 0 {
			return errMediaType
		}
	}
	if rt.site && !rt.preflight {
		x.identity = x.identify()
		if x.identity.Cause != "" {
			x.refused(x.identity.Cause)
		}
		if x.identity.State == identity.Verified {
			if wait, limited := x.s.visitors.take(x.site.id + "\x00" + x.identity.Visitor.Subject()); limited {
				return x.s.limited("visitor", wait)
			}
		}
	}
	return rt.serve(x)
}

var errMediaType = &problem{code: codeUnsupportedMediaType, detail: "The body must be application/json."}

// identify reads the bearer token. A header that cannot be read is a token that
// does not verify, not an absent one.
func (x *exchange) identify() identity.Result {
	token, cause := bearer(x.r.Header["Authorization"])
	if cause != "" {
		return identity.Result{State: identity.Invalid, Cause: cause}
	}
	if token == "" {
		return identity.Result{}
	}
	return x.site.verify(x.r.Context(), token, x.now)
}

// refused counts why a token was not accepted, and tells whoever integrates a
// site in test mode. The visitor's page learns no more than it is told anyway.
func (x *exchange) refused(cause string) {
	x.s.metrics.tokens.WithLabelValues(x.site.id, cause).Inc()
	if x.site.testMode {
		x.w.Header()["Vouchsafe-Token-Cause"] = []string{cause}
	}
}

// readBody reads the body into the exchange's buffer.
func (x *exchange) readBody() error {
	limit := x.route.maxBody
	if limit == 0 {
		limit = maxBody
	}
	if x.r.ContentLength > int64(limit) {
		return x.tooLarge(limit)
	}
	b := x.in[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := x.r.Body.Read(b[len(b):min(cap(b), limit+1)])
		b = b[:len(b)+n]
		x.in = b
		if len(b) > limit {
			return x.tooLarge(limit)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &problem{code: codeIncompleteBody, detail: "The body could not be read to its end.", cause: err}
		}
	}
}

func (x *exchange) tooLarge(limit int) error {
	x.w.Header().Set("Connection", "close")
	if x.r.ContentLength <= drainBytes {
		// Where the deadline cannot be set, the server's own still holds.
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(drainTime))
		_, _ = io.CopyN(io.Discard, x.r.Body, drainBytes)
	}
	return &problem{code: codeBodyTooLarge, detail: fmt.Sprintf("The body is longer than %d KiB.", limit>>10)}
}

// isJSON accepts application/json, in UTF-8 if it says so.
func isJSON(values []string) bool {
	if len(values) != 1 {
		return false
	}
	if values[0] == "application/json" {
		return true
	}
	kind, params, _ := strings.Cut(values[0], ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return false
	}
	params = strings.TrimSpace(params)
	return params == "" || strings.EqualFold(params, "charset=utf-8") || strings.EqualFold(params, `charset="utf-8"`)
}

// json sends what x.out holds.
func (x *exchange) json(status int) error {
	return x.send(status, jsonType)
}

func (x *exchange) send(status int, contentType []string) error {
	x.w.Header()["Content-Type"] = contentType
	x.w.WriteHeader(status)
	_, err := x.w.Write(x.out)
	if err != nil {
		// The client has gone; there is nobody to tell.
		x.code = codeClientGone
	}
	return nil
}

// finish counts and logs the exchange, whatever became of it.
func (x *exchange) finish() {
	cause := recover()
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	if cause != nil {
		// The panic's value may hold anything and is not logged; a stack holds
		// names and addresses only.
		x.s.o.Logger.ErrorContext(x.r.Context(), "a handler panicked", "route", x.route.path, "stack", string(debug.Stack()))
		x.fail(errPanic)
	}
	s, status := x.s, x.w.Status()
	x.route.counters.count(status)
	if x.admin.token != nil {
		// Each use of a token, by its name.
		s.o.Logger.LogAttrs(x.r.Context(), slog.LevelInfo, "admin request", slog.String("token", x.admin.Name()),
			slog.String("method", methodLabel(x.r.Method)), slog.String("route", x.route.path), slog.Int("status", status))
	}
	if level := requestLevel(status); s.o.Logger.Enabled(x.r.Context(), level) {
		x.log(level, status)
	}
	if cause != nil {
		return
	}
	in, out, doc := x.in, x.out, x.doc
	if cap(in) > 2*maxBody || cap(out) > 2*maxBody {
		return
	}
	*x = exchange{in: in[:0], out: out[:0], doc: doc}
	exchanges.Put(x)
}

var errPanic = errors.New("a handler panicked")

func requestLevel(status int) slog.Level {
	if status >= 500 {
		return slog.LevelError
	}
	return slog.LevelDebug
}

// log writes one line that names nobody: the route's pattern rather than its
// path, and no query, header, address or body.
func (x *exchange) log(level slog.Level, status int) {
	id := ""
	if x.site != nil {
		id = x.site.id
	}
	x.s.o.Logger.LogAttrs(x.r.Context(), level, "request",
		slog.String("method", methodLabel(x.r.Method)), slog.String("route", x.route.path), slog.Int("status", status),
		slog.Duration("duration", x.s.o.Clock().Sub(x.now)), slog.String("site", id), slog.String("code", x.code))
}

// methodLabel keeps what a client made up out of the logs.
func methodLabel(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}
