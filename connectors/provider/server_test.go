package provider

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine/socket"
	"vouchsafe/engine/voucher"
)

// running is a provider that runs for a test.
type running struct {
	Options
	stop   func() error
	log    *lockedBuffer
	signer *voucher.Signer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t testing.TB) *running {
	t.Helper()
	p := newPlace(t)
	r := &running{log: &lockedBuffer{}, signer: newSigner()}
	r.Options = Options{Dir: p.dir, Key: MasterKey{File: p.key}, CreateKey: true, PermitKeys: r.signer.Public(),
		Socket: filepath.Join(filepath.Dir(p.dir), "provider.sock"), Log: newTestLog(r.log)}
	r.again(t)
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func newTestLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// again starts the provider, which must not run.
func (r *running) again(t testing.TB) {
	t.Helper()
	ready := make(chan struct{})
	o := r.Options
	o.Ready = func() { close(ready) }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, o) }()
	var once sync.Once
	var err error
	r.stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("Serve: %v", err)
	}
}

func (r *running) client(t testing.TB, keyFile string) *Client {
	t.Helper()
	c, err := NewClient(r.Socket, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// gateClient is the client of a gate, which vouches for each call.
type gateClient struct {
	*Client
	signer *voucher.Signer
	now    func() time.Time
}

func (g gateClient) Do(ctx context.Context, call Call) (*Reply, error) {
	call.Grant = granted{g.signer, call.Site, g.now}
	return g.Client.Do(ctx, call)
}

// granted vouches as a gate.Grant does.
type granted struct {
	signer *voucher.Signer
	site   string
	now    func() time.Time
}

func (g granted) Vouch(audience string, c voucher.Call) (string, error) {
	c.Site = g.site
	return g.signer.Sign(audience, "d_test", c, g.now())
}

func newSigner() *voucher.Signer {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	return voucher.NewSigner(key)
}

// audience is whom vouchers must be for.
func (r *running) audience(t testing.TB) string {
	t.Helper()
	answer := r.raw(t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	var health struct{ Audience string }
	if err := json.Unmarshal([]byte(answer[strings.Index(answer, "{"):]), &health); err != nil || health.Audience == "" {
		t.Fatalf("healthz: %s", answer)
	}
	return health.Audience
}

// proxy sends a call as it is written, with a voucher for exactly that.
func (r *running) proxy(t testing.TB, line, headers, body string) string {
	t.Helper()
	method, target, _ := strings.Cut(line, " ")
	c := voucher.Call{Method: method, Target: strings.TrimPrefix(target, "/proxy"), Headers: map[string]string{}, Body: []byte(body)}
	for h := range strings.Lines(headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(h), ": ")
		switch {
		case name == "Provider-Config-Key":
			c.Site = value
		case name == "Connection-Id":
			c.Connection = value
		case strings.HasPrefix(name, proxyPrefix):
			c.Headers[strings.TrimPrefix(name, proxyPrefix)] = value
		}
	}
	signed, err := r.signer.Sign(r.audience(t), "d_test", c, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r.raw(t, line+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+keyIn(t, ProxyKeyFile(r.Dir))+"\r\n"+
		headerVoucher+": "+signed+"\r\n"+headers+"\r\n"+body)
}

func (r *running) gate(t testing.TB) gateClient {
	return gateClient{r.client(t, ProxyKeyFile(r.Dir)), r.signer, time.Now}
}
func (r *running) operator(t testing.TB) *Client { return r.client(t, OperatorKeyFile(r.Dir)) }

func (r *running) add(t testing.TB, c Connection, cred Credential) {
	t.Helper()
	if err := r.operator(t).Add(context.Background(), c, cred); err != nil {
		t.Fatalf("Add: %v", err)
	}
}

// raw sends a request as it is written, and returns the whole answer.
func (r *running) raw(t testing.TB, request string) string {
	t.Helper()
	c, err := socket.Dial(context.Background(), r.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, request)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("answer to %q: %v", request, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	var head bytes.Buffer
	resp.Header.Write(&head)
	return fmt.Sprintf("%d\n%s\n%s", resp.StatusCode, head.String(), body)
}

// upstream is an outside system that counts its calls.
func upstream(t testing.TB, do http.HandlerFunc) (*httptest.Server, *atomic.Int32) {
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		do(w, r)
	}))
	t.Cleanup(s.Close)
	return s, &n
}

func keyIn(t testing.TB, file string) string {
	key, err := readKey(file)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKeysOpenOnlyTheirOwnCalls(t *testing.T) {
	r := start(t)
	up, n := upstream(t, func(w http.ResponseWriter, q *http.Request) {})
	r.add(t, conn("shop", up.URL), NewAPIKey(planted))
	proxy, operator := keyIn(t, ProxyKeyFile(r.Dir)), keyIn(t, OperatorKeyFile(r.Dir))
	if proxy == operator {
		t.Fatal("both keys are the same")
	}
	tests := []struct{ call, auth, want string }{
		{"GET /proxy/x", "Bearer " + proxy, "403"}, // the key is known, and a key is not enough
		{"GET /proxy/x", "Bearer " + operator, "401"},
		{"GET /proxy/x", "Bearer ", "401"},
		{"GET /proxy/x", "Basic " + proxy, "401"},
		{"GET /proxy/x", "Bearer " + proxy + "x", "401"},
		{"GET /proxy/x", "Bearer " + proxy + "\r\nAuthorization: Bearer x", "401"},
		{"GET /connections", "Bearer " + operator, "200"},
		{"GET /connections", "Bearer " + proxy, "401"},
		{"POST /connections", "Bearer " + proxy, "401"},
		{"DELETE /connections/shop?provider_config_key=demo", "Bearer " + proxy, "401"},
		{"GET /connections/shop?provider_config_key=demo", "Bearer " + operator, "200"},
		{"GET /connections/shop?provider_config_key=demo", "Bearer " + proxy, "401"},
		{"PATCH /connections/shop?provider_config_key=demo", "Bearer " + proxy, "401"},
		{"POST /connections/metadata", "Bearer " + proxy, "401"},
		{"POST /connect/sessions", "Bearer " + proxy, "401"},
		{"POST /connect/sessions/reconnect", "Bearer " + proxy, "401"},
		{"POST /rotate-key", "Bearer " + proxy, "401"},
		{"GET /connect/sessions", "Bearer " + operator, "405"},
		{"GET /rotate-key", "Bearer " + operator, "405"},
		{"GET /oauth/callback", "none", "400"},
		{"GET /healthz", "none", "200"},
		{"GET /", "Bearer " + operator, "404"},
		{"GET /proxy", "Bearer " + proxy, "404"},
		{"GET /proxy/../connections", "Bearer " + operator, "401"},
		{"GET /connections/../proxy/x", "Bearer " + operator, "404"},
	}
	for _, tt := range tests {
		n.Store(0)
		got := r.raw(t, tt.call+" HTTP/1.1\r\nHost: x\r\nProvider-Config-Key: demo\r\nConnection-Id: shop\r\nAuthorization: "+tt.auth+"\r\n\r\n")
		if !strings.HasPrefix(got, tt.want+"\n") {
			t.Errorf("%s with %.12q = %.60q, want %s", tt.call, tt.auth, got, tt.want)
		}
		if n.Load() != 0 {
			t.Errorf("%s with %.12q: the outside system was called %d times", tt.call, tt.auth, n.Load())
		}
	}
	for _, file := range []string{ProxyKeyFile(r.Dir), OperatorKeyFile(r.Dir)} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", filepath.Base(file), info, err)
		}
	}
}

