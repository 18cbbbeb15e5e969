package provider

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/engine/store"
)

const clientSecret = "planted-client-secret-90210"

// issuer is an authorization server that rotates refresh tokens, and the
// outside system that takes its access tokens.
type issuer struct {
	*httptest.Server
	t testing.TB

	mu        sync.Mutex
	n         int
	refresh   string            // the only good one
	access    map[string]bool   // the good ones
	codes     map[string]string // code -> challenge
	life      int               // seconds; 0 does not say
	fail      func(w http.ResponseWriter) bool
	renewals  int
	calls     []string      // method and access token of each call
	challenge string        // of a 401
	hold      chan struct{} // a token request waits for it
	asked     chan struct{} // and says so here
}

func newIssuer(t testing.TB) *issuer {
	i := &issuer{t: t, access: map[string]bool{}, codes: map[string]string{}, life: 3600, challenge: `Bearer error="invalid_token"`}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", i.token)
	mux.HandleFunc("/api/", i.api)
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	hold := i.hold
	i.mu.Unlock()
	if hold != nil {
		i.asked <- struct{}{}
		<-hold
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.renewals++
	if i.fail != nil && i.fail(w) {
		return
	}
	refuse := func(code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":%q,"error_description":"about %s and %s"}`, code, r.FormValue("refresh_token"), clientSecret)
	}
	if id, secret, _ := r.BasicAuth(); id != "vouchsafe" || secret != clientSecret {
		refuse("invalid_client")
		return
	}
	switch r.FormValue("grant_type") {
	case "refresh_token":
		if r.FormValue("refresh_token") != i.refresh {
			refuse("invalid_grant")
			return
		}
	case "authorization_code":
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if challenge, ok := i.codes[r.FormValue("code")]; !ok || challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
			refuse("invalid_grant")
			return
		}
		delete(i.codes, r.FormValue("code"))
	case "client_credentials":
	default:
		refuse("unsupported_grant_type")
		return
	}
	i.n++
	access := fmt.Sprintf("planted-access-%04d", i.n)
	i.access[access] = true
	i.refresh = fmt.Sprintf("planted-refresh-%04d", i.n)
	out := map[string]any{"access_token": access, "token_type": "Bearer"}
	if r.FormValue("grant_type") != "client_credentials" {
		out["refresh_token"] = i.refresh
	}
	if i.life > 0 {
		out["expires_in"] = i.life
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(out)
}

func (i *issuer) api(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	i.calls = append(i.calls, r.Method+" "+token)
	if !i.access[token] {
		if i.challenge != "" {
			w.Header().Set("WWW-Authenticate", i.challenge)
		}
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, "not with %s", token)
		return
	}
	io.WriteString(w, `{"ok":true}`)
}

