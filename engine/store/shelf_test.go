package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func TestShelfEntriesLapse(t *testing.T) {
	db := open(t, Options{})
	shelf := NewShelf("things")
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	put := func(key, value string, life time.Duration) {
		t.Helper()
		if err := db.Commit(context.Background(), func(tx *bbolt.Tx) error {
			return shelf.Put(tx, key, []byte(value), now.Add(life), now)
		}); err != nil {
			t.Fatal(err)
		}
	}
	get := func(key string) string {
		var out string
		db.View(func(tx *bbolt.Tx) error {
			v, _ := shelf.Get(tx, key, now)
			out = string(v)
			return nil
		})
		return out
	}
	count := func() (n int) {
		db.View(func(tx *bbolt.Tx) error {
			n = tx.Bucket(shelf.entries).Stats().KeyN
			if m := tx.Bucket(shelf.expiries).Stats().KeyN; m != n {
				t.Errorf("%d entries and %d expiries", n, m)
			}
			return nil
		})
		return n
	}
	if get("a") != "" {
		t.Error("an empty shelf holds a")
	}
	put("a", "1", time.Minute)
	put("a", "2", time.Hour) // replaces value and expiry
	put("b", "3", time.Minute)
	if get("a") != "2" || get("b") != "3" {
		t.Errorf("a=%q b=%q, want 2 and 3", get("a"), get("b"))
	}
	now = now.Add(time.Minute)
	if get("a") != "2" || get("b") != "" {
		t.Errorf("at b's expiry: a=%q b=%q, want 2 and nothing", get("a"), get("b"))
	}
	for i := range 20 {
		put(fmt.Sprint("c", i), "x", time.Second)
	}
	if n := count(); n != 21 { // b was swept
		t.Errorf("%d entries, want 21", n)
	}
	now = now.Add(time.Minute)
	for i := range 4 {
		put(fmt.Sprint("d", i), "x", time.Hour)
	}
	if n := count(); n != 5 {
		t.Errorf("%d entries after sweeping, want 5", n)
	}
	if err := db.Commit(context.Background(), func(tx *bbolt.Tx) error { return shelf.Delete(tx, "a") }); err != nil {
		t.Fatal(err)
	}
	if get("a") != "" || count() != 4 {
		t.Errorf("after Delete: a=%q, %d entries", get("a"), count())
	}
}
