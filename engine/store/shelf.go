package store

import (
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"
)

// Shelf is a bucket whose entries lapse. Each Put clears a few lapsed entries
// away, so that a shelf stays about as large as what is alive on it.
type Shelf struct{ entries, expiries []byte }

// NewShelf names a shelf.
func NewShelf(name string) Shelf {
	return Shelf{entries: []byte(name), expiries: []byte(name + expiriesSuffix)}
}

// swept is how many lapsed entries one Put clears away at most.
const swept = 8

const stampLen = 8

// expiriesSuffix ends the name of the bucket that lists a shelf's entries by when
// they lapse.
const expiriesSuffix = ".expiries"

// Put writes an entry, replacing one of the same key. It lapses at expires.
func (s Shelf) Put(tx *bbolt.Tx, key string, value []byte, expires, now time.Time) error {
	entries, err := tx.CreateBucketIfNotExists(s.entries)
	if err != nil {
		return err
	}
	index, err := tx.CreateBucketIfNotExists(s.expiries)
	if err != nil {
		return err
	}
	if err := sweep(entries, index, now); err != nil {
		return err
	}
	if old := entries.Get([]byte(key)); len(old) >= stampLen {
		if err := index.Delete(indexKey(old[:stampLen], key)); err != nil {
			return err
		}
	}
	b := make([]byte, stampLen, stampLen+len(value))
	binary.BigEndian.PutUint64(b, uint64(expires.UnixMilli()))
	if err := index.Put(indexKey(b, key), nil); err != nil {
		return err
	}
	return entries.Put([]byte(key), append(b, value...))
}

func indexKey(stamp []byte, key string) []byte {
	return append(append(make([]byte, 0, stampLen+len(key)), stamp[:stampLen]...), key...)
}

func sweep(entries, index *bbolt.Bucket, now time.Time) error {
	var lapsed [][]byte
	c := index.Cursor()
	for k, _ := c.First(); k != nil && len(lapsed) < swept; k, _ = c.Next() {
		if len(k) < stampLen || int64(binary.BigEndian.Uint64(k)) > now.UnixMilli() {
			break
		}
		lapsed = append(lapsed, append([]byte(nil), k...))
	}
	for _, k := range lapsed {
		if err := entries.Delete(k[stampLen:]); err != nil {
			return err
		}
		if err := index.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Get returns an entry and when it lapses, nil when there is none or it has.
// The bytes are valid inside the transaction only.
func (s Shelf) Get(tx *bbolt.Tx, key string, now time.Time) ([]byte, time.Time) {
	entries := tx.Bucket(s.entries)
	if entries == nil {
		return nil, time.Time{}
	}
	b := entries.Get([]byte(key))
	if len(b) < stampLen {
		return nil, time.Time{}
	}
	expires := time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
	if !now.Before(expires) {
		return nil, time.Time{}
	}
	return b[stampLen:], expires
}

// Each calls fn with every entry, those that have lapsed and were not cleared
// away yet included. The bytes are valid inside the transaction only.
func (s Shelf) Each(tx *bbolt.Tx, fn func(key string, value []byte, expires time.Time) error) error {
	entries := tx.Bucket(s.entries)
	if entries == nil {
		return nil
	}
	return entries.ForEach(func(k, v []byte) error {
		if len(v) < stampLen {
			return nil
		}
		return fn(string(k), v[stampLen:], time.UnixMilli(int64(binary.BigEndian.Uint64(v))))
	})
}

// Delete removes an entry, if it is there.
func (s Shelf) Delete(tx *bbolt.Tx, key string) error {
	entries, index := tx.Bucket(s.entries), tx.Bucket(s.expiries)
	if entries == nil || index == nil {
		return nil
	}
	b := entries.Get([]byte(key))
	if len(b) < stampLen {
		return nil
	}
	if err := index.Delete(indexKey(b[:stampLen], key)); err != nil {
		return err
	}
	return entries.Delete([]byte(key))
}
