package voucher

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func signFor(t testing.TB, s *Signer, r *Reader, at time.Time) string {
	t.Helper()
	signed, err := s.Sign(r.Audience(), "d_1", call(), at)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func toJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSession(t *testing.T) {
	s, r := signer('a'), NewReader()
	keys := keysOf(t, s)
	seen := map[string]bool{}
	for range 3 {
		signed := signFor(t, s, r, now)
		v, err := r.Verify(keys, signed, now)
		if err != nil || v.Audience != r.Audience() || v.Decision != "d_1" || v.Covers(call()) != nil {
			t.Fatalf("Verify = %+v, %v", v, err)
		}
		other := call()
		other.Target = "/orders/1002/cancel?notify=1"
		if err := v.Covers(other); !errors.Is(err, ErrOther) {
			t.Errorf("Covers(another call) = %v", err)
		}
		if seen[v.ID] {
			t.Error("two vouchers have one id")
		}
		seen[v.ID] = true
		if !strings.HasPrefix(signed, s.session.header+".") {
			t.Errorf("%.60s is not of the session", signed)
		}
	}
	if len(r.sessions) != 1 {
		t.Errorf("%d sessions for three calls, want 1", len(r.sessions))
	}
	// One that is signed by itself is as good.
	signed, err := s.sign(mediaType, claims{RegisteredClaims: registered("x", r.Audience(), now, Life)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(keys, signed, now); err != nil {
		t.Errorf("signed by itself: %v", err)
	}
	if _, err := r.Verify(keys, sign(t, s, now), now); !errors.Is(err, ErrOtherRun) {
		t.Errorf("signed by itself, for another reader: %v, want ErrOtherRun", err)
	}
}

func registered(id, audience string, at time.Time, life time.Duration) jwt.RegisteredClaims {
	return jwt.RegisteredClaims{ID: id, Audience: jwt.ClaimStrings{audience}, IssuedAt: jwt.NewNumericDate(at), ExpiresAt: jwt.NewNumericDate(at.Add(life))}
}

// Whoever does not have the signer's key has no session with the reader, though
// they have seen vouchers and both public keys, and can be a reader themselves.
func TestSessionRefuses(t *testing.T) {
	s, thief, r := signer('a'), signer('b'), NewReader()
	keys := keysOf(t, s)
	good := signFor(t, s, r, now)
	parts := strings.Split(good, ".")
	statement, _ := statementOf(parts[0])
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ownPublic := encode(own.PublicKey().Bytes())
	ownKey, err := sessionKey(own, r.key.PublicKey(), r.Audience(), ownPublic)
	if err != nil {
		t.Fatal(err)
	}
	state := func(by *Signer, c sessionClaims, typ string) string {
		signed, err := by.sign(typ, c)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	about := func(audience, key string, life time.Duration) sessionClaims {
		return sessionClaims{registered("", audience, now, life), key}
	}
	// voucher is one that is as it should be, made with a key under a statement.
	voucher := func(statement string, key []byte, c claims) string {
		u := session{header: encode(toJSON(t, sessionHeader{"HS256", mediaType, statement})), key: key}
		signed, err := u.sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	ok := claims{RegisteredClaims: registered("x", r.Audience(), now, Life)}
	fair := state(s, about(r.Audience(), ownPublic, sessionLife), sessionType)
	if _, err := r.Verify(keys, voucher(fair, ownKey, ok), now); err != nil {
		t.Fatalf("the case that the others differ from: %v", err)
	}
	impostor := NewReader()
	theirs := signFor(t, s, impostor, now)
	theirStatement, _ := statementOf(strings.Split(theirs, ".")[0])
	theirKey := s.session.key
	with := func(change func(*claims)) claims { c := ok; change(&c); return c }
	for name, tt := range map[string]struct {
		signed string
		want   error
	}{
		"seen, with another payload":          {parts[0] + "." + encode(toJSON(t, ok)) + "." + parts[2], ErrInvalid},
		"seen, its code changed":              {good[:len(good)-4] + "AAAA", ErrInvalid},
		"seen, its code cut short":            {good[:len(good)-8], ErrInvalid},
		"seen, with a line more":              {good + "\n", ErrInvalid},
		"seen, with padding":                  {good + "=", ErrInvalid},
		"seen, without a code":                {parts[0] + "." + parts[1] + ".", ErrInvalid},
		"seen, without its end":               {parts[0] + "." + parts[1], ErrInvalid},
		"its header alone":                    {parts[0], ErrInvalid},
		"a seen statement and another key":    {voucher(statement, ownKey, ok), ErrInvalid},
		"a seen statement and no key":         {voucher(statement, nil, ok), ErrInvalid},
		"the public permit key as the secret": {voucher(statement, keys[s.id], ok), ErrInvalid},
		"the public session key as secret":    {voucher(statement, r.key.PublicKey().Bytes(), ok), ErrInvalid},
		"a statement of another's":            {voucher(state(thief, about(r.Audience(), ownPublic, sessionLife), sessionType), ownKey, ok), ErrUnknownKey},
		"a statement that is not signed":      {voucher("e30.e30.", ownKey, ok), ErrInvalid},
		"a voucher for a statement":           {voucher(state(s, about(r.Audience(), ownPublic, sessionLife), mediaType), ownKey, ok), ErrInvalid},
		"a statement for a voucher":           {state(s, about(r.Audience(), ownPublic, sessionLife), sessionType), ErrInvalid},
		"a session with an impostor":          {theirs, ErrOtherRun},
		"the same, for this reader":           {voucher(theirStatement, theirKey, ok), ErrOtherRun},
		"a session for nobody":                {voucher(state(s, sessionClaims{registered("", "", now, sessionLife), ownPublic}, sessionType), ownKey, ok), ErrOtherRun},
		"a session that lives too long":       {voucher(state(s, about(r.Audience(), ownPublic, sessionLife+time.Second), sessionType), ownKey, ok), ErrInvalid},
		"a session with no key":               {voucher(state(s, about(r.Audience(), "", sessionLife), sessionType), ownKey, ok), ErrInvalid},
		"a session with a key of low order":   {voucher(state(s, about(r.Audience(), encode(make([]byte, 32)), sessionLife), sessionType), make([]byte, 32), ok), ErrInvalid},
		"a voucher for another reader":        {voucher(fair, ownKey, with(func(c *claims) { c.Audience = jwt.ClaimStrings{"run-1"} })), ErrInvalid},
		"a voucher without an id":             {voucher(fair, ownKey, with(func(c *claims) { c.ID = "" })), ErrInvalid},
		"a voucher that lives too long":       {voucher(fair, ownKey, claims{RegisteredClaims: registered("x", r.Audience(), now, Life+time.Second)}), ErrInvalid},
		"a voucher of a time to come":         {voucher(fair, ownKey, claims{RegisteredClaims: registered("x", r.Audience(), now.Add(time.Minute), Life)}), ErrExpired},
		"a voucher that is over":              {voucher(fair, ownKey, claims{RegisteredClaims: registered("x", r.Audience(), now.Add(-Life), Life)}), ErrExpired},
	} {
		for _, reader := range []*Reader{r, {key: r.key, name: r.name, sessions: map[string]begun{}}} { // with what it remembers, and without
			if v, err := reader.Verify(keys, tt.signed, now); !errors.Is(err, tt.want) || v.ID != "" {
				t.Errorf("%s: Verify = %+v, %v; want %v", name, v, err, tt.want)
			}
			if reader != r && len(reader.sessions) != 0 && !strings.Contains(name, "a voucher ") {
				t.Errorf("%s: the session is remembered", name)
			}
		}
	}
	// A header that says no algorithm, or another.
	for _, alg := range []string{"none", "HS512", "EdDSA", ""} {
		h := encode(toJSON(t, sessionHeader{alg, mediaType, fair}))
		u := session{header: h, key: ownKey}
		signed, err := u.sign(ok)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Verify(keys, signed, now); err == nil {
			t.Errorf("algorithm %q is taken", alg)
		}
	}
	// Anybody would know the key of a session with a name of low order: there is
	// none, and what is signed by itself for that name is for nobody else.
	for _, point := range []byte{0, 1} {
		name := encode(append([]byte{point}, make([]byte, 31)...))
		signed, err := s.Sign(name, "d_1", call(), now)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := keys.Verify(signed, now); err != nil || v.Audience != name {
			t.Errorf("a voucher for a name that hides nothing is not signed by itself: %v, %v", v, err)
		}
		if _, err := r.Verify(keys, signed, now); !errors.Is(err, ErrOtherRun) {
			t.Errorf("a voucher for a name that hides nothing: %v, want ErrOtherRun", err)
		}
	}
}

// A key that is retired takes the sessions with it that it has signed for.
func TestSessionEndsWithItsKey(t *testing.T) {
	old, next, r := signer('a'), signer('b'), NewReader()
	signed := signFor(t, old, r, now)
	if _, err := r.Verify(keysOf(t, old, next), signed, now); err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string]Keys{"retired": keysOf(t, next), "none": {}, "another by this name": {old.id: keysOf(t, next)[next.id]}} {
		if v, err := r.Verify(keys, signed, now); !errors.Is(err, ErrUnknownKey) || v.ID != "" {
			t.Errorf("%s: %+v, %v, want ErrUnknownKey", name, v, err)
		}
	}
}

// A session ends, and the next begins before that, whatever the clock does.
func TestSessionsFollowEachOther(t *testing.T) {
	s, r := signer('a'), NewReader()
	keys := keysOf(t, s)
	headers := map[string]bool{}
	for past := time.Duration(0); past <= 3*sessionLife; past += 7 * time.Second {
		at := now.Add(past)
		signed := signFor(t, s, r, at)
		for _, read := range []time.Time{at, at.Add(Life - time.Second)} {
			if _, err := r.Verify(keys, signed, read); err != nil {
				t.Fatalf("after %v, read %v later: %v", past, read.Sub(at), err)
			}
		}
		headers[s.session.header] = true
	}
	if len(headers) < 3 || len(headers) > 5 {
		t.Errorf("%d sessions in three lives", len(headers))
	}
	if signed := signFor(t, s, r, now); s.session.issued != now {
		t.Error("the clock was set back, and the session is of a time to come")
	} else if _, err := r.Verify(keys, signed, now); err != nil {
		t.Errorf("the clock was set back: %v", err)
	}
	late := s.session
	signed, err := late.sign(claims{RegisteredClaims: registered("x", r.Audience(), now.Add(sessionLife), Life)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(keys, signed, now.Add(sessionLife)); !errors.Is(err, ErrExpired) {
		t.Errorf("a voucher of a session that is over: %v, want ErrExpired", err)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	s, r := signer('a'), NewReader()
	keys := keysOf(t, s)
	first := ""
	for i := range 2 * maxSessions {
		s.session = nil
		signed := signFor(t, s, r, now.Add(time.Duration(i)*time.Second))
		if first == "" {
			first = signed
		}
		if _, err := r.Verify(keys, signed, now.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
		if len(r.sessions) > maxSessions {
			t.Fatalf("remembers %d sessions", len(r.sessions))
		}
	}
	if _, known := r.sessions[strings.Split(first, ".")[0]]; known {
		t.Error("the oldest is still remembered")
	}
	if _, err := r.Verify(keys, first, now); err != nil {
		t.Errorf("a session that was forgotten: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	s, r := signer('a'), NewReader()
	signed := signFor(f, s, r, now)
	f.Add(signed)
	f.Add(strings.Replace(signed, ".", "..", 1))
	f.Add("a.b.c")
	keys := Keys{s.id: ed25519.PublicKey(s.key[32:])}
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := r.Verify(keys, text, now); err == nil && v.Covers(call()) != nil {
			t.Errorf("Verify(%q) let it pass", text)
		}
	})
}

func BenchmarkVoucher(b *testing.B) {
	for name, audience := range map[string]string{"signed": "run-1", "session": ""} {
		s, r := signer('a'), NewReader()
		keys, err := ParseKeys(s.Public())
		if err != nil {
			b.Fatal(err)
		}
		if audience == "" {
			audience = r.Audience()
		}
		b.Run(fmt.Sprintf("%s/sign", name), func(b *testing.B) {
			for b.Loop() {
				s.Sign(audience, "d_1", call(), now)
			}
		})
		signed, err := s.Sign(audience, "d_1", call(), now)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%s/verify", name), func(b *testing.B) {
			for b.Loop() {
				if _, err := r.Verify(keys, signed, now); err != nil && !errors.Is(err, ErrOtherRun) {
					b.Fatal(err)
				}
			}
		})
	}
}
