package clients

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

// patience is how long a test waits for the gate to fetch keys again: several
// times the 15 seconds that it lets pass between two fetches.
const patience = 90 * time.Second

// issued is a gate whose site believes an OpenID provider's published keys.
type issued struct {
	*harness.Server
	t        *testing.T
	provider *script
}

func startIssued(t *testing.T) *issued {
	t.Helper()
	dir := nodeFolder(t)
	copyFile(t, "provider.mjs", dir+"/provider.mjs")
	s := harness.Start(t, harness.Config{})
	p := startScript(t, dir, environment(t, s.Keys[harness.Site], "HS256"), "node", "provider.mjs")
	issuer := p.line()
	s.Stop()
	b, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	config := string(b)
	for _, change := range [][2]string{
		{"issuer: https://shop.example\n", "issuer: " + issuer + "\n"},
		{`      keys:
        - {kid: k1, alg: HS256, secret_file: shop.secret}
        - {kid: k2, alg: ES256, public_key_file: shop.pem}
`, "      jwks_url: " + issuer + "/jwks\n"},
	} {
		if !strings.Contains(config, change[0]) {
			t.Fatalf("the configuration does not hold %q", change[0])
		}
		config = strings.Replace(config, change[0], change[1], 1)
	}
	write(t, s.Config, config)
	s.Restart()
	return &issued{s, t, p}
}

// token has the provider sign a user in, and holds that it signed with a key.
func (g *issued) token(kid string) string {
	g.t.Helper()
	token := g.provider.tell("token")
	var header struct{ Alg, Kid string }
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	if err == nil {
		err = json.Unmarshal(b, &header)
	}
	if err != nil || header.Kid != kid {
		g.t.Fatalf("the provider's token is signed with %+v (%v), want %s", header, err, kid)
	}
	return token
}

func (g *issued) tell(what string) {
	g.t.Helper()
	if got := g.provider.tell(what); got != "ok" {
		g.t.Fatalf("%s: %s", what, got)
	}
}

func (g *issued) status(token string) int {
	g.t.Helper()
	return g.Act(g.t, harness.Site, token, "order.list", nil, "").Status
}

func (g *issued) works(why, token string) {
	g.t.Helper()
	if got := g.status(token); got != http.StatusOK {
		g.t.Errorf("%s: %d, want 200", why, got)
	}
}

// refuses holds that a token is refused, and that the log says why.
func (g *issued) refuses(why, token, cause string) {
	g.t.Helper()
	if got := g.status(token); got != http.StatusUnauthorized {
		g.t.Errorf("%s: %d, want 401", why, got)
		return
	}
	if e := g.Audit(g.t, "--limit", "1"); len(e) != 1 || e[0].Decision.Cause != cause {
		g.t.Errorf("%s: the log says %+v, want %s", why, e, cause)
	}
}

// until waits for a token to be believed, while another stays believed.
func (g *issued) until(why, token, meanwhile string) {
	g.t.Helper()
	for deadline := time.Now().Add(patience); g.status(token) != http.StatusOK; time.Sleep(200 * time.Millisecond) {
		if meanwhile != "" {
			g.works(why+", meanwhile", meanwhile)
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("waited in vain: %s", why)
		}
	}
}

// A provider's ID tokens are visitor tokens. Its keys rotate under a running
// gate: the next key is believed once it is published, the last one no more
// once it is not, and nobody who holds a good token is turned away in between,
// not even while the provider is down.
func TestAnOpenIDProviderRotatesItsKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it waits for the time that the gate lets pass between two fetches, three times")
	}
	t.Parallel()
	g := startIssued(t)
	g.tell("keys A")
	a := g.token("A")
	g.works("the first key", a)
	g.refuses("a token of the key that the site had before", g.Token(t, harness.Site, harness.Alex), "token_unknown_kid")
	g.refuses("a token that says it is signed with the first key", g.Token(t, harness.Site, harness.Alex, g.Keys[harness.Site].ES256,
		func(m *harness.Minting) { m.Header["kid"] = "A" }), "token_signature_invalid")

	g.tell("keys B A")
	b := g.token("B")
	g.until("the second key is believed", b, a)
	g.works("the first key is still published", a)

	g.tell("keys C B")
	c := g.token("C")
	g.until("the third key is believed", c, b)
	g.refuses("the first key is published no more", a, "token_unknown_kid")
	g.works("the second key is still published", b)

	unseen, later := g.token("C"), g.token("C")
	g.tell("down")
	g.works("the provider is down", c)
	g.works("the provider is down, and the token was never seen before", unseen)
	g.refuses("the provider is down, and so nobody can say what the first key was", a, "token_unknown_kid")

	// A change of the configuration at such a time keeps the fetched keys.
	config, err := os.ReadFile(g.Config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, g.Config, strings.Replace(string(config), "name: Harbor Goods", "name: Harbor Wares", 1))
	if err := syscall.Kill(g.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !strings.Contains(g.Admin(t, "/v1/admin/status"), "Harbor Wares"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the configuration was not read again")
		}
	}
	g.works("the provider is down, and the configuration was read again", later)

	g.tell("up")
	g.tell("keys D")
	d := g.token("D")
	g.until("the provider is back, with another key", d, "")
	g.refuses("the third key is published no more", c, "token_unknown_kid")
}
