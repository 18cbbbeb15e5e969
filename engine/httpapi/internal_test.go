package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine/store"
)

func TestBearer(t *testing.T) {
	for _, c := range []struct {
		values       []string
		token, cause string
	}{
		{nil, "", ""},
		{[]string{"Bearer abc.def-_~+/=="}, "abc.def-_~+/==", ""},
		{[]string{"bEARER abc"}, "abc", ""},
		{[]string{"Bearer   abc"}, "abc", ""},
		{[]string{""}, "", causeHeaderMalformed},
		{[]string{"Bearer"}, "", causeHeaderMalformed},
		{[]string{"Bearer "}, "", causeHeaderMalformed},
		{[]string{"Bearer =="}, "", causeHeaderMalformed},
		{[]string{"Bearer\tabc"}, "", causeHeaderMalformed},
		{[]string{"Bearerabc"}, "", causeHeaderMalformed},
		{[]string{"Bearer a b"}, "", causeHeaderMalformed},
		{[]string{"Bearer a,b"}, "", causeHeaderMalformed},
		{[]string{"Bearer a=b"}, "", causeHeaderMalformed},
		{[]string{"Bearer é"}, "", causeHeaderMalformed},
		{[]string{"Basic abc"}, "", causeHeaderMalformed},
		{[]string{" Bearer abc"}, "", causeHeaderMalformed},
		{[]string{"Bearer abc", "Bearer abc"}, "", causeHeaderRepeated},
		{[]string{"", "Bearer abc"}, "", causeHeaderRepeated},
	} {
		if token, cause := bearer(c.values); token != c.token || cause != c.cause {
			t.Errorf("bearer(%q) = %q, %q, want %q, %q", c.values, token, cause, c.token, c.cause)
		}
	}
}

// read decodes one object of any members.
func read(body string) (map[string]any, error) {
	x := &exchange{in: []byte(body)}
	out := map[string]any{}
	err := x.decode(func(d *document, name string) (err error) {
		out[name], err = d.value()
		return err
	})
	return out, err
}

func TestNumbersKeepTheirText(t *testing.T) {
	got, err := read(`{"a":1,"b":-0.10,"c":1e3,"d":12345678901234567890,"e":[true,null,{"f":"\u00e9"}]}`)
	want := map[string]any{"a": json.Number("1"), "b": json.Number("-0.10"), "c": json.Number("1e3"),
		"d": json.Number("12345678901234567890"), "e": []any{true, nil, map[string]any{"f": "é"}}}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

// FuzzDecode holds the decoder to encoding/json: what it takes, that takes too,
// and means the same by it.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":{"b":[1,2.5e3,"x\u0000"]}}`, `{"a":1,"a":2}`, `{"a":1}x`, `{"a":"\ud83d\ude00"}`, `[`, `{"a":1e400}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := read(body)
		if err != nil {
			if p := problemOf(err); p.code != codeMalformedJSON {
				t.Errorf("read(%q) = %v, want %s", body, err, codeMalformedJSON)
			}
			return
		}
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		var want map[string]any
		if err := d.Decode(&want); err != nil {
			t.Fatalf("read(%q) is taken, and encoding/json says %v", body, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("read(%q) (-want +got):\n%s", body, diff)
		}
	})
}

func TestParseRate(t *testing.T) {
	for s, want := range map[string]Rate{
		"120/m": {Count: 120, Per: time.Minute}, "5/s": {Count: 5, Per: time.Second}, "1/h": {Count: 1, Per: time.Hour}, "off": {Off: true},
	} {
		if got, err := ParseRate(s); err != nil || got != want {
			t.Errorf("ParseRate(%q) = %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "120", "0/m", "-1/m", "/m", "1/d", "1.5/m", "OFF", "120/m ", "9999999999999999999/m", "2000000000/s"} {
		if got, err := ParseRate(s); err == nil {
			t.Errorf("ParseRate(%q) = %+v, want an error", s, got)
		}
	}
}

func TestLimiterForgetsTheLeastRecentCaller(t *testing.T) {
	l, err := newLimiter(Rate{Count: 1, Per: time.Hour}, Rate{}, 8, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	l.take("first")
	if _, limited := l.take("first"); !limited {
		t.Error("a second request is not limited")
	}
	for i := range 8 {
		l.take(strconv.Itoa(i))
	}
	if _, limited := l.take("first"); limited {
		t.Error("more callers are remembered than there is room for")
	}
	if _, limited := l.take("7"); !limited {
		t.Error("a recent caller was forgotten")
	}
	for _, bad := range []Rate{{Count: -1, Per: time.Second}, {Count: 1}, {Per: time.Second}} {
		if _, err := newLimiter(bad, Rate{}, 8, time.Now); err == nil {
			t.Errorf("newLimiter(%+v) is taken", bad)
		}
	}
}

func TestAddressKey(t *testing.T) {
	key := func(remote string) string { return addressKey(nil, &http.Request{RemoteAddr: remote}) }
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"[2001:db8::1]:1", "[2001:db8::2]:1", true},
		{"[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", true},
		{"@", "192.0.2.1:1", false},
	} {
		if got := key(c.a) == key(c.b); got != c.same {
			t.Errorf("%s and %s count as one: %v, want %v", c.a, c.b, got, c.same)
		}
	}
}

func TestWantsEvents(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "application/json": false, "*/*": false, "text/event-stream": true, "Text/Event-Stream": true,
		"application/json, text/event-stream;q=0.5": true, "text/event-stream;q=0": false, "text/event-stream; q=0": false,
	} {
		if got := wantsEvents([]string{accept}); got != want {
			t.Errorf("wantsEvents(%q) = %v, want %v", accept, got, want)
		}
	}
}

