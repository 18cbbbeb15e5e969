package connectors

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"

	"vouchsafe/connectors/provider"
)

// How much one connection may ask of the gate. A system in trouble is left
// alone for a while; a slow one does not take all there is.
const (
	maxConcurrent = 64
	waitForPlace  = 2 * time.Second

	failingRate   = 0.8 // of at least so many calls in so long
	failingCalls  = 40
	failingWithin = 30 * time.Second
	leftAlone     = 5 * time.Second

	maxAttempts  = 3
	firstBackOff = 100 * time.Millisecond
)

// Guard stands before a connection provider. For each connection it bounds the
// calls under way, repeats those that only read, and leaves an outside system
// alone that keeps failing. Manifests that share a connection share its state,
// and it outlives them.
type Guard struct {
	next ProviderClient
	wait func(context.Context, time.Duration) error

	mu    sync.Mutex
	known map[connectionKey]*guarded
}

type connectionKey struct{ site, connection string }

type guarded struct {
	places  bulkhead.Bulkhead[any]
	breaker circuitbreaker.CircuitBreaker[any]

	mu      sync.Mutex
	counts  map[string]int       // of calls, by how they ended
	working int                  // calls under way
	refused map[string]time.Time // by the provider, when last, by its code
}

// NewGuard makes a guard before next. wait waits out a back-off, or until ctx
// is done; nil for a timer's.
func NewGuard(next ProviderClient, wait func(context.Context, time.Duration) error) *Guard {
	if wait == nil {
		wait = waitOut
	}
	return &Guard{next: next, wait: wait, known: map[connectionKey]*guarded{}}
}

func waitOut(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (g *Guard) of(site, connection string) *guarded {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := connectionKey{site, connection}
	if g.known[key] == nil {
		g.known[key] = &guarded{
			places: bulkhead.New[any](maxConcurrent),
			breaker: circuitbreaker.NewBuilder[any]().WithFailureRateThreshold(failingRate, failingCalls, failingWithin).
				WithDelay(leftAlone).WithSuccessThreshold(1).Build(),
			counts:  map[string]int{},
			refused: map[string]time.Time{},
		}
	}
	return g.known[key]
}

// How a call ended, for the counts.
const (
	endedAnswered = "answered"
	endedFailed   = "failed"
	endedHeld     = "held_back" // it was not made, for the system keeps failing
	endedFull     = "no_place"  // it was not made, for too many were under way
)

// heldBack is a call that the guard did not let through: nothing was sent.
type heldBack struct {
	cause      string
	retryAfter time.Duration
}

func (e *heldBack) Error() string { return e.cause }

// do sends a call, and says how often. One that only reads is tried again, up to
// three times in all and no more often than most, when the system could not be
// reached, broke off, was busy or failed, with a growing pause or the one the
// system asked for, as long as ctx lasts. One that writes is tried again only
// when it was certainly not sent.
func (g *Guard) do(ctx context.Context, call provider.Call, writes bool, most int) (reply *provider.Reply, tries int, err error) {
	c := g.of(call.Site, call.Connection)
	for tries = 1; ; tries++ {
		if reply, err = c.once(ctx, g.next, call); tries == min(maxAttempts, most) || ctx.Err() != nil || !again(reply, err, writes) {
			return reply, tries, err
		}
		pause := firstBackOff << (tries - 1)
		pause += rand.N(pause) // so that those who failed together do not return together
		if reply != nil && reply.RetryAfter > 0 {
			pause = reply.RetryAfter
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= pause {
			return reply, tries, err
		}
		if g.wait(ctx, pause) != nil {
			return reply, tries, err
		}
	}
}

// once sends a call once, in a place of its own.
func (c *guarded) once(ctx context.Context, next ProviderClient, call provider.Call) (*provider.Reply, error) {
	if err := c.places.AcquirePermitWithMaxWait(ctx, waitForPlace); err != nil {
		c.count(endedFull)
		return nil, &heldBack{cause: "too many calls of this connection are under way"}
	}
	defer c.places.ReleasePermit()
	if !c.breaker.TryAcquirePermit() {
		c.count(endedHeld)
		return nil, &heldBack{"the system behind this connection keeps failing, so it is left alone for a while", c.breaker.RemainingDelay()}
	}
	c.work(1)
	defer c.work(-1)
	bad, gone := true, false // whatever happens on the way, the breaker hears of it
	defer func() {
		switch {
		case gone && !c.breaker.IsHalfOpen():
		case bad:
			c.breaker.RecordFailure()
		default:
			c.breaker.RecordSuccess()
		}
		how := endedAnswered
		if bad {
			how = endedFailed
		}
		c.count(how)
	}()
	reply, err := next.Do(ctx, call)
	c.heed(err)
	// Whoever asked has gone: that says nothing of the outside system.
	bad, gone = troubled(reply, err), errors.Is(ctx.Err(), context.Canceled)
	return reply, err
}

// again reports a call that may be made again.
func again(reply *provider.Reply, err error, writes bool) bool {
	if e, ok := errors.AsType[*provider.Error](err); ok {
		return !e.Timeout && (!writes || e.NotSent) && unreached(e)
	}
	if reply == nil || writes {
		return false
	}
	switch reply.Status {
	case 408, 425, 429, 500, 502, 503, 504:
		return true
	}
	return false
}

// unreached reports an error of the way to the outside system, rather than of
// what was asked.
func unreached(e *provider.Error) bool {
	switch e.Code {
	case provider.CodeProviderDown, provider.CodeProviderBroke, provider.CodeUpstreamRefused, provider.CodeUpstreamBroke, provider.CodeUpstreamTimeout:
		return true
	}
	return false
}

// troubled reports a call that speaks against the outside system's health.
func troubled(reply *provider.Reply, err error) bool {
	if e, ok := errors.AsType[*provider.Error](err); ok {
		return e.Timeout || unreached(e)
	}
	if err != nil {
		return false
	}
	switch reply.Status { // not a 500, which one record alone may cause
	case 502, 503, 504:
		return true
	}
	return false
}

// operatorsCodes are the provider's refusals that last until an operator does
// something about them.
var operatorsCodes = []string{provider.CodeReconnectNeeded, provider.CodeCredential, provider.CodeUnknownConnection, provider.CodeCallNotAllowed}

// refusedFor is how long a call that no rule allows is spoken of: other calls of
// the connection go on, so that nothing else says that it is over.
const refusedFor = 15 * time.Minute

// heed keeps what the provider refuses, until it answers again.
func (c *guarded) heed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, failed := errors.AsType[*provider.Error](err)
	switch {
	case failed && slices.Contains(operatorsCodes, e.Code):
		c.refused[e.Code] = time.Now()
	case err == nil:
		for _, code := range operatorsCodes {
			if code != provider.CodeCallNotAllowed {
				delete(c.refused, code)
			}
		}
	}
}

func (c *guarded) count(how string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[how]++
}

func (c *guarded) work(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.working += n
}

// ConnectionState is how the calls of one connection fare.
type ConnectionState struct {
	Site       string
	Connection string
	Open       bool          // the system keeps failing, and is left alone
	RetryIn    time.Duration // when Open: until it is tried again
	Working    int           // calls under way
	Counts     map[string]int
	// Refused are the codes with which the provider refuses calls until an
	// operator does something about it, sorted.
	Refused []string
}

// States returns the connections that were used, sorted.
func (g *Guard) States() []ConnectionState {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []ConnectionState
	for key, c := range g.known {
		c.mu.Lock()
		s := ConnectionState{Site: key.site, Connection: key.connection, Working: c.working, Counts: map[string]int{}}
		for how, n := range c.counts {
			s.Counts[how] = n
		}
		for code, last := range c.refused {
			if code != provider.CodeCallNotAllowed || time.Since(last) < refusedFor {
				s.Refused = append(s.Refused, code)
			}
		}
		c.mu.Unlock()
		slices.Sort(s.Refused)
		// An open breaker stays so until somebody calls, though its time is over.
		s.RetryIn = c.breaker.RemainingDelay()
		s.Open = c.breaker.IsOpen() && s.RetryIn > 0
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b ConnectionState) int {
		return cmp.Or(strings.Compare(a.Site, b.Site), strings.Compare(a.Connection, b.Connection))
	})
	return out
}

