// Package crash_test kills the built server at random moments under load and
// holds what is on its disk against what its clients were told and what the
// shop saw.
package crash_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"vouchsafe/tests/harness"
	"vouchsafe/tests/witness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// rounds is how often the server is killed.
func rounds(t *testing.T) int {
	if s := os.Getenv("VOUCHSAFE_CRASH_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("VOUCHSAFE_CRASH_ROUNDS is %q, want a number", s)
		}
		return n
	}
	if testing.Short() {
		return 4
	}
	return 20
}

// liveFor is how long a server lives, at most, between start and kill.
const liveFor = 400 * time.Millisecond

// Whatever moment the server is killed at: its files open again, its log
// verifies, every decision it acknowledged is there, every call that the shop
// saw was allowed by a decision on disk, nothing happened twice, and after the
// next start nothing is left without an outcome.
func TestKilledUnderLoad(t *testing.T) {
	s := harness.Start(t, harness.Config{Quiet: true})
	known, disk := witness.New(), witness.NewDisk()
	for round := range rounds(t) {
		begun := time.Now()
		if round > 0 {
			s.Restart()
		}
		wait := known.Load(t.Context(), t, s)
		time.Sleep(rand.N(liveFor))
		s.Kill()
		wait()
		s.Verify(t)
		disk.Read(s.Audit(t, "--since", begun.Add(-time.Second).UTC().Format(time.RFC3339)))
		known.Check(t, disk, s.Shop.Calls())
		if t.Failed() {
			t.Fatalf("in round %d", round+1)
		}
	}
	s.Restart()
	if code := s.Stop(); code != 0 {
		t.Errorf("the server ended with status %d after the last round", code)
	}
	all := witness.NewDisk()
	all.Read(s.Audit(t))
	known.Check(t, all, s.Shop.Calls())
	all.CheckSettled(t)
	if !disk.Same(all) {
		t.Error("the log read at the end is not what was read round by round")
	}
	t.Logf("%d decisions on disk, %d calls and %d writes at the shop; %s", len(all.Entries), s.Shop.Count(), len(s.Shop.Writes()), known)
	if known.Decisions() < 20*rounds(t) || len(s.Shop.Writes()) < rounds(t) {
		t.Error("that was too little load to prove anything")
	}
}
