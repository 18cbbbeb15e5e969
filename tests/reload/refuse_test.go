package reload

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"vouchsafe/tests/harness"
)

// A change that is wrong changes nothing: what verified before does so after,
// `status` says why until it is put right, and no secret is in the logs.
func TestABadChangeChangesNothing(t *testing.T) {
	g := start(t)
	const short = "9f0b63d1c2"
	private := privateKey(t)
	changes := []struct {
		name, file string
		change     func(before string) string // "" removes the file
		want       string                     // in what status says
		secret     string                     // that no log may hold
	}{
		{name: "no YAML", file: "vouchsafe.yaml", want: "vouchsafe.yaml",
			change: func(s string) string { return s + "\n  - [" }},
		{name: "an unknown setting", file: "vouchsafe.yaml", want: "verify_tokens",
			change: func(s string) string { return s + "verify_tokens: false\n" }},
		{name: "half a file", file: "vouchsafe.yaml", want: "vouchsafe.yaml",
			change: func(s string) string { return s[:strings.Index(s, "tokens:")+20] }},
		{name: "no keys any more", file: "vouchsafe.yaml", want: "keys",
			change: func(s string) string {
				return strings.NewReplacer("- {kid: k1, alg: HS256, secret_file: shop.secret}", "", "- {kid: k2, alg: ES256, public_key_file: shop.pem}", "").Replace(s)
			}},
		{name: "the algorithm none", file: "vouchsafe.yaml", want: "no signature",
			change: func(s string) string { return strings.ReplaceAll(s, "alg: HS256", "alg: none") }},
		{name: "one audience for two sites", file: "vouchsafe.yaml", want: "good for both",
			change: func(s string) string {
				return strings.NewReplacer("https://corner.example", "https://shop.example", "vouchsafe-corner", "vouchsafe-shop").Replace(s)
			}},
		{name: "a short secret", file: "shop.secret", want: "at least 32", secret: short,
			change: func(string) string { return short }},
		{name: "a sample secret", file: "shop.secret", want: "published sample", secret: "a-string-secret-at-least-256-bits-long",
			change: func(string) string { return "a-string-secret-at-least-256-bits-long" }},
		{name: "an empty secret", file: "shop.secret", want: "empty",
			change: func(string) string { return "\n" }},
		{name: "the secret is gone", file: "shop.secret", want: "secret_file",
			change: func(string) string { return "" }},
		{name: "a private key", file: "shop.pem", want: "private key", secret: strings.Split(private, "\n")[1],
			change: func(string) string { return private }},
		{name: "no key at all", file: "shop.pem", want: "no public key",
			change: func(string) string { return "see the wiki" }},
		{name: "an action without a risk", file: "actions/orders.yaml", want: "risk",
			change: func(s string) string { return strings.ReplaceAll(s, "risk: destructive", "risk: some") }},
		{name: "an action that proves nothing", file: "actions/orders.yaml", want: "order.lookupp",
			change: func(s string) string {
				return strings.ReplaceAll(s, "resource: {order_id: order.lookup}", "resource: {order_id: order.lookupp}")
			}},
	}
	k1, k2 := g.token(), g.token(g.Keys[harness.Site].ES256)
	for _, c := range changes {
		before := g.read(c.file)
		after := c.change(before)
		if after == before {
			t.Fatalf("%s: nothing changed", c.name)
		}
		if after == "" {
			if err := os.Remove(g.path(c.file)); err != nil {
				t.Fatal(err)
			}
		} else {
			g.write(c.file, after)
		}
		g.look()
		g.until(c.name+": degraded", func() bool {
			d := g.degraded()
			return len(d) == 1 && strings.Contains(d[0], c.want) && strings.Contains(d[0], "everything stays as it was")
		})
		g.works(k1)
		g.works(k2)
		g.works(g.token())
		if c.secret != "" && (strings.Contains(g.Logs(), c.secret) || strings.Contains(g.degraded()[0], c.secret)) {
			t.Errorf("%s: the logs or the status hold what stood in the file", c.name)
		}
		g.write(c.file, before)
		g.look()
		g.until(c.name+": put right", func() bool { return len(g.degraded()) == 0 })
	}
	e := harness.Run(t, nil, "status", "--config", g.Config)
	if e.Code != 0 {
		t.Errorf("status = %d\n%s%s, want 0 once all is put right", e.Code, e.Out, e.Errors)
	}
}

func privateKey(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// A key that was exchanged verifies nothing more, not even a token that was
// good a moment ago and is remembered as such.
func TestAnExchangedKeyVerifiesNothingMore(t *testing.T) {
	g := start(t)
	old := g.token()
	other := g.token(g.Keys[harness.Site].ES256)
	g.works(old)
	g.works(other)

	fresh := harness.Keys{Issuer: "https://shop.example", Audience: "vouchsafe-shop", Secret: []byte(strings.ToLower(rand.Text() + rand.Text()))}
	early := fresh.Token(t, harness.Alex)
	g.refuses(early)
	g.write("shop.secret", string(fresh.Secret)+"\n")
	g.until("the new key is in use", func() bool { return g.status(early) == 200 })
	g.refuses(old)
	g.refuses(g.token())
	g.works(other)
	if d := g.degraded(); len(d) > 0 {
		t.Errorf("degraded after a good change: %q", d)
	}
}

// A setting that a running gate keeps is named, and the rest of the same change
// is taken.
func TestWhatNeedsARestartIsNamed(t *testing.T) {
	g := start(t)
	g.edit("vouchsafe.yaml", "limits: {per_visitor: off, per_address: off}", "limits: {per_visitor: 1/h, per_address: off}\npolicies: ./rules")
	if err := os.Mkdir(g.path("rules"), 0o755); err != nil {
		t.Fatal(err)
	}
	g.edit("vouchsafe.yaml", "name: Harbor Goods", "name: Harbor Wares")
	g.until("the restart is asked for", func() bool {
		d := g.degraded()
		return len(d) == 1 && strings.Contains(d[0], "policies, limits, which takes effect at the next start")
	})
	if !strings.Contains(g.Admin(t, "/v1/admin/status"), "Harbor Wares") {
		t.Error("the site's new name was not taken")
	}
	for range 3 {
		g.works(g.token()) // a limit of one an hour is not in force
	}
	e := harness.Run(t, nil, "status", "--config", g.Config)
	if e.Code != 1 || !strings.Contains(e.Out, "takes effect at the next start") {
		t.Errorf("status = %d\n%s, want 1 and the restart named", e.Code, e.Out)
	}
	g.edit("vouchsafe.yaml", "limits: {per_visitor: 1/h, per_address: off}\npolicies: ./rules", "limits: {per_visitor: off, per_address: off}")
	g.until("nothing more to restart for", func() bool { return len(g.degraded()) == 0 })
}
