// Package store opens bbolt files and makes every write durable by group commit.
//
// Many callers wait in Commit; one writer runs all that are waiting in a single
// bbolt transaction and answers them after its fsync. A caller that got nil
// back has its change on disk. A caller that got an error is not to count on
// it: where the very last sync failed, it may be there all the same.
package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"vouchsafe/engine"
)

// FormatVersion is the version of the files this package writes. A file of
// another version is refused.
const FormatVersion = "1"

var (
	metaBucket = []byte("meta")
	versionKey = []byte("version")
	kindKey    = []byte("kind")
	probeKey   = []byte("probe")
)

// Errors of Commit and View. Each is the cause of an *engine.Error with the
// code audit_unavailable.
var (
	ErrClosed = errors.New("the store is closed")
	ErrBusy   = errors.New("too many writes are waiting")
	ErrBroken = errors.New("the file cannot be written")
)

// ErrHeld is the error of opening a file that another process has open to write.
var ErrHeld = errors.New("another process holds it")

// errLost stops a file for good: a write that was acknowledged is not in it.
var errLost = errors.New("acknowledged writes are missing")

// Options tune a DB. Zero values are useful.
type Options struct {
	Queue    int           // writes that may wait; 4096 when 0
	Batch    int           // writes in one transaction at most; 512 when 0
	Retry    time.Duration // how often a broken file is tried again; 500 ms when 0
	ReadOnly bool          // for offline readers: Commit refuses
	Map      int           // bytes of address space to take at once; bbolt's choice when 0
	// Existing refuses to make a file, or to take an empty one for a new one.
	Existing bool
	// OpenFile opens the file; os.OpenFile when nil.
	OpenFile func(name string, flag int, mode os.FileMode) (*os.File, error)
}

// DB is one bbolt file.
type DB struct {
	path string
	kind string
	opts Options

	group *Group[work] // nil when read-only

	mu     sync.RWMutex // guards bolt against reopening
	bolt   *bbolt.DB
	broken error // why the last write failed; nil when healthy
	acked  int   // the newest transaction that was acknowledged, or found in the file
}

// Open opens or makes the file at path. kind names what the file holds; a file
// of another kind or version is refused.
func Open(path, kind string, o Options) (*DB, error) {
	db := &DB{path: path, kind: kind, opts: o.withDefaults()}
	if !o.ReadOnly {
		// A copy that Rewrite had not put in place when the process ended.
		if err := os.RemoveAll(path + ".new"); err != nil {
			return nil, fmt.Errorf("clearing away half a copy of %s: %w", filepath.Base(path), err)
		}
	}
	b, err := OpenFile(path, kind, db.opts)
	if err != nil {
		return nil, err
	}
	db.bolt = b
	if !o.ReadOnly {
		if db.acked, err = newest(b); err != nil {
			b.Close()
			return nil, fmt.Errorf("opening %s: %w", filepath.Base(path), err)
		}
		db.group = NewGroup(db.opts, db.write, db.retry)
	}
	return db, nil
}

func (o Options) withDefaults() Options {
	if o.Queue == 0 {
		o.Queue = 4096
	}
	if o.Batch == 0 {
		o.Batch = 512
	}
	if o.Retry == 0 {
		o.Retry = 500 * time.Millisecond
	}
	return o
}

// OpenFile opens or makes a bbolt file and checks what it is: for those who
// write it in transactions of their own.
func OpenFile(path, kind string, o Options) (*bbolt.DB, error) {
	if !o.ReadOnly {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("making the data folder: %w", err)
		}
	}
	info, err := os.Stat(path)
	made := errors.Is(err, os.ErrNotExist)
	switch {
	case err != nil && (!made || o.ReadOnly || o.Existing):
		return nil, err
	case o.Existing && info.Size() == 0:
		return nil, fmt.Errorf("%s is empty", filepath.Base(path))
	}
	if err := private(path); err != nil {
		return nil, err
	}
	if !made && !o.ReadOnly {
		if err := Refresh(path); err != nil {
			return nil, fmt.Errorf("reading %s from the disk: %w", filepath.Base(path), err)
		}
	}
	b, err := openBolt(path, o)
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("opening %s: %w", filepath.Base(path), ErrHeld)
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", filepath.Base(path), err)
	}
	err = checkKind(b, kind, o.ReadOnly || o.Existing)
	if made && err == nil {
		// The file's name, and that of its folder, are to outlive a power loss too.
		err = errors.Join(SyncDir(filepath.Dir(path)), SyncDir(filepath.Dir(filepath.Dir(path))))
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// private refuses a file that others could put in our file's place, and closes
// one that others could read.
func private(path string) error {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if mode := dir.Mode(); mode&0o002 != 0 && mode&os.ModeSticky == 0 {
		return fmt.Errorf("the folder of %s is writable by every user of this machine: chmod o-w", filepath.Base(path))
	}
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", filepath.Base(path))
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			return fmt.Errorf("closing %s to other users: %w", filepath.Base(path), err)
		}
	}
	return nil
}

