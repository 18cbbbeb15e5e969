package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// issuer publishes keys on a loopback address and counts who asks.
type issuer struct {
	*httptest.Server
	fetches atomic.Int64
	mu      sync.Mutex
	answer  http.HandlerFunc
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.fetches.Add(1)
		i.mu.Lock()
		answer := i.answer
		i.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) answers(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = h
}

// publishes makes the issuer answer with the signers' public keys and any
// further members of the set's list.
func (i *issuer) publishes(t *testing.T, signers []signer, further ...string) {
	t.Helper()
	var keys []string
	for _, s := range signers {
		keys = append(keys, publicJWK(t, s))
	}
	body := `{"keys":[` + strings.Join(append(keys, further...), ",") + `]}`
	i.answers(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) })
}

func (i *issuer) breaks() {
	i.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
}

// publicJWK writes the public key of an ES256 signer.
func publicJWK(t *testing.T, s signer) string {
	t.Helper()
	point, err := s.private.(*ecdsa.PrivateKey).PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]string{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": s.kid, "x": b64(string(point[1:33])), "y": b64(string(point[33:])),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func newES256(t *testing.T, kid string) signer {
	return signer{kid, ES256, newECDSA(t, elliptic.P256())}
}

// published returns a verifier of the issuer's keys, and the keys.
func published(t *testing.T, i *issuer) (*Verifier, *JWKS) {
	t.Helper()
	j, err := NewJWKS(JWKSConfig{URL: i.URL})
	if err != nil {
		t.Fatal(err)
	}
	cfg := shop()
	cfg.Published = j
	return newVerifier(t, cfg), j
}

// long returns the claims of a token that lives a day from noon.
func long(t testing.TB, s signer) string {
	return s.mint(t, alex(map[string]any{"exp": noon.Unix() + 86340}))
}

func TestJWKSURLRefused(t *testing.T) {
	for _, url := range []string{
		"", "/jwks.json", "shop.example/jwks.json", "http://shop.example/jwks.json", "http://127.0.0.1.shop.example/", "http://localhost.shop.example/",
		"http://10.0.0.1/jwks.json", "http://0.0.0.0/jwks.json", "https://user:pass@shop.example/", "https://shop.example/#keys",
		"file:///etc/passwd", "ftp://127.0.0.1/jwks.json", "https://",
	} {
		if j, err := NewJWKS(JWKSConfig{URL: url}); err == nil || j != nil {
			t.Errorf("NewJWKS took %q", url)
		}
	}
	for _, url := range []string{"https://shop.example/jwks.json", "http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost:1/"} {
		if _, err := NewJWKS(JWKSConfig{URL: url}); err != nil {
			t.Errorf("NewJWKS(%q): %v", url, err)
		}
	}
	if _, err := NewJWKS(JWKSConfig{URL: "https://shop.example/", CoolDown: -1}); err == nil {
		t.Error("NewJWKS took a negative duration")
	}
	if _, err := NewJWKS(JWKSConfig{URL: "https://shop.example/", MaxStale: time.Minute}); err == nil {
		t.Error("NewJWKS took a set that goes stale before it is refreshed")
	}
}

