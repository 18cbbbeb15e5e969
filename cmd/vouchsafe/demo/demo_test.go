package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"vouchsafe/connectors"
)

var monday = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// running is a shop served over real HTTP.
type running struct {
	*testing.T
	dir, url string
	client   *http.Client // keeps cookies
	stop     func()
}

func serve(t *testing.T, dir string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- Serve(ctx, Options{Addr: "127.0.0.1:0", Dir: dir, GateURL: "http://127.0.0.1:8080",
			Ready: func(addr string) { ready <- addr }, Now: func() time.Time { return monday }})
	}()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve ended with %v", err)
		}
	}
	t.Cleanup(stop)
	jar, _ := cookiejar.New(nil)
	select {
	case addr := <-ready:
		return &running{t, dir, "http://" + addr, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}, stop}
	case err := <-done:
		t.Fatalf("Serve: %v", err)
		return nil
	}
}

func (r *running) do(method, path, body string, header ...string) (int, string) {
	r.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func (r *running) admin(method, path, body string, header ...string) (int, string) {
	r.Helper()
	key, err := os.ReadFile(FilesIn(r.dir).AdminKey)
	if err != nil {
		r.Fatal(err)
	}
	return r.do(method, path, body, append(header, APIKeyHeader, strings.TrimSpace(string(key)))...)
}

func (r *running) signIn(customer string) {
	r.Helper()
	status, text := r.do("POST", "/login", url.Values{"customer": {customer}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if status != http.StatusSeeOther {
		r.Fatalf("signing in as %s: %d %s", customer, status, text)
	}
}

func TestServeRefusesToLeaveLoopback(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "[::]:0", "shop.example:0", "nonsense"} {
		if err := Serve(t.Context(), Options{Addr: addr, Dir: t.TempDir(), GateURL: "http://127.0.0.1:8080"}); err == nil {
			t.Errorf("Serve on %q: no error", addr)
		}
	}
}

func TestServeRefusesAGateThatIsNoOrigin(t *testing.T) {
	for _, gate := range []string{"", "127.0.0.1:8080", "http://127.0.0.1:8080/x", "http://127.0.0.1:8080?x", "http://a@b", "javascript:alert(1)"} {
		if err := Serve(t.Context(), Options{Addr: "127.0.0.1:0", Dir: t.TempDir(), GateURL: gate}); err == nil {
			t.Errorf("Serve with gate %q: no error", gate)
		}
	}
}

func TestOtherHostsAreRefused(t *testing.T) {
	r := serve(t, t.TempDir())
	for _, path := range []string{"/", "/session", "/vouchsafe-token", "/admin/orders"} {
		for _, host := range []string{"shop.example", "127.0.0.1", "127.0.0.1:1", "localhost", "evil.example:80"} {
			if status, _ := r.do("GET", path, "", "Host", host); status != http.StatusMisdirectedRequest {
				t.Errorf("GET %s for host %s = %d, want 421", path, host, status)
			}
		}
	}
}

func TestOtherSitesCannotPost(t *testing.T) {
	r := serve(t, t.TempDir())
	r.signIn("alex")
	for _, path := range []string{"/vouchsafe-token", "/logout", "/login"} {
		for _, from := range []string{"cross-site", "same-site"} {
			if status, _ := r.do("POST", path, "", "Sec-Fetch-Site", from); status != http.StatusForbidden {
				t.Errorf("%s POST %s = %d, want 403", from, path, status)
			}
		}
	}
}

func TestTokensAreOnlyForTheCustomerOfTheSession(t *testing.T) {
	r := serve(t, t.TempDir())
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	if status, text := r.do("POST", "/vouchsafe-token?site=demo&email=alex@example.com", "email=alex@example.com", form...); status != http.StatusUnauthorized {
		t.Fatalf("signed out: %d %s, want 401", status, text)
	}
	if status, _ := r.do("POST", "/vouchsafe-token", "", "Cookie", cookieName+"=0000"); status != http.StatusUnauthorized {
		t.Fatalf("made-up cookie: %d, want 401", status)
	}
	r.signIn("alex")
	if status, _ := r.do("POST", "/vouchsafe-token?site=other", ""); status != http.StatusNotFound {
		t.Fatalf("another site: %d, want 404", status)
	}
	status, text := r.do("POST", "/vouchsafe-token?site=demo-free&email=jordan@example.com&sub=cus_jordan", "email=jordan@example.com", form...)
	if status != http.StatusOK {
		t.Fatalf("signed in: %d %s", status, text)
	}
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(FilesIn(r.dir).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwt.ParseECPublicKeyFromPEM(public)
	if err != nil {
		t.Fatal(err)
	}
	var got visitorClaims
	parsed, err := jwt.ParseWithClaims(answer.Token, &got, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(r.url), jwt.WithAudience("vouchsafe-demo-free"),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return monday }))
	if err != nil {
		t.Fatalf("the token does not verify: %v", err)
	}
	if got.ID == "" || parsed.Header["kid"] != KeyID {
		t.Errorf("jti %q, kid %v", got.ID, parsed.Header["kid"])
	}
	got.ID = ""
	want := visitorClaims{Email: "alex@example.com", EmailVerified: true, Name: "Alex Morgan", RegisteredClaims: jwt.RegisteredClaims{
		Issuer: r.url, Subject: "cus_alex", Audience: jwt.ClaimStrings{"vouchsafe-demo-free"},
		IssuedAt: jwt.NewNumericDate(monday), ExpiresAt: jwt.NewNumericDate(monday.Add(5 * time.Minute))}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("claims (-want +got):\n%s", d)
	}
	if status, _ := r.do("POST", "/logout", ""); status != http.StatusSeeOther {
		t.Fatalf("logout = %d", status)
	}
	if status, _ := r.do("POST", "/vouchsafe-token", ""); status != http.StatusUnauthorized {
		t.Errorf("after signing out: %d, want 401", status)
	}
}

func TestAdminNeedsTheKeyAndNothingElse(t *testing.T) {
	r := serve(t, t.TempDir())
	for _, path := range []string{"/admin/orders", "/admin/orders/1001", "/admin/customers", "/admin/calls", "/admin/hours"} {
		for _, key := range []string{"", "wrong"} {
			if status, text := r.do("GET", path, "", APIKeyHeader, key); status != http.StatusUnauthorized || strings.Contains(text, "example.com") {
				t.Errorf("GET %s with key %q = %d %s, want 401", path, key, status, text)
			}
		}
	}
	if status, _ := r.do("POST", "/admin/orders/1002/cancel", ""); status != http.StatusUnauthorized {
		t.Errorf("cancelling without a key = %d, want 401", status)
	}
	for _, id := range []string{"1001", "2001"} {
		if status, text := r.admin("GET", "/admin/orders/"+id, ""); status != http.StatusOK || !strings.Contains(text, `"id":"`+id+`"`) {
			t.Errorf("GET order %s = %d %s", id, status, text)
		}
	}
}

func TestAdminRefusals(t *testing.T) {
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"GET", "/admin/orders/9999", "", 404, "not_found"},
		{"POST", "/admin/orders/9999/cancel", "", 404, "not_found"},
		{"POST", "/admin/orders/1001/cancel", "", 409, "already_shipped"},
		{"POST", "/admin/orders/1003/cancel", "", 409, "already_shipped"},
		{"POST", "/admin/orders/1004/cancel", "", 409, "already_cancelled"},
		{"POST", "/admin/bookings/B999/reschedule", `{"start":"2026-12-01T10:00:00Z"}`, 404, "not_found"},
		{"POST", "/admin/bookings/B301/reschedule", `{"start":"2026-11-20T10:00:00Z"}`, 422, "in_the_past"},
		{"POST", "/admin/bookings/B301/reschedule", `{"start":"2026-11-29T10:00:00Z"}`, 422, "closed"},
		{"POST", "/admin/bookings/B301/reschedule", `{"start":"2026-12-01T17:00:00Z"}`, 422, "closed"},
		{"POST", "/admin/bookings/B301/reschedule", `{"start":"2026-12-01T10:07:00Z"}`, 422, "closed"},
		{"POST", "/admin/bookings/B301/reschedule", `{"start":"2027-06-01T10:00:00Z"}`, 422, "too_far_ahead"},
		{"POST", "/admin/bookings/B301/reschedule", `{"start":"2026-11-26T11:30:00Z"}`, 409, "slot_taken"},
		{"POST", "/admin/bookings/B301/reschedule", `{"start":"next Tuesday"}`, 422, "invalid_body"},
		{"POST", "/admin/bookings/B301/reschedule", `{"begin":"2026-12-01T10:00:00Z"}`, 422, "invalid_body"},
		{"POST", "/admin/subscriptions/S501/pause", `{"months":0}`, 422, "invalid_months"},
		{"POST", "/admin/subscriptions/S501/pause", `{"months":4}`, 422, "invalid_months"},
		{"POST", "/admin/subscriptions/S999/cancel", "", 404, "not_found"},
		{"PUT", "/admin/customers/cus_alex/address", `{"address":"   short  "}`, 422, "invalid_address"},
		{"PUT", "/admin/customers/cus_nobody/address", `{"address":"5 Mill Road, Truro"}`, 404, "not_found"},
	} {
		t.Run(c.method+" "+c.path+" "+c.body, func(t *testing.T) {
			r := serve(t, t.TempDir())
			before, err := os.ReadFile(FilesIn(r.dir).state)
			if err != nil {
				t.Fatal(err)
			}
			status, text := r.admin(c.method, c.path, c.body)
			if status != c.status || !strings.Contains(text, `"code":"`+c.code+`"`) {
				t.Errorf("= %d %s, want %d %s", status, text, c.status, c.code)
			}
			after, err := os.ReadFile(FilesIn(r.dir).state)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, after) {
				t.Error("a refused call changed the shop's data")
			}
		})
	}
}

func TestChangesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	r := serve(t, dir)
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/admin/orders/1002/cancel", "", `"status":"cancelled"`},
		{"POST", "/admin/bookings/B301/reschedule", `{"start":"2026-12-01T10:00:00Z"}`, `"start":"2026-12-01T10:00:00Z"`},
		{"POST", "/admin/subscriptions/S501/pause", `{"months":2}`, `"paused_until":"2027-01-25"`},
		{"POST", "/admin/subscriptions/S502/cancel", "", `"status":"cancelled"`},
		{"PUT", "/admin/customers/cus_alex/address", `{"address":"5  Mill Road, Truro, TR1 1AA"}`, `"address":"5 Mill Road, Truro, TR1 1AA"`},
	} {
		if status, text := r.admin(c.method, c.path, c.body); status != http.StatusOK || !strings.Contains(text, c.want) {
			t.Errorf("%s %s = %d %s, want %s", c.method, c.path, status, text, c.want)
		}
	}
	r.signIn("jordan")
	key, err := os.ReadFile(FilesIn(dir).AdminKey)
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(FilesIn(dir).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	cookies := r.client.Jar
	r.stop()

	again := serve(t, dir)
	for path, want := range map[string]string{
		"/admin/orders/1002":                            `"status":"cancelled"`,
		"/admin/bookings/B301":                          `"start":"2026-12-01T10:00:00Z"`,
		"/admin/subscriptions?email=alex@example.com":   `"paused_until":"2027-01-25"`,
		"/admin/subscriptions?email=jordan@example.com": `"status":"cancelled"`,
		"/admin/customers?email=ALEX@example.com":       "5 Mill Road, Truro, TR1 1AA",
		"/admin/calls":                                  "/admin/orders/1002/cancel",
	} {
		if status, text := again.admin("GET", path, ""); status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("after a restart, GET %s = %d %s, want %s", path, status, text, want)
		}
	}
	again.client.Jar = cookies // of the same host, on whatever port
	if _, text := again.do("GET", "/session", ""); !strings.Contains(text, "jordan@example.com") {
		t.Errorf("after a restart the session is %s, want jordan's", text)
	}
	if now, _ := os.ReadFile(FilesIn(dir).AdminKey); !bytes.Equal(key, now) {
		t.Error("the admin key changed")
	}
	if now, _ := os.ReadFile(FilesIn(dir).PublicKey); !bytes.Equal(public, now) {
		t.Error("the public key changed")
	}
}

