package httpapi_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/conversation"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/identity"
)

const signOutPath = "/v1/sites/demo/sign-out"

func TestWhoCannotSignOut(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct {
		what, body string
		headers    []string
		status     int
		code       string
	}{
		{"nobody", "", nil, 401, "identity_absent"},
		{"a token that is none", "", []string{"Authorization", "Bearer x.y.z"}, 401, "identity_invalid"},
		{"another site's token", "", []string{"Authorization", "Bearer " + token("demo-free", "alex", time.Minute)}, 401, "identity_invalid"},
		{"another page's origin", "", append(signedIn("alex"), "Origin", "https://evil.example"), 403, "origin_not_allowed"},
		{"a field more", `{"conversation":"cv_1","subject":"c-jordan"}`, signedIn("alex"), 400, "malformed_json"},
		{"no object", `[]`, signedIn("alex"), 400, "malformed_json"},
		{"a form", `conversation=cv_1`, append(signedIn("alex"), "Content-Type", "application/x-www-form-urlencoded"), 415, "unsupported_media_type"},
		{"a long id", `{"conversation":"` + strings.Repeat("x", 65) + `"}`, signedIn("alex"), 422, "invalid_request"},
	} {
		want(t, c.what, b.post(signOutPath, c.body, c.headers...), c.status, c.code)
	}
	want(t, "an id in the URL", b.post(signOutPath+"?conversation=cv_1", "", signedIn("alex")...), 400, "unexpected_query")
	want(t, "another method", b.do("GET", signOutPath, "", signedIn("alex")...), 405, "method_not_allowed")
	want(t, "another site", b.post("/v1/sites/none/sign-out", "", signedIn("alex")...), 404, "unknown_site")
	if len(b.ended) > 0 || len(b.revoked.Of("demo")) > 0 {
		t.Errorf("ended %v, revoked %v", b.ended, b.revoked.Of("demo"))
	}
	want(t, "the token afterwards", b.do("GET", actionsPath, "", signedIn("alex")...), 200, "")
}

func TestSigningOut(t *testing.T) {
	b := newBench(t, nil)
	alex, jordan := signedIn("alex"), signedIn("jordan")
	want(t, "before", b.post(lookupPath, `{"args":{"order_id":"1001"}}`, alex...), 200, "")
	if a := b.post(signOutPath, `{"conversation":"cv_1"}`, alex...); a.status != 204 || a.body != "" {
		t.Fatalf("signing out: %d %s", a.status, a.body)
	}
	for what, a := range map[string]answer{
		"an action": b.post(lookupPath, `{"args":{"order_id":"1001"}}`, alex...),
		"the list":  b.do("GET", actionsPath, "", alex...),
	} {
		want(t, what+" with a token that signed out", a, 401, "identity_revoked")
		if !strings.Contains(a.header.Get("Www-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%s: the challenge is %q", what, a.header.Get("Www-Authenticate"))
		}
	}
	want(t, "another person", b.do("GET", actionsPath, "", jordan...), 200, "")
	want(t, "again, with nothing", b.do("POST", signOutPath, "", append(alex, "Content-Type", "")...), 204, "")
	want(t, "again, with an empty object", b.post(signOutPath, `{}`, alex...), 204, "")
	want(t, "a new token of the same", b.do("GET", actionsPath, "", "Authorization", "Bearer "+token("demo", "alex", 6*time.Minute)), 200, "")
	want(t, "a token that has expired", b.post(signOutPath, `{"conversation":"cv_2"}`,
		"Authorization", "Bearer "+token("demo", "alex", -30*time.Second)), 204, "")
	if got := strings.Join(b.ended, ", "); got != "demo cv_1 c-alex, demo cv_2 c-alex" {
		t.Errorf("ended %s", got)
	}
	if n := b.shop.did("order.lookup"); n != 1 {
		t.Errorf("the shop was asked %d times, want once, before", n)
	}
	preflight := b.do("OPTIONS", signOutPath, "", "Origin", origin, "Access-Control-Request-Method", "POST")
	if preflight.status != 204 || preflight.header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("the preflight: %d %v", preflight.status, preflight.header)
	}
}

// Nobody is told to be signed out who is not.
func TestSigningOutWithoutADisk(t *testing.T) {
	b := newBench(t, nil)
	b.state.Close()
	want(t, "signing out", b.post(signOutPath, `{"conversation":"cv_1"}`, signedIn("alex")...), 503, "audit_unavailable")
	if len(b.ended) > 0 {
		t.Error("the conversation was ended, and the token was not")
	}
	b = newBench(t, func(o *httpapi.Options) {
		o.End = func(context.Context, string, string, string) error { return errors.New("no") }
	})
	want(t, "a conversation that stays", b.post(signOutPath, `{"conversation":"cv_1"}`, signedIn("alex")...), 500, "internal")
	b = newBench(t, func(o *httpapi.Options) { o.Revoke = nil })
	want(t, "a server that keeps no revocations", b.post(signOutPath, "", signedIn("alex")...), 404, "unknown_route")
}

