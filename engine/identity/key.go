package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Alg is a JWS algorithm.
type Alg string

// The algorithms. There are no others; none is not one.
const (
	HS256 Alg = "HS256"
	HS384 Alg = "HS384"
	HS512 Alg = "HS512"
	RS256 Alg = "RS256"
	RS384 Alg = "RS384"
	RS512 Alg = "RS512"
	PS256 Alg = "PS256"
	PS384 Alg = "PS384"
	PS512 Alg = "PS512"
	ES256 Alg = "ES256"
	ES384 Alg = "ES384"
	ES512 Alg = "ES512"
	EdDSA Alg = "EdDSA"
)

var methods = map[Alg]jwt.SigningMethod{
	HS256: jwt.SigningMethodHS256,
	HS384: jwt.SigningMethodHS384,
	HS512: jwt.SigningMethodHS512,
	RS256: jwt.SigningMethodRS256,
	RS384: jwt.SigningMethodRS384,
	RS512: jwt.SigningMethodRS512,
	PS256: strictPSS(jwt.SigningMethodPS256),
	PS384: strictPSS(jwt.SigningMethodPS384),
	PS512: strictPSS(jwt.SigningMethodPS512),
	ES256: jwt.SigningMethodES256,
	ES384: jwt.SigningMethodES384,
	ES512: jwt.SigningMethodES512,
	EdDSA: jwt.SigningMethodEdDSA,
}

// strictPSS wants a salt as long as the hash, as RFC 7518 does; golang-jwt
// takes any length.
func strictPSS(m *jwt.SigningMethodRSAPSS) *jwt.SigningMethodRSAPSS {
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: m.SigningMethodRSA,
		Options:          m.Options,
		VerifyOptions:    &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
	}
}

func (a Alg) method() jwt.SigningMethod { return methods[a] }

func (a Alg) symmetric() bool { return strings.HasPrefix(string(a), "HS") }

// hashSize is the size in bytes of the algorithm's hash, 0 for EdDSA.
func (a Alg) hashSize() int {
	switch {
	case strings.HasSuffix(string(a), "256"):
		return 32
	case strings.HasSuffix(string(a), "384"):
		return 48
	case strings.HasSuffix(string(a), "512"):
		return 64
	}
	return 0
}

// Key is one admitted verification key, good for exactly one algorithm. The
// zero Key verifies nothing.
type Key struct{ k *key }

type key struct {
	kid         string
	alg         Alg
	material    any // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	notBefore   time.Time
	retireAfter time.Time
}

// Kid returns the key's id, which may be empty.
func (k Key) Kid() string {
	if k.k == nil {
		return ""
	}
	return k.k.kid
}

// Alg returns the key's one algorithm.
func (k Key) Alg() Alg {
	if k.k == nil {
		return ""
	}
	return k.k.alg
}

// Window returns the key limited to a time: it verifies nothing before
// notBefore, nor at or after retireAfter. A zero time is no limit.
func (k Key) Window(notBefore, retireAfter time.Time) Key {
	if k.k == nil {
		return k
	}
	limited := *k.k
	limited.notBefore, limited.retireAfter = notBefore, retireAfter
	return Key{&limited}
}

// String names the key without its material.
func (k Key) String() string { return fmt.Sprintf("key %q (%s)", k.Kid(), k.Alg()) }

// GoString is String, so that no verb prints the material.
func (k Key) GoString() string { return k.String() }

// LogValue is String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// active reports whether the key may be used at now.
func (k Key) active(now time.Time) fault {
	if now.Before(k.k.notBefore) {
		return fault{CauseKeyNotYetActive, "kid"}
	}
	if !k.k.retireAfter.IsZero() && !now.Before(k.k.retireAfter) {
		return fault{CauseKeyRetired, "kid"}
	}
	return fault{}
}

// keyError names the key at fault. Reasons never hold key material.
func keyError(kid string, reason error) error { return fmt.Errorf("key %q: %w", kid, reason) }

// parseAlg reads an algorithm's name.
func parseAlg(alg string) (Alg, error) {
	if a := Alg(alg); a.method() != nil {
		return a, nil
	}
	return "", errors.New("alg is not one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA")
}

