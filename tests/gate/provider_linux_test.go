package gate_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

// The provider is killed while 32 callers write through it, each time with a
// write on its way that the shop has received. Nobody's write happens twice, and
// what everybody is told is true: done, not done, or not certain.
func TestProviderIsKilledUnderWrites(t *testing.T) {
	t.Parallel()
	const callers, each, fatal = 32, 2, 12
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	w := start(t)
	var arrived atomic.Int64
	w.Shop.Before(func(c harness.Call) {
		// Every so many writes, the one at hand is the last of its provider's.
		if c.Method == http.MethodPatch && arrived.Add(1)%fatal == 0 && arrived.Load() <= int64(rounds*fatal) {
			for _, pid := range harness.Children(t, w.PID()) {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	type write struct {
		begins string
		told   harness.Acted
	}
	var mu sync.Mutex
	var writes []write
	for round := range rounds {
		arrived.Store(int64(round * fatal))
		var all sync.WaitGroup
		for caller := range callers {
			all.Go(func() {
				for n := range each {
					begins := time.Date(2030, 1, 1, round, caller, n, 0, time.UTC).Format(time.RFC3339)
					told := w.Act(t, shop, w.alex, "appointments.move", args{"reference": "AX-10", "begins": begins}, "")
					mu.Lock()
					writes = append(writes, write{begins, told})
					mu.Unlock()
				}
			})
		}
		all.Wait()
		ok := false
		for range 200 {
			if ok = w.Act(t, shop, w.alex, "appointments.mine", nil, "").Status == http.StatusOK; ok {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if !ok {
			t.Fatalf("round %d: the provider was not started again", round)
		}
	}
	seen := map[string]int{}
	for _, c := range w.Shop.Calls() {
		if c.Method == http.MethodPatch {
			seen[c.Body]++
		}
	}
	ended := map[string]int{}
	for _, one := range writes {
		n := 0
		for body, times := range seen {
			if strings.Contains(body, one.begins) {
				n += times
			}
		}
		told := fmt.Sprintf("%d %s", one.told.Status, one.told.Code)
		ended[told]++
		least, most := 0, 0
		switch told {
		case "200 ":
			least, most = 1, 1
		case "502 connector_failed":
		case "502 outcome_unknown", "504 outcome_unknown":
			most = 1
		default:
			t.Errorf("%s: %s, which is no ending of a write: %s", one.begins, told, one.told.Raw)
			continue
		}
		if n < least || n > most {
			t.Errorf("%s: told %s, and the shop received it %d times", one.begins, told, n)
		}
	}
	t.Logf("the writes ended: %v", ended)
	if len(writes) != rounds*callers*each || ended["200 "] == 0 || ended["502 outcome_unknown"]+ended["504 outcome_unknown"] < rounds {
		t.Errorf("of %d writes: %v; want some that were done, and one in doubt for each provider killed", len(writes), ended)
	}
	w.Verify(t)
}
