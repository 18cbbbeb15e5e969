// Package connectortest puts manifests to the test from end to end: a real gate
// with the shipped policy, a real connection provider, and behind that whatever
// the test stands up on loopback.
package connectortest

import (
	"context"
	"crypto/ed25519"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/connectors"
	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/voucher"
	"vouchsafe/policies"
)

// Site is the id of a Bench's site.
const Site = "shop"

// Link is a connection and its credential.
type Link struct {
	provider.Connection // its Site is filled in
	Credential          provider.Credential
}

// Options say what is put to the test.
type Options struct {
	Manifests []*connectors.Manifest
	Links     []Link
	Now       time.Time      // what the gate's clock shows; the zero Time is the real time
	Location  *time.Location // the site's; UTC when nil
	// Wait waits out pauses between calls; on a timer when nil.
	Wait func(context.Context, time.Duration) error
}

// Customer is who signs in.
type Customer struct{ Email, Name, Subject string }

// Bench is a site that customers may use.
type Bench struct {
	Provider *provider.Client
	gate     *gate.Gate
	site     *gate.Site
	clock    func() time.Time

	mu       sync.Mutex
	outcomes []audit.Outcome
}

// permitSigner signs the bench's vouchers.
var permitSigner = voucher.NewSigner(ed25519.NewKeyFromSeed([]byte("a permit key of the tests, 32 by")))

var key = []byte("a key of the connectors' tests, 32 bytes")

// New sets up a Bench. It is taken down with the test.
func New(t testing.TB, o Options) *Bench {
	t.Helper()
	b := &Bench{clock: time.Now}
	if !o.Now.IsZero() {
		b.clock = func() time.Time { return o.Now }
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	b.Provider = serveProvider(t, o.Links, o.Manifests, b.clock)
	set, err := policy.Compile(policies.FS)
	if err != nil {
		t.Fatal(err)
	}
	b.gate = gate.New(gate.Options{Policy: policy.NewEngine(set), Log: b, Clock: b.clock, EvaluationTimeout: 30 * time.Second, Signer: permitSigner})
	catalog, err := connectors.NewCatalog(o.Manifests)
	if err != nil {
		t.Fatal(err)
	}
	site := &engine.Site{ID: Site, Tier: engine.Business, Location: o.Location, MaxTokenLifetime: 15 * time.Minute}
	guard := connectors.NewGuard(b.Provider, o.Wait)
	made := map[*connectors.Manifest]gate.Connector{}
	var bindings []gate.Binding
	for _, a := range catalog.Actions() {
		m := catalog.Manifest(a.Name)
		if made[m] == nil {
			made[m] = connectors.NewConnector(m, site, guard, b.clock)
		}
		bindings = append(bindings, gate.Binding{Action: a, Connector: made[m]})
	}
	if b.site, err = gate.NewSite(site, bindings); err != nil {
		t.Fatal(err)
	}
	return b
}

// serveProvider runs a connection provider with the links, each for what its
// manifests ask.
func serveProvider(t testing.TB, links []Link, manifests []*connectors.Manifest, clock func() time.Time) *provider.Client {
	t.Helper()
	dir := t.TempDir()
	ready, done := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	o := provider.Options{Dir: filepath.Join(dir, "provider"), Key: provider.MasterKey{File: filepath.Join(dir, "master.key")}, CreateKey: true,
		PermitKeys: permitSigner.Public(), Clock: clock,
		Socket: filepath.Join(dir, "provider.sock"), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Ready: func() { close(ready) }}
	go func() { done <- provider.Serve(ctx, o) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("the connection provider: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the connection provider: %v", err)
		}
	})
	client := func(keyFile string) *provider.Client {
		c, err := provider.NewClient(o.Socket, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	operator := client(provider.OperatorKeyFile(o.Dir))
	for _, l := range links {
		l.Connection.Site = Site
		for _, m := range manifests {
			if m.Connection == l.ID {
				l.Connection.Allow = append(l.Connection.Allow, m.Rules()...)
			}
		}
		if err := operator.Add(context.Background(), l.Connection, l.Credential); err != nil {
			t.Fatalf("adding connection %s: %v", l.ID, err)
		}
	}
	return client(provider.ProxyKeyFile(o.Dir))
}

// Decision and Outcome keep what the gate records.
func (b *Bench) Decision(context.Context, *audit.Decision) error { return nil }

// Outcome keeps an outcome.
func (b *Bench) Outcome(_ context.Context, _ string, o audit.Outcome) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outcomes = append(b.outcomes, o)
	return nil
}

// Last is the outcome recorded last.
func (b *Bench) Last() audit.Outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.outcomes) == 0 {
		return audit.Outcome{}
	}
	return b.outcomes[len(b.outcomes)-1]
}

// Do performs an action for a customer who has signed in, and confirms it where
// the policy wants that.
func (b *Bench) Do(t testing.TB, who Customer, action string, args map[string]any) (gate.Result, error) {
	t.Helper()
	r := gate.Request{
		Site: b.site, Identity: b.signIn(t, who), Channel: engine.ChannelAction,
		Intent: engine.Intent{Action: action, Args: args},
	}
	res, err := b.gate.Do(context.Background(), r)
	if err == nil && !res.Decision.Allow {
		t.Fatalf("%s: refused: %v", action, res.Decision.Reasons)
	}
	if err != nil || !res.Pending {
		return res, err
	}
	r.Confirmed = res.Decision.Policy
	return b.gate.Do(context.Background(), r)
}

func (b *Bench) signIn(t testing.TB, who Customer) identity.Result {
	t.Helper()
	k, err := identity.ParseSecret("k", "HS256", key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := identity.NewVerifier(identity.Config{Site: Site, Issuer: "i", Audience: "a", Keys: []identity.Key{k}})
	if err != nil {
		t.Fatal(err)
	}
	now := b.clock()
	claims := jwt.MapClaims{"iss": "i", "aud": "a", "sub": who.Subject, "email": who.Email, "name": who.Name, "jti": "t",
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	token.Header["kid"] = "k"
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	res := v.Verify(context.Background(), signed, now)
	if res.State != identity.Verified {
		t.Fatalf("the token of %s is %v: %s", who.Subject, res.State, res.Cause)
	}
	return res
}
