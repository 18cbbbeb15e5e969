package clients

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/tests/harness"
)

const readme = "../../engine/identity/README.md"

// recipe is one of the README's, and how it is run.
type recipe struct {
	heading string
	// prepare puts the recipe and what drives it into a folder and returns the
	// command; it skips the test where the language is missing.
	prepare func(t *testing.T, code string) (dir string, command []string)
}

var recipes = []recipe{
	{"Node, with jose", node},
	{"Node, with jsonwebtoken", node},
	{"Python, with PyJWT", python},
	{"Go, with golang-jwt", golang},
	{"Ruby, with the jwt gem", ruby},
	{"PHP, with firebase/php-jwt", nil}, // its library is not one that a system's packages have
}

func node(t *testing.T, code string) (string, []string) {
	dir := nodeFolder(t)
	write(t, filepath.Join(dir, "recipe.mjs"), code)
	copyFile(t, "mint.mjs", filepath.Join(dir, "mint.mjs"))
	return dir, []string{"node", "mint.mjs"}
}

// The system's Python, which has the system's packages.
const systemPython = "/usr/bin/python3"

func python(t *testing.T, code string) (string, []string) {
	if out, err := exec.Command(systemPython, "-c", "import jwt, cryptography").CombinedOutput(); err != nil {
		missing(t, "python3-jwt and python3-cryptography, for the recipe in Python: "+strings.TrimSpace(string(out)))
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "recipe.py"), code)
	copyFile(t, "mint.py", filepath.Join(dir, "mint.py"))
	return dir, []string{systemPython, "mint.py"}
}

// golang runs within this module, which has the library.
func golang(t *testing.T, code string) (string, []string) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "recipe.go"), strings.Replace(code, "package vouchsafetoken", "package main", 1))
	copyFile(t, "mint.go.txt", filepath.Join(dir, "mint.go"))
	return ".", []string{"go", "run", filepath.Join(dir, "recipe.go"), filepath.Join(dir, "mint.go")}
}

func ruby(t *testing.T, code string) (string, []string) {
	if err := exec.Command("ruby", "-e", "require 'jwt'").Run(); err != nil {
		missing(t, "ruby and its jwt gem, for the recipe in Ruby")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "recipe.rb"), code)
	copyFile(t, "mint.rb", filepath.Join(dir, "mint.rb"))
	return dir, []string{"ruby", "mint.rb"}
}

// code returns the one block of code below a heading of the README.
func (r recipe) code(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(b), "\n## "+r.heading+"\n")
	if !found {
		t.Fatalf("the README has no section %q", r.heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)\n```[a-z]+\n(.*?\n)```\n").FindAllStringSubmatch(section, -1)
	if len(blocks) != 1 {
		t.Fatalf("the section %q has %d blocks of code, want one", r.heading, len(blocks))
	}
	return blocks[0][1]
}

// user is a customer whose name is not plain ASCII.
var user = harness.Person{Subject: harness.Alex.Subject, Email: harness.Alex.Email, Name: `Zoë "Alex" O’Morgan`}

