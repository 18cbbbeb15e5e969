package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// Rewrite replaces the file by one that holds what copy puts into it, so that
// nothing is left of what it does not: bbolt keeps what was deleted in the free
// pages of its file. Writes wait meanwhile, reads do not. The new file is on
// disk, and in the old one's place, when Rewrite returns nil; on an error the
// old one stays.
//
// The blocks of the old file are the file system's to use again; what a disk
// keeps in them until then is beyond reach from here.
func (db *DB) Rewrite(ctx context.Context, copy func(from, to *bbolt.Tx) error) error {
	if db.group == nil {
		return Unavailable(ErrBroken)
	}
	return db.group.Submit(ctx, work{rewrite: copy})
}

// Tidy writes the file anew without what has lapsed on its shelves, so that
// nothing is left of that, nor of whatever was deleted or replaced.
func (db *DB) Tidy(ctx context.Context, now time.Time) error {
	lapsed := func(stamp []byte) bool {
		return len(stamp) >= stampLen && int64(binary.BigEndian.Uint64(stamp)) <= now.UnixMilli()
	}
	return db.Rewrite(ctx, func(from, to *bbolt.Tx) error {
		return CopyBuckets(from, to, func(bucket, key, value []byte) bool {
			switch {
			case bytes.HasSuffix(bucket, []byte(expiriesSuffix)):
				return !lapsed(key)
			case from.Bucket(append(bytes.Clone(bucket), expiriesSuffix...)) != nil:
				return !lapsed(value)
			}
			return true
		})
	})
}

func (db *DB) rewrite(copy func(from, to *bbolt.Tx) error) error {
	if err := db.Health(); err != nil {
		return Unavailable(fmt.Errorf("%w: %v", ErrBroken, err))
	}
	next := db.path + ".new"
	if err := errors.Join(os.RemoveAll(next), db.copyTo(next, copy)); err != nil {
		os.Remove(next)
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := os.Rename(next, db.path); err != nil {
		os.Remove(next)
		return fmt.Errorf("putting the new file in place: %w", err)
	}
	// From here on the old file is nobody's. What cannot be opened again is
	// broken until it can.
	err := errors.Join(SyncDir(filepath.Dir(db.path)), db.bolt.Close())
	if db.bolt, db.broken = nil, err; err == nil {
		db.bolt, db.broken = OpenFile(db.path, db.kind, db.opts)
	}
	db.acked = 0 // the new file counts its own
	if db.broken == nil {
		db.acked, db.broken = newest(db.bolt)
	}
	return db.broken
}

func (db *DB) copyTo(path string, copy func(from, to *bbolt.Tx) error) error {
	to, err := OpenFile(path, db.kind, Options{})
	if err != nil {
		return err
	}
	err = db.View(func(from *bbolt.Tx) error {
		return to.Update(func(tx *bbolt.Tx) error { return copy(from, tx) })
	})
	return errors.Join(err, to.Sync(), to.Close())
}

// SyncDir makes what was made or renamed in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
