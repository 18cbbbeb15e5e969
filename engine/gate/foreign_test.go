package gate_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
)

// counting counts what the gate does on its way to an answer.
type counting struct {
	*audit.Log
	decisions, outcomes int
}

func (c *counting) Decision(ctx context.Context, d *audit.Decision) error {
	c.decisions++
	return c.Log.Decision(ctx, d)
}

func (c *counting) Outcome(ctx context.Context, site string, o audit.Outcome) error {
	c.outcomes++
	return c.Log.Outcome(ctx, site, o)
}

// The gate's way to "not found" is the same for a foreign record as for one
// that does not exist: as many decisions, outcomes and calls, the same words,
// and an answer no sooner than the common floor. What takes longer than a floor
// is the outside system's time alone.
func TestForeignTakesTheWayOfMissing(t *testing.T) {
	w := New(t, Options{})
	log := &counting{Log: w.Log}
	var waits []time.Duration
	g := gate.New(gate.Options{Policy: w.Policy, Log: log, Clock: w.Clock.Now, EvaluationTimeout: 5 * time.Second, NotFoundAfter: time.Hour,
		Wait: func(_ context.Context, d time.Duration) { waits = append(waits, d) }})
	alex := w.As(t, "demo", Alex)
	way := func(action, id string) string {
		log.decisions, log.outcomes, waits = 0, 0, nil
		before := len(w.Shop.Calls())
		res, err := g.Do(ctx, request(w, alex, action, order(id)))
		held := len(waits) == 1 && waits[0] > 59*time.Minute && waits[0] <= time.Hour
		return fmt.Sprintf("%d decisions, %d outcomes, %d calls, held %v, %d records, %v",
			log.decisions, log.outcomes, len(w.Shop.Calls())-before, held, len(res.Records), err)
	}
	for _, action := range []string{"order.lookup", "order.cancel"} {
		missing := way(action, "9999")
		if foreign := way(action, "2001"); foreign != missing {
			t.Errorf("%s: a foreign order takes %s; a missing one %s", action, foreign, missing)
		}
		if nobodys := way(action, "3001"); nobodys != missing {
			t.Errorf("%s: nobody's order takes %s; a missing one %s", action, nobodys, missing)
		}
		if _, err := g.Do(ctx, request(w, alex, action, order("9999"))); engine.CodeOf(err) != engine.CodeNotFound || len(waits) == 0 {
			t.Errorf("%s: a missing order is %v after waits %v", action, err, waits)
		}
	}
	waits = nil
	for _, r := range []gate.Request{request(w, alex, "order.lookup", order("1001")), request(w, alex, "order.list", nil), request(w, alex, "order.cancel", order("1002"))} {
		if _, err := g.Do(ctx, r); err != nil || len(waits) != 0 {
			t.Errorf("%s: %v after waits %v; what is one's own is not held", r.Intent.Action, err, waits)
		}
	}
}
