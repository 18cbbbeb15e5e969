// Package identity turns a website's signed token into a Visitor, which it
// alone can make.
package identity

import (
	"encoding/json"
	"time"
)

// State is what became of the token a request carried. The zero State is
// Absent, which proves nothing.
type State uint8

// The states.
const (
	Absent State = iota
	Invalid
	Expired
	Verified
	Revoked // it would verify, or have expired, but the site believes it no more
)

var stateNames = [...]string{"absent", "invalid", "expired", "verified", "revoked"}

// String returns the state's name.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "invalid"
}

// Visitor is a verified identity. Its zero value is nobody: every accessor
// returns a zero, and Live is false.
type Visitor struct{ v *visitor }

// visitor holds what the signature proved. It is never changed once made.
type visitor struct {
	site          string
	subject       string
	email         string // canonical
	emailVerified *bool  // nil when the token did not say
	name          string
	tokenID       string
	issuedAt      time.Time
	lifetime      time.Duration // exp - iat
	expiresAt     time.Time     // exp plus the site's clock skew
	authTime      time.Time     // zero when the token did not say
	acr           string        // "" likewise
	claims        json.RawMessage
	by            *Verifier
}

// nobody stands in for the zero Visitor.
var nobody visitor

func (v Visitor) get() *visitor {
	if v.v == nil {
		return &nobody
	}
	return v.v
}

// Site returns the id of the site whose key signed the token.
func (v Visitor) Site() string { return v.get().site }

// Subject returns the token's sub.
func (v Visitor) Subject() string { return v.get().subject }

// Email returns the pinned e-mail in its canonical form.
func (v Visitor) Email() string { return v.get().email }

// EmailVerified returns the token's email_verified, nil when it was not there.
func (v Visitor) EmailVerified() *bool { return v.get().emailVerified }

// Name returns the token's name, which may be empty.
func (v Visitor) Name() string { return v.get().name }

// TokenID returns the token's jti, which may be empty.
func (v Visitor) TokenID() string { return v.get().tokenID }

// IssuedAt returns the token's iat.
func (v Visitor) IssuedAt() time.Time { return v.get().issuedAt }

// Lifetime returns the token's exp minus its iat, without clock skew.
func (v Visitor) Lifetime() time.Duration { return v.get().lifetime }

// ExpiresAt returns the token's exp plus the site's clock skew.
func (v Visitor) ExpiresAt() time.Time { return v.get().expiresAt }

// AuthTime returns the token's auth_time, when its bearer last signed in
// actively; zero when the token does not say. It is never after the token was
// issued, but for the clock skew.
func (v Visitor) AuthTime() time.Time { return v.get().authTime }

// ACR returns the token's acr, how its bearer signed in; "" when the token does
// not say.
func (v Visitor) ACR() string { return v.get().acr }

// Claims returns the token's other claims as a JSON object, nil when it has
// none. Policies see them, connectors never do.
func (v Visitor) Claims() json.RawMessage { return v.get().claims }

// Revoked reports whether the site has ceased to believe v, at this moment
// and not only when the token was verified.
func (v Visitor) Revoked() bool { return v.v != nil && v.v.by.disbelieves(v) }

// Live reports whether v was verified, has not expired at now and has not been
// revoked since.
func (v Visitor) Live(now time.Time) bool {
	return v.v != nil && now.Before(v.v.expiresAt) && !v.Revoked()
}

// Result is what verifying a request's token came to.
type Result struct {
	State State
	// Cause is the exact cause for auditors and integrators, such as
	// token_audience_mismatch. It is empty when State is Absent or Verified.
	Cause string
	// Detail names the header member or claim at fault and what is wrong with
	// it, for the same readers. It holds no value of the token.
	Detail string
	// Visitor is the zero Visitor unless State is Verified.
	Visitor Visitor
	// Expired holds what the signature of an expired token still proves. It is
	// set only when State is Expired, and opens nothing.
	Expired ExpiredClaims
	// Revoked is whom a revoked token names, for policies and the record. It is
	// set only when State is Revoked, is never Live, and opens nothing.
	Revoked Visitor
}

// ExpiredClaims are the facts of a token that was good once.
type ExpiredClaims struct {
	Subject   string
	TokenID   string
	IssuedAt  time.Time
	ExpiresAt time.Time // exp plus the site's clock skew
}
