package provider

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func nothing(http.ResponseWriter, *http.Request) {}

// fickle is a name server that answers each question with the next address of
// its list, and then with the last.
func fickle(t *testing.T, addresses ...[4]byte) (*net.Resolver, *atomic.Int32) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	asked := &atomic.Int32{}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if q.Unpack(buf[:n]) != nil || len(q.Questions) != 1 {
				continue
			}
			q.Response, q.Additionals = true, nil
			if q.Questions[0].Type == dnsmessage.TypeA {
				i := min(int(asked.Add(1)), len(addresses)) - 1
				q.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
					Body:   &dnsmessage.AResource{A: addresses[i]},
				}}
			}
			if b, err := q.Pack(); err == nil {
				pc.WriteTo(b, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}, asked
}

// What counts is the address that is dialled, and not what the name led to a
// moment before: there is one look-up, and its answer is what is judged.
func TestANameMayNotLeadInside(t *testing.T) {
	inside, calls := upstream(t, nothing)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(inside.URL, "http://"))
	for name, addresses := range map[string][][4]byte{
		"this machine":                        {{127, 0, 0, 1}},
		"a public address, then this machine": {{192, 88, 99, 1}, {127, 0, 0, 1}},
		"the metadata service":                {{169, 254, 169, 254}},
		"nowhere":                             {{0, 0, 0, 0}},
		"a private network":                   {{10, 0, 0, 1}},
	} {
		resolver, asked := fickle(t, addresses...)
		d := dialer{resolver: resolver}
		for range 2 {
			ctx, cancel := context.WithCancel(context.Background())
			if addresses[0][0] == 192 && asked.Load() == 0 {
				cancel() // a public address is not really dialled
			}
			c, err := d.dial(ctx, "tcp", net.JoinHostPort("shop.example", port))
			cancel()
			if err == nil {
				c.Close()
				t.Errorf("%s: was dialled", name)
			} else if addresses[0][0] != 192 && !errors.Is(err, errBlocked) {
				t.Errorf("%s: %v, want errBlocked", name, err)
			}
		}
	}
	if calls.Load() != 0 {
		t.Error("somebody inside was called")
	}
	resolver, asked := fickle(t, [4]byte{127, 0, 0, 1})
	if _, err := (dialer{resolver: resolver}).dial(context.Background(), "tcp", net.JoinHostPort("shop.example", port)); !errors.Is(err, errBlocked) || asked.Load() != 1 {
		t.Errorf("%v after %d questions, want errBlocked after one", err, asked.Load())
	}
}

// Odd spellings of an address are refused when the connection is added.
func TestSpellingsOfAddresses(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, true)
	defer s.Close()
	for _, host := range []string{
		"2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "0", "0x0", "00000000", "0.0.0", "1.2.3.4.5", "example.0x7f",
		"2852039166", "0xa9fea9fe", "169.254.43518", "127.0.0.1.", "127.0.0.01",
	} {
		if err := s.Put(conn("odd", "https://"+host), NewAPIKey(planted)); err == nil {
			t.Errorf("https://%s is taken", host)
		}
	}
	for _, base := range []string{
		"http://0.0.0.0", "http://[::]", "http://[::ffff:10.0.0.1]", "http://[64:ff9b::7f00:1]", "http://169.254.169.254", "http://[fe80::1]", "http://localhost.",
	} {
		if err := s.Put(conn("odd", base), NewAPIKey(planted)); err == nil {
			t.Errorf("%s is taken", base)
		}
	}
	for _, host := range []string{"shop.example", "4chan.example", "a1.b2", "xn--bcher-kva.example", "10.0.0.1", "[fd00::1]"} {
		if err := s.Put(conn("good", "https://"+host), NewAPIKey(planted)); err != nil {
			t.Errorf("https://%s: %v", host, err)
		}
	}
}

// Nothing follows a redirect, wherever it leads; a small reply that unpacks
// into a large one is as large as that.
func TestRepliesThatLeadElsewhere(t *testing.T) {
	r := start(t)
	elsewhere, elsewhereCalls := upstream(t, nothing)
	up, _ := upstream(t, func(w http.ResponseWriter, q *http.Request) {
		switch to := q.URL.Query().Get("to"); {
		case to != "":
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
		case q.URL.Path == "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for range 100 {
				z.Write(make([]byte, 1<<20))
			}
			z.Close()
		case q.URL.Path == "/packed":
			w.Header().Set("Content-Encoding", "br")
			io.WriteString(w, q.Header.Get("X-Api-Key"))
		}
	})
	r.add(t, conn("shop", up.URL), NewAPIKey(planted))
	gate := r.gate(t)
	call := func(path, query string) (*Reply, *Error) {
		reply, err := gate.Do(context.Background(), Call{Site: "demo", Connection: "shop", Method: "GET", Path: path, Query: query})
		e, _ := errors.AsType[*Error](err)
		return reply, e
	}
	for _, to := range []string{elsewhere.URL, "http://169.254.169.254/latest/meta-data", "http://0.0.0.0/", "http://2130706433/", "http://0x7f.1/",
		"http://0177.0.0.1/", "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "//evil.example/", "/other"} {
		if reply, err := call("/x", "to="+to); err != nil || reply.Status != http.StatusFound || len(reply.Body) != 0 {
			t.Errorf("redirect to %s: %+v, %v; want the 302 itself", to, reply, err)
		}
	}
	if elsewhereCalls.Load() != 0 {
		t.Error("a redirect was followed")
	}
	if _, err := call("/bomb", ""); err == nil || err.Code != CodeReplyTooLarge {
		t.Errorf("a bomb: %v, want %s", err, CodeReplyTooLarge)
	}
	if reply, err := call("/packed", ""); err == nil || err.Code != CodeUpstreamBroke {
		t.Errorf("packed in a way that nobody asked for: %+v, %v", reply, err)
	}
}
