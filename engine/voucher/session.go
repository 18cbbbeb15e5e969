package voucher

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A session is a key that one signer and one reader share for a few minutes.
//
// A reader goes by a name that is a public key of X25519 (RFC 7748), made anew
// for each run. A signer makes another for the session, signs it together with
// the reader's name, and authenticates its vouchers with what the two keys have
// in common (HS256; RFC 7518, section 3.2, and HKDF, RFC 5869). The signed
// statement travels in the header of every voucher, so that there is no
// handshake, and nothing to lose: whoever has not seen it yet verifies it then.
//
// What a voucher proves is what a signature for each would: only who has the
// signer's key can begin a session, and only the two that began it can make its
// vouchers. Whoever listens, or stands between and relays, learns two public
// keys. Whoever pretends to be a reader is given sessions with themselves, which
// the real one refuses by their name. That the reader could make vouchers for
// itself gives it nothing: it is who they protect from others.

// sessionType is the typ of the signed statement.
const sessionType = "vouchsafe-session+jwt"

const (
	sessionLife = 10 * time.Minute
	// renewBefore is how long before its end a signer begins another session,
	// so that no voucher outlives its own.
	renewBefore = 2 * Life
	// maxSessions bounds those that a reader remembers; one that it has
	// forgotten costs it another look at the statement.
	maxSessions = 64
)

// sessionClaims are the signed statement: the reader's name is the audience.
type sessionClaims struct {
	jwt.RegisteredClaims        // aud, iat, exp
	Key                  string `json:"epk"` // the signer's public key for the session, in base64url
}

// sessionHeader is the header of a session's vouchers.
type sessionHeader struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ"`
	Session   string `json:"session"` // the signed statement
}

// session is a signer's.
type session struct {
	audience string
	header   string // of its vouchers, encoded
	key      []byte
	issued   time.Time
	renew    time.Time
}

// sessionWith returns the session with a reader, nil when its name is no public
// key, or one that hides nothing: a voucher for it is signed by itself. So
// whoever answers once in a reader's place, by whatever name, keeps nobody from
// being told the real one next time.
func (s *Signer) sessionWith(audience string, now time.Time) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.session; u != nil && u.audience == audience && now.Before(u.renew) && !now.Before(u.issued) {
		return u, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(audience)
	if err != nil {
		return nil, nil
	}
	reader, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return nil, nil
	}
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, errors.New("making a session key failed")
	}
	public := base64.RawURLEncoding.EncodeToString(own.PublicKey().Bytes())
	key, err := sessionKey(own, reader, audience, public)
	if err != nil { // of low order
		return nil, nil
	}
	statement, err := s.sign(sessionType, sessionClaims{
		RegisteredClaims: jwt.RegisteredClaims{Audience: jwt.ClaimStrings{audience},
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(sessionLife))},
		Key: public,
	})
	if err != nil {
		return nil, err
	}
	header, err := json.Marshal(sessionHeader{jwt.SigningMethodHS256.Alg(), mediaType, statement})
	if err != nil {
		return nil, errors.New("encoding a session failed")
	}
	s.session = &session{audience: audience, header: base64.RawURLEncoding.EncodeToString(header), key: key,
		issued: now, renew: now.Add(sessionLife - renewBefore)}
	return s.session, nil
}

// sessionKey is what the two have in common. It is bound to both their names.
func sessionKey(own *ecdh.PrivateKey, other *ecdh.PublicKey, audience, signer string) ([]byte, error) {
	shared, err := own.ECDH(other)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, shared, nil, "vouchsafe voucher session v1 "+audience+" "+signer, sha256.Size)
}

func (s *session) sign(c claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", errors.New("encoding a voucher failed")
	}
	signing := s.header + "." + base64.RawURLEncoding.EncodeToString(payload)
	return signing + "." + base64.RawURLEncoding.EncodeToString(authenticate(s.key, signing)), nil
}

func authenticate(key []byte, signing string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(signing))
	return h.Sum(nil)
}

// Reader verifies the vouchers that are for it.
type Reader struct {
	key  *ecdh.PrivateKey
	name string

	mu       sync.Mutex
	sessions map[string]begun // by the header of their vouchers
}

