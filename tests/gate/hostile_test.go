package gate_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

// raw opens a connection to the public listener. It ends with the test.
func raw(t *testing.T, s *harness.Server) net.Conn {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Whatever is not the contract is a 4xx with a problem document (which the
// client of every test checks), does nothing, and leaves the server well.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	w := start(t)
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	big := bytes.Repeat([]byte("a"), 10<<20)
	chat, decide, act := "/v1/sites/shop/chat", "/v1/sites/shop/decisions", "/v1/sites/shop/actions/order.cancel"
	for _, c := range []struct {
		name, path, body string
		status           int
	}{
		{"empty", chat, "", 400},
		{"not JSON", chat, "message=hello", 400},
		{"half a document", chat, `{"message": "hel`, 400},
		{"an array", chat, `["hello"]`, 400},
		{"null", chat, `null`, 400},
		{"two documents", chat, `{"message":"hello"}{"message":"hello"}`, 400},
		{"trailing bytes", chat, `{"message":"hello"} x`, 400},
		{"a byte order mark", chat, "\ufeff" + `{"message":"hello"}`, 400},
		{"invalid UTF-8", chat, "{\"message\":\"\xff\xfe\"}", 400},
		{"an unknown field", chat, `{"message":"hello","email":"jordan@example.com"}`, 400},
		{"a field in another case", chat, `{"Message":"hello"}`, 400},
		{"a duplicate key", chat, `{"message":"hello","message":"show my orders"}`, 400},
		{"an escaped duplicate key", chat, `{"message":"hello","\u006dessage":"show my orders"}`, 400},
		{"a number for a text", chat, `{"message":1}`, 400},
		{"no message", chat, `{}`, 422},
		{"an empty message", chat, `{"message":"  "}`, 422},
		{"a message and a confirmation", chat, `{"message":"yes","confirm":"pa_1","conversation":"cv_1"}`, 422},
		{"a confirmation of nothing", chat, `{"confirm":"pa_1"}`, 422},
		{"a message of 5,000 bytes", chat, `{"message":"` + strings.Repeat("a", 5000) + `"}`, 422},
		{"65 KiB", chat, `{"message":"` + strings.Repeat("a", 65<<10) + `"}`, 413},
		{"10 MB", chat, `{"message":"` + string(big) + `"}`, 413},

		{"a duplicate argument", act, `{"args":{"order_id":"1001","order_id":"1002"}}`, 400},
		{"an unknown field", act, `{"args":{"order_id":"1001"},"identity":{"email":"jordan@example.com"}}`, 400},
		{"arguments that are no object", act, `{"args":"1001"}`, 400},
		{"arguments nested too deep", act, `{"args":{"order_id":` + deep + `}}`, 400},
		{"a number beyond use", act, `{"args":{"order_id":1e999999}}`, 400},
		{"10 MB", act, `{"args":{"order_id":"` + string(big) + `"}}`, 413},
		{"an argument of the wrong type", act, `{"args":{"order_id":1001}}`, 422},
		{"no arguments", act, `{}`, 422},

		{"no action", decide, `{}`, 422},
		{"an unknown field of the target", decide, `{"action":"order.list","target":{"mail":"x"}}`, 400},
		{"a duplicate target", decide, `{"action":"order.list","target":{},"target":{}}`, 400},
		{"10 MB", decide, string(big), 413},
	} {
		w.shopSawNothing(t, func() {
			got := w.Do(t, http.MethodPost, c.path, w.alex, []byte(c.body))
			if got.Status != c.status {
				t.Errorf("%s to %s: %d, want %d\n%.300s", c.name, c.path, got.Status, c.status, got.Raw)
			}
			if strings.Contains(string(got.Raw), "jordan@example.com") {
				t.Errorf("%s to %s: the problem quotes the body: %s", c.name, c.path, got.Raw)
			}
		})
	}
	for _, c := range []struct {
		name, method, path string
		status             int
		header             []string
	}{
		{"another media type", "POST", chat, 415, []string{"Content-Type", "text/plain"}},
		{"a form", "POST", chat, 415, []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{"another method", "PUT", chat, 405, nil},
		{"an unknown site", "POST", "/v1/sites/nowhere/chat", 404, nil},
		{"an unknown route", "POST", "/v1/sites/shop/orders", 404, nil},
		{"an unknown action", "POST", "/v1/sites/shop/actions/order.steal", 404, nil},
		{"a query", "POST", chat + "?token=abc", 400, nil},
		{"the admin side", "GET", "/v1/admin/status", 404, nil},
		{"the admin side's decisions", "GET", "/v1/admin/decisions", 404, nil},
		{"the metrics", "GET", "/metrics", 404, nil},
	} {
		var body any = []byte(`{}`)
		if strings.Contains(c.path, "/chat") {
			body = []byte(`{"message":"hello"}`)
		}
		if c.method == http.MethodGet {
			body = nil
		}
		if got := w.Do(t, c.method, c.path, w.alex, body, c.header...); got.Status != c.status {
			t.Errorf("%s: %s %s: %d, want %d\n%s", c.name, c.method, c.path, got.Status, c.status, got.Raw)
		}
	}
	if logs := w.Logs(); strings.Contains(logs, "panic") {
		t.Errorf("the server panicked:\n%s", logs)
	}
	wantReply(t, "after all that", w.Chat(t, shop, w.alex, turn{Message: "where is my order 1001"}), "result", "")
}

// Bytes that are not HTTP, or only nearly, are answered with a 4xx or a closed
// connection, one by one.
func TestHostileConnections(t *testing.T) {
	t.Parallel()
	w := start(t)
	for name, bytes := range map[string]string{
		"noise":                      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
		"two lengths":                "POST /v1/sites/shop/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 30\r\n\r\n{}",
		"a length that is none":      "POST /v1/sites/shop/chat HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"an unknown coding":          "POST /v1/sites/shop/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
		"no host":                    "GET /healthz HTTP/1.1\r\n\r\n",
		"headers of 200 kB":          "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 200<<10) + "\r\n\r\n",
		"two Authorization headers":  "POST /v1/sites/shop/actions/order.list HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\nAuthorization: Bearer " + w.alex + "\r\nAuthorization: Bearer " + w.jordan + "\r\n\r\n{}",
		"a chunked body that breaks": "POST /v1/sites/shop/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		w.shopSawNothing(t, func() {
			c := raw(t, w.Server)
			c.SetDeadline(time.Now().Add(30 * time.Second))
			go io.WriteString(c, bytes) // the server may stop reading
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				return // closed without an answer
			}
			resp.Body.Close()
			if resp.StatusCode < 400 || resp.StatusCode > 499 && resp.StatusCode != http.StatusNotImplemented {
				t.Errorf("%s: %s, want a 4xx", name, resp.Status)
			}
			c.Close()
		})
	}
}

