package policy

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"vouchsafe/policies"
)

func TestShippedPolicyIsClean(t *testing.T) {
	for _, p := range Check(policies.FS) {
		t.Error(p)
	}
}

// annotated is a whole METADATA block for a rule with this code.
func annotated(code string) string {
	return "# METADATA\n# title: T\n# custom:\n#   code: " + code + "\n#   message: M\n#   audit: A\n"
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	deny := "deny contains reason(rego.metadata.rule()) if "
	tests := []struct {
		name         string
		files        map[string]string
		code, says   string
		hint         string
		file         string
		line         int
		onlyReported bool // Compile takes it all the same
	}{
		{name: "a misspelt input field", code: ProblemType, says: "input.target.emial", hint: "did you mean email?", file: "authz/x.rego", line: 11,
			files: map[string]string{"authz/x.rego": "package authz\n\n" + annotated("x") + deny + "{\n\tinput.action.personal == true\n\tinput.target.emial == \"x\"\n}\n"}},
		{name: "a misspelt top field", code: ProblemType, says: "input.identiti", hint: "did you mean identity?", file: "authz/x.rego",
			files: map[string]string{"authz/x.rego": "package authz\n\n" + annotated("x") + deny + "input.identiti.state == \"absent\"\n"}},
		{name: "a call out to the network", code: ProblemCapability, says: "http.send", hint: "depend on nothing but their arguments", file: "authz/x.rego",
			files: map[string]string{"authz/x.rego": "package authz\n\nx := http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})\n"}},
		{name: "the clock", code: ProblemCapability, says: "time.now_ns", hint: "input.now", file: "authz/x.rego",
			files: map[string]string{"authz/x.rego": "package authz\n\nx := time.now_ns()\n"}},
		{name: "a function nobody knows", code: ProblemCompile, says: "lowercase", file: "authz/x.rego",
			files: map[string]string{"authz/x.rego": "package authz\n\nx := lowercase(\"A\")\n"}},
		{name: "a variable nobody uses", code: ProblemCompile, says: "unused", file: "authz/x.rego", line: 4,
			files: map[string]string{"authz/x.rego": "package authz\n\nx if {\n\ty := 1\n}\n"}},
		{name: "no Rego at all", code: ProblemParse, says: "", file: "authz/x.rego",
			files: map[string]string{"authz/x.rego": "package authz\n\nx if {\n"}},
		{name: "an empty file", code: ProblemParse, says: "empty", file: "authz/x.rego",
			files: map[string]string{"authz/x.rego": "\n"}},
		{name: "spaces for tabs", code: ProblemFormat, says: "not formatted", file: "authz/x.rego", line: 4, onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\nx if {\n  input.now > 1\n}\n"}},
		{name: "a denial without METADATA", code: ProblemMetadata, says: "no custom.code", file: "authz/x.rego", line: 3, onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\n" + deny + "input.now == 1\n"}},
		{name: "a denial without a title", code: ProblemMetadata, says: "no title", file: "authz/x.rego", onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\n" + strings.Replace(annotated("x"), "# title: T\n", "", 1) + deny + "input.now == 1\n"}},
		{name: "a denial without a message", code: ProblemMetadata, says: "no custom.message", file: "authz/x.rego", onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\n" + strings.Replace(annotated("x"), "#   message: M\n", "", 1) + deny + "input.now == 1\n"}},
		{name: "a denial without an audit text", code: ProblemMetadata, says: "no custom.audit", file: "authz/x.rego", onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\n" + strings.Replace(annotated("x"), "#   audit: A\n", "", 1) + deny + "input.now == 1\n"}},
		{name: "a code in capitals", code: ProblemMetadata, says: "lower_snake_case", file: "authz/x.rego", onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\n" + annotated("TooLate") + deny + "input.now == 1\n"}},
		{name: "a code that stands twice", code: ProblemDuplicate, says: "target_mismatch already stands at authz/pinning.rego", file: "authz/x.rego", onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\n" + annotated("target_mismatch") + deny + "input.now == 1\n"}},
		{name: "a withholding rule without METADATA", code: ProblemMetadata, says: "no custom.code", file: "release/x.rego", onlyReported: true,
			files: map[string]string{"release/x.rego": "package release\n\nwithhold contains withheld(i, rego.metadata.rule()) if {\n\tsome i, _ in input.records\n}\n"}},
		{name: "a comparison under not", code: ProblemNegation, says: "does not deny when a value", file: "authz/x.rego", line: 9, onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\n" + annotated("x") + deny + "not input.now < input.identity.expires_at\n"}},
		{name: "a look-up by input under not", code: ProblemNegation, says: "does not deny when a value", file: "authz/x.rego", onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\n" + annotated("x") + deny + "not data.tiers[input.site.tier].includes.pro == true\n"}},
		{name: "membership under not", code: ProblemNegation, says: "does not deny when a value", file: "authz/x.rego", onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\n" + annotated("x") + deny + "not input.site.id in {\"demo\"}\n"}},
		{name: "an obligation nobody can enforce", code: ProblemObligation, says: "\"limt\"", hint: "did you mean limit?", file: "authz/x.rego", line: 3, onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\noblige contains {\"kind\": \"limt\", \"n\": 3, \"window\": \"1h\"} if input.now == 1\n"}},
		{name: "an obligation without its members", code: ProblemObligation, says: "window is whole seconds", file: "authz/x.rego", onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\noblige contains {\"kind\": \"limit\", \"n\": 3} if input.now == 1\n"}},
		{name: "an obligation with a member too many", code: ProblemObligation, says: "step_up has no member \"maxage\"", file: "authz/x.rego", onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\noblige contains {\"kind\": \"step_up\", \"maxage\": input.now} if input.now == 1\n"}},
		{name: "an obligation of which a part is worked out", code: ProblemObligation, says: "a period is", file: "authz/x.rego", onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\noblige contains {\"kind\": \"limit\", \"n\": input.now, \"window\": \"a day\"} if input.now == 1\n"}},
		{name: "data nobody defines", code: ProblemData, says: "nothing defines data.tires", hint: "did you mean data.tiers?", file: "authz/x.rego", onlyReported: true,
			files: map[string]string{"authz/x.rego": "package authz\n\nx := data.tires.free\n"}},
		{name: "a test that does not compile", code: ProblemCompile, says: "", file: "authz/x_test.rego", onlyReported: true,
			files: map[string]string{"authz/x_test.rego": "package authz_test\n\ntest_x if {\n\ty := 1\n}\n"}},
		{name: "a policy that leans on a test", code: ProblemCompile, says: "data.authz.helper", file: "authz/x.rego",
			files: map[string]string{"authz/x.rego": "package authz\n\nx := data.authz.helper(1)\n", "authz/x_test.rego": "package authz\n\nhelper(n) := n\n"}},
		{name: "no entry point", code: ProblemEntryPoint, says: "data.release.decision", files: map[string]string{
			"release/decision.rego": "", "release/release_test.rego": "", "release/withholding.rego": "", "release/redaction.rego": "package release\n\nx := 1\n"}},
		{name: "no schema of input", code: ProblemSchema, says: "missing", file: inputSchemaFile, files: map[string]string{inputSchemaFile: ""}},
		{name: "a schema that is not JSON", code: ProblemSchema, says: "not JSON", file: inputSchemaFile, files: map[string]string{inputSchemaFile: "{"}},
		{name: "a file nothing reads", code: ProblemUnexpected, says: "nothing reads", file: "authz/data.json", files: map[string]string{"authz/data.json": "{}"}},
		{name: "an unknown setting", code: ProblemData, says: "additional properties", file: dataFile, line: 1,
			files: map[string]string{dataFile: "tires: {}\ntiers: {free: {includes: {}}, pro: {includes: {}}, business: {includes: {}}}\nredact: {everywhere: {}, sites: {}}\n"}},
		{name: "a setting of the wrong kind", code: ProblemData, says: "redact.everywhere.total", file: dataFile, line: 2,
			files: map[string]string{dataFile: "tiers: {free: {includes: {}}, pro: {includes: {}}, business: {includes: {}}}\nredact: {everywhere: {total: \"yes\"}, sites: {}}\n"}},
		{name: "a key twice", code: ProblemData, says: "stands twice", file: dataFile, line: 2, files: map[string]string{dataFile: "a: 1\na: 2\n"}},
		{name: "an alias", code: ProblemData, says: "aliases", file: dataFile, files: map[string]string{dataFile: "a: &x {b: 1}\nc: *x\n"}},
		{name: "a date", code: ProblemData, says: "quotes", file: dataFile, files: map[string]string{dataFile: "a: 2026-01-01\n"}},
		{name: "a number for a key", code: ProblemData, says: "not a string", file: dataFile, files: map[string]string{dataFile: "1: a\n"}},
		{name: "an octal number", code: ProblemData, says: "plain decimal", file: dataFile, files: map[string]string{dataFile: "a: 0o17\n"}},
		{name: "two documents", code: ProblemData, says: "second document", file: dataFile, files: map[string]string{dataFile: "a: 1\n---\nb: 2\n"}},
		{name: "a list for data", code: ProblemData, says: "not a mapping", file: dataFile, files: map[string]string{dataFile: "- a\n"}},
		{name: "no YAML", code: ProblemData, says: "", file: dataFile, files: map[string]string{dataFile: "a: [\n"}},
		{name: "data where a rule stands", code: ProblemCompile, says: "conflict", file: "authz/decision.rego",
			files: map[string]string{dataFile: "authz: {allow: true}\n", dataSchemaFile: ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := shippedFiles(t, tt.files)
			problems := Check(files)
			var found *Problem
			for i, p := range problems {
				if p.Code == tt.code && strings.Contains(p.Message, tt.says) && p.File == tt.file {
					found = &problems[i]
				}
			}
			if found == nil {
				t.Fatalf("Check found\n%v\nwant %s in %s: ...%s...", Problems(problems), tt.code, tt.file, tt.says)
			}
			if !strings.Contains(found.Hint, tt.hint) {
				t.Errorf("hint %q, want ...%s...", found.Hint, tt.hint)
			}
			if tt.line != 0 && found.Line != tt.line {
				t.Errorf("line %d, want %d: %v", found.Line, tt.line, found)
			}
			s, err := Compile(files)
			if refused := err != nil; refused == tt.onlyReported {
				t.Errorf("Compile: error %v, want one: %t", err, !tt.onlyReported)
			}
			if err != nil && (s != nil || !errors.As(err, &Problems{})) {
				t.Errorf("Compile = %v, %T; want no Set, and Problems", s, err)
			}
		})
	}
}

func TestCheckLetsSafeNegationsBe(t *testing.T) {
	for _, condition := range []string{
		"not offered",
		"not input.identity.revoked == true",
		"not input.target.email == input.identity.email",
	} {
		files := shippedFiles(t, map[string]string{"authz/x.rego": "package authz\n\n" + annotated("x") +
			"deny contains reason(rego.metadata.rule()) if {\n\tinput.now == 1\n\t" + condition + "\n}\n"})
		if problems := Check(files); len(problems) > 0 {
			t.Errorf("%s: %v", condition, Problems(problems))
		}
	}
}

func TestEmptyFolderIsNoPolicy(t *testing.T) {
	if _, err := Compile(fstest.MapFS{}); err == nil {
		t.Error("Compile(nothing): no error")
	}
	if len(Check(fstest.MapFS{})) == 0 {
		t.Error("Check(nothing): no problem")
	}
}

func TestRevisionIsOfWhatDecides(t *testing.T) {
	revision := func(changes map[string]string) string { return compiled(t, shippedFiles(t, changes)).Revision() }
	first := revision(nil)
	if len(first) != 16 || first != revision(nil) || first != shipped(t).Revision() {
		t.Fatalf("Revision() = %q, want the same 16 characters each time", first)
	}
	tier := string(must(policies.FS.ReadFile("authz/tier.rego")))
	data := string(must(policies.FS.ReadFile(dataFile)))
	test := string(must(policies.FS.ReadFile("authz/authz_test.rego")))
	for name, changes := range map[string]map[string]string{
		"a rule":         {"authz/tier.rego": strings.Replace(tier, "does not offer that", "does not do that", 1)},
		"the data":       {dataFile: strings.Replace(data, "everywhere: {}", "everywhere: {total: true}", 1)},
		"a file's name":  {"authz/tier.rego": "", "authz/tiers.rego": tier},
		"a further file": {"authz/x.rego": "package authz\n\nx := 1\n"},
	} {
		if revision(changes) == first {
			t.Errorf("changing %s left the revision as it was", name)
		}
	}
	for name, changes := range map[string]map[string]string{
		"a test":   {"authz/authz_test.rego": test + "\ntest_more if true\n"},
		"a schema": {dataSchemaFile: "{}"},
	} {
		if revision(changes) != first {
			t.Errorf("changing %s changed the revision", name)
		}
	}
}
