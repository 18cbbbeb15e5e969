package gate_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/limit"
)

const twicePerDay = `{"kind": "limit", "n": 2, "window": "24h"}`

// refused is the code of a request that was not carried out, "" for one that was.
func refused(res gate.Result, err error) string {
	if err == nil && !res.Decision.Allow {
		return res.Decision.Reasons[0].Code
	}
	return engine.CodeOf(err)
}

func TestLimitRefusesOneTooMany(t *testing.T) {
	w := New(t, Options{Policies: Obliging(t, "order.list", twicePerDay)})
	list := func(who identity.Result) (gate.Result, error) {
		return w.Gate.Do(ctx, request(w, who, "order.list", nil))
	}
	alex := w.As(t, "demo", Alex)
	for i := range 2 {
		if res, err := list(alex); refused(res, err) != "" || len(res.Records) != 2 {
			t.Fatalf("use %d: %+v, %v", i+1, res, err)
		}
		w.Clock.Add(time.Minute)
	}
	calls := len(w.Shop.Calls())
	res, err := list(alex)
	if refused(res, err) != engine.CodeLimitReached || len(w.Shop.Calls()) != calls || len(res.Records) != 0 {
		t.Fatalf("a third use: %+v, %v with %d calls; want limit_reached and none", res, err, len(w.Shop.Calls())-calls)
	}
	if want := Start.Add(24 * time.Hour); !res.Decision.RetryAt.Equal(want) {
		t.Errorf("again from %s, want %s", res.Decision.RetryAt, want)
	}
	if m := res.Decision.Reasons[0].Message; !strings.Contains(m, "from Tuesday 24 November 2026 at 10:00 GMT") {
		t.Errorf("%q does not say from when", m)
	}
	e, err := w.Log.Show(res.Decision.ID)
	if err != nil || e.Decision.Allow || len(e.Decision.Obligations) != 1 || e.Decision.Obligations[0] != "limit 2/24h" || e.Code() != engine.CodeLimitReached {
		t.Errorf("recorded %+v, %v; want limit_reached under limit 2/24h", e.Decision, err)
	}
	if d, err := w.Gate.Ask(ctx, request(w, alex, "order.list", map[string]any{})); err != nil || d.Allow || d.Reasons[0].Code != engine.CodeLimitReached {
		t.Errorf("asked: %+v, %v; want limit_reached", d, err)
	}
	// Nobody else and nothing else is concerned, nor the same person's other name.
	if res, err := list(w.As(t, "demo", Jordan)); refused(res, err) != "" {
		t.Errorf("another customer: %s", refused(res, err))
	}
	if res, err := w.Gate.Do(ctx, request(w, alex, "booking.list", nil)); refused(res, err) != "" {
		t.Errorf("another action: %s", refused(res, err))
	}
	renamed := w.Verify("demo", w.Token(t, "demo", Person{Subject: Alex.Subject, Email: "alex.new@example.com", Name: "A."}, nil))
	if res, err := list(renamed); refused(res, err) != engine.CodeLimitReached {
		t.Errorf("the same subject by another address: %q, want limit_reached", refused(res, err))
	}
	// The window slides: each use frees its own place when it leaves.
	w.Clock.Add(24*time.Hour - 2*time.Minute - time.Second)
	if res, err := list(w.As(t, "demo", Alex)); refused(res, err) != engine.CodeLimitReached {
		t.Errorf("a second early: %q, want limit_reached", refused(res, err))
	}
	w.Clock.Add(time.Second)
	if res, err := list(w.As(t, "demo", Alex)); refused(res, err) != "" {
		t.Errorf("after 24h: %q", refused(res, err))
	}
	if res, err := list(w.As(t, "demo", Alex)); refused(res, err) != engine.CodeLimitReached {
		t.Errorf("again at once: %q, want limit_reached, for the second use still counts", refused(res, err))
	}
}

