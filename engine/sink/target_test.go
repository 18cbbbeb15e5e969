package sink_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine/sink"
)

var ctx = context.Background()

func batch(bodies ...string) []sink.Record {
	var out []sink.Record
	for i, b := range bodies {
		out = append(out, sink.Record{ID: "shop/" + strconv.Itoa(i), Kind: "decision", Time: time.Unix(0, 0), Deny: i%2 == 1, Body: []byte(b)})
	}
	return out
}

// Whatever happens to the file, each batch is whole in the one of that name.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	f := sink.NewFile(path)
	send := func(bodies ...string) {
		t.Helper()
		if err := f.Send(ctx, batch(bodies...)); err != nil {
			t.Fatal(err)
		}
	}
	send(`{"a":1}`, `{"a":2}`)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v; want 0600", info.Mode(), err)
	}
	if err := os.Rename(path, path+".1"); err != nil { // logrotate
		t.Fatal(err)
	}
	send(`{"a":3}`)
	if old, now := read(path+".1"), read(path); old != "{\"a\":1}\n{\"a\":2}\n" || now != "{\"a\":3}\n" {
		t.Errorf("after moving it away: %q and %q", old, now)
	}
	if err := os.Truncate(path, 0); err != nil { // copytruncate
		t.Fatal(err)
	}
	send(`{"a":4}`)
	if now := read(path); now != "{\"a\":4}\n" {
		t.Errorf("after truncation: %q", now)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{\"a\":4}\n{\"a\":"), 0o600); err != nil { // a crash
		t.Fatal(err)
	}
	send(`{"a":5}`)
	if now := read(path); now != "{\"a\":4}\n{\"a\":\n{\"a\":5}\n" {
		t.Errorf("after half a line: %q", now)
	}
	f.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path+".1", path); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"a link": path, "a folder": t.TempDir(), "no folder": filepath.Join(t.TempDir(), "x", "y")} {
		other := sink.NewFile(to)
		if err := other.Send(ctx, batch("{}")); err == nil {
			t.Errorf("%s was written to", name)
		} else if strings.Contains(err.Error(), to) {
			t.Errorf("%s: the error repeats the path: %v", name, err)
		}
	}
}

// Each delivery is signed, the same under the same id; nothing but 2xx is an
// acknowledgement, and a redirect leads nowhere.
func TestWebhook(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	now := time.Unix(1_800_000_000, 0)
	var ids []string
	status, elsewhere := 200, 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id, at := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
		m := hmac.New(sha256.New, secret)
		io.WriteString(m, id+"."+at+"."+string(body))
		if want := "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil)); r.Header.Get("Webhook-Signature") != want || at != "1800000000" {
			t.Errorf("signed %q at %s, want %q", r.Header.Get("Webhook-Signature"), at, want)
		}
		if string(body) != "{\"a\":1}\n{\"a\":2}\n" || r.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("body %q of %s", body, r.Header.Get("Content-Type"))
		}
		ids = append(ids, id)
		if status == http.StatusTemporaryRedirect {
			w.Header().Set("Location", other.URL)
		}
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
	}))
	defer srv.Close()
	hook, err := sink.NewWebhook(srv.URL+"/?key=hidden", secret, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer hook.Close()
	b := batch(`{"a":1}`, `{"a":2}`)
	for _, code := range []int{200, 204, 199 + 1} {
		status = code
		if err := hook.Send(ctx, b); err != nil {
			t.Errorf("status %d: %v", code, err)
		}
	}
	for _, code := range []int{307, 400, 410, 500, 503} {
		status = code
		err := hook.Send(ctx, b)
		retry, ok := errors.AsType[*sink.RetryError](err)
		if err == nil || !ok || retry.After != 7*time.Second || !strings.Contains(err.Error(), strconv.Itoa(code)) {
			t.Errorf("status %d: %v", code, err)
		}
	}
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Errorf("the same batch came as %v", ids)
		}
	}
	if elsewhere != 0 {
		t.Error("a redirect was followed")
	}
	srv.Close()
	if err := hook.Send(ctx, b); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("nobody there: %v, want an error without the URL", err)
	}
}

