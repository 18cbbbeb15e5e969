// Package voucher is the gate's signed word for one call to an outside system:
// which site, which connection, which request, until when, and once.
//
// A voucher is a JSON Web Signature (RFC 7515, EdDSA over Ed25519 as in RFC
// 8037) whose claims describe the call. Whoever has the public key and receives
// the call can tell that the gate permitted exactly this one; a key that merely
// opens the door does not.
//
// A signature for each call is a large part of what a call costs, so a Reader
// and a Signer agree on a key with a signature once, and the vouchers of that
// session carry a message authentication code instead; see session.go.
package voucher

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Life is how long a voucher lives: the time a call may be on its way to
// whoever checks it.
const Life = 30 * time.Second

// Skew is how far ahead of the reader's clock the signer's may be.
const Skew = 10 * time.Second

// mediaType is a voucher's typ, so that no other token signed with the same key
// can pass for one (RFC 8725, section 3.11).
const mediaType = "vouchsafe-voucher+jwt"

// Call is what a voucher vouches for.
type Call struct {
	Site       string
	Connection string
	Method     string
	Target     string            // as it is sent: percent-encoded path and, after "?", query
	Headers    map[string]string // that are sent on to the outside system
	Body       []byte
}

// claims are a voucher's content. Names are RFC 7519's and RFC 9449's where
// they have one.
type claims struct {
	jwt.RegisteredClaims        // jti, iat, exp, and aud: who may use it up
	Site                 string `json:"site"`
	Connection           string `json:"connection"`
	Method               string `json:"htm"`
	Target               string `json:"target"`
	Headers              string `json:"headers"` // digest
	Body                 string `json:"body"`    // digest
	Decision             string `json:"decision,omitempty"`
}

// Signer signs vouchers. Its key never prints.
type Signer struct {
	key ed25519.PrivateKey
	id  string

	mu      sync.Mutex
	session *session // the last one; nil before there was any
}

// NewSigner makes a signer of the gate's permit key.
func NewSigner(key ed25519.PrivateKey) *Signer {
	return &Signer{key: key, id: keyID(key.Public().(ed25519.PublicKey))}
}

// String hides the key.
func (*Signer) String() string { return "[signer]" }

// GoString hides the key.
func (*Signer) GoString() string { return "[signer]" }

// Public is the public half, as whoever checks vouchers is told it.
func (s *Signer) Public() string {
	return base64.StdEncoding.EncodeToString(s.key.Public().(ed25519.PublicKey))
}

// Sign vouches for a call, once, before the one reader that goes by the name of
// audience. decision is the recorded decision that allowed it.
func (s *Signer) Sign(audience, decision string, c Call, now time.Time) (string, error) {
	var id [16]byte
	rand.Read(id[:])
	what := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			ID:        base64.RawURLEncoding.EncodeToString(id[:]),
			Audience:  jwt.ClaimStrings{audience},
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(Life)),
		},
		Site:       c.Site,
		Connection: c.Connection,
		Method:     c.Method,
		Target:     c.Target,
		Headers:    headersDigest(c.Headers),
		Body:       digest(c.Body),
		Decision:   decision,
	}
	with, err := s.sessionWith(audience, now)
	if err != nil {
		return "", err
	}
	if with != nil {
		return with.sign(what)
	}
	return s.sign(mediaType, what)
}

// sign makes a token of one of the types that the key signs.
func (s *Signer) sign(mediaType string, c jwt.Claims) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	t.Header["typ"], t.Header["kid"] = mediaType, s.id
	signed, err := t.SignedString(s.key)
	if err != nil {
		return "", errors.New("signing a voucher failed")
	}
	return signed, nil
}

// Errors of Verify and Covers. ErrOtherRun is a Reader's.
var (
	ErrInvalid    = errors.New("the voucher is malformed, or its signature is wrong")
	ErrUnknownKey = errors.New("the voucher is signed with a key that is not known")
	ErrExpired    = errors.New("the voucher has expired, or is from a time to come")
	ErrOther      = errors.New("the voucher is for another call")
	ErrOtherRun   = errors.New("the voucher is for another reader")
)

// Voucher is a voucher whose signature and time are good. Whether it is for the
// call at hand, Covers says.
type Voucher struct {
	ID       string
	Audience string
	Decision string
	Expires  time.Time // with the skew that is tolerated: later it cannot come back
	c        claims
}

