package matrix_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"vouchsafe/connectors"
	"vouchsafe/connectors/connectortest"
	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
)

// fickle has this process ask a name server that answers each question with the
// next address of its list, and then with the last.
func fickle(t *testing.T, addresses ...[4]byte) *atomic.Int32 {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked, before := &atomic.Int32{}, net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
	t.Cleanup(func() { net.DefaultResolver = before; pc.Close() })
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
				q.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
					Body:   &dnsmessage.AResource{A: addresses[min(int(asked.Add(1)), len(addresses))-1]},
				}}
			}
			if b, err := q.Pack(); err == nil {
				pc.WriteTo(b, from)
			}
		}
	}()
	return asked
}

const named = `connector: {name: named, kind: rest, connection: named}
actions:
  note.show:
    title: Show my note
    personal: true
    risk: read
    timeout: 1s
    request: {method: GET, path: "/people/{pinned.subject}/note"}
    response: {records: .note, owner: .email, fields: [text]}
  note.change:
    title: Change my note
    personal: true
    risk: write
    timeout: 1s
    args: {type: object, required: [text], properties: {text: {type: string}}}
    request: {method: PUT, path: "/people/{pinned.subject}/note", body: "{text: .args.text}"}
    response: {}
`

// A name that leads inside, at once or from one look-up to the next, leads
// nobody there: each question ends in one stable code and one outcome record,
// nothing was sent, and the system inside hears nothing. What is looked up is
// judged as it is dialled, so there is no answer in between to change.
func TestNamesThatChange(t *testing.T) {
	var inside atomic.Int32
	listener := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Add(1) }))
	listener.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			inside.Add(1)
		}
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(listener.URL, "https://"))
	m, err := connectors.ParseManifest("named.yaml", []byte(named))
	if err != nil {
		t.Fatal(err)
	}
	public, here := [4]byte{192, 88, 99, 1}, [4]byte{127, 0, 0, 1}
	for name, addresses := range map[string][][4]byte{
		"this machine":                           {here},
		"a public address, then this machine":    {public, here},
		"this machine, then a public address":    {here, public, here, public, here, public},
		"the metadata service":                   {{169, 254, 169, 254}},
		"a private network, then this machine":   {{10, 0, 0, 1}, here},
		"the unspecified address":                {{0, 0, 0, 0}},
		"a public address, then the unspecified": {public, {0, 0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			b := connectortest.New(t, connectortest.Options{Manifests: []*connectors.Manifest{m},
				Links: []connectortest.Link{{Connection: provider.Connection{ID: "named", Type: provider.None, BaseURL: "https://shop.example:" + port}}}})
			asked := fickle(t, addresses...)
			who := connectortest.Customer{Email: "alex@example.com", Subject: "c-1"}
			for range 2 {
				_, err := b.Do(t, who, "note.show", nil)
				if code := engine.CodeOf(err); code != engine.CodeConnectorFailed && code != engine.CodeConnectorTimeout || b.Last().Code != code {
					t.Errorf("a read: %v, recorded as %q", err, b.Last().Code)
				}
				_, err = b.Do(t, who, "note.change", map[string]any{"text": "x"})
				// A public address that does not answer in time may have been reached.
				unsure := slices.Contains(addresses, public) && engine.CodeOf(err) == engine.CodeOutcomeUnknown
				if code := engine.CodeOf(err); code != engine.CodeConnectorFailed && !unsure || b.Last().Code != code {
					t.Errorf("a write, of which nothing was sent: %v, recorded as %q", err, b.Last().Code)
				}
			}
			if asked.Load() == 0 {
				t.Error("nobody asked for the name")
			}
		})
	}
	if n := inside.Load(); n != 0 {
		t.Errorf("the system inside heard %d connections or requests", n)
	}
}
