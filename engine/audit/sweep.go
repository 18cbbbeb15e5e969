package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"

	"vouchsafe/engine/store"
)

// A person's key goes when no record is left that needs it. Which those are is
// known only by reading all records that are left: a few seconds for a few
// million, once after something was dropped. No key goes that somebody may be
// using: see using.

const (
	// sweptKeys is how many keys are looked for in one reading of the log.
	sweptKeys = 1 << 20
	// smallRest is how many records may be read while everybody waits.
	smallRest = 2048
)

// sweepKeys destroys the keys of people that no record needs any more, if records
// were dropped since that was last done.
func (l *Log) sweepKeys(ctx context.Context) error {
	gone := map[string]uint64{}
	for _, site := range l.Sites() {
		if d := l.dropped(site); d != nil {
			gone[site] = d.End
		}
	}
	done, err := l.people.swept()
	if err != nil || maps.Equal(done, gone) {
		return err
	}
	if ours, err := l.followsPeople(); err != nil || !ours {
		return err
	}
	for after := (keyID{}); ; {
		unused, last, err := l.people.keysAfter(after, sweptKeys)
		if err != nil {
			return err
		}
		if len(unused) == 0 {
			break
		}
		if err := l.sweep(ctx, unused); err != nil {
			return fmt.Errorf("letting go of keys that no record needs: %w", err)
		}
		after = last
	}
	return l.people.noteSwept(ctx, gone)
}

// sweep destroys those of the keys that nothing needs.
func (l *Log) sweep(ctx context.Context, unused map[keyID]personID) error {
	seen := func(k []byte) {
		if len(k) >= keyIDSize {
			delete(unused, keyID(k[:keyIDSize]))
		}
	}
	at := map[string]uint64{}
	for {
		read, err := l.keysUsed(ctx, at, seen)
		if err != nil || len(unused) == 0 {
			return err
		}
		if read <= smallRest {
			break
		}
	}
	going := map[keyID]personID{}
	for len(unused) > 0 {
		// A few at a time: everybody waits.
		few := map[keyID]personID{}
		for id, person := range unused {
			if few[id] = person; len(few) == disownedAtOnce {
				break
			}
		}
		if err := l.disown(ctx, few, unused, at, seen); err != nil {
			return err
		}
		for id, person := range few {
			if _, still := unused[id]; still {
				delete(unused, id)
				going[id] = person
			}
		}
	}
	if len(going) == 0 {
		return nil
	}
	return l.people.destroy(ctx, going)
}

// disownedAtOnce is how many keys are taken from whose they are while everybody
// waits.
const disownedAtOnce = 2048

// disown takes a few keys from whose they are. Nobody has one in hand then that is
// not in a record yet; whoever comes next gets another. Those that turn out to be
// needed leave unused.
func (l *Log) disown(ctx context.Context, few, unused map[keyID]personID, at map[string]uint64, seen func([]byte)) error {
	l.using.Lock()
	defer l.using.Unlock()
	if _, err := l.keysUsed(ctx, at, seen); err != nil {
		return err
	}
	for id := range few {
		if _, still := unused[id]; !still {
			delete(few, id)
		}
	}
	if len(few) == 0 {
		return nil
	}
	return l.people.disown(ctx, few, unused)
}

// logPlace is how far a site's log was when a key was made. Keys are swept only
// with the log that they were made for: with another, such as an older one that
// was put in its place for a while, those of its newer records would go.
type logPlace struct {
	size uint64
	root tlog.Hash
}

var seenPrefix = []byte("seen/")

// noteSeen notes how far a site's log is, as a key is made for it.
func (p *people) noteSeen(tx *bbolt.Tx, site string, at logPlace) error {
	b, err := tx.CreateBucketIfNotExists(masterBucket)
	if err != nil {
		return err
	}
	key := append(bytes.Clone(seenPrefix), site...)
	if was := b.Get(key); len(was) == 8+treeHashSize && binary.BigEndian.Uint64(was) > at.size {
		return nil
	}
	return b.Put(key, append(seqKey(at.size), at.root[:]...))
}

// seen is how far each site's log was when a key was last made for it.
func (p *people) seen() (map[string]logPlace, error) {
	out := map[string]logPlace{}
	err := p.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(masterBucket)
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.Seek(seenPrefix); bytes.HasPrefix(k, seenPrefix); k, v = c.Next() {
			if len(v) != 8+treeHashSize {
				return errors.New("the file of people's keys does not say which log it is for")
			}
			out[string(k[len(seenPrefix):])] = logPlace{binary.BigEndian.Uint64(v), tlog.Hash(v[8:])}
		}
		return nil
	})
	return out, err
}

// follows reports whether a site's log goes on from a place.
func (l *Log) follows(site string, at logPlace) (bool, error) {
	if _, end := l.Range(site); end < at.size {
		return false, nil
	}
	if at.size == 0 {
		return true, nil
	}
	root, err := tlog.TreeHash(int64(at.size), l.hashReader(site))
	return root == at.root, err
}

// followsPeople reports whether the log goes on from where it was when keys were
// last made.
func (l *Log) followsPeople() (bool, error) {
	seen, err := l.people.seen()
	for site, at := range seen {
		ours, followErr := l.follows(site, at)
		if followErr != nil || !ours {
			return false, followErr
		}
	}
	return err == nil, err
}

