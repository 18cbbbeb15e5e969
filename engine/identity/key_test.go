package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestParseSecretRefuses(t *testing.T) {
	for _, tt := range []struct {
		why, alg, secret, reason string
	}{
		{"nothing", "HS256", "", "at least 32 bytes"},
		{"31 bytes", "HS256", string(newSecret(31)), "at least 32 bytes"},
		{"47 bytes for HS384", "HS384", string(newSecret(47)), "at least 48 bytes"},
		{"63 bytes for HS512", "HS512", string(newSecret(63)), "at least 64 bytes"},
		{"an RSA algorithm", "RS256", string(newSecret(64)), "wants a public key"},
		{"no algorithm", "", string(newSecret(64)), "alg is not one of"},
		{"alg none", "none", string(newSecret(64)), "alg is not one of"},
		{"alg in lower case", "hs256", string(newSecret(64)), "alg is not one of"},
		{"the playground's secret, made longer", "HS256", "your-256-bit-secret-your-256-bit-secret", "published sample"},
		{"the playground's newer secret", "HS256", "a-string-secret-at-least-256-bits-long", "published sample"},
		{"a placeholder", "HS256", "CHANGEME-CHANGEME-CHANGEME-CHANGEME", "published sample"},
		{"zeros", "HS256", strings.Repeat("\x00", 32), "published sample"},
		{"one letter", "HS256", strings.Repeat("a", 64), "published sample"},
		{"a word repeated", "HS256", strings.Repeat("harbor-goods", 4), "published sample"},
		{"a public key", "HS256", string(publicPEM(t, rsaKey())), "PEM"},
		{"a private key", "HS256", string(privatePEM(t, newEd25519(t))), "PEM"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			k, err := ParseSecret("shop-key", tt.alg, []byte(tt.secret))
			refusedKey(t, k, err, tt.reason, tt.secret)
		})
	}
}

func TestParsePublicKeyRefuses(t *testing.T) {
	p256 := newECDSA(t, elliptic.P256())
	edge := func(n *big.Int, e int) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: n, E: e})})
	}
	n := rsaKey().N
	for _, tt := range []struct {
		why, alg string
		pem      []byte
		reason   string
	}{
		{"nothing", "RS256", nil, "not a PEM file"},
		{"a JWK", "RS256", []byte(rfcRSA), "not a PEM file"},
		{"an HMAC algorithm", "HS256", publicPEM(t, rsaKey()), "wants a shared secret"},
		{"no algorithm", "", publicPEM(t, rsaKey()), "alg is not one of"},
		{"alg none", "none", publicPEM(t, rsaKey()), "alg is not one of"},
		{"a private key", "RS256", privatePEM(t, rsaKey()), "this is a private key"},
		{"a private EC key", "ES256", privatePEM(t, p256), "this is a private key"},
		{"a private key after a public one", "ES256", append(publicPEM(t, p256), privatePEM(t, p256)...), "this is a private key"},
		{"an encrypted private key", "ES256", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), "this is a private key"},
		{"an old private RSA key", "RS256", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey())}), "this is a private key"},
		{"two keys", "ES256", append(publicPEM(t, p256), publicPEM(t, rsaKey())...), "more than one PEM block"},
		{"something else in PEM", "ES256", pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{1}}), "want PUBLIC KEY"},
		{"noise in PEM", "ES256", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("noise")}), "cannot be read"},
		{"noise for a certificate", "ES256", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("noise")}), "cannot be read"},
		{"RSA for ES256", "ES256", publicPEM(t, rsaKey()), "wants an elliptic-curve key"},
		{"EC for RS256", "RS256", publicPEM(t, p256), "wants an RSA key"},
		{"EC for EdDSA", "EdDSA", publicPEM(t, p256), "wants an Ed25519 key"},
		{"Ed25519 for ES256", "ES256", publicPEM(t, newEd25519(t)), "wants an elliptic-curve key"},
		{"P-384 for ES256", "ES256", publicPEM(t, newECDSA(t, elliptic.P384())), "wants curve P-256"},
		{"P-256 for ES512", "ES512", publicPEM(t, p256), "wants curve P-521"},
		{"P-224", "ES256", publicPEM(t, newECDSA(t, elliptic.P224())), "wants curve P-256"},
		{"RSA of 1024 bits", "RS256", edge(new(big.Int).Rsh(n, 1024), 65537), "at least 2048 bits"},
		{"RSA of 2047 bits", "PS256", edge(new(big.Int).Rsh(n, 1), 65537), "at least 2048 bits"},
		{"RSA of 16384 bits", "RS256", edge(new(big.Int).Lsh(n, 14336), 65537), "too slow"},
		{"an even modulus", "RS256", edge(new(big.Int).Sub(n, big.NewInt(1)), 65537), "even"},
		{"exponent 3", "RS256", edge(n, 3), "exponent"},
		{"exponent 1", "RS256", edge(n, 1), "exponent"},
		{"an even exponent", "RS256", edge(n, 65538), "exponent"},
		{"an Ed25519 point of order 1", "EdDSA", smallEd25519(t, "01"+strings.Repeat("00", 31)), "small order"},
		{"an Ed25519 point of order 8", "EdDSA", smallEd25519(t, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"), "small order"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			k, err := ParsePublicKey("shop-key", tt.alg, tt.pem)
			refusedKey(t, k, err, tt.reason, string(tt.pem))
		})
	}
}

