package harness

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vouchsafe/engine/httpapi/apitest"
	"vouchsafe/policies"
)

// site holds the manifests and help pages of the tests' own site.
//
//go:embed site
var site embed.FS

// The sites of a Server: the same shop, on two plans.
const (
	Site     = "shop"   // pro
	FreeSite = "corner" // free
)

// SignIn is where the sites send visitors to sign in, Origin their pages'.
const (
	SignIn = "https://shop.example/login"
	Origin = "https://shop.example"
)

// Config varies a Server. Zero values are the plain one.
type Config struct {
	// Limits is the configuration's limits section; off for both when "".
	Limits string
	// Data is the data folder; one of the test's own when "".
	Data string
	// Shop is the outside system; a new one when nil.
	Shop *Shop
	// Manifests are further manifests, by file name; they replace ours of the
	// same name.
	Manifests map[string]string
	// Policies are files of a policy folder that differ from the shipped ones; the
	// shipped ones are in force when there are none.
	Policies map[string]string
	// Extra is more of the configuration file.
	Extra string
	// Env is further environment of the server's process.
	Env []string
	// Quiet leaves requests that are answered out of the server's log.
	Quiet bool
}

// Server is a running gate with a configuration of the tests' own.
type Server struct {
	process
	URL    string // of the public listener
	Dir    string // of the configuration
	Data   string
	Config string // the configuration file
	Shop   *Shop
	Keys   map[string]Keys // by site
	// Client holds every exchange against the server's own description.
	Client *http.Client
}

// Start starts a server. It ends with the test.
func Start(t testing.TB, c Config) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{Dir: dir, Data: c.Data, Config: filepath.Join(dir, "vouchsafe.yaml"), Shop: c.Shop, Keys: map[string]Keys{
		Site:     newKeys(t, "https://shop.example", "vouchsafe-shop"),
		FreeSite: newKeys(t, "https://corner.example", "vouchsafe-corner"),
	}}
	if s.Shop == nil {
		s.Shop = NewShop(t)
	}
	if s.Data == "" {
		s.Data = filepath.Join(dir, "data")
	}
	if c.Limits == "" {
		c.Limits = "{per_visitor: off, per_address: off}"
	}
	s.write(t, c)
	for _, id := range []string{Site, FreeSite} {
		s.connect(t, id, "shop-admin", ShopKey)
		s.connect(t, id, "salon-diary", SalonKey)
	}
	s.process = process{t: t, logs: filepath.Join(dir, "server.log"), env: c.Env,
		args: []string{"serve", "--config", s.Config, "--addr", "127.0.0.1:0"},
		said: func(line string) bool {
			at := after(line, " on ")
			if !strings.HasPrefix(at, "http://") {
				return false
			}
			s.URL = strings.TrimSpace(at)
			return true
		}}
	if !c.Quiet {
		s.args = append(s.args, "--verbose")
	}
	s.Client = apitest.Client(t)
	s.start()
	t.Cleanup(s.end)
	await(t, s.Client, s.URL+"/readyz", http.StatusOK)
	return s
}

// Restart starts the server again after Stop or Kill, on another port.
func (s *Server) Restart() {
	s.t.Helper()
	s.start()
	await(s.t, s.Client, s.URL+"/readyz", http.StatusOK)
}

// Await waits until a path of the public listener answers with status.
func (s *Server) Await(path string, status int) {
	s.t.Helper()
	await(s.t, s.Client, s.URL+path, status)
}

// write writes the configuration and what it names.
func (s *Server) write(t testing.TB, c Config) {
	t.Helper()
	files := map[string][]byte{}
	err := fs.WalkDir(site, "site", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[strings.TrimPrefix(path, "site/")], err = site.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range c.Manifests {
		files["actions/"+name] = []byte(text)
	}
	from := ""
	if len(c.Policies) > 0 {
		from = "policies: ./policies\n"
		for name, text := range shippedPolicies(t) {
			files["policies/"+name] = text
		}
		for name, text := range c.Policies {
			files["policies/"+name] = []byte(text)
		}
	}
	for id, k := range s.Keys {
		files[id+".secret"] = append(bytes.Clone(k.Secret), '\n')
		files[id+".pem"] = k.publicPEM(t)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "addr: 127.0.0.1:0\ndata: %s\nkeys: ./keys\n%slimits: %s\nsites:\n", s.Data, from, c.Limits)
	for _, one := range []struct{ id, name, tier string }{{Site, "Harbor Goods", "pro"}, {FreeSite, "Harbor Corner", "free"}} {
		k := s.Keys[one.id]
		fmt.Fprintf(&b, `  - id: %[1]s
    name: %[2]s
    tier: %[3]s
    timezone: Europe/London
    sign_in_url: %[4]s
    origins: [%[5]q]
    tokens:
      issuer: %[6]s
      audience: %[7]s
      max_lifetime: 15m
      clock_skew: 60s
      keys:
        - {kid: k1, alg: HS256, secret_file: %[1]s.secret}
        - {kid: k2, alg: ES256, public_key_file: %[1]s.pem}
    actions: ["actions/*.yaml"]
    knowledge: ./help
`, one.id, one.name, one.tier, SignIn, Origin, k.Issuer, k.Audience)
	}
	b.WriteString("connections:\n  provider: embedded\n" + c.Extra)
	files["vouchsafe.yaml"] = []byte(b.String())
	for name, content := range files {
		path := filepath.Join(s.Dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// shippedPolicies are the files of the shipped policies.
func shippedPolicies(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := fs.WalkDir(policies.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out[path], err = policies.FS.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// connect gives the provider a credential, which only that command's process
// and the provider's ever see.
func (s *Server) connect(t testing.TB, siteID, connection, key string) {
	t.Helper()
	s.mustRun(t, []string{"TEST_CONNECTION_KEY=" + key}, "connection", "add", connection, "--site", siteID, "--config", s.Config,
		"--type", "api_key", "--header", keyHeader, "--value-env", "TEST_CONNECTION_KEY", "--base-url", s.Shop.URL)
}

func (s *Server) mustRun(t testing.TB, env []string, args ...string) string {
	t.Helper()
	e := Run(t, env, args...)
	if e.Code != 0 {
		t.Fatalf("vouchsafe %s: status %d\n%s%s", strings.Join(args, " "), e.Code, e.Out, e.Errors)
	}
	return e.Out
}

// Token is a token of one site for a person.
func (s *Server) Token(t testing.TB, siteID string, p Person, mods ...func(*Minting)) string {
	t.Helper()
	return s.Keys[siteID].Token(t, p, mods...)
}
