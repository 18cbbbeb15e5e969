package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/confirm"
	"vouchsafe/engine/conversation"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/httpapi/apitest"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/limit"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/revoke"
	"vouchsafe/engine/store"
	"vouchsafe/policies"
)

const origin = "https://shop.example"

var secret = []byte("a-test-secret-0123456789-abcdefghijkl")

// shop is the far side of the network: orders, and what was done to them.
type shop struct {
	mu     sync.Mutex
	calls  []string
	fail   error         // of the next calls
	hold   chan struct{} // when set, a call waits for it
	inside chan struct{} // and says here that it has begun
	odd    bool          // answers writes with what JSON cannot hold
}

func (s *shop) Call(_ context.Context, c gate.Claim, p gate.Permit) (gate.Response, error) {
	g, err := p.Redeem(c, time.Now())
	if err != nil {
		return gate.Response{}, err
	}
	s.mu.Lock()
	s.calls = append(s.calls, fmt.Sprintf("%s %v for %s", c.Action, c.Args["order_id"], g.Pinned.Email))
	fail, hold, odd := s.fail, s.hold, s.odd && c.Action == "order.note"
	s.mu.Unlock()
	if hold != nil {
		s.inside <- struct{}{}
		<-hold
	}
	if fail != nil {
		return gate.Response{}, fail
	}
	order := func(id, owner string) gate.Record {
		return gate.Record{ID: id, Owner: gate.Owner{Email: owner}, Fields: map[string]any{"id": id, "status": "sent"}}
	}
	all := []gate.Record{order("1001", "alex@example.com"), order("1002", "alex@example.com"), order("2001", "jordan@example.com")}
	switch c.Action {
	case "shop.opening_hours":
		return gate.Response{Records: []gate.Record{{Fields: map[string]any{"monday": "9 to 5"}}}}, nil
	case "order.list":
		return gate.Response{Records: all}, nil
	}
	for _, o := range all {
		if o.ID == c.Args["order_id"] {
			if odd {
				o.Fields["total"] = math.Inf(1)
			}
			return gate.Response{Records: []gate.Record{o}}, nil
		}
	}
	return gate.Response{}, engine.Errorf(engine.CodeNotFound, "There is no such order.", nil)
}

