package audit

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"vouchsafe/engine"
)

// A file of keys that is older than an erasure does not bring back what was
// erased, and whoever came back since keeps their new key.
func TestErasedIsErasedAlsoInOlderKeys(t *testing.T) {
	ctx := context.Background()
	l, dir := openLog(t)
	people := filepath.Join(filepath.Dir(dir), "people.db")
	copied := func() []byte { return must(os.ReadFile(people)) }
	reopen := func() {
		t.Helper()
		l.Close()
		var err error
		if l, err = Open(dir, Options{Master: master}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	readable := func(id string, want bool) {
		t.Helper()
		if e := must(l.Show(id)); (e.Decision.Unreadable == "") != want {
			t.Errorf("decision %s: unreadable %q, want readable %v", id, e.Decision.Unreadable, want)
		}
	}
	first := record(t, l, "shop", "order.list", "u1", began, engine.Reason{Code: "x"})
	other := record(t, l, "shop", "order.list", "u2", began, engine.Reason{Code: "x"})
	reopen()
	before := copied()
	var between []byte // the process ends after the act and before the keys
	if _, err := l.Erase(ctx, "shop", "socket", Person{Subject: "u1"}, func(context.Context, *Whom) (int, error) {
		between = copied()
		return 0, nil
	}); err != nil {
		t.Fatal(err)
	}
	back := record(t, l, "shop", "order.list", "u1", began, engine.Reason{Code: "x"})
	for range 2 {
		reopen()
		readable(first, false)
		readable(back, true)
		readable(other, true)
	}
	for _, file := range [][]byte{before, between} {
		l.Close()
		if err := os.WriteFile(people, file, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			reopen()
			readable(first, false)
			readable(other, true)
		}
	}
	// And then as ever.
	again := record(t, l, "shop", "order.list", "u1", began, engine.Reason{Code: "x"})
	reopen()
	readable(again, true)
	if got, err := l.Erase(ctx, "shop", "socket", Person{Subject: "u1"}, nil); err != nil || got.Keys != 1 {
		t.Errorf("Erase: %+v, %v", got, err)
	}
	reopen()
	readable(again, false)
}
