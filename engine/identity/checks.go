package identity

import (
	"context"
	"slices"
	"strconv"
	"time"
)

// attempt is one token on its way through the checks. Each check may rely on
// all before it having held.
type attempt struct {
	v      *Verifier
	ctx    context.Context
	keys   *keySet
	token  string
	now    time.Time
	jws    jws
	key    Key
	set    *keySet // the published set the key came from, nil for a configured key
	claims claims
	email  string // canonical
}

// expiresAt is exp with the site's clock skew: the one place it is applied.
func (a *attempt) expiresAt() time.Time { return a.claims.expires.Add(a.v.cfg.ClockSkew) }

// earliest is the first moment at which iat and nbf allow the token.
func (a *attempt) earliest() time.Time {
	t := a.claims.issuedAt
	if a.claims.notBefore.After(t) {
		t = a.claims.notBefore
	}
	return t.Add(-a.v.cfg.ClockSkew)
}

// visitor is whom the token names, once every check but that of its expiry held.
func (a *attempt) visitor() *visitor {
	authTime := a.claims.authTime
	if authTime.After(a.claims.issuedAt.Add(a.v.cfg.ClockSkew)) {
		authTime = time.Time{} // a sign-in after the token was made proves nothing
	}
	return &visitor{
		site:          a.v.cfg.Site,
		subject:       a.claims.subject,
		email:         a.email,
		emailVerified: a.claims.emailVerified,
		name:          a.claims.name,
		tokenID:       a.claims.tokenID,
		issuedAt:      a.claims.issuedAt,
		lifetime:      a.claims.expires.Sub(a.claims.issuedAt),
		expiresAt:     a.expiresAt(),
		authTime:      authTime,
		acr:           a.claims.acr,
		claims:        a.claims.other,
		by:            a.v,
	}
}

// entry is what is remembered of a token for which every check held.
func (a *attempt) entry() *entry {
	e := &entry{visitor: a.visitor(), from: a.earliest(), until: a.expiresAt(), set: a.set}
	if a.key.k.notBefore.After(e.from) {
		e.from = a.key.k.notBefore
	}
	if r := a.key.k.retireAfter; !r.IsZero() && r.Before(e.until) {
		e.until = r
	}
	if a.set != nil {
		if due := a.v.cfg.Published.due(a.set, a.now); due.Before(e.until) {
			e.until = due
		}
	}
	return e
}

// check is one condition a token must meet.
type check struct {
	name string
	run  func(*attempt) fault
	// want and got explain the check to whoever integrates; got is asked only
	// once run was, and never shows the signature or an address.
	want func(*attempt) string
	got  func(*attempt) string
	// gate says that nothing after this check can be told when it fails.
	gate bool
}

