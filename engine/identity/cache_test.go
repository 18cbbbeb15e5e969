package identity

import (
	"crypto/elliptic"
	"crypto/sha256"
	"strconv"
	"sync"
	"testing"
	"time"
)

func (v *Verifier) remembers(token string) bool {
	h := tokenHash(sha256.Sum256([]byte(token)))
	return v.live.Load().cache.get(&h) != nil
}

// TestBadTokensAreNotRemembered: a flood of them neither grows the cache nor
// moves a good token out of it.
func TestBadTokensAreNotRemembered(t *testing.T) {
	s, stranger := signer{"k1", HS256, newSecret(32)}, signer{"k1", HS256, newSecret(32)}
	cfg := shop(s.key(t))
	cfg.CacheSize = 16
	v := newVerifier(t, cfg)
	good := s.mint(t, alex(nil))
	v.Verify(t.Context(), good, noon)
	for i := range 1000 {
		id := strconv.Itoa(i)
		bad := []string{
			stranger.mint(t, alex(map[string]any{"jti": id})),
			s.mint(t, alex(map[string]any{"jti": id, "aud": "other"})),
			s.mint(t, alex(map[string]any{"jti": id, "iat": noon.Unix() - 7200, "exp": noon.Unix() - 3600})),
			good + id,
		}
		for _, token := range bad {
			if r := v.Verify(t.Context(), token, noon); r.State == Verified {
				t.Fatal("a bad token verified")
			}
		}
	}
	if n := v.live.Load().cache.len(); n != 1 || !v.remembers(good) {
		t.Errorf("the cache holds %d tokens and the good one: %v; want the good one alone", n, v.remembers(good))
	}
}

func TestCacheIsBounded(t *testing.T) {
	s := signer{"k1", HS256, newSecret(32)}
	cfg := shop(s.key(t))
	cfg.CacheSize = 64
	v := newVerifier(t, cfg)
	busy := s.mint(t, alex(map[string]any{"jti": "busy"}))
	for i := range 2000 {
		v.Verify(t.Context(), busy, noon)
		if r := v.Verify(t.Context(), s.mint(t, alex(map[string]any{"jti": strconv.Itoa(i)})), noon); r.State != Verified {
			t.Fatal(r.Cause)
		}
		if n := v.live.Load().cache.len(); n > 64 {
			t.Fatalf("the cache holds %d tokens, want at most 64", n)
		}
	}
	if !v.remembers(busy) {
		t.Error("the token in use was moved out by tokens used once")
	}
}

func TestSetKeysForgets(t *testing.T) {
	old, next := signer{"k1", HS256, newSecret(32)}, signer{"k1", ES256, newECDSA(t, elliptic.P256())}
	v := newVerifier(t, shop(old.key(t)))
	token := old.mint(t, alex(nil))
	if r := v.Verify(t.Context(), token, noon); r.State != Verified || !v.remembers(token) {
		t.Fatalf("%s, cause %q", r.State, r.Cause)
	}

	// A bad change keeps the old keys and what they verified.
	for why, keys := range map[string][]Key{"none": nil, "the zero key": {{}}, "twins": {old.key(t), next.key(t)}} {
		if err := v.SetKeys(keys); err == nil {
			t.Fatalf("SetKeys took %s", why)
		}
		if r := v.Verify(t.Context(), token, noon); r.State != Verified {
			t.Fatalf("after a refused change: %s, cause %q", r.State, r.Cause)
		}
	}

	if err := v.SetKeys([]Key{next.key(t)}); err != nil {
		t.Fatal(err)
	}
	refused(t, v.Verify(t.Context(), token, noon), CauseAlgMismatch)
	if r := v.Verify(t.Context(), next.mint(t, alex(nil)), noon); r.State != Verified {
		t.Errorf("the new key: %s, cause %q", r.State, r.Cause)
	}
}

func TestFlushForgets(t *testing.T) {
	s := signer{"k1", HS256, newSecret(32)}
	v := newVerifier(t, shop(s.key(t)))
	token := s.mint(t, alex(nil))
	v.Verify(t.Context(), token, noon)
	v.Flush()
	if v.remembers(token) {
		t.Error("the token is still remembered")
	}
	if r := v.Verify(t.Context(), token, noon); r.State != Verified {
		t.Errorf("after Flush: %s, cause %q", r.State, r.Cause)
	}
}

// TestConcurrentUse changes keys while tokens are verified: once SetKeys has
// returned, no token of the old key verifies.
func TestConcurrentUse(t *testing.T) {
	old, next := signer{"old", HS256, newSecret(32)}, signer{"next", HS256, newSecret(32)}
	v := newVerifier(t, shop(old.key(t)))
	tokens := make([]string, 50)
	for i := range tokens {
		tokens[i] = old.mint(t, alex(map[string]any{"jti": strconv.Itoa(i)}))
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				v.Verify(t.Context(), tokens[i%len(tokens)], noon.Add(time.Duration(i%3)*time.Second))
				if i%40 == 0 {
					v.Flush()
				}
			}
		})
	}
	for range 20 {
		if err := v.SetKeys([]Key{next.key(t)}); err != nil {
			t.Error(err)
		}
		for _, token := range tokens {
			if r := v.Verify(t.Context(), token, noon); r.State == Verified {
				t.Error("a token of the old key verified after SetKeys had returned")
			}
		}
		if err := v.SetKeys([]Key{old.key(t)}); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

func BenchmarkVerify(b *testing.B) {
	s := signer{"k1", ES256, newECDSA(b, elliptic.P256())}
	v := newVerifier(b, shop(s.key(b)))
	token := s.mint(b, alex(map[string]any{"jti": "t-1", "email_verified": true, "plan": "gold"}))
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if v.Verify(b.Context(), token, noon).State != Verified {
				b.Fatal("not verified")
			}
		}
	})
	b.Run("ES256", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v.Flush()
			if v.Verify(b.Context(), token, noon).State != Verified {
				b.Fatal("not verified")
			}
		}
	})
	b.Run("SHA-256", func(b *testing.B) { // the floor under remembered
		raw := []byte(token)
		for b.Loop() {
			sha256.Sum256(raw)
		}
	})
}
