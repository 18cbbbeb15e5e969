package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/cmd/vouchsafe/config"
)

// The customers of the tests' backend.
const (
	ownEmail   = "alex@example.com"
	otherEmail = "jordan@example.com"
	ownCookie  = "session=s3ss10n-of-alex-7d1"
)

// backend is a website: a sign-in page and an endpoint that mints tokens.
type backend struct {
	*httptest.Server
	secret []byte
	// mint answers a request for a token.
	mint func(b *backend, w http.ResponseWriter, r *http.Request)
	// claims changes what is signed.
	claims func(jwt.MapClaims)
	kid    string
	// header is added to every answer.
	header http.Header
	asked  []string // the paths that were asked for
}

// token signs for an address.
func (b *backend) token(email string) string {
	now := time.Now()
	c := jwt.MapClaims{"iss": "https://shop.example", "aud": "vouchsafe-shop", "sub": "cus_" + email[:4], "email": email,
		"email_verified": true, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": fmt.Sprint(now.UnixNano())}
	if b.claims != nil {
		b.claims(c)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	t.Header["kid"] = b.kid
	signed, err := t.SignedString(b.secret)
	if err != nil {
		panic(err)
	}
	return signed
}

// signedIn is the session's customer, "" for nobody.
func signedIn(r *http.Request) string {
	if c, err := r.Cookie("session"); err == nil && "session="+c.Value == ownCookie {
		return ownEmail
	}
	return ""
}

// give answers with a token for an address, or 401 for none.
func (b *backend) give(w http.ResponseWriter, email string) {
	if email == "" {
		http.Error(w, "sign in first", http.StatusUnauthorized)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(map[string]string{"token": b.token(email)})
}

// careful mints for the session's customer alone.
func careful(b *backend, w http.ResponseWriter, r *http.Request) { b.give(w, signedIn(r)) }

// newGate makes a configuration whose site belongs to the backend.
func newGate(t *testing.T, mint func(*backend, http.ResponseWriter, *http.Request)) (*backend, string) {
	t.Helper()
	dir := t.TempDir()
	if _, err := config.Init(dir); err != nil {
		t.Fatal(err)
	}
	secret, err := config.KeySource{File: filepath.Join(dir, "shop.secret")}.Read()
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{secret: secret, mint: mint, kid: "k1"}
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "Sign in") })
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) { b.mint(b, w, r) })
	mux.HandleFunc("/circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/circle2", http.StatusFound) })
	mux.HandleFunc("/circle2", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/circle", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://id.elsewhere.example/authorize", http.StatusFound)
	})
	mux.HandleFunc("/once", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) })
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"keys":[]}`) })
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.asked = append(b.asked, r.URL.Path)
		for name, values := range b.header {
			w.Header()[name] = values
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(b.Close)
	file := filepath.Join(dir, config.FileName)
	edit(t, file, "sign_in_url: https://shop.example/login", "sign_in_url: "+b.URL+"/login")
	edit(t, file, `origins: ["https://shop.example"]`, `origins: ["https://shop.example", "`+b.URL+`"]`)
	vouchsafe(t, []string{"SHOP_API_KEY=sk-live-0123456789"}, "connection", "add", "shop-admin", "--site", "shop", "--config", file,
		"--type", "api_key", "--header", "X-Api-Key", "--value-env", "SHOP_API_KEY", "--base-url", "https://api.shop.example")
	return b, file
}

func edit(t *testing.T, file, old, new string) {
	t.Helper()
	s, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(s), old) {
		t.Fatalf("%s does not hold %q (%v)", file, old, err)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(s), old, new)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// vouchsafe runs a command in this process.
func vouchsafe(t *testing.T, env []string, args ...string) (code int, out string) {
	t.Helper()
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String() + stderr.String()
}

// examined runs doctor and returns its exit code and findings.
func examined(t *testing.T, file string, args ...string) (int, []finding) {
	t.Helper()
	code, out := vouchsafe(t, nil, append([]string{"doctor", "--config", file, "--format", "json"}, args...)...)
	for _, private := range []string{ownEmail, otherEmail, strings.TrimPrefix(ownCookie, "session="), "eyJ"} {
		if strings.Contains(out, private) {
			t.Errorf("doctor shows %q:\n%s", private, out)
		}
	}
	var all []finding
	for line := range strings.Lines(out) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("doctor: %s", out)
		}
		if f.State != findingOK && f.Fix == "" {
			t.Errorf("%s says nothing of how to repair: %s", f.Check, f.Found)
		}
		all = append(all, f)
	}
	return code, all
}

// holds looks for a finding of a state that says something.
func holds(all []finding, state, check, text string) bool {
	for _, f := range all {
		if f.State == state && f.Check == check && strings.Contains(f.Found, text) {
			return true
		}
	}
	return false
}

func show(all []finding) string {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "%-4s %-13s %s\n", f.State, f.Check, f.Found)
	}
	return b.String()
}

// naming are endpoints that sign for whom the request names, each in its way.
var naming = map[string]func(r *http.Request) string{
	"query":         func(r *http.Request) string { return r.URL.Query().Get("email") },
	"query, user":   func(r *http.Request) string { return r.URL.Query().Get("user") },
	"query of GET":  func(r *http.Request) string { return onlyIf(r.Method == http.MethodGet, r.URL.Query().Get("email")) },
	"query of POST": func(r *http.Request) string { return onlyIf(r.Method == http.MethodPost, r.URL.Query().Get("user_id")) },
	"form":          func(r *http.Request) string { return r.PostFormValue("email") },
	"JSON":          func(r *http.Request) string { return inJSON(r, "email") },
	"JSON, sub":     func(r *http.Request) string { return inJSON(r, "sub") },
	"nested JSON":   func(r *http.Request) string { return inJSON(r, "user", "email") },
	"proxy header":  func(r *http.Request) string { return r.Header.Get("X-Forwarded-Email") },
}

func onlyIf(cond bool, s string) string {
	if cond {
		return s
	}
	return ""
}

func inJSON(r *http.Request, path ...string) string {
	var v any
	if json.NewDecoder(r.Body).Decode(&v) != nil {
		return ""
	}
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	s, _ := v.(string)
	return s
}

// The mistake that matters most: the endpoint signs for whom it is told.
func TestDoctorFindsEndpointsThatSignForAnybody(t *testing.T) {
	for name, from := range naming {
		t.Run("nobody, "+name, func(t *testing.T) {
			b, file := newGate(t, func(b *backend, w http.ResponseWriter, r *http.Request) { b.give(w, from(r)) })
			code, all := examined(t, file, "--token-url", b.URL+"/token", "--other-email", otherEmail)
			if code != 1 || !holds(all, findingFail, "mint", "ANYBODY CAN BECOME ANY CUSTOMER") ||
				!holds(all, findingFail, "mint", "the very address that was asked for), which verifies here") {
				t.Errorf("exit code %d, want 1 and the warning:\n%s", code, show(all))
			}
		})
		t.Run("a customer, "+name, func(t *testing.T) {
			b, file := newGate(t, func(b *backend, w http.ResponseWriter, r *http.Request) {
				email := signedIn(r)
				if other := from(r); email != "" && other != "" {
					email = other
				}
				b.give(w, email)
			})
			code, all := examined(t, file, "--token-url", b.URL+"/token", "--cookie", ownCookie, "--other-email", otherEmail)
			if code != 1 || !holds(all, findingFail, "mint", "ANY CUSTOMER CAN BECOME ANOTHER") ||
				holds(all, findingFail, "mint", "ANYBODY") || !holds(all, findingOK, "mint", "without a session nobody gets a token") {
				t.Errorf("exit code %d, want 1 and the warning:\n%s", code, show(all))
			}
		})
	}
}

// Further ways of giving away what was never to be given.
func TestDoctorFindsTokensThatAreGivenAway(t *testing.T) {
	for name, c := range map[string]struct {
		mint  func(*backend, http.ResponseWriter, *http.Request)
		check string
		state string
		want  string
	}{
		"a token for everybody": {func(b *backend, w http.ResponseWriter, r *http.Request) { b.give(w, ownEmail) },
			"mint", findingFail, "ANYBODY CAN BECOME ANY CUSTOMER"},
		"under another name": {func(b *backend, w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"data":{"jwt":%q}}`, b.token(ownEmail))
		}, "mint", findingFail, "ANYBODY CAN BECOME ANY CUSTOMER"},
		"in a cookie": {func(b *backend, w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "chat", Value: b.token(ownEmail)})
			w.WriteHeader(http.StatusNoContent)
		}, "mint", findingFail, "ANYBODY CAN BECOME ANY CUSTOMER"},
		"with an error's status": {func(b *backend, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, b.token(ownEmail))
		}, "mint", findingFail, "ANYBODY CAN BECOME ANY CUSTOMER"},
		"signed with another key": {func(b *backend, w http.ResponseWriter, r *http.Request) {
			other := &backend{secret: []byte("another secret, of a test system, of 48 bytes..."), kid: "k1"}
			other.give(w, ownEmail)
		}, "mint", findingFail, "though it does not verify here: token_signature_invalid"},
		"to pages of any origin": {func(b *backend, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
			w.Header().Set("Access-Control-Allow-Credentials", "true")
			careful(b, w, r)
		}, "mint", findingFail, "ANY WEB PAGE CAN TAKE A VISITOR'S TOKEN"},
		"to caches": {func(b *backend, w http.ResponseWriter, r *http.Request) {
			if signedIn(r) == "" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			io.WriteString(w, b.token(ownEmail))
		}, "token", findingWarn, "kept by caches"},
		"nothing could be told": {func(b *backend, w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "" || r.ContentLength > 0 {
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			careful(b, w, r)
		}, "mint", findingWarn, "so nothing could be told"},
	} {
		t.Run(name, func(t *testing.T) {
			b, file := newGate(t, c.mint)
			code, all := examined(t, file, "--token-url", b.URL+"/token", "--cookie", ownCookie, "--other-email", otherEmail)
			if want := map[string]int{findingFail: 1, findingWarn: 0}[c.state]; code != want || !holds(all, c.state, c.check, c.want) {
				t.Errorf("exit code %d, want %d and %s %q:\n%s", code, want, c.state, c.want, show(all))
			}
		})
	}
}

