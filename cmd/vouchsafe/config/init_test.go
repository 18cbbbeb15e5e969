package config_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/connectors"
)

var starterFiles = []string{".gitignore", "actions/example.yaml", "help/orders.md", "shop.secret", "vouchsafe.yaml",
	"keys/master", "keys/checkpoint", "keys/permit"}

func TestInitWritesAConfigurationThatLoads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	report, err := config.Init(dir)
	if err != nil {
		t.Fatalf("Init: %v", err)
	}
	if diff := cmp.Diff(config.InitReport{Dir: dir, Wrote: starterFiles}, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	c, err := config.Load(filepath.Join(dir, "vouchsafe.yaml"))
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
	if want := []string{filepath.Join(dir, "actions/example.yaml")}; !slices.Equal(c.Sites[0].Actions, want) {
		t.Errorf("actions = %q, want %q", c.Sites[0].Actions, want)
	}
	if _, err := config.LoadKeys(c.Keys); err != nil {
		t.Errorf("LoadKeys: %v", err)
	}
	for _, name := range []string{"shop.secret", "keys/master", "keys/checkpoint", "keys/permit"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", name, info.Mode().Perm())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Each commented-out setting of the starter is one that exists.
func TestTheStartersCommentsAreSettings(t *testing.T) {
	dir := t.TempDir()
	if _, err := config.Init(dir); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"policies/x": "", "k2.pem": ""} {
		write(t, filepath.Join(dir, name), []byte(content))
	}
	b, err := os.ReadFile(filepath.Join(dir, "vouchsafe.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	src := string(b)
	for _, line := range []string{"# policies: .", "# addr: 127", "# - {kid: k2", "# - {kid: k3", "# jwks_url:", "# knowledge_url:", "# stale_policy:", "# audit:"} {
		src = change(t, src, line, strings.TrimPrefix(line, "# "))
	}
	src = change(t, src, "  addr: \"\"\n", "")
	// The longer way to say where policies are, instead of the shorter.
	src = change(t, src, "policies: ./policies\n", "")
	i := strings.Index(src, "# policies:\n")
	j := strings.Index(src[i:], "\n\n")
	if i < 0 || j < 0 {
		t.Fatal("the starter has no policies section")
	}
	src = src[:i] + strings.ReplaceAll(strings.TrimPrefix(src[i:i+j], "# "), "\n# ", "\n") + src[i+j:]
	_, err = config.Parse("c.yaml", []byte(src), dir)
	problems, ok := errors.AsType[*config.Error](err)
	if !ok {
		t.Fatalf("Parse = %v, want only the secrets that are not there", err)
	}
	for _, p := range problems.Problems {
		if !strings.HasPrefix(p.Message, "cannot be read: ") {
			t.Errorf("line %d: %s: %s", p.Line, p.Key, p.Message)
		}
	}
	if len(problems.Problems) != 4 {
		t.Errorf("problems: %v; want k2, k3, policies.pem and bundles.secret", err)
	}
}

func TestTheExampleManifestIsSound(t *testing.T) {
	dir := t.TempDir()
	if _, err := config.Init(dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "actions/example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := connectors.ParseManifest("example.yaml", b)
	if err != nil {
		t.Fatalf("ParseManifest: %v", err)
	}
	if _, err := connectors.NewCatalog([]*connectors.Manifest{manifest}); err != nil {
		t.Errorf("NewCatalog: %v", err)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := config.Init(dir); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	second, err := config.Init(dir)
	if err != nil {
		t.Fatalf("second Init: %v", err)
	}
	want := config.InitReport{Dir: dir, Kept: []string{"vouchsafe.yaml", "keys/master", "keys/checkpoint", "keys/permit"}}
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("second report (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}

	// A lost key is made again, and only it.
	if err := os.Remove(filepath.Join(dir, "keys/checkpoint")); err != nil {
		t.Fatal(err)
	}
	third, err := config.Init(dir)
	if err != nil {
		t.Fatalf("third Init: %v", err)
	}
	want = config.InitReport{Dir: dir, Wrote: []string{"keys/checkpoint"}, Kept: []string{"vouchsafe.yaml", "keys/master", "keys/permit"}}
	if diff := cmp.Diff(want, third); diff != "" {
		t.Errorf("third report (-want +got):\n%s", diff)
	}
}

func TestInitKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	mine := "my own\n"
	write(t, filepath.Join(dir, "help/orders.md"), []byte(mine))
	write(t, filepath.Join(dir, "keys/master"), []byte(mine))
	report, err := config.Init(dir)
	if err != nil {
		t.Fatalf("Init: %v", err)
	}
	if want := []string{"help/orders.md", "keys/master"}; !slices.Equal(report.Kept, want) {
		t.Errorf("Kept = %q, want %q", report.Kept, want)
	}
	for _, name := range []string{"help/orders.md", "keys/master"} {
		if got := contents(t, dir)[name]; got != mine {
			t.Errorf("%s = %q, want %q", name, got, mine)
		}
	}
}

// Where there is a configuration, its keys folder counts and no example is put
// beside it.
func TestInitBesideAConfigurationOfYourOwn(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "vouchsafe.yaml"), []byte(strings.Replace(least, "sites:", "keys: private/gate\nsites:", 1)))
	report, err := config.Init(dir) // its secret is not there yet
	if err != nil {
		t.Fatalf("Init: %v", err)
	}
	want := config.InitReport{Dir: dir, Kept: []string{"vouchsafe.yaml"},
		Wrote: []string{"private/gate/master", "private/gate/checkpoint", "private/gate/permit"}}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	write(t, filepath.Join(dir, "vouchsafe.yaml"), []byte("sites: []\n"))
	if _, err := config.Init(dir); err == nil {
		t.Error("Init took a configuration that does not load")
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		found[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestKeysThatAreRefused(t *testing.T) {
	line := func(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) + "\n" }
	for _, c := range []struct {
		name  string
		file  string
		spoil func(path string) error
		want  string
	}{
		{"missing", "master", os.Remove, "master is missing: `vouchsafe init` makes it"},
		{"open to everybody", "permit", func(p string) error { return os.Chmod(p, 0o644) }, "permit is open to every user of this machine (mode 0644)"},
		{"too short", "checkpoint", replace("AAAA\n"), "checkpoint does not hold 32 bytes in base64"},
		{"too long", "checkpoint", replace(base64.StdEncoding.EncodeToString(make([]byte, 33))), "checkpoint does not hold 32 bytes in base64"},
		{"not base64", "master", replace(strings.Repeat("*", 44)), "master does not hold 32 bytes in base64"},
		{"half written", "master", replace(""), "master does not hold 32 bytes in base64"},
		{"zeroes", "master", replace(line(0)), "master holds nothing but zeroes"},
		{"a folder", "permit", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, "permit: is not a regular file"},
		{"one key for two uses", "permit", func(p string) error {
			b, err := os.ReadFile(filepath.Join(filepath.Dir(p), "checkpoint"))
			return errors.Join(err, os.WriteFile(p, b, 0o600))
		}, "two files in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := config.EnsureKeys(dir); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(filepath.Join(dir, c.file)); err != nil {
				t.Fatal(err)
			}
			keys, err := config.LoadKeys(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("LoadKeys = %v, want an error with %q", err, c.want)
			}
			if keys.Master != ([32]byte{}) || keys.Permit != nil {
				t.Error("LoadKeys returned keys with its error")
			}
		})
	}
	if _, err := config.LoadKeys(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadKeys of an empty folder = %v, want fs.ErrNotExist", err)
	}
}

func replace(content string) func(string) error {
	return func(path string) error { return os.WriteFile(path, []byte(content), 0o600) }
}

func TestKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	made, err := config.EnsureKeys(dir)
	if err != nil {
		t.Fatalf("EnsureKeys: %v", err)
	}
	if want := []string{"master", "checkpoint", "permit"}; !slices.Equal(made, want) {
		t.Errorf("made %q, want %q", made, want)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v; want mode 700", info.Mode(), err)
	}
	keys, err := config.LoadKeys(dir)
	if err != nil {
		t.Fatalf("LoadKeys: %v", err)
	}
	again, err := config.LoadKeys(dir)
	if err != nil || again.Master != keys.Master || !again.Permit.Equal(keys.Permit) || !again.Checkpoint.Equal(keys.Checkpoint) {
		t.Errorf("the keys changed between two reads: %v", err)
	}
	message := []byte("x")
	if !ed25519.Verify(keys.Permit.Public().(ed25519.PublicKey), message, ed25519.Sign(keys.Permit, message)) {
		t.Error("the permit key does not verify its own signature")
	}
}

func TestKeysNeverPrint(t *testing.T) {
	dir := t.TempDir()
	if _, err := config.EnsureKeys(dir); err != nil {
		t.Fatal(err)
	}
	keys, err := config.LoadKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "keys", keys, "pointer", &keys)
	encoded, err := json.Marshal(map[string]any{"keys": keys, "pointer": &keys})
	if err != nil {
		t.Fatal(err)
	}
	printed := map[string]string{"json": string(encoded), "slog": logged.String(), "String": keys.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		printed[verb] = fmt.Sprintf(verb+verb, keys, &keys)
	}
	for how, s := range printed {
		if !strings.Contains(s, "[redacted]") {
			t.Errorf("%s: %q, want [redacted]", how, s)
		}
		for _, form := range []string{
			fmt.Sprintf("%x", keys.Master[:4]), fmt.Sprintf("%X", keys.Master[:4]),
			fmt.Sprintf("%d", keys.Master[:4])[1:], base64.StdEncoding.EncodeToString(keys.Master[:])[:8], string(keys.Master[:4]),
		} {
			if strings.Contains(s, strings.TrimSuffix(form, "]")) {
				t.Errorf("%s shows the master key", how)
			}
		}
	}
}