// environment is what a recipe is given: the key and the user.
func environment(t *testing.T, k harness.Keys, alg string) []string {
	t.Helper()
	u, err := json.Marshal(map[string]any{"id": user.Subject, "email": user.Email, "emailVerified": true, "name": user.Name})
	if err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "TEST_USER="+string(u))
	if alg == "HS256" {
		return append(env, "VOUCHSAFE_SECRET="+string(k.Secret))
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.Private)
	if err != nil {
		t.Fatal(err)
	}
	return append(env, "VOUCHSAFE_PRIVATE_KEY="+string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// minted runs a recipe and returns the two tokens it prints.
func minted(t *testing.T, r recipe, k harness.Keys, alg string) [2]string {
	t.Helper()
	dir, command := r.prepare(t, r.code(t))
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, environment(t, k, alg)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	tokens := strings.Fields(string(out))
	if err != nil || len(tokens) != 2 {
		t.Fatalf("%s: %v, %d tokens\n%s", r.heading, err, len(tokens), errs.String())
	}
	return [2]string(tokens)
}

// Every section that says it is a recipe is one of ours.
func TestEveryRecipeIsKnown(t *testing.T) {
	b, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	var found, known []string
	for _, m := range regexp.MustCompile(`(?m)^## (.*, with .*)$`).FindAllStringSubmatch(string(b), -1) {
		found = append(found, m[1])
	}
	for _, r := range recipes {
		known = append(known, r.heading)
		r.code(t)
	}
	slices.Sort(known)
	slices.Sort(found)
	if diff := cmp.Diff(known, found); diff != "" {
		t.Errorf("recipes (-known +in the README):\n%s", diff)
	}
}

// What each recipe mints is exactly what the README promises. The gate knows
// who it is, another site's gate does not, and the same customer cannot reach
// beyond their own records with it.
func TestRecipesMintWhatTheGateWants(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Config{})
	for _, r := range recipes {
		if r.prepare == nil {
			continue
		}
		for _, alg := range []string{"HS256", "ES256"} {
			t.Run(r.heading+", "+alg, func(t *testing.T) {
				tokens := minted(t, r, s.Keys[harness.Site], alg)
				var ids [2]string
				for i, token := range tokens {
					ids[i] = exact(t, token, alg)
				}
				if ids[0] == ids[1] {
					t.Error("two tokens have the same jti")
				}
				token := tokens[0]
				if got := s.Do(t, http.MethodGet, "/v1/sites/"+harness.FreeSite+"/actions", token, nil); got.Status != http.StatusUnauthorized {
					t.Errorf("at another site: %d %s, want 401", got.Status, got.Raw)
				}
				if got := s.Act(t, harness.Site, token, "order.lookup", map[string]any{"order_id": harness.JordanOrder}, ""); got.Status != http.StatusNotFound {
					t.Errorf("somebody else's order: %d %s, want 404", got.Status, got.Raw)
				}
				if got := s.Chat(t, harness.Site, token, harness.Turn{Message: "show my orders"}); got.Identity.State != "verified" || got.Identity.Name != user.Name || got.Types() != "result" {
					t.Errorf("one's own orders: %s, want a result for a verified %s", got.Raw, user.Name)
				}
				e := harness.Run(t, nil, "token", "inspect", "--site", harness.Site, "--config", s.Config, token)
				if e.Code != 0 {
					t.Errorf("token inspect: %d\n%s%s", e.Code, e.Out, e.Errors)
				}
			})
		}
	}
}

// exact holds a token to the README's table and returns its jti.
func exact(t *testing.T, token, alg string) string {
	t.Helper()
	var header, claims map[string]any
	parts := strings.Split(token, ".")
	for i, into := range []*map[string]any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	delete(header, "typ") // not required
	kid := map[string]string{"HS256": "k1", "ES256": "k2"}[alg]
	if diff := cmp.Diff(map[string]any{"alg": alg, "kid": kid}, header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	iat, _ := claims["iat"].(float64)
	exp, _ := claims["exp"].(float64)
	if iat != math.Trunc(iat) || exp-iat != 300 {
		t.Errorf("iat %v, exp %v: want whole seconds, five minutes apart", claims["iat"], claims["exp"])
	}
	jti, _ := claims["jti"].(string)
	if len(jti) < 20 {
		t.Errorf("jti %q is not random", jti)
	}
	delete(claims, "iat")
	delete(claims, "exp")
	delete(claims, "jti")
	want := map[string]any{"iss": "https://shop.example", "aud": "vouchsafe-shop", "sub": user.Subject,
		"email": user.Email, "email_verified": true, "name": user.Name}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	return jti
}

// The endpoints of the recipes in JavaScript stand up to doctor.
func TestDoctorIsContentWithTheRecipes(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Config{})
	for _, r := range recipes[:2] {
		t.Run(r.heading, func(t *testing.T) {
			dir, command := r.prepare(t, r.code(t))
			at := startScript(t, dir, environment(t, s.Keys[harness.Site], "ES256"), append(command, "--serve")...).line()
			e := harness.Run(t, nil, "doctor", "--config", s.Config, "--site", harness.Site, "--token-url", at,
				"--cookie", "session=of-alex", "--other-email", harness.Jordan.Email, "--format", "json")
			var mint, token int
			for line := range strings.Lines(e.Out) {
				var f struct{ Check, State, Found string }
				if err := json.Unmarshal([]byte(line), &f); err != nil {
					t.Fatalf("doctor: %v\n%s%s", err, e.Out, e.Errors)
				}
				switch f.Check {
				case "mint":
					mint++
				case "token":
					token++
				default:
					continue // of the site, whose sign-in page is made up
				}
				if f.State != "ok" {
					t.Errorf("%s of %s: %s", f.State, f.Check, f.Found)
				}
			}
			if mint != 3 || token != 2 {
				t.Errorf("doctor said %d things of the endpoint and %d of the token, want 3 and 2:\n%s", mint, token, e.Out)
			}
		})
	}
}
