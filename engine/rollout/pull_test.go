package rollout_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/engine/policy/bundle"
	"vouchsafe/engine/rollout"
	"vouchsafe/policies"
)

var (
	signing   = bundle.SigningKey{ID: "k1", Algorithm: "HS256", Material: []byte("4f7a1c93e06b58d2af310c7e95d8b264")}
	verifying = bundle.Key{ID: "k1", Algorithm: "HS256", Material: signing.Material}
)

// server serves bundles as OPA's bundle API has it, or whatever a test wants.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	packed   []byte
	instead  http.HandlerFunc // nil for a bundle server as it should be
	whole    int              // answers with a bundle
	same     int              // answers that nothing changed
	asked    []http.Header
	finished chan struct{} // closed at the end, for handlers that wait
}

func newServer(t *testing.T) *server {
	s := &server{finished: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() { close(s.finished); s.Close() })
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	instead, packed := s.instead, s.packed
	s.asked = append(s.asked, r.Header.Clone())
	s.mu.Unlock()
	if instead != nil {
		instead(w, r)
		return
	}
	etag := fmt.Sprintf(`"%x"`, sha256.Sum256(packed))
	w.Header().Set("ETag", etag)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Header.Get("If-None-Match") == etag {
		s.same++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	s.whole++
	w.Header().Set("Content-Type", "application/gzip")
	w.Write(packed)
}

func (s *server) serve(packed []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.packed, s.instead = packed, nil
}

func (s *server) answer(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = h
}

func (s *server) counts() (whole, same int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whole, s.same
}

func pulling(t *testing.T, s *server, change func(*rollout.PullConfig)) *rollout.Pull {
	t.Helper()
	cfg := rollout.PullConfig{URL: s.URL + "/bundles/vouchsafe.tar.gz?sig=quarrel", Keys: []bundle.Key{verifying}, Schemas: policies.FS}
	if change != nil {
		change(&cfg)
	}
	return must(rollout.NewPull(cfg))
}

func signed(f bundle.Folder, label string) []byte { return must(bundle.Write(f, signing, label)) }

func tarred(name string, body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(body))}); err != nil {
		panic(err)
	}
	must(w.Write(body))
	w.Close()
	z.Close()
	return b.Bytes()
}

// A bundle is fetched once, and asked after from then on.
func TestABundleIsPulled(t *testing.T) {
	s := newServer(t)
	s.serve(signed(with(nil), "release-1"))
	d := newDesk(t, nil)
	d.options.Source = pulling(t, s, func(c *rollout.PullConfig) {
		c.Token = func() ([]byte, error) { return []byte("let-me-in"), nil }
	})
	d.mustStart()
	d.inForce(with(nil), "at the start")
	if st := d.Status(); st.Label != "release-1" || st.KeyID != "k1" || strings.Contains(st.Source, "quarrel") || !strings.Contains(st.Source, s.URL) {
		t.Errorf("status %+v", st)
	}
	for range 3 {
		d.Refresh(t.Context())
	}
	if whole, same := s.counts(); whole != 1 || same != 3 {
		t.Errorf("%d bundles and %d times nothing new, want 1 and 3", whole, same)
	}
	s.serve(signed(good("tea"), "release-2"))
	d.Refresh(t.Context())
	d.inForce(good("tea"), "after a new bundle")
	for _, h := range s.asked {
		if h.Get("Authorization") != "Bearer let-me-in" || h.Get("Prefer") != "modes=snapshot" {
			t.Errorf("asked with %v", h)
		}
	}
	list := must(d.History())
	if len(list) != 2 || list[0].Label != "release-2" || list[0].KeyID != "k1" {
		t.Errorf("history %+v", list)
	}
	// The same policy in another bundle is the same policy.
	d.told()
	s.serve(signed(good("tea"), "release-3"))
	d.Refresh(t.Context())
	if kinds, _ := d.told(); len(kinds) > 0 {
		t.Errorf("on record: %q", kinds)
	}
}