func TestJWKSRotation(t *testing.T) {
	i := newIssuer(t)
	old, next := newES256(t, "old"), newES256(t, "next")
	i.publishes(t, []signer{old})
	v, _ := published(t, i)
	if r := v.Verify(t.Context(), long(t, old), noon); r.State != Verified {
		t.Fatalf("the first key: %s, cause %q", r.State, r.Cause)
	}
	// The issuer rotates. A token of the new key makes us look, once the
	// cool-down is over; the old key, which is gone, stops at the same moment
	// though its token was remembered.
	i.publishes(t, []signer{next})
	refused(t, v.Verify(t.Context(), long(t, next), noon.Add(time.Second)), CauseUnknownKid)
	later := noon.Add(16 * time.Second)
	if r := v.Verify(t.Context(), long(t, next), later); r.State != Verified {
		t.Fatalf("the second key: %s, cause %q", r.State, r.Cause)
	}
	refused(t, v.Verify(t.Context(), long(t, old), later), CauseUnknownKid)
	if n := i.fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

// TestJWKSWithdrawal: a key that is withdrawn without another taking its place
// stops by the next refresh, tokens in use included.
func TestJWKSWithdrawal(t *testing.T) {
	i := newIssuer(t)
	old, other := newES256(t, "old"), newES256(t, "other")
	i.publishes(t, []signer{old, other})
	v, j := published(t, i)
	token := long(t, old)
	if r := v.Verify(t.Context(), token, noon); r.State != Verified {
		t.Fatalf("%s, cause %q", r.State, r.Cause)
	}
	i.publishes(t, []signer{other})
	due := noon.Add(10 * time.Minute)
	v.Verify(t.Context(), token, due) // begins the refresh behind the request
	if err := j.Refresh(t.Context(), due); err != nil {
		t.Fatal(err)
	}
	refused(t, v.Verify(t.Context(), token, due.Add(time.Second)), CauseUnknownKid)
}

// TestJWKSFlood: unknown kids, however many and however concurrent, cost the
// issuer one fetch per cool-down.
func TestJWKSFlood(t *testing.T) {
	i := newIssuer(t)
	s := newES256(t, "k1")
	i.publishes(t, []signer{s})
	v, _ := published(t, i)
	if r := v.Verify(t.Context(), long(t, s), noon); r.State != Verified {
		t.Fatal(r.Cause)
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for m := range 20 {
				stranger := signer{strings.Repeat("x", n*20+m+1), s.alg, s.private}
				v.Verify(t.Context(), long(t, stranger), noon.Add(20*time.Second))
			}
		})
	}
	wg.Wait()
	if n := i.fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want the first and one more", n)
	}
}

func TestJWKSOutage(t *testing.T) {
	i := newIssuer(t)
	s := newES256(t, "k1")
	i.breaks()
	v, j := published(t, i)
	refused(t, v.Verify(t.Context(), long(t, s), noon), CauseKeysUnavailable)
	if j.Status().Err == nil {
		t.Error("the status does not say that the fetch failed")
	}
	i.publishes(t, []signer{s})
	refused(t, v.Verify(t.Context(), long(t, s), noon.Add(time.Second)), CauseKeysUnavailable) // the cool-down
	up := noon.Add(15 * time.Second)
	if r := v.Verify(t.Context(), long(t, s), up); r.State != Verified {
		t.Fatalf("once the issuer is up: %s, cause %q", r.State, r.Cause)
	}
	if st := j.Status(); st.Err != nil || st.Keys != 1 || !st.Fetched.Equal(up) {
		t.Errorf("Status = %+v", st)
	}

	// Down again: the last set serves until it is stale, remembered or not.
	i.breaks()
	token := func(now time.Time) string {
		return s.mint(t, alex(map[string]any{"iat": now.Unix() - 60, "exp": now.Unix() + 600}))
	}
	remembered := s.mint(t, alex(map[string]any{"iat": noon.Unix() + 20, "exp": noon.Unix() + 20 + 86400}))
	for _, after := range []time.Duration{time.Minute, 11 * time.Minute, time.Hour, 24*time.Hour - time.Second} {
		now := up.Add(after)
		if r := v.Verify(t.Context(), token(now), now); r.State != Verified {
			t.Errorf("%s into the outage: %s, cause %q", after, r.State, r.Cause)
		}
		if r := v.Verify(t.Context(), remembered, now); r.State != Verified {
			t.Errorf("%s into the outage, remembered: %s, cause %q", after, r.State, r.Cause)
		}
	}
	stale := up.Add(24 * time.Hour)
	refused(t, v.Verify(t.Context(), token(stale), stale), CauseKeysUnavailable)
	refused(t, v.Verify(t.Context(), remembered, stale), CauseKeysUnavailable)
}