func TestEveryCodeIsDescribed(t *testing.T) {
	var doc struct {
		Components struct {
			Responses map[string]struct {
				Description string
				Content     map[string]struct {
					Schema struct {
						AllOf []struct {
							Properties struct{ Status struct{ Const int } }
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal(OpenAPI, &doc); err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for name, r := range doc.Components.Responses {
		status := r.Content["application/problem+json"].Schema.AllOf[1].Properties.Status.Const
		_, codes, _ := strings.Cut(r.Description, "Codes: ")
		for code := range strings.SplitSeq(strings.TrimSuffix(codes, "."), ", ") {
			code = strings.Trim(code, "`")
			described[code] = true
			if got := statusOf(code); got != status {
				t.Errorf("%s describes %s as %d, and it is %d", name, code, status, got)
			}
		}
	}
	for code := range statuses {
		if !described[code] {
			t.Errorf("%s is not described", code)
		}
	}
}

func openState(t *testing.T, path string) *store.DB {
	t.Helper()
	db, err := store.Open(path, "state", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestAKeyThatWasRunningWhenTheProcessEndedIsNotRunAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	ctx, request := context.Background(), sha256.Sum256([]byte("cancel 1001"))
	db := openState(t, path)
	if before, err := newKeyring(db, clock).begin(ctx, "k", request); before != nil || err != nil {
		t.Fatalf("begin = %+v, %v, want a fresh key", before, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	k := newKeyring(openState(t, path), clock)
	if before, err := k.begin(ctx, "k", request); err != nil || before == nil || before.Done {
		t.Errorf("begin after a restart = %+v, %v, want a key whose act is not known", before, err)
	}
	if _, err := k.begin(ctx, "k", sha256.Sum256([]byte("cancel 1002"))); problemOf(err).code != codeMismatch {
		t.Errorf("begin of another request = %v, want %s", err, codeMismatch)
	}
	now = now.Add(keyLife)
	if before, err := k.begin(ctx, "k", request); before != nil || err != nil {
		t.Errorf("begin a day later = %+v, %v, want a fresh key", before, err)
	}
}

func TestKeptResponsesAreBounded(t *testing.T) {
	k := newKeyring(nil, time.Now)
	for i := range 100 {
		k.keep(response{id: fmt.Sprint(i), body: make([]byte, maxResponses/10)})
		k.keep(response{id: fmt.Sprint(i), body: make([]byte, maxResponses/10)}) // the same again takes no more
	}
	if k.size > maxResponses || len(k.kept) != 10 || k.recent.Len() != 10 {
		t.Errorf("%d responses of %d bytes are kept, in a list of %d", len(k.kept), k.size, k.recent.Len())
	}
	if _, ok := k.response("0"); ok {
		t.Error("the oldest response is kept")
	}
	if _, ok := k.response("99"); !ok {
		t.Error("the newest response is not kept")
	}
	k.keep(response{id: "huge", body: make([]byte, maxResponses+1)})
	if k.size != 0 || len(k.kept) != 0 {
		t.Errorf("after one beyond the bound, %d bytes are kept", k.size)
	}
}

func TestStringsAreEscaped(t *testing.T) {
	for _, s := range []string{"", "plain", "quote\" back\\slash", "line\nbreak\x00", "</script>&", "ünï \u2028", "\xff", "\x7f"} {
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("appendString(%q) reads back as %q, %v", s, got, err)
		}
		if bytes.ContainsAny(appendString(nil, s), "<>&\n\x00") {
			t.Errorf("appendString(%q) = %s", s, appendString(nil, s))
		}
	}
}

func TestPolicyCodesAreUnbounded(t *testing.T) {
	for code, want := range map[string]int{
		"identity_absent": 401, "identity_too_long_lived": 401, "identity_of_our_own": 401,
		"target_mismatch": 403, "made_up_by_a_policy": 403, "wall": 403, "policy_error": 403, "": 403,
	} {
		if got := statusOf(code); got != want {
			t.Errorf("statusOf(%q) = %d, want %d", code, got, want)
		}
	}
}

// Once somebody is erased, no response is repeated from memory.
func TestForgottenResponsesAreNotRepeated(t *testing.T) {
	s := &Server{keys: newKeyring(nil, time.Now)}
	for _, id := range []string{"ik_1", "ik_2"} {
		s.keys.keep(response{id: id, body: []byte("personal")})
	}
	if _, ok := s.keys.response("ik_1"); !ok {
		t.Fatal("a response is not kept")
	}
	s.ForgetResponses()
	for _, id := range []string{"ik_1", "ik_2"} {
		if _, ok := s.keys.response(id); ok {
			t.Errorf("the response of %s is still there", id)
		}
	}
	if s.keys.size != 0 || s.keys.recent.Len() != 0 {
		t.Errorf("%d bytes of %d responses are kept", s.keys.size, s.keys.recent.Len())
	}
}
