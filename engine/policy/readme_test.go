package policy

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"vouchsafe/policies"
)

// The worked change in the README is checked and tested as it stands there.
func TestReadmeChangeWorks(t *testing.T) {
	readme := string(must(os.ReadFile("../../policies/README.md")))
	files := shippedFiles(t, nil)
	blocks := regexp.MustCompile("(?s)`(authz/[a-z_]+\\.rego)`:\n\n```diff\n(.*?)```").FindAllStringSubmatch(readme, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d changed files in the README, want 2", len(blocks))
	}
	for _, block := range blocks {
		var text strings.Builder
		for line := range strings.Lines(block[2]) {
			text.WriteString(strings.TrimPrefix(line, "+"))
		}
		files[block[1]] = &fstest.MapFile{Data: []byte(text.String())}
	}
	for _, p := range Check(files) {
		t.Error(p)
	}
	report, err := Test(t.Context(), files, TestOptions{})
	if err != nil || !report.Passed() {
		t.Errorf("Test: %v, %v %v", err, report.Failures, report.Uncovered)
	}
}

func TestReadmeNamesEveryCode(t *testing.T) {
	readme := string(must(os.ReadFile("../../policies/README.md")))
	src, problems := read(policies.FS)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for code := range reasons(rulesOf(src.modules)) {
		if !strings.Contains(readme, "| `"+code+"` |") {
			t.Errorf("the README does not list the code %s", code)
		}
	}
}