func TestJWKSAnswersRefused(t *testing.T) {
	s := newES256(t, "k1")
	good := publicJWK(t, s)
	elsewhere := newIssuer(t)
	elsewhere.publishes(t, []signer{s})
	body := func(b string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(b)) }
	}
	for _, tt := range []struct {
		why    string
		answer http.HandlerFunc
	}{
		{"nothing", body("")},
		{"a page", body("<html>")},
		{"a bare key", body(good)},
		{"a list", body("[" + good + "]")},
		{"no keys", body(`{"keys":[]}`)},
		{"keys null", body(`{"keys":null}`)},
		{"the list twice", body(`{"keys":[],"keys":[` + good + `]}`)},
		{"trailing bytes", body(`{"keys":[` + good + `]}x`)},
		{"a kid twice", body(`{"keys":[` + good + `,` + publicJWK(t, newES256(t, "k1")) + `]}`)},
		{"too many keys", body(`{"keys":[` + strings.Repeat(good+",", 100) + good + `]}`)},
		{"too large", body(`{"keys":[` + good + `],"x":"` + strings.Repeat("x", maxKeySetBytes) + `"}`)},
		{"another status", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			w.Write([]byte(`{"keys":[` + good + `]}`))
		}},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }},
		{"a redirect with the method kept", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusPermanentRedirect)
		}},
	} {
		t.Run(tt.why, func(t *testing.T) {
			i := newIssuer(t)
			i.answers(tt.answer)
			v, j := published(t, i)
			refused(t, v.Verify(t.Context(), long(t, s), noon), CauseKeysUnavailable)
			if st := j.Status(); st.Err == nil || st.Keys != 0 {
				t.Errorf("Status = %+v, want an error and no keys", st)
			}
		})
	}
	if n := elsewhere.fetches.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

// TestJWKSSkips: what a set holds for other purposes does not spoil it.
func TestJWKSSkips(t *testing.T) {
	i := newIssuer(t)
	s, private := newES256(t, "k1"), newES256(t, "leaked")
	i.publishes(t, []signer{s},
		`{"kty":"RSA","kid":"enc","use":"enc","n":"AQAB","e":"AQAB"}`,
		`{"kty":"AKP","kid":"new","alg":"ML-DSA-44"}`,
		strings.Replace(rfcHMAC, "{", `{"kid":"secret",`, 1),
		strings.Replace(publicJWK(t, private), "{", `{"d":"AAAA",`, 1),
	)
	v, j := published(t, i)
	if r := v.Verify(t.Context(), long(t, s), noon); r.State != Verified {
		t.Fatalf("%s, cause %q; %+v", r.State, r.Cause, j.Status())
	}
	if n := len(j.Status().Skipped); n != 4 {
		t.Errorf("%d keys were skipped, want 4: %v", n, j.Status().Skipped)
	}
	// A shared secret that was published is no secret.
	keys, _, err := parsePublished([]byte(`{"keys":[` + publicJWK(t, s) + `,` + rfcHMAC + `]}`))
	if err != nil || len(keys) != 1 || keys[0].Alg() != ES256 {
		t.Errorf("parsePublished = %v, %v, want the ES256 key alone", keys, err)
	}
	refused(t, v.Verify(t.Context(), long(t, private), noon), CauseUnknownKid)
}

