package main

import (
	"strings"
	"testing"
	"time"

	"vouchsafe/engine/audit"
	"vouchsafe/engine/httpapi"
)

// A log that grows and is not signed is a problem; one that rests is none.
func TestUnsignedLogsAreAProblem(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		state audit.State
		want  string
	}{
		{"all is signed, long ago", audit.State{Site: "shop", Records: 5, Signed: 5, SignedAt: now.Add(-time.Hour)}, ""},
		{"it has just grown", audit.State{Site: "shop", Records: 6, Signed: 5, SignedAt: now.Add(-time.Hour), Unsigned: now.Add(-time.Minute)}, ""},
		{"nothing is there", audit.State{Site: "shop"}, ""},
		{"it has grown for a while", audit.State{Site: "shop", Records: 6, Dropped: 10, Signed: 15, Unsigned: now.Add(-5 * time.Minute)},
			"no checkpoint of the log of site shop has been signed for 5m0s: it is signed up to record 15 of 16"},
	} {
		if got := strings.Join(unsigned([]audit.State{c.state}, now), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTheLogInWords(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		state httpapi.LogState
		want  string
	}{
		{httpapi.LogState{State: audit.State{Site: "shop", Records: 6, Dropped: 10, Files: 2, Oldest: now.Add(-48 * time.Hour), Newest: now, Signed: 16, SignedAt: now.Add(-30 * time.Second)}, RetentionDays: 400},
			"shop: 6 records in 2 file(s), from 2026-02-28 09:00:00Z to 2026-03-02 09:00:00Z, 10 dropped before, signed up to 16 30s ago, kept 400 days"},
		{httpapi.LogState{State: audit.State{Site: "_gate", Records: 1, Files: 1, Oldest: now, Newest: now}},
			"_gate: 1 records in 1 file(s), from 2026-03-02 09:00:00Z to 2026-03-02 09:00:00Z, signed by no checkpoint, kept for ever"},
	} {
		if got := logLine(&c.state, now); got != c.want {
			t.Errorf("logLine = %q, want %q", got, c.want)
		}
	}
}
