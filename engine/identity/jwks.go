package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

const maxKeySetBytes = 256 << 10

// JWKSConfig says where an issuer publishes its keys. Zero durations are the
// defaults given.
type JWKSConfig struct {
	URL          string        // https; http only to a loopback address
	RefreshEvery time.Duration // 10 minutes
	CoolDown     time.Duration // least time between two fetches: 15 seconds
	MaxStale     time.Duration // how long the last set serves an issuer that is down: 24 hours
	Timeout      time.Duration // of one fetch: 5 seconds
}

// JWKS is a set of keys an issuer publishes. It is fetched when it is first
// needed, again when it grows old, and when a token names a key it does not
// hold: one fetch at a time and at most one per cool-down, whatever tokens
// arrive. An issuer that is down is not missed until MaxStale.
type JWKS struct {
	cfg    JWKSConfig
	client *http.Client

	current atomic.Pointer[keySet]

	mu       sync.Mutex
	tried    time.Time     // of the last fetch begun
	inFlight chan struct{} // closed when the fetch under way ends; nil when there is none
	lastErr  error
	skipped  []error
}

// JWKSStatus is what became of the last fetch, for operators.
type JWKSStatus struct {
	Fetched time.Time // of the set in use; zero when there is none
	Keys    int
	Skipped []error // published keys that were not admitted
	Err     error   // of the last fetch, nil when it succeeded
}

// NewJWKS checks the configuration and fetches nothing yet.
func NewJWKS(cfg JWKSConfig) (*JWKS, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("the JWKS URL is not an absolute URL without user or fragment")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, errors.New("the JWKS URL must be https, except to a loopback address")
	}
	for d, standard := range map[*time.Duration]time.Duration{
		&cfg.RefreshEvery: 10 * time.Minute,
		&cfg.CoolDown:     15 * time.Second,
		&cfg.MaxStale:     24 * time.Hour,
		&cfg.Timeout:      5 * time.Second,
	} {
		if *d < 0 {
			return nil, errors.New("a JWKS duration is negative")
		}
		if *d == 0 {
			*d = standard
		}
	}
	if cfg.MaxStale < cfg.RefreshEvery {
		return nil, errors.New("JWKS keys would go stale before they are refreshed")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.DisableKeepAlives = true // one small fetch every few minutes
	return &JWKS{cfg: cfg, client: &http.Client{
		Transport: transport,
		Timeout:   cfg.Timeout,
		// A redirect could lead to an address the operator never named, inside
		// the network or out; the URL can just as well be the final one.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the JWKS URL redirects; configure the address it ends at")
		},
	}}, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Status says what became of the last fetch.
func (j *JWKS) Status() JWKSStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := JWKSStatus{Err: j.lastErr, Skipped: j.skipped}
	if set := j.current.Load(); set != nil {
		s.Fetched, s.Keys = set.fetched, len(set.byKid)
	}
	return s
}

// Refresh fetches the set unless one was fetched within the cool-down. It
// returns what Status would hold as Err.
func (j *JWKS) Refresh(ctx context.Context, now time.Time) error {
	j.refresh(ctx, now)
	return j.Status().Err
}

// find returns the published key a header asks for and the set it is from.
func (j *JWKS) find(ctx context.Context, h header, now time.Time) (Key, *keySet, fault) {
	set := j.fresh(now)
	if set != nil && !now.Before(set.fetched.Add(2*j.cfg.RefreshEvery)) {
		// Nobody has come by for a while: a key may have been withdrawn, so the
		// set serves only if the issuer cannot be asked.
		j.refresh(ctx, now)
		set = j.fresh(now)
	}
	if set != nil {
		k, f := set.find(h)
		if f == (fault{}) && !now.Before(set.fetched.Add(j.cfg.RefreshEvery)) {
			j.begin(now) // the set still serves while a newer one is on its way
		}
		if f.cause != CauseUnknownKid {
			return k, set, f
		}
	}
	j.refresh(ctx, now)
	if set = j.fresh(now); set == nil {
		return Key{}, nil, fault{CauseKeysUnavailable, "the issuer's key set"}
	}
	k, f := set.find(h)
	return k, set, f
}

