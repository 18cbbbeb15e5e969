package identity

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// goodClaims is the payload of a good token, as text.
func goodClaims(t testing.TB) string {
	t.Helper()
	raw, err := json.Marshal(alex(nil))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestHeaders: every header here is signed with the site's own key, so that
// only the header can be what is refused.
func TestHeaders(t *testing.T) {
	s := signer{"k1", HS256, newSecret(64)}
	other := signer{"k2", RS256, rsaKey()}
	v := newVerifier(t, shop(s.key(t), other.key(t)))
	for _, tt := range []struct{ why, header, cause string }{
		{"alg none", `{"alg":"none","kid":"k1"}`, CauseAlgRefused},
		{"alg None", `{"alg":"None","kid":"k1"}`, CauseAlgRefused},
		{"alg NONE", `{"alg":"NONE","kid":"k1"}`, CauseAlgRefused},
		{"alg nOnE", `{"alg":"nOnE","kid":"k1"}`, CauseAlgRefused},
		{"alg none with a space", `{"alg":"none ","kid":"k1"}`, CauseAlgRefused},
		{"alg none with NUL", `{"alg":"none\u0000","kid":"k1"}`, CauseAlgRefused},
		{"alg empty", `{"alg":"","kid":"k1"}`, CauseAlgRefused},
		{"no alg", `{"kid":"k1"}`, CauseAlgRefused},
		{"alg null", `{"alg":null,"kid":"k1"}`, CauseAlgRefused},
		{"alg a list", `{"alg":["HS256"],"kid":"k1"}`, CauseAlgRefused},
		{"alg a number", `{"alg":256,"kid":"k1"}`, CauseAlgRefused},
		{"alg true", `{"alg":true,"kid":"k1"}`, CauseAlgRefused},
		{"alg in lower case", `{"alg":"hs256","kid":"k1"}`, CauseAlgRefused},
		{"alg under another case", `{"ALG":"HS256","kid":"k1"}`, CauseAlgRefused},
		{"alg unknown", `{"alg":"HS1","kid":"k1"}`, CauseAlgRefused},
		{"alg of another curve", `{"alg":"ES256K","kid":"k1"}`, CauseAlgRefused},
		{"alg of an encryption", `{"alg":"dir","kid":"k1"}`, CauseAlgRefused},
		{"another HMAC of the same key", `{"alg":"HS512","kid":"k1"}`, CauseAlgMismatch},
		{"RSA's name for an HMAC key", `{"alg":"RS256","kid":"k1"}`, CauseAlgMismatch},
		{"HMAC's name for an RSA key", `{"alg":"HS256","kid":"k2"}`, CauseAlgMismatch},
		{"PSS for a PKCS #1 key", `{"alg":"PS256","kid":"k2"}`, CauseAlgMismatch},

		{"alg twice", `{"alg":"none","alg":"HS256","kid":"k1"}`, CauseMalformed},
		{"alg twice, once escaped", `{"alg":"HS256","\u0061lg":"none","kid":"k1"}`, CauseMalformed},
		{"kid twice", `{"alg":"HS256","kid":"k2","kid":"k1"}`, CauseMalformed},
		{"a member twice, deep inside", `{"alg":"HS256","kid":"k1","x":{"y":[{"z":1,"z":1}]}}`, CauseMalformed},
		{"trailing bytes", `{"alg":"HS256","kid":"k1"}x`, CauseMalformed},
		{"a second document", `{"alg":"HS256","kid":"k1"}{}`, CauseMalformed},
		{"a trailing comma", `{"alg":"HS256","kid":"k1",}`, CauseMalformed},
		{"single quotes", `{'alg':'HS256','kid':'k1'}`, CauseMalformed},
		{"a comment", `{"alg":"HS256",/**/"kid":"k1"}`, CauseMalformed},
		{"a byte-order mark", "\ufeff" + `{"alg":"HS256","kid":"k1"}`, CauseMalformed},
		{"not UTF-8", "{\"alg\":\"HS256\",\"kid\":\"k1\",\"x\":\"\xff\"}", CauseMalformed},
		{"a list", `["HS256"]`, CauseMalformed},
		{"a string", `"HS256"`, CauseMalformed},
		{"null", `null`, CauseMalformed},
		{"nothing", ``, CauseMalformed},
		{"typ a number", `{"alg":"HS256","kid":"k1","typ":1}`, CauseMalformed},
		{"typ null", `{"alg":"HS256","kid":"k1","typ":null}`, CauseMalformed},

		{"crit unknown", `{"alg":"HS256","kid":"k1","crit":["x"],"x":1}`, CauseCritRefused},
		{"crit of a known member", `{"alg":"HS256","kid":"k1","crit":["exp"],"exp":1}`, CauseCritRefused},
		{"crit empty", `{"alg":"HS256","kid":"k1","crit":[]}`, CauseCritRefused},
		{"crit null", `{"alg":"HS256","kid":"k1","crit":null}`, CauseCritRefused},
		{"crit a string", `{"alg":"HS256","kid":"k1","crit":"x"}`, CauseCritRefused},
		{"crit an object", `{"alg":"HS256","kid":"k1","crit":{}}`, CauseCritRefused},
		{"crit of numbers", `{"alg":"HS256","kid":"k1","crit":[1]}`, CauseCritRefused},
		{"unencoded payload", `{"alg":"HS256","kid":"k1","b64":false,"crit":["b64"]}`, CauseCritRefused},
		{"unencoded payload without crit", `{"alg":"HS256","kid":"k1","b64":false}`, CauseCritRefused},
		{"b64 true", `{"alg":"HS256","kid":"k1","b64":true}`, CauseCritRefused},

		{"a key at a URL", `{"alg":"HS256","kid":"k1","jku":"https://evil.example/jwks.json"}`, CauseHeaderRefused},
		{"a certificate at a URL", `{"alg":"HS256","kid":"k1","x5u":"https://evil.example/c.pem"}`, CauseHeaderRefused},
		{"a key of its own", `{"alg":"HS256","kid":"k1","jwk":{"kty":"oct","k":"AAAA"}}`, CauseHeaderRefused},
		{"a key of its own, null", `{"alg":"HS256","kid":"k1","jwk":null}`, CauseHeaderRefused},
		{"a certificate of its own", `{"alg":"HS256","kid":"k1","x5c":["MIIB"]}`, CauseHeaderRefused},
		{"nested", `{"alg":"HS256","kid":"k1","cty":"JWT"}`, CauseNested},
		{"nested, lower case", `{"alg":"HS256","kid":"k1","cty":"jwt"}`, CauseNested},
		{"encrypted", `{"alg":"HS256","kid":"k1","enc":"A256GCM"}`, CauseEncrypted},
		{"compressed", `{"alg":"HS256","kid":"k1","zip":"DEF"}`, CauseEncrypted},

		{"no kid", `{"alg":"HS256"}`, CauseKidMissing},
		{"kid null", `{"alg":"HS256","kid":null}`, CauseMalformed},
		{"kid a number", `{"alg":"HS256","kid":1}`, CauseMalformed},
		{"kid a list", `{"alg":"HS256","kid":["k1"]}`, CauseMalformed},
		{"kid empty", `{"alg":"HS256","kid":""}`, CauseUnknownKid},
		{"kid unknown", `{"alg":"HS256","kid":"k3"}`, CauseUnknownKid},
		{"kid in other case", `{"alg":"HS256","kid":"K1"}`, CauseUnknownKid},
		{"kid with a space", `{"alg":"HS256","kid":"k1 "}`, CauseUnknownKid},
		{"kid with NUL", `{"alg":"HS256","kid":"k1\u0000"}`, CauseUnknownKid},
		{"kid a path", `{"alg":"HS256","kid":"../../../../dev/null"}`, CauseUnknownKid},
		{"kid a path with NUL", `{"alg":"HS256","kid":"k1/../../etc/passwd\u0000.pem"}`, CauseUnknownKid},
		{"kid a statement", `{"alg":"HS256","kid":"x' UNION SELECT 'secret'--"}`, CauseUnknownKid},
		{"kid a command", `{"alg":"HS256","kid":"k1|whoami"}`, CauseUnknownKid},
		{"kid a URL", `{"alg":"HS256","kid":"http://127.0.0.1/key"}`, CauseUnknownKid},
		{"kid a template", `{"alg":"HS256","kid":"{{7*7}}${7*7}"}`, CauseUnknownKid},

		{"no typ", `{"alg":"HS256","kid":"k1"}`, ""},
		{"typ JWT", `{"typ":"JWT","alg":"HS256","kid":"k1"}`, ""},
		{"a thumbprint and an unknown member", `{"alg":"HS256","kid":"k1","x5t":"AAAA","x":{"y":1}}`, ""},
		{"white space", "{ \"alg\" : \"HS256\",\r\n\t\"kid\":\"k1\" }", ""},
	} {
		t.Run(tt.why, func(t *testing.T) {
			r := v.Verify(context.Background(), s.sign(t, tt.header, goodClaims(t)), noon)
			if tt.cause != "" {
				refused(t, r, tt.cause)
			} else if r.State != Verified {
				t.Errorf("Verify = %s, cause %q (%s), want verified", r.State, r.Cause, r.Detail)
			}
		})
	}
}

// TestForms: the same good token, written in ways that are not the compact
// serialisation.
func TestForms(t *testing.T) {
	s := signer{"k1", HS256, newSecret(32)}
	v := newVerifier(t, shop(s.key(t)))
	// The white space makes the length of each segment a multiple of 4 less 2,
	// so that padding can be added, and puts - and _ into it.
	good := s.sign(t, `{"alg":"HS256","kid":"k1","x":"~~~???"}`, goodClaims(t)+" ")
	if r := v.Verify(context.Background(), good, noon); r.State != Verified {
		t.Fatalf("the good token: %s, cause %q", r.State, r.Cause)
	}
	part := strings.Split(good, ".")
	standard := strings.NewReplacer("-", "+", "_", "/")
	serialised := `{"payload":"` + part[1] + `","protected":"` + part[0] + `","signature":"` + part[2] + `"}`
	for _, tt := range []struct{ why, token, cause string }{
		{"a space", " ", CauseMalformed},
		{"one dot", ".", CauseMalformed},
		{"two dots", "..", CauseMalformed},
		{"no signature", part[0] + "." + part[1], CauseMalformed},
		{"an empty signature", part[0] + "." + part[1] + ".", CauseSignatureInvalid},
		{"an empty payload", part[0] + ".." + part[2], CauseSignatureInvalid},
		{"an empty header", "." + part[1] + "." + part[2], CauseMalformed},
		{"a fourth segment", good + ".", CauseMalformed},
		{"five segments", good + ".e30.e30", CauseEncrypted},
		{"six segments", good + ".e30.e30.e30", CauseMalformed},
		{"white space before", " " + good, CauseMalformed},
		{"white space after", good + " ", CauseMalformed},
		{"a line end after", good + "\n", CauseMalformed},
		{"a line end in the header", part[0][:4] + "\n" + part[0][4:] + "." + part[1] + "." + part[2], CauseMalformed},
		{"a line end in the payload", part[0] + "." + part[1][:4] + "\r\n" + part[1][4:] + "." + part[2], CauseMalformed},
		{"a line end in the signature", part[0] + "." + part[1] + "." + part[2][:4] + "\n" + part[2][4:], CauseMalformed},
		{"NUL after", good + "\x00", CauseMalformed},
		{"padding in the header", part[0] + "=." + part[1] + "." + part[2], CauseMalformed},
		{"padding in the payload", part[0] + "." + part[1] + "=." + part[2], CauseMalformed},
		{"padding in the signature", good + "=", CauseMalformed},
		{"standard base64", standard.Replace(good), CauseMalformed},
		{"percent-encoding", strings.ReplaceAll(good, ".", "%2E"), CauseMalformed},
		{"a scheme", "Bearer " + good, CauseMalformed},
		{"quotes", `"` + good + `"`, CauseMalformed},
		{"look-alike dots", strings.ReplaceAll(good, ".", "\uff0e"), CauseMalformed},
		{"the JSON serialisation", serialised, CauseMalformed},
		{"a nested token", s.sign(t, `{"alg":"HS256","kid":"k1"}`, good), CauseClaimsMalformed},
		{"a token over 8 KiB", good + strings.Repeat("A", maxToken), CauseTooLarge},
		{"a megabyte of dots", strings.Repeat(".", 1<<20), CauseTooLarge},
		{"8 KiB of dots", strings.Repeat(".", maxToken), CauseMalformed},
		{"a header of 2000 lists", b64(strings.Repeat("[", 2000)) + ".e30.AAAA", CauseMalformed},
		{"a header of 900 objects", b64(strings.Repeat(`{"a":`, 900)) + ".e30.AAAA", CauseMalformed},
	} {
		t.Run(tt.why, func(t *testing.T) {
			refused(t, v.Verify(context.Background(), tt.token, noon), tt.cause)
		})
	}
	t.Run("unused bits of the last character", func(t *testing.T) {
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		// A SHA-256 signature fills 43 characters and leaves 2 bits unused.
		last := strings.IndexByte(alphabet, good[len(good)-1])
		for extra := 1; extra < 4; extra++ {
			refused(t, v.Verify(context.Background(), good[:len(good)-1]+string(alphabet[last+extra]), noon), CauseMalformed)
		}
	})
}

// TestKeyConfusion: the public key is public, so whoever has it may try to
// sign with it.
func TestKeyConfusion(t *testing.T) {
	for _, s := range []signer{{"k1", RS256, rsaKey()}, {"k1", ES256, newECDSA(t, elliptic.P256())}, {"k1", EdDSA, newEd25519(t)}} {
		t.Run(string(s.alg), func(t *testing.T) {
			v := newVerifier(t, shop(s.key(t)))
			pem := publicPEM(t, s.private)
			der, err := x509.MarshalPKIXPublicKey(public(s.private))
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range [][]byte{pem, []byte(strings.TrimSpace(string(pem))), der, {}} {
				for _, alg := range []Alg{HS256, HS384, HS512} {
					forger := signer{"k1", alg, secret}
					refused(t, v.Verify(context.Background(), forger.mint(t, alex(nil)), noon), CauseAlgMismatch)
					claimed := forger.sign(t, s.header(), goodClaims(t))
					refused(t, v.Verify(context.Background(), claimed, noon), CauseSignatureInvalid)
				}
			}
		})
	}
}

// TestSignatureMalleability: an ECDSA signature has a second valid form, which
// says the same thing. Every other change of form is refused.
func TestSignatureMalleability(t *testing.T) {
	s := signer{"k1", ES256, newECDSA(t, elliptic.P256())}
	v := newVerifier(t, shop(s.key(t)))
	token := s.mint(t, alex(nil))
	cut := strings.LastIndexByte(token, '.') + 1
	sig, err := base64.RawURLEncoding.DecodeString(token[cut:])
	if err != nil {
		t.Fatal(err)
	}
	n := elliptic.P256().Params().N
	r, sv := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	join := func(a, b *big.Int) []byte {
		out := make([]byte, 64)
		a.FillBytes(out[:32])
		b.FillBytes(out[32:])
		return out
	}
	zero, one := new(big.Int), big.NewInt(1)
	nMinus1 := new(big.Int).Sub(n, one)
	for why, forged := range map[string][]byte{
		"zero and zero":     join(zero, zero),
		"one and one":       join(one, one),
		"r with s zero":     join(r, zero),
		"r zero with s":     join(zero, sv),
		"r and n":           join(r, n),
		"n-1 and n-1":       join(nMinus1, nMinus1),
		"swapped":           join(sv, r),
		"cut short":         sig[:63],
		"a byte too long":   append(append([]byte{}, sig...), 0),
		"a zero before":     append([]byte{0}, sig...),
		"r alone":           sig[:32],
		"padded to 48 each": append(append(make([]byte, 16), sig[:32]...), append(make([]byte, 16), sig[32:]...)...),
		"DER":               append([]byte{0x30, 0x44, 2, 32}, append(append(append([]byte{}, sig[:32]...), 2, 32), sig[32:]...)...),
	} {
		refused(t, v.Verify(context.Background(), token[:cut]+base64.RawURLEncoding.EncodeToString(forged), noon), CauseSignatureInvalid)
		if t.Failed() {
			t.Fatalf("signature %s", why)
		}
	}
	twin := token[:cut] + base64.RawURLEncoding.EncodeToString(join(r, new(big.Int).Sub(n, sv)))
	one1, two := v.Verify(context.Background(), token, noon), v.Verify(context.Background(), twin, noon)
	if one1.State != Verified || two.State != Verified || one1.Visitor.Subject() != two.Visitor.Subject() || one1.Visitor.TokenID() != two.Visitor.TokenID() {
		t.Errorf("a signature and its twin say different things: %+v, %+v", one1, two)
	}
}

// TestOtherSite: two sites may share an issuer or a key, never both tokens.
func TestOtherSite(t *testing.T) {
	s := signer{"k1", ES256, newECDSA(t, elliptic.P256())}
	cfg := shop(s.key(t))
	cfg.Site, cfg.Audience = "other", "vouchsafe-other"
	other := newVerifier(t, cfg)
	refused(t, other.Verify(context.Background(), s.mint(t, alex(nil)), noon), CauseAudienceMismatch)
	both := s.mint(t, alex(map[string]any{"aud": []string{"vouchsafe-shop", "vouchsafe-other"}}))
	if r := other.Verify(context.Background(), both, noon); r.Visitor.Site() != "other" {
		t.Errorf("a visitor of site %q from the verifier of site other", r.Visitor.Site())
	}
}

// TestNoOneBitMutationVerifies flips every bit of every decoded segment, and
// of every character of the token.
func TestNoOneBitMutationVerifies(t *testing.T) {
	for _, s := range []signer{{"k1", HS256, newSecret(32)}, {"k1", ES256, newECDSA(t, elliptic.P256())}, {"k1", EdDSA, newEd25519(t)}, {"k1", PS256, rsaKey()}} {
		t.Run(string(s.alg), func(t *testing.T) {
			v := newVerifier(t, shop(s.key(t)))
			token := s.mint(t, alex(nil))
			if r := v.Verify(context.Background(), token, noon); r.State != Verified {
				t.Fatalf("the token itself: %s, cause %q", r.State, r.Cause)
			}
			tried := 0
			try := func(mutant string) {
				tried++
				// Expired is told of a valid signature only, so it counts too.
				if r := v.Verify(context.Background(), mutant, noon); r.State != Invalid || r.Visitor.Live(noon) {
					t.Fatalf("a mutant verified: %s", r.State)
				}
			}
			part := strings.Split(token, ".")
			for i := range part {
				raw, err := base64.RawURLEncoding.DecodeString(part[i])
				if err != nil {
					t.Fatal(err)
				}
				for bit := range len(raw) * 8 {
					raw[bit/8] ^= 1 << (bit % 8)
					mutant := append([]string{}, part...)
					mutant[i] = base64.RawURLEncoding.EncodeToString(raw)
					try(strings.Join(mutant, "."))
					raw[bit/8] ^= 1 << (bit % 8)
				}
			}
			text := []byte(token)
			for bit := range len(text) * 8 {
				text[bit/8] ^= 1 << (bit % 8)
				try(string(text))
				text[bit/8] ^= 1 << (bit % 8)
			}
			if tried < 3000 {
				t.Errorf("only %d mutants were tried", tried)
			}
		})
	}
}