// Whatever a server answers, the policy in force stays.
func TestWhatServersAnswer(t *testing.T) {
	s := newServer(t)
	s.serve(signed(with(nil), ""))
	d := newDesk(t, nil)
	d.options.Source = pulling(t, s, func(c *rollout.PullConfig) { c.Timeout = 5 * time.Second })
	d.options.MaxStaleness = time.Hour
	d.mustStart()
	other := signing
	other.Material = []byte("another secret of thirty-two byt")
	renamed := signing
	renamed.ID = "k2"
	tea := signed(good("tea"), "")
	write := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Write(b) }
	}
	for _, tt := range []struct {
		name, says string
		refused    bool // the source's word, and not that it could not be asked
		answer     http.HandlerFunc
	}{
		{"a wrong key", "verify", true, write(must(bundle.Write(good("tea"), other, "")))},
		{"a wrong key id", `the key "k2"`, true, write(must(bundle.Write(good("tea"), renamed, "")))},
		{"no signature", "not signed", true, write(tarred("/authz/x.rego", []byte("package authz\n")))},
		{"a delta bundle", "delta bundle", true, write(tarred("/patch.json", []byte(`{"data":[]}`)))},
		{"a way out", "leads elsewhere", true, write(tarred("/../../etc/x.rego", []byte("package x\n")))},
		{"too large a file", "more than any policy", true, write(tarred("/x.rego", make([]byte, 5<<20)))},
		{"too large a bundle", "larger than", true, write(make([]byte, bundle.MaxBytes+1))},
		{"a length too large", "larger than", true, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99999999999")
		}},
		{"nothing", "empty", true, write(nil)},
		{"half of it, as if it were all", "damaged or not whole", true, write(tea[:len(tea)/2])},
		{"half of it", "reading the bundle", false, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(tea)))
			w.Write(tea[:len(tea)/2])
		}},
		{"a web page", "a web page", false, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Write([]byte("<!doctype html><title>Sign in</title>"))
		}},
		{"a web page that says it is a bundle", "looks like a web page", true, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/gzip")
			w.Write([]byte("<!doctype html><title>Sign in</title>"))
		}},
		{"not found", "status 404: is the URL right?", false, http.NotFound},
		{"not allowed", "status 401: does it ask for a token?", false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }},
		{"an error", "status 503", false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }},
		{"a redirect", "redirects", false, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
		{"no answer", "took too long", false, func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-s.finished:
			}
		}},
		{"a drip", "", false, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(tea)))
			w.Write(tea[:10])
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-s.finished:
			}
		}},
		{"a good bundle of a bad policy", "another account", true, write(signed(spoilt("a back door"), ""))},
	} {
		s.answer(tt.answer)
		d.Refresh(t.Context())
		d.inForce(with(nil), tt.name)
		d.wrong(tt.says, tt.name)
		st := d.Status()
		if (st.Refused != nil) != tt.refused || (st.Unreachable != nil) == tt.refused {
			t.Errorf("%s: refused %+v, unreachable %+v", tt.name, st.Refused, st.Unreachable)
		}
		for _, p := range d.Problems() {
			if strings.Contains(p, "quarrel") || strings.Contains(p, string(signing.Material)) {
				t.Errorf("%s: %q holds a secret", tt.name, p)
			}
		}
		s.serve(signed(with(nil), ""))
		d.Refresh(t.Context())
		d.well("put right after " + tt.name)
	}
	s.serve(tea)
	d.Refresh(t.Context())
	d.inForce(good("tea"), "a good one in the end")
}

