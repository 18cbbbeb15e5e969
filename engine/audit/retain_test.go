package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
)

// old is a log of the sites shop and other whose first segments are old: three
// of ten records each, two days apart, and the one that takes records.
func old(t *testing.T) (l *Log, dir string, ids []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "audit")
	l, err := Open(dir, Options{Master: master, Checkpoint: signing})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for s := range 4 {
		at := began.Add(time.Duration(s) * 48 * time.Hour)
		for i := range 10 {
			id := decided(t, l, []string{"shop", "other"}[i%5/4], fmt.Sprint("u", s), at.Add(time.Duration(i)*time.Minute))
			if i%5 < 4 {
				ids = append(ids, id)
			}
		}
		if s < 3 {
			if err := l.Checkpoints(context.Background()); err != nil {
				t.Fatal(err)
			}
			next(t, l)
		}
	}
	return l, dir, ids
}

// Whoever was about to read a file in whose place retention puts another reads it
// to the end.
func TestReadersKeepTheFileTheyTook(t *testing.T) {
	l, _, _ := old(t)
	db, done, err := l.segments[0].take()
	if err != nil {
		t.Fatal(err)
	}
	retained := make(chan struct{})
	go func() {
		defer close(retained)
		retain(t, l, shopBefore)
	}()
	for from := uint64(0); from == 0; from, _ = l.Range("shop") {
		time.Sleep(time.Millisecond)
	}
	if err := view(db, func(tx *bbolt.Tx) error {
		if tx.Bucket([]byte(recordsPrefix+"shop")) == nil {
			return errors.New("the records are gone from the file")
		}
		return nil
	}); err != nil {
		t.Errorf("the reader who took the file gets: %v", err)
	}
	done()
	<-retained
}

// next begins the next segment and seals the one before.
func next(t *testing.T, l *Log) {
	t.Helper()
	s := l.active()
	if err := l.begin(); err != nil {
		t.Fatal(err)
	}
	if l.sealOne(s); !s.sealed {
		t.Fatal("a segment was not sealed")
	}
}

// decided records a decision and its outcome.
func decided(t *testing.T, l *Log, site, subject string, at time.Time) string {
	t.Helper()
	id := record(t, l, site, "order.list", subject, at)
	if err := l.Outcome(context.Background(), site, Outcome{Decision: id, Time: at, Code: "slow", Problem: "slow"}); err != nil {
		t.Fatal(err)
	}
	return id
}

// shopBefore is retention for shop alone, at a time that two segments are older
// than.
var shopBefore = map[string]time.Time{"shop": began.Add(72 * time.Hour)}