func TestProxyRefusals(t *testing.T) {
	r := start(t)
	up, n := upstream(t, func(w http.ResponseWriter, q *http.Request) {})
	evil, evilCalls := upstream(t, func(w http.ResponseWriter, q *http.Request) {})
	r.add(t, conn("shop", up.URL+"/api"), NewAPIKey(planted))
	byQuery := Connection{Site: "demo", ID: "query", Type: APIKey, Query: "key", BaseURL: up.URL, Allow: anything}
	r.add(t, byQuery, NewAPIKey(planted))
	bare := conn("bare", up.URL)
	bare.Allow = nil
	r.add(t, bare, NewAPIKey(planted))
	r.add(t, Connection{Site: "demo", ID: "plain", Type: APIKey, Header: "X-Shop", BaseURL: up.URL, Allow: anything}, NewAPIKey(planted))
	ids := "Provider-Config-Key: demo\r\nConnection-Id: shop\r\n"
	tests := []struct{ name, line, headers, want string }{
		{"another site's connection", "GET /proxy/x", "Provider-Config-Key: other\r\nConnection-Id: shop\r\n", "404"},
		{"no such connection", "GET /proxy/x", "Provider-Config-Key: demo\r\nConnection-Id: shopp\r\n", "404"},
		{"no connection", "GET /proxy/x", "Provider-Config-Key: demo\r\n", "400"},
		{"two connections", "GET /proxy/x", ids + "Connection-Id: query\r\n", "400"},
		{"override of the base URL", "GET /proxy/x", ids + "Base-Url-Override: " + evil.URL + "\r\n", "400"},
		{"header of one's own", "GET /proxy/x", ids + "Nango-Proxy-X-Api-Key: mine\r\n", "400"},
		{"authorization of one's own", "GET /proxy/x", ids + "Nango-Proxy-Authorization: Bearer mine\r\n", "400"},
		{"plain header of the credential", "GET /proxy/x", "Provider-Config-Key: demo\r\nConnection-Id: plain\r\nNango-Proxy-X-Shop: mine\r\n", "400"},
		{"method in a header", "POST /proxy/x", ids + "Nango-Proxy-X-HTTP-Method-Override: DELETE\r\n", "400"},
		{"cookie", "GET /proxy/x", ids + "Nango-Proxy-Cookie: a=b\r\n", "400"},
		{"forwarded address", "GET /proxy/x", ids + "Nango-Proxy-X-Forwarded-For: 10.0.0.1\r\n", "400"},
		{"framing", "POST /proxy/x", ids + "Nango-Proxy-Transfer-Encoding: chunked\r\n", "400"},
		{"destination", "PUT /proxy/x", ids + "Nango-Proxy-Destination: http://evil.example/\r\n", "400"},
		{"copy", "COPY /proxy/x", ids, "403"},
		{"host of one's own", "GET /proxy/x", ids + "Nango-Proxy-Host: evil.example\r\n", "400"},
		{"climbing", "GET /proxy/../x", ids, "403"},
		{"climbing, encoded", "GET /proxy/a/%2e%2e/x", ids, "403"},
		{"climbing behind an encoded slash", "GET /proxy/a%2F..%2Fx", ids, "403"},
		{"climbing behind a backslash", "GET /proxy/a%5C..%5Cx", ids, "403"},
		{"absolute URL", "GET /proxy/" + evil.URL + "/x", ids, "403"},
		{"other host", "GET /proxy//evil.example/x", ids, "403"},
		{"encoded slash", "GET /proxy/a%2Fb", ids, "403"},
		{"encoded twice", "GET /proxy/a%252Fb", ids, "403"},
		{"no rule", "GET /proxy/x", "Provider-Config-Key: demo\r\nConnection-Id: bare\r\n", "403"},
		{"empty segment", "GET /proxy/a//b", ids, "403"},
		{"method", "OPTIONS /proxy/x", ids, "403"},
		{"method of one's own", "CONNECT /proxy/x", ids, "403"},
		{"credential's parameter in the query", "GET /proxy/x?key=mine", "Provider-Config-Key: demo\r\nConnection-Id: query\r\n", "400"},
		{"the same, encoded", "GET /proxy/x?%6bey=mine", "Provider-Config-Key: demo\r\nConnection-Id: query\r\n", "400"},
		{"body too large", "POST /proxy/x", ids + "Content-Length: 9999999\r\n", "413"},
	}
	for _, tt := range tests {
		got := r.proxy(t, tt.line, tt.headers, strings.Repeat("x", map[bool]int{true: maxRequestBytes + 1}[tt.want == "413"]))
		if !strings.HasPrefix(got, tt.want+"\n") {
			t.Errorf("%s: %.80q, want %s", tt.name, got, tt.want)
		}
		if !strings.Contains(got, "Vouchsafe-Not-Sent: true") {
			t.Errorf("%s: the answer does not say that nothing was sent", tt.name)
		}
		if n.Load()+evilCalls.Load() != 0 {
			t.Fatalf("%s: somebody was called", tt.name)
		}
	}
}

