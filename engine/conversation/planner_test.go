package conversation

import (
	"runtime"
	"testing"
	"time"

	"vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
)

// A site that a new configuration replaced is let go, with its planner.
func TestPlannersAreLetGoWithTheirSites(t *testing.T) {
	w := enginetest.New(t, enginetest.Options{})
	s := New(w.State, w.Gate, w.Confirm, w.Clock.Now)
	kept := s.planner(w.Pro)
	for range 100 {
		site, err := gate.NewSite(w.Pro.Site, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.planner(site)
	}
	n := 0
	for range 200 { // the collector takes its time
		runtime.GC()
		n = 0
		s.planners.Range(func(any, any) bool { n++; return true })
		if n == 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n != 1 || s.planner(w.Pro) != kept {
		t.Errorf("%d planners are kept, want that of the one site in use, unchanged", n)
	}
	runtime.KeepAlive(w)
}