// place is how far a site's log is. ok is false in a log that does not go on from
// where it was when keys were last made, and that does not speak for them.
func (l *Log) place(site string) (at logPlace, ok bool) {
	l.foreignOnce.Do(func() {
		if ours, err := l.followsPeople(); err != nil || !ours {
			l.foreign = true
		}
	})
	if l.foreign {
		return at, false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	at.root = (&tree{}).root()
	if p := l.active().sites[site]; p != nil {
		at = logPlace{p.end(), p.tree.root()}
	}
	return at, true
}

// keysUsed calls seen with the id of each key that a record needs, from the
// records at which at says on, and moves at behind them.
func (l *Log) keysUsed(ctx context.Context, at map[string]uint64, seen func([]byte)) (read uint64, err error) {
	for _, site := range l.Sites() {
		for _, pt := range l.parts(site) {
			for from := max(at[site], pt.from); !pt.bare && from < pt.end; {
				if err := ctx.Err(); err != nil {
					return read, err
				}
				err := pt.s.view(func(tx *bbolt.Tx) error {
					b := tx.Bucket([]byte(recordsPrefix + site))
					if b == nil {
						return errForm // what is not there cannot say what it needs
					}
					var f form
					c := b.Cursor()
					k, v := c.Seek(seqKey(from))
					for end := min(pt.end, from+scanned*16); from < end; k, v = c.Next() {
						if !bytes.Equal(k, seqKey(from)) {
							return fmt.Errorf("record %d of site %s is missing", from, site)
						}
						if err := readForm(&f, site, from, v); err != nil {
							return fmt.Errorf("record %d of site %s: %w", from, site, err)
						}
						seen(f.visitor)
						for _, p := range f.people {
							seen(p)
						}
						from++
						read++
					}
					return nil
				})
				if err != nil {
					return read, err
				}
			}
			at[site] = max(at[site], pt.end)
		}
	}
	return read, nil
}

// swept is how far records were gone when keys were last swept, by site.
func (p *people) swept() (at map[string]uint64, err error) {
	at = map[string]uint64{}
	err = p.db.View(func(tx *bbolt.Tx) error {
		if v := get(tx, masterBucket, sweptKey); v != nil {
			return json.Unmarshal(v, &at)
		}
		return nil
	})
	return at, err
}

func (p *people) noteSwept(ctx context.Context, at map[string]uint64) error {
	v, err := json.Marshal(at)
	if err != nil {
		return err
	}
	return p.db.Commit(ctx, func(tx *bbolt.Tx) error { return tx.Bucket(masterBucket).Put(sweptKey, v) })
}

// keysAfter returns the keys behind one, at most n, and the last of them.
func (p *people) keysAfter(after keyID, n int) (keys map[keyID]personID, last keyID, err error) {
	keys = map[keyID]personID{}
	err = p.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(keysBucket)
		if b == nil {
			return nil
		}
		c := b.Cursor()
		k, v := c.Seek(after[:])
		if bytes.Equal(k, after[:]) {
			k, v = c.Next()
		}
		for ; k != nil && len(keys) < n; k, v = c.Next() {
			if len(k) == keyIDSize && len(v) >= hashSize {
				last = keyID(k)
				keys[last] = personID(v[:hashSize])
			}
		}
		return nil
	})
	return keys, last, err
}

// disown takes keys from whose they are, so that nothing more is enciphered with
// them. Somebody who has an address that others have typed keeps theirs, and it
// is taken out of keys: by them the address is known to be erased with them.
func (p *people) disown(ctx context.Context, keys, going map[keyID]personID) error {
	var kept []keyID
	err := p.db.Commit(ctx, func(tx *bbolt.Tx) error {
		folk := tx.Bucket(peopleBucket)
		if folk == nil {
			return nil
		}
		for id, person := range keys {
			entry := folk.Get(person[:])
			if len(entry) < keyIDSize || keyID(entry[:keyIDSize]) != id {
				continue // it is nobody's already
			}
			if p.addressNeeded(folk, entry, going) {
				delete(keys, id)
				kept = append(kept, id)
				continue
			}
			if err := folk.Delete(person[:]); err != nil {
				return err
			}
		}
		return nil
	})
	for _, id := range kept {
		delete(going, id)
	}
	p.forget()
	return err
}

// addressNeeded reports whether one of a person's addresses has a key that is
// not among those that go.
func (p *people) addressNeeded(folk *bbolt.Bucket, entry []byte, going map[keyID]personID) bool {
	for b := entry[keyIDSize:]; len(b) >= hashSize; b = b[hashSize:] {
		theirs := folk.Get(b[:hashSize])
		if len(theirs) < keyIDSize {
			continue
		}
		if _, goes := going[keyID(theirs[:keyIDSize])]; !goes {
			return true
		}
	}
	return false
}

// destroy destroys keys, leaving nothing of them in the file.
func (p *people) destroy(ctx context.Context, keys map[keyID]personID) error {
	err := p.db.Rewrite(ctx, func(from, to *bbolt.Tx) error {
		return store.CopyBuckets(from, to, func(bucket, key, _ []byte) bool {
			if !bytes.Equal(bucket, keysBucket) || len(key) != keyIDSize {
				return true
			}
			_, goes := keys[keyID(key)]
			return !goes
		})
	})
	p.forget()
	return err
}
