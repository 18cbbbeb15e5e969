package connectors

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/voucher"
	"vouchsafe/policies"
)

// Only a gate can make a Permit, so the tests have one: with a policy that
// allows everything, a log that keeps nothing, and in the place of connectors a
// taker that keeps the permit instead of using it up.
type desk struct {
	gate  *gate.Gate
	site  *gate.Site
	alex  identity.Result
	now   time.Time
	taken map[string]taken // by action
}

type taken struct {
	claim  gate.Claim
	permit gate.Permit
}

type taker struct {
	d      *desk
	action *engine.Action
}

func (k taker) Call(_ context.Context, c gate.Claim, p gate.Permit) (gate.Response, error) {
	k.d.taken[c.Action] = taken{c, p}
	id := "p1" // of a list's only record
	if k.action.IDArgument != "" {
		id = fmt.Sprint(c.Args[k.action.IDArgument])
	}
	return gate.Response{Records: []gate.Record{{
		ID:     id,
		Owner:  gate.Owner{Email: alexEmail},
		Fields: map[string]any{},
	}}}, nil
}

type forgetful struct{}

func (forgetful) Decision(context.Context, *audit.Decision) error      { return nil }
func (forgetful) Outcome(context.Context, string, audit.Outcome) error { return nil }

const (
	alexEmail = "alex@example.com"
	siteID    = "demo"
)

// permitSigner signs the desk's vouchers.
var permitSigner = voucher.NewSigner(ed25519.NewKeyFromSeed([]byte("a permit key of the tests, 32 by")))

var secret = []byte("a secret of the tests, 32 bytes +")

func newDesk(t testing.TB, m *Manifest) *desk {
	t.Helper()
	d := &desk{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), taken: map[string]taken{}}
	files := fstest.MapFS{
		"authz/a.rego":   {Data: []byte("package authz\n\ndecision := {\"allow\": true, \"reasons\": [], \"obligations\": []}\n")},
		"release/r.rego": {Data: []byte("package release\n\ndecision := {\"withheld\": [], \"redacted\": []}\n")},
	}
	for _, name := range []string{"data.yaml", "schema/input.json", "schema/data.json"} {
		b, err := policies.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: b}
	}
	set, err := policy.Compile(files)
	if err != nil {
		t.Fatal(err)
	}
	d.gate = gate.New(gate.Options{Policy: policy.NewEngine(set), Log: forgetful{}, Clock: d.clock, EvaluationTimeout: 10 * time.Second, Signer: permitSigner})
	var bindings []gate.Binding
	for _, a := range m.Actions() {
		bindings = append(bindings, gate.Binding{Action: a, Connector: taker{d, a}})
	}
	d.site, err = gate.NewSite(&engine.Site{ID: siteID, Tier: engine.Business, Location: time.UTC}, bindings)
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.ParseSecret("k", "HS256", secret)
	if err != nil {
		t.Fatal(err)
	}
	v, err := identity.NewVerifier(identity.Config{Site: siteID, Issuer: "i", Audience: "a", Keys: []identity.Key{key}})
	if err != nil {
		t.Fatal(err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "i", "aud": "a", "sub": "c-1", "email": alexEmail, "name": "Alex", "jti": "t",
		"iat": d.now.Unix(), "exp": d.now.Add(5 * time.Minute).Unix(),
	})
	token.Header["kid"] = "k"
	signed, err := token.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	if d.alex = v.Verify(context.Background(), signed, d.now); d.alex.State != identity.Verified {
		t.Fatalf("the tests' token is %v: %s", d.alex.State, d.alex.Cause)
	}
	return d
}

func (d *desk) clock() time.Time { return d.now }

// permit takes an intent of Alex's down to where a connector would be called.
func (d *desk) permit(t testing.TB, action string, args map[string]any) (gate.Claim, gate.Permit) {
	t.Helper()
	delete(d.taken, action)
	res, err := d.gate.Do(context.Background(), gate.Request{
		Site: d.site, Identity: d.alex, Channel: engine.ChannelAction, IdempotencyKey: "pa_1",
		Intent: engine.Intent{Action: action, Args: args},
	})
	got, ok := d.taken[action]
	if !ok {
		t.Fatalf("the gate did not let %s through: %+v, %v", action, res.Decision, err)
	}
	return got.claim, got.permit
}

// args decodes arguments as the edge does.
func args(t testing.TB, src string) map[string]any {
	t.Helper()
	v, err := decodeJSON([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		t.Fatalf("%s is not an object", src)
	}
	return m
}

// argsOf makes one argument.
func argsOf(name, value string) map[string]any { return map[string]any{name: value} }
