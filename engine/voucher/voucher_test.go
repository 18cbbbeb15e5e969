package voucher

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func signer(seed byte) *Signer {
	return NewSigner(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize))))
}

func keysOf(t *testing.T, signers ...*Signer) Keys {
	t.Helper()
	text := "# the gate's\n\n"
	for _, s := range signers {
		text += s.Public() + " a gate\n"
	}
	k, err := ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func call() Call {
	return Call{Site: "shop", Connection: "admin", Method: "POST", Target: "/orders/1001/cancel?notify=1",
		Headers: map[string]string{"Content-Type": "application/json", "Idempotency-Key": "pa_1"}, Body: []byte(`{"a":1}`)}
}

func sign(t *testing.T, s *Signer, at time.Time) string {
	t.Helper()
	signed, err := s.Sign("run-1", "d_1", call(), at)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestVoucherCoversOneCall(t *testing.T) {
	s := signer('a')
	v, err := keysOf(t, s).Verify(sign(t, s, now), now)
	if err != nil || v.Audience != "run-1" || v.Decision != "d_1" || v.ID == "" {
		t.Fatalf("Verify = %+v, %v", v, err)
	}
	if err := v.Covers(call()); err != nil {
		t.Errorf("Covers(the call) = %v", err)
	}
	same := call()
	same.Headers = map[string]string{"idempotency-key": "pa_1", "content-type": "application/json"}
	if err := v.Covers(same); err != nil {
		t.Errorf("Covers(the call, its headers spelled otherwise) = %v", err)
	}
	for name, change := range map[string]func(*Call){
		"site":                func(c *Call) { c.Site = "corner" },
		"connection":          func(c *Call) { c.Connection = "other" },
		"method":              func(c *Call) { c.Method = "DELETE" },
		"path":                func(c *Call) { c.Target = "/orders/1002/cancel?notify=1" },
		"path, encoded":       func(c *Call) { c.Target = "/orders/%31001/cancel?notify=1" },
		"query":               func(c *Call) { c.Target = "/orders/1001/cancel?notify=2" },
		"no query":            func(c *Call) { c.Target = "/orders/1001/cancel" },
		"header's value":      func(c *Call) { c.Headers["Idempotency-Key"] = "pa_2" },
		"header more":         func(c *Call) { c.Headers["X-Act-As"] = "jordan" },
		"header less":         func(c *Call) { delete(c.Headers, "Idempotency-Key") },
		"headers run on":      func(c *Call) { c.Headers = map[string]string{"Content-Type": "application/jsonIdempotency-Keypa_1"} },
		"body":                func(c *Call) { c.Body = []byte(`{"a":2}`) },
		"no body":             func(c *Call) { c.Body = nil },
		"site and connection": func(c *Call) { c.Site, c.Connection = "sho", "padmin" },
	} {
		c := call()
		change(&c)
		if err := v.Covers(c); !errors.Is(err, ErrOther) {
			t.Errorf("%s: Covers = %v, want ErrOther", name, err)
		}
	}
	if err := (Voucher{}).Covers(Call{}); err == nil {
		t.Error("the zero Voucher covers the zero Call")
	}
}

func TestVerifyRefuses(t *testing.T) {
	s, other := signer('a'), signer('b')
	keys := keysOf(t, s)
	good := sign(t, s, now)
	parts := strings.Split(good, ".")
	mint := func(method jwt.SigningMethod, key any, header map[string]any, change func(*claims)) string {
		c := claims{RegisteredClaims: jwt.RegisteredClaims{ID: "x", Audience: jwt.ClaimStrings{"run-1"},
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(Life))}}
		change(&c)
		tok := jwt.NewWithClaims(method, c)
		tok.Header["typ"], tok.Header["kid"] = mediaType, s.id
		for k, v := range header {
			tok.Header[k] = v
		}
		signed, err := tok.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	asIs := func(*claims) {}
	header := func(h string) string { return base64.RawURLEncoding.EncodeToString([]byte(h)) }
	for name, tt := range map[string]struct {
		signed string
		at     time.Time
		want   error
	}{
		"nothing":                       {"", now, ErrInvalid},
		"no token":                      {"abc", now, ErrInvalid},
		"another key":                   {sign(t, other, now), now, ErrUnknownKey},
		"another key under this name":   {mint(jwt.SigningMethodEdDSA, other.key, nil, asIs), now, ErrInvalid},
		"no key's name":                 {mint(jwt.SigningMethodEdDSA, s.key, map[string]any{"kid": ""}, asIs), now, ErrUnknownKey},
		"another kind of token":         {mint(jwt.SigningMethodEdDSA, s.key, map[string]any{"typ": "JWT"}, asIs), now, ErrInvalid},
		"the public key as HMAC secret": {mint(jwt.SigningMethodHS256, []byte(keys[s.id]), nil, asIs), now, ErrInvalid},
		"unsigned":                      {header(fmt.Sprintf(`{"alg":"none","typ":%q,"kid":%q}`, mediaType, s.id)) + "." + parts[1] + ".", now, ErrInvalid},
		"no signature":                  {parts[0] + "." + parts[1] + ".", now, ErrInvalid},
		"a changed signature":           {good[:len(good)-4] + "AAAA", now, ErrInvalid},
		"a changed claim":               {parts[0] + "." + parts[1][:len(parts[1])-4] + "AAAA" + "." + parts[2], now, ErrInvalid},
		"expired":                       {good, now.Add(Life), ErrExpired},
		"of a time to come":             {sign(t, s, now.Add(Skew+2*time.Second)), now, ErrExpired},
		"one that lives too long":       {mint(jwt.SigningMethodEdDSA, s.key, nil, func(c *claims) { c.ExpiresAt = jwt.NewNumericDate(now.Add(Life + time.Second)) }), now, ErrInvalid},
		"one that never expires":        {mint(jwt.SigningMethodEdDSA, s.key, nil, func(c *claims) { c.ExpiresAt = nil }), now, ErrInvalid},
		"one without a time":            {mint(jwt.SigningMethodEdDSA, s.key, nil, func(c *claims) { c.IssuedAt = nil }), now, ErrInvalid},
		"one without an id":             {mint(jwt.SigningMethodEdDSA, s.key, nil, func(c *claims) { c.ID = "" }), now, ErrInvalid},
		"one for two readers":           {mint(jwt.SigningMethodEdDSA, s.key, nil, func(c *claims) { c.Audience = append(c.Audience, "run-2") }), now, ErrInvalid},
		"one for no reader":             {mint(jwt.SigningMethodEdDSA, s.key, nil, func(c *claims) { c.Audience = nil }), now, ErrInvalid},
	} {
		if v, err := keys.Verify(tt.signed, tt.at); !errors.Is(err, tt.want) || v.ID != "" {
			t.Errorf("%s: Verify = %+v, %v; want %v", name, v, err, tt.want)
		}
	}
	if _, err := (Keys{}).Verify(good, now); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("without keys: %v", err)
	}
	if _, err := keys.Verify(mint(jwt.SigningMethodEdDSA, s.key, nil, asIs), now); err != nil {
		t.Errorf("the case that the others differ from: %v", err)
	}
}

// A key and its successor are good at once, so that neither side has to stop.
func TestTwoKeysAtOnce(t *testing.T) {
	old, next := signer('a'), signer('b')
	both := keysOf(t, old, next)
	for _, s := range []*Signer{old, next} {
		if _, err := both.Verify(sign(t, s, now), now); err != nil {
			t.Errorf("Verify = %v", err)
		}
	}
	for text, want := range map[string]string{
		"%":              "line 1 is not",
		"\nAAAA":         "line 2 is not",
		old.Public()[1:]: "line 1 is not",
		strings.Join([]string{old.Public(), next.Public(), signer('c').Public()}, "\n"): "at most 2",
	} {
		if _, err := ParseKeys(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseKeys(%q) = %v, want %q", text, err, want)
		}
	}
}

func TestSignerNeverPrints(t *testing.T) {
	s := signer('a')
	//lint:ignore SA9005 that nothing of it is encoded is what is tested
	j, _ := json.Marshal(s)
	seed := string(s.key[:8])
	for _, printed := range []string{fmt.Sprintf("%v %+v %#v %s", s, s, s, s), string(j)} {
		if strings.Contains(printed, seed) || strings.Contains(printed, "97 97") || strings.Contains(printed, "0x61") {
			t.Errorf("printed: %s", printed)
		}
	}
}

func FuzzVerify(f *testing.F) {
	s := signer('a')
	signed, _ := s.Sign("run-1", "d_1", call(), now)
	f.Add(signed)
	f.Add("a.b.c")
	keys := Keys{s.id: ed25519.PublicKey(s.key[32:])}
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := keys.Verify(text, now); err == nil && v.Covers(call()) != nil {
			t.Errorf("Verify(%q) let it pass", text)
		}
	})
}