func TestProxyAddsTheCredential(t *testing.T) {
	r := start(t)
	type seen struct {
		Line, Key, Auth, Accept, Type, Idempotency, Other, Body string
	}
	var last seen
	up, _ := upstream(t, func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		last = seen{q.Method + " " + q.RequestURI, q.Header.Get("X-Api-Key"), q.Header.Get("Authorization"), q.Header.Get("Accept"),
			q.Header.Get("Content-Type"), q.Header.Get("Idempotency-Key"), q.Header.Get("Connection-Id") + q.Header.Get("Retries"), string(b)}
		w.Header().Set("Set-Cookie", "session=1")
		w.Header().Set("X-Internal", "10.0.0.1")
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Vouchsafe-Error", "unauthorized")
		w.Header().Set("Vouchsafe-Not-Sent", "true")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, `{"a": 1}`)
	})
	r.add(t, conn("header", up.URL+"/api/v1/"), NewAPIKey(planted))
	r.add(t, Connection{Site: "demo", ID: "query", Type: APIKey, Query: "api key", BaseURL: up.URL, Allow: anything}, NewAPIKey(planted))
	r.add(t, Connection{Site: "demo", ID: "basic", Type: Basic, BaseURL: up.URL, Allow: anything}, NewBasic(planted, ""))
	r.add(t, Connection{Site: "demo", ID: "none", Type: None, BaseURL: up.URL, Allow: anything}, Credential{})
	tests := []struct {
		call Call
		want seen
	}{
		{Call{Connection: "header", Method: "GET", Path: "/a%2Cb/%23W12", Query: "q=%26&r"},
			seen{Line: "GET /api/v1/a%2Cb/%23W12?q=%26&r", Key: planted, Accept: "application/json"}},
		{Call{Connection: "header", Method: "PUT", Path: "/", Body: []byte(`{}`), ContentType: "application/json", IdempotencyKey: "pa_1"},
			seen{Line: "PUT /api/v1/", Key: planted, Accept: "application/json", Type: "application/json", Idempotency: "pa_1", Body: "{}"}},
		{Call{Connection: "query", Method: "DELETE", Path: "/x/", Query: "a=1"},
			seen{Line: "DELETE /x/?a=1&api+key=sk-planted%2Fcredential%2B0123456789", Accept: "application/json"}},
		{Call{Connection: "basic", Method: "GET", Path: "/x"},
			seen{Line: "GET /x", Auth: "Basic " + base64.StdEncoding.EncodeToString([]byte(planted+":")), Accept: "application/json"}},
		{Call{Connection: "none", Method: "PATCH", Path: "/x"}, seen{Line: "PATCH /x", Accept: "application/json"}},
	}
	gate := r.gate(t)
	for _, tt := range tests {
		tt.call.Site = "demo"
		got, err := gate.Do(context.Background(), tt.call)
		if err != nil {
			t.Errorf("%s: Do: %v", tt.want.Line, err)
			continue
		}
		want := &Reply{Status: http.StatusTeapot, ContentType: "application/json", RetryAfter: 7 * time.Second, Body: []byte(`{"a": 1}`)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: reply (-want +got):\n%s", tt.want.Line, diff)
		}
		if diff := cmp.Diff(tt.want, last); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
	}
	got := r.proxy(t, "GET /proxy/x", "Provider-Config-Key: demo\r\nConnection-Id: none\r\n", "")
	for _, header := range []string{"Set-Cookie", "X-Internal", "Vouchsafe-"} {
		if strings.Contains(got, header) {
			t.Errorf("the outside system's %s came through: %s", header, got)
		}
	}
}