// openBolt turns bbolt's panics at a damaged file into errors, and lets go of the
// file then: its lock would keep it from ever being opened again.
func openBolt(path string, o Options) (b *bbolt.DB, err error) {
	var file *os.File
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged: %v", p)
			if file != nil {
				// The map that stays holds on to the lock, closed or not.
				err = errors.Join(err, unlock(file), file.Close())
			}
		}
	}()
	given := o.OpenFile
	if given == nil {
		given = os.OpenFile
	}
	open := func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
		if o.Existing {
			flag &^= os.O_CREATE
		}
		file, err = given(name, flag, mode)
		return file, err
	}
	return bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:         time.Second,
		FreelistType:    bbolt.FreelistMapType,
		ReadOnly:        o.ReadOnly,
		OpenFile:        open,
		InitialMmapSize: o.Map,
	})
}

func checkKind(b *bbolt.DB, want string, readOnly bool) error {
	var version, kind string
	err := b.View(func(tx *bbolt.Tx) error {
		if m := tx.Bucket(metaBucket); m != nil {
			version, kind = string(m.Get(versionKey)), string(m.Get(kindKey))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if version == "" && kind == "" && !readOnly {
		return b.Update(func(tx *bbolt.Tx) error {
			m, err := tx.CreateBucketIfNotExists(metaBucket)
			if err != nil {
				return err
			}
			if err := m.Put(versionKey, []byte(FormatVersion)); err != nil {
				return err
			}
			return m.Put(kindKey, []byte(want))
		})
	}
	if version != FormatVersion || kind != want {
		return fmt.Errorf("%s holds %q of version %q, want %q of version %q",
			filepath.Base(b.Path()), kind, version, want, FormatVersion)
	}
	return nil
}

// Commit runs fn in a transaction together with whatever else is waiting, and
// returns once it is on disk. When fn returns an error nothing of it is written
// and the others are not affected; that error is returned as it is. fn may run
// more than once and must not keep bytes of the transaction.
//
// ctx ends only the wait for a place in the queue: a write once queued is
// waited for, so that its caller knows what became of it.
func (db *DB) Commit(ctx context.Context, fn func(tx *bbolt.Tx) error) error {
	if db.group == nil {
		return Unavailable(ErrBroken)
	}
	return db.group.Submit(ctx, work{run: fn})
}

// Unavailable is the refusal of whatever could not be recorded, with its cause.
func Unavailable(cause error) *engine.Error {
	return engine.Errorf(engine.CodeAuditUnavailable,
		"This cannot be recorded at the moment, so nothing was done. Please try again shortly.", cause)
}

// View runs fn in a read transaction.
func (db *DB) View(fn func(tx *bbolt.Tx) error) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.bolt == nil {
		return Unavailable(ErrBroken)
	}
	return db.bolt.View(fn)
}

// Health returns nil when writes succeed, else why the last one failed.
func (db *DB) Health() error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.broken
}

// Waiting returns how many writes wait for the writer.
func (db *DB) Waiting() int {
	if db.group == nil {
		return 0
	}
	return db.group.Waiting()
}

// Path returns where the file is.
func (db *DB) Path() string { return db.path }

// Close refuses new writes, finishes those that wait and closes the file.
func (db *DB) Close() error {
	if db.group != nil {
		db.group.Close()
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.bolt == nil {
		return nil
	}
	err := db.bolt.Close()
	db.bolt = nil
	return err
}

// CopyBuckets copies the keys of one file's buckets into another's for which
// keep is true. Buckets within buckets are copied whole.
func CopyBuckets(from, to *bbolt.Tx, keep func(bucket, key, value []byte) bool) error {
	return from.ForEach(func(name []byte, b *bbolt.Bucket) error {
		out, err := to.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
		return copyBucket(b, out, func(k, v []byte) bool { return keep(name, k, v) })
	})
}

func copyBucket(from, to *bbolt.Bucket, keep func(key, value []byte) bool) error {
	to.FillPercent = 1 // the keys come in order
	return from.ForEach(func(k, v []byte) error {
		if v != nil {
			if !keep(k, v) {
				return nil
			}
			return to.Put(k, v)
		}
		within, err := to.CreateBucketIfNotExists(k)
		if err != nil {
			return err
		}
		return copyBucket(from.Bucket(k), within, func(_, _ []byte) bool { return true })
	})
}