// Keys are the public keys whose vouchers are good.
type Keys map[string]ed25519.PublicKey

// maxKeys is a key and its successor.
const maxKeys = 2

// ParseKeys reads public keys: one a line in standard base64, whatever follows
// it being a comment, and # beginning a line that is one. There are at most
// two: a key and its successor, while one takes the other's place.
func ParseKeys(text string) (Keys, error) {
	keys := Keys{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(fields[0])
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("line %d is not a public permit key: want 32 bytes in base64", n)
		}
		keys[keyID(raw)] = raw
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("there are %d permit keys, and at most %d may be: a key and its successor", len(keys), maxKeys)
	}
	return keys, nil
}

// Verify reads a voucher signed with one of the keys, whoever it is for.
func (k Keys) Verify(signed string, now time.Time) (Voucher, error) {
	var c claims
	if _, err := k.open(signed, mediaType, &c); err != nil {
		return Voucher{}, err
	}
	return c.voucher(now)
}

// open reads the claims of a token of one type, signed with one of the keys,
// and says which.
func (k Keys) open(signed, mediaType string, c jwt.Claims) (id string, err error) {
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithoutClaimsValidation(), // the caller's, for its errors are told apart
		jwt.WithStrictDecoding(),
	)
	unknown := false
	_, err = parser.ParseWithClaims(signed, c, func(t *jwt.Token) (any, error) {
		if typ, _ := t.Header["typ"].(string); typ != mediaType {
			return nil, ErrInvalid
		}
		id, _ = t.Header["kid"].(string)
		key, ok := k[id]
		if !ok {
			unknown = true
			return nil, ErrUnknownKey
		}
		return key, nil
	})
	switch {
	case unknown:
		return "", ErrUnknownKey
	case err != nil:
		return "", ErrInvalid
	}
	return id, nil
}

// voucher is the claims as a voucher, when they are complete and it is their
// time.
func (c claims) voucher(now time.Time) (Voucher, error) {
	if c.ID == "" || len(c.Audience) != 1 {
		return Voucher{}, ErrInvalid
	}
	if err := inTime(c.RegisteredClaims, Life, now); err != nil {
		return Voucher{}, err
	}
	return Voucher{ID: c.ID, Audience: c.Audience[0], Decision: c.Decision, Expires: c.ExpiresAt.Time, c: c}, nil
}

// inTime checks the times of something that lives for so long at most.
func inTime(c jwt.RegisteredClaims, life time.Duration, now time.Time) error {
	if c.IssuedAt == nil || c.ExpiresAt == nil {
		return ErrInvalid
	}
	issued, expires := c.IssuedAt.Time, c.ExpiresAt.Time
	switch {
	case expires.Sub(issued) > life || !expires.After(issued):
		return ErrInvalid
	case !now.Before(expires), issued.After(now.Add(Skew)):
		return ErrExpired
	}
	return nil
}

// Covers compares the voucher with a call. Its error is ErrOther with what
// differs, and quotes nothing of either.
func (v Voucher) Covers(c Call) error {
	var differs string
	switch {
	case v.ID == "":
		return ErrInvalid
	case v.c.Site != c.Site:
		differs = "site"
	case v.c.Connection != c.Connection:
		differs = "connection"
	case v.c.Method != c.Method:
		differs = "method"
	case v.c.Target != c.Target:
		differs = "path or query"
	case v.c.Headers != headersDigest(c.Headers):
		differs = "headers"
	case v.c.Body != digest(c.Body):
		differs = "body"
	default:
		return nil
	}
	return fmt.Errorf("%w: the %s differs", ErrOther, differs)
}

func keyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// headersDigest is of the headers in the order of their canonical names, each
// part behind its length, so that no two sets of headers are alike.
func headersDigest(headers map[string]string) string {
	canonical := make(map[string]string, len(headers))
	for name, value := range headers {
		canonical[http.CanonicalHeaderKey(name)] = value
	}
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(canonical)) {
		for _, part := range []string{name, canonical[name]} {
			b = binary.AppendUvarint(b, uint64(len(part)))
			b = append(b, part...)
		}
	}
	return digest(b)
}