// ParseSecret admits a shared secret for HS256, HS384 or HS512. The secret is
// used byte for byte, so a file's trailing newline is the caller's to drop. It
// is refused when it is shorter than the hash, a sample from a manual, too
// uniform to be random, or a key file of another kind.
func ParseSecret(kid, alg string, secret []byte) (Key, error) {
	a, err := parseAlg(alg)
	if err != nil {
		return Key{}, keyError(kid, err)
	}
	if !a.symmetric() {
		return Key{}, keyError(kid, fmt.Errorf("%s wants a public key, not a shared secret", a))
	}
	if err := checkSecret(a, secret); err != nil {
		return Key{}, keyError(kid, err)
	}
	if bytes.Contains(secret, []byte("-----BEGIN ")) {
		return Key{}, keyError(kid, fmt.Errorf("a PEM file is not a shared secret for %s", a))
	}
	if sampleSecret(secret) {
		return Key{}, keyError(kid, errors.New("the secret is a published sample or too uniform; make one with: openssl rand -base64 48"))
	}
	return Key{&key{kid: kid, alg: a, material: bytes.Clone(secret)}}, nil
}

// checkSecret wants a secret at least as long as the hash (RFC 7518, 3.2).
func checkSecret(a Alg, secret []byte) error {
	if len(secret) < a.hashSize() {
		return fmt.Errorf("%s wants a secret of at least %d bytes, this one has %d", a, a.hashSize(), len(secret))
	}
	return nil
}

// ParsePublicKey admits a public key for one of the RS, PS, ES algorithms or
// EdDSA. pemBytes holds one PEM block: PUBLIC KEY, RSA PUBLIC KEY or
// CERTIFICATE, of which only the key counts. A private key is refused: the
// gate has no use for one, and it should be nowhere near.
func ParsePublicKey(kid, alg string, pemBytes []byte) (Key, error) {
	a, err := parseAlg(alg)
	if err != nil {
		return Key{}, keyError(kid, err)
	}
	if a.symmetric() {
		return Key{}, keyError(kid, fmt.Errorf("%s wants a shared secret, not a public key", a))
	}
	material, err := parsePEM(pemBytes)
	if err != nil {
		return Key{}, keyError(kid, err)
	}
	if err := checkPublic(a, material); err != nil {
		return Key{}, keyError(kid, err)
	}
	return Key{&key{kid: kid, alg: a, material: material}}, nil
}

func parsePEM(data []byte) (any, error) {
	if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return nil, errors.New("this is a private key; give the public key and keep the private one with whoever signs")
	}
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, errors.New("not a PEM file")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("more than one PEM block; give exactly one key")
	}
	switch block.Type {
	case "PUBLIC KEY":
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("PUBLIC KEY block cannot be read")
		}
		return public, nil
	case "RSA PUBLIC KEY":
		public, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("RSA PUBLIC KEY block cannot be read")
		}
		return public, nil
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("CERTIFICATE block cannot be read")
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("PEM block is %q, want PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE", block.Type)
}

// checkPublic holds a public key to its algorithm and to what is safe today.
func checkPublic(a Alg, material any) error {
	switch a {
	case RS256, RS384, RS512, PS256, PS384, PS512:
		k, ok := material.(*rsa.PublicKey)
		if !ok {
			return fmt.Errorf("%s wants an RSA key", a)
		}
		return checkRSA(k)
	case ES256, ES384, ES512:
		k, ok := material.(*ecdsa.PublicKey)
		if !ok {
			return fmt.Errorf("%s wants an elliptic-curve key", a)
		}
		if want := curveOf[a]; k.Curve != want {
			return fmt.Errorf("%s wants curve %s, this key is on %s", a, want.Params().Name, k.Curve.Params().Name)
		}
		if _, err := k.Bytes(); err != nil {
			return errors.New("the point is not on its curve")
		}
		return nil
	case EdDSA:
		k, ok := material.(ed25519.PublicKey)
		if !ok || len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("%s wants an Ed25519 key", a)
		}
		if smallOrder(k) {
			return errors.New("the Ed25519 point has a small order: anybody could sign for it")
		}
		return nil
	}
	return fmt.Errorf("%s has no public keys", a)
}