// What is wrong with a token of the site's own.
func TestDoctorJudgesTheSitesOwnToken(t *testing.T) {
	for name, c := range map[string]struct {
		claims func(jwt.MapClaims)
		kid    string
		check  string
		state  string
		want   string
	}{
		"another audience":  {claims: set("aud", "vouchsafe"), state: findingFail, want: "token_audience_mismatch"},
		"another issuer":    {claims: set("iss", "https://shop.example/"), state: findingFail, want: "token_issuer_mismatch"},
		"no subject":        {claims: set("sub", nil), state: findingFail, want: "token_claim_invalid"},
		"a number for sub":  {claims: set("sub", 5521), state: findingFail, want: "token_claim_invalid (sub"},
		"an unknown kid":    {kid: "main", state: findingFail, want: "token_unknown_kid"},
		"milliseconds":      {claims: set("exp", time.Now().UnixMilli()), state: findingFail, want: "token_claim_invalid (exp"},
		"two days":          {claims: set("exp", time.Now().Add(48*time.Hour).Unix()), state: findingFail, want: "token_lifetime_too_long"},
		"an hour":           {claims: set("exp", time.Now().Add(time.Hour).Unix()), state: findingFail, want: "identity_too_long_lived"},
		"seconds":           {claims: set("exp", time.Now().Add(20*time.Second).Unix()), state: findingWarn, want: "dead before it arrives"},
		"from the future":   {claims: set("iat", time.Now().Add(3*time.Minute).Unix()), state: findingFail, want: "token_issued_in_future"},
		"a display name":    {claims: set("email", "Alex <a.b@example.org>"), state: findingFail, want: "email_invalid"},
		"no jti":            {claims: func(m jwt.MapClaims) { delete(m, "jti") }, state: findingWarn, want: "no jti"},
		"nothing verified":  {claims: func(m jwt.MapClaims) { delete(m, "email_verified") }, state: findingWarn, want: "does not say email_verified"},
		"e-mail unverified": {claims: set("email_verified", false), state: findingFail, want: "email_unverified"},
	} {
		t.Run(name, func(t *testing.T) {
			b, file := newGate(t, careful)
			b.claims = c.claims
			if c.kid != "" {
				b.kid = c.kid
			}
			code, all := examined(t, file, "--token-url", b.URL+"/token", "--cookie", ownCookie, "--other-email", otherEmail)
			if want := map[string]int{findingFail: 1, findingWarn: 0}[c.state]; code != want || !holds(all, c.state, "token", c.want) {
				t.Errorf("exit code %d, want %d and %s %q:\n%s", code, want, c.state, c.want, show(all))
			}
		})
	}
}

