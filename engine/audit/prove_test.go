package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

func bytesOf(hs []tlog.Hash) [][]byte {
	var out [][]byte
	for _, h := range hs {
		out = append(out, h[:])
	}
	return out
}

// Another implementation of RFC 6962 says what ours says.
func TestProofs(t *testing.T) {
	ctx := context.Background()
	l, err := Open(filepath.Join(t.TempDir(), "audit"), Options{Master: master, Checkpoint: signing})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	key, err := PublicKey("shop", signing.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	var checkpoints []Checkpoint
	for i := range 21 {
		ids = append(ids, record(t, l, "shop", "order.list", fmt.Sprint("u", i), began.Add(time.Duration(i)*time.Second)))
		if i%6 == 5 {
			c, err := l.Checkpoint(ctx, "shop")
			if err != nil {
				t.Fatal(err)
			}
			checkpoints = append(checkpoints, c)
		}
		if i == 9 {
			if err := l.begin(); err != nil {
				t.Fatal(err)
			}
			l.sealOne(l.segments[0])
		}
	}
	for i, id := range ids {
		p, err := l.Prove(ctx, id)
		if err != nil {
			t.Fatalf("Prove(%s): %v", id, err)
		}
		got, err := p.Check(key)
		if err != nil || got.Index != uint64(i) || got.ID != id || got.Size != 21 {
			t.Fatalf("Check: %+v, %v", got, err)
		}
		c, err := ParseCheckpoint([]byte(p.Checkpoint), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, c.Size, rfc6962.DefaultHasher.HashLeaf(p.Record), bytesOf(p.Hashes), c.Root[:]); err != nil {
			t.Errorf("record %d: another implementation says %v", i, err)
		}
		p.Record[len(p.Record)-1] ^= 1
		if _, err := p.Check(key); err == nil {
			t.Errorf("the proof of record %d proves another", i)
		}
		p.Record[len(p.Record)-1] ^= 1
		p.Index ^= 1
		if _, err := p.Check(key); err == nil {
			t.Errorf("the proof of record %d proves another place", i)
		}
	}
	for _, old := range checkpoints {
		p, err := l.ProveConsistency(ctx, old, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Check(key); err != nil {
			t.Errorf("from %d records: %v", old.Size, err)
		}
		newer, err := ParseCheckpoint([]byte(p.New), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, newer.Size, bytesOf(p.Hashes), old.Root[:], newer.Root[:]); err != nil {
			t.Errorf("from %d records: another implementation says %v", old.Size, err)
		}
	}
	other, err := PublicKey("shop", ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseCheckpoint([]byte(checkpoints[0].Note), other); err == nil {
		t.Error("a checkpoint verifies with another key")
	}
	n := 0
	l.Notes("shop", 6, func(size uint64, note string) error { n++; return nil })
	if n < 3 {
		t.Errorf("%d stored checkpoints after the first", n)
	}
}

// Whoever waits for new checkpoints opens no file in which there can be none.
func TestNotesOpenTheNewestFileAlone(t *testing.T) {
	l, _ := openLog(t)
	l.o.Checkpoint = signing
	const files = 5
	for range files {
		put(t, l, foreign)
		if _, err := l.Checkpoint(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		next(t, l)
	}
	put(t, l, foreign)
	for _, s := range l.segments[:files] {
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
	var sizes []uint64
	note := func(size uint64, _ string) error { sizes = append(sizes, size); return nil }
	if err := l.Notes("shop", files, note); err != nil || len(sizes) > 0 {
		t.Errorf("new checkpoints %v, %v: want none", sizes, err)
	}
	for _, s := range l.segments[:files] {
		if s.db != nil {
			t.Errorf("%s was opened", s.path)
		}
	}
	if err := l.Notes("shop", 2, note); err != nil || !slices.Equal(sizes, []uint64{3, 4, 5}) {
		t.Errorf("checkpoints after 2 records: %v, %v; want 3, 4 and 5", sizes, err)
	}
}

// A copy of a log in use is a log, and verifies against what was signed before.
func TestBackupAndRestoration(t *testing.T) {
	ctx := context.Background()
	l, dir := openLog(t)
	l.o.Checkpoint = signing
	id := put(t, l, foreign)
	if err := l.begin(); err != nil {
		t.Fatal(err)
	}
	l.sealOne(l.segments[0])
	second := put(t, l, foreign)
	c, err := l.Checkpoint(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(filepath.Dir(dir), "copy")
	if v, err := l.Backup(ctx, out); err != nil || len(v.Problems) > 0 || v.Records != 2 {
		t.Fatalf("Backup: %+v, %v", v, err)
	}
	if _, err := l.Backup(ctx, out); err == nil {
		t.Error("a backup went over another")
	}
	put(t, l, foreign)
	l.Close()
	v, err := VerifyFolder(ctx, out, Verification{Public: signing.Public().(ed25519.PublicKey), Checkpoints: []Checkpoint{c}})
	if err != nil || len(v.Problems) > 0 {
		t.Errorf("the copy: %+v, %v", v, err)
	}
	restored, err := Open(out, Options{Master: master})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	for _, want := range []string{id, second, put(t, restored, foreign)} {
		if e, err := restored.Show(want); err != nil || string(e.Decision.Input) != foreign {
			t.Errorf("restored: Show(%s) = %+v, %v", want, e, err)
		}
	}
}

// What does not check is not handed out as a proof.
func TestProofsThatDoNotHoldAreNotMade(t *testing.T) {
	ctx := context.Background()
	dir, kept := written(t)
	db, err := bbolt.Open(filepath.Join(dir, "00000001.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The hash that stands with the first record, of a segment that is sealed.
	if err := db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("records/shop"))
		v := bytes.Clone(b.Get(seqKey(0)))
		v[0] ^= 1
		return b.Put(seqKey(0), v)
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir, Options{Master: master, Checkpoint: signing})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var ids []string
	if _, err := l.Scan("shop", 0, func(it Item) error {
		if it.Decision != nil {
			ids = append(ids, it.Decision.ID)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, id := range ids {
		p, err := l.Prove(ctx, id)
		if err == nil {
			if _, err := p.Check(mustKey(t, "shop")); err != nil {
				t.Errorf("a proof of %s was handed out that does not hold: %v", id, err)
			}
		} else if refused++; !errors.Is(err, errUnproven) {
			t.Errorf("Prove(%s): %v", id, err)
		}
	}
	if refused == 0 {
		t.Error("with a hash that was changed, everything can be proven")
	}
	for _, c := range kept {
		if c.Site != "shop" {
			continue
		}
		c.Root[0] ^= 1
		if _, err := l.ProveConsistency(ctx, c, nil); !errors.Is(err, ErrInconsistent) {
			t.Errorf("a log that does not begin with what the checkpoint is of: %v", err)
		}
	}
}

func mustKey(t *testing.T, site string) string {
	t.Helper()
	key, err := PublicKey(site, signing.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return key
}
