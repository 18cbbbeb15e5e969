package sink_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/engine/audit"
	"vouchsafe/engine/export"
	"vouchsafe/engine/sink"
	"vouchsafe/engine/store"
)

// paper is a log in memory.
type paper struct {
	mu      sync.Mutex
	sites   map[string][]audit.Item
	from    map[string]uint64 // the oldest that is kept
	changed chan struct{}
}

func newPaper() *paper {
	return &paper{sites: map[string][]audit.Item{}, from: map[string]uint64{}, changed: make(chan struct{})}
}

func (p *paper) add(site string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range n {
		seq := uint64(len(p.sites[site]))
		id := fmt.Sprintf("d_%s_%d", site, seq)
		it := audit.Item{Site: site, Seq: seq, Written: int64(seq)}
		switch seq % 4 {
		case 0:
			it.Decision = &audit.Record{ID: id, Reasons: []string{"identity_absent"}, Problem: "alex@example.com",
				Input: json.RawMessage(`{"identity":{"state":"verified","subject":"c-1001"},"action":{"name":"order.list","args":{"q":"alex@example.com"}}}`)}
		case 1:
			it.Decision = &audit.Record{ID: id, Allow: true, Input: json.RawMessage(`{"identity":{"state":"verified","subject":"c-1001"},"action":{"name":"order.lookup","risk":"read"}}`)}
		case 2:
			it.Outcome = &audit.Outcome{Decision: fmt.Sprintf("d_%s_%d", site, seq-1), IdempotencyKey: "c-1001"}
		case 3:
			it.Act = &audit.Act{ID: "a_1", Kind: "revocation", By: "socket", Subject: "c-1001"}
		}
		p.sites[site] = append(p.sites[site], it)
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *paper) Sites() []string { return []string{"corner", "shop"} }

func (p *paper) Range(site string) (from, end uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.from[site], uint64(len(p.sites[site]))
}

func (p *paper) Scan(site string, from uint64, fn func(audit.Item) error) (uint64, error) {
	p.mu.Lock()
	items := p.sites[site]
	from = max(from, p.from[site]) // the log passes over what retention has dropped
	p.mu.Unlock()
	for _, it := range items[from:] {
		if err := fn(it); err != nil {
			return it.Seq, err
		}
	}
	return uint64(len(items)), nil
}

func (p *paper) Show(id string) (audit.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for site, items := range p.sites {
		for _, it := range items {
			if it.Decision != nil && it.Decision.ID == id {
				e := audit.Entry{Site: site, Decision: *it.Decision, Outcome: &audit.Outcome{Decision: id}}
				return e, e.ReadAbout()
			}
		}
	}
	return audit.Entry{}, audit.ErrNotFound
}

// Notes has a checkpoint after every fourth record.
func (p *paper) Notes(site string, size uint64, fn func(uint64, string) error) error {
	_, end := p.Range(site)
	for n := uint64(4); n <= end; n += 4 {
		if n <= size {
			continue
		}
		if err := fn(n, fmt.Sprintf("vouchsafe-audit/%s\n%d\nroot\n\n— sig\n", site, n)); err != nil {
			return err
		}
	}
	return nil
}

func (p *paper) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// drawer is a target that fails when it is told to, and says when it got something.
type drawer struct {
	mu   sync.Mutex
	got  []sink.Record
	fail func(batch []sink.Record) error
	seen chan struct{}
}

func newDrawer() *drawer { return &drawer{seen: make(chan struct{}, 1000)} }

func (d *drawer) Send(_ context.Context, batch []sink.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { d.seen <- struct{}{} }()
	if d.fail != nil {
		if err := d.fail(batch); err != nil {
			return err
		}
	}
	d.got = append(d.got, batch...)
	return nil
}

func (d *drawer) Close() error { return nil }

// ids are what came, in order, with how often.
func (d *drawer) ids() (ids []string, times map[string]int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	times = map[string]int{}
	for _, r := range d.got {
		ids = append(ids, r.ID)
		times[r.ID]++
	}
	return ids, times
}

func state(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "state.db"), "state", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// running runs a sink until the returned function is called.
func running(t *testing.T, p *paper, db *store.DB, target sink.Target, change func(*sink.Options)) (*sink.Sink, func()) {
	t.Helper()
	o := sink.Options{Name: "s", Kind: "drawer", Source: sink.Records(false), Log: p, State: db, Clock: time.Now, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	s, err := sink.New(o, target)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return s, stop
}

// until waits for the target to be given something until done.
func (d *drawer) until(t *testing.T, done func() bool) {
	t.Helper()
	for late := time.After(20 * time.Second); !done(); {
		select {
		case <-d.seen:
		case <-late:
			ids, _ := d.ids()
			t.Fatalf("the target has %d records, and nothing more comes", len(ids))
		}
	}
}

func (d *drawer) has(n int) func() bool {
	return func() bool { _, times := d.ids(); return len(times) >= n }
}

// What a target refuses it is given again, in order and under the same ids; what
// it took is not sent again, by the next process neither.
func TestNothingIsLost(t *testing.T) {
	p, db, d := newPaper(), state(t), newDrawer()
	p.add("shop", 600)
	p.add("corner", 3)
	tries := 0
	d.fail = func([]sink.Record) error {
		if tries++; tries == 2 {
			return errors.New("not now")
		}
		return nil
	}
	s, stop := running(t, p, db, d, nil)
	d.until(t, d.has(603))
	p.add("shop", 5) // it wakes up for more
	d.until(t, d.has(608))
	stop()
	ids, times := d.ids()
	next := map[string]int{}
	for _, id := range ids {
		site, _, _ := strings.Cut(id, "/")
		if want := fmt.Sprint(site, "/", next[site]); id != want || times[id] != 1 {
			t.Fatalf("got %s (%d times), want %s once", id, times[id], want)
		}
		next[site]++
	}
	if st := s.Status(); st.Behind != 0 || st.Sent != 608 || st.Problem != "" || st.Last.IsZero() {
		t.Errorf("status %+v", st)
	}

	p.add("shop", 1)
	again := newDrawer()
	_, stop = running(t, p, db, again, nil)
	again.until(t, again.has(1))
	stop()
	if ids, _ := again.ids(); len(ids) != 1 || ids[0] != "shop/605" {
		t.Errorf("the next process sent %v, want shop/605 alone", ids)
	}
}

// A target that takes records and says it did not gets them again.
func TestALostAnswerRepeats(t *testing.T) {
	p, db, d := newPaper(), state(t), newDrawer()
	p.add("shop", 3)
	lost := false
	d.fail = func(batch []sink.Record) error {
		if !lost {
			lost = true
			d.got = append(d.got, batch...)
			return &sink.RetryError{After: time.Millisecond, Err: errors.New("no answer")}
		}
		return nil
	}
	running(t, p, db, d, nil)
	d.until(t, func() bool { _, times := d.ids(); return times["shop/0"] == 2 && times["shop/2"] == 2 })
}

// A target that is down is behind and says why; what retention drops meanwhile is
// counted.
func TestADeadTarget(t *testing.T) {
	p, db, d := newPaper(), state(t), newDrawer()
	p.add("shop", 10)
	d.fail = func([]sink.Record) error { return errors.New("connection refused") }
	s, stop := running(t, p, db, d, nil)
	<-d.seen
	<-d.seen // by the second try, the first failure is noted
	if st := s.Status(); st.Behind != 10 || st.Problem != "connection refused" || st.Failing.IsZero() {
		t.Errorf("status %+v", st)
	}
	stop()
	p.mu.Lock()
	p.from["shop"] = 4
	p.mu.Unlock()
	back := newDrawer()
	s, stop = running(t, p, db, back, nil)
	back.until(t, back.has(6))
	stop()
	if ids, _ := back.ids(); ids[0] != "shop/4" || len(ids) != 6 {
		t.Errorf("sent %v, want what is kept", ids)
	}
	if st := s.Status(); st.Missed != 4 || st.Behind != 0 {
		t.Errorf("status %+v, want 4 missed", st)
	}
}

// Only the sites it is for, and nobody in what is sent unless that is wanted.
func TestWhatIsSent(t *testing.T) {
	for _, c := range []struct {
		name     string
		source   sink.Source
		want     int
		personal bool
	}{
		{"records", sink.Records(false), 4, false},
		{"records with people", sink.Records(true), 4, true},
		{"ocsf", sink.Documents(export.OCSF, export.Options{}), 2, false},
		{"ocsf with people", sink.Documents(export.OCSF, export.Options{Personal: true}), 2, true},
		{"opa", sink.Documents(export.OPA, export.Options{}), 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, db, d := newPaper(), state(t), newDrawer()
			p.add("corner", 4)
			p.add("shop", 4)
			s, stop := running(t, p, db, d, func(o *sink.Options) { o.Source, o.Sites = c.source, []string{"shop"} })
			d.until(t, d.has(c.want))
			stop()
			if st := s.Status(); st.Behind != 0 {
				t.Errorf("status %+v", st)
			}
			if len(d.got) != c.want {
				t.Errorf("%d records, want %d", len(d.got), c.want)
			}
			for _, r := range d.got {
				if !strings.HasPrefix(r.ID, "shop/") {
					t.Errorf("%s was sent", r.ID)
				}
				for _, personal := range []string{"c-1001", "alex@example.com"} {
					if bytes.Contains(r.Body, []byte(personal)) && !c.personal {
						t.Errorf("%s holds %s: %s", r.ID, personal, r.Body)
					}
				}
				if !json.Valid(r.Body) || bytes.Contains(r.Body, []byte("\n")) {
					t.Errorf("%s is not one line of JSON: %s", r.ID, r.Body)
				}
			}
			if c.personal && !bytes.Contains(d.got[0].Body, []byte("c-1001")) {
				t.Errorf("the person is missing: %s", d.got[0].Body)
			}
		})
	}
}

// Checkpoints are sent each once, in order, as they were signed, also those that
// were signed while the target was away and whose records are dropped by now; how
// many records none of them covers is what the sink is behind.
func TestCheckpointsAreSent(t *testing.T) {
	for _, plain := range []bool{true, false} {
		p, db, d := newPaper(), state(t), newDrawer()
		p.add("shop", 4*300)
		p.mu.Lock()
		p.from["shop"] = 1000
		p.mu.Unlock()
		change := func(o *sink.Options) { o.Source = sink.Checkpoints(plain) }
		_, stop := running(t, p, db, d, change)
		d.until(t, d.has(300))
		stop()
		p.add("shop", 6) // one more checkpoint, and two records behind it
		s, stop := running(t, p, db, d, change)
		d.until(t, d.has(301))
		stop()
		for i, r := range d.got {
			size := 4 * (i + 1)
			text := string(r.Body) + "\n"
			if !plain {
				var got struct {
					ID, Site, Kind, Checkpoint string
					Size                       int
				}
				if err := json.Unmarshal(r.Body, &got); err != nil || got.ID != r.ID || got.Kind != "checkpoint" || got.Site != "shop" || got.Size != size {
					t.Fatalf("%s: %v", r.Body, err)
				}
				text = got.Checkpoint
			}
			if want := fmt.Sprintf("vouchsafe-audit/shop\n%d\nroot\n\n— sig\n", size); text != want || r.ID != fmt.Sprintf("shop/checkpoint/%d", size) {
				t.Fatalf("%s is %q, want %q", r.ID, text, want)
			}
		}
		if st := s.Status(); len(d.got) != 301 || st.Behind != 2 || st.Missed != 0 {
			t.Errorf("%d were sent, status %+v; want 301, two records behind and none missed", len(d.got), st)
		}
	}
}
