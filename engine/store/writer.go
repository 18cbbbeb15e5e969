package store

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"go.etcd.io/bbolt"
)

// write is the one writer. It runs until Close.
func (db *DB) write() {
	defer close(db.done)
	retry := time.NewTicker(db.opts.Retry)
	defer retry.Stop()
	batch := make([]*op, 0, db.opts.Batch)
	for {
		batch = batch[:0]
		select {
		case o := <-db.ops:
			batch = append(batch, o)
		case <-retry.C:
			if db.Health() != nil {
				db.recover()
			}
			continue
		case <-db.closing:
			// Finish what is already waiting; Commit lets nothing new in.
			for {
				select {
				case o := <-db.ops:
					db.commit([]*op{o})
				default:
					return
				}
			}
		}
		// A commit costs much the same however much is in it, so whoever is
		// about to ask gets to first. Where nobody is, this returns at once.
		runtime.Gosched()
		db.commit(db.fill(batch))
	}
}

// fill adds what else is waiting.
func (db *DB) fill(batch []*op) []*op {
	for len(batch) < cap(batch) {
		select {
		case o := <-db.ops:
			batch = append(batch, o)
		default:
			return batch
		}
	}
	return batch
}

// errOp is the failure of one caller's function, to be told to that caller
// alone.
type errOp struct {
	index int
	err   error
}

func (e *errOp) Error() string { return e.err.Error() }

// commit writes the batch in one transaction and answers every caller. A
// caller whose function fails is answered and left out, and the rest run again.
func (db *DB) commit(batch []*op) {
	for len(batch) > 0 {
		err := db.update(batch)
		if failed, ok := errors.AsType[*errOp](err); ok {
			batch[failed.index].done <- failed.err
			batch = append(batch[:failed.index:failed.index], batch[failed.index+1:]...)
			continue
		}
		var answer error
		if err != nil {
			db.fail(err)
			answer = unavailable(fmt.Errorf("%w: %v", ErrBroken, err))
		}
		for _, o := range batch {
			o.done <- answer
		}
		return
	}
}

func (db *DB) update(batch []*op) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.bolt == nil || db.broken != nil {
		return ErrBroken
	}
	tx, err := db.bolt.Begin(true)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	for i, o := range batch {
		if err := runOp(o, tx); err != nil {
			return &errOp{i, err}
		}
	}
	return tx.Commit()
}

// runOp turns a panic of the caller's function into its error, so that one
// caller's defect neither stops the writer nor strands the others.
func runOp(o *op, tx *bbolt.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a write: %v", p)
		}
	}()
	return o.fn(tx)
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

// recover reopens a broken file and proves with a write that it can be written.
func (db *DB) recover() {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.bolt != nil {
		db.bolt.Close()
		db.bolt = nil
	}
	b, err := db.openFile()
	if err != nil {
		db.broken = err
		return
	}
	db.bolt = b
	// Room for many records, and not just for the few bytes that happen to be
	// free inside the file: else a full disk would come and go.
	db.broken = probe(b, make([]byte, probeSize))
	if db.broken == nil {
		db.broken = probe(b, []byte(time.Now().UTC().Format(time.RFC3339Nano)))
	}
}

// probeSize is how much must fit before a file counts as writable again.
const probeSize = 256 << 10

func probe(b *bbolt.DB, value []byte) error {
	return b.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(probeKey, value) })
}
