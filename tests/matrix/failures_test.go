package matrix_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

// misbehaviour is a way in which an outside system answers, and what must come
// of it: the code of a read and that of a write, "" for success.
type misbehaviour struct {
	name        string
	read, write string
	do          func(c net.Conn, nth int)
}

const (
	cFailed  = "connector_failed"
	cTimeout = "connector_timeout"
	cUnknown = "outcome_unknown"
)

// head writes a reply's head.
func head(c net.Conn, status string, lines ...string) {
	io.WriteString(c, "HTTP/1.1 "+status+"\r\nConnection: close\r\n"+strings.Join(lines, "\r\n")+"\r\n\r\n")
}

func whole(c net.Conn, status, kind, body string, lines ...string) {
	head(c, status, append(lines, "Content-Type: "+kind, fmt.Sprintf("Content-Length: %d", len(body)))...)
	io.WriteString(c, body)
}

const js = "application/json"

// stay keeps the connection until the other side lets go of it.
func stay(c net.Conn) { io.Copy(io.Discard, c) }

func redirect(to string) func(net.Conn, int) {
	return func(c net.Conn, _ int) { whole(c, "302 Found", js, "{}", "Location: "+to) }
}

// record is a reply as it should be, for the record that was asked for.
func record(id string) string {
	return fmt.Sprintf(`{"thing": {"id": %q, "email": %q}}`, id, person(0).Email)
}

