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

	"vouchsafe/cmd/vouchsafe/config"
)

// What the guide says of shipping is a configuration that can be read, and the
// commands that make a bundle make one.
func TestReadmeForShippingRuns(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		const missing = "openssl is not installed, with which the guide makes its keys (Debian: apt-get install openssl)"
		if os.Getenv("CI") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	readme, err := os.ReadFile("../../policies/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shipping, _ := strings.Cut(string(readme), "\n## Shipping\n")
	shipping, _, _ = strings.Cut(shipping, "\n## ")
	blocks := func(kind string) (out []string) {
		for _, m := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$").FindAllStringSubmatch(shipping, -1) {
			if m[1] == kind {
				out = append(out, m[2])
			}
		}
		return out
	}
	settings, commands := blocks("yaml"), blocks("")
	if len(settings) != 2 || len(commands) == 0 {
		t.Fatalf("%d examples of settings and %d of commands in the README", len(settings), len(commands))
	}
	bin, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "policies"), os.DirFS("../../policies")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(bin, filepath.Join(dir, "bin", "vouchsafe")); err != nil {
		t.Fatal(err)
	}
	run := func(command string) {
		t.Helper()
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	run("vouchsafe init")
	for line := range strings.Lines(commands[0]) {
		run(line)
	}
	run("vouchsafe policy test policies.tar.gz")
	starter, err := os.ReadFile(filepath.Join(dir, "vouchsafe.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	folder, bundle, _ := strings.Cut(settings[0], "\n\n")
	for _, section := range []string{folder, bundle, bundle + settings[1], "policies:\n  folder: ./policies\n" + settings[1]} {
		text := strings.Replace(string(starter), "# policies: ./policies\n", section+"\n", 1)
		if err := os.WriteFile(filepath.Join(dir, "vouchsafe.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.LoadWithoutSecrets(filepath.Join(dir, "vouchsafe.yaml")); err != nil {
			t.Errorf("%s\n%v", section, err)
		}
	}
}

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