func TestParseJWKRefuses(t *testing.T) {
	for _, tt := range []struct{ why, jwk, reason string }{
		{"nothing", ``, "JSON object"},
		{"a list", `[]`, "JSON object"},
		{"an object without a type", `{"y":""}`, "no alg"},
		{"a member twice", strings.Replace(rfcP256, "{", `{"use":"enc","use":"sig",`, 1), "strict JSON"},
		{"trailing bytes", rfcP256 + "{}", "strict JSON"},
		{"a private EC key", strings.Replace(rfcP256, "{", `{"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",`, 1), "private key"},
		{"a private RSA key's prime", strings.Replace(rfcRSA, "{", `{"p":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bc",`, 1), "private key"},
		{"a private member that is null", strings.Replace(rfcRSA, "{", `{"qi":null,`, 1), "private key"},
		{"use enc", strings.Replace(rfcRSA, "{", `{"use":"enc",`, 1), "use is not sig"},
		{"use SIG", strings.Replace(rfcRSA, "{", `{"use":"SIG",`, 1), "use is not sig"},
		{"key_ops without verify", strings.Replace(rfcRSA, "{", `{"key_ops":["sign"],`, 1), "key_ops"},
		{"no key_ops at all", strings.Replace(rfcRSA, "{", `{"key_ops":[],`, 1), "key_ops"},
		{"alg none", strings.Replace(rfcRSA, "{", `{"alg":"none",`, 1), "alg is not one of"},
		{"alg of another type", strings.Replace(rfcRSA, "{", `{"alg":"ES256",`, 1), "wants an elliptic-curve key"},
		{"HMAC with an RSA key", strings.Replace(rfcRSA, "{", `{"alg":"HS256",`, 1), "no public keys"},
		{"RSA's alg with a secret", strings.Replace(rfcHMAC, "HS256", "RS256", 1), "wants a public key"},
		{"a secret without alg", strings.Replace(rfcHMAC, `"alg":"HS256",`, "", 1), "no alg"},
		{"a secret too short for its hash", strings.Replace(rfcHMAC, `"k":"`, `"alg2":"`, 1), "at least 32 bytes"},
		{"a padded coordinate", strings.Replace(rfcP256, `VEU"`, `VEU="`, 1), "cannot be read"},
		{"a coordinate cut short", strings.Replace(rfcP256, `f83O`, ``, 1), "cannot be read"},
		{"a point off its curve", strings.Replace(rfcP256, `f83O`, `f83P`, 1), "not on its curve"},
		{"a curve of another alg", strings.Replace(rfcP256, "{", `{"alg":"ES384",`, 1), "not for its curve"},
		{"a curve nobody should use", strings.Replace(rfcP256, "P-256", "secp256k1", 1), "no alg"},
		{"an Ed25519 key cut short", strings.Replace(rfcEd25519, "11qY", "", 1), "wants an Ed25519 key"},
		{"an X25519 key", strings.Replace(rfcEd25519, "Ed25519", "X25519", 1), "no alg"},
		{"an X25519 key with alg", strings.Replace(rfcEd25519, `"crv":"Ed25519"`, `"crv":"X25519","alg":"EdDSA"`, 1), "cannot be read"},
		{"an unknown type", `{"kty":"AKP","alg":"RS256"}`, "kty is not one of"},
		{"an exponent of nine bytes", strings.Replace(rfcRSA, "AQAB", "AQAAAAAAAAAB", 1), "cannot be read"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			k, err := ParseJWK([]byte(strings.Replace(tt.jwk, "{", `{"kid":"shop-key",`, 1)))
			if tt.jwk == "" || tt.jwk == "[]" || tt.reason == "strict JSON" {
				if err == nil || !strings.Contains(err.Error(), tt.reason) || k.k != nil {
					t.Errorf("key %v, error %v, want one that says %q", k, err, tt.reason)
				}
				return
			}
			refusedKey(t, k, err, tt.reason, tt.jwk)
		})
	}
}

