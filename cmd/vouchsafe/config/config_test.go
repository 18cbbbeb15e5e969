package config_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/engine"
)

// secret stands for every shared secret of the tests: no error may hold it.
const secret = "Zq7-tXn2_QpLw9RbVd4KmYs8JhGfCe1aUi6o"

// folder returns a folder with every file that the tests' configurations name.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"k1.secret":          secret + "\n",
		"short.secret":       "0123456789abcdef0123456789abcde\n",
		"uniform.secret":     strings.Repeat("ab", 20),
		"empty.secret":       "\n",
		"actions/order.yaml": "actions: {}\n",
		"actions/book.yaml":  "actions: {}\n",
		"actions/notes.txt":  "",
		"help/index.md":      "# Help\n",
		"policies/authz":     "",
		"a-file":             "",
	} {
		write(t, filepath.Join(dir, name), []byte(content))
	}
	for name, key := range map[string]any{
		"k2.pem":      generate(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).Public(),
		"p384.pem":    generate(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)).Public(),
		"weak.pem":    weakRSA,
		"ed25519.pem": ed25519.NewKeyFromSeed(make([]byte, 32)).Public(),
	} {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatalf("encoding %s: %v", name, err)
		}
		write(t, filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "private.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return dir
}

// weakRSA is made from numbers: crypto/rsa no longer generates keys this small.
var weakRSA = func() *rsa.PublicKey {
	k := generate(rsa.GenerateKey(rand.Reader, 2048))
	k.N.Rsh(k.N, 1024).SetBit(k.N, 0, 1)
	return &k.PublicKey
}()

func generate[K any](k K, err error) K {
	if err != nil {
		panic(err)
	}
	return k
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// documented is the configuration of the design.
const documented = `addr: 127.0.0.1:8080
data: ./data
keys: ./keys                      # master, checkpoint and permit keys, made by ` + "`vouchsafe init`" + `; not inside data
policies: ./policies              # a folder or a signed bundle; default: the embedded ones
admin: {addr: ""}                 # the socket is always there; a TCP address is opt-in
limits: {per_visitor: 120/m, per_address: 600/m}
trusted_proxies: []
sites:
  - id: shop
    name: Harbor Goods
    tier: pro
    timezone: Europe/London
    sign_in_url: https://shop.example/login
    origins: ["https://shop.example"]
    tokens:
      issuer: https://shop.example
      audience: vouchsafe-shop    # no two sites may share issuer and audience
      max_lifetime: 15m           # exp - iat; at most 24h
      clock_skew: 60s
      keys:
        - {kid: k1, alg: HS256, secret_file: k1.secret}
        - {kid: k2, alg: ES256, public_key_file: k2.pem}
      jwks_url: https://shop.example/.well-known/jwks.json
    actions: ["actions/*.yaml"]   # manifests, relative to this file
    knowledge: ./help             # Markdown or HTML
connections:
  provider: embedded              # or the URL of a provider
`

// least is the smallest configuration.
const least = `sites:
  - id: shop
    tier: free
    tokens:
      issuer: https://shop.example
      audience: vouchsafe-shop
      keys:
        - {kid: k1, alg: HS256, secret_file: k1.secret}
`

func london(t *testing.T) *time.Location {
	t.Helper()
	l, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var comparePlaces = cmp.Options{
	cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() }),
	cmpopts.EquateComparable(netip.Prefix{}),
}

func TestTheDocumentedConfigurationLoads(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir, "vouchsafe.yaml")
	write(t, path, []byte(documented))
	got, err := config.Load(path)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	want := &config.Config{
		File: path, Dir: dir,
		Addr:     "127.0.0.1:8080",
		Data:     filepath.Join(dir, "data"),
		Keys:     filepath.Join(dir, "keys"),
		Policies: config.Policies{Folder: filepath.Join(dir, "policies")},
		Limits: config.Limits{
			PerVisitor: config.Limit{Requests: 120, Per: time.Minute},
			PerAddress: config.Limit{Requests: 600, Per: time.Minute}, NotFoundAfter: 100 * time.Millisecond,
		},
		Sites: []config.Site{{
			ID: "shop", Name: "Harbor Goods", Tier: engine.Pro, Location: london(t),
			SignInURL: "https://shop.example/login",
			Origins:   []string{"https://shop.example"},
			Tokens: config.Tokens{
				Issuer: "https://shop.example", Audience: "vouchsafe-shop",
				MaxLifetime: 15 * time.Minute, ClockSkew: time.Minute,
				Keys: []config.TokenKey{
					{Place: config.Place{Line: 21, Key: "sites[0].tokens.keys[0]"}, KID: "k1", Alg: "HS256",
						Source: config.KeySource{File: filepath.Join(dir, "k1.secret")}},
					{Place: config.Place{Line: 22, Key: "sites[0].tokens.keys[1]"}, KID: "k2", Alg: "ES256",
						Source: config.KeySource{File: filepath.Join(dir, "k2.pem")}},
				},
				JWKSURL: "https://shop.example/.well-known/jwks.json",
			},
			Actions:     []string{filepath.Join(dir, "actions/book.yaml"), filepath.Join(dir, "actions/order.yaml")},
			ActionGlobs: []string{filepath.Join(dir, "actions/*.yaml")},
			Knowledge:   filepath.Join(dir, "help"),
		}},
		Connections: config.Connections{Embedded: true},
	}
	if diff := cmp.Diff(want, got, comparePlaces); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
	if !got.Sites[0].Tokens.Keys[0].Symmetric() || got.Sites[0].Tokens.Keys[1].Symmetric() {
		t.Error("Symmetric: want HS256 alone")
	}
}