func set(name string, value any) func(jwt.MapClaims) {
	return func(m jwt.MapClaims) { m[name] = value }
}

// What is wrong with the configuration and what it names.
func TestDoctorFindsWhatIsSetUpWrongly(t *testing.T) {
	const key = "- {kid: k1, alg: HS256, secret_file: shop.secret}"
	for name, c := range map[string]struct {
		change func(t *testing.T, b *backend, file string)
		check  string
		state  string
		want   string
	}{
		"an origin with a slash": {func(t *testing.T, b *backend, file string) {
			edit(t, file, `"https://shop.example",`, `"https://shop.example/",`)
		}, "configuration", findingFail, "not even a slash at the end"},
		"a secret that is gone": {func(t *testing.T, b *backend, file string) {
			os.Remove(filepath.Join(filepath.Dir(file), "shop.secret"))
		}, "configuration", findingFail, "secret_file"},
		"a sample secret": {func(t *testing.T, b *backend, file string) {
			os.WriteFile(filepath.Join(filepath.Dir(file), "shop.secret"), []byte("your-256-bit-secret-your-256-bit-secret"), 0o600)
		}, "keys", findingFail, "published sample"},
		"a secret for everybody": {func(t *testing.T, b *backend, file string) {
			os.Chmod(filepath.Join(filepath.Dir(file), "shop.secret"), 0o644)
		}, "configuration", findingWarn, "open to other users"},
		"a retired key alone": {func(t *testing.T, b *backend, file string) {
			edit(t, file, key, strings.Replace(key, "}", ", retire_after: 2026-01-01}", 1))
		}, "keys", findingFail, "no key is in use now"},
		"a key that retires soon": {func(t *testing.T, b *backend, file string) {
			edit(t, file, key, strings.Replace(key, "}", ", retire_after: "+time.Now().Add(72*time.Hour).UTC().Format(time.RFC3339)+"}", 1))
		}, "keys", findingWarn, "retires on"},
		"a key set without keys": {func(t *testing.T, b *backend, file string) {
			edit(t, file, "# jwks_url: https://shop.example/.well-known/jwks.json", "jwks_url: "+b.URL+"/keys")
		}, "jwks", findingFail, "no key that can be used"},
		"a key set behind a redirect": {func(t *testing.T, b *backend, file string) {
			edit(t, file, "# jwks_url: https://shop.example/.well-known/jwks.json", "jwks_url: "+b.URL+"/once")
		}, "jwks", findingFail, "redirects"},
		"a connection that is missing": {func(t *testing.T, b *backend, file string) {
			vouchsafe(t, nil, "connection", "remove", "shop-admin", "--site", "shop", "--config", file)
		}, "connections", findingFail, "shop-admin"},
		"a connection that allows other calls": {func(t *testing.T, b *backend, file string) {
			edit(t, filepath.Join(filepath.Dir(file), "actions", "example.yaml"), `path: "/orders/{order_id}/cancel"`, `path: "/orders/{order_id}/void"`)
		}, "connections", findingWarn, "1 are lacking, 1 too many"},
		"a provider that is down": {func(t *testing.T, b *backend, file string) {
			os.WriteFile(filepath.Join(filepath.Dir(file), "gate.key"), []byte("0123456789abcdefghijklmnopqrstuvwxyz"), 0o600)
			edit(t, file, "provider: embedded", "provider: unix:provider.sock\n  key_file: gate.key")
		}, "connections", findingFail, "does not answer"},
		"a manifest with a mistake": {func(t *testing.T, b *backend, file string) {
			edit(t, filepath.Join(filepath.Dir(file), "actions", "example.yaml"), "risk: destructive", "risk: high")
		}, "actions", findingFail, "risk"},
		"a tier too low": {func(t *testing.T, b *backend, file string) {
			edit(t, file, "tier: pro ", "tier: free ")
		}, "actions", findingWarn, "does not include order.cancel, order.list, order.lookup"},
		"help without a page": {func(t *testing.T, b *backend, file string) {
			os.Remove(filepath.Join(filepath.Dir(file), "help", "orders.md"))
		}, "help", findingFail, "no Markdown or HTML page"},
		"a sign-in page that is not there": {func(t *testing.T, b *backend, file string) {
			edit(t, file, b.URL+"/login", b.URL+"/signin")
		}, "sign-in", findingFail, "404"},
		"a sign-in page in circles": {func(t *testing.T, b *backend, file string) {
			edit(t, file, b.URL+"/login", b.URL+"/circle")
		}, "sign-in", findingFail, "in a circle"},
		"a sign-in page of another origin": {func(t *testing.T, b *backend, file string) {
			edit(t, file, `, "`+b.URL+`"]`, "]")
		}, "origins", findingWarn, "where visitors sign in, is not among the origins"},
		"no origins": {func(t *testing.T, b *backend, file string) {
			edit(t, file, `origins: ["https://shop.example", "`+b.URL+`"]`, "origins: []")
		}, "origins", findingWarn, "will not work in a browser"},
		"a clock an hour ahead": {func(t *testing.T, b *backend, file string) {
			b.header = http.Header{"Date": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}
		}, "clock", findingFail, "ahead of ours"},
		"a clock half a minute behind": {func(t *testing.T, b *backend, file string) {
			b.header = http.Header{"Date": {time.Now().Add(-30 * time.Second).UTC().Format(http.TimeFormat)}}
		}, "clock", findingWarn, "behind ours"},
		"test mode": {func(t *testing.T, b *backend, file string) {
			edit(t, file, "test_mode: false", "test_mode: true")
		}, "test mode", findingWarn, "exactly why it is refused"},
		"an endpoint that nobody examined": {func(t *testing.T, b *backend, file string) {}, "mint", findingWarn, "was not examined"},
	} {
		t.Run(name, func(t *testing.T) {
			b, file := newGate(t, careful)
			c.change(t, b, file)
			code, all := examined(t, file)
			if want := map[string]int{findingFail: 1, findingWarn: 0}[c.state]; code != want || !holds(all, c.state, c.check, c.want) {
				t.Errorf("exit code %d, want %d and %s %q of %s:\n%s", code, want, c.state, c.want, c.check, show(all))
			}
		})
	}
}

