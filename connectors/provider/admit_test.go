package provider

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"vouchsafe/engine/voucher"
)

// lines are what a call looks like on the wire.
const idLines = "Provider-Config-Key: demo\r\nConnection-Id: shop\r\n"

// A call without a voucher for exactly this call is refused, whatever key it
// shows: before the connection is looked at, so that nothing is decrypted, and
// before anything is sent.
func TestCallsNeedAVoucher(t *testing.T) {
	r := start(t)
	up, n := upstream(t, func(http.ResponseWriter, *http.Request) {})
	r.add(t, conn("shop", up.URL), NewAPIKey(planted))
	audience := r.audience(t)
	good := voucher.Call{Site: "demo", Connection: "shop", Method: "POST", Target: "/orders/1001/cancel?notify=1",
		Headers: map[string]string{"Idempotency-Key": "pa_1"}, Body: []byte(`{"a":1}`)}
	sign := func(s *voucher.Signer, audience string, at time.Time, change func(*voucher.Call)) string {
		c := good
		change(&c)
		signed, err := s.Sign(audience, "d_1", c, at)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	asIs := func(*voucher.Call) {}
	now := time.Now()
	call := func(signed string) string {
		header := ""
		if signed != "" {
			header = headerVoucher + ": " + signed + "\r\n"
		}
		return r.raw(t, "POST /proxy/orders/1001/cancel?notify=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+keyIn(t, ProxyKeyFile(r.Dir))+"\r\n"+
			header+idLines+"Nango-Proxy-Idempotency-Key: pa_1\r\nContent-Length: 7\r\n\r\n"+`{"a":1}`)
	}
	used := sign(r.signer, audience, now, asIs)
	for _, tt := range []struct{ name, signed, code string }{
		{"none", "", CodeVoucherMissing},
		{"rubbish", "abc", CodeVoucherInvalid},
		{"another key's", sign(newSigner(), audience, now, asIs), CodeVoucherUnknownKey},
		{"expired", sign(r.signer, audience, now.Add(-voucher.Life-time.Second), asIs), CodeVoucherExpired},
		{"of a time to come", sign(r.signer, audience, now.Add(time.Minute), asIs), CodeVoucherExpired},
		{"for another run", sign(r.signer, "", now, asIs), CodeVoucherAudience},
		{"for another site", sign(r.signer, audience, now, func(c *voucher.Call) { c.Site = "free" }), CodeVoucherMismatch},
		{"for another connection", sign(r.signer, audience, now, func(c *voucher.Call) { c.Connection = "desk" }), CodeVoucherMismatch},
		{"for another method", sign(r.signer, audience, now, func(c *voucher.Call) { c.Method = "DELETE" }), CodeVoucherMismatch},
		{"for another path", sign(r.signer, audience, now, func(c *voucher.Call) { c.Target = "/orders/1002/cancel?notify=1" }), CodeVoucherMismatch},
		{"for another query", sign(r.signer, audience, now, func(c *voucher.Call) { c.Target = "/orders/1001/cancel" }), CodeVoucherMismatch},
		{"for another body", sign(r.signer, audience, now, func(c *voucher.Call) { c.Body = []byte(`{"a":2}`) }), CodeVoucherMismatch},
		{"for another idempotency key", sign(r.signer, audience, now, func(c *voucher.Call) { c.Headers = map[string]string{"Idempotency-Key": "pa_2"} }), CodeVoucherMismatch},
		{"for no headers", sign(r.signer, audience, now, func(c *voucher.Call) { c.Headers = nil }), CodeVoucherMismatch},
		{"good", used, ""},
		{"used", used, CodeVoucherUsed},
	} {
		before := n.Load()
		got := call(tt.signed)
		if tt.code == "" {
			if !strings.HasPrefix(got, "200\n") || n.Load() != before+1 {
				t.Errorf("%s: %.200q, and %d calls", tt.name, got, n.Load()-before)
			}
			continue
		}
		if !strings.HasPrefix(got, "403\n") || !strings.Contains(got, headerError+": "+tt.code+"\r\n") {
			t.Errorf("%s: %.300q, want 403 %s", tt.name, got, tt.code)
		}
		// A used voucher's call may well have been sent: then.
		if sent := !strings.Contains(got, headerNotSent+": true"); sent != (tt.code == CodeVoucherUsed) {
			t.Errorf("%s: the answer says wrongly whether it was sent: %.300q", tt.name, got)
		}
		if n.Load() != before {
			t.Fatalf("%s: the outside system was called", tt.name)
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{used, planted} {
		if strings.Contains(r.log.String(), secret) {
			t.Error("the log holds a voucher or a credential")
		}
	}
	if !strings.Contains(r.log.String(), `"decision":"d_1"`) {
		t.Error("the log does not say which decision a call was of")
	}
}

// Refusals come before the credential is opened: one that cannot be opened
// makes no difference to them.
func TestRefusedBeforeAnythingIsDecrypted(t *testing.T) {
	r := start(t)
	up, n := upstream(t, func(http.ResponseWriter, *http.Request) {})
	c := conn("shop", up.URL)
	c.Allow = rules(t, "GET /orders/{id}")
	r.add(t, c, NewAPIKey(planted))
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	s, err := OpenStore(r.Dir, r.Key, false)
	if err != nil {
		t.Fatal(err)
	}
	spoil := func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketConnections)
		raw := string(b.Get(recordKey("demo", "shop")))
		return b.Put(recordKey("demo", "shop"), []byte(strings.Replace(raw, `"value":"A`, `"value":"B`, 1)))
	}
	if err := errors.Join(s.db.Commit(t.Context(), spoil), s.Close()); err != nil {
		t.Fatal(err)
	}
	r.again(t)
	for path, want := range map[string]string{
		"/orders/1001":        CodeUnknownConnection, // allowed, and so it was to be opened
		"/orders/1001/cancel": CodeCallNotAllowed,
		"/customers":          CodeCallNotAllowed,
	} {
		got := r.proxy(t, "GET /proxy"+path, idLines, "")
		if !strings.Contains(got, headerError+": "+want+"\r\n") {
			t.Errorf("%s: %.200q, want %s", path, got, want)
		}
	}
	if n.Load() != 0 {
		t.Error("the outside system was called")
	}
}

// What was used before a restart cannot be used after it, though nothing of it
// was written down; and a gate finds out by itself.
func TestVouchersDoNotOutliveARun(t *testing.T) {
	r := start(t)
	up, n := upstream(t, func(http.ResponseWriter, *http.Request) {})
	r.add(t, conn("shop", up.URL), NewAPIKey(planted))
	gate := r.gate(t)
	once := Call{Site: "demo", Connection: "shop", Method: "POST", Path: "/x"}
	if _, err := gate.Do(context.Background(), once); err != nil {
		t.Fatal(err)
	}
	signed, err := r.signer.Sign(r.audience(t), "d_1", voucher.Call{Site: "demo", Connection: "shop", Method: "GET", Target: "/y"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	replay := func() string {
		return r.raw(t, "GET /proxy/y HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+keyIn(t, ProxyKeyFile(r.Dir))+"\r\n"+headerVoucher+": "+signed+"\r\n"+idLines+"\r\n")
	}
	if got := replay(); !strings.HasPrefix(got, "200\n") {
		t.Fatalf("first use: %.200q", got)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.again(t)
	if got := replay(); !strings.Contains(got, headerError+": "+CodeVoucherAudience+"\r\n") {
		t.Errorf("used again after a restart: %.200q, want %s", got, CodeVoucherAudience)
	}
	before := n.Load()
	if _, err := gate.Do(context.Background(), once); err != nil || n.Load() != before+1 {
		t.Errorf("the gate's next call: %v, sent %d times", err, n.Load()-before)
	}
}

func TestAVoucherIsUsedOnceAtATime(t *testing.T) {
	now := time.Now()
	a := newAdmission(nil, func() time.Time { return now })
	var fresh atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if ok, _ := a.use("one"); ok {
				fresh.Add(1)
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 1 {
		t.Errorf("used %d times at once", fresh.Load())
	}
	// It is remembered for as long as it could be good, and not for ever.
	for past := time.Duration(0); past < span; past += span / 4 {
		if ok, _ := a.use("one"); ok {
			t.Fatalf("used again after %v", past)
		}
		now = now.Add(span / 4)
	}
	for range 3 {
		now = now.Add(span)
		a.use("another" + now.String())
	}
	if len(a.used[0])+len(a.used[1]) > 2 {
		t.Errorf("remembers %d vouchers that are long over", len(a.used[0])+len(a.used[1]))
	}
	for i := range maxUsed + 1 {
		if _, room := a.use("n" + time.Duration(i).String()); !room {
			return
		}
	}
	t.Error("remembers any number of vouchers")
}

// The gate's key is replaced while both serve: the next key is taken once it
// stands in the file, the old one no more once it does not.
func TestPermitKeysChangeWhileServing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "permit.keys")
	old, next := newSigner(), newSigner()
	log := &lockedBuffer{}
	k, err := newKeyring("", file, newTestLog(log))
	if err != nil || k.count() != 0 {
		t.Fatalf("without a file: %d keys, %v", k.count(), err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		k.looked = time.Time{} // it is time to look again
	}
	holds := func(why string, s *voucher.Signer, want error) {
		t.Helper()
		signed, err := s.Sign("run", "d_1", voucher.Call{}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.now().Verify(signed, time.Now()); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", why, err, want)
		}
	}
	holds("no file", old, voucher.ErrUnknownKey)
	write(old.Public() + " the gate's\n")
	holds("the first key", old, nil)
	holds("a key that is not there yet", next, voucher.ErrUnknownKey)
	write(old.Public() + "\n" + next.Public() + "\n")
	holds("the first of two", old, nil)
	holds("the second of two", next, nil)
	write("what is no key\n")
	holds("the file is spoilt, and what was known stays", old, nil)
	if !strings.Contains(log.String(), "cannot be read again") {
		t.Errorf("nobody is told: %s", log)
	}
	write(next.Public() + "\n")
	holds("the key that was retired", old, voucher.ErrUnknownKey)
	holds("the key that stayed", next, nil)
}

// Whoever has answered once in the provider's place, by whatever name, does not
// keep the gate from finding the real one.
func TestAPassingImpostor(t *testing.T) {
	real := voucher.NewReader()
	signer := newSigner()
	keys, err := voucher.ParseKeys(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	for title, name := range map[string]string{
		"no name":              "",
		"no key":               "impostor",
		"a key of low order":   base64.RawURLEncoding.EncodeToString(make([]byte, 32)),
		"another such key":     base64.RawURLEncoding.EncodeToString(append([]byte{1}, make([]byte, 31)...)),
		"a key of their own":   voucher.NewReader().Audience(),
		"much more than a key": strings.Repeat("A", 4096),
	} {
		var there atomic.Value
		there.Store(name)
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if there.Load() == real.Audience() {
				if _, err := real.Verify(keys, r.Header.Get(headerVoucher), time.Now()); err == nil {
					return
				}
			}
			w.Header().Set(headerAudience, there.Load().(string))
			refuse(w, http.StatusForbidden, &Error{Code: CodeVoucherAudience, NotSent: true}, "")
		}))
		key := filepath.Join(t.TempDir(), "proxy.key")
		if err := os.WriteFile(key, []byte("vpx_0123456789012345678901234567"), 0o600); err != nil {
			t.Fatal(err)
		}
		client, err := NewClient(srv.URL, key)
		if err != nil {
			t.Fatal(err)
		}
		call := Call{Site: "demo", Connection: "shop", Method: "GET", Path: "/x"}
		gate := gateClient{client, signer, time.Now}
		if _, err := gate.Do(context.Background(), call); err == nil {
			t.Errorf("%s: the impostor answered", title)
		}
		there.Store(real.Audience())
		if _, err := gate.Do(context.Background(), call); err != nil {
			t.Errorf("%s: the real provider is there, and the gate says %v", title, err)
		}
		srv.Close()
	}
}

func TestClientSendsNothingWithoutAGrant(t *testing.T) {
	r := start(t)
	for name, g := range map[string]Voucher{"none": nil, "one that cannot": cannot{}} {
		_, err := r.gate(t).Client.Do(context.Background(), Call{Site: "demo", Connection: "shop", Method: "POST", Path: "/x", Grant: g})
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeVoucherMissing || !e.NotSent {
			t.Errorf("%s: %v, want %s", name, err, CodeVoucherMissing)
		}
	}
}

type cannot struct{}

func (cannot) Vouch(string, voucher.Call) (string, error) { return "", errors.New("no") }
