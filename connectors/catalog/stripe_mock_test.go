package catalog_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"vouchsafe/engine"
)

// stripeMock starts the mock that Stripe publishes, which holds requests to its
// description of the API.
func stripeMock(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("stripe-mock")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("stripe-mock is missing: .ci/run installs it")
		}
		t.Skip("stripe-mock is not installed (go install github.com/stripe/stripe-mock@v0.203.0)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var log bytes.Buffer
	cmd := exec.Command(program, "-http-addr", addr, "-strict-version-check")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("stripe-mock: %s", log.String())
		}
	})
	for deadline := time.Now().Add(time.Minute); ; {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return "http://" + addr
		}
		select {
		case <-exited:
			t.Fatalf("stripe-mock ended: %s", log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("stripe-mock does not listen")
		}
	}
}

// What stripe-mock answers is nobody's: it keeps nothing, and its records have
// no e-mail address. So its replies are made Alex's on the way, to see every
// request of every action held to Stripe's description, and every field found
// in what Stripe describes as the reply.
func TestStripeMock(t *testing.T) {
	mock := stripeMock(t)
	email := regexp.MustCompile(`"email": ?(null|"[^"]*")`)
	customer := regexp.MustCompile(`"customer": ?"[^"]*"`)
	id := regexp.MustCompile(`"id": ?"(cus|sub|in)_[^"]*"`)
	var answered []string
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequest(r.Method, mock+r.URL.RequestURI(), r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header = r.Header.Clone()
		req.Header.Del("Accept-Encoding")
		req.Header.Set("Authorization", "Bearer sk_test_123") // the only kind of key it takes
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s: Stripe's description does not allow this: %s %s", r.Method, r.URL, resp.Status, b)
		}
		answered = append(answered, r.Method+" "+regexp.MustCompile(`(sub|in)_\w+`).ReplaceAllString(r.URL.Path, "$1"))
		b = email.ReplaceAll(b, []byte(`"email": "`+alex.Email+`"`))
		b = customer.ReplaceAll(b, []byte(`"customer": "cus_mock01"`))
		b = id.ReplaceAllFunc(b, func(m []byte) []byte {
			kind := id.FindSubmatch(m)[1]
			return []byte(`"id": "` + string(kind) + `_mock01"`)
		})
		b = bytes.ReplaceAll(b, []byte(`"has_more": true`), []byte(`"has_more": false`))
		w.Header().Set("Content-Type", "application/json")
		w.Write(b)
	}))
	defer front.Close()
	b := bench(t, "stripe.yaml", front.URL)
	sub, in := object{"subscription_id": "sub_mock01"}, object{"invoice_id": "in_mock01"}
	for _, tt := range []struct {
		action string
		args   object
		fields []string
	}{
		{"subscription.list", nil, []string{"id", "status", "cancel_at_period_end", "amount", "currency", "renews"}},
		{"subscription.lookup", sub, []string{"id", "status", "cancel_at_period_end", "renews"}},
		{"subscription.cancel", sub, []string{"id", "status", "cancel_at_period_end"}},
		{"subscription.resume", sub, []string{"id", "status", "cancel_at_period_end"}},
		{"invoice.list", nil, nil},
		{"invoice.lookup", in, []string{"id", "status", "total", "currency", "date"}},
	} {
		res, err := b.Do(t, alex, tt.action, tt.args)
		if err != nil {
			t.Errorf("%s: %v", tt.action, err)
			continue
		}
		if len(tt.fields) > 0 && len(res.Records) == 0 {
			t.Errorf("%s: no records", tt.action)
		}
		for _, r := range res.Records {
			for _, f := range tt.fields {
				if r.Fields[f] == nil {
					t.Errorf("%s: %s is not in what Stripe describes: %v", tt.action, f, r.Fields)
				}
			}
		}
	}
	for _, want := range []string{"GET /v1/customers", "GET /v1/subscriptions", "GET /v1/subscriptions/sub", "POST /v1/subscriptions/sub", "GET /v1/invoices", "GET /v1/invoices/in"} {
		found := false
		for _, got := range answered {
			found = found || got == want
		}
		if !found {
			t.Errorf("%s was not asked: %v", want, answered)
		}
	}
	// Without that, what it answers is nobody's.
	untouched := bench(t, "stripe.yaml", mockFront(t, mock))
	if _, err := untouched.Do(t, alex, "subscription.lookup", sub); engine.CodeOf(err) != engine.CodeNotFound {
		t.Errorf("a subscription of nobody: %v", err)
	}
}

// mockFront passes on to the mock with the key it takes.
func mockFront(t *testing.T, mock string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, _ := http.NewRequest(r.Method, mock+r.URL.RequestURI(), r.Body)
		req.Header = r.Header.Clone()
		req.Header.Set("Authorization", "Bearer sk_test_123")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}