func TestDefaults(t *testing.T) {
	dir := folder(t)
	got, err := config.Parse("c.yaml", []byte(least), dir)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	want := &config.Config{
		File: "c.yaml", Dir: dir,
		Addr: "127.0.0.1:8080", Data: filepath.Join(dir, "data"), Keys: filepath.Join(dir, "keys"),
		Limits: config.Limits{
			PerVisitor: config.Limit{Requests: 120, Per: time.Minute},
			PerAddress: config.Limit{Requests: 600, Per: time.Minute}, NotFoundAfter: 100 * time.Millisecond,
		},
		Sites: []config.Site{{
			ID: "shop", Name: "shop", Tier: engine.Free, Location: time.UTC,
			Tokens: config.Tokens{
				Issuer: "https://shop.example", Audience: "vouchsafe-shop",
				MaxLifetime: 15 * time.Minute, ClockSkew: time.Minute,
				Keys: []config.TokenKey{{Place: config.Place{Line: 8, Key: "sites[0].tokens.keys[0]"}, KID: "k1", Alg: "HS256",
					Source: config.KeySource{File: filepath.Join(dir, "k1.secret")}}},
			},
		}},
		Connections: config.Connections{Embedded: true},
	}
	if diff := cmp.Diff(want, got, comparePlaces); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
	site := engine.Site{ID: "shop", Name: "shop", Tier: engine.Free, Location: time.UTC, MaxTokenLifetime: 15 * time.Minute}
	if diff := cmp.Diff(site, got.Sites[0].Engine(), comparePlaces); diff != "" {
		t.Errorf("Engine (-want +got):\n%s", diff)
	}
}