// with changes the issuer while nobody else looks.
func (i *issuer) with(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func (i *issuer) counts() (renewals, calls int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.renewals, len(i.calls)
}

// clock is a time of the tests' own.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// oauthRig is a provider with one connected connection.
type oauthRig struct {
	*running
	issuer *issuer
	clock  *clock
	gate   gateClient
}

func (i *issuer) connection(t Type) Connection {
	c := Connection{Site: "demo", ID: "crm", Type: t, BaseURL: i.URL + "/api", Allow: anything,
		OAuth: OAuth{ClientID: "vouchsafe", TokenURL: i.URL + "/token", ClientAuth: AuthBasic}}
	if t == OAuth2 {
		c.OAuth.AuthURL = i.URL + "/auth"
	}
	return c
}

func newOAuthRig(t testing.TB) *oauthRig {
	// A clock of the tests' own that starts with the real one, which the OAuth
	// library reads for itself.
	o := &oauthRig{running: start(t), issuer: newIssuer(t), clock: &clock{now: time.Now()}}
	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
	o.Options.Clock = o.clock.Now
	o.again(t)
	o.gate = o.running.gate(t)
	o.gate.now = o.clock.Now
	c := o.issuer.connection(OAuth2)
	c.Tokens = Tokens{Expires: o.clock.Now().Add(time.Hour)}
	o.issuer.with(func() {
		o.issuer.access["planted-access-0000"], o.issuer.refresh = true, "planted-refresh-0000"
	})
	o.add(t, c, Credential{clientSecret: clientSecret, accessToken: "planted-access-0000", refreshToken: "planted-refresh-0000"})
	return o
}

func (o *oauthRig) call(method string) (int, *Error) {
	reply, err := o.gate.Do(context.Background(), Call{Site: "demo", Connection: "crm", Method: method, Path: "/x", IdempotencyKey: "pa_1"})
	if err != nil {
		e, _ := errors.AsType[*Error](err)
		return 0, e
	}
	return reply.Status, nil
}

// works holds that a call comes through, with so many renewals since the start.
func (o *oauthRig) works(t testing.TB, why string, renewals int) {
	t.Helper()
	status, err := o.call("GET")
	if n, _ := o.issuer.counts(); err != nil || status != 200 || n != renewals {
		t.Errorf("%s: status %d, %v, %d renewals; want 200 and %d", why, status, err, n, renewals)
	}
}

// refused holds that a call gets a code and goes nowhere.
func (o *oauthRig) refused(t testing.TB, why, code string, renewals int) {
	t.Helper()
	_, before := o.issuer.counts()
	_, err := o.call("POST")
	if n, calls := o.issuer.counts(); err == nil || err.Code != code || !err.NotSent || n != renewals || calls != before {
		t.Errorf("%s: %v, %d renewals, %d calls; want %s, %d and none", why, err, n, calls-before, code, renewals)
	}
}

func (o *oauthRig) state(t testing.TB) Tokens {
	t.Helper()
	list, err := o.operator(t).List(context.Background(), "demo")
	if err != nil || len(list) != 1 {
		t.Fatalf("List = %v, %v", list, err)
	}
	return list[0].Tokens
}

func TestTokensAreRenewedBeforeTheyEnd(t *testing.T) {
	o := newOAuthRig(t)
	o.works(t, "a fresh token", 0)
	o.clock.add(58 * time.Minute)
	o.works(t, "a token with two minutes left", 0)
	o.clock.add(90 * time.Second)
	o.works(t, "a token with half a minute left", 1)
	o.works(t, "the renewed one", 1)
	if s := o.state(t); s.State != StateReady || s.Expires.Before(time.Now().Add(50*time.Minute)) {
		t.Errorf("state %+v", s)
	}
}

func TestManyCallsRenewOnce(t *testing.T) {
	o := newOAuthRig(t)
	o.clock.add(2 * time.Hour)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if status, err := o.call("GET"); err != nil || status != 200 {
				t.Errorf("status %d, %v", status, err)
			}
		})
	}
	wg.Wait()
	if n, calls := o.issuer.counts(); n != 1 || calls != 50 {
		t.Errorf("50 calls: %d renewals and %d calls, want 1 and 50", n, calls)
	}
}

// A rotated refresh token is on disk before the access token that came with it
// is used: what is killed in between has lost nothing.
func TestARotatedTokenIsOnDiskBeforeItIsUsed(t *testing.T) {
	o := newOAuthRig(t)
	o.clock.add(2 * time.Hour)
	onDisk := make(chan string, 1)
	o.issuer.with(func() {
		// While the outside system is called, the store is what a crash leaves.
		o.issuer.Config.Handler.(*http.ServeMux).HandleFunc("GET /api/look", func(w http.ResponseWriter, r *http.Request) {
			onDisk <- strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			panic(http.ErrAbortHandler)
		})
	})
	_, err := o.gate.Do(context.Background(), Call{Site: "demo", Connection: "crm", Method: "GET", Path: "/look"})
	if err == nil {
		t.Fatal("the call did not break off")
	}
	used := <-onDisk
	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
	s, err := OpenStore(o.Dir, o.Key, false)
	if err != nil {
		t.Fatal(err)
	}
	_, cred, err := s.Get("demo", "crm")
	if err != nil || cred.accessToken != used || cred.refreshToken != "planted-refresh-0001" {
		t.Errorf("the store does not hold the token that was used, or not the refresh token: %v", err)
	}
	s.Close()
	o.again(t)
	o.clock.add(2 * time.Hour)
	o.works(t, "after the restart, and another renewal", 2)
}

