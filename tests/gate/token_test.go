package gate_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/tests/harness"
)

// A token that is not good is told apart honestly, and never does anything.
func TestTokensThatAreNotGood(t *testing.T) {
	t.Parallel()
	w := start(t)
	mint := func(mods ...func(*harness.Minting)) string { return w.Token(t, shop, harness.Alex, mods...) }
	good := mint()
	parts := strings.Split(good, ".")
	swapped := mint(harness.Claim("sub", harness.Jordan.Subject), harness.Claim("email", harness.Jordan.Email))
	for _, c := range []struct {
		name, token, state, code string
	}{
		{"expired", mint(harness.Lived(-20*time.Minute, -10*time.Minute)), "expired", "identity_expired"},
		{"not yet valid", mint(harness.Claim("nbf", time.Now().Add(10*time.Minute).Unix())), "invalid", "identity_invalid"},
		{"issued in the future", mint(harness.Lived(10*time.Minute, 15*time.Minute)), "invalid", "identity_invalid"},
		{"wrong key", mint(harness.WrongKey), "invalid", "identity_invalid"},
		{"wrong key and expired", mint(harness.WrongKey, harness.Lived(-20*time.Minute, -10*time.Minute)), "invalid", "identity_invalid"},
		{"alg none", mint(harness.Unsigned), "invalid", "identity_invalid"},
		{"alg none without a kid", mint(harness.Unsigned, func(m *harness.Minting) { delete(m.Header, "kid") }), "invalid", "identity_invalid"},
		{"other site's", w.Token(t, corner, harness.Alex), "invalid", "identity_invalid"},
		{"other site's key, this site's names", w.Keys[corner].Token(t, harness.Alex, harness.Claim("iss", w.Keys[shop].Issuer), harness.Claim("aud", w.Keys[shop].Audience)), "invalid", "identity_invalid"},
		{"other audience", mint(harness.Claim("aud", "vouchsafe-corner")), "invalid", "identity_invalid"},
		{"other issuer", mint(harness.Claim("iss", "https://corner.example")), "invalid", "identity_invalid"},
		{"no expiry", mint(func(m *harness.Minting) { delete(m.Claims, "exp") }), "invalid", "identity_invalid"},
		{"no subject", mint(func(m *harness.Minting) { delete(m.Claims, "sub") }), "invalid", "identity_invalid"},
		{"unknown kid", mint(func(m *harness.Minting) { m.Header["kid"] = "k9" }), "invalid", "identity_invalid"},
		{"k1 signed under k2's name", mint(func(m *harness.Minting) { m.Header["kid"] = "k2" }), "invalid", "identity_invalid"},
		{"HS512 under an HS256 key", mint(func(m *harness.Minting) { m.Method = jwt.SigningMethodHS512 }), "invalid", "identity_invalid"},
		{"another's claims under the signature", parts[0] + "." + strings.Split(swapped, ".")[1] + "." + parts[2], "invalid", "identity_invalid"},
		{"no signature", parts[0] + "." + parts[1] + ".", "invalid", "identity_invalid"},
		{"not a token", "hello", "invalid", "identity_invalid"},
		{"not even that", base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 6000))), "invalid", "identity_invalid"},
		{"longer than a site's tokens may live", mint(harness.Lived(0, 2*time.Hour)), "verified", "identity_too_long_lived"},
		{"longer than any token may live", mint(harness.Lived(0, 48*time.Hour)), "invalid", "identity_invalid"},
		{"e-mail not verified", mint(harness.Claim("email_verified", false)), "verified", "email_unverified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.shopSawNothing(t, func() {
				a := w.Chat(t, shop, c.token, turn{Message: "where is my order 1001"})
				r := a.Last()
				if a.Status != http.StatusOK || a.Identity.State != c.state || len(a.Replies) != 1 || r.Code != c.code {
					t.Errorf("chat: %d %s, want state %s and code %s", a.Status, a.Raw, c.state, c.code)
				}
				if want := map[bool]string{true: "refused", false: "sign_in"}[c.state == "verified"]; r.Type != want {
					t.Errorf("chat: a reply of type %s, want %s\n%s", r.Type, want, a.Raw)
				}
				status := http.StatusUnauthorized
				if c.code == "email_unverified" {
					status = http.StatusForbidden
				}
				for _, action := range []string{"order.lookup", "order.cancel"} {
					got := w.Act(t, shop, c.token, action, args{"order_id": "1001"}, "")
					wantProblem(t, action, got, status, c.code)
					if h := got.Header.Get("WWW-Authenticate"); status == http.StatusUnauthorized && !strings.Contains(h, `error="invalid_token"`) {
						t.Errorf("%s: WWW-Authenticate is %q, want invalid_token", action, h)
					}
				}
				d := w.Decide(t, shop, c.token, "order.list", args{}, "")
				if d.Allow || len(d.Reasons) == 0 || d.Reasons[0].Code != c.code {
					t.Errorf("asking: %s, want %s", d.Raw, c.code)
				}
				list := w.Do(t, http.MethodGet, "/v1/sites/shop/actions", c.token, nil)
				if want := map[bool]int{true: 200, false: 401}[c.state == "verified"]; list.Status != want {
					t.Errorf("listing the actions: %d, want %d", list.Status, want)
				}
				if found := w.Audit(t, "--code", c.code, "--action", "order.list"); len(found) == 0 ||
					c.state == "invalid" && (found[0].Decision.Cause == "" || found[0].Decision.Input.Identity.Subject != "") {
					t.Errorf("the audit has %+v, want the refusal with its cause", found)
				}
			})
			// A question needs no identity, so a bad one does not stand in its way.
			wantReply(t, "a general question", w.Chat(t, shop, c.token, turn{Message: "do you ship to Canada?"}), "answer", "")
		})
	}
}

