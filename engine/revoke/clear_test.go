package revoke

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/store"
)

// An entry that was renewed after it was found to have lapsed is not cleared
// away from the disk.
func TestARenewedEntryIsNotClearedAway(t *testing.T) {
	db, err := store.Open(filepath.Join(t.TempDir(), "state.db"), "state", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	l, err := Open(db, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Token(context.Background(), "demo", "t-1"); err != nil {
		t.Fatal(err)
	}
	k := key{"demo", "", "t-1"}
	clear := func() {
		t.Helper()
		if err := db.Commit(context.Background(), func(tx *bbolt.Tx) error {
			return l.clear(tx.Bucket(bucket).Bucket([]byte("demo")), k)
		}); err != nil {
			t.Fatal(err)
		}
	}
	onDisk := func() int {
		t.Helper()
		again, err := Open(db, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return len(again.entries)
	}
	clear()
	if n := onDisk(); n != 1 {
		t.Errorf("%d entries on disk, want the one that holds", n)
	}
	now = now.Add(life + time.Second)
	clear()
	if n := onDisk(); n != 0 {
		t.Errorf("%d entries on disk, want none", n)
	}
}
