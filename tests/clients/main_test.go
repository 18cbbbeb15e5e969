// Package clients runs what integrators run, against the real server: the
// minting recipes of engine/identity/README.md, an OpenID provider that
// rotates its keys, and connections against an OAuth server and by Nango's client.
package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// missing skips a test for which the machine lacks something. In CI, where
// everything is installed, that is a failure.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("missing in CI: %s", what)
	}
	t.Skipf("skipped: %s", what)
}

// nodeModules installs the packages of package-lock.json beside it, as npm does,
// unless they are there. No package's script is run.
var nodeModules = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs("node_modules")
	if err != nil {
		return "", err
	}
	lock, err := os.Stat("package-lock.json")
	if err != nil {
		return "", err
	}
	if done, err := os.Stat(filepath.Join(dir, ".package-lock.json")); err == nil && !done.ModTime().Before(lock.ModTime()) {
		return dir, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return dir, nil
})

// nodeFolder makes a folder whose scripts find the npm packages.
func nodeFolder(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool+", for the recipes in JavaScript and the OpenID provider")
		}
	}
	modules, err := nodeModules()
	if err != nil {
		missing(t, "the npm packages: "+err.Error())
	}
	dir := t.TempDir()
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copyFile copies a file of testdata.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", from))
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(b))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
