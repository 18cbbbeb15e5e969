package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/policy"
	"vouchsafe/policies"
)

// TestListAllTurnsPages reads more decisions than one page holds: each once,
// newest first, and no more than were asked for.
func TestListAllTurnsPages(t *testing.T) {
	log, err := audit.Open(filepath.Join(t.TempDir(), auditDir), audit.Options{Master: make([]byte, 32)})
	if err != nil {
		t.Fatalf("audit.Open: %v", err)
	}
	defer log.Close()
	const total = 2*auditPage + 7
	start := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	var wg sync.WaitGroup
	for i := range total {
		wg.Go(func() {
			at := start.Add(time.Duration(i) * time.Second)
			d := audit.Decision{Site: []string{"a", "b"}[i%2], Decision: engine.Decision{ID: engine.NewID("d", at), Time: at}}
			if err := log.Decision(context.Background(), &d); err != nil {
				t.Errorf("Decision: %v", err)
			}
		})
	}
	wg.Wait()
	for _, test := range []struct{ limit, want int }{
		{1, 1}, {auditPage, auditPage}, {auditPage + 1, auditPage + 1}, {total, total}, {total + 1000, total},
	} {
		last, seen, n := map[string]uint64{"a": total, "b": total}, map[string]bool{}, 0
		err := listAll(storedAudit{log}, audit.Query{}, test.limit, func(e *audit.Entry) error {
			if e.Seq >= last[e.Site] || seen[e.Decision.ID] {
				t.Fatalf("limit %d: record %d of site %s comes after record %d, want newest first and each once", test.limit, e.Seq, e.Site, last[e.Site])
			}
			last[e.Site], seen[e.Decision.ID] = e.Seq, true
			n++
			return nil
		})
		if err != nil || n != test.want {
			t.Errorf("listAll(limit %d) = %d decisions, %v: want %d", test.limit, n, err, test.want)
		}
	}
}

// A file of more checkpoints than are looked at keeps the newest of each site.
func TestSpreadCheckpoints(t *testing.T) {
	var notes [][]byte
	for i := range 25 {
		notes = append(notes, fmt.Appendf(nil, "vouchsafe-audit/shop\n%d\n", i))
		if i < 3 {
			notes = append(notes, fmt.Appendf(nil, "vouchsafe-audit/corner\n%d\n", i))
		}
	}
	sizes := map[string][]string{}
	for _, n := range spread(notes, 10) {
		lines := strings.Split(string(n), "\n")
		sizes[lines[0]] = append(sizes[lines[0]], lines[1])
	}
	want := map[string][]string{"vouchsafe-audit/corner": {"0", "1", "2"},
		"vouchsafe-audit/shop": {"0", "3", "6", "9", "12", "15", "18", "21", "24"}}
	if diff := cmp.Diff(want, sizes); diff != "" {
		t.Errorf("sizes kept (-want +got):\n%s", diff)
	}
}

// TestTextsOfEveryCode holds that audit show has something to say to both
// readers of each reason the embedded policies give.
func TestTextsOfEveryCode(t *testing.T) {
	texts := (&cli{}).texts()
	set, err := policy.Compile(policies.FS)
	if err != nil {
		t.Fatalf("Compile: %v", err)
	}
	if texts.of != set.Revision() {
		t.Errorf("the texts are of %q, want %q", texts.of, set.Revision())
	}
	for _, code := range []string{engine.CodeIdentityAbsent, engine.CodeIdentityInvalid, engine.CodeIdentityExpired,
		"identity_too_long_lived", "identity_revoked", "email_unverified", engine.CodeTargetMismatch, engine.CodeTierInsufficient} {
		if r := texts.reasons[code]; r.Message == "" || r.Audit == "" {
			t.Errorf("texts of %s = %q, %q: want both", code, r.Message, r.Audit)
		}
	}
	if got := texts.revision("another"); got != "another (the texts above are of "+texts.of+")" {
		t.Errorf("revision(another) = %q: want it to say whose the texts are", got)
	}
}