// refusedKey wants an error that names the key and the reason and quotes none
// of the material.
func refusedKey(t *testing.T, k Key, err error, reason, material string) {
	t.Helper()
	if err == nil {
		t.Fatalf("%v was admitted", k)
	}
	if k.k != nil {
		t.Errorf("a refused key came back all the same")
	}
	if !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), "shop-key") {
		t.Errorf("error %q names not the key or not the reason %q", err, reason)
	}
	for i := 0; i+16 <= len(material); i++ {
		if strings.Contains(err.Error(), material[i:i+16]) && !strings.HasPrefix(material[i:], "-----") && !strings.Contains("EC PARAMETERS-----", material[i:i+8]) {
			t.Fatalf("error quotes the material: %q", err)
		}
	}
}

func privatePEM(t testing.TB, private any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func smallEd25519(t testing.TB, point string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(point)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(raw))
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestParsePublicKeyForms(t *testing.T) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop"}, NotAfter: noon}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, rsaKey().Public(), rsaKey())
	if err != nil {
		t.Fatal(err)
	}
	for name, form := range map[string][]byte{
		"PKIX":                    publicPEM(t, rsaKey()),
		"PKCS #1":                 pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)}),
		"certificate":             pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"with a blank line after": append(publicPEM(t, rsaKey()), "\n\n"...),
	} {
		k, err := ParsePublicKey("k1", "RS256", form)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !rsaKey().PublicKey.Equal(k.k.material.(*rsa.PublicKey)) {
			t.Errorf("%s: another key came back", name)
		}
	}
}

// TestJWKAlgorithm: a published key without alg gets exactly one.
func TestJWKAlgorithm(t *testing.T) {
	for jwk, want := range map[string]Alg{
		rfcRSA: RS256, rfcP256: ES256, rfcP521: ES512, rfcEd25519: EdDSA,
		strings.Replace(rfcRSA, "{", `{"alg":"PS512",`, 1):                         PS512,
		strings.Replace(rfcRSA, "{", `{"use":"sig","key_ops":["verify"],`, 1):      RS256,
		strings.Replace(rfcP256, "{", `{"ext":true,"x5c":["MIIB"],"x5t":"AA",`, 1): ES256,
	} {
		if k, err := ParseJWK([]byte(jwk)); err != nil || k.Alg() != want {
			t.Errorf("ParseJWK(%.40s...) = %v, %v, want alg %s", jwk, k, err, want)
		}
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	secret := []byte("Vq3-nobody-may-ever-read-this-secret-0987")
	k, err := ParseSecret("k1", "HS256", secret)
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA9005 that nothing gets through is what is tested
	asJSON, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	cfg := shop(k)
	v := newVerifier(t, cfg)
	for _, printed := range []string{
		fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %q %x", k, k, k, k, k, k), string(asJSON), k.LogValue().String(),
		fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg), fmt.Sprintf("%v %+v", v, v),
	} {
		for _, form := range []string{string(secret), hex.EncodeToString(secret), fmt.Sprint(secret)} {
			if strings.Contains(printed, form) {
				t.Errorf("a key printed its secret: %s", printed)
			}
		}
	}
	// The caller may wipe its own copy.
	clear(secret)
	if bytes.Equal(k.k.material.([]byte), secret) {
		t.Error("the key shares the caller's bytes")
	}
}

func TestZeroKeyVerifiesNothing(t *testing.T) {
	if k := (Key{}).Window(noon, noon); k.k != nil || k.Kid() != "" || k.Alg() != "" {
		t.Errorf("the zero key became %v", k)
	}
	token, f := parseJWS(signer{"", HS256, []byte{}}.sign(t, `{"alg":"HS256"}`, `{}`))
	if f != (fault{}) {
		t.Fatal(f)
	}
	if token.verifiedBy(Key{}) {
		t.Error("the zero key verified a token signed with an empty secret")
	}
}