// A site that is set up well has nothing to repair, and doctor says what it saw.
func TestDoctorFindsNothingWhereAllIsWell(t *testing.T) {
	b, file := newGate(t, careful)
	code, all := examined(t, file, "--token-url", b.URL+"/token", "--cookie", ownCookie, "--other-email", otherEmail)
	if code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, show(all))
	}
	for check, want := range map[string]string{
		"configuration": "can be used", "keys": "k1 (HS256)", "actions": "of which 3 need a signed-in customer",
		"connections": "shop-admin leads to https://api.shop.example", "help": "1 help page can be read",
		"sign-in": "answers", "clock": "agrees", "token": "it lives 5m0s; max_lifetime allows 15m0s",
		"mint": "a session gets tokens for its own customer only",
	} {
		if !holds(all, findingOK, check, want) {
			t.Errorf("%s does not say %q:\n%s", check, want, show(all))
		}
	}
	for _, f := range all {
		if f.State != findingOK && f.Check != "origins" { // the backend of this test is on http
			t.Errorf("%s of %s: %s", f.State, f.Check, f.Found)
		}
	}
	code, out := vouchsafe(t, nil, "doctor", "--config", file, "--token-url", b.URL+"/token", "--cookie", ownCookie)
	if code != 0 || !strings.Contains(out, "Nothing to repair") || !strings.Contains(out, "no customer has, so name another") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// A redirect to a host that nobody named is not followed.