func TestEverySettingIsRead(t *testing.T) {
	dir := folder(t)
	t.Setenv("TEST_TOKEN_SECRET", secret)
	got, err := config.Parse("c.yaml", []byte(`
addr: "[::1]:0"
data: `+filepath.Join(dir, "elsewhere")+`
admin:
  addr: localhost:9090
limits: {per_visitor: off, per_address: 10/s, not_found_after: 250ms}
policies:
  bundle: https://bundles.example/p.tar.gz?v=1
  verify:
    - {kid: p1, alg: HS256, secret_file: k1.secret}
    - {kid: p2, alg: EdDSA, public_key_file: ed25519.pem}
  token_env: TEST_TOKEN_SECRET
  poll: 30s
  max_staleness: 1h
  admission: {coverage: 92.5, replay: {decisions: 100, since: 24h, max_deny_to_allow: 0, max_flips: 7}}
trusted_proxies: [192.0.2.1, 10.0.0.0/8, "2001:db8::/32"]
sites:
  - id: shop
    tier: business
    stale_policy: refuse
    audit: {retention: 400d}
    sign_in_url: http://127.0.0.1:3000/in?from=chat
    origins: ["http://localhost:3000", "http://[::1]:3000", "https://www.shop.example:8443"]
    knowledge: help
    knowledge_url: https://shop.example/help
    actions: [actions/order.yaml, "actions/o*.yaml"]
    tokens:
      issuer: i
      audience: a
      max_lifetime: 24h
      clock_skew: 0s
      email_local_case: fold
      fresh_confirmation: true
      test_mode: true
      keys:
        - kid: k3
          alg: HS256
          secret_env: TEST_TOKEN_SECRET
          not_before: 2027-01-01
          retire_after: 2027-06-30T12:00:00+02:00
        - {kid: k4, alg: EdDSA, public_key_file: ed25519.pem}
        - {kid: k5, alg: ES384, public_key_file: p384.pem}
  - {id: b, tier: pro, tokens: {issuer: i, audience: b, jwks_url: "http://127.0.0.1:3000/jwks"}}
connections: {provider: "unix:run/provider.sock", key_file: k1.secret}
`), dir)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	shop := got.Sites[0]
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"addr", got.Addr, "[::1]:0"},
		{"data", got.Data, filepath.Join(dir, "elsewhere")},
		{"admin", got.Admin, config.Admin{Addr: "localhost:9090"}},
		{"limits", got.Limits, config.Limits{PerVisitor: config.Limit{Off: true}, PerAddress: config.Limit{Requests: 10, Per: time.Second}, NotFoundAfter: 250 * time.Millisecond}},
		{"policies", got.Policies, config.Policies{URL: "https://bundles.example/p.tar.gz?v=1", Verify: []config.TokenKey{
			{Place: config.Place{Line: 10, Key: "policies.verify[0]"}, KID: "p1", Alg: "HS256", Source: config.KeySource{File: filepath.Join(dir, "k1.secret")}},
			{Place: config.Place{Line: 11, Key: "policies.verify[1]"}, KID: "p2", Alg: "EdDSA", Source: config.KeySource{File: filepath.Join(dir, "ed25519.pem")}}},
			Token: config.KeySource{Env: "TEST_TOKEN_SECRET"}, Poll: 30 * time.Second, MaxStaleness: time.Hour, Coverage: new(92.5),
			Replay: &config.PolicyReplay{Decisions: 100, Since: 24 * time.Hour, MaxDenyToAllow: new(0), MaxFlips: new(7)}}},
		{"audit.retention", shop.Retention, 400 * 24 * time.Hour},
		{"audit.retention, left out", got.Sites[1].Retention, time.Duration(0)},
		{"stale_policy", shop.Engine().RefuseStale, true},
		{"stale_policy, left out", got.Sites[1].Engine().RefuseStale, false},
		{"trusted_proxies", got.TrustedProxies, []netip.Prefix{
			netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}},
		{"sign_in_url", shop.SignInURL, "http://127.0.0.1:3000/in?from=chat"},
		{"origins", shop.Origins, []string{"http://localhost:3000", "http://[::1]:3000", "https://www.shop.example:8443"}},
		{"knowledge_url", shop.KnowledgeURL, "https://shop.example/help"},
		{"actions, each once", shop.Actions, []string{filepath.Join(dir, "actions/order.yaml")}},
		{"max_lifetime", shop.Tokens.MaxLifetime, 24 * time.Hour},
		{"clock_skew", shop.Tokens.ClockSkew, time.Duration(0)},
		{"email_local_case", shop.Engine().FoldEmailLocal, true},
		{"fresh_confirmation", shop.Engine().FreshConfirmation, true},
		{"fresh_confirmation, left out", got.Sites[1].Engine().FreshConfirmation, false},
		{"test_mode", shop.Tokens.TestMode, true},
		{"test_mode, left out", got.Sites[1].Tokens.TestMode, false},
		{"secret_env", shop.Tokens.Keys[0].Source, config.KeySource{Env: "TEST_TOKEN_SECRET"}},
		{"not_before", shop.Tokens.Keys[0].NotBefore.UTC(), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"retire_after", shop.Tokens.Keys[0].RetireAfter.UTC(), time.Date(2027, 6, 30, 10, 0, 0, 0, time.UTC)},
		{"jwks_url", got.Sites[1].Tokens.JWKSURL, "http://127.0.0.1:3000/jwks"},
		{"connections", got.Connections, config.Connections{
			Socket: filepath.Join(dir, "run/provider.sock"), Key: config.KeySource{File: filepath.Join(dir, "k1.secret")}}},
		{"warnings", got.Warnings, []string{"c.yaml:34: sites[0].tokens.test_mode: is on: whoever sends a token is told exactly why it is refused; take it out before visitors come"}},
	} {
		if diff := cmp.Diff(c.want, c.got, comparePlaces); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestReadingASource(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) config.KeySource {
		write(t, filepath.Join(dir, name), []byte(content))
		return config.KeySource{File: filepath.Join(dir, name)}
	}
	t.Setenv("TEST_SECRET", "s\n")
	t.Setenv("TEST_EMPTY", "")
	for _, c := range []struct {
		name   string
		source config.KeySource
		want   string // "" for an error
	}{
		{"bytes", file("a", "s3cret"), "s3cret"},
		{"one newline dropped", file("b", "s3cret\n"), "s3cret"},
		{"only the newline of a CRLF dropped", file("c", "s3cret\r\n"), "s3cret\r"},
		{"only one", file("d", "s3cret\n\n"), "s3cret\n"},
		{"spaces are bytes", file("e", " s3cret \n"), " s3cret "},
		{"zero bytes are bytes", file("f", "\x00\xff"), "\x00\xff"},
		{"environment, as it is", config.KeySource{Env: "TEST_SECRET"}, "s\n"},
		{"nowhere", config.KeySource{}, ""},
		{"empty file", file("g", ""), ""},
		{"nothing but a newline", file("h", "\n"), ""},
		{"no such file", config.KeySource{File: filepath.Join(dir, "none")}, ""},
		{"folder", config.KeySource{File: dir}, ""},
		{"device", config.KeySource{File: "/dev/zero"}, ""},
		{"too large", file("i", strings.Repeat("x", 64<<10+1)), ""},
		{"no such variable", config.KeySource{Env: "TEST_NOT_SET"}, ""},
		{"empty variable", config.KeySource{Env: "TEST_EMPTY"}, ""},
	} {
		got, err := c.source.Read()
		if string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: Read() = %q, %v; want %q", c.name, got, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "TEST_")) {
			t.Errorf("%s: the error repeats the source: %v", c.name, err)
		}
	}
}

