package httpapi_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/enginetest"
	"vouchsafe/engine/policy"
)

// oblige puts an obligation on an action in force.
func (b *bench) oblige(action, obligation string) {
	b.t.Helper()
	set, err := policy.Compile(enginetest.Obliging(b.t, action, obligation))
	if err != nil {
		b.t.Fatal(err)
	}
	b.policy.Activate(set)
}

// authenticated is the header of a token that says how somebody signed in.
func authenticated(t *testing.T, name string, more jwt.MapClaims) []string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{"iss": "https://demo", "aud": "vouchsafe-demo", "sub": "c-" + name, "email": name + "@example.com",
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	for k, v := range more {
		claims[k] = v
	}
	tok := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	tok.Header["kid"] = "k1"
	s, err := tok.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"Authorization", "Bearer " + s}
}

func TestALimitIs429(t *testing.T) {
	b := newBench(t, nil)
	b.oblige("order.lookup", `{"kind": "limit", "n": 2, "window": "1h"}`)
	look := func(who []string, more ...string) answer {
		return b.post(lookupPath, `{"args":{"order_id":"1001"}}`, append(who, more...)...)
	}
	alex := signedIn("alex")
	want(t, "first", look(alex), 200, "")
	keyed := look(alex, "Idempotency-Key", "k")
	want(t, "second", keyed, 200, "")
	a := look(alex)
	want(t, "third", a, 429, engine.CodeLimitReached)
	if s, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || s < 3500 || s > 3600 {
		t.Errorf("Retry-After %q, want about an hour", a.header.Get("Retry-After"))
	}
	want(t, "third, under a key", look(alex, "Idempotency-Key", "k2"), 429, engine.CodeLimitReached)
	if n := b.shop.did("order.lookup"); n != 2 {
		t.Errorf("the shop saw %d look-ups, want 2", n)
	}
	// A response that is only shown again is no further use.
	if again := look(alex, "Idempotency-Key", "k"); again.body != keyed.body || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("repeated: %d %s, want %s", again.status, again.body, keyed.body)
	}
	d := b.post("/v1/sites/demo/decisions", `{"action":"order.lookup","args":{"order_id":"1001"}}`, alex...)
	if d.status != 200 || !strings.Contains(d.body, `"allow":false`) || !strings.Contains(d.body, `"obligations":[{"kind":"limit","n":2,"window":"1h"}]`) {
		t.Errorf("decisions: %d %s", d.status, d.body)
	}
	d = b.post("/v1/sites/demo/decisions", `{"action":"order.lookup","args":{"order_id":"1001"}}`, signedIn("jordan")...)
	if !strings.Contains(d.body, `"obligations":[{"kind":"limit","n":2,"window":"1h"},{"kind":"ownership","argument":"order_id"}]`) {
		t.Errorf("decisions for another: %s", d.body)
	}
	found, err := b.log.List(audit.Query{Code: engine.CodeLimitReached})
	if err != nil || len(found) != 3 || found[0].Decision.Obligations[0] != "limit 2/1h" {
		t.Errorf("the log has %+v, %v; want three refusals under limit 2/1h", found, err)
	}
	if raw := readFile(t, b.state.Path()); strings.Contains(raw, "c-alex") || strings.Contains(raw, "alex@") {
		t.Error("the state file names the customer")
	}
}

// What an action rests on may be under a limit too.
func TestALimitOfAProofIs429(t *testing.T) {
	b := newBench(t, nil)
	b.oblige("order.lookup", `{"kind": "limit", "n": 1, "window": "1h"}`)
	alex := signedIn("alex")
	want(t, "first", b.post(notePath, `{"args":{"order_id":"1001"}}`, alex...), 200, "")
	a := b.post(notePath, `{"args":{"order_id":"1001"}}`, alex...)
	want(t, "second", a, 429, engine.CodeLimitReached)
	if s, _ := strconv.Atoi(a.header.Get("Retry-After")); s < 3500 {
		t.Errorf("Retry-After %q, want about an hour", a.header.Get("Retry-After"))
	}
}

// The challenge is RFC 9470's, with what the policy wants.
func TestAStepUpIsChallenged(t *testing.T) {
	b := newBench(t, nil)
	b.oblige("order.list", `{"kind": "step_up", "max_age": "5m", "acr": ["urn:b", "urn:a"]}`)
	const path = "/v1/sites/demo/actions/order.list"
	const wants = `, error="insufficient_user_authentication", error_description="A more recent or another sign-in is required", acr_values="urn:b urn:a", max_age="300"`
	now := time.Now().Unix()
	for name, claims := range map[string]jwt.MapClaims{"neither": nil, "old": {"auth_time": now - 400, "acr": "urn:a"}, "weak": {"auth_time": now}} {
		a := b.post(path, `{}`, authenticated(t, "alex", claims)...)
		want(t, name, a, 401, engine.CodeStepUpRequired)
		if h := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(h, "Bearer realm=") || !strings.HasSuffix(h, wants) {
			t.Errorf("%s: WWW-Authenticate %q, want …%s", name, h, wants)
		}
	}
	if n := b.shop.did("order.list"); n != 0 {
		t.Errorf("the shop saw %d calls", n)
	}
	want(t, "both", b.post(path, `{}`, authenticated(t, "alex", jwt.MapClaims{"auth_time": now, "acr": "urn:a"})...), 200, "")

	b.oblige("shop.opening_hours", `{"kind": "step_up", "acr": ["urn:a"]}`)
	a := b.post(hoursPath, `{}`)
	want(t, "nobody", a, 401, engine.CodeStepUpRequired)
	if h := a.header.Get("WWW-Authenticate"); strings.Contains(h, "error") || !strings.HasSuffix(h, `, acr_values="urn:a"`) {
		t.Errorf("nobody: WWW-Authenticate %q; want no error and what it takes", h)
	}
	b.oblige("order.lookup", `{"kind": "step_up", "max_age": "5m"}`)
	a = b.post(notePath, `{"args":{"order_id":"1001"}}`, signedIn("alex")...)
	want(t, "what it rests on", a, 401, engine.CodeStepUpRequired)
	if h := a.header.Get("WWW-Authenticate"); !strings.HasSuffix(h, `, max_age="300"`) {
		t.Errorf("what it rests on: WWW-Authenticate %q", h)
	}
}

// The yes of somebody whose sign-in has grown old, or for whom there is no room
// yet, is not used up.
func TestAYesWaitsForWhatIsUnmet(t *testing.T) {
	b := newBench(t, nil)
	const path = "/v1/sites/demo/actions/order.cancel"
	pending := func(order string) string {
		a := b.post(path, `{"args":{"order_id":"`+order+`"}}`, authenticated(t, "alex", jwt.MapClaims{"auth_time": time.Now().Unix()})...)
		want(t, "the question", a, 409, engine.CodeConfirmationRequired)
		return a.field("pending")
	}
	b.oblige("order.cancel", `{"kind": "step_up", "max_age": "5m"}`)
	yes := fmt.Sprintf(`{"args":{"order_id":"1001"},"confirm":%q}`, pending("1001"))
	want(t, "an old sign-in", b.post(path, yes, authenticated(t, "alex", jwt.MapClaims{"auth_time": time.Now().Unix() - 400})...), 401, engine.CodeStepUpRequired)
	want(t, "a fresh one", b.post(path, yes, authenticated(t, "alex", jwt.MapClaims{"auth_time": time.Now().Unix()})...), 200, "")
	want(t, "again", b.post(path, yes, authenticated(t, "alex", jwt.MapClaims{"auth_time": time.Now().Unix()})...), 409, engine.CodeConfirmationSpent)
}