// The name of a person or a mailbox is no secret, and what a calendar holds must
// come through as it is.
func TestUsernamesComeThrough(t *testing.T) {
	r := start(t)
	const body = "ORGANIZER:mailto:bookings@shop.example /bookings@shop.example/cal/"
	up, _ := upstream(t, func(w http.ResponseWriter, q *http.Request) { io.WriteString(w, body) })
	r.add(t, Connection{Site: "demo", ID: "calendar", Type: Basic, BaseURL: up.URL, Allow: anything}, NewBasic("bookings@shop.example", planted))
	got, err := r.gate(t).Do(context.Background(), Call{Site: "demo", Connection: "calendar", Method: "REPORT", Path: "/"})
	if err != nil || string(got.Body) != body {
		t.Errorf("Do: %q, %v; want %q", got.Body, err, body)
	}
}

func TestHeadersAreSentOn(t *testing.T) {
	r := start(t)
	var got http.Header
	var method string
	up, n := upstream(t, func(w http.ResponseWriter, q *http.Request) { method, got = q.Method, q.Header })
	r.add(t, conn("shop", up.URL), NewAPIKey(planted))
	want := map[string]string{"Depth": "1", "If-Match": `"e1"`, "Accept": "text/calendar", "Cal-Api-Version": "2024-08-13"}
	call := Call{Site: "demo", Connection: "shop", Method: "PROPFIND", Path: "/cal/", Headers: want}
	if _, err := r.gate(t).Do(context.Background(), call); err != nil {
		t.Fatalf("Do: %v", err)
	}
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.Get(name), value)
		}
	}
	if method != "PROPFIND" || got.Get("X-Api-Key") != planted {
		t.Errorf("sent %s with key %q", method, got.Get("X-Api-Key"))
	}
	for name, value := range map[string]string{"Authorization": "x", "X-Api-Key": "x", "Host": "x", "A b": "x", "Depth": "1\r\nX: y"} {
		call.Headers = map[string]string{name: value}
		_, err := r.gate(t).Do(context.Background(), call)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeInvalidHeaders || !e.NotSent {
			t.Errorf("Do with %s: %v, want %s", name, err, CodeInvalidHeaders)
		}
	}
	if n.Load() != 1 {
		t.Errorf("%d calls went out, want 1", n.Load())
	}
}

