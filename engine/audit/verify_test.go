package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/store"
)

var signing = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32))

// written makes a small log of two sites in two segments, and returns its folder
// and a checkpoint of each site that was kept elsewhere.
func written(t *testing.T) (dir string, kept []Checkpoint) {
	t.Helper()
	ctx := context.Background()
	dir = filepath.Join(t.TempDir(), "audit")
	l, err := Open(dir, Options{Master: master, Checkpoint: signing})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 11 {
		id := record(t, l, []string{"shop", "other"}[i%3/2], "order.list", fmt.Sprint("u", i%2), began.Add(time.Duration(i)*time.Second))
		if i == 3 {
			if err := l.Outcome(ctx, "shop", Outcome{Decision: id, Time: began, Connector: "rest", Problem: "slow"}); err != nil {
				t.Fatal(err)
			}
		}
		if i == 6 {
			if err := l.begin(); err != nil {
				t.Fatal(err)
			}
			l.sealOne(l.segments[0])
			if !l.segments[0].sealed {
				t.Fatal("the first segment was not sealed")
			}
		}
	}
	for _, site := range l.Sites() {
		c, err := l.Checkpoint(ctx, site)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, c)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, kept
}

func verified(t *testing.T, dir string, kept []Checkpoint) Verified {
	t.Helper()
	v, err := VerifyFolder(context.Background(), dir, Verification{Public: signing.Public().(ed25519.PublicKey), Checkpoints: kept})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// edit changes a segment's file as somebody with the rights to would.
func edit(t *testing.T, dir string, number uint64, fn func(tx *bbolt.Tx) error) {
	t.Helper()
	path := filepath.Join(dir, segmentName(number))
	db, err := store.OpenFile(path, SegmentKind, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(fn); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func copyLog(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "audit")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestAnUntouchedLogVerifies(t *testing.T) {
	dir, kept := written(t)
	v := verified(t, dir, kept)
	if len(v.Problems) != 0 || v.Records != 12 || v.Checkpoints < 4 {
		t.Errorf("Verify: %+v, want 12 records, the checkpoints and no problem", v)
	}
	if v.Sites[1].Site != "shop" || v.Sites[1].Size != kept[1].Size {
		t.Errorf("sites %+v, want those of %+v", v.Sites, kept)
	}
}

// Every byte of every record, of every hash and of every checkpoint.
func TestEveryByteCounts(t *testing.T) {
	dir, kept := written(t)
	type place struct {
		bucket string
		key    []byte
		n      int
	}
	for number := uint64(1); number <= 2; number++ {
		var places []place
		db, err := store.OpenFile(filepath.Join(dir, segmentName(number)), SegmentKind, store.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		db.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
				return b.ForEach(func(k, v []byte) error {
					if string(name) != metaBucket || strings.HasPrefix(string(k), basePrefix) || string(k) == sealKey {
						places = append(places, place{string(name), bytes.Clone(k), len(v)})
					}
					return nil
				})
			})
		})
		db.Close()
		if len(places) < 8 {
			t.Fatalf("%d values in segment %d", len(places), number)
		}
		// One file is opened for all flips: what is verified is a transaction
		// that is taken back.
		rw, err := store.OpenFile(filepath.Join(copyLog(t, dir), segmentName(number)), SegmentKind, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer rw.Close()
		rw.NoSync = true
		for _, p := range places {
			for i := range p.n {
				flipped(t, rw, p.bucket, p.key, i, func(tx *bbolt.Tx) {
					if got := namedIn(number, tx, kept); len(got) == 0 {
						t.Errorf("byte %d of %s %x in segment %d was changed and nothing is said", i, p.bucket, p.key, number)
					} else if strings.HasPrefix(p.bucket, recordsPrefix) && (got[0].Record == nil || !bytes.Equal(seqKey(*got[0].Record), p.key)) {
						t.Errorf("byte %d of record %x of %s was changed and what is named is %v", i, p.key, p.bucket, got[0])
					}
				})
			}
		}
	}
}

// namedIn verifies one segment as a transaction has it.
func namedIn(number uint64, tx *bbolt.Tx, kept []Checkpoint) []Tampered {
	view := func(fn func(tx *bbolt.Tx) error) error { return fn(tx) }
	st := verifySegment(&readable{segmentName(number), number, view},
		Verification{Public: signing.Public().(ed25519.PublicKey), Checkpoints: kept})
	var out []Tampered
	if st.whole != nil {
		out = append(out, *st.whole)
	}
	for _, p := range st.sites {
		if p.first != nil {
			out = append(out, *p.first)
		}
		for _, c := range p.bad {
			out = append(out, Tampered{Site: c.Site, What: "checkpoint"})
		}
	}
	return out
}

func TestWhatWasDoneToTheLogIsNamed(t *testing.T) {
	dir, kept := written(t)
	shop := kept[1]
	raw := func(tx *bbolt.Tx, seq uint64) []byte {
		return bytes.Clone(tx.Bucket([]byte(recordsPrefix + "shop")).Get(seqKey(seq)))
	}
	put := func(tx *bbolt.Tx, seq uint64, v []byte) error {
		return tx.Bucket([]byte(recordsPrefix+"shop")).Put(seqKey(seq), v)
	}
	for _, c := range []struct {
		what   string
		number uint64
		record uint64
		edit   func(tx *bbolt.Tx) error
	}{
		{"a record deleted", 1, 2, func(tx *bbolt.Tx) error { return tx.Bucket([]byte(recordsPrefix + "shop")).Delete(seqKey(2)) }},
		{"two records swapped", 1, 1, func(tx *bbolt.Tx) error {
			one, three := raw(tx, 1), raw(tx, 3)
			if err := put(tx, 1, three); err != nil {
				return err
			}
			return put(tx, 3, one)
		}},
		{"the newest cut off", 2, shop.Size - 1, func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(recordsPrefix + "shop")).Delete(seqKey(shop.Size - 1))
		}},
		{"a record put in", 2, shop.Size, func(tx *bbolt.Tx) error { return put(tx, shop.Size, raw(tx, shop.Size-1)) }},
		{"the newest of a sealed file cut off", 1, 5, func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(recordsPrefix + "shop")).Delete(seqKey(5))
		}},
		{"another site's record", 1, 0, func(tx *bbolt.Tx) error {
			return put(tx, 0, tx.Bucket([]byte(recordsPrefix+"other")).Get(seqKey(0)))
		}},
	} {
		to := copyLog(t, dir)
		edit(t, to, c.number, c.edit)
		v := verified(t, to, kept)
		if len(v.Problems) == 0 || v.Problems[0].Record == nil || *v.Problems[0].Record != c.record || v.Problems[0].Site != "shop" {
			t.Errorf("%s: %v, want record %d of shop named first", c.what, v.Problems, c.record)
		}
	}

	// Somebody who owns the log makes it anew without a record, hashes and all.
	// Only what was kept elsewhere shows it.
	to := copyLog(t, dir)
	rebuild(t, to, "shop", 7)
	v := verified(t, to, nil)
	alone := v.Problems
	v = verified(t, to, kept)
	if len(v.Problems) == 0 {
		t.Errorf("a rebuilt log fits the checkpoint that was kept (alone: %v)", alone)
	}

	to = copyLog(t, dir)
	os.Remove(filepath.Join(to, segmentName(1)))
	if v := verified(t, to, kept); len(v.Problems) == 0 || v.Problems[0].File != segmentName(1) {
		t.Errorf("without its first file: %v", v.Problems)
	}
	to = copyLog(t, dir)
	os.Remove(filepath.Join(to, segmentName(2)))
	if v := verified(t, to, kept); len(v.Problems) == 0 || !strings.Contains(v.Problems[0].What, "cut off") {
		t.Errorf("without its last file: %v", v.Problems)
	}
}