// begun is a session as its reader knows it.
type begun struct {
	key    []byte
	claims sessionClaims
	by     string            // who signed for it: the key's id
	signer ed25519.PublicKey // and the key
}

// NewReader makes a reader with a name of its own.
func NewReader() *Reader {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic("voucher: " + err.Error()) // the system's randomness does not fail
	}
	return &Reader{key: key, name: base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes()), sessions: map[string]begun{}}
}

// Audience is the reader's name: whom a voucher must be for.
func (r *Reader) Audience() string { return r.name }

// Verify reads a voucher that is for this reader, signed with one of the keys or
// of a session that one of them has signed for.
func (r *Reader) Verify(keys Keys, signed string, now time.Time) (Voucher, error) {
	header, rest, _ := strings.Cut(signed, ".")
	r.mu.Lock()
	s, known := r.sessions[header]
	r.mu.Unlock()
	if !known {
		statement, ok := statementOf(header)
		if !ok {
			v, err := keys.Verify(signed, now)
			if err == nil && v.Audience != r.name {
				return Voucher{}, ErrOtherRun
			}
			return v, err
		}
		var err error
		if s, err = r.begin(keys, statement); err != nil {
			return Voucher{}, err
		}
	}
	// A key that is retired takes its sessions with it.
	if !s.signer.Equal(keys[s.by]) {
		return Voucher{}, ErrUnknownKey
	}
	if err := inTime(s.claims.RegisteredClaims, sessionLife, now); err != nil {
		return Voucher{}, err
	}
	c, err := s.open(header, rest)
	if err != nil {
		return Voucher{}, err
	}
	if !known {
		r.remember(header, s, now)
	}
	v, err := c.voucher(now)
	if err == nil && v.Audience != r.name {
		return Voucher{}, ErrInvalid // its session is for this reader
	}
	return v, err
}

// statementOf takes the signed statement out of the header of a session's
// voucher.
func statementOf(header string) (string, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(header)
	var h sessionHeader
	if err != nil || json.Unmarshal(raw, &h) != nil {
		return "", false
	}
	return h.Session, h.Algorithm == jwt.SigningMethodHS256.Alg() && h.Type == mediaType && h.Session != ""
}

// begin works out the key of a session.
func (r *Reader) begin(keys Keys, statement string) (begun, error) {
	s := begun{}
	var err error
	if s.by, err = keys.open(statement, sessionType, &s.claims); err != nil {
		return begun{}, err
	}
	if len(s.claims.Audience) != 1 {
		return begun{}, ErrInvalid
	}
	if s.claims.Audience[0] != r.name {
		return begun{}, ErrOtherRun
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s.claims.Key)
	if err != nil {
		return begun{}, ErrInvalid
	}
	other, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return begun{}, ErrInvalid
	}
	if s.key, err = sessionKey(r.key, other, r.name, s.claims.Key); err != nil {
		return begun{}, ErrInvalid
	}
	s.signer = keys[s.by]
	return s, nil
}

// open checks what follows the header of a voucher, and reads its claims.
func (s begun) open(header, rest string) (claims, error) {
	payload, mac, _ := strings.Cut(rest, ".")
	// Compared as it is written: decoding would let line breaks in it pass.
	want := base64.RawURLEncoding.EncodeToString(authenticate(s.key, header+"."+payload))
	if !hmac.Equal([]byte(mac), []byte(want)) {
		return claims{}, ErrInvalid
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(payload)
	var c claims
	if err != nil || json.Unmarshal(raw, &c) != nil {
		return claims{}, ErrInvalid
	}
	return c, nil
}

// remember keeps a session that a good voucher was of: nobody but a signer can
// fill this.
func (r *Reader) remember(header string, s begun, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := ""
	for other, o := range r.sessions {
		if !now.Before(o.claims.ExpiresAt.Time) {
			delete(r.sessions, other)
		} else if oldest == "" || o.claims.ExpiresAt.Before(r.sessions[oldest].claims.ExpiresAt.Time) {
			oldest = other
		}
	}
	if len(r.sessions) >= maxSessions {
		delete(r.sessions, oldest)
	}
	r.sessions[header] = s
}