func misbehaviours(elsewhere string) []misbehaviour {
	fine := record("500-then-200")
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range 64 {
		z.Write(zeros)
	}
	z.Close()
	list := []misbehaviour{
		{"reset", cFailed, cUnknown, func(c net.Conn, _ int) { c.(*net.TCPConn).SetLinger(0) }},
		{"slow-headers", cTimeout, cUnknown, func(c net.Conn, _ int) { io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Slow: "); stay(c) }},
		{"slow-body", cTimeout, cUnknown, func(c net.Conn, _ int) {
			head(c, "200 OK", "Content-Type: "+js, "Content-Length: 64")
			io.WriteString(c, `{"thing":`)
			stay(c)
		}},
		{"429", cFailed, cFailed, func(c net.Conn, _ int) { whole(c, "429 Too Many Requests", js, "{}") }},
		{"429-retry-after", cFailed, cFailed, func(c net.Conn, _ int) { whole(c, "429 Too Many Requests", js, "{}", "Retry-After: 3600") }},
		{"500-then-200", "", cUnknown, func(c net.Conn, nth int) {
			if nth == 1 {
				whole(c, "500 Internal Server Error", js, "{}")
				return
			}
			whole(c, "200 OK", js, fine)
		}},
		{"malformed", cFailed, cUnknown, func(c net.Conn, _ int) { whole(c, "200 OK", js, `{"thing": {"id": `) }},
		{"html", cFailed, cUnknown, func(c net.Conn, _ int) { whole(c, "200 OK", "text/html", "<h1>Log in</h1>") }},
		{"html-around-json", cFailed, cUnknown, func(c net.Conn, _ int) { whole(c, "200 OK", "text/html", record("html-around-json")) }},
		{"100-mb", cFailed, cUnknown, func(c net.Conn, _ int) {
			head(c, "200 OK", "Content-Type: "+js)
			io.WriteString(c, `{"thing": "`)
			for range 100 {
				if _, err := c.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
					return
				}
			}
		}},
		{"redirect-away", cFailed, cUnknown, redirect(elsewhere)},
		{"redirect-metadata", cFailed, cUnknown, redirect("http://169.254.169.254/latest/meta-data")},
		{"redirect-zero", cFailed, cUnknown, redirect("http://0.0.0.0/")},
		{"redirect-zero-short", cFailed, cUnknown, redirect("http://0/")},
		{"redirect-zero-v6", cFailed, cUnknown, redirect("http://[::]/")},
		{"redirect-hex", cFailed, cUnknown, redirect("http://0x7f000001/")},
		{"truncated", cFailed, cUnknown, func(c net.Conn, _ int) {
			head(c, "200 OK", "Content-Type: "+js, "Content-Length: 5000")
			io.WriteString(c, record("truncated"))
		}},
		{"too-short-a-length", cFailed, cUnknown, func(c net.Conn, _ int) {
			head(c, "200 OK", "Content-Type: "+js, "Content-Length: 10")
			io.WriteString(c, record("too-short-a-length"))
		}},
		{"two-lengths", cFailed, cUnknown, func(c net.Conn, _ int) {
			head(c, "200 OK", "Content-Type: "+js, "Content-Length: 10", "Content-Length: 20")
			io.WriteString(c, record("two-lengths"))
		}},
		{"gzip-bomb", cFailed, cUnknown, func(c net.Conn, _ int) {
			head(c, "200 OK", "Content-Type: "+js, "Content-Encoding: gzip", fmt.Sprintf("Content-Length: %d", bomb.Len()))
			c.Write(bomb.Bytes())
		}},
		{"no-http", cFailed, cUnknown, func(c net.Conn, _ int) { io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n") }},
		{"nothing", cFailed, cUnknown, func(net.Conn, int) {}},
	}
	return list
}

const failing = `connector: {name: odd, kind: rest, connection: odd}
actions:
  odd.list:
    title: List odd things
    personal: true
    risk: read
    request: {method: GET, path: /list}
    response: {records: ".things[]", id: .id, owner: .email, fields: [id]}
  odd.read:
    title: Read an odd thing
    personal: true
    risk: read
    timeout: 2s
    args: {type: object, required: [thing_id], properties: {thing_id: {type: string}}}
    request: {method: GET, path: "/things/{thing_id}"}
    response: {records: .thing, id: .id, owner: .email, fields: [id]}
  odd.write:
    title: Change an odd thing
    personal: true
    risk: write
    timeout: 2s
    args: {type: object, required: [thing_id], properties: {thing_id: {type: string}}}
    resource: {thing_id: odd.list}
    request: {method: POST, path: "/things/{thing_id}"}
    response: {records: .thing, id: .id, owner: .email, fields: [id]}
  gone.read:
    title: Read from nowhere
    personal: true
    risk: read
    args: {type: object, required: [thing_id], properties: {thing_id: {type: string}}}
    request: {method: GET, path: "/things/{thing_id}"}
    response: {records: .thing, id: .id, owner: .email, fields: [id]}
`

// odd is a system that misbehaves as its records are called.
type odd struct {
	net.Listener
	list  string
	ways  map[string]misbehaviour
	mu    sync.Mutex
	calls map[string]int
}

func (o *odd) serve() {
	for {
		c, err := o.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(30 * time.Second))
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			name := strings.TrimPrefix(r.URL.Path, "/things/")
			if r.URL.Path == "/list" {
				whole(c, "200 OK", js, o.list)
				return
			}
			o.mu.Lock()
			o.calls[r.Method+" "+name]++
			nth := o.calls[r.Method+" "+name]
			o.mu.Unlock()
			o.ways[name].do(c, nth)
		}()
	}
}

func (o *odd) count(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls[what]
}

// maxGrowth bounds what a misbehaving system makes gate and provider take at
// once, together: well below what it sends them.
const maxGrowth = 48 << 20

// memory is how much memory processes hold by a line of their status, in bytes;
// 0 where there is no /proc.
func memory(t *testing.T, pids []int, line string) (bytes int) {
	t.Helper()
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0
		}
		_, rest, _ := strings.Cut(string(b), "\n"+line+":")
		var kib int
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			t.Fatalf("%s of process %d: %v", line, pid, err)
		}
		bytes += kib << 10
	}
	return bytes
}

