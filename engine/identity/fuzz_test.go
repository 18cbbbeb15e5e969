package identity

import (
	"encoding/base64"
	"encoding/json"
	"net/mail"
	"strings"
	"testing"
)

// FuzzJWS: a token is refused, or taken apart so that it can be put together
// again byte for byte.
func FuzzJWS(f *testing.F) {
	f.Add("eyJhbGciOiJIUzI1NiJ9.e30.AAAA")
	f.Add("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + rfcClaims + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
	f.Add("eyJhbGciOiJub25lIn0." + rfcClaims + ".")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		parsed, fault := parseJWS(token)
		if fault.cause != "" {
			return
		}
		if parsed.header.alg.method() == nil {
			t.Fatalf("alg %q is not one of ours", parsed.header.alg)
		}
		b64 := base64.RawURLEncoding.EncodeToString
		if again := parsed.signingInput + "." + b64(parsed.signature); again != token {
			t.Fatalf("the token came back as %q", again)
		}
		if !strings.HasSuffix(parsed.signingInput, "."+b64(parsed.payload)) {
			t.Fatal("the payload is not the one that was signed")
		}
	})
}

// FuzzHeader: a header is refused, or a plain decoder reads the same from it.
func FuzzHeader(f *testing.F) {
	for _, seed := range []string{
		`{"alg":"ES256"}`, `{"alg":"HS256","kid":"k1","typ":"JWT"}`, `{"alg":"none"}`, `{"alg":"HS256","alg":"none"}`,
		`{"alg":"HS256","crit":[]}`, `{"ALG":"HS256"}`, "{\"alg\":\"\\u0048S256\"}", `{"alg":"HS256"}{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, fault := parseHeader(raw)
		if fault.cause != "" {
			return
		}
		var plain map[string]any
		if err := json.Unmarshal(raw, &plain); err != nil {
			t.Fatalf("a plain decoder refuses it: %v", err)
		}
		if plain["alg"] != string(h.alg) {
			t.Fatalf("alg is %q, a plain decoder reads %v", h.alg, plain["alg"])
		}
		if kid, has := plain["kid"]; has != h.hasKid || has && kid != h.kid {
			t.Fatalf("kid is %q, a plain decoder reads %v", h.kid, kid)
		}
		for _, refused := range []string{"crit", "b64", "cty", "enc", "zip", "jku", "jwk", "x5u", "x5c"} {
			if _, has := plain[refused]; has {
				t.Fatalf("a header with %s was taken", refused)
			}
		}
	})
}

// FuzzClaims: a payload is refused, or a plain decoder reads the same from it.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{"iss":"i","aud":"a","sub":"s","iat":1,"exp":2,"email":"alex@example.com"}`,
		`{"iss":"i","aud":["a","b"],"sub":"s","iat":1.5,"exp":2e0,"nbf":0,"email":"alex@example.com","name":"A","jti":"t","email_verified":true,"x":{"y":[1,2]}}`,
		`{"iss":"i","aud":"a","sub":"s","iat":1,"exp":2,"email":["alex@example.com"]}`,
		`{"email":"a@x","email":"b@x"}`, `{}`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, fault := parseClaims(raw)
		if fault.cause != "" {
			return
		}
		var plain map[string]any
		if err := json.Unmarshal(raw, &plain); err != nil {
			t.Fatalf("a plain decoder refuses it: %v", err)
		}
		for name, got := range map[string]string{"iss": c.issuer, "sub": c.subject, "email": c.rawEmail} {
			if plain[name] != got {
				t.Fatalf("%s is %q, a plain decoder reads %v", name, got, plain[name])
			}
		}
		if c.issuedAt.Unix() < 0 || c.expires.Year() > 9999 || c.expires.Unix() < 0 {
			t.Fatalf("dates out of bounds: %s, %s", c.issuedAt, c.expires)
		}
		own := map[string]bool{"iss": true, "aud": true, "sub": true, "iat": true, "exp": true, "nbf": true, "email": true, "email_verified": true, "name": true, "jti": true}
		other := map[string]any{}
		if c.other != nil {
			if err := json.Unmarshal(c.other, &other); err != nil || len(c.other) > maxOtherClaims {
				t.Fatalf("other claims of %d bytes: %v", len(c.other), err)
			}
		}
		for name := range plain {
			if _, has := other[name]; has == own[name] {
				t.Fatalf("claim %q: among the others %v, one of ours %v", name, has, own[name])
			}
		}
	})
}

// FuzzCanonicalEmail: an address is refused, or comes back in a form that
// stays as it is and that net/mail reads the same.
func FuzzCanonicalEmail(f *testing.F) {
	for _, seed := range []string{
		"alex@example.com", "Alex@EXAMPLE.com", `"alex"@example.com`, "Alex <alex@example.com>", "alex@bücher.example", "\u212aim@example.com",
		"alex@\u212aelvin.example", "a@[127.0.0.1]", "a@b..c", "a@xn--bcher-kva.example", "alex@example.com,jordan@example.com",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, raw string, fold bool) {
		email, err := CanonicalEmail(raw, fold)
		if err != nil {
			if len(raw) > 8 && strings.Contains(err.Error(), raw) {
				t.Fatalf("the error quotes the address: %v", err)
			}
			return
		}
		if again, err := CanonicalEmail(email, fold); err != nil || again != email {
			t.Fatalf("%q became %q, %v", email, again, err)
		}
		if !isASCII(email) || strings.ContainsAny(email, " \t\r\n\x00,;<>\"()") || strings.Count(email, "@") != 1 {
			t.Fatalf("%q is not plain", email)
		}
		if addr, err := mail.ParseAddress(email); err != nil || addr.Address != email {
			t.Fatalf("net/mail reads %q as %v, %v", email, addr, err)
		}
		// Only ASCII case may differ before the @, and nothing at all without
		// folding.
		local, was := email[:strings.LastIndexByte(email, '@')], raw[:strings.LastIndexByte(raw, '@')]
		if local != was && !(fold && local == lowerASCII(was)) {
			t.Fatalf("local part %q became %q", was, local)
		}
		if !SameTyped(raw, email) {
			t.Fatalf("SameTyped(%q, %q) = false", raw, email)
		}
	})
}

// FuzzJWK: a key is refused, or has one algorithm and public material, and the
// refusal quotes nothing.
func FuzzJWK(f *testing.F) {
	for _, seed := range []string{rfcHMAC, rfcRSA, rfcP256, rfcP521, rfcEd25519, `{"kty":"RSA","n":"AQ","e":"AQ"}`, `{}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := ParseJWK(raw)
		if err != nil {
			if k.k != nil {
				t.Fatal("a refused key came back all the same")
			}
			return
		}
		if k.Alg().method() == nil {
			t.Fatalf("alg %q is not one of ours", k.Alg())
		}
		if secret, ok := k.k.material.([]byte); ok != k.Alg().symmetric() || ok && len(secret) < k.Alg().hashSize() {
			t.Fatalf("%v has material of the wrong kind or size", k)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(raw, &members); err != nil || members["d"] != nil {
			t.Fatalf("a private key was admitted, or what a plain decoder refuses: %v", err)
		}
	})
}
