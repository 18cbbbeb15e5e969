package audit_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
)

func TestActs(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "audit")
	l, err := audit.Open(path, audit.Options{Master: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	first := audit.Act{Time: now, Site: "shop", By: "socket", Kind: "revocation", Subject: "c-1"}
	second := audit.Act{Time: now.Add(time.Second), Site: "shop", By: "on-call", Kind: "revocation", TokenID: "t-1"}
	other := audit.Act{Time: now, Site: "shop2", By: "socket", Kind: "revocation", Subject: "c-2"}
	for _, a := range []audit.Act{first, second, other} {
		if id, err := l.Act(ctx, a); err != nil || id == "" {
			t.Fatalf("Act(%+v) = %q, %v", a, id, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Act(ctx, first); engine.CodeOf(err) != engine.CodeAuditUnavailable {
		t.Errorf("an act that cannot be recorded: %v, want audit_unavailable", err)
	}

	if l, err = audit.Open(path, audit.Options{Master: make([]byte, 32)}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for site, want := range map[string][]audit.Act{"shop": {second, first}, "shop2": {other}, "shop3": {}} {
		got, err := l.Acts(site, 10)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(audit.Act{}, "ID", "Version")); err != nil || diff != "" {
			t.Errorf("Acts(%s): %v (-want +got):\n%s", site, err, diff)
		}
	}
	if got, err := l.Acts("shop", 1); err != nil || len(got) != 1 || got[0].TokenID != "t-1" {
		t.Errorf("Acts(shop, 1) = %+v, %v", got, err)
	}
	// Acts are no decisions.
	if es, err := l.List(audit.Query{}); err != nil || len(es) != 0 {
		t.Errorf("List = %+v, %v", es, err)
	}
}