func TestLooseSecretFilesAreWarnedOf(t *testing.T) {
	for _, c := range []struct {
		mode os.FileMode
		want []string
	}{
		{0o400, nil},
		{0o600, nil},
		{0o640, nil}, // a mounted secret, readable by the service's group
		{0o644, []string{"c.yaml:8: sites[0].tokens.keys[0].secret_file: is open to other users of this machine (mode 0644): chmod 600"}},
		{0o660, []string{"c.yaml:8: sites[0].tokens.keys[0].secret_file: is open to other users of this machine (mode 0660): chmod 600"}},
	} {
		dir := folder(t)
		if err := os.Chmod(filepath.Join(dir, "k1.secret"), c.mode); err != nil {
			t.Fatal(err)
		}
		got, err := config.Parse("c.yaml", []byte(least), dir)
		if err != nil {
			t.Fatalf("mode %o: Parse: %v", c.mode, err)
		}
		if diff := cmp.Diff(c.want, got.Warnings); diff != "" {
			t.Errorf("mode %o: warnings (-want +got):\n%s", c.mode, diff)
		}
	}
}

func TestOtherWarnings(t *testing.T) {
	dir := folder(t)
	src := strings.Replace(least, "k1.secret", "uniform.secret", 1) +
		"    sign_in_url: http://shop.example/login\n" +
		"admin: {addr: \":9090\"}\n"
	got, err := config.Parse("c.yaml", []byte(src), dir)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	want := []string{
		"c.yaml:9: sites[0].sign_in_url: is not https: what visitors sign in with can be read on the way",
		"c.yaml:8: sites[0].tokens.keys[0].secret_file: holds a secret of very few different characters: is it random?",
		"c.yaml:10: admin.addr: is reachable from other machines without TLS: put a TLS proxy before it",
	}
	if diff := cmp.Diff(want, got.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// A command that asks a running server need not be able to read its secrets.
func TestWithoutSecrets(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir, "vouchsafe.yaml")
	write(t, path, []byte(documented))
	if err := os.Remove(filepath.Join(dir, "k1.secret")); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil {
		t.Error("Load succeeded without its secret")
	}
	got, err := config.LoadWithoutSecrets(path)
	if err != nil {
		t.Fatalf("LoadWithoutSecrets: %v", err)
	}
	if want := filepath.Join(dir, "data"); got.Data != want {
		t.Errorf("Data = %q, want %q", got.Data, want)
	}
	write(t, path, []byte(documented+"extra: 1\n"))
	if _, err := config.LoadWithoutSecrets(path); err == nil {
		t.Error("LoadWithoutSecrets took an unknown key")
	}
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	write(t, large, bytes.Repeat([]byte("#\n"), 1<<20))
	for _, path := range []string{filepath.Join(dir, "none.yaml"), dir, "/dev/zero", large} {
		if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Load(%s) = %v, want an error that names it", path, err)
		}
	}
}

func TestRefuseNamesTheLine(t *testing.T) {
	c, err := config.Parse("c.yaml", []byte(least), folder(t))
	if err != nil {
		t.Fatal(err)
	}
	got := c.Refuse(c.Sites[0].Tokens.Keys[0].Place, os.ErrInvalid).Error()
	if want := "c.yaml:8: sites[0].tokens.keys[0]: invalid argument"; got != want {
		t.Errorf("Refuse = %q, want %q", got, want)
	}
}