// However an outside system misbehaves, a request ends in one stable code and
// one outcome record; a write is sent once; nothing follows a redirect; and the
// gate is as well as before.
func TestMisbehavingSystems(t *testing.T) {
	var visits sync.Map
	elsewhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	go http.Serve(elsewhere, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { visits.Store(r.URL.Path, true) }))
	o := &odd{ways: map[string]misbehaviour{}, calls: map[string]int{}}
	ways := misbehaviours("http://" + elsewhere.Addr().String() + "/stolen")
	var things []string
	for _, m := range ways {
		o.ways[m.name] = m
		things = append(things, fmt.Sprintf(`{"id": %q, "email": %q}`, m.name, person(0).Email))
	}
	o.list = `{"things": [` + strings.Join(things, ",") + `]}`
	if o.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	go o.serve()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close() // refuses from now on

	gone := "connector: {name: gone, kind: rest, connection: gone}\nactions:\n" + failing[strings.Index(failing, "  gone.read:"):]
	gone += strings.NewReplacer("odd.write", "gone.write", "odd.list", "odd.list").Replace(failing[strings.Index(failing, "  odd.write:"):strings.Index(failing, "  gone.read:")])
	s := harness.Start(t, harness.Config{Quiet: true, Limits: "{per_visitor: off, per_address: off, not_found_after: 0s}",
		Manifests: map[string]string{"odd.yaml": failing[:strings.Index(failing, "  gone.read:")], "gone.yaml": gone}})
	for connection, at := range map[string]string{"odd": o.Addr().String(), "gone": closed.Addr().String()} {
		if e := harness.Run(t, []string{"MATRIX_KEY=a-key-of-the-matrix-0123456789"}, "connection", "add", connection, "--site", harness.Site, "--config", s.Config,
			"--type", "api_key", "--header", "X-Api-Key", "--value-env", "MATRIX_KEY", "--base-url", "http://"+at); e.Code != 0 {
			t.Fatalf("connection add: %s%s", e.Out, e.Errors)
		}
	}
	token := s.Token(t, harness.Site, person(0))
	type ended struct{ what, decision, code string }
	var all []ended
	ask := func(action, thing, want string) {
		got := s.Act(t, harness.Site, token, action, map[string]any{"thing_id": thing}, "")
		if got.Code != want || want == "" && got.Status != 200 {
			t.Errorf("%s %s: %d %s, want code %q", action, thing, got.Status, got.Raw, want)
		}
		all = append(all, ended{action + " " + thing, got.Decision, want})
	}
	processes := append(harness.Children(t, s.PID()), s.PID())
	for _, m := range ways {
		begun := memory(t, processes, "VmRSS")
		for _, pid := range processes {
			os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // the peak starts anew
		}
		ask("odd.read", m.name, m.read)
		ask("odd.write", m.name, m.write)
		if grown := memory(t, processes, "VmHWM") - begun; grown > maxGrowth {
			t.Errorf("%s: gate and provider took %d MiB more for it, want at most %d", m.name, grown>>20, maxGrowth>>20)
		} else if strings.Contains(m.name, "100-mb") || strings.Contains(m.name, "bomb") {
			t.Logf("%s: gate and provider took %.1f MiB more for it", m.name, float64(grown)/(1<<20))
		}
		if n := o.count("POST " + m.name); n != 1 {
			t.Errorf("the write of %s was sent %d times", m.name, n)
		}
		if n := o.count("GET " + m.name); n < 1 || n > 3 {
			t.Errorf("the read of %s was sent %d times", m.name, n)
		}
	}
	ask("gone.read", "reset", cFailed)
	ask("gone.write", "reset", cFailed) // nothing was sent, and that is certain
	visits.Range(func(path, _ any) bool { t.Errorf("a redirect was followed to %v", path); return true })

	outcomes := map[string][]string{}
	for _, e := range s.Audit(t) {
		if e.Outcome != nil {
			outcomes[e.Decision.ID] = append(outcomes[e.Decision.ID], e.Outcome.Code)
		}
	}
	for _, e := range all {
		if got := outcomes[e.decision]; len(got) != 1 || got[0] != e.code {
			t.Errorf("%s: outcomes %v of decision %q, want one, %q", e.what, got, e.decision, e.code)
		}
	}
	s.Await("/readyz", 200)
}