// That nothing has changed is believed only of what was there.
func TestNothingNewWithoutAnythingOld(t *testing.T) {
	s := newServer(t)
	s.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	d := newDesk(t, nil)
	d.options.Source = pulling(t, s, nil)
	if err := d.start(); err == nil || !strings.Contains(err.Error(), "nothing was there before") {
		t.Fatalf("Start = %v", err)
	}
	s.serve(signed(with(nil), ""))
	d.mustStart()

	// After a bundle that was refused, "nothing new" is no word for the old one.
	d.options.MaxStaleness = time.Hour
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	s.serve(signed(spoilt("no Rego"), ""))
	d.Refresh(t.Context())
	d.clock.add(61 * time.Minute)
	d.Refresh(t.Context())
	if _, same := s.counts(); same == 0 {
		t.Error("the bundle that was refused is fetched again and again")
	}
	if st := d.Status(); !st.Stale || st.Refused == nil {
		t.Errorf("stale %v, refused %+v; want both", st.Stale, st.Refused)
	}
	// The same for one whose signature is wrong.
	other := signing
	other.Material = []byte("another secret of thirty-two byt")
	s.serve(must(bundle.Write(with(nil), other, "")))
	for range 2 {
		d.Refresh(t.Context())
		if st := d.Status(); !st.Stale || st.Refused == nil || st.Refused.Stage != rollout.StageSignature {
			t.Errorf("stale %v, refused %+v; want both", st.Stale, st.Refused)
		}
	}
}

// Failures are spaced out, up to the poll interval and as the server asks.
func TestBackOff(t *testing.T) {
	s := newServer(t)
	p := pulling(t, s, func(c *rollout.PullConfig) { c.Poll = time.Minute })
	between := func(failures int, least, most time.Duration) {
		t.Helper()
		seen := map[time.Duration]bool{}
		for range 50 {
			d := p.Next(failures)
			if d < least || d > most {
				t.Fatalf("Next(%d) = %s, want %s to %s", failures, d, least, most)
			}
			seen[d] = true
		}
		if len(seen) < 2 {
			t.Errorf("Next(%d) is always the same: gates would ask at once", failures)
		}
	}
	between(0, 54*time.Second, 66*time.Second)
	between(1, 500*time.Millisecond, time.Second)
	between(2, time.Second, 2*time.Second)
	between(4, 4*time.Second, 8*time.Second)
	between(7, 30*time.Second, time.Minute)
	between(1000, 30*time.Second, time.Minute)
	s.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "300")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if _, err := p.Fetch(t.Context()); err == nil {
		t.Fatal("503 is no error")
	}
	if d := p.Next(1); d != 5*time.Minute {
		t.Errorf("Next after Retry-After: 300 = %s", d)
	}
}

func TestPullsThatAreNone(t *testing.T) {
	for _, url := range []string{"", "bundle.tar.gz", "http://bundles.example/x", "ftp://127.0.0.1/x", "https://user:pw@bundles.example/x", "https://bundles.example/x#y"} {
		if p, err := rollout.NewPull(rollout.PullConfig{URL: url, Keys: []bundle.Key{verifying}}); err == nil {
			t.Errorf("NewPull(%q) = %v", url, p)
		}
	}
	if _, err := rollout.NewPull(rollout.PullConfig{URL: "https://bundles.example/x"}); err == nil {
		t.Error("NewPull without a key")
	}
}

// A bundle in a file is followed like a folder.
func TestABundleInAFileIsFollowed(t *testing.T) {
	d := newDesk(t, nil)
	file := &rollout.File{Path: d.dir + "/policy.tar.gz", Keys: []bundle.Key{verifying}, Schemas: policies.FS}
	put := func(b []byte) { writeFile(t, file.Path, b) }
	put(signed(with(nil), "v1"))
	d.options.Source = file
	d.mustStart()
	put(signed(good("tea"), "v2"))
	d.Refresh(t.Context())
	d.inForce(good("tea"), "after a change")
	for _, b := range [][]byte{signed(good("coffee"), "v3")[:500], tarred("/authz/x.rego", []byte("package authz\n")), nil, make([]byte, bundle.MaxBytes+1)} {
		put(b)
		d.Refresh(t.Context())
		d.inForce(good("tea"), "after a bad file")
		if st := d.Status(); st.Refused == nil || st.Refused.Stage != rollout.StageSignature {
			t.Errorf("refused %+v", st.Refused)
		}
	}
	put(signed(good("coffee"), "v3"))
	d.Refresh(t.Context())
	d.inForce(good("coffee"), "put right")
	d.well("put right")
}