// TestJWKSSlow: a request that gives up does not end the fetch, and the fetch
// ends by itself.
func TestJWKSSlow(t *testing.T) {
	i := newIssuer(t)
	s := newES256(t, "k1")
	release := make(chan struct{})
	set := `{"keys":[` + publicJWK(t, s) + `]}`
	i.answers(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.Write([]byte(set))
	})
	v, j := published(t, i)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	refused(t, v.Verify(ctx, long(t, s), noon), CauseKeysUnavailable)
	close(release)
	if err := j.Refresh(t.Context(), noon); err != nil { // joins the fetch under way, or finds it done
		t.Fatal(err)
	}
	if r := v.Verify(t.Context(), long(t, s), noon); r.State != Verified {
		t.Errorf("%s, cause %q", r.State, r.Cause)
	}
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}

	hang := newIssuer(t)
	done := make(chan struct{})
	hang.answers(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-done:
		}
	})
	defer close(done)
	slow, err := NewJWKS(JWKSConfig{URL: hang.URL, Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.Refresh(t.Context(), noon); err == nil {
		t.Error("a fetch that never ends succeeded")
	}
}

// TestConfiguredBesidePublished: a configured key keeps its kid to itself.
func TestConfiguredBesidePublished(t *testing.T) {
	i := newIssuer(t)
	mine, theirs, fresh := newES256(t, "k1"), newES256(t, "k1"), newES256(t, "k2")
	i.publishes(t, []signer{theirs, fresh})
	j, err := NewJWKS(JWKSConfig{URL: i.URL})
	if err != nil {
		t.Fatal(err)
	}
	cfg := shop(mine.key(t))
	cfg.Published = j
	v := newVerifier(t, cfg)
	if r := v.Verify(t.Context(), long(t, mine), noon); r.State != Verified || i.fetches.Load() != 0 {
		t.Errorf("the configured key: %s, cause %q, %d fetches", r.State, r.Cause, i.fetches.Load())
	}
	refused(t, v.Verify(t.Context(), long(t, theirs), noon), CauseSignatureInvalid)
	if r := v.Verify(t.Context(), long(t, fresh), noon); r.State != Verified {
		t.Errorf("the published key: %s, cause %q", r.State, r.Cause)
	}
	refused(t, v.Verify(t.Context(), fresh.sign(t, `{"alg":"ES256"}`, goodClaims(t)), noon), CauseKidMissing)
}

// A key that was withdrawn while nobody came by does not verify, however many
// come by at once.
func TestJWKSWithdrawnWhileQuiet(t *testing.T) {
	i := newIssuer(t)
	old, next := newES256(t, "old"), newES256(t, "next")
	i.publishes(t, []signer{old})
	v, _ := published(t, i)
	if r := v.Verify(t.Context(), long(t, old), noon); r.State != Verified {
		t.Fatalf("%s", r.Cause)
	}
	i.publishes(t, []signer{next})
	later := noon.Add(23 * time.Hour)
	var wg sync.WaitGroup
	for n := range 30 {
		wg.Go(func() {
			token := old.mint(t, alex(map[string]any{"iat": later.Unix() - 10, "exp": later.Unix() + 300, "jti": strconv.Itoa(n)}))
			if r := v.Verify(t.Context(), token, later); r.State != Invalid {
				t.Errorf("a key withdrawn 23 hours ago: %s", r.State)
			}
		})
	}
	wg.Wait()
}

// Beside a configured key a published one is not alone, so a kid is required.
func TestJWKSKidRequiredBesideConfiguredKeys(t *testing.T) {
	i := newIssuer(t)
	pub, own := newES256(t, "pub"), newES256(t, "own")
	i.publishes(t, []signer{pub})
	j, err := NewJWKS(JWKSConfig{URL: i.URL})
	if err != nil {
		t.Fatal(err)
	}
	cfg := shop(own.key(t))
	cfg.Published = j
	v := newVerifier(t, cfg)
	if r := v.Verify(t.Context(), pub.sign(t, `{"alg":"ES256"}`, goodClaims(t)), noon); r.State != Invalid || r.Cause != CauseKidMissing {
		t.Errorf("without a kid: %s %s, want %s", r.State, r.Cause, CauseKidMissing)
	}
	if r := v.Verify(t.Context(), pub.mint(t, alex(nil)), noon); r.State != Verified {
		t.Errorf("with its kid: %s %s", r.State, r.Cause)
	}
}

// Two keys of one name are both left out, and the others serve.
func TestJWKSDuplicateKids(t *testing.T) {
	i := newIssuer(t)
	good, a, b := newES256(t, "good"), newES256(t, "same"), newES256(t, "same")
	i.publishes(t, []signer{good, a, b})
	v, j := published(t, i)
	if r := v.Verify(t.Context(), long(t, good), noon); r.State != Verified || len(j.Status().Skipped) != 2 {
		t.Errorf("%s %s, skipped %v", r.State, r.Cause, j.Status().Skipped)
	}
	if r := v.Verify(t.Context(), long(t, a), noon); r.State != Invalid {
		t.Errorf("a key of an ambiguous name: %s", r.State)
	}
}
