package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/policy"
	"vouchsafe/policies"
)

// BenchmarkReplayLog replays the log of a stopped server: reading, decoding and
// evaluating, on one core with -cpu 1.
func BenchmarkReplayLog(b *testing.B) {
	data := b.TempDir()
	const total = 4000
	writeLog(b, data, total)
	candidate := b.TempDir()
	if err := os.CopyFS(candidate, policies.FS); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		args := []string{"policy", "replay", "--data", data, "--candidate", candidate, "--max-allow-to-deny", "0"}
		if code := run(b.Context(), args, nil, io.Discard, io.Discard); code != 0 {
			b.Fatalf("vouchsafe %q = %d", args, code)
		}
		n += total
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "decisions/s")
}

func writeLog(t testing.TB, data string, total int) {
	t.Helper()
	set, err := policy.Compile(policies.FS)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(data, auditDir), auditOptions(testKeys(t, data), nil))
	if err != nil {
		t.Fatal(err)
	}
	site := &engine.Site{ID: "demo", Tier: engine.Pro, MaxTokenLifetime: 15 * time.Minute}
	lookup := &engine.Action{Name: "order.lookup", Personal: true, Risk: engine.Read, MinTier: engine.Pro}
	start := time.Now().Add(-time.Hour)
	var wg sync.WaitGroup
	for i := range total {
		wg.Go(func() {
			at := start.Add(time.Duration(i) * time.Millisecond)
			in := &policy.Input{Site: site, Action: lookup, Args: map[string]any{"order_id": fmt.Sprint(1000 + i)}, Target: "alex@example.com",
				Identity: policy.Identity{State: "verified", Subject: "cus_alex", Email: "alex@example.com", Name: "Alex Morgan",
					TokenID: fmt.Sprint("t", i), IssuedAt: at, ExpiresAt: at.Add(5 * time.Minute), Lifetime: 5 * time.Minute},
				Channel: engine.ChannelChat, Now: at, Conversation: policy.Conversation{ID: "cv_1", Subject: "cus_alex"}}
			d := audit.Decision{Site: site.ID, Input: in, Decision: engine.Decision{ID: engine.NewID("d", at), Time: at,
				Allow: true, Policy: set.Revision()}}
			if err := log.Decision(context.Background(), &d); err != nil {
				t.Errorf("Decision: %v", err)
			}
		})
	}
	wg.Wait()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}
