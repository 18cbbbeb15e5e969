// Package store opens bbolt files and makes every write durable by group commit.
//
// Many callers wait in Commit; one writer runs all that are waiting in a single
// bbolt transaction and answers them after its fsync. A caller that got nil
// back has its change on disk. A caller that got an error has not, unless the
// error is ErrInDoubt.
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

// Options tune a DB. Zero values are useful.
type Options struct {
	Queue    int           // writes that may wait; 4096 when 0
	Batch    int           // writes in one transaction at most; 512 when 0
	Retry    time.Duration // how often a broken file is tried again; 500 ms when 0
	ReadOnly bool          // for offline readers: Commit refuses
	// OpenFile opens the file; os.OpenFile when nil.
	OpenFile func(name string, flag int, mode os.FileMode) (*os.File, error)
}

// DB is one bbolt file.
type DB struct {
	path string
	kind string
	opts Options

	ops     chan *op
	done    chan struct{} // closed when the writer has stopped
	closing chan struct{}
	once    sync.Once

	mu     sync.RWMutex // guards bolt against reopening
	bolt   *bbolt.DB
	broken error // why the last write failed; nil when healthy
}

type op struct {
	fn   func(tx *bbolt.Tx) error
	done chan error
}

// Open opens or makes the file at path. kind names what the file holds; a file
// of another kind or version is refused.
func Open(path, kind string, o Options) (*DB, error) {
	if o.Queue == 0 {
		o.Queue = 4096
	}
	if o.Batch == 0 {
		o.Batch = 512
	}
	if o.Retry == 0 {
		o.Retry = 500 * time.Millisecond
	}
	db := &DB{path: path, kind: kind, opts: o,
		ops: make(chan *op, o.Queue), done: make(chan struct{}), closing: make(chan struct{})}
	b, err := db.openFile()
	if err != nil {
		return nil, err
	}
	db.bolt = b
	if o.ReadOnly {
		close(db.done)
	} else {
		go db.write()
	}
	return db, nil
}

// openFile opens the bbolt file and checks what it is.
func (db *DB) openFile() (*bbolt.DB, error) {
	if !db.opts.ReadOnly {
		if err := os.MkdirAll(filepath.Dir(db.path), 0o700); err != nil {
			return nil, fmt.Errorf("making the data folder: %w", err)
		}
	} else if _, err := os.Stat(db.path); err != nil {
		return nil, err
	}
	if err := private(db.path); err != nil {
		return nil, err
	}
	b, err := bbolt.Open(db.path, 0o600, &bbolt.Options{
		Timeout:      time.Second,
		FreelistType: bbolt.FreelistMapType,
		ReadOnly:     db.opts.ReadOnly,
		OpenFile:     db.opts.OpenFile,
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("opening %s: another process holds it", filepath.Base(db.path))
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", filepath.Base(db.path), err)
	}
	if err := db.checkKind(b); err != nil {
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

func (db *DB) checkKind(b *bbolt.DB) error {
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
	if version == "" && kind == "" && !db.opts.ReadOnly {
		return b.Update(func(tx *bbolt.Tx) error {
			m, err := tx.CreateBucketIfNotExists(metaBucket)
			if err != nil {
				return err
			}
			if err := m.Put(versionKey, []byte(FormatVersion)); err != nil {
				return err
			}
			return m.Put(kindKey, []byte(db.kind))
		})
	}
	if version != FormatVersion || kind != db.kind {
		return fmt.Errorf("%s holds %q of version %q, want %q of version %q",
			filepath.Base(db.path), kind, version, db.kind, FormatVersion)
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
	if db.opts.ReadOnly {
		return unavailable(ErrBroken)
	}
	o := &op{fn: fn, done: make(chan error, 1)}
	select {
	case <-db.closing:
		return unavailable(ErrClosed)
	case <-ctx.Done():
		return unavailable(ctx.Err())
	default:
	}
	select {
	case db.ops <- o:
	default:
		e := unavailable(ErrBusy)
		e.RetryAfter = time.Second
		return e
	}
	select {
	case err := <-o.done:
		return err
	case <-db.done:
		// The writer may have answered just before it stopped.
		select {
		case err := <-o.done:
			return err
		default:
			return unavailable(ErrClosed)
		}
	}
}

func unavailable(cause error) *engine.Error {
	return engine.Errorf(engine.CodeAuditUnavailable,
		"This cannot be recorded at the moment, so nothing was done. Please try again shortly.", cause)
}

// View runs fn in a read transaction.
func (db *DB) View(fn func(tx *bbolt.Tx) error) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.bolt == nil {
		return unavailable(ErrBroken)
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
func (db *DB) Waiting() int { return len(db.ops) }

// Path returns where the file is.
func (db *DB) Path() string { return db.path }

// Close refuses new writes, finishes those that wait and closes the file.
func (db *DB) Close() error {
	db.once.Do(func() { close(db.closing) })
	<-db.done
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.bolt == nil {
		return nil
	}
	err := db.bolt.Close()
	db.bolt = nil
	return err
}
