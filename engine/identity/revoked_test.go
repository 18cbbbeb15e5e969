package identity

import (
	"testing"
	"time"
)

// TestRevokedAtOnce: a token that was verified and remembered is refused the
// next time it is shown, and a Visitor made of it before is not Live any more.
func TestRevokedAtOnce(t *testing.T) {
	s := signer{"k1", HS256, newSecret(32)}
	v := newVerifier(t, shop(s.key(t)))
	revoked := map[string]bool{}
	v.Heed(func(who Visitor) bool { return revoked[who.TokenID()] })
	token, other := s.mint(t, alex(map[string]any{"jti": "one"})), s.mint(t, alex(map[string]any{"jti": "two"}))
	before := v.Verify(t.Context(), token, noon)
	if before.State != Verified || !v.remembers(token) || !before.Visitor.Live(noon) {
		t.Fatalf("before: %+v, remembered %t", before, v.remembers(token))
	}

	revoked["one"] = true
	if before.Visitor.Live(noon) || !before.Visitor.Revoked() {
		t.Error("a Visitor made before its revocation is still Live")
	}
	past := noon.Add(48 * time.Hour)
	for name, at := range map[string]time.Time{"remembered": noon, "expired": past} {
		r := v.Verify(t.Context(), token, at)
		if r.State != Revoked || r.Cause != CauseRevoked || r.Visitor != (Visitor{}) || r.Expired != (ExpiredClaims{}) {
			t.Errorf("%s: %+v, want revoked, and no Visitor", name, r)
		}
		if r.Revoked.Subject() != before.Visitor.Subject() || r.Revoked.Live(at) {
			t.Errorf("%s: it names %q, live %t", name, r.Revoked.Subject(), r.Revoked.Live(at))
		}
	}
	v.Flush()
	if r := v.Verify(t.Context(), token, noon); r.State != Revoked {
		t.Errorf("verified anew: %+v, want revoked", r)
	}
	if r := v.Verify(t.Context(), other, noon); r.State != Verified || !r.Visitor.Live(noon) {
		t.Errorf("another token of the same subject: %+v", r)
	}
	if r := v.Verify(t.Context(), token+"x", noon); r.State != Invalid {
		t.Errorf("a forged copy of a revoked token is %s, want invalid", r.State)
	}
}

// TestAskingForRevocationsAllocatesNothing: asking costs no memory on the way of every
// request.
func TestAskingForRevocationsAllocatesNothing(t *testing.T) {
	s := signer{"k1", HS256, newSecret(32)}
	v := newVerifier(t, shop(s.key(t)))
	token := s.mint(t, alex(nil))
	verify := func() { v.Verify(t.Context(), token, noon) }
	verify()
	unasked := testing.AllocsPerRun(100, verify)
	v.Heed(func(who Visitor) bool { return who.TokenID() == "another" })
	if asked := testing.AllocsPerRun(100, verify); asked > unasked {
		t.Errorf("a repeated token takes %v allocations, and %v without asking", asked, unasked)
	}
}