func TestCredentialIsInNoAnswerAndNoLog(t *testing.T) {
	r := start(t)
	pair := base64.StdEncoding.EncodeToString([]byte("planted-consumer-key-of-a-pair:" + planted))
	inJSON, _ := json.Marshal(planted)
	up, _ := upstream(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "text/plain; key="+q.Header.Get("X-Api-Key"))
		for _, name := range []string{"Retry-After", "Link", "Etag", "Location"} {
			w.Header().Set(name, planted)
		}
		fmt.Fprintf(w, "%v %v %s %s", q.Header, q.URL, inJSON, strings.ReplaceAll(planted, "/", `\/`))
		if user, _, ok := q.BasicAuth(); ok {
			fmt.Fprint(w, user, pair)
		}
	})
	r.add(t, conn("header", up.URL), NewAPIKey(planted))
	r.add(t, Connection{Site: "demo", ID: "bearer", Type: APIKey, Header: "Authorization", BaseURL: up.URL, Allow: anything}, NewAPIKey("Bearer "+planted))
	r.add(t, Connection{Site: "demo", ID: "query", Type: APIKey, Query: "key", BaseURL: up.URL, Allow: anything}, NewAPIKey(planted))
	r.add(t, Connection{Site: "demo", ID: "basic", Type: Basic, BaseURL: up.URL, Allow: anything}, NewBasic("planted-consumer-key-of-a-pair", planted))
	r.add(t, Connection{Site: "demo", ID: "down", Type: APIKey, Query: "key", BaseURL: "http://127.0.0.1:1", Allow: anything}, NewAPIKey(planted))
	var all strings.Builder
	for _, id := range []string{"header", "bearer", "query", "basic", "down"} {
		answer := r.proxy(t, "GET /proxy/x", "Provider-Config-Key: demo\r\nConnection-Id: "+id+"\r\n", "")
		if id != "down" && !strings.Contains(answer, "[removed]") {
			t.Errorf("%s: nothing was removed from %s", id, answer)
		}
		all.WriteString(answer)
	}
	operator := keyIn(t, OperatorKeyFile(r.Dir))
	for _, body := range []string{
		`{"provider_config_key":"demo","connection_id":"n","credentials":{"type":"API_KEY","apiKey":"` + planted + `"},"connection_config":{"base_url":"https://a.example","header":"X-K"}}`,
		`{"provider_config_key":"demo","connection_id":"n","credentials":{"type":"API_KEY","apiKey":"` + planted + `"},"connection_config":{"base_url":"http://a.example","header":"X-K"}}`,
		`{"provider_config_key":"demo","connection_id":"n","credentials":{"type":"API_KEY","apikey":"` + planted + `","` + planted + `":1}}`,
		`{"credentials": "` + planted + `"}`,
	} {
		all.WriteString(r.raw(t, fmt.Sprintf("POST /connections HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", operator, len(body), body)))
	}
	all.WriteString(r.raw(t, "GET /connections HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+operator+"\r\n\r\n"))
	all.WriteString(r.log.String())
	for _, secret := range []string{planted, string(inJSON), pair, "sk-planted", "planted-consumer-key-of-a-pair", operator, keyIn(t, ProxyKeyFile(r.Dir))} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("%q came out: %s", secret, all.String())
		}
	}
}