func TestIdempotencyKeyRunsOnce(t *testing.T) {
	r := serve(t, t.TempDir())
	_, first := r.admin("POST", "/admin/orders/1002/cancel", "", "Idempotency-Key", "k1")
	status, second := r.admin("POST", "/admin/orders/1002/cancel", "", "Idempotency-Key", "k1")
	if status != http.StatusOK || first != second {
		t.Errorf("repeated = %d %s, want the first answer %s", status, second, first)
	}
	if status, _ := r.admin("POST", "/admin/orders/2002/cancel", "", "Idempotency-Key", "k1"); status != http.StatusUnprocessableEntity {
		t.Errorf("the key used for another order = %d, want 422", status)
	}
	if _, text := r.admin("GET", "/admin/orders/2002", ""); !strings.Contains(text, `"status":"processing"`) {
		t.Errorf("order 2002 is %s, want it untouched", text)
	}
}

func TestCallLogHoldsWhatReachedTheShop(t *testing.T) {
	r := serve(t, t.TempDir())
	r.do("GET", "/admin/orders/1001", "", APIKeyHeader, "wrong")
	if _, text := r.admin("GET", "/admin/calls", ""); text != `{"calls":[]}` {
		t.Fatalf("before any call: %s", text)
	}
	r.admin("GET", "/admin/orders?email=alex@example.com", "")
	r.admin("POST", "/admin/orders/1001/cancel", "", "Idempotency-Key", "k2")
	_, text := r.admin("GET", "/admin/calls", "")
	var got struct{ Calls []call }
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := []call{
		{Time: monday, Method: "GET", Path: "/admin/orders"},
		{Time: monday, Method: "POST", Path: "/admin/orders/1001/cancel", Key: "k2"},
	}
	if d := cmp.Diff(want, got.Calls); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}