// checks are all of them, in order. Nothing in the payload is looked at before
// the signature holds. Expiry comes last, so that an expired token is one that
// was good in every other way.
var checks = []check{
	{
		name: "form", gate: true,
		run: func(a *attempt) (f fault) {
			a.jws, f = parseJWS(a.token)
			return f
		},
		want: is("a signed compact JWT of at most 8192 bytes, alg one of ours, no crit, cty or embedded key"),
		got:  func(a *attempt) string { return strconv.Itoa(len(a.token)) + " bytes" },
	},
	{
		name: "key", gate: true,
		run: func(a *attempt) (f fault) {
			a.key, f = a.keys.find(a.jws.header)
			if f.cause == CauseUnknownKid || f.cause == CauseKidMissing {
				// Beside configured keys there is more than one, so a kid is
				// required.
				if a.v.cfg.Published != nil && (a.jws.header.hasKid || len(a.keys.byKid) == 0) {
					a.key, a.set, f = a.v.cfg.Published.find(a.ctx, a.jws.header, a.now)
				}
			}
			return f
		},
		want: is("a kid the site has; it may be left out when the site has exactly one key"),
		got: func(a *attempt) string {
			if !a.jws.header.hasKid {
				return "no kid"
			}
			return "kid " + quote(a.jws.header.kid)
		},
	},
	{
		name: "algorithm", gate: true,
		run: func(a *attempt) fault {
			if a.jws.header.alg != a.key.k.alg {
				return fault{CauseAlgMismatch, "alg"}
			}
			return fault{}
		},
		want: func(a *attempt) string { return string(a.key.k.alg) },
		got:  func(a *attempt) string { return string(a.jws.header.alg) },
	},
	{
		name: "key_window",
		run:  func(a *attempt) fault { return a.key.active(a.now) },
		want: func(a *attempt) string { return window(a.key.k.notBefore, a.key.k.retireAfter) },
		got:  func(a *attempt) string { return stamp(a.now) },
	},
	{
		name: "signature", gate: true,
		run: func(a *attempt) fault {
			if !a.jws.verifiedBy(a.key) {
				return fault{CauseSignatureInvalid, "signature"}
			}
			return fault{}
		},
		want: func(a *attempt) string { return "made with " + a.key.String() },
		got:  is(""),
	},
	{
		name: "claims", gate: true,
		run: func(a *attempt) (f fault) {
			a.claims, f = parseClaims(a.jws.payload)
			return f
		},
		want: is("iss, aud, sub, iat, exp and email, each of its type; at most 4096 bytes of others"),
		got:  func(a *attempt) string { return strconv.Itoa(len(a.jws.payload)) + " bytes" },
	},
	{
		name: "issuer",
		run: func(a *attempt) fault {
			if a.claims.issuer != a.v.cfg.Issuer {
				return fault{CauseIssuerMismatch, "iss"}
			}
			return fault{}
		},
		want: func(a *attempt) string { return quote(a.v.cfg.Issuer) },
		got:  func(a *attempt) string { return quote(a.claims.issuer) },
	},
	{
		name: "audience",
		run: func(a *attempt) fault {
			if !slices.Contains(a.claims.audience, a.v.cfg.Audience) {
				return fault{CauseAudienceMismatch, "aud"}
			}
			return fault{}
		},
		want: func(a *attempt) string { return quote(a.v.cfg.Audience) },
		got:  func(a *attempt) string { return quote(a.claims.audience...) },
	},
	{
		name: "email",
		run: func(a *attempt) fault {
			email, err := CanonicalEmail(a.claims.rawEmail, a.v.cfg.FoldEmailLocal)
			if err != nil {
				return fault{CauseEmailInvalid, "email " + err.Error()}
			}
			a.email = email
			return fault{}
		},
		want: is("one plain address: no display name, quotes or comments, ASCII before the @"),
		got:  is("an address that is not shown"),
	},
	{
		name: "lifetime",
		run: func(a *attempt) fault {
			switch d := a.claims.expires.Sub(a.claims.issuedAt); {
			case d <= 0:
				return fault{CauseLifetimeInvalid, "exp"}
			case d > maxLifetime:
				return fault{CauseLifetimeTooLong, "exp"}
			}
			return fault{}
		},
		want: is("exp after iat, by at most 24h; the site's policy may want less"),
		got:  func(a *attempt) string { return a.claims.expires.Sub(a.claims.issuedAt).String() },
	},
	{
		name: "issued_at",
		run: func(a *attempt) fault {
			if a.claims.issuedAt.After(a.now.Add(a.v.cfg.ClockSkew)) {
				return fault{CauseIssuedInFuture, "iat"}
			}
			return fault{}
		},
		want: func(a *attempt) string { return "not after " + stamp(a.now.Add(a.v.cfg.ClockSkew)) },
		got:  func(a *attempt) string { return stamp(a.claims.issuedAt) },
	},
	{
		name: "not_before",
		run: func(a *attempt) fault {
			if a.claims.notBefore.After(a.now.Add(a.v.cfg.ClockSkew)) {
				return fault{CauseNotYetValid, "nbf"}
			}
			return fault{}
		},
		want: func(a *attempt) string { return "absent, or not after " + stamp(a.now.Add(a.v.cfg.ClockSkew)) },
		got: func(a *attempt) string {
			if a.claims.notBefore.IsZero() {
				return "absent"
			}
			return stamp(a.claims.notBefore)
		},
	},
	{
		name: "expiry",
		run: func(a *attempt) fault {
			if !a.now.Before(a.expiresAt()) {
				return fault{CauseExpired, "exp"}
			}
			return fault{}
		},
		want: func(a *attempt) string { return "after " + stamp(a.now.Add(-a.v.cfg.ClockSkew)) },
		got:  func(a *attempt) string { return stamp(a.claims.expires) },
	},
}
