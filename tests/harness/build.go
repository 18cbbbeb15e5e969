// Package harness runs the built binary for tests: it writes configurations,
// starts and ends servers by their own handle, mints their visitors' tokens,
// and stands in for the shop behind them.
//
// Everything listens on 127.0.0.1 and lives in the test's temporary folder.
package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// BuildFlags are further flags of the build of the command. A package that needs
// any sets them before its tests run.
var BuildFlags []string

// binary is the command, built once for all tests of a process.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "vouchsafe-binary-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "vouchsafe")
	if out, err := exec.Command("go", slices.Concat([]string{"build", "-o", path}, BuildFlags, []string{"vouchsafe/cmd/vouchsafe"})...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the binary: %v\n%s", err, out)
	}
	return path, nil
})

// built is the folder of the binary, "" while there is none.
var built string

// Main runs a package's tests and removes the binary that they built, and what
// else is named. It is all of their TestMain.
func Main(m *testing.M, remove ...string) {
	code := m.Run()
	for _, dir := range append(remove, built) {
		if dir != "" {
			os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

// Build builds the command, once for all tests of a process, and returns its
// path. Packages that use it have a TestMain that calls Main.
func Build(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Exit is how a command ended.
type Exit struct {
	Code        int
	Out, Errors string
}

// Run runs a command of the binary to its end, with env added to the
// environment.
func Run(t testing.TB, env []string, args ...string) Exit {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Build(t), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = waitDelay
	var out, errs capture
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatalf("vouchsafe %v: %v", args, err)
	}
	return Exit{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}
