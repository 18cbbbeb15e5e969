package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
)

// Somebody with the files and without a key writes older times into a seal, for
// the gate to sign that the records were too old.
func TestForgedTimesAreNotBelieved(t *testing.T) {
	l, dir, _ := old(t)
	l.Close()
	edit(t, dir, 3, func(tx *bbolt.Tx) error { // of 96 hours after began
		b := tx.Bucket([]byte(metaBucket))
		var seals map[string]seal
		if err := json.Unmarshal(b.Get([]byte(sealKey)), &seals); err != nil {
			return err
		}
		for i := range seals["shop"].Times {
			seals["shop"].Times[i] = began.UnixNano()
		}
		v, err := json.Marshal(seals)
		if err != nil {
			return err
		}
		return b.Put([]byte(sealKey), v)
	})
	l = must(Open(dir, Options{Master: master, Checkpoint: signing}))
	defer l.Close()
	if got := retain(t, l, shopBefore); got[0].End != 32 || !strings.Contains(got[0].Held, "of another time than they are") {
		t.Errorf("Retain: %+v; want what is of that time, and to hear of the rest", got)
	}
}

// While an older log is in the newer one's place, no key goes that the newer one
// needs; also once the older one has grown.
func TestKeysStayBesideARestoredLog(t *testing.T) {
	for name, before := range map[string]map[string]time.Time{
		"the same is due": shopBefore, "less was due": {"shop": began.Add(24 * time.Hour)}, "nothing is due": {},
	} {
		t.Run(name, func(t *testing.T) {
			l, dir, _ := old(t)
			backup := filepath.Join(filepath.Dir(dir), "backup")
			if _, err := l.Backup(context.Background(), backup); err != nil {
				t.Fatal(err)
			}
			retain(t, l, shopBefore)
			newer := record(t, l, "shop", "order.list", "newcomer", time.Now(), engine.Reason{Code: "x"})
			l.Close()
			aside := dir + ".aside"
			swap := func(in, out string) {
				t.Helper()
				if err := os.Rename(dir, out); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(in, dir); err != nil {
					t.Fatal(err)
				}
			}
			swap(backup, aside)
			for range 2 {
				l = must(Open(dir, Options{Master: master, Checkpoint: signing}))
				retain(t, l, before)
				for i := range 40 {
					record(t, l, "shop", "order.list", fmt.Sprint("other", i), time.Now(), engine.Reason{Code: "x"})
				}
				l.people.noteSwept(context.Background(), nil)
				retain(t, l, before)
				l.Close()
			}
			swap(aside, backup)
			l = must(Open(dir, Options{Master: master, Checkpoint: signing}))
			defer l.Close()
			if e := must(l.Show(newer)); e.Decision.Unreadable != "" {
				t.Errorf("the newest decision is %s: its key went while another log was in place", e.Decision.Unreadable)
			}
		})
	}
}

// What was kept behind a gap is cut off, and the act with it: a start does not go
// on from there, nor does a next retention speak for the gap.
func TestAGapWithoutItsActIsRefused(t *testing.T) {
	l, dir, _ := old(t)
	retain(t, l, map[string]time.Time{"shop": began.Add(72 * time.Hour), "other": began.Add(72 * time.Hour)})
	l.Close()
	for n := uint64(3); n <= 4; n++ {
		if err := os.Remove(filepath.Join(dir, segmentName(n))); err != nil {
			t.Fatal(err)
		}
	}
	if v := verified(t, dir, nil); len(v.Problems) != 2 || !strings.Contains(v.Problems[0].What, "no act on record") {
		t.Errorf("Verify: %v", v.Problems)
	}
	l, err := Open(dir, Options{Master: master, Checkpoint: signing})
	if err == nil {
		l.Close()
		t.Fatal("the log opens with nothing but dropped records")
	}
	if !strings.Contains(err.Error(), "no act on record") {
		t.Errorf("Open: %v", err)
	}
}

