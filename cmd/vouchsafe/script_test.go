package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vouchsafe": main})
}

// TestScripts runs the binary as a person would. `exits CODE ARGS...` runs
// vouchsafe and holds it to an exact exit code; `absent TEXT DIR` holds that no
// byte of a folder's files is the text.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("Glob(testdata/script/*.txtar) = %d scripts, %v: want some", len(scripts), err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			shipped, err := filepath.Abs("../../policies")
			env.Setenv("POLICIES", shipped)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"absent":  absent,
			"decide":  recordDecisions,
			"ancient": ancient,
			"token":   editToken,

			"freeport":       freePort,
			"await":          await,
			"chat":           say,
			"decision":       newestDecision,
			"policyrevision": shownRevision,
			"shadowed":       shadowed,
			"replace":        replace,
			"admintoken":     admintoken,
			"fetch":          fetch,
		},
	})
}

// shownRevision sets an environment variable to the revision of the policy in
// force, as `policy status` and its like have just shown it.
func shownRevision(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: policyrevision NAME")
	}
	m := regexp.MustCompile(`(?m)^policy +([0-9a-f]{16})\b`).FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("no policy was shown")
	}
	ts.Setenv(args[0], m[1])
}

// exits runs the command and wants one exit code. What it printed is left for
// stdout and stderr.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARGS...")
	}
	code := "0"
	if err := ts.Exec("vouchsafe", args[1:]...); err != nil {
		m := regexp.MustCompile(`exit status (\d+)`).FindStringSubmatch(err.Error())
		if m == nil {
			ts.Fatalf("vouchsafe %s: %v", strings.Join(args[1:], " "), err)
		}
		code = m[1]
	}
	if code != args[0] {
		ts.Fatalf("vouchsafe %s: exit code %s, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// absent reads every file below a folder.
func absent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: absent TEXT DIR")
	}
	files := 0
	err := filepath.WalkDir(ts.MkAbs(args[1]), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		if strings.Contains(string(b), args[0]) {
			return fmt.Errorf("%s holds it", path)
		}
		return nil
	})
	ts.Check(err)
	if files == 0 {
		ts.Fatalf("%s holds no file", args[1])
	}
}