// fresh returns the set in use, nil when there is none or it is too old.
func (j *JWKS) fresh(now time.Time) *keySet {
	set := j.current.Load()
	if set == nil || !now.Before(set.fetched.Add(j.cfg.MaxStale)) {
		return nil
	}
	return set
}

// still reports whether what was verified with set need not be verified again.
// A nil set is that of the configured keys.
func (j *JWKS) still(set *keySet) bool { return set == nil || j.current.Load() == set }

// due is when something verified with set at now has to be verified again:
// when the set is to be refreshed, or soon when that is overdue, and in no
// case once the set is stale.
func (j *JWKS) due(set *keySet, now time.Time) time.Time {
	due := set.fetched.Add(j.cfg.RefreshEvery)
	if soon := now.Add(j.cfg.CoolDown); due.Before(soon) {
		due = soon
	}
	if stale := set.fetched.Add(j.cfg.MaxStale); stale.Before(due) {
		due = stale
	}
	return due
}

// refresh fetches the set, or waits for the fetch under way. It does nothing
// within the cool-down.
func (j *JWKS) refresh(ctx context.Context, now time.Time) {
	done := j.begin(now)
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// begin starts a fetch if none is under way and the cool-down is over. It
// returns what is closed when the fetch ends, nil when there is none. The
// fetch belongs to nobody's request, so no caller who gives up ends it.
func (j *JWKS) begin(now time.Time) <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.inFlight != nil {
		return j.inFlight
	}
	// A clock that was set back must not hold up fetching for longer.
	if since := now.Sub(j.tried); since >= 0 && since < j.cfg.CoolDown {
		return nil
	}
	done := make(chan struct{})
	j.tried, j.inFlight = now, done
	go func() {
		set, skipped, err := j.fetch(now)
		j.mu.Lock()
		defer j.mu.Unlock()
		j.lastErr = err
		if err == nil {
			j.skipped = skipped
			j.current.Store(set)
		}
		j.inFlight = nil
		close(done)
	}()
	return done
}

// fetch gets and reads the set. The client bounds the time it may take.
func (j *JWKS) fetch(now time.Time) (*keySet, []error, error) {
	request, err := http.NewRequest(http.MethodGet, j.cfg.URL, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("fetching the key set: %w", err)
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := j.client.Do(request)
	if err != nil {
		return nil, nil, fmt.Errorf("fetching the key set: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("fetching the key set: status %d", response.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxKeySetBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the key set: %w", err)
	}
	if len(raw) > maxKeySetBytes {
		return nil, nil, fmt.Errorf("the key set is larger than %d bytes", maxKeySetBytes)
	}
	keys, skipped, err := parsePublished(raw)
	if err != nil {
		return nil, skipped, err
	}
	keys, twice := unambiguous(keys)
	skipped = append(skipped, twice...)
	set, err := newKeySet(keys, true)
	if err != nil {
		return nil, skipped, fmt.Errorf("the published key set: %w", err)
	}
	set.fetched = now
	return set, skipped, nil
}

// unambiguous leaves out the keys that share their name with another: which is
// meant cannot be told, and the rest of the set is none the worse.
func unambiguous(keys []Key) (kept []Key, skipped []error) {
	count := map[string]int{}
	for _, k := range keys {
		count[k.k.kid]++
	}
	for _, k := range keys {
		if count[k.k.kid] > 1 {
			skipped = append(skipped, keyError(k.k.kid, errors.New("two published keys have this kid")))
			continue
		}
		kept = append(kept, k)
	}
	if len(kept) == 0 {
		return keys, nil // a set of nothing else is refused as a whole
	}
	return kept, skipped
}
