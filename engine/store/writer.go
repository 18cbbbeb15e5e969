package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// work is what one caller wants done: a function run in the next transaction
// with those of others, or the whole file written anew.
type work struct {
	run     func(tx *bbolt.Tx) error
	rewrite func(from, to *bbolt.Tx) error
}

type pending = Pending[work]

// retry tries a broken file again.
func (db *DB) retry() {
	if db.Health() != nil {
		db.recover()
	}
}

// errOp is the failure of one caller's function, to be told to that caller
// alone.
type errOp struct {
	index int
	err   error
}

func (e *errOp) Error() string { return e.err.Error() }

// write does what is in the batch and answers every caller.
func (db *DB) write(batch []*pending) {
	from := 0
	for i, o := range batch {
		if o.Value.rewrite == nil {
			continue
		}
		db.commit(batch[from:i])
		from = i + 1
		o.Answer(db.rewrite(o.Value.rewrite))
	}
	db.commit(batch[from:])
}

// commit writes the batch in one transaction and answers every caller. A
// caller whose function fails is answered and left out, and the rest run again.
func (db *DB) commit(batch []*pending) {
	for len(batch) > 0 {
		err := db.update(batch)
		if failed, ok := errors.AsType[*errOp](err); ok {
			batch[failed.index].Answer(failed.err)
			batch = append(batch[:failed.index:failed.index], batch[failed.index+1:]...)
			continue
		}
		var answer error
		if err != nil {
			db.fail(err)
			answer = Unavailable(fmt.Errorf("%w: %v", ErrBroken, err))
		}
		for _, o := range batch {
			o.Answer(answer)
		}
		return
	}
}

// update runs and commits the batch. What bbolt itself panics at is an error of
// the file's.
func (db *DB) update(batch []*pending) (err error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged: %v", p)
		}
	}()
	if db.bolt == nil || db.broken != nil {
		return ErrBroken
	}
	tx, err := db.bolt.Begin(true)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	for i, o := range batch {
		if err := runOp(o.Value.run, tx); err != nil {
			return &errOp{i, err}
		}
	}
	id := tx.ID()
	if err := tx.Commit(); err != nil {
		return err
	}
	db.acked = id // read by this goroutine alone
	return nil
}

// runOp turns a panic of the caller's function into its error, so that one
// caller's defect neither stops the writer nor strands the others.
func runOp(fn func(tx *bbolt.Tx) error, tx *bbolt.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a write: %v", p)
		}
	}()
	return fn(tx)
}

// fail notes that the file cannot be written. Nothing is acknowledged again
// until recover has reopened it and written to it: after a failed sync what the
// kernel still holds of the file is not known.
func (db *DB) fail(err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.broken == nil {
		db.broken = err
	}
}

// recover opens a broken file anew, from the disk, and proves that it holds what
// was acknowledged and can be written.
func (db *DB) recover() {
	db.mu.Lock()
	defer db.mu.Unlock()
	if errors.Is(db.broken, errLost) {
		return
	}
	if db.bolt != nil {
		db.bolt.Close()
		db.bolt = nil
	}
	o := db.opts
	o.Existing = true // what is gone is not made anew beside what was acknowledged
	b, err := OpenFile(db.path, db.kind, o)
	if err != nil {
		db.broken = err
		return
	}
	db.bolt = b
	last, err := newest(b)
	if err == nil && last < db.acked {
		err = fmt.Errorf("%s: %w", filepath.Base(db.path), errLost)
	}
	if db.broken = err; err != nil {
		return
	}
	// Room for many records, and not just for the few bytes that happen to be
	// free inside the file: else a full disk would come and go.
	db.broken = probe(b, make([]byte, probeSize))
	if db.broken == nil {
		db.broken = probe(b, []byte(time.Now().UTC().Format(time.RFC3339Nano)))
	}
}

// newest is the last transaction that a file holds.
func newest(b *bbolt.DB) (id int, err error) {
	err = b.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil })
	return id, err
}

// probeSize is how much must fit before a file counts as writable again.
const probeSize = 256 << 10

func probe(b *bbolt.DB, value []byte) error {
	return b.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(probeKey, value) })
}