// When what was got cannot be written, it is not used, and not lost either.
func TestATokenThatCannotBeWrittenIsKept(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, true)
	i, c := newIssuer(t), &clock{now: time.Now()}
	i.refresh = "planted-refresh-0000"
	conn := i.connection(OAuth2)
	if err := s.Put(conn, Credential{clientSecret: clientSecret, refreshToken: i.refresh}); err != nil {
		t.Fatal(err)
	}
	b := newBroker(s, newTestLog(io.Discard), c.Now)
	// The store changes under the renewal so that its write fails: its folder's
	// database is closed, and opened again by hand.
	i.hold, i.asked = make(chan struct{}), make(chan struct{})
	done := make(chan *Error, 1)
	go func() {
		sealed, err := s.find("demo", "crm")
		if err != nil {
			t.Error(err)
		}
		_, e := b.ready(context.Background(), sealed)
		done <- e
	}()
	<-i.asked
	path := s.db.Path()
	s.db.Close()
	close(i.hold)
	if e := <-done; e == nil || !e.NotSent {
		t.Errorf("a token was used that is not on disk: %v", e)
	}
	db, err := store.Open(path, storeKind, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.db = db
	defer s.Close()
	sealed, err := s.find("demo", "crm")
	if err != nil {
		t.Fatal(err)
	}
	if c, e := b.ready(context.Background(), sealed); e != nil || c.cred.refreshToken != "planted-refresh-0001" {
		t.Errorf("once it can be written: %v", e)
	}
	if n, _ := i.counts(); n != 1 {
		t.Errorf("%d renewals, want 1", n)
	}
}

func TestWhatIsGoneNeedsAnOperator(t *testing.T) {
	o := newOAuthRig(t)
	o.issuer.with(func() { o.issuer.refresh = "revoked" })
	o.clock.add(2 * time.Hour)
	o.refused(t, "access was revoked", CodeReconnectNeeded, 1)
	o.refused(t, "again: the server is left alone", CodeReconnectNeeded, 1)
	if s := o.state(t); s.State != StateReconnect || s.Reason != "invalid_grant" {
		t.Errorf("state %+v, want reconnect_needed for invalid_grant", s)
	}
	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
	o.again(t)
	o.refused(t, "after a restart", CodeReconnectNeeded, 1)
	for _, secret := range []string{"planted-", clientSecret, "revoked"} {
		if strings.Contains(o.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
	connectBy(t, o, nil)
	o.works(t, "connected again", 2)
}

func TestTroubleThatMayPass(t *testing.T) {
	o := newOAuthRig(t)
	down := func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusServiceUnavailable); return true }
	o.issuer.with(func() { o.issuer.fail = down })
	o.clock.add(time.Hour - 30*time.Second)
	o.works(t, "the token still lives", 1)
	o.works(t, "and the server is left alone", 1)
	o.clock.add(time.Minute)
	o.refused(t, "the token is over", CodeCredential, 2)
	o.refused(t, "the server is left alone", CodeCredential, 2)
	o.clock.add(time.Second)
	o.refused(t, "for longer than the first time", CodeCredential, 2)
	o.clock.add(time.Second)
	o.issuer.with(func() { o.issuer.fail = nil })
	o.works(t, "it has passed", 3)
	if s := o.state(t); s.State != StateReady {
		t.Errorf("state %+v", s)
	}
}

func TestA401RenewsOnce(t *testing.T) {
	for _, tt := range []struct {
		name, method, challenge string
		status, calls           int
	}{
		{"read", "GET", "", 200, 2},
		{"write, by whoever checks tokens", "POST", `Bearer error="invalid_token"`, 200, 2},
		{"write, by somebody else", "POST", "", 401, 1},
		{"write, with another scheme", "POST", `Basic realm="x"`, 401, 1},
	} {
		o := newOAuthRig(t)
		o.clock.add(time.Minute)
		o.issuer.with(func() { o.issuer.access = map[string]bool{}; o.issuer.challenge = tt.challenge })
		status, err := o.call(tt.method)
		if _, calls := o.issuer.counts(); err != nil || status != tt.status || calls != tt.calls {
			t.Errorf("%s: %d, %v, %d calls; want %d and %d", tt.name, status, err, calls, tt.status, tt.calls)
		}
	}
	// A system that refuses every token gets two calls, and one renewal.
	o := newOAuthRig(t)
	o.clock.add(time.Minute)
	for range 3 {
		o.issuer.with(func() { o.issuer.access = map[string]bool{} })
		o.call("GET")
		o.issuer.with(func() { o.issuer.access = map[string]bool{} })
	}
	if n, _ := o.issuer.counts(); n != 1 {
		t.Errorf("%d renewals in a moment, want 1", n)
	}
	reply, err := o.gate.Do(context.Background(), Call{Site: "demo", Connection: "crm", Method: "GET", Path: "/x"})
	if err != nil || strings.Contains(string(reply.Body), "planted-") {
		t.Errorf("the token is in the reply, or there is none: %+v, %v", reply, err)
	}
}