// However many ask at once, on two gates over one file, no more than n pass.
func TestLimitHoldsAgainstACrowd(t *testing.T) {
	const n = 5
	w := New(t, Options{Policies: Obliging(t, "shop.hours", `{"kind": "limit", "n": 5, "window": "1h"}`)})
	other := gate.New(gate.Options{Policy: w.Policy, Log: w.Log, Clock: w.Clock.Now, EvaluationTimeout: time.Minute, Uses: limit.New(w.State)})
	alex := w.As(t, "demo", Alex)
	var passed, stopped atomic.Int64
	var wg sync.WaitGroup
	for i := range 60 {
		g := w.Gate
		if i%2 == 1 {
			g = other
		}
		wg.Go(func() {
			switch res, err := g.Do(ctx, request(w, alex, "shop.hours", nil)); refused(res, err) {
			case "":
				passed.Add(1)
			case engine.CodeLimitReached:
				stopped.Add(1)
				if e, coded := errors.AsType[*engine.Error](err); coded && e.RetryAfter != time.Hour {
					t.Errorf("retry after %s, want 1h", e.RetryAfter)
				}
			default:
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
	wg.Wait()
	if passed.Load() != n || stopped.Load() != 55 || len(w.Shop.Calls()) != n {
		t.Errorf("%d passed, %d were stopped, %d calls; want %d, 55, %d", passed.Load(), stopped.Load(), len(w.Shop.Calls()), n, n)
	}
}

// A use is counted when its call is made: not when it is asked about, nor when
// it waits for a yes; and it is on disk before the shop hears of it.
func TestLimitCountsTheCall(t *testing.T) {
	w := New(t, Options{Policies: Obliging(t, "order.cancel", `{"kind": "limit", "n": 1, "window": "1h"}`)})
	alex := w.As(t, "demo", Alex)
	use := gate.Use{Site: "demo", Action: "order.cancel", Subject: Alex.Subject, At: Start,
		Limits: []engine.Obligation{{Kind: engine.ObligationLimit, N: 1, Window: time.Hour}}}
	counted := func() bool {
		next, err := limit.New(w.State).Next(use)
		if err != nil {
			t.Error(err)
		}
		return next.After(Start)
	}
	cancel := request(w, alex, "order.cancel", order("1002"))
	for range 3 {
		if _, err := w.Gate.Ask(ctx, cancel); err != nil {
			t.Fatal(err)
		}
		if res, err := w.Gate.Do(ctx, cancel); err != nil || !res.Pending {
			t.Fatalf("%+v, %v; want a question", res, err)
		}
	}
	if counted() {
		t.Fatal("a question was counted")
	}
	asked := false
	w.Shop.Fail = func(c gate.Claim) error {
		if c.Action == "order.cancel" {
			asked = true
			if !counted() {
				t.Error("the shop was called before the use was on disk")
			}
		}
		return nil
	}
	first, second := confirmed(t, w, cancel), confirmed(t, w, cancel)
	if res, err := w.Confirm.Do(ctx, cancel, first); refused(res.Result, err) != "" || !asked {
		t.Fatalf("the yes: %+v, %v", res, err)
	}
	if res, err := w.Confirm.Do(ctx, cancel, second); refused(res.Result, err) != engine.CodeLimitReached {
		t.Fatalf("a second yes: %+v, %v; want limit_reached", res, err)
	}
	// It was not carried out, so it may be within its life once there is room.
	if res, err := w.Confirm.Do(ctx, cancel, second); refused(res.Result, err) != engine.CodeLimitReached {
		t.Errorf("the second yes again: %v; want limit_reached, not confirmation_spent", err)
	}
}

// confirmed returns a pending action of r that waits for its yes.
func confirmed(t *testing.T, w *World, r gate.Request) string {
	t.Helper()
	res, err := w.Confirm.Do(ctx, r, "")
	if err != nil || res.Issued == nil {
		t.Fatalf("%+v, %v; want a question", res, err)
	}
	return res.Issued.ID
}

// Only what certainly did nothing gives its use back.
func TestLimitIsGivenBackOnlyWhenNothingWasDone(t *testing.T) {
	for _, c := range []struct {
		code string
		back bool
	}{
		{engine.CodeConnectorFailed, true}, {engine.CodeOutcomeUnknown, false},
		{engine.CodeConnectorTimeout, false}, {engine.CodeNotFound, false},
	} {
		w := New(t, Options{Policies: Obliging(t, "booking.reschedule", `{"kind": "limit", "n": 1, "window": "1h"}`)})
		alex := w.As(t, "demo", Alex)
		move := request(w, alex, "booking.reschedule", map[string]any{"booking_id": "B-1", "start": "2026-12-01T10:00:00Z"})
		w.Shop.Fail = func(at gate.Claim) error {
			if at.Action == "booking.reschedule" {
				return &engine.Error{Code: c.code, Message: "no"}
			}
			return nil
		}
		if res, err := w.Gate.Do(ctx, move); refused(res, err) != c.code {
			t.Fatalf("%s: %+v, %v", c.code, res, err)
		}
		w.Shop.Fail = nil
		want := engine.CodeLimitReached
		if c.back {
			want = ""
		}
		if res, err := w.Gate.Do(ctx, move); refused(res, err) != want {
			t.Errorf("after %s: %q, want %q", c.code, refused(res, err), want)
		}
	}
}

// Nor does going away in the middle of a read make it unread.
func TestLimitCountsReadsThatWereAbandoned(t *testing.T) {
	w := New(t, Options{Policies: Obliging(t, "order.list", `{"kind": "limit", "n": 1, "window": "1h"}`)})
	alex := w.As(t, "demo", Alex)
	gone, cancel := context.WithCancel(ctx)
	w.Shop.Fail = func(gate.Claim) error {
		cancel()
		return &engine.Error{Code: engine.CodeConnectorFailed, Message: "Cancelled."}
	}
	if res, err := w.Gate.Do(gone, request(w, alex, "order.list", nil)); refused(res, err) != engine.CodeClientGone {
		t.Fatalf("%+v, %v; want client_gone", res, err)
	}
	if res, err := w.Gate.Do(ctx, request(w, alex, "order.list", nil)); refused(res, err) != engine.CodeLimitReached {
		t.Errorf("after an abandoned read: %q, want limit_reached", refused(res, err))
	}
}

// The reads that prove whose a record is are uses of theirs like any other: a
// question shows what it found.
func TestLimitCountsReadsThatProve(t *testing.T) {
	w := New(t, Options{Policies: Obliging(t, "order.lookup", twicePerDay)})
	alex := w.As(t, "demo", Alex)
	for range 2 {
		if res, err := w.Gate.Do(ctx, request(w, alex, "order.cancel", order("1002"))); err != nil || !res.Pending {
			t.Fatalf("%+v, %v; want a question", res, err)
		}
	}
	calls := len(w.Shop.Calls())
	_, err := w.Gate.Do(ctx, request(w, alex, "order.cancel", order("1002")))
	e, _ := errors.AsType[*engine.Error](err)
	if e == nil || e.Code != engine.CodeLimitReached || e.RetryAfter != 24*time.Hour || len(w.Shop.Calls()) != calls {
		t.Errorf("%+v with %d further calls; want limit_reached, again in 24h", err, len(w.Shop.Calls())-calls)
	}
}

// Who is not known has no uses of their own, and signs in first.
func TestLimitWantsToKnowWho(t *testing.T) {
	w := New(t, Options{Policies: Obliging(t, "shop.hours", twicePerDay)})
	expired := w.Token(t, "demo", Alex, nil)
	gone := w.Token(t, "demo", Jordan, nil)
	w.Clock.Add(4 * time.Minute)
	if _, err := w.Revoked.Subject(ctx, "demo", Jordan.Subject); err != nil {
		t.Fatal(err)
	}
	for want, token := range map[string]string{engine.CodeIdentityAbsent: "", engine.CodeIdentityInvalid: "x.y.z", engine.CodeIdentityRevoked: gone} {
		if res, err := w.Gate.Do(ctx, request(w, w.Verify("demo", token), "shop.hours", nil)); refused(res, err) != want {
			t.Errorf("%+v, %v; want %s", res, err, want)
		}
	}
	w.Clock.Add(5 * time.Minute)
	if res, err := w.Gate.Do(ctx, request(w, w.Verify("demo", expired), "shop.hours", nil)); refused(res, err) != engine.CodeIdentityExpired {
		t.Errorf("%+v, %v; want identity_expired", res, err)
	}
	if n := len(w.Shop.Calls()); n != 0 {
		t.Errorf("the shop saw %d calls", n)
	}
	if res, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "shop.hours", nil)); refused(res, err) != "" {
		t.Errorf("somebody who is known: %+v, %v", res, err)
	}
}

// Where uses cannot be counted, or nobody counts them, nothing is done.
func TestLimitThatCannotBeCounted(t *testing.T) {
	w := New(t, Options{Policies: Obliging(t, "order.list", twicePerDay)})
	alex := w.As(t, "demo", Alex)
	uncounted := gate.New(gate.Options{Policy: w.Policy, Log: w.Log, Clock: w.Clock.Now, EvaluationTimeout: time.Minute})
	if res, err := uncounted.Do(ctx, request(w, alex, "order.list", nil)); refused(res, err) != engine.CodeUnsupportedObligation {
		t.Errorf("nobody counts: %+v, %v; want unsupported_obligation", res, err)
	}
	if res, err := w.Gate.Do(ctx, request(w, alex, "order.list", nil)); refused(res, err) != "" {
		t.Fatalf("%+v, %v", res, err)
	}
	calls := len(w.Shop.Calls())
	for _, text := range []string{`{"v":2,"uses":[]}`, `no`} {
		err := w.State.Commit(ctx, func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("limits"))
			key, value := b.Cursor().First()
			return b.Put(append([]byte{}, key...), append(append([]byte{}, value[:8]...), text...)) // 8 bytes say until when
		})
		if err != nil {
			t.Fatal(err)
		}
		if res, err := w.Gate.Do(ctx, request(w, alex, "order.list", nil)); refused(res, err) != engine.CodeAuditUnavailable {
			t.Errorf("uses %s: %+v, %v; want audit_unavailable", text, res, err)
		}
	}
	if err := w.State.Close(); err != nil {
		t.Fatal(err)
	}
	if res, err := w.Gate.Do(ctx, request(w, alex, "order.list", nil)); refused(res, err) != engine.CodeAuditUnavailable {
		t.Errorf("a closed file: %+v, %v; want audit_unavailable", res, err)
	}
	if n := len(w.Shop.Calls()) - calls; n != 0 {
		t.Errorf("the shop saw %d calls", n)
	}
}

