package audit

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/store"
)

// stripBatch is about how many bytes are written to a stripped segment in one
// transaction, which holds them in memory.
const stripBatch = 8 << 20

// writeStripped writes a segment anew, to a file of another name, without the
// records and the index of what goes.
func (s *segment) writeStripped(path string, ds []doomed) error {
	if err := removed(path); err != nil {
		return err
	}
	db, err := store.OpenFile(path, SegmentKind, store.Options{})
	if err != nil {
		return err
	}
	db.NoSync = true // until it is whole
	w := &batched{db: db}
	err = s.view(func(from *bbolt.Tx) error {
		return from.ForEach(func(name []byte, b *bbolt.Bucket) error {
			site, isRecords := strings.CutPrefix(string(name), recordsPrefix)
			if !isRecords {
				site, _ = strings.CutPrefix(string(name), indexPrefix)
			}
			i := slices.IndexFunc(ds, func(d doomed) bool { return d.site == site })
			switch {
			case string(name) == metaBucket:
				return w.copyMeta(b, ds)
			case i >= 0 && isRecords:
				return w.hashes(b, &ds[i])
			case i >= 0 && strings.HasPrefix(string(name), indexPrefix):
				return nil
			}
			return b.ForEach(func(k, v []byte) error { return w.put(name, k, v) })
		})
	})
	return errors.Join(err, w.end(), db.Sync(), db.Close())
}

// copyMeta copies what a segment says of itself, with what is new in its seal.
func (w *batched) copyMeta(b *bbolt.Bucket, ds []doomed) error {
	return b.ForEach(func(k, v []byte) error {
		if string(k) != sealKey {
			return w.put([]byte(metaBucket), k, v)
		}
		var seals map[string]seal
		if err := json.Unmarshal(v, &seals); err != nil {
			return fmt.Errorf("the seal: %w", err)
		}
		for _, d := range ds {
			seals[d.site] = bareSeal(d.p)
		}
		v, err := json.Marshal(seals)
		if err != nil {
			return err
		}
		return w.put([]byte(metaBucket), k, v)
	})
}

// bareSeal is the seal of a part whose records were dropped.
func bareSeal(p *portion) seal {
	return seal{From: p.from(), End: p.end(), Tree: p.tree.bytes(), Bare: true, Dropped: p.drop.Note, Times: []int64{0, 0}}
}

// hashes writes what stays of records that go: the tree's hashes.
func (w *batched) hashes(b *bbolt.Bucket, d *doomed) error {
	name := []byte(hashesPrefix + d.site)
	at := d.p.from()
	var first uint64
	var tile []byte
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(k) != 8 || binary.BigEndian.Uint64(k) != at {
			return fmt.Errorf("record %d: %w", at, errForm)
		}
		hashes, _, err := split(at, v)
		if err != nil {
			return fmt.Errorf("record %d: %w", at, err)
		}
		if tile == nil {
			first = at
		}
		tile = append(tile, hashes...)
		if at++; at%tileSize == 0 {
			if err := w.put(name, seqKey(first), tile); err != nil {
				return err
			}
			tile = nil // bbolt keeps the old one until the transaction ends
		}
	}
	if at != d.p.end() {
		return fmt.Errorf("record %d: %w", at, errForm)
	}
	if tile == nil {
		return nil
	}
	return w.put(name, seqKey(first), tile)
}

// batched writes to a file in transactions of a bounded size.
type batched struct {
	db      *bbolt.DB
	tx      *bbolt.Tx
	written int
}

func (w *batched) put(bucket, key, value []byte) error {
	if w.tx != nil && w.written > stripBatch {
		if err := w.end(); err != nil {
			return err
		}
	}
	if w.tx == nil {
		var err error
		if w.tx, err = w.db.Begin(true); err != nil {
			return err
		}
	}
	b, err := w.tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return err
	}
	b.FillPercent = 1 // the keys come in order
	w.written += len(key) + len(value)
	return b.Put(key, value)
}

// end commits what was put.
func (w *batched) end() error {
	if w.tx == nil {
		return nil
	}
	tx := w.tx
	w.tx, w.written = nil, 0
	return tx.Commit()
}

// removed removes a file if it is there.
func removed(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
