package policy

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"vouchsafe/policies"
)

// patched applies a diff without line numbers to a file, "" for a new one: what
// stands in it with a space or a minus must stand in the file, once, in a row.
func patched(t *testing.T, text, diff string) string {
	t.Helper()
	var before, after strings.Builder
	for line := range strings.Lines(diff) {
		switch rest := line[1:]; line[0] {
		case '+':
			after.WriteString(rest)
		case '-':
			before.WriteString(rest)
		case ' ':
			before.WriteString(rest)
			after.WriteString(rest)
		default:
			t.Fatalf("not a line of a diff: %q", line)
		}
	}
	if before.Len() == 0 {
		if text != "" {
			t.Fatalf("the diff says where it goes in a file that is there already")
		}
		return after.String()
	}
	if n := strings.Count(text, before.String()); n != 1 {
		t.Fatalf("what the diff changes stands %d times in the file:\n%s", n, before.String())
	}
	return strings.Replace(text, before.String(), after.String(), 1)
}

// Each worked change of the README is made as it stands there. It must pass all
// that is asked of a policy before it is put in force, and be formatted.
func TestReadmeChangesWork(t *testing.T) {
	readme := string(must(os.ReadFile("../../policies/README.md")))
	sections := regexp.MustCompile(`(?m)^## A worked change: `).Split(readme, -1)[1:]
	file := regexp.MustCompile("`([a-z_/]+\\.(?:rego|yaml|json))`")
	if len(sections) != 4 {
		t.Fatalf("%d worked changes in the README, want 4", len(sections))
	}
	for _, section := range sections {
		title, body, _ := strings.Cut(section, "\n")
		t.Run(title, func(t *testing.T) {
			if next := strings.Index(body, "\n## "); next >= 0 {
				body = body[:next]
			}
			files := shippedFiles(t, nil)
			for i, part := range strings.Split(body, "```diff\n")[1:] {
				diff, _, _ := strings.Cut(part, "```")
				lead := strings.Split(body, "```diff\n")[i] // the file that was named last
				named := file.FindAllStringSubmatch(lead, -1)
				if len(named) == 0 {
					t.Fatalf("nothing names the file of diff %d", i)
				}
				name, before := named[len(named)-1][1], ""
				if f := files[name]; f != nil {
					before = string(f.Data)
				}
				files[name] = &fstest.MapFile{Data: []byte(patched(t, before, diff))}
			}
			for _, p := range Check(files) {
				t.Error(p)
			}
			if _, report, err := Admit(t.Context(), files, probeCatalog(t), AdmitOptions{Strict: true, Probe: ProbeOptions{Limit: 2000}}); err != nil {
				t.Errorf("Admit: %v\n%+v", err, report.Tests)
			}
		})
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
	for opens := range opened {
		if !strings.Contains(readme, "| `"+opens+"` |") {
			t.Errorf("the README does not say what a probe means by %s", opens)
		}
	}
}
