// Package httpapi is the door of the gate: requests come in as strict JSON over
// HTTP, and leave as an answer or a problem document with a stable code.
//
// Every route passes through one adapter, which alone reads bodies and tokens.
// Nothing here decides anything; what a caller may do is the gate's business.
package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/confirm"
	"vouchsafe/engine/conversation"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/sink"
	"vouchsafe/engine/store"
)

// Asker decides without acting.
type Asker interface {
	Ask(ctx context.Context, r gate.Request) (engine.Decision, error)
}

// Performer acts, and holds back what must be confirmed first.
type Performer interface {
	Do(ctx context.Context, r gate.Request, confirm string) (confirm.Result, error)
}

// Talker takes one turn of a chat. emit is called as each reply is known.
type Talker interface {
	Turn(ctx context.Context, t conversation.Turn, emit func(conversation.Reply)) (conversation.Answer, error)
}

// Log is what the admin side reads of the decision log.
type Log interface {
	List(audit.Query) ([]audit.Entry, error)
	Show(id string) (audit.Entry, error)
	Sites() []string
	Range(site string) (from, end uint64)
	Scan(site string, from uint64, fn func(audit.Item) error) (next uint64, err error)
	Changed() <-chan struct{}
	Health() error
	Waiting() int
	Lost() int64
}

// Verify says what a token proves at now; identity.Verifier.Verify is one.
type Verify func(ctx context.Context, token string, now time.Time) identity.Result

// Site is a site as this package serves it.
type Site struct {
	Gate   *gate.Site
	Verify Verify
	// Published says what became of the keys that the site's issuer publishes;
	// nil when it publishes none.
	Published func() identity.JWKSStatus
	// TestMode tells whoever integrates the site why a token was refused, in a
	// response header.
	TestMode bool
}

// Health is how the whole server is.
type Health struct {
	Ready    bool
	Degraded []string // what does not work, for operators; empty when all is well
}

// Limits bound the requests of one caller. The zero Rate is the default of its
// kind.
type Limits struct {
	PerVisitor Rate // of one verified subject; 120 a minute by default
	PerAddress Rate // of one network address; 600 a minute by default
	Keys       int  // callers remembered of each kind; 65536 when 0
}

// Demo adds what only the demo serves.
type Demo struct {
	Origin string // of the demo's page, which may read the decisions it caused
	Home   string // where GET / leads
}

// Options configure a Server.
type Options struct {
	Sites map[string]*Site // by id; SetSites replaces them later
	Gate  Asker
	Act   Performer
	Chat  Talker
	Log   Log
	// Revoke makes the token of a visitor who signs out worthless, and End
	// deletes their conversation. Without both nobody can sign out here.
	Revoke func(ctx context.Context, v identity.Visitor) error
	End    func(ctx context.Context, site, conversation, subject string) error
	// State keeps the idempotency keys. Without it a request with an
	// Idempotency-Key is refused.
	State          *store.DB
	Limits         Limits
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed; none by default
	// Hosts says which Host headers are served; every one when nil.
	Hosts   func(host string) bool
	Demo    *Demo                // nil outside the demo
	Metrics *prometheus.Registry // a new one when nil
	Logger  *slog.Logger         // discards when nil
	Health  func() Health        // always ready when nil
	Policy  func() string        // the active policy's revision, for the status
	// PolicyNote is what else an operator should know of it, "" for nothing.
	PolicyNote func() string
	Version    string
	Clock      func() time.Time // time.Now when nil
	// Widget is the script served as /widget.js, and WidgetETag its quoted
	// entity tag.
	Widget     []byte
	WidgetETag string
	// Sinks say how the sinks of the decision log are; nil without any.
	Sinks func() []sink.Status
	// Logs say how the sites' logs are; nil when nobody knows.
	Logs func() []LogState
	// AdminRoutes are routes of other packages on the admin listener.
	AdminRoutes []AdminRoute
}

// Server answers HTTP requests. It is safe for concurrent use.
type Server struct {
	o         Options
	sites     atomic.Pointer[map[string]*site]
	visitors  *limiter
	addresses *limiter
	keys      *keyring
	metrics   *metrics
	widget    asset
	started   time.Time
	followers atomic.Int64
	streams   context.Context // done when streams without an end are to end
	public    http.Handler
	admin     http.Handler

	endStreams context.CancelFunc
}

// release mode is global to gin, and its debug mode prints to standard output.
var quietGin = sync.OnceFunc(func() { gin.SetMode(gin.ReleaseMode) })