func TestSecretsAreTheShopsAlone(t *testing.T) {
	r := serve(t, t.TempDir())
	r.signIn("alex")
	for _, f := range []string{"admin.key", "token.key.pem", "shop.json", "calls.jsonl"} {
		info, err := os.Stat(r.dir + "/" + f)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o, want 600", f, mode)
		}
	}
	public, err := os.ReadFile(FilesIn(r.dir).PublicKey)
	if err != nil || strings.Contains(string(public), "PRIVATE") {
		t.Errorf("token.pub.pem: %v, private %v", err, strings.Contains(string(public), "PRIVATE"))
	}
	u, _ := url.Parse(r.url)
	state, _ := os.ReadFile(FilesIn(r.dir).state)
	for _, c := range r.client.Jar.Cookies(u) {
		if strings.Contains(string(state), c.Value) {
			t.Error("the state file holds a session cookie")
		}
	}
}

func TestPagesAllowNoScriptButTheirOwnAndTheGates(t *testing.T) {
	r := serve(t, t.TempDir())
	for _, path := range []string{"/", "/?site=demo-free", "/login"} {
		res, err := r.client.Get(r.url + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		policy := res.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'; script-src 'self' http://127.0.0.1:8080;") || strings.Contains(policy, "unsafe") {
			t.Errorf("GET %s: policy %q", path, policy)
		}
		for _, inline := range []string{"<script>", "<style", " style=", " onclick"} {
			if strings.Contains(string(text), inline) {
				t.Errorf("GET %s holds %q, which its policy forbids", path, inline)
			}
		}
	}
	if _, text := r.do("GET", "/?site=demo-free", ""); !strings.Contains(text, `data-site="demo-free"`) {
		t.Error("the free site's page does not load its widget")
	}
	if _, text := r.do("GET", `/?site="><script>`, ""); strings.Contains(text, `"><script>`) {
		t.Error("the site parameter reached the page")
	}
}

func TestAppointmentsStayAhead(t *testing.T) {
	zone, err := time.LoadLocation(TimeZone)
	if err != nil {
		t.Fatal(err)
	}
	for day := range 400 {
		now := monday.AddDate(0, 0, day)
		st := seed(now, zone)
		ahead := map[string]int{}
		for _, b := range st.Bookings {
			if !openAt(b.Start.In(zone)) || b.Start.Before(now.Add(48*time.Hour)) || b.Start.After(now.AddDate(0, 0, 15)) {
				t.Fatalf("seeded on %s, %s is at %s", now, b.ID, b.Start)
			}
			ahead[b.Customer.Name]++
		}
		if d := cmp.Diff(map[string]int{"Alex Morgan": 1, "Jordan Lee": 2}, ahead); d != "" {
			t.Fatalf("appointments (-want +got):\n%s", d)
		}
		later := now.AddDate(0, 2, 0)
		if !st.renew(later, zone) {
			t.Fatal("appointments of two months ago were not renewed")
		}
		for _, b := range st.Bookings {
			if !openAt(b.Start.In(zone)) || !b.Start.After(later) {
				t.Fatalf("renewed on %s, %s is at %s", later, b.ID, b.Start)
			}
		}
	}
}

func TestManifestsMakeACatalog(t *testing.T) {
	files, err := fs.Glob(Actions, "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	var manifests []*connectors.Manifest
	for _, f := range files {
		src, err := fs.ReadFile(Actions, f)
		if err != nil {
			t.Fatal(err)
		}
		m, err := connectors.ParseManifest(f, src)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		manifests = append(manifests, m)
	}
	catalog, err := connectors.NewCatalog(manifests)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range catalog.Actions() {
		got = append(got, a.Name+" "+a.Risk.String())
	}
	want := []string{"booking.list read", "booking.reschedule write", "order.cancel destructive", "order.list read", "order.lookup read",
		"profile.show read", "profile.update_address write", "shop.opening_hours read", "subscription.cancel destructive",
		"subscription.pause write", "subscription.show read"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("actions (-want +got):\n%s", d)
	}
}