var (
	callsDesc = prometheus.NewDesc("vouchsafe_connection_calls_total",
		"Calls of outside systems, by how they ended: answered, failed, held_back (the system keeps failing) or no_place (too many under way).",
		[]string{"site", "connection", "ended"}, nil)
	openDesc = prometheus.NewDesc("vouchsafe_connection_left_alone",
		"1 while an outside system is left alone because it keeps failing.", []string{"site", "connection"}, nil)
	refusedDesc = prometheus.NewDesc("vouchsafe_connection_refused",
		"1 while the connection provider refuses calls until an operator does something: reconnect_needed, credential_unavailable, unknown_connection, call_not_allowed.",
		[]string{"site", "connection", "code"}, nil)
	workingDesc = prometheus.NewDesc("vouchsafe_connection_calls_under_way",
		"Calls that wait for an outside system.", []string{"site", "connection"}, nil)
)

var _ prometheus.Collector = (*Guard)(nil)

// Describe is prometheus.Collector's.
func (g *Guard) Describe(to chan<- *prometheus.Desc) {
	to <- callsDesc
	to <- openDesc
	to <- workingDesc
	to <- refusedDesc
}

// Collect is prometheus.Collector's. Its labels are bounded by the connections
// that manifests name.
func (g *Guard) Collect(to chan<- prometheus.Metric) {
	for _, s := range g.States() {
		open := 0.0
		if s.Open {
			open = 1
		}
		to <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, open, s.Site, s.Connection)
		to <- prometheus.MustNewConstMetric(workingDesc, prometheus.GaugeValue, float64(s.Working), s.Site, s.Connection)
		for _, code := range s.Refused {
			to <- prometheus.MustNewConstMetric(refusedDesc, prometheus.GaugeValue, 1, s.Site, s.Connection, code)
		}
		for how, n := range s.Counts {
			to <- prometheus.MustNewConstMetric(callsDesc, prometheus.CounterValue, float64(n), s.Site, s.Connection, how)
		}
	}
}