func TestDoctorAsksOnlyHostsThatWereNamed(t *testing.T) {
	b, file := newGate(t, careful)
	edit(t, file, b.URL+"/login", b.URL+"/away")
	code, all := examined(t, file)
	if code != 0 || !holds(all, findingOK, "sign-in", "id.elsewhere.example, which was not asked") {
		t.Errorf("exit code %d:\n%s", code, show(all))
	}
	b.asked = nil
	u, _ := url.Parse(b.URL)
	b.mint = func(_ *backend, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+u.Host+"/stolen", http.StatusTemporaryRedirect)
	}
	if code, _ := examined(t, file, "--token-url", b.URL+"/token", "--cookie", ownCookie); code != 1 {
		t.Errorf("an endpoint that only redirects: exit code %d, want 1", code)
	}
	for _, path := range b.asked {
		if path == "/stolen" {
			t.Error("doctor took the session to where the endpoint redirects")
		}
	}
}

func TestDoctorCannotBeAsked(t *testing.T) {
	_, file := newGate(t, careful)
	for name, args := range map[string][]string{
		"no configuration":         {"doctor"},
		"a file that is not there": {"doctor", "--config", file + "x"},
		"an unknown site":          {"doctor", "--config", file, "--site", "shop2"},
		"a cookie for nothing":     {"doctor", "--config", file, "--cookie", ownCookie},
		"a cookie of two lines":    {"doctor", "--config", file, "--token-url", "https://shop.example/t", "--cookie", "a=b\r\nX: y"},
		"no cookie at all":         {"doctor", "--config", file, "--token-url", "https://shop.example/t", "--cookie", "s3ss10n"},
		"an address that is none":  {"doctor", "--config", file, "--token-url", "https://shop.example/t", "--other-email", "jordan"},
		"a URL that is none":       {"doctor", "--config", file, "--token-url", "shop.example/t"},
		"a gate in the clear":      {"doctor", "--config", file, "--gate", "http://gate.example"},
	} {
		if code, out := vouchsafe(t, nil, args...); code != 2 {
			t.Errorf("%s: exit code %d, want 2\n%s", name, code, out)
		}
	}
}
