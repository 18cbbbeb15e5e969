package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const maxClockSkew = 5 * time.Minute

// Config is what one site's tokens must be.
type Config struct {
	Site           string
	Issuer         string
	Audience       string
	Keys           []Key
	Published      *JWKS         // keys the issuer publishes at a URL; nil for none
	ClockSkew      time.Duration // 0 to 5 minutes; applied here and nowhere else
	FoldEmailLocal bool          // the shop ignores ASCII letter case before the @
	CacheSize      int           // verified tokens remembered; 0 for 4096
}

// Verifier verifies the tokens of one site. It is safe for concurrent use.
type Verifier struct {
	cfg  Config
	mu   sync.Mutex // held to replace the state
	live atomic.Pointer[state]

	revoked atomic.Pointer[func(Visitor) bool]
}

// state is a set of keys and what was verified with it. Both go together, so
// that a verification under way while keys change is remembered nowhere.
type state struct {
	keys  *keySet
	cache *cache
}

// NewVerifier returns a verifier, or says what the configuration lacks.
func NewVerifier(cfg Config) (*Verifier, error) {
	switch {
	case cfg.Site == "":
		return nil, errors.New("no site")
	case cfg.Issuer == "":
		return nil, errors.New("no issuer")
	case cfg.Audience == "":
		return nil, errors.New("no audience")
	case cfg.ClockSkew < 0 || cfg.ClockSkew > maxClockSkew:
		return nil, fmt.Errorf("clock skew of %s is not between 0 and %s", cfg.ClockSkew, maxClockSkew)
	}
	v := &Verifier{cfg: cfg}
	if err := v.SetKeys(cfg.Keys); err != nil {
		return nil, err
	}
	return v, nil
}

// SetKeys replaces the configured keys and forgets what the old ones verified.
// When it returns an error the old keys stay.
func (v *Verifier) SetKeys(keys []Key) error {
	if len(keys) == 0 && v.cfg.Published == nil {
		return errors.New("no keys")
	}
	set, err := newKeySet(keys, v.cfg.Published == nil)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live.Store(&state{keys: set, cache: newCache(v.cfg.CacheSize)})
	return nil
}

// Flush forgets every verified token, so that each is verified anew.
func (v *Verifier) Flush() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live.Store(&state{keys: v.live.Load().keys, cache: newCache(v.cfg.CacheSize)})
}

// Heed makes the verifier ask revoked about every Visitor, each time a token is
// shown and each time a Visitor is asked whether it is Live. What was verified
// and remembered before is asked about like anything else, so that nothing
// outlives its revocation. revoked must be quick and safe for concurrent use.
func (v *Verifier) Heed(revoked func(Visitor) bool) { v.revoked.Store(&revoked) }

func (v *Verifier) disbelieves(who Visitor) bool {
	revoked := v.revoked.Load()
	return revoked != nil && (*revoked)(who)
}

// result is what a token that verified comes to.
func (v *Verifier) result(who *visitor) Result {
	if v.disbelieves(Visitor{who}) {
		return revokedResult(who)
	}
	return Result{State: Verified, Visitor: Visitor{who}}
}

func revokedResult(who *visitor) Result {
	return Result{State: Revoked, Cause: CauseRevoked, Detail: "by token id or subject", Revoked: Visitor{who}}
}

// Published returns the key set that the site's issuer publishes, nil for none.
func (v *Verifier) Published() *JWKS { return v.cfg.Published }

// Verify says what a request's token proves at now. No token is "". It never
// fails: whatever is wrong is the Result's cause.
//
// The checks, in order, are the list in checks.go; revocation is asked after
// them, every time.
func (v *Verifier) Verify(ctx context.Context, token string, now time.Time) Result {
	if token == "" {
		return Result{}
	}
	if len(token) > maxToken {
		return Result{State: Invalid, Cause: CauseTooLarge, Detail: "more than 8192 bytes"}
	}
	s := v.live.Load()
	hash := tokenHash(sha256.Sum256([]byte(token)))
	if e := s.cache.get(&hash); e != nil && !now.Before(e.from) && now.Before(e.until) && v.cfg.Published.still(e.set) {
		return v.result(e.visitor)
	}
	a := attempt{v: v, ctx: ctx, keys: s.keys, token: token, now: now}
	for i := range checks {
		f := checks[i].run(&a)
		if f == (fault{}) {
			continue
		}
		r := Result{State: Invalid, Cause: f.cause, Detail: f.detail}
		if f.cause == CauseExpired {
			// A revoked token keeps nothing open once it has expired either.
			if was := a.visitor(); v.disbelieves(Visitor{was}) {
				return revokedResult(was)
			}
			r.State = Expired
			r.Expired = ExpiredClaims{
				Subject:   a.claims.subject,
				TokenID:   a.claims.tokenID,
				IssuedAt:  a.claims.issuedAt,
				ExpiresAt: a.expiresAt(),
			}
		}
		return r
	}
	e := a.entry()
	s.cache.put(hash, e)
	return v.result(e.visitor)
}
