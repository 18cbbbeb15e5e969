package limit

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/store"
)

var (
	ctx   = context.Background()
	start = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
)

func open(t *testing.T, path string) *store.DB {
	t.Helper()
	db, err := store.Open(path, "state", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func most(n int, window time.Duration) engine.Obligation {
	return engine.Obligation{Kind: engine.ObligationLimit, N: n, Window: window}
}

// use is one at some time after the start.
func use(after time.Duration, limits ...engine.Obligation) gate.Use {
	return gate.Use{Site: "demo", Action: "order.list", Subject: "u-alex", Limits: limits, At: start.Add(after)}
}

// take counts a use and returns how long it must wait, 0 for a use that was
// counted.
func take(t *testing.T, c *Counter, u gate.Use) time.Duration {
	t.Helper()
	before, err := c.Next(u)
	if err != nil {
		t.Fatal(err)
	}
	at, err := c.Take(ctx, u)
	if err != nil {
		t.Fatal(err)
	}
	if !before.Equal(at) {
		t.Errorf("Next said %s, Take %s", before, at)
	}
	return at.Sub(u.At)
}

func TestUsesSurviveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := open(t, path)
	l := most(2, time.Hour)
	c := New(db)
	for i := range 2 {
		if wait := take(t, c, use(time.Duration(i)*time.Minute, l)); wait != 0 {
			t.Fatalf("use %d waits %s", i, wait)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if wait := take(t, New(open(t, path)), use(2*time.Minute, l)); wait != 58*time.Minute {
		t.Errorf("after a restart a third use waits %s, want 58m", wait)
	}
}

// No period of the window's length holds more than n uses, wherever it begins.
func TestNoPeriodHoldsMore(t *testing.T) {
	c := New(open(t, filepath.Join(t.TempDir(), "state.db")))
	const n, window = 3, 10 * time.Minute
	var taken []time.Duration
	for at := time.Duration(0); at < time.Hour; at += 37 * time.Second {
		if take(t, c, use(at, most(n, window))) == 0 {
			taken = append(taken, at)
		}
	}
	if len(taken) < 15 {
		t.Errorf("%d uses in an hour; more were free", len(taken))
	}
	for i := range taken {
		inside := 0
		for _, other := range taken[i:] {
			if other < taken[i]+window {
				inside++
			}
		}
		if inside > n {
			t.Errorf("%d uses within 10m of %s", inside, taken[i])
		}
	}
}

func TestEveryLimitHolds(t *testing.T) {
	c := New(open(t, filepath.Join(t.TempDir(), "state.db")))
	minute, day := most(1, time.Minute), most(2, 24*time.Hour)
	for _, s := range []struct{ at, wait time.Duration }{
		{0, 0}, {30 * time.Second, 30 * time.Second}, {time.Minute, 0},
		{2 * time.Minute, 24*time.Hour - 2*time.Minute}, {24 * time.Hour, 0},
	} {
		if wait := take(t, c, use(s.at, minute, day)); wait != s.wait {
			t.Errorf("at %s it waits %s, want %s", s.at, wait, s.wait)
		}
	}
}

// Another policy with a shorter window does not make a longer one forget.
func TestAShorterWindowForgetsNothing(t *testing.T) {
	c := New(open(t, filepath.Join(t.TempDir(), "state.db")))
	take(t, c, use(0, most(2, 24*time.Hour)))
	take(t, c, use(2*time.Hour, most(5, time.Minute)))
	if wait := take(t, c, use(3*time.Hour, most(2, 24*time.Hour))); wait != 21*time.Hour {
		t.Errorf("it waits %s, want 21h", wait)
	}
}

func TestAClockTurnedBackForgetsNothing(t *testing.T) {
	c := New(open(t, filepath.Join(t.TempDir(), "state.db")))
	take(t, c, use(time.Hour, most(1, time.Minute)))
	if wait := take(t, c, use(0, most(1, time.Minute))); wait != time.Hour+time.Minute {
		t.Errorf("it waits %s, want 1h1m", wait)
	}
}

func TestEachVisitorHasTheirOwn(t *testing.T) {
	c := New(open(t, filepath.Join(t.TempDir(), "state.db")))
	l := most(1, time.Hour)
	one := use(0, l)
	take(t, c, one)
	for name, change := range map[string]func(*gate.Use){
		"site":    func(u *gate.Use) { u.Site = "other" },
		"action":  func(u *gate.Use) { u.Action = "order.lookup" },
		"subject": func(u *gate.Use) { u.Subject = "u-jordan" },
		"parts":   func(u *gate.Use) { u.Action, u.Subject = "order.listu", "-alex" },
	} {
		u := one
		change(&u)
		if wait := take(t, c, u); wait != 0 {
			t.Errorf("another %s waits %s", name, wait)
		}
	}
}

func TestGiveBack(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "state.db"))
	c := New(db)
	l := most(2, time.Hour)
	first, second := use(0, l), use(time.Minute, l)
	take(t, c, first)
	take(t, c, second)
	if err := c.GiveBack(ctx, second); err != nil {
		t.Fatal(err)
	}
	if wait := take(t, c, use(2*time.Minute, l)); wait != 0 {
		t.Errorf("what was given back is not free: %s", wait)
	}
	if err := c.GiveBack(ctx, second); err != nil { // it was not counted any more
		t.Fatal(err)
	}
	if wait := take(t, c, use(3*time.Minute, l)); wait != 57*time.Minute {
		t.Errorf("giving back twice freed another's: it waits %s, want 57m", wait)
	}
	for _, u := range []gate.Use{first, use(2*time.Minute, l)} {
		if err := c.GiveBack(ctx, u); err != nil {
			t.Fatal(err)
		}
	}
	_ = db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket([]byte("limits")); b.Stats().KeyN != 0 {
			t.Errorf("%d entries are left of nothing", b.Stats().KeyN)
		}
		return nil
	})
}

// What no limit looks back on any more is not kept.
func TestUsesAreDropped(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "state.db"))
	c := New(db)
	for i := range 50 {
		take(t, c, use(time.Duration(i)*time.Minute, most(20, 5*time.Minute)))
	}
	_ = db.View(func(tx *bbolt.Tx) error {
		s, err := c.read(tx, use(50*time.Minute))
		if err != nil || len(s.Uses) > 5 || !slices.IsSorted(s.Uses) {
			t.Errorf("%d uses are kept of 5 minutes, %v", len(s.Uses), err)
		}
		return nil
	})
	_ = db.View(func(tx *bbolt.Tx) error {
		if s, err := c.read(tx, use(time.Hour)); err != nil || len(s.Uses) != 0 {
			t.Errorf("%d uses are kept after their window, %v", len(s.Uses), err)
		}
		return nil
	})
}