// rebuild changes a record of the last segment and makes everything after it
// fit, as somebody who owns the log could; the checkpoints in it they take out.
func rebuild(t *testing.T, dir, site string, seq uint64) {
	t.Helper()
	edit(t, dir, 2, func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket([]byte(notesPrefix + site)); err != nil {
			return err
		}
		base := tx.Bucket([]byte(metaBucket)).Get([]byte(basePrefix + site))
		tr, err := parseTree(uint64(base[7]), base[8:])
		if err != nil {
			return err
		}
		b := tx.Bucket([]byte(recordsPrefix + site))
		values := map[uint64][]byte{}
		b.ForEach(func(_, v []byte) error {
			at := tr.size
			_, rec, err := split(at, v)
			if err != nil {
				return err
			}
			rec = bytes.Clone(rec)
			if at == seq {
				rec[len(rec)-1] ^= 1
			}
			leaf, _ := leafHash(nil, rec)
			values[at] = append(tr.add(leaf, nil), rec...)
			return nil
		})
		for at, v := range values {
			if err := b.Put(seqKey(at), v); err != nil {
				return err
			}
		}
		return nil
	})
}

// flipped shows a file in which one bit of a value is another, and takes it back.
func flipped(t *testing.T, rw *bbolt.DB, bucket string, key []byte, i int, look func(tx *bbolt.Tx)) {
	t.Helper()
	tx, err := rw.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	b := tx.Bucket([]byte(bucket))
	v := bytes.Clone(b.Get(key))
	v[i] ^= 1
	if err := b.Put(key, v); err != nil {
		t.Fatal(err)
	}
	look(tx)
}