// A file that fails between the look and the count stops the call.
type failsToCount struct{ gate.Uses }

func (failsToCount) Take(context.Context, gate.Use) (time.Time, error) {
	return time.Time{}, errors.New("disk")
}

func TestLimitThatFailsWhenItCounts(t *testing.T) {
	w := New(t, Options{Policies: Obliging(t, "order.list", twicePerDay)})
	g := gate.New(gate.Options{Policy: w.Policy, Log: w.Log, Clock: w.Clock.Now, EvaluationTimeout: time.Minute,
		Uses: failsToCount{limit.New(w.State)}})
	res, err := g.Do(ctx, request(w, w.As(t, "demo", Alex), "order.list", nil))
	if err == nil || len(w.Shop.Calls()) != 0 {
		t.Errorf("%+v, %v with %d calls; want an error and none", res, err, len(w.Shop.Calls()))
	}
}

// Every obligation out of shape denies, whoever asks for what.
func TestObligationsOutOfShapeDeny(t *testing.T) {
	for _, o := range []string{
		`{"kind": "limit"}`, `{"kind": "limit", "n": 3}`, `{"kind": "limit", "window": "1h"}`,
		`{"kind": "limit", "n": 0, "window": "1h"}`, `{"kind": "limit", "n": -1, "window": "1h"}`, `{"kind": "limit", "n": 1.5, "window": "1h"}`,
		`{"kind": "limit", "n": 1001, "window": "1h"}`, `{"kind": "limit", "n": "3", "window": "1h"}`, `{"kind": "limit", "n": 3, "window": 60}`,
		`{"kind": "limit", "n": 3, "window": "0s"}`, `{"kind": "limit", "n": 3, "window": "1.5h"}`, `{"kind": "limit", "n": 3, "window": "-1h"}`,
		`{"kind": "limit", "n": 3, "window": "367d"}`, `{"kind": "limit", "n": 3, "window": "1w"}`, `{"kind": "limit", "n": 3, "window": "1h", "also": 1}`,
		`{"kind": "limit", "n": 3, "window": "01h"}`, `{"kind": "limit", "n": 3, "window": ""}`,
		`{"kind": "step_up"}`, `{"kind": "step_up", "max_age": 300}`, `{"kind": "step_up", "max_age": "0s"}`, `{"kind": "step_up", "acr": []}`,
		`{"kind": "step_up", "acr": "urn:a"}`, `{"kind": "step_up", "acr": [1]}`, `{"kind": "step_up", "acr": [""]}`, `{"kind": "step_up", "acr": ["a b"]}`,
		`{"kind": "step_up", "acr": ["a\"b"]}`, `{"kind": "step_up", "max_age": "5m", "acr": []}`, `{"kind": "step_up", "n": 3}`,
		`{"kind": "confirm", "n": 3}`, `{"kind": "ownership"}`, `{"kind": 1}`, `{"kind": ""}`, `{"n": 3}`, `"limit"`,
	} {
		w := New(t, Options{Policies: only(t, `decision := {"allow": true, "reasons": [], "obligations": [`+o+`]}`, releaseAll)})
		alex := w.Verify("demo", w.Token(t, "demo", Alex, func(c jwt.MapClaims) { c["auth_time"], c["acr"] = w.Clock.Now().Unix(), "urn:a" }))
		for _, action := range []string{"order.list", "shop.hours"} {
			if res, err := w.Gate.Do(ctx, request(w, alex, action, nil)); refused(res, err) != engine.CodePolicyError {
				t.Errorf("%s, %s: %+v, %v; want policy_error", o, action, res.Decision, err)
			}
		}
		if n := len(w.Shop.Calls()); n != 0 {
			t.Errorf("%s: the shop saw %d calls", o, n)
		}
	}
	for _, o := range []string{`{"kind": "dance"}`, `{"kind": "dance", "with": "me"}`, `{"kind": "Limit", "n": 3, "window": "1h"}`} {
		w := New(t, Options{Policies: only(t, `decision := {"allow": true, "reasons": [], "obligations": [`+o+`]}`, releaseAll)})
		if res, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "order.list", nil)); refused(res, err) != engine.CodeUnsupportedObligation {
			t.Errorf("%s: %+v, %v; want unsupported_obligation", o, res.Decision, err)
		}
	}
}