// A token that runs out in the middle keeps its conversation, and what was
// asked comes back once there is a fresh one.
func TestExpiryInTheMiddle(t *testing.T) {
	t.Parallel()
	w := start(t)
	expired := w.Token(t, shop, harness.Alex, harness.Lived(-20*time.Minute, -10*time.Minute))
	first := w.Chat(t, shop, w.alex, turn{Message: "cancel order 1002"})
	pending := first.Last().Pending
	out := w.Chat(t, shop, expired, turn{Conversation: first.Conversation, Message: "where is my order 1001"})
	r := wantReply(t, "an expired token of the same person", out, "sign_in", "identity_expired")
	if out.Conversation != first.Conversation || r.Resume == "" {
		t.Errorf("an expired token of the same person: %s, want the same conversation and a way to resume", out.Raw)
	}
	w.shopSawNothing(t, func() {
		late := w.Chat(t, shop, expired, turn{Conversation: first.Conversation, Confirm: pending})
		wantReply(t, "confirming with an expired token", late, "sign_in", "identity_expired")
	})
	back := w.Chat(t, shop, w.alex, turn{Conversation: first.Conversation, Resume: r.Resume})
	if wantReply(t, "resuming with a fresh token", back, "result", "").Data["id"] != "1001" {
		t.Errorf("resuming with a fresh token: %s", back.Raw)
	}
	done := w.Chat(t, shop, w.alex, turn{Conversation: first.Conversation, Confirm: pending})
	wantReply(t, "confirming with a fresh token", done, "result", "")
	for what, token := range map[string]string{"an expired token of another": w.Token(t, shop, harness.Jordan, harness.Lived(-20*time.Minute, -10*time.Minute)),
		"a forged one": w.Token(t, shop, harness.Alex, harness.WrongKey)} {
		a := w.Chat(t, shop, token, turn{Conversation: first.Conversation, Message: "show my orders"})
		if a.Conversation == first.Conversation || strings.Contains(string(a.Raw), "1001") {
			t.Errorf("%s in Alex's conversation: %d %s", what, a.Status, a.Raw)
		}
	}
}

// A site on the free plan says that it cannot, without blaming the visitor, and
// still answers questions.
func TestFreeSite(t *testing.T) {
	t.Parallel()
	w := start(t)
	alex := w.Token(t, corner, harness.Alex)
	w.shopSawNothing(t, func() {
		for _, message := range []string{"where is my order 1001", "show my orders", "cancel order 1002", "what appointments do I have"} {
			r := wantReply(t, message, w.Chat(t, corner, alex, turn{Message: message}), "refused", "tier_insufficient")
			lower := strings.ToLower(r.Text)
			for _, blame := range []string{"your plan", "your tier", "upgrade", "you must", "you cannot", "you can't", "you may not", "not allowed", "tier"} {
				if strings.Contains(lower, blame) {
					t.Errorf("%s: %q blames the visitor (%q)", message, r.Text, blame)
				}
			}
		}
		wantProblem(t, "order.list", w.Act(t, corner, alex, "order.list", nil, ""), http.StatusForbidden, "tier_insufficient")
		wantProblem(t, "order.cancel", w.Act(t, corner, alex, "order.cancel", args{"order_id": "1001"}, ""), http.StatusForbidden, "tier_insufficient")
	})
	if found := w.Audit(t, "--site", corner, "--code", "tier_insufficient"); len(found) != 6 {
		t.Errorf("the audit has %d refusals by plan, want 6", len(found))
	}
	wantReply(t, "a general question", w.Chat(t, corner, "", turn{Message: "do you ship to Canada?"}), "answer", "")
	if a := w.Act(t, corner, "", "salon.hours", nil, ""); a.Status != http.StatusOK {
		t.Errorf("a public action: %d %s", a.Status, a.Raw)
	}
}
