package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/store"
)

// The next segment is in place and cannot be opened: the old one grows on, and
// the log opens again.
func TestARollThatFailsAfterItsRename(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	fail := true
	o := Options{Master: master, SegmentAge: time.Nanosecond, Store: store.Options{OpenFile: func(n string, f int, m os.FileMode) (*os.File, error) {
		if fail && strings.HasSuffix(n, "00000002.db") {
			return nil, errors.New("too many open files")
		}
		return os.OpenFile(n, f, m)
	}}}
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		record(t, l, "shop", "order.list", "u1", began) // acknowledged
	}
	t.Log("health:", l.Health())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fail = false
	if l, err = Open(dir, Options{Master: master}); err != nil {
		t.Fatal("a log in which everything was acknowledged and which was closed in order does not open:", err)
	}
	l.Close()
}

// An emptied segment is not taken for a new one.
func TestAnEmptiedSegmentIsRefused(t *testing.T) {
	l, dir := openLog(t)
	record(t, l, "shop", "order.list", "u1", began)
	l.Close()
	if err := os.Truncate(filepath.Join(dir, "00000001.db"), 0); err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir, Options{Master: master})
	if err == nil {
		defer l.Close()
		t.Error("an emptied log opens, sites:", l.Sites())
	}
}

// A log does not begin in its middle.
func TestAMissingFirstSegmentIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, err := Open(dir, Options{Master: master, SegmentAge: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		record(t, l, "shop", "order.list", "u1", began)
	}
	l.Close()
	if err := os.Remove(filepath.Join(dir, "00000001.db")); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(dir, Options{Master: master}); err == nil {
		from, end := l.Range("shop")
		l.Close()
		t.Errorf("opens in silence with %d to %d", from, end)
	}
}

// A lost people.db does not make everybody look erased.
func TestMissingKeysAreNotMadeAnew(t *testing.T) {
	l, dir := openLog(t)
	id := record(t, l, "shop", "order.list", "u1", began)
	l.Close()
	if err := os.Remove(filepath.Join(filepath.Dir(dir), "people.db")); err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir, Options{Master: master})
	if err == nil {
		defer l.Close()
		e, err := l.Show(id)
		t.Error("opens in silence; the record says:", e.Decision.Unreadable, err)
	}
}

const cuttable = `{"identity":{"state":"verified","subject":"u1","email":"me@example.com"},"action":{"name":"kb.answer","args":ARGS},"asserted":{"emails":EMAILS,"names":[]},"channel":"chat"}`

// left records, erases whom, and returns the input that is still readable.
func left(t *testing.T, args, emails string, erase ...string) string {
	t.Helper()
	l, _ := openLog(t)
	in := strings.NewReplacer("ARGS", args, "EMAILS", emails).Replace(cuttable)
	d := &Decision{Decision: engine.Decision{ID: engine.NewID("d", began), Time: began, Policy: "rev"}, Site: "shop", Input: question(in)}
	if err := l.Decision(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	var who []personID
	for _, e := range erase {
		who = append(who, l.people.hash(byEmail, "shop", foldAddress(e)))
	}
	if _, err := l.people.erase(context.Background(), nil, who...); err != nil {
		t.Fatal(err)
	}
	e, err := l.Show(d.ID)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.Decision.Input)
}

func TestErasureLeavesNoSpelling(t *testing.T) {
	for name, c := range map[string]struct{ args, emails, erase, find string }{
		"control":                           {`{"question":"tell jane@x.com that"}`, `["jane@x.com"]`, "jane@x.com", "jane"},
		"two in escaped text":               {`{"question":"tell bob@x.com\nand jane@x.com"}`, `["bob@x.com","jane@x.com"]`, "jane@x.com", "jane"},
		"member's name":                     {`{"jane@x.com":"yes"}`, `["jane@x.com"]`, "jane@x.com", "jane"},
		"with display name":                 {`{}`, `["Jane <jane@x.com>"]`, "jane@x.com", "jane@x.com"},
		"mailto":                            {`{}`, `["mailto:jane@x.com"]`, "jane@x.com", "jane@x.com"},
		"planner's =":                       {`{"question":"email=jane@x.com"}`, `["email=jane@x.com"]`, "jane@x.com", "jane@x.com"},
		"declared argument, action channel": {`{"question":"tell jane@x.com that"}`, `[]`, "jane@x.com", "jane"},
		"beside a letter":                   {`{"question":"联系jane@x.com谢谢"}`, `["jane@x.com"]`, "jane@x.com", "jane"},
		"the ninth":                         {`{"question":"a1@x.com a2@x.com a3@x.com a4@x.com a5@x.com a6@x.com a7@x.com a8@x.com jane@x.com"}`, `["a1@x.com","a2@x.com","a3@x.com","a4@x.com","a5@x.com","a6@x.com","a7@x.com","a8@x.com"]`, "jane@x.com", "jane"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := left(t, c.args, c.emails, c.erase); strings.Contains(got, c.find) {
				t.Errorf("still readable: %s", got)
			}
		})
	}
}

// What cannot be read at the moment is not called damaged.
func TestUnavailableIsNotDamaged(t *testing.T) {
	l, _ := openLog(t)
	id := record(t, l, "shop", "order.list", "u1", began)
	l.people.forget()
	l.people.db.Close()
	e, err := l.Show(id)
	if err == nil {
		t.Errorf("says %q without an error", e.Decision.Unreadable)
	}
}

// A record that stands in another's place, or another site's, is not read.
func TestARecordInAnothersPlaceIsNotRead(t *testing.T) {
	l, dir := openLog(t)
	a := record(t, l, "shop", "order.list", "u1", began)
	b := record(t, l, "other", "order.list", "u2", began)
	l.Close()
	db, err := bbolt.Open(filepath.Join(dir, "00000001.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Update(func(tx *bbolt.Tx) error {
		v := append([]byte{}, tx.Bucket([]byte("records/other")).Get(seqKey(0))...)
		return tx.Bucket([]byte("records/shop")).Put(seqKey(0), v)
	})
	db.Close()
	if l, err = Open(dir, Options{Master: master}); err != nil {
		return
	}
	defer l.Close()
	_, _ = a, b
	es, err := l.List(Query{Site: "shop"})
	if err == nil && len(es) == 1 && es[0].About.Identity.Subject == "u2" {
		t.Errorf("site shop shows %s of site other, entry.Site %q", es[0].Decision.ID, es[0].Site)
	}
}

// A file that is damaged under a running server is refused, and says so; it does
// not end the server.
func TestADamagedFileIsRefused(t *testing.T) {
	l, dir := openLog(t)
	record(t, l, "shop", "order.list", "u1", began)
	file, err := os.OpenFile(filepath.Join(dir, "00000001.db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// All but its two meta pages.
	if _, err := file.WriteAt(make([]byte, info.Size()-2*4096), 2*4096); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d := &Decision{Decision: engine.Decision{ID: engine.NewID("d", began), Time: began}, Site: "shop", Input: question("{}")}
		if err := l.Decision(context.Background(), d); engine.CodeOf(err) != engine.CodeAuditUnavailable {
			t.Errorf("Decision in a damaged file: %v", err)
		}
	}
	if err := l.Health(); err == nil {
		t.Error("a damaged log is well")
	} else {
		t.Log(err)
	}
}