// A fresh token is asked for with a code of its own, and the pending action
// waits for it.
func TestFreshConfirmationOverHTTP(t *testing.T) {
	b := newBench(t, nil)
	b.sites["demo"].Gate.FreshConfirmation = true
	alex := signedIn("alex")
	confirm := func(order string, headers []string) answer {
		pending := b.post(cancelPath, `{"args":{"order_id":"`+order+`"}}`, headers...).field("pending")
		if pending == "" {
			t.Fatal("nothing to confirm")
		}
		return b.post(cancelPath, `{"args":{"order_id":"`+order+`"},"confirm":"`+pending+`"}`, headers...)
	}
	want(t, "the first yes", confirm("1001", alex), 200, "")
	pending := b.post(cancelPath, `{"args":{"order_id":"1002"}}`, alex...).field("pending")
	body := `{"args":{"order_id":"1002"},"confirm":"` + pending + `"}`
	want(t, "the second yes with the same token", b.post(cancelPath, body, alex...), 409, "confirmation_needs_fresh_token")
	want(t, "under a key", b.post(cancelPath, body, append(alex, "Idempotency-Key", "k1")...), 409, "confirmation_needs_fresh_token")
	if n := b.shop.did("order.cancel"); n != 1 {
		t.Errorf("%d cancellations, want one", n)
	}
	fresh := []string{"Authorization", "Bearer " + token("demo", "alex", 7*time.Minute), "Idempotency-Key", "k1"}
	want(t, "with a fresh token", b.post(cancelPath, body, fresh...), 200, "")
}

// The exact cause is for whoever integrates the site, and only while they test.
func TestTestModeShowsTheCause(t *testing.T) {
	b := newBench(t, nil)
	b.chat.turn = func(_ context.Context, turn conversation.Turn, _ func(conversation.Reply)) (conversation.Answer, error) {
		return conversation.Answer{Conversation: "cv_1", Identity: conversation.Shown{State: turn.Identity.State.String()}}, nil
	}
	invalid := token("demo-free", "alex", time.Minute)
	for _, c := range []struct{ what, token, cause string }{
		{"another site's", "Bearer " + invalid, identity.CauseIssuerMismatch},
		{"expired", "Bearer " + token("demo", "alex", -30*time.Second), identity.CauseExpired},
		{"not a token", "Bearer x", identity.CauseMalformed},
		{"another scheme", "Basic x", "authorization_malformed"},
		{"good", "Bearer " + token("demo", "alex", time.Minute), ""},
	} {
		for _, testing := range []bool{false, true} {
			b.sites["demo"].TestMode = testing
			if err := b.server.SetSites(b.sites); err != nil {
				t.Fatal(err)
			}
			cause := ""
			if testing {
				cause = c.cause
			}
			for _, a := range []answer{b.do("GET", actionsPath, "", "Authorization", c.token, "Origin", origin),
				b.post(chatPath, `{"message":"hi"}`, "Authorization", c.token, "Origin", origin)} {
				if got := a.header.Get("Vouchsafe-Token-Cause"); got != cause {
					t.Errorf("%s, test mode %t: the header says %q, want %q", c.what, testing, got, cause)
				}
				if exposed := strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "Vouchsafe-Token-Cause"); exposed != testing {
					t.Errorf("%s, test mode %t: exposed %t", c.what, testing, exposed)
				}
			}
		}
	}
	if s := admins(b, "/v1/admin/status").body; !strings.Contains(s, `"test_mode":true`) {
		t.Errorf("the status does not warn of test mode: %s", s)
	}
	m := admins(b, "/metrics").body
	for _, line := range []string{
		`vouchsafe_tokens_refused_total{cause="token_issuer_mismatch",site="demo"} 4`,
		`vouchsafe_tokens_refused_total{cause="token_expired",site="demo"} 4`,
	} {
		if !strings.Contains(m, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

func TestPublishedKeysAreMeasured(t *testing.T) {
	b := newBench(t, nil)
	at := time.Unix(1_800_000_000, 0)
	b.sites["demo"].Published = func() identity.JWKSStatus { return identity.JWKSStatus{Fetched: at, Keys: 2, Err: errors.New("down")} }
	b.sites["demo-free"].Published = func() identity.JWKSStatus { return identity.JWKSStatus{} }
	if err := b.server.SetSites(b.sites); err != nil {
		t.Fatal(err)
	}
	m := admins(b, "/metrics").body
	for _, line := range []string{
		`vouchsafe_jwks_keys{site="demo"} 2`, `vouchsafe_jwks_healthy{site="demo"} 0`, `vouchsafe_jwks_fetched_timestamp_seconds{site="demo"} 1.8e+09`,
		`vouchsafe_jwks_keys{site="demo-free"} 0`, `vouchsafe_jwks_healthy{site="demo-free"} 1`, `vouchsafe_jwks_fetched_timestamp_seconds{site="demo-free"} 0`,
	} {
		if !strings.Contains(m, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

// A policy that forgets revocations changes nothing at the door either.
func TestARevokedSubjectOverHTTP(t *testing.T) {
	b := newBench(t, nil)
	alex := signedIn("alex")
	want(t, "before", b.post(lookupPath, `{"args":{"order_id":"1001"}}`, alex...), 200, "")
	if _, err := b.revoked.Subject(context.Background(), "demo", "c-alex"); err != nil {
		t.Fatal(err)
	}
	a := b.post(lookupPath, `{"args":{"order_id":"1001"}}`, alex...)
	want(t, "at once", a, 401, engine.CodeIdentityRevoked)
	if e, err := b.log.Show(a.field("decision")); err != nil || e.Decision.Cause != identity.CauseRevoked || e.About.Identity.Subject != "c-alex" {
		t.Errorf("on record: %+v, %v", e, err)
	}
	want(t, "asked", b.post(decidePath, `{"action":"order.lookup"}`, alex...), 200, "")
}
