package identity

import (
	"encoding/json"
	"io/fs"
	"maps"
	"slices"
	"testing"

	"github.com/c2sp/wycheproof"
)

// accepts is the JWS layer on its own: Wycheproof's payloads are not claims.
func accepts(keys *keySet, token string) (payload []byte, f fault) {
	t, f := parseJWS(token)
	if f != (fault{}) {
		return nil, f
	}
	k, f := keys.find(t.header)
	if f != (fault{}) {
		return nil, f
	}
	if k.k.alg != t.header.alg {
		return nil, fault{CauseAlgMismatch, "alg"}
	}
	if !t.verifiedBy(k) {
		return nil, fault{CauseSignatureInvalid, "signature"}
	}
	return t.payload, fault{}
}

// readKeys admits a JWK or a JWK Set of the suite. A set that holds an
// asymmetric key is one an issuer would publish.
func readKeys(raw json.RawMessage) (*keySet, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, err
	}
	if set.Keys == nil {
		k, err := ParseJWK(raw)
		if err != nil {
			return nil, err
		}
		return newKeySet([]Key{k}, true)
	}
	published := slices.ContainsFunc(set.Keys, func(k json.RawMessage) bool {
		var m struct{ Kty string }
		return json.Unmarshal(k, &m) == nil && m.Kty != "oct"
	})
	if published {
		keys, _, err := parsePublished(raw)
		if err != nil {
			return nil, err
		}
		return newKeySet(keys, true)
	}
	var keys []Key
	for _, one := range set.Keys {
		k, err := ParseJWK(one)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return newKeySet(keys, true)
}

// Label defects of the suite. 367 and 370 are labelled invalid and are byte
// for byte the valid 357. 372 and 373 are labelled valid and hold a question
// mark, which is not base64url.
var (
	wycheproofSkip    = map[int]string{367: "the same bytes as the valid 357", 370: "the same bytes as the valid 357"}
	wycheproofInvalid = map[int]bool{372: true, 373: true}
	// The keys of RFC 7520 have no alg there. The suite gives these four one
	// that does not exist, or that is not the token's.
	wycheproofAlg = map[int]Alg{346: PS384, 347: ES512, 350: PS384, 351: ES512}
)

func TestWycheproof(t *testing.T) {
	for _, suite := range []struct {
		file       string
		total, run int
	}{
		{"json_web_signature_test.json", 401, 399},
		{"json_web_key_test.json", 26, 26},
	} {
		t.Run(suite.file, func(t *testing.T) {
			raw, err := fs.ReadFile(wycheproof.TestVectors, suite.file)
			if err != nil {
				t.Fatal(err)
			}
			var file struct {
				TestGroups []struct {
					Comment string          `json:"comment"`
					Public  json.RawMessage `json:"public"`
					Private json.RawMessage `json:"private"`
					Tests   []struct {
						ID      int    `json:"tcId"`
						Comment string `json:"comment"`
						JWS     string `json:"jws"`
						Result  string `json:"result"`
					} `json:"tests"`
				} `json:"testGroups"`
			}
			if err := json.Unmarshal(raw, &file); err != nil {
				t.Fatal(err)
			}
			total, run, accepted := 0, 0, 0
			for _, group := range file.TestGroups {
				raw := group.Public
				if raw == nil {
					raw = group.Private
				}
				for _, test := range group.Tests {
					total++
					if why := wycheproofSkip[test.ID]; why != "" && suite.total == 401 {
						t.Logf("skipped %d of group %s: %s", test.ID, group.Comment, why)
						continue
					}
					run++
					key := raw
					if alg := wycheproofAlg[test.ID]; alg != "" && suite.total == 401 {
						key = withMember(t, raw, "alg", string(alg))
					}
					want := test.Result == "valid" && !(suite.total == 401 && wycheproofInvalid[test.ID])
					keys, err := readKeys(key)
					var f fault
					if err == nil {
						_, f = accepts(keys, test.JWS)
					}
					got := err == nil && f == (fault{})
					if got {
						accepted++
					}
					if got != want {
						t.Errorf("%d (%s, %s): accepted = %v, want %v; key: %v; token: %v", test.ID, group.Comment, test.Comment, got, want, err, f)
					}
				}
			}
			if total != suite.total || run != suite.run || accepted == 0 {
				t.Errorf("ran %d of %d tests and accepted %d, want %d of %d and some accepted", run, total, accepted, suite.run, suite.total)
			}
		})
	}
}

func withMember(t *testing.T, object json.RawMessage, name, value string) json.RawMessage {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal(object, &m); err != nil {
		t.Fatal(err)
	}
	m = maps.Clone(m)
	m[name] = value
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestWycheproofEncrypted: a JWE is never a token here, whatever the suite
// says of it.
func TestWycheproofEncrypted(t *testing.T) {
	raw, err := fs.ReadFile(wycheproof.TestVectors, "json_web_encryption_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		TestGroups []struct {
			Tests []struct {
				ID  int    `json:"tcId"`
				JWE string `json:"jwe"`
			} `json:"tests"`
		} `json:"testGroups"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	run := 0
	for _, group := range file.TestGroups {
		for _, test := range group.Tests {
			run++
			if _, f := parseJWS(test.JWE); f == (fault{}) {
				t.Errorf("%d: a JWE was read as a JWS", test.ID)
			}
		}
	}
	if run != 139 {
		t.Errorf("ran %d tests, want 139", run)
	}
}

const (
	rfcHMAC    = `{"kty":"oct","alg":"HS256","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`
	rfcRSA     = `{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`
	rfcP256    = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	rfcP521    = `{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}`
	rfcEd25519 = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	rfcClaims  = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)

func TestRFCExamples(t *testing.T) {
	joe := "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"
	for _, tt := range []struct{ name, key, token, payload string }{
		{"RFC 7515 A.1, HS256", rfcHMAC, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + rfcClaims + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", joe},
		{"RFC 7515 A.2, RS256", rfcRSA, "eyJhbGciOiJSUzI1NiJ9." + rfcClaims + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw", joe},
		{"RFC 7515 A.3, ES256", rfcP256, "eyJhbGciOiJFUzI1NiJ9." + rfcClaims + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q", joe},
		{"RFC 7515 A.4, ES512", rfcP521, "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn", "Payload"},
		{"RFC 8037 A.4, EdDSA", rfcEd25519, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg", "Example of Ed25519 signing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys, err := readKeys(json.RawMessage(tt.key))
			if err != nil {
				t.Fatal(err)
			}
			payload, f := accepts(keys, tt.token)
			if f != (fault{}) || string(payload) != tt.payload {
				t.Errorf("payload %q, fault %v, want payload %q", payload, f, tt.payload)
			}
		})
	}
}

func TestRFCExamplesToRefuse(t *testing.T) {
	keys, err := readKeys(json.RawMessage(rfcHMAC))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, token, cause string }{
		{"RFC 7515 A.5, unsecured", "eyJhbGciOiJub25lIn0." + rfcClaims + ".", CauseAlgRefused},
		{"RFC 7515 E, critical extension", "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.", CauseCritRefused},
		{"RFC 7797 4.2, unencoded and detached", "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19..A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY", CauseCritRefused},
		{"RFC 7797 4.2, unencoded", "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19.$.02.A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY", CauseMalformed},
		{"RFC 7516 A.1, encrypted", "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.AAAA.48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_A.XFBoMYUZodetZdvTiFvSkQ", CauseEncrypted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if payload, f := accepts(keys, tt.token); f.cause != tt.cause || payload != nil {
				t.Errorf("payload %q, fault %v, want cause %s", payload, f, tt.cause)
			}
		})
	}
}
