package connectors

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
)

// script is a provider that says one thing after the other, the last for ever.
type script struct {
	says  []said
	calls int
	keys  []string
}

type said struct {
	reply *provider.Reply
	err   error
}

func status(s int) said { return said{reply: &provider.Reply{Status: s, Body: []byte("{}")}} }

func broke(code string, notSent bool) said {
	return said{err: &provider.Error{Code: code, NotSent: notSent}}
}

func (s *script) Do(_ context.Context, call provider.Call) (*provider.Reply, error) {
	now := s.says[min(s.calls, len(s.says)-1)]
	s.calls++
	s.keys = append(s.keys, call.IdempotencyKey)
	return now.reply, now.err
}

func TestReadsAreTriedAgainAndWritesAreNot(t *testing.T) {
	busy := said{reply: &provider.Reply{Status: 429, RetryAfter: 7 * time.Second}}
	late := said{reply: &provider.Reply{Status: 429, RetryAfter: time.Hour}}
	ok, lost, unsent := status(200), broke(provider.CodeUpstreamBroke, false), broke(provider.CodeUpstreamRefused, true)
	tests := []struct {
		name         string
		says         []said
		reads        int // calls of a read
		writes       int // and of a write
		last         int // status of a read's reply; 0 for an error
		pause        time.Duration
		pauseAtLeast time.Duration
	}{
		{name: "fine", says: []said{ok}, reads: 1, writes: 1, last: 200},
		{name: "500 then fine", says: []said{status(500), ok}, reads: 2, writes: 1, last: 200, pauseAtLeast: firstBackOff},
		{name: "twice, then fine", says: []said{status(503), lost, ok}, reads: 3, writes: 1, last: 200},
		{name: "for ever", says: []said{status(502)}, reads: 3, writes: 1, last: 502},
		{name: "busy, and says until when", says: []said{busy, ok}, reads: 2, writes: 1, last: 200, pause: 7 * time.Second},
		{name: "busy for longer than there is time", says: []said{late, ok}, reads: 1, writes: 1, last: 429},
		{name: "broken off", says: []said{lost, ok}, reads: 2, writes: 1, last: 200},
		{name: "not sent", says: []said{unsent, ok}, reads: 2, writes: 2, last: 200},
		{name: "too slow", says: []said{{err: &provider.Error{Code: provider.CodeUpstreamTimeout, Timeout: true}}, ok}, reads: 1, writes: 1},
		{name: "what no repetition mends", says: []said{broke(provider.CodeUnknownConnection, true)}, reads: 1, writes: 1},
		{name: "a refusal", says: []said{status(404)}, reads: 1, writes: 1, last: 404},
		{name: "a system that cannot", says: []said{status(501)}, reads: 1, writes: 1, last: 501},
	}
	for _, tt := range tests {
		for _, writes := range []bool{false, true} {
			s := &script{says: tt.says}
			var pauses []time.Duration
			g := NewGuard(s, func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil })
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			reply, _, _ := g.do(ctx, provider.Call{Site: "s", Connection: "c", IdempotencyKey: "pa_1"}, writes, maxAsked)
			cancel()
			want := tt.reads
			if writes {
				want = tt.writes
			}
			if s.calls != want {
				t.Errorf("%s, writes %v: %d calls, want %d", tt.name, writes, s.calls, want)
			}
			if slices.ContainsFunc(s.keys, func(k string) bool { return k != "pa_1" }) {
				t.Errorf("%s: keys %v are not one", tt.name, s.keys)
			}
			if writes {
				continue
			}
			got := 0
			if reply != nil {
				got = reply.Status
			}
			if got != tt.last || tt.pause > 0 && !slices.Equal(pauses, []time.Duration{tt.pause}) ||
				tt.pauseAtLeast > 0 && (len(pauses) != 1 || pauses[0] < tt.pauseAtLeast || pauses[0] > 2*tt.pauseAtLeast) {
				t.Errorf("%s: status %d after pauses %v", tt.name, got, pauses)
			}
		}
	}
}

func TestASystemThatKeepsFailingIsLeftAlone(t *testing.T) {
	s := &script{says: []said{status(503)}}
	g := NewGuard(s, noWait)
	call := provider.Call{Site: "s", Connection: "c"}
	for range failingCalls {
		if reply, _, err := g.do(context.Background(), call, true, maxAsked); err != nil || reply.Status != 503 {
			t.Fatalf("do = %v, %v", reply, err)
		}
	}
	before := s.calls
	_, _, err := g.do(context.Background(), call, true, maxAsked)
	held, ok := errors.AsType[*heldBack](err)
	if !ok || held.retryAfter <= 0 || s.calls != before {
		t.Fatalf("do = %v after %d more calls; want it held back, with a time", err, s.calls-before)
	}
	if code := engine.CodeOf(unanswered(context.Background(), err, true)); code != engine.CodeConnectorFailed {
		t.Errorf("a write that was held back is %s: nothing was sent", code)
	}
	// Another connection is not touched, nor the same name at another site.
	for _, other := range []provider.Call{{Site: "s", Connection: "d"}, {Site: "t", Connection: "c"}} {
		if _, _, err := g.do(context.Background(), other, true, maxAsked); err != nil {
			t.Errorf("%v: %v", other, err)
		}
	}
	states := g.States()
	if len(states) != 3 || !states[0].Open || states[0].RetryIn <= 0 || states[1].Open || states[2].Open ||
		states[0].Counts[endedHeld] != 1 || states[0].Counts[endedFailed] != failingCalls {
		t.Errorf("States = %+v", states)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(g)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, f := range families {
		text += f.String()
	}
	for _, want := range []string{"vouchsafe_connection_left_alone", "vouchsafe_connection_calls_total", "held_back"} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}

	// Once its time is over a single call tries it; one that is well reopens it.
	g.of("s", "c").breaker.HalfOpen()
	s.says = []said{status(200)}
	for range 2 {
		if _, _, err := g.do(context.Background(), call, true, maxAsked); err != nil {
			t.Errorf("after it recovered: %v", err)
		}
	}
	if g.States()[0].Open {
		t.Error("it is still left alone")
	}
}

