package audit

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/store"
)

// A start does not build on a changed record.
func TestAStartHashesWhatItBuildsOn(t *testing.T) {
	l, dir := openLog(t)
	for range 3 {
		record(t, l, "shop", "order.list", "u1", began)
	}
	l.Close()
	db, err := bbolt.Open(filepath.Join(dir, "00000001.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("records/shop"))
		v := append([]byte{}, b.Get(seqKey(1))...)
		v[len(v)-1] ^= 1
		return b.Put(seqKey(1), v)
	})
	db.Close()
	if l, err = Open(dir, Options{Master: master}); err != nil {
		return
	}
	defer l.Close()
	t.Error("opens, takes records behind it, and would sign:", l.Health())
}

// A copy of the keys that a crash left is cleared away.
func TestHalfACopyOfTheKeysIsCleared(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "people.db")
	s, err := OpenSealer(p, master)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	b, _ := os.ReadFile(p)
	os.WriteFile(p+".new", b, 0o644)
	if s, err = OpenSealer(p, master); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if i, err := os.Stat(p + ".new"); err == nil {
		t.Errorf("a second copy of all keys lies beside, mode %v", i.Mode())
	}
}

// Nothing of a person is in clear in a segment.
func TestNothingPersonalInClear(t *testing.T) {
	l, dir := openLog(t)
	d := &Decision{Decision: engine.Decision{ID: engine.NewID("d", began), Time: began, Allow: true, Policy: "rev"}, Site: "shop", Cause: "CAUSEMARK", Problem: "PROBMARK",
		Input: question(`{"identity":{"state":"verified","subject":"SUBJMARK","email":"mailmark@example.com","token_id":"TOKMARK"},"action":{"name":"order.list","args":{"q":"ARGMARK othermark@example.com"}},"asserted":{"emails":["othermark@example.com"],"names":["NAMEMARK"]},"conversation":{"id":"CONVMARK"}}`)}
	if err := l.Decision(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	l.Outcome(context.Background(), "shop", Outcome{Decision: d.ID, Time: began, Problem: "OUTMARK", IdempotencyKey: "IDEMMARK"})
	l.Act(context.Background(), Act{Time: began, Site: "shop", By: "socket", Kind: "revocation", Subject: "SUBJMARK", TokenID: "TOKMARK"})
	l.Close()
	ro, err := Open(dir, Options{Master: master, Store: store.Options{ReadOnly: true}})
	if err == nil {
		ro.Close()
	}
	for _, f := range []string{filepath.Join(dir, "00000001.db"), filepath.Join(filepath.Dir(dir), "people.db")} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []string{"CAUSEMARK", "PROBMARK", "SUBJMARK", "mailmark", "TOKMARK", "ARGMARK", "othermark", "NAMEMARK", "CONVMARK", "OUTMARK", "IDEMMARK"} {
			if strings.Contains(string(b), m) {
				t.Errorf("%s in clear in %s", m, f)
			}
		}
	}
}