func TestConfigurationRefused(t *testing.T) {
	one, two := signer{"k1", HS256, newSecret(32)}.key(t), signer{"k1", ES256, newECDSA(t, elliptic.P256())}.key(t)
	nameless := signer{"", HS256, newSecret(32)}.key(t)
	published, err := NewJWKS(JWKSConfig{URL: "https://shop.example/jwks.json"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		why    string
		change func(*Config)
		reason string
	}{
		{"no site", func(c *Config) { c.Site = "" }, "no site"},
		{"no issuer", func(c *Config) { c.Issuer = "" }, "no issuer"},
		{"no audience", func(c *Config) { c.Audience = "" }, "no audience"},
		{"no keys", func(c *Config) { c.Keys = nil }, "no keys"},
		{"a key never admitted", func(c *Config) { c.Keys = []Key{{}} }, "never admitted"},
		{"two keys of one kid", func(c *Config) { c.Keys = []Key{one, two} }, `two keys have the kid "k1"`},
		{"two keys, one nameless", func(c *Config) { c.Keys = []Key{one, nameless} }, "needs a kid"},
		{"a nameless key beside published ones", func(c *Config) { c.Keys, c.Published = []Key{nameless}, published }, "needs a kid"},
		{"a window that never opens", func(c *Config) { c.Keys = []Key{one.Window(noon, noon)} }, "retire_after"},
		{"a negative skew", func(c *Config) { c.ClockSkew = -time.Second }, "clock skew"},
		{"a skew over 5 minutes", func(c *Config) { c.ClockSkew = 5*time.Minute + 1 }, "clock skew"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			cfg := shop(one)
			tt.change(&cfg)
			v, err := NewVerifier(cfg)
			if err == nil || !strings.Contains(err.Error(), tt.reason) || v != nil {
				t.Errorf("NewVerifier = %v, %v, want an error about %q", v, err, tt.reason)
			}
		})
	}
}

func TestOneNamelessKey(t *testing.T) {
	s := signer{"", ES256, newECDSA(t, elliptic.P256())}
	v := newVerifier(t, shop(s.key(t)))
	for _, header := range []string{`{"alg":"ES256"}`, `{"alg":"ES256","kid":"whatever"}`} {
		if r := v.Verify(t.Context(), s.sign(t, header, goodClaims(t)), noon); r.State != Verified {
			t.Errorf("header %s: %s, cause %q", header, r.State, r.Cause)
		}
	}
	named := signer{"k1", ES256, s.private}
	v = newVerifier(t, shop(named.key(t)))
	if r := v.Verify(t.Context(), s.sign(t, `{"alg":"ES256"}`, goodClaims(t)), noon); r.State != Verified {
		t.Errorf("one named key and no kid: %s, cause %q", r.State, r.Cause)
	}
	refused(t, v.Verify(t.Context(), s.sign(t, `{"alg":"ES256","kid":"k2"}`, goodClaims(t)), noon), CauseUnknownKid)
}

// TestRotation: the old key and the new one overlap, then the old one goes.
func TestRotation(t *testing.T) {
	old, next := signer{"old", HS256, newSecret(32)}, signer{"next", ES256, newECDSA(t, elliptic.P256())}
	day := noon.Add(24 * time.Hour)
	v := newVerifier(t, shop(old.key(t).Window(time.Time{}, day.Add(time.Minute)), next.key(t).Window(day, time.Time{})))
	at := func(s signer, when time.Time) Result {
		return v.Verify(t.Context(), s.mint(t, alex(map[string]any{"iat": when.Unix() - 10, "exp": when.Unix() + 300})), when)
	}
	if r := at(old, noon); r.State != Verified {
		t.Errorf("the old key before: %s, cause %q", r.State, r.Cause)
	}
	refused(t, at(next, noon), CauseKeyNotYetActive)
	if r := at(old, day); r.State != Verified {
		t.Errorf("the old key in between: %s, cause %q", r.State, r.Cause)
	}
	if r := at(next, day); r.State != Verified {
		t.Errorf("the new key in between: %s, cause %q", r.State, r.Cause)
	}
	refused(t, at(old, day.Add(time.Minute)), CauseKeyRetired)

	// A remembered token goes with its key.
	token := old.mint(t, alex(map[string]any{"iat": day.Unix(), "exp": day.Unix() + 3600}))
	if r := v.Verify(t.Context(), token, day); r.State != Verified {
		t.Fatalf("before retirement: %s, cause %q", r.State, r.Cause)
	}
	refused(t, v.Verify(t.Context(), token, day.Add(time.Minute)), CauseKeyRetired)
}

func TestROCA(t *testing.T) {
	if roca(rsaKey().N) {
		t.Error("a sound key was taken for a faulty one")
	}
	// The faulty generator's moduli are powers of 65537 modulo the primes it
	// uses; a product of such residues is one of them.
	m := big.NewInt(1)
	for p := int64(2); p <= 167; p++ {
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
		}
	}
	n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(12345), m)
	n.Add(n, new(big.Int).Lsh(m, 2048))
	if !roca(n) {
		t.Error("a modulus of the faulty generator's form was not recognised")
	}
	var public any = &ecdsa.PublicKey{}
	if err := checkPublic(RS256, public); err == nil {
		t.Error("an EC key passed for RSA")
	}
}