// New assembles a Server. It fails when the options contradict themselves.
func New(o Options) (*Server, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.Health == nil {
		o.Health = func() Health { return Health{Ready: true} }
	}
	if o.Policy == nil {
		o.Policy = func() string { return "" }
	}
	if o.PolicyNote == nil {
		o.PolicyNote = func() string { return "" }
	}
	s := &Server{o: o, started: o.Clock(), keys: newKeyring(o.State, o.Clock), widget: newAsset(o.Widget, o.WidgetETag, scriptType)}
	s.streams, s.endStreams = context.WithCancel(context.Background())
	var err error
	if s.metrics, err = newMetrics(o.Metrics, o.Log); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	if s.visitors, err = newLimiter(o.Limits.PerVisitor, defaultPerVisitor, o.Limits.Keys, o.Clock); err != nil {
		return nil, fmt.Errorf("limiting visitors: %w", err)
	}
	if s.addresses, err = newLimiter(o.Limits.PerAddress, defaultPerAddress, o.Limits.Keys, o.Clock); err != nil {
		return nil, fmt.Errorf("limiting addresses: %w", err)
	}
	if err := s.SetSites(o.Sites); err != nil {
		return nil, err
	}
	if err := o.Metrics.Register(newKeySets(s)); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	quietGin()
	s.public = s.publicRoutes()
	s.admin = s.adminRoutes(nil)
	return s, nil
}

// SetSites replaces the sites that are served. Requests under way finish with
// the ones they began with.
func (s *Server) SetSites(sites map[string]*Site) error {
	served := make(map[string]*site, len(sites))
	for id, given := range sites {
		prepared, err := newSite(id, given)
		if err != nil {
			return err
		}
		served[id] = prepared
	}
	s.sites.Store(&served)
	return nil
}

// Public returns the handler of the public listener.
func (s *Server) Public() http.Handler { return s.public }

// Admin returns the handler of the admin socket. It asks nobody who they are:
// whoever reaches it is an operator.
func (s *Server) Admin() http.Handler { return s.admin }

// engine makes a gin without middleware that answers unknown routes and methods
// as everything else does.
func (s *Server) engine(only *keepers) *gin.Engine {
	g := gin.New()
	g.RedirectTrailingSlash = false
	g.RedirectFixedPath = false
	g.HandleMethodNotAllowed = true
	g.ForwardedByClientIP = false // see address
	g.NoRoute(s.handle(&route{path: "unknown", only: only, serve: func(*exchange) error {
		return &problem{code: codeUnknownRoute, detail: "There is nothing at this address."}
	}}))
	g.NoMethod(s.handle(&route{path: "unknown", only: only, serve: func(*exchange) error {
		return &problem{code: codeMethodNotAllowed, detail: "This address does not take that method."}
	}}))
	return g
}

func (s *Server) publicRoutes() http.Handler {
	g := s.engine(nil)
	add := func(rt *route) {
		rt.public = true
		g.Handle(rt.method, rt.path, s.handle(rt))
	}
	add(&route{method: http.MethodPost, path: "/v1/sites/:site/chat", site: true, body: true, serve: chat})
	add(&route{method: http.MethodGet, path: "/v1/sites/:site/actions", site: true, serve: listActions})
	add(&route{method: http.MethodPost, path: "/v1/sites/:site/actions/:action", site: true, body: true, serve: performAction})
	add(&route{method: http.MethodPost, path: "/v1/sites/:site/decisions", site: true, body: true, serve: decide})
	add(&route{method: http.MethodPost, path: "/v1/sites/:site/sign-out", site: true, body: true, mayBeEmpty: true, serve: signOut})
	for _, path := range []string{"/v1/sites/:site/chat", "/v1/sites/:site/actions", "/v1/sites/:site/actions/:action",
		"/v1/sites/:site/decisions", "/v1/sites/:site/sign-out"} {
		add(&route{method: http.MethodOptions, path: path, site: true, preflight: true, serve: preflight})
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		add(&route{method: method, path: "/openapi.json", serve: serveOpenAPI})
		add(&route{method: method, path: "/widget.js", serve: serveWidget})
		add(&route{method: method, path: "/", serve: serveHome})
		add(&route{method: method, path: "/healthz", unlimited: true, serve: serveHealthz})
		add(&route{method: method, path: "/readyz", unlimited: true, serve: serveReadyz})
	}
	if s.o.Demo != nil {
		add(&route{method: http.MethodPost, path: "/demo/decisions", demo: true, body: true, serve: demoDecisions})
		add(&route{method: http.MethodOptions, path: "/demo/decisions", demo: true, preflight: true, serve: preflight})
	}
	return g
}