// A file that cannot be read keeps the site that has something due in it, and no
// other; and what is announced once is not announced again.
func TestOneFileDoesNotHoldOtherSites(t *testing.T) {
	l, _, _ := old(t)
	l.segments[1].close()
	path := l.segments[1].path
	b := must(os.ReadFile(path))
	if err := os.WriteFile(path, b[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	before := map[string]time.Time{"other": began.Add(24 * time.Hour), "shop": began.Add(72 * time.Hour)}
	for range 3 {
		if _, err := l.Retain(context.Background(), before, "retention", Hold{}, false); err == nil || !strings.Contains(err.Error(), "site shop") {
			t.Errorf("Retain: %v", err)
		}
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	acts := must(l.Acts("other", 100))
	if from, _ := l.Range("other"); from != 4 || len(acts) != 1 {
		t.Errorf("site other begins with %d and has %d acts, want 4 and one", from, len(acts))
	}
	if from, _ := l.Range("shop"); from != 0 {
		t.Errorf("site shop begins with %d", from)
	}
}

func TestWhatIsAnnouncedIsGoneThroughWith(t *testing.T) {
	l, dir, _ := old(t)
	// The file cannot be written.
	stray := l.segments[0].path + ".new"
	if err := os.MkdirAll(filepath.Join(stray, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := l.Retain(context.Background(), shopBefore, "retention", Hold{}, false); err == nil {
			t.Fatal("a file that cannot be written was")
		}
	}
	acts := must(l.Acts("shop", 100))
	if from, _ := l.Range("shop"); from != 0 || len(acts) != 1 {
		t.Fatalf("shop begins with %d and has %d acts, want 0 and one", from, len(acts))
	}
	l.Close()
	if err := os.RemoveAll(stray); err != nil {
		t.Fatal(err)
	}
	// Signed is signed: that nothing is too old any more changes nothing.
	for _, before := range []map[string]time.Time{{}, {"shop": began}} {
		state := copyLog(t, dir)
		people := filepath.Join(filepath.Dir(state), "people.db")
		if err := os.WriteFile(people, must(os.ReadFile(filepath.Join(filepath.Dir(dir), "people.db"))), 0o600); err != nil {
			t.Fatal(err)
		}
		l := must(Open(state, Options{Master: master, Checkpoint: signing}))
		if got := retain(t, l, before); len(got) != 1 || got[0].End != 32 || got[0].Act != acts[0].ID {
			t.Errorf("Retain: %+v, want what act %s says", got, acts[0].ID)
		}
		if v := must(l.Verify(context.Background(), Verification{Public: l.Public()})); len(v.Problems) > 0 || v.Dropped != 32 {
			t.Errorf("Verify: %+v", v)
		}
		if n := len(must(l.Acts("shop", 100))); n != 1 {
			t.Errorf("%d acts", n)
		}
		l.Close()
	}
}

// What holds a retention up for long is said.
func TestWhatHoldsARetentionIsSaid(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := must(Open(dir, Options{Master: master, Checkpoint: signing}))
	defer l.Close()
	decided(t, l, "shop", "u", began)
	decided(t, l, "shop", "u", began.AddDate(80, 0, 0)) // the clock was wrong for a moment
	next(t, l)
	decided(t, l, "other", "u", began)
	if err := l.begin(); err != nil { // and the one before could not be sealed
		t.Fatal(err)
	}
	before := map[string]time.Time{"shop": began.AddDate(5, 0, 0), "other": began.AddDate(5, 0, 0)}
	got := retain(t, l, before)
	if len(got) != 2 || !strings.Contains(got[0].Held, "could not be sealed") || !strings.Contains(got[1].Held, "is dated 2106-") {
		t.Errorf("Retain: %+v", got)
	}
	// Nothing is said of what is only young.
	for _, r := range retain(t, l, map[string]time.Time{"other": began.Add(-time.Hour)}) {
		if r.Held != "" {
			t.Errorf("Retain: %+v", r)
		}
	}
}

// More keys than are taken at once, while somebody who has one asks on.
func TestManyKeysGo(t *testing.T) {
	l, _, _ := old(t)
	ctx := context.Background()
	n := 2*disownedAtOnce + 100
	err := l.people.db.Commit(ctx, func(tx *bbolt.Tx) error {
		for i := range n {
			person := l.people.hash(bySubject, "shop", fmt.Sprint("gone", i))
			k, sealed, err := l.people.fresh(person)
			if err != nil {
				return err
			}
			if err := tx.Bucket(keysBucket).Put(k.id[:], sealed); err != nil {
				return err
			}
			if err := tx.Bucket(peopleBucket).Put(person[:], k.id[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var ids []string
	go func() {
		defer close(done)
		for i := range 50 {
			ids = append(ids, record(t, l, "shop", "x", fmt.Sprint("u", i%4), time.Now(), engine.Reason{Code: "x"}))
		}
	}()
	retain(t, l, shopBefore)
	<-done
	for _, id := range ids {
		if e := must(l.Show(id)); e.Decision.Unreadable != "" {
			t.Errorf("what was recorded meanwhile is %s", e.Decision.Unreadable)
		}
	}
	keys, _, err := l.people.keysAfter(keyID{}, 10*n)
	if err != nil || len(keys) > 20 {
		t.Errorf("%d keys are left, %v", len(keys), err)
	}
}

// Nothing of any dropped record is in any file, with the log open or closed.
func TestNothingIsLeftOfDroppedRecords(t *testing.T) {
	l, dir, ids := old(t)
	var needles [][]byte
	for seq := range uint64(32) {
		b := must(l.stored("shop", seq))
		needles = append(needles, b[10:40], b[len(b)-24:])
	}
	for _, id := range ids[:16] {
		needles = append(needles, []byte(id))
	}
	retain(t, l, shopBefore)
	for range 2 {
		err := filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b := must(os.ReadFile(path))
			for i, n := range needles {
				if bytes.Contains(b, n) {
					t.Errorf("%s holds piece %d of a dropped record", path, i)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

// Parts of more hashes than one tile and of more bytes than one transaction.
func TestRetentionOfLargeParts(t *testing.T) {
	l := must(Open(filepath.Join(t.TempDir(), "audit"), Options{Master: master, Checkpoint: signing}))
	defer l.Close()
	ctx := context.Background()
	add := func(site string, n int, at time.Time, cause string) {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range n / 16 {
					d := &Decision{Decision: engine.Decision{ID: engine.NewID("d", at), Time: at, Policy: "rev", Reasons: []engine.Reason{{Code: "x"}}}, Site: site, Cause: cause,
						Input: question(`{"identity":{"subject":"u"},"action":{"name":"x"}}`)}
					if err := l.Decision(ctx, d); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	var kept []Checkpoint
	for i, n := range []int{304, 512, 16, 720} {
		at := began.Add(time.Duration(i) * 24 * time.Hour)
		add("shop", n, at, "")
		if i == 1 {
			add("other", 600, at, strings.Repeat("x", 20_000)) // 12 MB that stay
		}
		kept = append(kept, must(l.Checkpoint(ctx, "shop")))
		next(t, l)
	}
	if got := retain(t, l, map[string]time.Time{"shop": began.Add(49 * time.Hour)}); got[0].Records != 304+512+16 {
		t.Fatalf("Retain: %+v", got)
	}
	if v := must(l.Verify(ctx, Verification{Public: l.Public(), Checkpoints: kept})); len(v.Problems) > 0 || v.Dropped != 304+512+16 {
		t.Errorf("Verify: %+v", v)
	}
	key := must(PublicKey("shop", l.Public()))
	for _, c := range kept {
		p := must(l.ProveConsistency(ctx, c, nil))
		if _, _, err := p.Check(key); err != nil {
			t.Errorf("from the checkpoint of %d records: %v", c.Size, err)
		}
	}
	es := must(l.List(Query{Site: "shop", Limit: 1000}))
	for i := 0; i < len(es); i += 50 {
		p := must(l.Prove(ctx, es[i].Decision.ID))
		if _, err := p.Check(key); err != nil {
			t.Error(err)
		}
	}
}