func TestSyslogAddresses(t *testing.T) {
	for _, a := range []string{"", "unix:", "udp://", "udp://host", "tcp:host:1", "http://host:80", "/dev/log", "ftp://h:1"} {
		if a == "tcp:host:1" {
			continue // written without the slashes it is the same
		}
		if s, err := sink.NewSyslog(a); err == nil {
			t.Errorf("NewSyslog(%q) = %+v", a, s)
		}
	}
}

// message is RFC 5424's, as we send it.
var message = regexp.MustCompile(`^<(\d+)>1 1970-01-01T00:00:00\.000000Z \S+ vouchsafe \d+ decision - (.*)$`)

// Each message is whole, over whichever transport; one that no datagram takes is
// named.
func TestSyslog(t *testing.T) {
	long := `{"a":"` + strings.Repeat("x", 9<<10) + `"}`
	dir := t.TempDir()
	packets := func(network, address string) func() string {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return func() string {
			b := make([]byte, 64<<10)
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			n, _, err := c.ReadFrom(b)
			if err != nil {
				t.Fatal(err)
			}
			return string(b[:n])
		}
	}
	stream := func(network, address string) (string, func() string) {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		var r *bufio.Reader
		return l.Addr().String(), func() string {
			if r == nil {
				c, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				r = bufio.NewReader(c)
			}
			count, err := r.ReadString(' ')
			if err != nil {
				t.Fatal(err)
			}
			n, err := strconv.Atoi(strings.TrimSuffix(count, " "))
			if err != nil {
				t.Fatalf("an octet count %q", count)
			}
			b := make([]byte, n)
			if _, err := io.ReadFull(r, b); err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
	gram := filepath.Join(dir, "log")
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := udp.LocalAddr().String()
	udp.Close()
	tcp, tcpNext := stream("tcp", "127.0.0.1:0")
	unix, unixNext := stream("unix", filepath.Join(dir, "stream"))
	for _, c := range []struct {
		name, address string
		next          func() string
		datagrams     bool
	}{
		{"unix datagrams", "unix:" + gram, packets("unixgram", gram), true},
		{"udp", "udp://" + at, packets("udp", at), true},
		{"tcp", "tcp://" + tcp, tcpNext, false},
		{"a unix stream", "unix:" + unix, unixNext, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := sink.NewSyslog(c.address)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Send(ctx, batch(`{"a":1}`, `{"a":2}`, long)); err != nil {
				t.Fatal(err)
			}
			for i, want := range []struct{ pri, body string }{{"110", `{"a":1}`}, {"109", `{"a":2}`}, {"110", long}} {
				if i == 2 && c.datagrams {
					want.body = `{"id":"shop/2","kind":"decision","too_long":true}`
				}
				m := message.FindStringSubmatch(c.next())
				if m == nil || m[1] != want.pri || m[2] != want.body {
					t.Errorf("message %d is %.200q, want priority %s and %.100s", i, m, want.pri, want.body)
				}
			}
			if err := s.Send(ctx, []sink.Record{{ID: "shop/checkpoint/4", Kind: "checkpoint", Body: []byte("{}")}}); err != nil {
				t.Fatal(err)
			}
			if m := c.next(); !strings.HasPrefix(m, "<110>1 - ") || !strings.HasSuffix(m, " checkpoint - {}") {
				t.Errorf("a checkpoint, which has no time, is %q", m)
			}
		})
	}
	gone, _ := sink.NewSyslog("unix:" + filepath.Join(dir, "nobody"))
	if err := gone.Send(ctx, batch("{}")); err == nil || strings.Contains(err.Error(), dir) {
		t.Errorf("nobody there: %v", err)
	}
}
