package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/store"
)

// Every byte of what stays of dropped records, and of what is signed of them.
func TestEveryByteOfABareSegmentCounts(t *testing.T) {
	l, dir, _ := old(t)
	retain(t, l, map[string]time.Time{"shop": began.Add(72 * time.Hour), "other": began.Add(72 * time.Hour)})
	l.Close()
	type place struct {
		bucket string
		key    []byte
		n      int
	}
	var places []place
	rw, err := store.OpenFile(filepath.Join(dir, segmentName(1)), SegmentKind, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	rw.NoSync = true
	tiles := 0
	rw.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if strings.HasPrefix(string(name), recordsPrefix) || strings.HasPrefix(string(name), indexPrefix) {
				t.Errorf("bucket %s is left", name)
			}
			return b.ForEach(func(k, v []byte) error {
				if strings.HasPrefix(string(name), hashesPrefix) {
					tiles++
				}
				if string(name) != metaBucket || strings.HasPrefix(string(k), basePrefix) || string(k) == sealKey {
					places = append(places, place{string(name), bytes.Clone(k), len(v)})
				}
				return nil
			})
		})
	})
	if tiles != 2 || len(places) < 6 {
		t.Fatalf("%d tiles, %d values", tiles, len(places))
	}
	for _, p := range places {
		for i := range p.n {
			flipped(t, rw, p.bucket, p.key, i, func(tx *bbolt.Tx) {
				if got := namedIn(1, tx, nil); len(got) == 0 {
					t.Errorf("byte %d of %s %x was changed and nothing is said", i, p.bucket, p.key)
				}
			})
		}
	}
}

// Whoever deletes records and leaves their hashes is not taken for retention.
func TestFakedRetention(t *testing.T) {
	l, dir, _ := old(t)
	ctx := context.Background()
	genuine := retain(t, l, map[string]time.Time{"shop": began.Add(24 * time.Hour)})[0]
	act := must(l.Acts("shop", 1))[0]
	var kept []Checkpoint
	kept = append(kept, must(l.Checkpoint(ctx, "shop")))
	l.Close()
	fake := func(t *testing.T, statement func(p *portion) string) string {
		to := copyLog(t, dir)
		if err := os.CopyFS(filepath.Dir(to), os.DirFS(filepath.Dir(dir))); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
		path := filepath.Join(to, segmentName(2))
		s, err := openSegment(path, 2, store.Options{ReadOnly: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		p := s.sites["shop"]
		note := statement(p)
		if err := s.writeStripped(path+".new", []doomed{{s, "shop", &portion{base: p.base, tree: p.tree, bare: true, drop: &Drop{Note: note}}}}); err != nil {
			t.Fatal(err)
		}
		s.close()
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		return to
	}
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))
	for _, test := range []struct {
		name  string
		note  func(p *portion) string
		found string
	}{
		{"nothing is said of it", func(*portion) string { return "" }, "none of retention's"},
		{"what was said of others", func(*portion) string { return act.Statement }, "none of retention's"},
		{"signed by another key", func(p *portion) string {
			return must(signDrop(Drop{Site: "shop", From: 16, End: p.end(), Root: p.tree.root()}, other)).Note
		}, "not signed"},
		{"an ordinary checkpoint of that size", func(p *portion) string {
			return must(sign("shop", p.end(), p.tree.root(), signing)).Note
		}, "none of retention's"},
		{"of another site", func(p *portion) string {
			return must(signDrop(Drop{Site: "other", From: 16, End: p.end(), Root: p.tree.root()}, signing)).Note
		}, "none of retention's"},
		{"of another tree", func(p *portion) string {
			return must(signDrop(Drop{Site: "shop", From: 16, End: p.end(), Root: p.base.root()}, signing)).Note
		}, "not those that retention said"},
		{"signed, and on record nowhere", func(p *portion) string {
			return must(signDrop(Drop{Site: "shop", From: 16, End: p.end(), Root: p.tree.root()}, signing)).Note
		}, "no act on record"},
	} {
		t.Run(test.name, func(t *testing.T) {
			to := fake(t, test.note)
			v := verified(t, to, kept)
			if len(v.Problems) == 0 || !strings.Contains(v.Problems[0].What, test.found) || v.Problems[0].Record == nil {
				t.Fatalf("Verify: %v, want %q", v.Problems, test.found)
			}
			if at := *v.Problems[0].Record; at != 16 && !strings.Contains(test.name, "another tree") {
				t.Errorf("record %d is named, want 16", at)
			}
			l, err := Open(to, Options{Master: master, Checkpoint: signing, People: filepath.Join(filepath.Dir(dir), "people.db")})
			if err == nil {
				l.Close()
			}
			if test.name != "signed, and on record nowhere" && err == nil {
				t.Error("the log opens as if nothing were")
			}
		})
	}
	if genuine.End != 16 {
		t.Fatal(genuine)
	}

	// Without the act that covers it, a genuine gap is none.
	if v := verified(t, dir, kept); len(v.Problems) > 0 {
		t.Errorf("the genuine one: %v", v.Problems)
	}

	// The records of the second segment go and those of the first stay.
	l2, dir2, _ := old(t)
	l2.Close()
	dir, act = dir2, Act{}
	to := fake(t, func(p *portion) string {
		return must(signDrop(Drop{Site: "shop", From: 16, End: p.end(), Root: p.tree.root()}, signing)).Note
	})
	if v := verified(t, to, nil); len(v.Problems) == 0 || !strings.Contains(v.Problems[0].What, "from behind older ones") {
		t.Errorf("a hole in the midst: %v", v.Problems)
	}
}

// An act that says that retention dropped records is not believed unsigned.
func TestAFakedActOfRetention(t *testing.T) {
	l, dir, _ := old(t)
	if _, err := l.Act(context.Background(), Act{Time: began, Site: "shop", By: "socket", Kind: KindRetention, Object: "records 0 to 15"}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if v := verified(t, dir, nil); len(v.Problems) != 1 || !strings.Contains(v.Problems[0].What, "was not signed for that") || *v.Problems[0].Record != 64 {
		t.Errorf("Verify: %v", v.Problems)
	}
}
