// Package enginetest sets up a gate for tests: real policies, real tokens, real
// files, and a shop in memory on the far side.
package enginetest

import (
	"context"
	"crypto/sha256"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/confirm"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/limit"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/revoke"
	"vouchsafe/engine/store"
	"vouchsafe/policies"
)

// Start is when a World's clock starts: a Monday morning in winter.
var Start = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// Clock is a clock that only tests move.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the time on the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Options vary a World. Zero values are the shipped policy and a working disk.
type Options struct {
	Policies fs.FS // the shipped ones when nil
	Log      store.Options
}

// World is two sites of one shop, demo (pro) and free (free), with a gate.
type World struct {
	Clock  *Clock
	Pro    *gate.Site
	Free   *gate.Site
	Shop   *Shop
	Policy *policy.Engine
	Log    *audit.Log
	State  *store.DB
	Gate   *gate.Gate

	Confirm   *confirm.Store
	Revoked   *revoke.List
	verifiers map[string]*identity.Verifier
}

// Master returns the tests' master key.
func Master() []byte { sum := sha256.Sum256([]byte("a master key for tests")); return sum[:] }

// key is the tests' signing key.
var key = func() []byte { sum := sha256.Sum256([]byte("a key for tests")); return sum[:] }()

// New sets a World up. It is taken down with the test.
func New(t testing.TB, o Options) *World {
	t.Helper()
	w := &World{Clock: &Clock{now: Start}, verifiers: map[string]*identity.Verifier{}}
	w.Shop = NewShop(w.Clock.Now)
	if o.Policies == nil {
		o.Policies = policies.FS
	}
	set, err := policy.Compile(o.Policies)
	if err != nil {
		t.Fatalf("compiling the policies: %v", err)
	}
	w.Policy = policy.NewEngine(set)
	dir := t.TempDir()
	if w.Log, err = audit.Open(filepath.Join(dir, "audit"), audit.Options{Master: Master(), Store: o.Log}); err != nil {
		t.Fatal(err)
	}
	if w.State, err = store.Open(filepath.Join(dir, "state.db"), "state", store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Log.Close(); w.State.Close() })
	if w.Revoked, err = revoke.Open(w.State, w.Clock.Now); err != nil {
		t.Fatal(err)
	}
	w.Gate = gate.New(gate.Options{Policy: w.Policy, Log: w.Log, Clock: w.Clock.Now, EvaluationTimeout: 5 * time.Second, Uses: limit.New(w.State)})
	w.Confirm = confirm.New(w.State, w.Gate, w.Log, w.Clock.Now)
	w.Pro = w.site(t, "demo", engine.Pro)
	w.Free = w.site(t, "free", engine.Free)
	return w
}

func (w *World) site(t testing.TB, id string, tier engine.Tier) *gate.Site {
	t.Helper()
	loc, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	s := &engine.Site{ID: id, Name: "Harbor Goods", Tier: tier, Location: loc, SignInURL: "https://shop.example/login",
		Origins: []string{"https://shop.example"}, MaxTokenLifetime: 15 * time.Minute}
	var bindings []gate.Binding
	for _, a := range Actions(t) {
		bindings = append(bindings, gate.Binding{Action: a, Connector: w.Shop})
	}
	out, err := gate.NewSite(s, bindings)
	if err != nil {
		t.Fatal(err)
	}
	k, err := identity.ParseSecret("k1", "HS256", key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := identity.NewVerifier(identity.Config{Site: id, Issuer: "https://shop.example", Audience: "vouchsafe-" + id,
		Keys: []identity.Key{k}, ClockSkew: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	v.Heed(w.Revoked.Revoked)
	w.verifiers[id] = v
	return out
}

// Person is a customer of the shop.
type Person struct{ Subject, Email, Name string }

// The customers.
var (
	Alex   = Person{"u-alex", "alex@example.com", "Alex Morgan"}
	Jordan = Person{"u-jordan", "jordan@example.com", "Jordan Lee"}
)

// Token returns a token of five minutes for p at the site, changed by change
// when that is not nil.
func (w *World) Token(t testing.TB, site string, p Person, change func(jwt.MapClaims)) string {
	t.Helper()
	now := w.Clock.Now()
	claims := jwt.MapClaims{"iss": "https://shop.example", "aud": "vouchsafe-" + site, "sub": p.Subject,
		"email": p.Email, "name": p.Name, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": engine.NewSecretID("t")}
	if change != nil {
		change(claims)
	}
	tok := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	tok.Header["kid"] = "k1"
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Verify verifies a token as the site would, at the clock's time.
func (w *World) Verify(site, token string) identity.Result {
	return w.verifiers[site].Verify(context.Background(), token, w.Clock.Now())
}

// As returns p's verified identity at the site.
func (w *World) As(t testing.TB, site string, p Person) identity.Result {
	t.Helper()
	r := w.Verify(site, w.Token(t, site, p, nil))
	if r.State != identity.Verified {
		t.Fatalf("the token of %s does not verify: %s", p.Subject, r.Cause)
	}
	return r
}

// Entries returns the whole log, newest first.
func (w *World) Entries(t testing.TB) []audit.Entry {
	t.Helper()
	es, err := w.Log.List(audit.Query{Limit: audit.MaxLimit})
	if err != nil {
		t.Fatal(err)
	}
	return es
}