func retain(t *testing.T, l *Log, before map[string]time.Time) []Retained {
	t.Helper()
	got, err := l.Retain(context.Background(), before, "retention", Hold{}, false)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRetention(t *testing.T) {
	l, dir, ids := old(t)
	ctx := context.Background()
	var kept []Checkpoint
	err := l.Notes("shop", 0, func(size uint64, text string) error {
		key, _ := PublicKey("shop", l.Public())
		c, err := ParseCheckpoint([]byte(text), key)
		kept = append(kept, c)
		return err
	})
	if err != nil || len(kept) != 3 || kept[0].Size != 16 {
		t.Fatalf("checkpoints: %v, %v", kept, err)
	}
	was, err := os.Stat(filepath.Join(dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	secret := l.storedOf(t, "shop", 3) // bytes that must be gone

	at := map[string]Position{}
	behind := 0 // decisions of other behind shop's tenth
	all, err := l.List(Query{Limit: MaxLimit})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		at[e.Decision.ID] = e.Position()
		if _, passed := at[ids[10]]; passed && e.Site == "other" {
			behind++
		}
	}

	plan, err := l.Retain(ctx, shopBefore, "retention", Hold{}, true)
	if err != nil || len(plan) != 1 || plan[0].Records != 32 || plan[0].From != 0 || plan[0].End != 32 || plan[0].Files != 2 || plan[0].Held != "" || plan[0].Act != "" ||
		!plan[0].First.Equal(began) || plan[0].Last.Before(began.Add(48*time.Hour)) {
		t.Fatalf("what would go: %+v, %v", plan, err)
	}
	if from, _ := l.Range("shop"); from != 0 {
		t.Fatalf("a dry run dropped %d records", from)
	}
	got := retain(t, l, shopBefore)
	if got[0].Records != 32 || got[0].Act == "" {
		t.Fatalf("Retain: %+v", got)
	}
	if again := retain(t, l, shopBefore); again[0].Records != 0 || again[0].Act != "" {
		t.Errorf("once more: %+v", again)
	}

	check := func(l *Log, dir string) {
		t.Helper()
		if from, end := l.Range("shop"); from != 32 || end != 65 {
			t.Errorf("shop has records %d to %d, want 32 to 65", from, end)
		}
		if from, end := l.Range("other"); from != 0 || end != 16 {
			t.Errorf("other has records %d to %d, want 0 to 16", from, end)
		}
		v, err := l.Verify(ctx, Verification{Public: signing.Public().(ed25519.PublicKey), Checkpoints: kept})
		if err != nil || len(v.Problems) > 0 || v.Dropped != 32 || v.Records != 33+16 {
			t.Fatalf("Verify: %+v, %v", v, err)
		}
		d := v.Sites[slices.IndexFunc(v.Sites, func(s SiteLog) bool { return s.Site == "shop" })].Dropped
		if d == nil || d.Records != 32 || d.Act != got[0].Act || d.By != "retention" || !d.First.Equal(began) || !d.Last.Equal(got[0].Last) {
			t.Errorf("verify says of the dropping: %+v, want %+v", d, got[0])
		}
		for i, id := range ids {
			e, err := l.Show(id)
			if i < 16 && !errors.Is(err, ErrNotFound) {
				t.Errorf("decision %d was dropped and is shown: %+v, %v", i, e, err)
			} else if i >= 16 && (err != nil || e.Outcome == nil) {
				t.Errorf("decision %d stays and is shown as %+v, %v", i, e, err)
			}
		}
		es, err := l.List(Query{Site: "shop", Limit: 100})
		if err != nil || len(es) != 16 {
			t.Errorf("%d decisions are listed, %v; want 16", len(es), err)
		}
		if es, err := l.List(Query{Site: "shop", Before: at[ids[18]], Limit: 100}); err != nil || len(es) != 2 {
			t.Errorf("%d decisions behind one that stays, %v; want 2", len(es), err)
		}
		if es, err := l.List(Query{Before: at[ids[10]], Limit: 100}); err != nil || len(es) != behind || behind == 0 {
			t.Errorf("%d decisions behind one that is gone, %v; want the other site's %d", len(es), err, behind)
		}
		if es, err := l.List(Query{Site: "shop", Subject: "u0"}); err != nil || len(es) != 0 {
			t.Errorf("of a subject whose records are gone: %+v, %v", es, err)
		}
		if es, err := l.List(Query{Site: "shop", Code: "slow", Limit: 100}); err != nil || len(es) != 16 {
			t.Errorf("by an outcome's code: %d, %v; want 16", len(es), err)
		}
		var first uint64
		n := 0
		next, err := l.Scan("shop", 0, func(it Item) error {
			if n++; n == 1 {
				first = it.Seq
			}
			return nil
		})
		if err != nil || next != 65 || first != 32 || n != 33 {
			t.Errorf("Scan: from %d, %d records, next %d, %v", first, n, next, err)
		}
		acts, err := l.Acts("shop", 10)
		if err != nil || len(acts) != 1 || acts[0].Kind != KindRetention || acts[0].ID != got[0].Act || acts[0].Statement == "" {
			t.Errorf("acts: %+v, %v", acts, err)
		}
		for n := uint64(1); n <= 2; n++ {
			b, err := os.ReadFile(filepath.Join(dir, segmentName(n)))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, secret) || bytes.Contains(b, []byte(ids[3])) || bytes.Contains(b, []byte(ids[12])) {
				t.Errorf("%s still holds records that were dropped", segmentName(n))
			}
		}
	}
	check(l, dir)
	for _, s := range l.States() {
		if s.Site == "shop" && (s.Records != 33 || s.Dropped != 32 || s.Files != 2 || !s.Oldest.Equal(began.Add(96*time.Hour)) || s.Signed != 65 || s.SignedAt.IsZero() || !s.Unsigned.IsZero()) ||
			s.Site == "other" && (s.Records != 16 || s.Dropped != 0 || s.Files != 4 || s.Signed != 12 || s.Unsigned.IsZero()) {
			t.Errorf("state: %+v", s)
		}
	}
	if now, err := os.Stat(filepath.Join(dir, segmentName(1))); err != nil || now.Size() > was.Size() {
		t.Errorf("the first segment has %d bytes, and had %d", now.Size(), was.Size())
	}

	// Proofs of what stays, under the new and from the old checkpoints.
	key, _ := PublicKey("shop", l.Public())
	for _, id := range ids[16:] {
		p, err := l.Prove(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Check(key); err != nil {
			t.Errorf("the proof of %s: %v", id, err)
		}
	}
	if _, err := l.Prove(ctx, ids[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("Prove of a dropped decision: %v", err)
	}
	for _, c := range kept {
		p, err := l.ProveConsistency(ctx, c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Check(key); err != nil {
			t.Errorf("from the checkpoint of %d records: %v", c.Size, err)
		}
	}
	if _, err := l.Erase(ctx, "other", "socket", Person{Subject: "u0"}, nil); err != nil {
		t.Error(err)
	}

	backup := filepath.Join(t.TempDir(), "copy")
	if v, err := l.Backup(ctx, backup); err != nil || len(v.Problems) > 0 || v.Dropped != 32 {
		t.Errorf("Backup: %+v, %v", v, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dir, backup} {
		o := Options{Master: master, Checkpoint: signing, People: filepath.Join(filepath.Dir(l.dir), "people.db")}
		if l, err = Open(dir, o); err != nil {
			t.Fatal(err)
		}
		if _, end := l.Range("shop"); end != 65 {
			t.Fatalf("reopened, shop has %d records", end)
		}
		record(t, l, "other", "order.list", "u9", began) // one more is taken
		if v, err := l.Verify(ctx, Verification{Public: l.Public(), Checkpoints: kept}); err != nil || len(v.Problems) > 0 {
			t.Errorf("reopened: %+v, %v", v, err)
		}
		l.Close()
	}
}

// storedOf is a record's ciphertext: its last bytes.
func (l *Log) storedOf(t *testing.T, site string, seq uint64) []byte {
	t.Helper()
	b, err := l.stored(site, seq)
	if err != nil {
		t.Fatal(err)
	}
	return b[len(b)-24:]
}

// A retention that speaks for what an older one dropped lets the older act go.
func TestRetentionOfItsOwnActs(t *testing.T) {
	l, _, _ := old(t)
	ctx := context.Background()
	first := retain(t, l, map[string]time.Time{"shop": began.Add(24 * time.Hour)})
	next(t, l)
	// The act was made now, and so are its times: everything goes but what comes.
	record(t, l, "shop", "order.list", "u8", time.Now().Add(time.Hour), engine.Reason{Code: "x"})
	second := retain(t, l, map[string]time.Time{"shop": time.Now().Add(time.Minute)})
	if first[0].End != 16 || second[0].From != 16 || second[0].Records != 32+1+16 {
		t.Fatalf("first %+v, then %+v", first, second)
	}
	v, err := l.Verify(ctx, Verification{Public: l.Public()})
	if err != nil || len(v.Problems) > 0 || v.Sites[1].Dropped == nil || v.Sites[1].Dropped.Act != second[0].Act || !v.Sites[1].Dropped.First.Equal(began) {
		t.Errorf("Verify: %+v, %v", v, err)
	}
	if acts, err := l.Acts("shop", 10); err != nil || len(acts) != 1 {
		t.Errorf("acts: %+v, %v", acts, err)
	}
}

// What something may yet follow from stays, and so does what does not verify.
func TestWhatRetentionLeaves(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		name string
		why  string
		do   func(t *testing.T, l *Log, ids []string) Hold
	}{
		{"what outcomes are not settled of", "may lack their outcome", func(*testing.T, *Log, []string) Hold {
			return Hold{Settled: func(string) uint64 { return 20 }}
		}},
		{"a decision that is waited for", "still waited for", func(_ *testing.T, _ *Log, ids []string) Hold {
			return Hold{Decisions: func(string) ([]string, error) { return []string{ids[9]}, nil }}
		}},
		{"a decision without its outcome", "no outcome yet", func(t *testing.T, l *Log, _ []string) Hold { return Hold{} }},
		{"a record that was changed", "not as it was written", func(t *testing.T, l *Log, _ []string) Hold {
			l.segments[1].close()
			edit(t, l.dir, 2, func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte(recordsPrefix + "shop"))
				v := bytes.Clone(b.Get(seqKey(20)))
				v[len(v)-1] ^= 1
				return b.Put(seqKey(20), v)
			})
			return Hold{}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l *Log
			var ids []string
			if strings.Contains(test.name, "without") {
				l, _, ids = oldWithOpen(t)
			} else {
				l, _, ids = old(t)
			}
			hold := test.do(t, l, ids)
			got, err := l.Retain(ctx, shopBefore, "retention", hold, false)
			if err != nil || got[0].End != 16 || !strings.Contains(got[0].Held, test.why) {
				t.Errorf("Retain: %+v, %v; want the first segment alone, held for %q", got, err, test.why)
			}
			if from, _ := l.Range("shop"); from != 16 {
				t.Errorf("records before %d were dropped, want 16", from)
			}
		})
	}
	l, _, _ := old(t)
	l.o.Checkpoint = nil
	if _, err := l.Retain(ctx, shopBefore, "retention", Hold{}, false); !errors.Is(err, ErrNoCheckpointKey) {
		t.Errorf("without a key to sign with: %v", err)
	}
}

// oldWithOpen is old with a decision in the second segment that has no outcome.
func oldWithOpen(t *testing.T) (*Log, string, []string) {
	t.Helper()
	l, dir, ids := old(t)
	l.Close()
	os.RemoveAll(dir)
	l, err := Open(dir, Options{Master: master, Checkpoint: signing, People: filepath.Join(filepath.Dir(dir), "people2.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for s := range 3 {
		at := began.Add(time.Duration(s) * 48 * time.Hour)
		for range 8 {
			decided(t, l, "shop", "u1", at)
		}
		if s == 1 {
			record(t, l, "shop", "order.list", "u1", at)
		}
		next(t, l)
	}
	return l, dir, ids
}

// The process may end at any moment: what is found then opens, verifies, and is
// gone on with.
func TestRetentionSurvivesItsEnd(t *testing.T) {
	l, dir, _ := old(t)
	ctx := context.Background()
	root := filepath.Dir(dir)
	states := map[string]string{}
	n := 0
	l.step = func(step string) {
		n++
		name := fmt.Sprint(n, " ", step)
		to := filepath.Join(t.TempDir(), "state")
		if err := os.CopyFS(to, os.DirFS(root)); err != nil {
			t.Error(err)
		}
		states[name] = to
		if step == "written" { // and half of the file
			half := filepath.Join(t.TempDir(), "half")
			if err := os.CopyFS(half, os.DirFS(to)); err != nil {
				t.Error(err)
			}
			for _, e := range must(os.ReadDir(filepath.Join(half, "audit"))) {
				if strings.HasSuffix(e.Name(), ".new") {
					os.Truncate(filepath.Join(half, "audit", e.Name()), 10000)
				}
			}
			states[name+" by half"] = half
		}
	}
	retain(t, l, shopBefore)
	if len(states) != 1+2+2+2 {
		t.Fatalf("states: %v", states)
	}
	for name, state := range states {
		t.Run(name, func(t *testing.T) {
			l, err := Open(filepath.Join(state, "audit"), Options{Master: master, Checkpoint: signing})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			for _, e := range must(os.ReadDir(l.dir)) {
				if strings.HasSuffix(e.Name(), ".new") {
					t.Errorf("%s is left", e.Name())
				}
			}
			if v, err := l.Verify(ctx, Verification{Public: l.Public()}); err != nil || len(v.Problems) > 0 || v.Dropped%16 != 0 {
				t.Errorf("Verify: %+v, %v", v, err)
			}
			retain(t, l, shopBefore)
			if from, _ := l.Range("shop"); from != 32 {
				t.Errorf("gone on with, records before %d are dropped, want 32", from)
			}
			if v, err := l.Verify(ctx, Verification{Public: l.Public()}); err != nil || len(v.Problems) > 0 || v.Dropped != 32 {
				t.Errorf("Verify after it was gone on with: %+v, %v", v, err)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Records go while they are read and written.
func TestRetentionWhileInUse(t *testing.T) {
	l, _, ids := old(t)
	ctx := context.Background()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	loop := func(do func() error) {
		wg.Go(func() {
			for {
				if err := do(); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	loop(func() error { _, err := l.List(Query{Site: "shop", Limit: 100}); return err })
	loop(func() error {
		last := int64(-1)
		_, err := l.Scan("shop", 0, func(it Item) error {
			if int64(it.Seq) <= last {
				return fmt.Errorf("record %d after %d", it.Seq, last)
			}
			last = int64(it.Seq)
			return nil
		})
		return err
	})
	loop(func() error {
		v, err := l.Verify(ctx, Verification{Public: l.Public()})
		if err == nil && len(v.Problems) > 0 {
			err = errors.New(v.Problems[0].String())
		}
		return err
	})
	loop(func() error {
		if _, err := l.Show(ids[5]); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		_, err := l.Show(ids[20])
		return err
	})
	n := 0
	loop(func() error {
		n++
		d := &Decision{Decision: engine.Decision{ID: engine.NewID("d", time.Now()), Time: time.Now(), Policy: "rev", Reasons: []engine.Reason{{Code: "x"}}}, Site: "shop",
			Input: question(fmt.Sprintf(`{"identity":{"subject":"w%d"},"action":{"name":"x"}}`, n%50))}
		if err := l.Decision(ctx, d); err != nil {
			return err
		}
		e, err := l.Show(d.ID)
		if err == nil && e.Decision.Unreadable != "" {
			err = fmt.Errorf("a record that was just made is %s", e.Decision.Unreadable)
		}
		return err
	})
	// A reader holds the old file open all the while.
	held, release := make(chan struct{}), make(chan struct{})
	wg.Go(func() {
		err := l.segments[0].view(func(tx *bbolt.Tx) error {
			close(held)
			<-release
			_, err := tx.WriteTo(io.Discard)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-held
	gone := make(chan struct{})
	replaced := make(chan struct{})
	l.step = func(step string) {
		if step == "replaced" {
			select {
			case <-replaced:
			default:
				close(replaced)
			}
		}
	}
	go func() { retain(t, l, shopBefore); close(gone) }()
	<-replaced
	close(release)
	<-gone
	close(stop)
	wg.Wait()
	if from, _ := l.Range("shop"); from != 32 {
		t.Errorf("records before %d were dropped, want 32", from)
	}
}

// A person's key goes with the last record that needs it, and no sooner.
func TestKeysGoWithTheirRecords(t *testing.T) {
	l, dir, _ := old(t)
	ctx := context.Background()
	keys := map[string]keyID{}
	for _, u := range []string{"u0", "u1", "u2", "u3"} {
		keys[u] = keyOf(t, l, u)
	}
	// u0 is seen again, under the same key.
	again := record(t, l, "shop", "order.list", "u0", began.Add(200*time.Hour), engine.Reason{Code: "x"})
	retain(t, l, shopBefore)
	have := func(u string) bool {
		k, err := l.people.byID(keys[u])
		if err != nil {
			t.Fatal(err)
		}
		return k != nil
	}
	if !have("u0") || have("u1") || !have("u2") || !have("u3") {
		t.Errorf("keys: u0 %v, u1 %v, u2 %v, u3 %v; want all but u1's", have("u0"), have("u1"), have("u2"), have("u3"))
	}
	u1 := keys["u1"]
	b, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "people.db"))
	if err != nil || bytes.Contains(b, u1[:]) {
		t.Errorf("the file of keys still names u1's (%v)", err)
	}
	if e, err := l.Show(again); err != nil || e.Decision.Unreadable != "" {
		t.Errorf("u0's newest record: %+v, %v", e, err)
	}
	// Whoever comes back gets another key, and is found and erased by it.
	back := record(t, l, "shop", "order.list", "u1", began.Add(201*time.Hour), engine.Reason{Code: "x"})
	if e, err := l.Show(back); err != nil || e.About.Identity.Subject != "u1" {
		t.Errorf("u1 came back: %+v, %v", e, err)
	}
	if got, err := l.Erase(ctx, "shop", "socket", Person{Subject: "u1"}, nil); err != nil || got.Keys < 1 {
		t.Errorf("Erase: %+v, %v", got, err)
	}
	if e, err := l.Show(back); err != nil || e.Decision.Unreadable != UnreadableErased {
		t.Errorf("after the erasure: %+v, %v", e, err)
	}
	// Nothing was dropped since, so that nothing is looked for.
	if done := must(l.people.swept()); done["shop"] != 32 {
		t.Errorf("keys were swept for %v", done)
	}
}

// Whose address others typed is known by the subject's entry, which stays while
// the others' records do.
func TestTheSubjectOfAnAddressStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := must(Open(dir, Options{Master: master, Checkpoint: signing}))
	defer l.Close()
	say := func(subject, email, asserted string, at time.Time) string {
		in, _ := json.Marshal(map[string]any{"identity": map[string]any{"state": "verified", "subject": subject, "email": email},
			"action": map[string]any{"name": "x", "args": map[string]any{"q": asserted}}, "asserted": map[string]any{"emails": []string{asserted}, "names": []string{}}})
		d := &Decision{Decision: engine.Decision{ID: engine.NewID("d", at), Time: at, Policy: "rev", Reasons: []engine.Reason{{Code: "x"}}}, Site: "shop", Input: question(in)}
		if err := l.Decision(context.Background(), d); err != nil {
			t.Fatal(err)
		}
		return d.ID
	}
	say("u1", "jane@x.com", "", began)
	next(t, l)
	typed := say("u2", "bob@x.com", "jane@x.com", began.Add(100*time.Hour))
	next(t, l)
	retain(t, l, shopBefore)
	if got, err := l.Erase(context.Background(), "shop", "socket", Person{Subject: "u1"}, nil); err != nil || got.Keys != 2 {
		t.Errorf("Erase: %+v, %v; want the subject's key and the address's", got, err)
	}
	if e, err := l.Show(typed); err != nil || strings.Contains(string(e.Decision.Input), "jane") {
		t.Errorf("what another typed: %s, %v", e.Decision.Input, err)
	}
}