func TestUpstreamFailures(t *testing.T) {
	r := start(t)
	elsewhere, elsewhereCalls := upstream(t, func(w http.ResponseWriter, q *http.Request) {})
	up, n := upstream(t, func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/redirect":
			http.Redirect(w, q, elsewhere.URL, http.StatusTemporaryRedirect)
		case "/hang":
			<-q.Context().Done()
		case "/huge":
			for range maxReplyBytes/1024 + 2 {
				w.Write(bytes.Repeat([]byte("x"), 1024))
			}
		default:
			panic(http.ErrAbortHandler)
		}
	})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	r.add(t, conn("shop", up.URL), NewAPIKey(planted))
	r.add(t, conn("down", "http://"+free.Addr().String()), NewAPIKey(planted))
	r.add(t, conn("unknown", "https://no-such-host.invalid"), NewAPIKey(planted))
	gate := r.gate(t)
	tests := []struct {
		connection, path string
		want             *Error
		status           int
	}{
		{"shop", "/redirect", nil, 307},
		{"shop", "/huge", &Error{Code: CodeReplyTooLarge}, 0},
		{"shop", "/reset", &Error{Code: CodeUpstreamBroke}, 0},
		{"shop", "/hang", &Error{Code: CodeProviderBroke, Timeout: true}, 0},
		{"down", "/x", &Error{Code: CodeUpstreamRefused, NotSent: true}, 0},
		{"unknown", "/x", &Error{Code: CodeUpstreamRefused, NotSent: true}, 0},
		{"missing", "/x", &Error{Code: CodeUnknownConnection, NotSent: true}, 0},
	}
	for _, tt := range tests {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			n.Store(0)
			ctx, cancel := context.WithCancel(context.Background())
			if tt.path == "/hang" {
				ctx, cancel = context.WithTimeout(context.Background(), 300*time.Millisecond)
			}
			reply, err := gate.Do(ctx, Call{Site: "demo", Connection: tt.connection, Method: method, Path: tt.path, IdempotencyKey: "pa_1"})
			cancel()
			if tt.want == nil {
				if err != nil || reply.Status != tt.status {
					t.Errorf("%s %s: %+v, %v; want status %d", method, tt.path, reply, err, tt.status)
				}
			} else if e, ok := errors.AsType[*Error](err); !ok || e.Code != tt.want.Code || e.NotSent != tt.want.NotSent || e.Timeout != tt.want.Timeout {
				t.Errorf("%s %s %s: %v, want %v", method, tt.connection, tt.path, err, tt.want)
			}
			if method != "GET" && n.Load() > 1 {
				t.Errorf("%s %s was sent %d times", method, tt.path, n.Load())
			}
		}
	}
	if elsewhereCalls.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestMayDial(t *testing.T) {
	tests := []struct {
		host, ip string
		want     bool
	}{
		{"shop.example", "93.184.215.14", true},
		{"shop.example", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", true},
		{"shop.example", "127.0.0.1", false},
		{"shop.example", "10.1.2.3", false},
		{"shop.example", "172.16.0.1", false},
		{"shop.example", "192.168.1.1", false},
		{"shop.example", "169.254.169.254", false},
		{"shop.example", "100.64.0.1", false},
		{"shop.example", "0.0.0.0", false},
		{"shop.example", "0.1.2.3", false},
		{"shop.example", "255.255.255.255", false},
		{"shop.example", "224.0.0.1", false},
		{"shop.example", "::", false},
		{"shop.example", "::1", false},
		{"shop.example", "::7f00:1", false},
		{"shop.example", "::ffff:127.0.0.1", false},
		{"shop.example", "::ffff:10.0.0.1", false},
		{"shop.example", "64:ff9b::7f00:1", false},
		{"shop.example", "2002:7f00:1::", false},
		{"shop.example", "fe80::1", false},
		{"shop.example", "fe80::1%eth0", false},
		{"shop.example", "fd00::1", false},
		{"2130706433", "127.0.0.1", false}, // a spelling, not an address
		{"127.1", "127.0.0.1", false},
		{"localhost", "127.0.0.1", true},
		{"LOCALHOST", "::1", true},
		{"localhost", "10.0.0.1", false},
		{"127.0.0.1", "127.0.0.1", true},
		{"10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", false},
	}
	for _, tt := range tests {
		if got := mayDial(tt.host, netip.MustParseAddr(tt.ip)); got != tt.want {
			t.Errorf("mayDial(%s, %s) = %v, want %v", tt.host, tt.ip, got, tt.want)
		}
	}
}

func TestManageOnlineAndOffline(t *testing.T) {
	ctx := context.Background()
	r := start(t)
	ids := func(list []Connection, err error) []string {
		t.Helper()
		if err != nil {
			t.Fatalf("ListConnections: %v", err)
		}
		out := []string{}
		for _, c := range list {
			if c.Created.IsZero() {
				t.Errorf("%s has no time", c.ID)
			}
			out = append(out, c.Site+"/"+c.ID+" "+c.BaseURL)
		}
		return out
	}
	for i, state := range []string{"online", "offline"} {
		c := conn(state, "https://shop.example")
		if err := AddConnection(ctx, r.Options, c, NewAPIKey(planted)); err != nil {
			t.Fatalf("%s: AddConnection: %v", state, err)
		}
		c.BaseURL = "https://new.example"
		if err := AddConnection(ctx, r.Options, c, NewAPIKey(planted)); err != nil {
			t.Fatalf("%s: AddConnection again: %v", state, err)
		}
		bad := conn("bad", "http://shop.example")
		if err := AddConnection(ctx, r.Options, bad, NewAPIKey(planted)); err == nil || !strings.Contains(err.Error(), "want https") {
			t.Errorf("%s: AddConnection of a bad URL = %v", state, err)
		}
		if got := ids(ListConnections(ctx, r.Options, "demo")); len(got) != i+1 || !strings.Contains(strings.Join(got, " "), "demo/"+state+" https://new.example") {
			t.Errorf("%s: list = %v", state, got)
		}
		if got := ids(ListConnections(ctx, r.Options, "other")); len(got) != 0 {
			t.Errorf("%s: another site's list = %v", state, got)
		}
		if err := RemoveConnection(ctx, r.Options, "other", state); err == nil {
			t.Errorf("%s: another site removed the connection", state)
		}
		if err := r.stop(); err != nil {
			t.Fatalf("Serve: %v", err)
		}
	}
	if err := RemoveConnection(ctx, r.Options, "demo", "online"); err != nil {
		t.Fatal(err)
	}
	if got := ids(ListConnections(ctx, r.Options, "")); !cmp.Equal(got, []string{"demo/offline https://new.example"}) {
		t.Errorf("in the end: %v", got)
	}
	if _, err := os.Stat(r.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestSecondProviderIsRefused(t *testing.T) {
	r := start(t)
	if err := Serve(context.Background(), r.Options); !errors.Is(err, ErrLocked) {
		t.Errorf("second Serve = %v, want ErrLocked", err)
	}
}

func TestClientLearnsANewKey(t *testing.T) {
	r := start(t)
	gate := r.gate(t)
	r.add(t, Connection{Site: "demo", ID: "none", Type: None, BaseURL: "http://127.0.0.1:1", Allow: anything}, Credential{})
	gate.key = "a key of long ago, no longer good"
	_, err := gate.Do(context.Background(), Call{Site: "demo", Connection: "none", Method: "POST", Path: "/"})
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeUpstreamRefused {
		t.Errorf("Do with a stale key = %v, want the call to go through", err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "99999999999": time.Hour, "999999": time.Hour, "soon": 0,
		"Mon, 23 Nov 2026 12:00:30 GMT": 30 * time.Second, "Mon, 23 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(s, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", s, got, want)
		}
	}
}
