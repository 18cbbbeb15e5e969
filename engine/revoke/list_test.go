package revoke_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/engine"
	"vouchsafe/engine/enginetest"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/revoke"
	"vouchsafe/engine/store"
)

// visitor is made of a token as the site signs it: issued `ago` before now.
func visitor(t testing.TB, w *enginetest.World, site string, p enginetest.Person, id string, ago time.Duration) identity.Visitor {
	t.Helper()
	r := w.Verify(site, w.Token(t, site, p, func(c jwt.MapClaims) {
		iat := w.Clock.Now().Add(-ago)
		c["iat"], c["exp"] = iat.Unix(), iat.Add(10*time.Minute).Unix()
		if delete(c, "jti"); id != "" {
			c["jti"] = id
		}
	}))
	if r.State != identity.Verified {
		t.Fatalf("the token is %s: %s", r.State, r.Cause)
	}
	return r.Visitor
}

func open(t testing.TB, w *enginetest.World) *revoke.List {
	t.Helper()
	l, err := revoke.Open(w.State, w.Clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestWhatIsRevoked(t *testing.T) {
	ctx := context.Background()
	w := enginetest.New(t, enginetest.Options{})
	alex, jordan := enginetest.Alex, enginetest.Jordan
	old := visitor(t, w, "demo", alex, "t-old", time.Minute)
	bare := visitor(t, w, "demo", alex, "", time.Minute)
	before := visitor(t, w, "demo", alex, "t-before", 2*time.Minute)
	same := visitor(t, w, "demo", alex, "t-same", 0)
	elsewhere := visitor(t, w, "free", alex, "t-old", time.Minute)
	other := visitor(t, w, "demo", jordan, "t-old", time.Minute)
	for _, c := range []struct {
		name    string
		revoke  func(*revoke.List) error
		refused []identity.Visitor
		stays   []identity.Visitor
	}{
		{"nothing", func(*revoke.List) error { return nil }, nil, []identity.Visitor{old, bare, other, {}}},
		{"a subject", func(l *revoke.List) error { _, err := l.Subject(ctx, "demo", alex.Subject); return err },
			[]identity.Visitor{old, bare, before, same}, []identity.Visitor{elsewhere, other, {}}},
		{"a token id", func(l *revoke.List) error { _, err := l.Token(ctx, "demo", "t-old"); return err },
			[]identity.Visitor{old, other}, []identity.Visitor{bare, before, same, elsewhere, {}}},
		{"a sign-out", func(l *revoke.List) error { return l.SignOut(ctx, old) },
			[]identity.Visitor{old}, []identity.Visitor{bare, before, same, elsewhere, other}},
		{"a sign-out with a token that has no id", func(l *revoke.List) error { return l.SignOut(ctx, bare) },
			[]identity.Visitor{bare, old, before}, []identity.Visitor{same, elsewhere, other}},
		{"a subject of another site", func(l *revoke.List) error { _, err := l.Subject(ctx, "free", alex.Subject); return err },
			[]identity.Visitor{elsewhere}, []identity.Visitor{old, bare, same, other}},
		{"what nobody has", func(l *revoke.List) error { _, err := l.Token(ctx, "demo", alex.Subject); return err },
			nil, []identity.Visitor{old, bare, same, other}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, err := store.Open(filepath.Join(t.TempDir(), "state.db"), "state", store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			l, err := revoke.Open(db, w.Clock.Now)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.revoke(l); err != nil {
				t.Fatal(err)
			}
			again, err := revoke.Open(db, w.Clock.Now) // as after a restart
			if err != nil {
				t.Fatal(err)
			}
			for when, list := range map[string]*revoke.List{"at once": l, "after a restart": again} {
				for i, v := range c.refused {
					if !list.Revoked(v) {
						t.Errorf("%s: refused[%d] (%s of %s) is believed", when, i, v.TokenID(), v.Subject())
					}
				}
				for i, v := range c.stays {
					if list.Revoked(v) {
						t.Errorf("%s: stays[%d] (%s of %s) is refused", when, i, v.TokenID(), v.Subject())
					}
				}
			}
		})
	}
}

// A person whose sign-in was revoked signs in again, and a second revocation
// holds for that one too.
func TestRevokedSubjectsSignInAgain(t *testing.T) {
	ctx := context.Background()
	w := enginetest.New(t, enginetest.Options{})
	l := open(t, w)
	first := visitor(t, w, "demo", enginetest.Alex, "t-1", 0)
	if _, err := l.Subject(ctx, "demo", enginetest.Alex.Subject); err != nil {
		t.Fatal(err)
	}
	w.Clock.Add(time.Second)
	second := visitor(t, w, "demo", enginetest.Alex, "t-2", 0)
	if !l.Revoked(first) || l.Revoked(second) {
		t.Fatalf("before %t, after %t; want the first refused and the second believed", l.Revoked(first), l.Revoked(second))
	}
	if _, err := l.Subject(ctx, "demo", enginetest.Alex.Subject); err != nil {
		t.Fatal(err)
	}
	// An earlier sign-out takes nothing of it back.
	if err := l.SignOut(ctx, visitor(t, w, "demo", enginetest.Alex, "", time.Minute)); err != nil {
		t.Fatal(err)
	}
	if !l.Revoked(first) || !l.Revoked(second) {
		t.Error("a second revocation does not hold for both")
	}
}

func TestEntriesLapseAndAreClearedAway(t *testing.T) {
	ctx := context.Background()
	w := enginetest.New(t, enginetest.Options{})
	l := open(t, w)
	v := visitor(t, w, "demo", enginetest.Alex, "t-1", 0)
	token, err := l.Token(ctx, "demo", "t-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Subject(ctx, "demo", "u-else"); err != nil {
		t.Fatal(err)
	}
	if err := l.SignOut(ctx, visitor(t, w, "demo", enginetest.Jordan, "t-3", 0)); err != nil {
		t.Fatal(err)
	}
	if got := token.Until.Sub(token.At); got != 24*time.Hour+5*time.Minute {
		t.Errorf("an entry holds for %s", got)
	}
	w.Clock.Add(24 * time.Hour)
	if n := len(l.Of("demo")); n != 2 || !l.Revoked(v) {
		t.Errorf("after a day %d entries hold, want the two of the operator", n)
	}
	w.Clock.Add(5 * time.Minute)
	if n := len(l.Of("demo")); n != 0 || l.Revoked(v) {
		t.Errorf("after a day and the skew %d entries hold, want none", n)
	}
	if _, err := l.Token(ctx, "demo", "t-9"); err != nil {
		t.Fatal(err)
	}
	w.Clock.Add(-24 * time.Hour) // what is gone is gone, also from the disk
	if n := len(open(t, w).Of("demo")); n != 1 {
		t.Errorf("%d entries are on disk after clearing away, want 1", n)
	}
}

// What no token can hold revokes nothing, so it is refused rather than taken.
func TestNamesNoTokenHolds(t *testing.T) {
	ctx := context.Background()
	w := enginetest.New(t, enginetest.Options{})
	l := open(t, w)
	for _, name := range []string{"", strings.Repeat("x", 256), "a\x00b", "a\nb", "\xff"} {
		if _, err := l.Subject(ctx, "demo", name); engine.CodeOf(err) != engine.CodeInvalidArguments {
			t.Errorf("Subject(%q): %v", name, err)
		}
		if _, err := l.Token(ctx, "demo", name); engine.CodeOf(err) != engine.CodeInvalidArguments {
			t.Errorf("Token(%q): %v", name, err)
		}
	}
	if n := len(l.Of("demo")); n != 0 {
		t.Errorf("%d entries", n)
	}
}

// What could not be written is not said to be revoked.
func TestWithoutADisk(t *testing.T) {
	w := enginetest.New(t, enginetest.Options{})
	l := open(t, w)
	w.State.Close()
	if _, err := l.Subject(context.Background(), "demo", "u-alex"); engine.CodeOf(err) != engine.CodeAuditUnavailable {
		t.Errorf("revoking without a disk: %v", err)
	}
}

func BenchmarkRevoked(b *testing.B) {
	w := enginetest.New(b, enginetest.Options{})
	v := visitor(b, w, "demo", enginetest.Alex, "t-1", 0)
	for _, n := range []int{0, 1000} {
		l := open(b, w)
		for i := range n {
			if _, err := l.Token(context.Background(), "demo", fmt.Sprint(i, "x")); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if l.Revoked(v) {
					b.Fatal("revoked")
				}
			}
		})
	}
}
