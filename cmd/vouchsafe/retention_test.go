package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/doubt"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/sink"
	"vouchsafe/engine/store"
	"vouchsafe/engine/tally"
)

// ancient writes a log that begins with files of 2020, and sets OLD to the
// first decision in it and NEW to the last, which is of now: `ancient DATA`.
func ancient(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ancient DATA")
	}
	data := ts.MkAbs(args[0])
	keys, err := keysBeside(data)
	ts.Check(err)
	o := auditOptions(keys, nil)
	o.SegmentAge = time.Nanosecond // a file for each record
	log, err := audit.Open(filepath.Join(data, auditDir), o)
	ts.Check(err)
	site := &engine.Site{ID: "shop", Tier: engine.Pro}
	for day := range 3 {
		at := time.Date(2020, 1, 1+day, 9, 0, 0, 0, time.UTC)
		id := engine.NewID("d", at)
		ts.Check(log.Decision(context.Background(), &audit.Decision{Decision: engine.Decision{ID: id, Time: at, Allow: true, Policy: "p"}, Site: "shop",
			Input: &policy.Input{Site: site, Identity: policy.Identity{State: "verified", Subject: "cus_old", Email: "old@example.com"},
				Action: &engine.Action{Name: "order.list", Personal: true, Risk: engine.Read}, Channel: engine.ChannelChat, Now: at}}))
		ts.Check(log.Outcome(context.Background(), "shop", audit.Outcome{Decision: id, Time: at, Released: 1}))
		if day == 0 {
			ts.Setenv("OLD", id)
		}
	}
	id := engine.NewID("d", time.Now())
	ts.Check(log.Decision(context.Background(), &audit.Decision{Decision: engine.Decision{ID: id, Time: time.Now(), Policy: "p", Reasons: []engine.Reason{{Code: engine.CodeIdentityAbsent}}}, Site: "shop",
		Input: &policy.Input{Site: site, Identity: policy.Identity{State: "absent"}, Action: &engine.Action{Name: "order.list", Personal: true, Risk: engine.Read},
			Channel: engine.ChannelChat, Now: time.Now()}}))
	ts.Setenv("NEW", id)
	ts.Check(log.Close())
}

// shelf takes what a sink sends.
type shelf struct{ ids []string }

func (s *shelf) Send(_ context.Context, batch []sink.Record) error {
	for _, r := range batch {
		s.ids = append(s.ids, r.ID)
	}
	return nil
}

func (s *shelf) Close() error { return nil }

// Whoever follows the log goes on behind what was dropped, and a sink says how
// much it missed.
func TestWhoFollowsALogWithDroppedRecords(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	o := auditOptions(testKeys(t, filepath.Join(dir, "data")), nil)
	o.SegmentAge = time.Nanosecond
	log, err := audit.Open(filepath.Join(dir, "data", auditDir), o)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	state, err := store.Open(filepath.Join(dir, "state.db"), "state", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	var late string // a decision that goes, with an outcome that stays
	for i := range 6 {
		at := time.Date(2020, 1, 1+i, 9, 0, 0, 0, time.UTC)
		id := engine.NewID("d", at)
		if err := log.Decision(ctx, &audit.Decision{Decision: engine.Decision{ID: id, Time: at, Allow: true}, Site: "shop"}); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			late = id
			at = at.AddDate(1, 0, 0)
		}
		if err := log.Outcome(ctx, "shop", audit.Outcome{Decision: id, Time: at}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if log, err = audit.Open(filepath.Join(dir, "data", auditDir), o); err != nil { // seals what was left
		t.Fatal(err)
	}
	got, err := log.Retain(ctx, map[string]time.Time{"shop": time.Date(2020, 1, 4, 0, 0, 0, 0, time.UTC)}, "socket", audit.Hold{}, false)
	if err != nil || got[0].Records != 5 {
		t.Fatalf("Retain: %+v, %v", got, err)
	}

	target := &shelf{}
	s, err := sink.New(sink.Options{Name: "s", Source: sink.Records(false), Log: log, State: state, Clock: time.Now, Logger: slog.New(slog.DiscardHandler)}, target)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	for deadline := time.Now().Add(time.Minute); s.Status().Sent < 8 && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if st := s.Status(); st.Missed != 5 || st.Behind != 0 || st.Sent != 8 || target.ids[0] != "shop/5" {
		t.Errorf("the sink is %+v and began with %s; want 5 missed, and 7 records and the act sent", st, target.ids[0])
	}

	counts, err := tally.Open(log, state, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := counts.Look(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Show(late); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("Show: %v", err)
	}
	// What an earlier process left is looked for in what is there.
	watch, err := doubt.New(log, state, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if report, err := watch.Settle(ctx, nil); err != nil || report != (doubt.Report{}) {
		t.Errorf("Settle: %+v, %v", report, err)
	}
	if _, end := log.Range("shop"); watch.Settled("shop") != end {
		t.Errorf("settled up to %d, want %d", watch.Settled("shop"), end)
	}
}

// Files are begun often enough for the shortest retention, and not too often.
func TestSegmentAge(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		retentions []time.Duration
		want       time.Duration
	}{
		{nil, 0}, {[]time.Duration{0, 0}, 0}, {[]time.Duration{0, 400 * day}, 7 * day}, {[]time.Duration{400 * day, 32 * day}, 4 * day}, {[]time.Duration{7 * day, 0}, day},
	} {
		var sites []siteSettings
		for _, r := range c.retentions {
			sites = append(sites, siteSettings{retention: r})
		}
		if got := segmentAge(sites); got != c.want {
			t.Errorf("segmentAge(%v) = %v, want %v", c.retentions, got, c.want)
		}
	}
}