// Clients that send a byte and wait are let go of in bounded time with a 4xx,
// others are served meanwhile, and nothing of them is left.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for the server's patience to end")
	}
	w := start(t)
	w.Chat(t, shop, w.alex, turn{Message: "where is my order 1001"}) // what is made once has been made
	goroutines := w.Metric(t, "go_goroutines")

	const slow = 60
	type ending struct {
		body   bool
		status int
	}
	endings := make(chan ending, slow)
	var wg sync.WaitGroup
	for i := range slow {
		c := raw(t, w.Server)
		c.SetDeadline(time.Now().Add(60 * time.Second))
		body := i%2 == 0
		if body {
			fmt.Fprintf(c, "POST /v1/sites/shop/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\nAuthorization: Bearer %s\r\n\r\n{\"mess", w.alex)
		} else {
			io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		}
		wg.Go(func() {
			defer c.Close()
			e := ending{body: body}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err == nil {
				e.status = resp.StatusCode
				if body && resp.Header.Get("Content-Type") != "application/problem+json" {
					e.status = 0
				}
				resp.Body.Close()
			} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
				e.status = -1
			}
			endings <- e
		})
	}
	for range 20 {
		wantReply(t, "beside slow clients", w.Chat(t, shop, w.alex, turn{Message: "where is my order 1001"}), "result", "")
	}
	wg.Wait()
	close(endings)
	for e := range endings {
		switch {
		case e.status == -1:
			t.Error("a slow client was held for a minute")
		case e.body && (e.status < 400 || e.status > 499):
			t.Errorf("a slow body was answered %d, want a 4xx with a problem document", e.status)
		}
	}
	settled(t, w.Server, goroutines)
}

// settled waits until the server has about as many goroutines as before.
func settled(t *testing.T, s *harness.Server, before float64) {
	t.Helper()
	s.Client.CloseIdleConnections()
	now := 0.0
	for range 100 {
		if now = s.Metric(t, "go_goroutines"); now <= before+10 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%v goroutines, %v before", now, before)
}

// Many hostile requests leave neither goroutines nor memory behind.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.Chat(t, shop, w.alex, turn{Message: "where is my order 1001"})
	goroutines := w.Metric(t, "go_goroutines")
	big := bytes.Repeat([]byte("a"), 10<<20)
	var mu sync.Mutex
	odd := map[int]int{}
	together(16, func(i int) {
		for range 4 {
			got := w.Do(t, http.MethodPost, "/v1/sites/shop/chat", w.alex, big)
			if got.Status != http.StatusRequestEntityTooLarge {
				mu.Lock()
				odd[got.Status]++
				mu.Unlock()
			}
			w.Do(t, http.MethodPost, "/v1/sites/shop/decisions", w.alex, []byte(`{"action":"order.list","action":"order.list"}`))
		}
	})
	if len(odd) > 0 {
		t.Errorf("10 MB bodies were answered %v, want 413", odd)
	}
	settled(t, w.Server, goroutines)
	if heap := w.Metric(t, "go_memstats_heap_inuse_bytes"); heap > 120<<20 {
		t.Errorf("%.0f MB of heap in use after 640 MB of bodies", heap/(1<<20))
	}
}
