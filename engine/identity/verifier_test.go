package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// signer is a website's side: a key id, an algorithm and its private key.
type signer struct {
	kid     string
	alg     Alg
	private any // []byte for HMAC
}

func (s signer) sign(t testing.TB, header, payload string) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	sig, err := s.alg.method().Sign(input, s.private)
	if err != nil {
		t.Fatalf("signing with %s: %v", s.alg, err)
	}
	return input + "." + b64(sig)
}

// mint signs claims, under the header a common library would write.
func (s signer) mint(t testing.TB, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return s.sign(t, s.header(), string(payload))
}

func (s signer) header() string {
	return `{"alg":"` + string(s.alg) + `","kid":"` + s.kid + `"}`
}

// key returns the admitted key that verifies the signer's tokens.
func (s signer) key(t testing.TB) Key {
	t.Helper()
	var (
		k   Key
		err error
	)
	if secret, ok := s.private.([]byte); ok {
		k, err = ParseSecret(s.kid, string(s.alg), secret)
	} else {
		k, err = ParsePublicKey(s.kid, string(s.alg), publicPEM(t, s.private))
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(private any) crypto.PublicKey { return private.(crypto.Signer).Public() }

func publicPEM(t testing.TB, private any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public(private))
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newECDSA(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newEd25519(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newSecret(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// signers returns one signer for each algorithm.
func signers(t testing.TB) []signer {
	return []signer{
		{"hs256", HS256, newSecret(32)},
		{"hs384", HS384, newSecret(48)},
		{"hs512", HS512, newSecret(64)},
		{"rs256", RS256, rsaKey()},
		{"rs384", RS384, rsaKey()},
		{"rs512", RS512, rsaKey()},
		{"ps256", PS256, rsaKey()},
		{"ps384", PS384, rsaKey()},
		{"ps512", PS512, rsaKey()},
		{"es256", ES256, newECDSA(t, elliptic.P256())},
		{"es384", ES384, newECDSA(t, elliptic.P384())},
		{"es512", ES512, newECDSA(t, elliptic.P521())},
		{"eddsa", EdDSA, newEd25519(t)},
	}
}

// alex returns the claims of a good token, with the given ones changed; a nil
// value removes a claim.
func alex(changed map[string]any) map[string]any {
	claims := map[string]any{
		"iss":   "https://shop.example",
		"aud":   "vouchsafe-shop",
		"sub":   "c-1001",
		"email": "alex@example.com",
		"name":  "Alex",
		"iat":   noon.Unix() - 60,
		"exp":   noon.Unix() + 240,
	}
	maps.Copy(claims, changed)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

func shop(keys ...Key) Config {
	return Config{
		Site:      "shop",
		Issuer:    "https://shop.example",
		Audience:  "vouchsafe-shop",
		Keys:      keys,
		ClockSkew: 30 * time.Second,
	}
}

func newVerifier(t testing.TB, cfg Config) *Verifier {
	t.Helper()
	v, err := NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// refused fails the test unless the result proves nothing at all.
func refused(t testing.TB, r Result, cause string) {
	t.Helper()
	if r.State != Invalid || r.Cause != cause {
		t.Errorf("Verify = %s, cause %q (%s), want invalid, cause %q", r.State, r.Cause, r.Detail, cause)
	}
	if r.Visitor.v != nil || r.Expired != (ExpiredClaims{}) {
		t.Errorf("an invalid token proved something: %+v", r)
	}
}

func TestNoTokenIsAbsent(t *testing.T) {
	v := newVerifier(t, shop(signers(t)[0].key(t)))
	r := v.Verify(context.Background(), "", noon)
	if diff := cmp.Diff(Result{}, r, cmp.AllowUnexported(Visitor{})); diff != "" {
		t.Errorf("Verify of no token (-want +got):\n%s", diff)
	}
	if r.Visitor.Live(noon) {
		t.Error("nobody is live")
	}
}

func TestEveryAlgorithmVerifies(t *testing.T) {
	all := signers(t)
	var keys []Key
	for _, s := range all {
		keys = append(keys, s.key(t))
	}
	v := newVerifier(t, shop(keys...))
	for _, s := range all {
		token := s.mint(t, alex(map[string]any{"jti": "t-1", "email_verified": true, "plan": "gold"}))
		for range 2 { // verified, then remembered
			r := v.Verify(context.Background(), token, noon)
			if r.State != Verified {
				t.Fatalf("%s: Verify = %s, cause %q (%s)", s.alg, r.State, r.Cause, r.Detail)
			}
			verified := true
			want := &visitor{
				site: "shop", subject: "c-1001", email: "alex@example.com", emailVerified: &verified, name: "Alex", tokenID: "t-1",
				issuedAt: noon.Add(-time.Minute), lifetime: 5 * time.Minute, expiresAt: noon.Add(4*time.Minute + 30*time.Second),
				claims: json.RawMessage(`{"plan":"gold"}`),
			}
			if r.Visitor.v.by != v {
				t.Errorf("%s: the visitor does not know which verifier to ask", s.alg)
			}
			got := *r.Visitor.v
			got.by = nil
			if diff := cmp.Diff(want, &got, cmp.AllowUnexported(visitor{})); diff != "" {
				t.Errorf("%s: visitor (-want +got):\n%s", s.alg, diff)
			}
			if !r.Visitor.Live(noon) || r.Visitor.Live(r.Visitor.ExpiresAt()) {
				t.Errorf("%s: Live is not true now and false at expiry", s.alg)
			}
		}
		// No other key takes its signature, not even for the same algorithm
		// family under its own name.
		for _, other := range all {
			if other.alg != s.alg {
				forged := s.sign(t, other.header(), `{}`)
				refused(t, v.Verify(context.Background(), forged, noon), CauseSignatureInvalid)
			}
		}
	}
}

func TestClaims(t *testing.T) {
	s := signers(t)[0]
	v := newVerifier(t, shop(s.key(t)))
	now := noon.Unix()
	bulk := strings.Repeat("x", 2100)
	for _, tt := range []struct {
		why     string
		changed map[string]any
		cause   string // "" for a token that verifies
	}{
		{"no issuer", map[string]any{"iss": nil}, CauseClaimMissing},
		{"no audience", map[string]any{"aud": nil}, CauseClaimMissing},
		{"no subject", map[string]any{"sub": nil}, CauseClaimMissing},
		{"no time of issue", map[string]any{"iat": nil}, CauseClaimMissing},
		{"no expiry", map[string]any{"exp": nil}, CauseClaimMissing},
		{"no e-mail", map[string]any{"email": nil}, CauseClaimMissing},

		{"another issuer", map[string]any{"iss": "https://shop.example/"}, CauseIssuerMismatch},
		{"issuer in other case", map[string]any{"iss": "https://SHOP.example"}, CauseIssuerMismatch},
		{"issuers as a list", map[string]any{"iss": []string{"https://shop.example"}}, CauseClaimInvalid},
		{"another site's audience", map[string]any{"aud": "vouchsafe-other"}, CauseAudienceMismatch},
		{"a longer audience", map[string]any{"aud": "vouchsafe-shop-2"}, CauseAudienceMismatch},
		{"no audience in the list", map[string]any{"aud": []string{}}, CauseAudienceMismatch},
		{"audience as an object", map[string]any{"aud": map[string]any{"vouchsafe-shop": true}}, CauseClaimInvalid},
		{"audience list with a number", map[string]any{"aud": []any{"vouchsafe-shop", 1}}, CauseClaimInvalid},
		{"audience list in a list", map[string]any{"aud": []any{[]any{"vouchsafe-shop"}}}, CauseClaimInvalid},
		{"our audience among others", map[string]any{"aud": []string{"a", "vouchsafe-shop"}}, ""},

		{"an empty subject", map[string]any{"sub": ""}, CauseClaimInvalid},
		{"a subject that is a number", map[string]any{"sub": 1001}, CauseClaimInvalid},
		{"a subject with a line end", map[string]any{"sub": "c-1\n001"}, CauseClaimInvalid},
		{"a subject with NUL", map[string]any{"sub": "c-1\x00001"}, CauseClaimInvalid},
		{"a subject that fills a page", map[string]any{"sub": strings.Repeat("c", 256)}, CauseClaimInvalid},

		{"e-mails as a list", map[string]any{"email": []string{"alex@example.com"}}, CauseClaimInvalid},
		{"e-mails as a list of two", map[string]any{"email": []string{"alex@example.com", "jordan@example.com"}}, CauseClaimInvalid},
		{"e-mail as an object", map[string]any{"email": map[string]any{"value": "alex@example.com"}}, CauseClaimInvalid},
		{"e-mail null", map[string]any{"email": json.RawMessage("null")}, CauseClaimInvalid},
		{"e-mail empty", map[string]any{"email": ""}, CauseEmailInvalid},
		{"two e-mails in one string", map[string]any{"email": "alex@example.com, jordan@example.com"}, CauseEmailInvalid},
		{"e-mail with a display name", map[string]any{"email": "Jordan <jordan@example.com>"}, CauseEmailInvalid},
		{"e-mail with a zero-width space", map[string]any{"email": "al\u200bex@example.com"}, CauseEmailInvalid},

		{"email_verified as a string", map[string]any{"email_verified": "true"}, CauseClaimInvalid},
		{"email_verified as a number", map[string]any{"email_verified": 1}, CauseClaimInvalid},
		{"email_verified false is for the policy", map[string]any{"email_verified": false}, ""},

		{"a name that is a number", map[string]any{"name": 7}, CauseClaimInvalid},
		{"a name with an escape sequence", map[string]any{"name": "Alex\x1b[31m"}, CauseClaimInvalid},
		{"a name that turns text round", map[string]any{"name": "Alex\u202e"}, CauseClaimInvalid},
		{"a name of 300 bytes", map[string]any{"name": strings.Repeat("A", 300)}, CauseClaimInvalid},
		{"no name", map[string]any{"name": nil}, ""},
		{"a name in another script", map[string]any{"name": "Đặng Thị Ánh"}, ""},
		{"a token id that is a number", map[string]any{"jti": 7}, CauseClaimInvalid},

		{"expiry as a string", map[string]any{"exp": "1795000000"}, CauseClaimInvalid},
		{"expiry negative", map[string]any{"exp": -1}, CauseClaimInvalid},
		{"expiry beyond the calendar", map[string]any{"exp": 1e12}, CauseClaimInvalid},
		{"expiry beyond float64", map[string]any{"exp": json.RawMessage("1" + strings.Repeat("0", 400))}, CauseClaimInvalid},
		{"expiry with an exponent", map[string]any{"exp": json.RawMessage("1e9")}, CauseClaimInvalid},
		{"expiry null", map[string]any{"exp": json.RawMessage("null")}, CauseClaimInvalid},
		{"issued negative", map[string]any{"iat": json.RawMessage("-0.5")}, CauseClaimInvalid},
		{"nbf as true", map[string]any{"nbf": true}, CauseClaimInvalid},
		{"times with a fraction", map[string]any{"iat": float64(now) - 60.25, "exp": float64(now) + 240.75, "nbf": float64(now) - 0.5}, ""},

		{"expires as it is issued", map[string]any{"exp": now - 60}, CauseLifetimeInvalid},
		{"expires before it is issued", map[string]any{"exp": now - 61}, CauseLifetimeInvalid},
		{"lives a second over a day", map[string]any{"iat": now, "exp": now + 86401}, CauseLifetimeTooLong},
		{"lives a day", map[string]any{"iat": now, "exp": now + 86400}, ""},
		{"issued a second beyond the skew", map[string]any{"iat": now + 31}, CauseIssuedInFuture},
		{"issued within the skew", map[string]any{"iat": now + 30}, ""},
		{"good a second beyond the skew", map[string]any{"nbf": now + 31}, CauseNotYetValid},
		{"good within the skew", map[string]any{"nbf": now + 30}, ""},

		{"other claims over 4 KiB", map[string]any{"a": bulk, "b": bulk}, CauseClaimsTooLarge},
		{"other claims within 4 KiB", map[string]any{"a": bulk}, ""},
		{"a claim nested too deep", map[string]any{"a": json.RawMessage(strings.Repeat("[", 20) + strings.Repeat("]", 20))}, CauseClaimInvalid},
		{"a claim no float64 can hold", map[string]any{"a": json.RawMessage("1e999999999")}, CauseClaimInvalid},
	} {
		t.Run(tt.why, func(t *testing.T) {
			r := v.Verify(context.Background(), s.mint(t, alex(tt.changed)), noon)
			if tt.cause != "" {
				refused(t, r, tt.cause)
			} else if r.State != Verified {
				t.Errorf("Verify = %s, cause %q (%s), want verified", r.State, r.Cause, r.Detail)
			}
		})
	}
}

func TestPayloads(t *testing.T) {
	s := signers(t)[0]
	v := newVerifier(t, shop(s.key(t)))
	good, err := json.Marshal(alex(nil))
	if err != nil {
		t.Fatal(err)
	}
	open := strings.TrimSuffix(string(good), "}")
	for _, tt := range []struct{ why, payload string }{
		{"empty", ""},
		{"null", "null"},
		{"a string", `"foo"`},
		{"a list", "[" + string(good) + "]"},
		{"cut short", open},
		{"two documents", string(good) + string(good)},
		{"trailing bytes", string(good) + "x"},
		{"a byte-order mark", "\ufeff" + string(good)},
		{"a trailing comma", open + ",}"},
		{"a comment", open + "/**/}"},
		{"e-mail twice", open + `,"email":"jordan@example.com"}`},
		{"e-mail twice, once escaped", open + `,"\u0065mail":"jordan@example.com"}`},
		{"expiry twice", open + `,"exp":9999999999}`},
		{"a member twice, deep inside", open + `,"a":[{"b":{"c":1,"c":2}}]}`},
		{"not UTF-8", open + ",\"a\":\"\xff\"}"},
		{"half a surrogate pair", open + `,"a":"\ud800"}`},
	} {
		t.Run(tt.why, func(t *testing.T) {
			refused(t, v.Verify(context.Background(), s.sign(t, s.header(), tt.payload), noon), CauseClaimsMalformed)
		})
	}
	t.Run("names are case-sensitive", func(t *testing.T) {
		claims := alex(map[string]any{"email": nil, "Email": "alex@example.com", "EMAIL": "jordan@example.com"})
		refused(t, v.Verify(context.Background(), s.mint(t, claims), noon), CauseClaimMissing)
	})
}

func TestExpiry(t *testing.T) {
	s := signers(t)[0]
	v := newVerifier(t, shop(s.key(t)))
	exp := time.Unix(noon.Unix()+240, 0).UTC()
	token := s.mint(t, alex(map[string]any{"jti": "t-9"}))
	last := exp.Add(30*time.Second - time.Nanosecond)
	if r := v.Verify(context.Background(), token, last); r.State != Verified {
		t.Fatalf("just before exp plus skew: %s, cause %q", r.State, r.Cause)
	}
	// The token is remembered now; it must expire all the same.
	r := v.Verify(context.Background(), token, exp.Add(30*time.Second))
	want := Result{
		State: Expired, Cause: CauseExpired, Detail: "exp",
		Expired: ExpiredClaims{Subject: "c-1001", TokenID: "t-9", IssuedAt: noon.Add(-time.Minute), ExpiresAt: exp.Add(30 * time.Second)},
	}
	if diff := cmp.Diff(want, r, cmp.AllowUnexported(Visitor{})); diff != "" {
		t.Errorf("at exp plus skew (-want +got):\n%s", diff)
	}
	// And a clock that is set back finds it not yet valid, remembered or not.
	refused(t, v.Verify(context.Background(), token, noon.Add(-2*time.Minute)), CauseIssuedInFuture)

	// An expired token that is wrong in any other way is only wrong.
	late := exp.Add(time.Hour)
	refused(t, v.Verify(context.Background(), s.mint(t, alex(map[string]any{"aud": "other"})), late), CauseAudienceMismatch)
	refused(t, v.Verify(context.Background(), s.mint(t, alex(map[string]any{"email": "x"})), late), CauseEmailInvalid)
	refused(t, v.Verify(context.Background(), s.mint(t, alex(map[string]any{"nbf": late.Unix() + 60})), late), CauseNotYetValid)
	stranger := signer{s.kid, HS256, newSecret(32)}
	refused(t, v.Verify(context.Background(), stranger.mint(t, alex(nil)), late), CauseSignatureInvalid)
}
