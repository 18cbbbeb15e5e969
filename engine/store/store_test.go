package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
)

var testBucket = []byte("test")

func open(t *testing.T, o Options) *DB {
	t.Helper()
	db, err := Open(filepath.Join(t.TempDir(), "s.db"), "test", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func put(db *DB, key string) error {
	return db.Commit(context.Background(), func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(testBucket)
		if err != nil {
			return err
		}
		return b.Put([]byte(key), []byte("v"))
	})
}

func has(t *testing.T, db *DB, key string) bool {
	t.Helper()
	var ok bool
	if err := db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(testBucket)
		ok = b != nil && b.Get([]byte(key)) != nil
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestManyCallersShareCommits(t *testing.T) {
	db := open(t, Options{})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if err := put(db, fmt.Sprint(i)); err != nil {
				t.Errorf("put %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i := range 200 {
		if !has(t, db, fmt.Sprint(i)) {
			t.Errorf("%d was acknowledged and is missing", i)
		}
	}
	var id int
	db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil })
	if id >= 200 {
		t.Errorf("200 writes took %d transactions: they did not share", id)
	}
}

// One caller's failure or panic is its own.
func TestAFailingCallerDoesNotTouchTheOthers(t *testing.T) {
	db := open(t, Options{})
	own := errors.New("mine")
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			switch i % 3 {
			case 0:
				err := db.Commit(context.Background(), func(tx *bbolt.Tx) error {
					b, err := tx.CreateBucketIfNotExists(testBucket)
					if err != nil {
						return err
					}
					b.Put(fmt.Append(nil, "lost", i), []byte("v"))
					return own
				})
				if err != own {
					t.Errorf("failing write %d: %v, want its own error", i, err)
				}
			case 1:
				if err := db.Commit(context.Background(), func(*bbolt.Tx) error { panic("boom") }); err == nil {
					t.Errorf("panicking write %d was acknowledged", i)
				}
			default:
				if err := put(db, fmt.Sprint(i)); err != nil {
					t.Errorf("good write %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	for i := range 60 {
		if i%3 == 0 && has(t, db, fmt.Sprint("lost", i)) {
			t.Errorf("the failed write %d is on disk", i)
		}
		if i%3 == 2 && !has(t, db, fmt.Sprint(i)) {
			t.Errorf("the good write %d is missing", i)
		}
	}
	if err := db.Health(); err != nil {
		t.Errorf("health after callers' failures: %v, want nil", err)
	}
}

// A file that cannot be written refuses, says why, and serves again by itself.
func TestBrokenFileRefusesAndRecovers(t *testing.T) {
	var mu sync.Mutex
	var current *os.File
	readOnly := false
	db := open(t, Options{Retry: 10 * time.Millisecond,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			mu.Lock()
			defer mu.Unlock()
			if readOnly {
				return nil, errors.New("read-only file system")
			}
			f, err := os.OpenFile(name, flag, mode)
			current = f
			return f, err
		}})
	if err := put(db, "before"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	readOnly = true
	current.Close() // every further write to it fails, for real
	mu.Unlock()

	err := put(db, "during")
	if engine.CodeOf(err) != engine.CodeAuditUnavailable || !errors.Is(err, ErrBroken) {
		t.Fatalf("write to a broken file: %v, want audit_unavailable", err)
	}
	if db.Health() == nil {
		t.Error("a broken file calls itself healthy")
	}
	if err := put(db, "still"); err == nil {
		t.Error("a write was acknowledged by a broken file")
	}

	mu.Lock()
	readOnly = false
	mu.Unlock()
	deadline := time.Now().Add(10 * time.Second)
	for db.Health() != nil {
		if time.Now().After(deadline) {
			t.Fatalf("did not recover: %v", db.Health())
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := put(db, "after"); err != nil {
		t.Errorf("write after recovery: %v", err)
	}
	if !has(t, db, "before") || !has(t, db, "after") {
		t.Error("an acknowledged write is missing after recovery")
	}
}

func TestFullQueuePushesBack(t *testing.T) {
	db := open(t, Options{Queue: 1, Batch: 1})
	hold := make(chan struct{})
	started := make(chan struct{})
	go db.Commit(context.Background(), func(*bbolt.Tx) error { close(started); <-hold; return nil })
	<-started
	go put(db, "queued")
	for db.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	err := put(db, "refused")
	e, ok := errors.AsType[*engine.Error](err)
	if !ok || !errors.Is(err, ErrBusy) || e.RetryAfter <= 0 {
		t.Errorf("write to a full queue: %v, want ErrBusy with a RetryAfter", err)
	}
	close(hold)
}

func TestCloseFinishesWhatWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	db, err := Open(path, "test", Options{})
	if err != nil {
		t.Fatal(err)
	}
	hold, started := make(chan struct{}), make(chan struct{})
	go db.Commit(context.Background(), func(*bbolt.Tx) error { close(started); <-hold; return nil })
	<-started
	result := make(chan error, 1)
	go func() { result <- put(db, "waiting") }()
	for db.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	close(hold)
	if err := <-result; err != nil {
		t.Errorf("a write that waited at Close: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := put(db, "late"); !errors.Is(err, ErrClosed) {
		t.Errorf("write after Close: %v, want ErrClosed", err)
	}
	db, err = Open(path, "test", Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if !has(t, db, "waiting") {
		t.Error("an acknowledged write is missing")
	}
	if err := put(db, "x"); err == nil {
		t.Error("a read-only store took a write")
	}
}

func TestRefusesOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	db, err := Open(path, "audit", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, "audit", Options{}); err == nil {
		t.Error("a held file opened twice")
	}
	db.Close()
	if _, err := Open(path, "state", Options{}); err == nil {
		t.Error("a file of another kind opened")
	}
	if err := os.WriteFile(path, []byte("not a database, and long enough to be looked at"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, "audit", Options{}); err == nil {
		t.Error("garbage opened")
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.db"), "audit", Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading a missing file: %v, want not exist", err)
	}
}

// What others could read or replace is closed or refused.
func TestFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s.db")
	db, err := Open(path, "audit", Options{})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(path, "audit", Options{}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("an open file stayed %o", info.Mode().Perm())
	}
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, "audit", Options{}); err == nil {
		t.Error("a symbolic link was followed")
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, "audit", Options{}); err == nil {
		t.Error("a folder that anybody writes was accepted")
	}
}

// A file written anew holds what lives, buckets within buckets included, and
// nothing of what lapsed or was deleted.
func TestTidy(t *testing.T) {
	db := open(t, Options{})
	shelf, now := NewShelf("things"), time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	err := db.Commit(context.Background(), func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(testBucket)
		if err != nil {
			return err
		}
		within, err := b.CreateBucketIfNotExists([]byte("within"))
		if err != nil {
			return err
		}
		return errors.Join(b.Put([]byte("kept"), []byte("value-kept")), b.Put([]byte("gone"), []byte("value-deleted")), within.Put([]byte("deep"), []byte("value-deep")),
			shelf.Put(tx, "alive", []byte("value-alive"), now.Add(time.Minute), now), shelf.Put(tx, "lapsed", []byte("value-lapsed"), now, now))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(context.Background(), func(tx *bbolt.Tx) error { return tx.Bucket(testBucket).Delete([]byte("gone")) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Tidy(context.Background(), now); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(db.Path())
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]bool{"value-kept": true, "value-deep": true, "value-alive": true, "value-deleted": false, "value-lapsed": false} {
		if strings.Contains(string(b), word) != want {
			t.Errorf("the file holds %s: %v, want %v", word, !want, want)
		}
	}
	keys := map[string]bool{}
	db.View(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(testBucket).Bucket([]byte("within")).Get([]byte("deep")); string(v) != "value-deep" {
			t.Errorf("within a bucket: %q", v)
		}
		return shelf.Each(tx, func(key string, _ []byte, until time.Time) error {
			keys[key] = until.Equal(now.Add(time.Minute))
			return nil
		})
	})
	if len(keys) != 1 || !keys["alive"] {
		t.Errorf("on the shelf: %v", keys)
	}
	if err := put(db, "after"); err != nil || !has(t, db, "after") {
		t.Errorf("a write afterwards: %v", err)
	}
}