func (s *shop) did(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

func catalog(t testing.TB, s *shop, site *engine.Site) *gate.Site {
	t.Helper()
	order := map[string]any{"required": []any{"order_id"},
		"properties": map[string]any{"order_id": map[string]any{"type": "string", "pattern": "^[0-9]{4,}$"}}}
	args := func(source map[string]any) *engine.ArgSchema {
		a, err := engine.CompileArgs(source)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	byLookup := []engine.Resource{{Argument: "order_id", Action: "order.lookup"}}
	var bindings []gate.Binding
	for _, a := range []*engine.Action{
		{Name: "shop.opening_hours", Title: "Say when the shop is open", Risk: engine.Read, MinTier: engine.Free, Args: args(nil)},
		{Name: "order.list", Title: "List my orders", Personal: true, Risk: engine.Read, MinTier: engine.Pro, Args: args(nil), List: true},
		{Name: "order.lookup", Title: "Look up one of my orders", Personal: true, Risk: engine.Read, MinTier: engine.Pro, Args: args(order), IDArgument: "order_id"},
		{Name: "order.note", Title: "Add a note to an order", Personal: true, Risk: engine.Write, MinTier: engine.Pro, Args: args(order), Resources: byLookup},
		{Name: "order.cancel", Title: "Cancel one of my orders", Personal: true, Risk: engine.Destructive, MinTier: engine.Pro, Args: args(order), Resources: byLookup},
		{Name: "report.yearly", Title: "Send my yearly report", Personal: true, Risk: engine.Read, MinTier: engine.Business, Args: args(nil)},
	} {
		bindings = append(bindings, gate.Binding{Action: a, Connector: s})
	}
	g, err := gate.NewSite(site, bindings)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// talker answers turns as a test tells it to.
type talker struct {
	turn func(ctx context.Context, t conversation.Turn, emit func(conversation.Reply)) (conversation.Answer, error)
}

func (k *talker) Turn(ctx context.Context, t conversation.Turn, emit func(conversation.Reply)) (conversation.Answer, error) {
	if k.turn == nil {
		return conversation.Answer{}, errors.New("nobody is here")
	}
	return k.turn(ctx, t, emit)
}

// bench is a whole gate but for its chat, with a shop at its far side.
type bench struct {
	t      testing.TB
	shop   *shop
	chat   *talker
	log    *audit.Log
	state  *store.DB
	reg    *prometheus.Registry
	logged *bytes.Buffer
	server *httpapi.Server
	url    string
	client *http.Client
	health httpapi.Health
	sites  map[string]*httpapi.Site
	gate   *gate.Gate
	policy *policy.Engine

	revoked *revoke.List
	ended   []string // conversations, each with its site and subject
}

// clock moves when a test says so.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// policySet is compiled once: it takes a while.
var policySet = sync.OnceValues(func() (*policy.Set, error) { return policy.Compile(policies.FS) })

func newBench(t testing.TB, change func(*httpapi.Options)) *bench {
	t.Helper()
	b := &bench{t: t, shop: &shop{}, chat: &talker{}, reg: prometheus.NewRegistry(), logged: &bytes.Buffer{},
		health: httpapi.Health{Ready: true}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	var err error
	b.log, err = audit.Open(filepath.Join(dir, "audit"), audit.Options{Master: make([]byte, 32)})
	must(err)
	t.Cleanup(func() { b.log.Close() })
	b.state, err = store.Open(filepath.Join(dir, "state.db"), "state", store.Options{})
	must(err)
	t.Cleanup(func() { b.state.Close() })
	b.revoked, err = revoke.Open(b.state, time.Now)
	must(err)
	set, err := policySet()
	must(err)
	recorder, err := httpapi.NewRecorder(b.log, b.reg, nil)
	must(err)
	eng := policy.NewEngine(set)
	g := gate.New(gate.Options{Policy: eng, Log: recorder, EvaluationTimeout: 10 * time.Second, Uses: limit.New(b.state)})
	b.gate, b.policy = g, eng
	sites := map[string]*httpapi.Site{}
	b.sites = sites
	for id, tier := range map[string]engine.Tier{"demo": engine.Pro, "demo-free": engine.Free} {
		key, err := identity.ParseSecret("k1", "HS256", secret)
		must(err)
		v, err := identity.NewVerifier(identity.Config{Site: id, Issuer: "https://" + id, Audience: "vouchsafe-" + id, Keys: []identity.Key{key}})
		must(err)
		v.Heed(b.revoked.Revoked)
		sites[id] = &httpapi.Site{Verify: v.Verify, Gate: catalog(t, b.shop, &engine.Site{ID: id, Name: "Harbor Goods", Tier: tier,
			Location: time.UTC, Origins: []string{origin}, MaxTokenLifetime: 15 * time.Minute})}
	}
	o := httpapi.Options{
		Sites: sites, Gate: g, Act: confirm.New(b.state, g, b.log, time.Now),
		Chat: b.chat, Log: b.log, State: b.state, Metrics: b.reg,
		Limits: httpapi.Limits{PerVisitor: httpapi.Rate{Off: true}, PerAddress: httpapi.Rate{Off: true}},
		Logger: slog.New(slog.NewJSONHandler(b.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Health: func() httpapi.Health { return b.health },
		Policy: func() string { return eng.Active().Revision() },
		Revoke: b.revoked.SignOut,
		End: func(_ context.Context, site, conversation, subject string) error {
			b.ended = append(b.ended, site+" "+conversation+" "+subject)
			return nil
		},
		Version: "test", Widget: []byte("/* a widget */"), WidgetETag: `"w1"`,
	}
	if change != nil {
		change(&o)
	}
	b.server, err = httpapi.New(o)
	must(err)
	listening := httptest.NewUnstartedServer(nil)
	listening.Config = httpapi.HTTPServer(b.server.Public())
	listening.Start()
	t.Cleanup(listening.Close)
	b.url, b.client = listening.URL, apitest.Client(t)
	return b
}

// token is one that the site's backend signed for a customer.
func token(site, name string, expires time.Duration) string {
	now := time.Now()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "https://" + site, "aud": "vouchsafe-" + site, "sub": "c-" + name, "email": name + "@example.com", "name": name,
		"email_verified": true, "iat": now.Add(-time.Minute).Unix(), "exp": now.Add(expires).Unix(), "jti": name + expires.String(),
	}).SignedString(secret)
	if err != nil {
		panic(err)
	}
	return s
}

func signedIn(name string) []string {
	return []string{"Authorization", "Bearer " + token("demo", name, 5*time.Minute)}
}

// answer is a response, read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) field(name string) string {
	var m map[string]any
	if json.Unmarshal([]byte(a.body), &m) != nil || m[name] == nil {
		return ""
	}
	return fmt.Sprint(m[name])
}

// do sends a request with pairs of header names and values. A body makes it
// JSON unless the headers say otherwise.
func (b *bench) do(method, path, body string, headers ...string) answer {
	b.t.Helper()
	r, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		switch {
		case headers[i] == "Host":
			r.Host = headers[i+1]
		case headers[i+1] == "":
			r.Header.Del(headers[i])
		default:
			r.Header[headers[i]] = strings.Split(headers[i+1], "\n")
		}
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(got)}
}

func (b *bench) post(path, body string, headers ...string) answer {
	b.t.Helper()
	return b.do(http.MethodPost, path, body, headers...)
}

// want fails the test unless a has the status and, for a problem, the code.
func want(t testing.TB, what string, a answer, status int, code string) {
	t.Helper()
	if a.status != status || a.field("code") != code {
		t.Errorf("%s: got %d %q, want %d %q\n%s", what, a.status, a.field("code"), status, code, a.body)
	}
}