// A visitor who leaves, a wrong manifest and a record that is not there do not
// speak against the system.
func TestWhatIsNotTheSystemsFault(t *testing.T) {
	for name, says := range map[string]said{"refusals": status(404), "wrong requests": broke(provider.CodeInvalidRequest, true)} {
		g := NewGuard(&script{says: []said{says}}, noWait)
		for range 3 * failingCalls {
			g.do(context.Background(), provider.Call{}, false, maxAsked)
		}
		if g.States()[0].Open {
			t.Errorf("%s: the system is left alone", name)
		}
	}
	gone, cancel := context.WithCancel(context.Background())
	s := &script{says: []said{broke(provider.CodeUpstreamBroke, false)}}
	g := NewGuard(leaves{s, cancel}, noWait)
	for range 3 * failingCalls {
		g.of("", "").places.TryAcquirePermit() // a place of its own, as the context is done already
		g.of("", "").places.ReleasePermit()
		g.do(gone, provider.Call{}, false, maxAsked)
	}
	if g.of("", "").breaker.IsOpen() {
		t.Error("visitors who leave close the system to others")
	}
}

// leaves is a provider whose visitor leaves while it is asked.
type leaves struct {
	*script
	leave func()
}

func (l leaves) Do(ctx context.Context, call provider.Call) (*provider.Reply, error) {
	l.leave()
	return l.script.Do(ctx, call)
}

func TestCallsUnderWayAreBounded(t *testing.T) {
	s := &script{says: []said{status(200)}}
	g := NewGuard(s, noWait)
	places := g.of("s", "c").places
	for range maxConcurrent {
		if !places.TryAcquirePermit() {
			t.Fatal("there are fewer places than said")
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // so that nothing is waited for
	if _, _, err := g.do(ctx, provider.Call{Site: "s", Connection: "c"}, true, maxAsked); err == nil || s.calls != 0 {
		t.Errorf("do = %v after %d calls, want it held back", err, s.calls)
	}
	places.ReleasePermit()
	if _, _, err := g.do(context.Background(), provider.Call{Site: "s", Connection: "c"}, true, maxAsked); err != nil || s.calls != 1 {
		t.Errorf("with a place free: %v", err)
	}
	if g.States()[0].Counts[endedFull] != 1 {
		t.Errorf("States = %+v", g.States())
	}
}

// A connector whose provider panics gives its place back.
type panics struct{}

func (panics) Do(context.Context, provider.Call) (*provider.Reply, error) { panic("here") }

func TestAPanicGivesThePlaceBack(t *testing.T) {
	g := NewGuard(panics{}, noWait)
	for range 2 * maxConcurrent {
		func() {
			defer func() { recover() }()
			g.of("s", "c").breaker.Close()
			g.do(context.Background(), provider.Call{Site: "s", Connection: "c"}, false, maxAsked)
		}()
	}
	if s := g.States()[0]; s.Working != 0 || s.Counts[endedFull] != 0 {
		t.Errorf("States = %+v", s)
	}
}

// What the provider refuses until an operator does something is known of the
// connection, until the provider answers again.
func TestGuardKeepsWhatTheProviderRefuses(t *testing.T) {
	var err error
	g := NewGuard(sender(func(provider.Call) (*provider.Reply, error) {
		if err != nil {
			return nil, err
		}
		return &provider.Reply{Status: 404}, nil
	}), noWait)
	for _, step := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{&provider.Error{Code: provider.CodeReconnectNeeded, NotSent: true}, "reconnect_needed"},
		{&provider.Error{Code: provider.CodeUpstreamTimeout}, "reconnect_needed"},
		{nil, ""},
		{&provider.Error{Code: provider.CodeUnknownConnection, NotSent: true}, "unknown_connection"},
		{&provider.Error{Code: provider.CodeCallNotAllowed, NotSent: true}, "call_not_allowed unknown_connection"},
		{nil, "call_not_allowed"}, // another call of the connection
	} {
		err = step.err
		g.do(context.Background(), provider.Call{Site: "s", Connection: "c", Method: "GET"}, false, maxAsked)
		if got := strings.Join(g.States()[0].Refused, " "); got != step.want {
			t.Errorf("after %v: refused %q, want %q", step.err, got, step.want)
		}
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(g)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	for _, f := range families {
		if f.GetName() == "vouchsafe_connection_refused" {
			found = f.String()
		}
	}
	if !strings.Contains(found, `value:"call_not_allowed"`) || strings.Contains(found, `value:"unknown_connection"`) {
		t.Errorf("the metric of refusals: %s", found)
	}
}
