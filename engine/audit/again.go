package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"go.etcd.io/bbolt"
)

// The file of people's keys may be older than an erasure: it was put back from a
// copy, or the process ended between the act and the keys. It says of each site
// behind which act erasures are carried out in it, and a start carries out those
// that came later. All keys in the file are older than those acts, so none goes of
// somebody who came back afterwards. An act that retention has dropped needs no
// repeating: whatever it was about is older and went before it.

const kindErasure = "erasure"

var erasedPrefix = []byte("erased/")

// noteErased notes behind which act of each site erasures are carried out.
func noteErased(tx *bbolt.Tx, done map[string]uint64) error {
	b, err := tx.CreateBucketIfNotExists(masterBucket)
	if err != nil {
		return err
	}
	for site, at := range done {
		if err := b.Put(append(bytes.Clone(erasedPrefix), site...), seqKey(at)); err != nil {
			return err
		}
	}
	return nil
}

// erasedNoted reports whether a key of the bucket is one that noteErased wrote.
func erasedNoted(key []byte, done map[string]uint64) bool {
	site, ok := bytes.CutPrefix(key, erasedPrefix)
	if !ok {
		return false
	}
	_, ok = done[string(site)]
	return ok
}

// erasedUpTo is behind which act of a site erasures are carried out.
func (p *people) erasedUpTo(site string) (at uint64, err error) {
	err = p.db.View(func(tx *bbolt.Tx) error {
		if v := get(tx, masterBucket, append(bytes.Clone(erasedPrefix), site...)); len(v) == 8 {
			at = binary.BigEndian.Uint64(v)
		}
		return nil
	})
	return at, err
}

// eraseAgain carries out the erasures on record that the file of keys does not
// know of.
func (l *Log) eraseAgain() error {
	done := map[string]uint64{}
	var who []personID
	for _, site := range l.Sites() {
		from, err := l.people.erasedUpTo(site)
		if err != nil {
			return err
		}
		_, end := l.Range(site)
		if end <= from {
			continue // the log is an older one: what it lacks is erased all the same
		}
		done[site] = end
		for _, pt := range l.parts(site) {
			if pt.end <= from {
				continue
			}
			seqs, err := l.places(site, &pt, term{termAct, 0})
			if err != nil {
				return err
			}
			err = kept(pt.each(site, seqs, func(f *form) error {
				if f.seq < from {
					return nil
				}
				id, ok, err := erasedBy(f)
				if ok {
					who = append(who, id)
				}
				return err
			}))
			if err != nil {
				return fmt.Errorf("looking for erasures of site %s: %w", site, err)
			}
		}
	}
	switch {
	case len(done) == 0:
		return nil
	case len(who) == 0:
		return l.people.db.Commit(context.Background(), func(tx *bbolt.Tx) error { return noteErased(tx, done) })
	}
	if _, err := l.people.erase(context.Background(), done, who...); err != nil {
		return fmt.Errorf("erasing again whom the file of keys still has: %w", err)
	}
	return nil
}

// erasedBy is whom an act of erasure was about; ok is false for any other act.
func erasedBy(f *form) (id personID, ok bool, err error) {
	var a Act
	if !bytes.Contains(f.body, []byte(`"kind":"`+kindErasure+`"`)) || json.Unmarshal(f.body, &a) != nil || a.Kind != kindErasure {
		return id, false, nil
	}
	_, text, _ := strings.Cut(a.Object, " ")
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != hashSize {
		return id, false, fmt.Errorf("act %s is an erasure of nobody", a.ID)
	}
	return personID(raw), true, nil
}
