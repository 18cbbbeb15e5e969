package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What the guide to policies says to put into CI is YAML, and each command of it
// is run as it stands there, in a folder such as a security team's: their
// policies and their configuration.
func TestReadmeForCIRuns(t *testing.T) {
	readme, err := os.ReadFile("../../policies/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, ci, _ := strings.Cut(string(readme), "\n## In CI\n")
	ci, _, _ = strings.Cut(ci, "\n## ")
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(ci, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d examples for CI in the README, want GitHub's and GitLab's", len(blocks))
	}
	bin, err := os.Executable() // which is vouchsafe when it is called so
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		var doc map[string]any
		if err := yaml.Unmarshal([]byte(b[1]), &doc); err != nil {
			t.Errorf("not YAML: %v\n%s", err, b[1])
		}
		dir := t.TempDir()
		if err := os.CopyFS(filepath.Join(dir, "policies"), os.DirFS("../../policies")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(bin, filepath.Join(dir, "vouchsafe")); err != nil {
			t.Fatal(err)
		}
		for _, command := range append([]string{"./vouchsafe init"}, regexp.MustCompile(`(?m)\./vouchsafe policy .*$`).FindAllString(b[1], -1)...) {
			var out bytes.Buffer
			cmd := exec.Command("sh", "-c", command)
			cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
			if err := cmd.Run(); err != nil {
				t.Errorf("%s: %v\n%s", command, err, &out)
			}
		}
	}
}