func TestClientCredentials(t *testing.T) {
	o := newOAuthRig(t)
	c := o.issuer.connection(ClientCredentials)
	o.add(t, c, NewClientSecret(clientSecret))
	o.works(t, "the first call", 1)
	o.works(t, "the second", 1)
	o.add(t, c, NewClientSecret("another-client-secret"))
	o.refused(t, "a wrong secret", CodeReconnectNeeded, 2)
	if s := o.state(t); s.Reason != "invalid_client" {
		t.Errorf("state %+v", s)
	}
}

// connectBy goes through the grant as a browser does. spoil changes what it
// comes back with.
func connectBy(t testing.TB, o *oauthRig, spoil func(url.Values)) (answer string) {
	t.Helper()
	link, err := o.operator(t).Connect(context.Background(), "demo", "crm", "http://127.0.0.1:1/oauth/callback")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(link.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("client_id") != "vouchsafe" || q.Get("redirect_uri") != "http://127.0.0.1:1/oauth/callback" || strings.Contains(link.URL, clientSecret) {
		t.Errorf("the link asks for %v", q)
	}
	o.issuer.with(func() { o.issuer.codes["the-code"] = q.Get("code_challenge") })
	back := url.Values{"state": {q.Get("state")}, "code": {"the-code"}}
	if spoil != nil {
		spoil(back)
	}
	return o.raw(t, "GET /oauth/callback?"+back.Encode()+" HTTP/1.1\r\nHost: x\r\n\r\n")
}

func TestConnect(t *testing.T) {
	o := newOAuthRig(t)
	o.add(t, o.issuer.connection(OAuth2), NewClientSecret(clientSecret))
	if s := o.state(t); s.State != StateConnect {
		t.Errorf("state %+v, want connect_needed", s)
	}
	o.refused(t, "nobody has connected it", CodeReconnectNeeded, 0)
	for name, spoil := range map[string]func(url.Values){
		"another state": func(q url.Values) { q.Set("state", "cs_guess") },
		"no state":      func(q url.Values) { q.Del("state") },
		"another code":  func(q url.Values) { q.Set("code", "guess") },
		"a refusal":     func(q url.Values) { q.Set("error", "access_denied") },
		"a long wait":   func(url.Values) { o.clock.add(sessionLife) },
	} {
		if got := connectBy(t, o, spoil); !strings.HasPrefix(got, "400\n") {
			t.Errorf("%s: %.200q", name, got)
		}
		if s := o.state(t); s.State != StateConnect {
			t.Errorf("%s: state %+v", name, s)
		}
	}
	var back url.Values
	if got := connectBy(t, o, func(q url.Values) { back = q }); !strings.HasPrefix(got, "200\n") {
		t.Fatalf("connecting: %s", got)
	}
	n, _ := o.issuer.counts()
	o.works(t, "connected", n)
	if got := o.raw(t, "GET /oauth/callback?"+back.Encode()+" HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(got, "400\n") {
		t.Errorf("the answer came twice: %.200q", got)
	}
	operator := keyIn(t, OperatorKeyFile(o.Dir))
	all := o.log.String() + o.raw(t, "GET /connections HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+operator+"\r\n\r\n") +
		o.raw(t, "GET /connections/crm?provider_config_key=demo&force_refresh=true&refresh_token=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+operator+"\r\n\r\n")
	for _, secret := range []string{"planted-", clientSecret, "the-code"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q came out: %s", secret, all)
		}
	}
	for _, bad := range []string{"http://evil.example/callback", "javascript:alert(1)", "/x"} {
		if _, err := o.operator(t).Connect(context.Background(), "demo", "crm", bad); err == nil {
			t.Errorf("sends browsers back to %s", bad)
		}
	}
	for range maxSessions {
		o.operator(t).Connect(context.Background(), "demo", "crm", "http://127.0.0.1:1/x")
	}
	if _, err := o.operator(t).Connect(context.Background(), "demo", "crm", "http://127.0.0.1:1/x"); err == nil {
		t.Error("any number of attempts are remembered")
	}
}

func TestOAuthNearMisses(t *testing.T) {
	i := newIssuer(t)
	secret := NewClientSecret(clientSecret)
	with := func(typ Type, change func(*Connection)) Connection {
		c := i.connection(typ)
		c.OAuth.TokenURL, c.BaseURL = "https://id.example/token", "https://api.example"
		if typ == OAuth2 {
			c.OAuth.AuthURL = "https://id.example/auth"
		}
		change(&c)
		return c
	}
	asIs := func(*Connection) {}
	p := newPlace(t)
	s := p.open(t, true)
	defer s.Close()
	for _, tt := range []struct {
		name string
		c    Connection
		cred Credential
	}{
		{"no client", with(OAuth2, func(c *Connection) { c.OAuth.ClientID = "" }), secret},
		{"no secret", with(OAuth2, asIs), Credential{}},
		{"short secret", with(OAuth2, asIs), NewClientSecret("short")},
		{"public client of its own grant", with(ClientCredentials, func(c *Connection) { c.OAuth.ClientAuth = AuthNone }), Credential{}},
		{"no way of proving", with(OAuth2, func(c *Connection) { c.OAuth.ClientAuth = "" }), secret},
		{"token URL in clear", with(OAuth2, func(c *Connection) { c.OAuth.TokenURL = "http://id.example/token" }), secret},
		{"token URL with a secret", with(OAuth2, func(c *Connection) { c.OAuth.TokenURL = "https://a:b@id.example/token" }), secret},
		{"token URL by a number", with(OAuth2, func(c *Connection) { c.OAuth.TokenURL = "https://2130706433/token" }), secret},
		{"no authorization URL", with(OAuth2, func(c *Connection) { c.OAuth.AuthURL = "" }), secret},
		{"authorization URL of a client's own", with(ClientCredentials, func(c *Connection) { c.OAuth.AuthURL = "https://id.example/auth" }), secret},
		{"two scopes in one", with(OAuth2, func(c *Connection) { c.OAuth.Scopes = []string{"a b"} }), secret},
		{"state of one's own", with(OAuth2, func(c *Connection) { c.OAuth.AuthParams = map[string]string{"state": "x"} }), secret},
		{"challenge of one's own", with(OAuth2, func(c *Connection) { c.OAuth.AuthParams = map[string]string{"code_challenge": "x"} }), secret},
		{"an API key too", with(OAuth2, asIs), Credential{clientSecret: clientSecret, value: planted}},
		{"a header", with(OAuth2, func(c *Connection) { c.Header = "X-Key" }), secret},
		{"a token with a line break", with(OAuth2, asIs), Credential{clientSecret: clientSecret, accessToken: "0123456789\r\nX: y"}},
		{"a client with an API key", Connection{Site: "demo", ID: "x", Type: APIKey, Header: "X-Key", BaseURL: "https://a.example", OAuth: OAuth{ClientID: "x"}}, NewAPIKey(planted)},
	} {
		if err := s.Put(tt.c, tt.cred); err == nil {
			t.Errorf("%s: Put let it pass", tt.name)
		} else if strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: the error quotes the secret", tt.name)
		}
	}
	for _, c := range []Connection{with(OAuth2, asIs), with(ClientCredentials, asIs)} {
		if err := s.Put(c, secret); err != nil {
			t.Errorf("Put = %v", err)
		}
	}
	if err := s.Put(with(OAuth2, func(c *Connection) { c.OAuth.ClientAuth = AuthNone }), Credential{}); err != nil {
		t.Errorf("a client without a secret: %v", err)
	}
}
