package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Person is a customer.
type Person struct{ Subject, Email, Name string }

// The customers.
var (
	Alex   = Person{"cus_alex_5521", "alex@example.com", "Alex Morgan"}
	Jordan = Person{"cus_jordan_9034", "jordan@example.com", "Jordan Lee"}
)

// Minting is a token about to be signed.
type Minting struct {
	Claims jwt.MapClaims
	Header map[string]any
	Method jwt.SigningMethod
	Key    any
}

// Keys are what a site signs its visitors' tokens with.
type Keys struct {
	Issuer, Audience string
	Secret           []byte            // kid k1, HS256
	Private          *ecdsa.PrivateKey // kid k2, ES256
}

func newKeys(t testing.TB, issuer, audience string) Keys {
	t.Helper()
	raw := make([]byte, 32)
	rand.Read(raw)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Keys{Issuer: issuer, Audience: audience, Secret: []byte(hex.EncodeToString(raw)), Private: private}
}

// publicPEM is the public half of k2.
func (k Keys) publicPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&k.Private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// Token signs a token of five minutes for p with k1, as mods changed it.
func (k Keys) Token(t testing.TB, p Person, mods ...func(*Minting)) string {
	t.Helper()
	now := time.Now()
	m := &Minting{
		Claims: jwt.MapClaims{"iss": k.Issuer, "aud": k.Audience, "sub": p.Subject, "email": p.Email, "email_verified": true,
			"name": p.Name, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": rand.Text()},
		Header: map[string]any{"kid": "k1"},
		Method: jwt.SigningMethodHS256,
		Key:    k.Secret,
	}
	for _, mod := range mods {
		mod(m)
	}
	token := jwt.NewWithClaims(m.Method, m.Claims)
	for name, value := range m.Header {
		token.Header[name] = value
	}
	signed, err := token.SignedString(m.Key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// ES256 signs with k2.
func (k Keys) ES256(m *Minting) {
	m.Method, m.Key, m.Header["kid"] = jwt.SigningMethodES256, k.Private, "k2"
}

// Unsigned is alg none.
func Unsigned(m *Minting) {
	m.Method, m.Key = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType
}

// WrongKey signs with another secret.
func WrongKey(m *Minting) { m.Key = []byte("0123456789abcdef0123456789abcdef-other") }

// Lived moves the token's life to begin and end so much after now.
func Lived(from, to time.Duration) func(*Minting) {
	return func(m *Minting) {
		now := time.Now()
		m.Claims["iat"], m.Claims["exp"] = now.Add(from).Unix(), now.Add(to).Unix()
	}
}

// Claim sets one claim.
func Claim(name string, value any) func(*Minting) {
	return func(m *Minting) { m.Claims[name] = value }
}
