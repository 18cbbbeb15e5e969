package policy

import (
	"strings"
	"testing"
	"testing/fstest"

	"vouchsafe/policies"
)

func TestShippedTestsCoverEveryLine(t *testing.T) {
	report, err := Test(t.Context(), policies.FS, TestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !report.Passed() || report.Coverage != 100 || len(report.Dead) > 0 {
		t.Errorf("coverage %.1f, uncovered %v, dead %v, failures %v", report.Coverage, report.Uncovered, report.Dead, report.Failures)
	}
	for _, r := range report.Tests {
		if r.Outcome != OutcomePass {
			t.Errorf("%s:%d: %s: %s %s", r.File, r.Line, r.Name, r.Outcome, r.Error)
		}
	}
}

func TestReportSaysWhatDidNotHold(t *testing.T) {
	const policy = `decision := {"allow": false, "reasons": deny, "obligations": oblige}

# METADATA
# title: T
# custom: {code: late, message: M, audit: A}
deny contains {"code": "late", "message": "M"} if input.now > 5

# METADATA
# title: T
# custom: {code: early, message: M, audit: A}
deny contains {"code": "early", "message": "M"} if input.now < 2

oblige contains {"kind": "confirm"} if input.now == 3
`
	const all = `package authz_test

import data.authz

test_late if authz.decision.reasons == {{"code": "late", "message": "M"}} with input as {"now": 6}

test_early if authz.decision.reasons == {{"code": "early", "message": "M"}} with input as {"now": 1}

test_oblige if count(authz.decision.obligations) == 1 with input as {"now": 3}

test_release if data.release.decision.withheld == []
`
	half := 50.0
	tests := []struct {
		name     string
		tests    string
		opts     TestOptions
		failures []string
		dead     []string
	}{
		{name: "all is well", tests: all},
		{name: "no tests", tests: "", failures: []string{"no test ran", "coverage is", "no test makes these fire: confirm, early, late"}, dead: []string{"late", "early", "confirm"}},
		{name: "only skipped tests", tests: "package authz_test\n\ntodo_test_x if true\n", failures: []string{"no test ran", "coverage", "fire"}, dead: []string{"late", "early", "confirm"}},
		{name: "a filter that finds nothing", tests: all, opts: TestOptions{Run: "nothing"}, failures: []string{"no test ran"}, dead: []string{"late", "early", "confirm"}},
		{name: "one test by name", tests: all, opts: TestOptions{Run: "test_late$"}, dead: []string{"early", "confirm"}},
		{name: "a test that fails", tests: all + "\ntest_wrong if input.now == 1 with input as {\"now\": 2}\n", failures: []string{"1 of 5 tests failed"}},
		{name: "a test with a failing built-in", tests: all + "\ntest_broken if not to_number(\"x\") == 1\n", failures: []string{"1 of 5 tests failed"}},
		{name: "a rule that never fires", tests: strings.Replace(all, "\"now\": 1}", "\"now\": 6}", 1),
			failures: []string{"1 of 4 tests failed", "coverage is", "no test makes these fire: early"}, dead: []string{"early"}},
		{name: "a lower threshold is still a threshold", tests: strings.Replace(all, "test_early", "todo_test_early", 1), opts: TestOptions{Coverage: &half},
			failures: []string{"no test makes these fire: early"}, dead: []string{"early"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := tiny(policy)
			if tt.tests != "" {
				files["authz/p_test.rego"] = &fstest.MapFile{Data: []byte(tt.tests)}
			}
			report, err := Test(t.Context(), files, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if len(report.Failures) != len(tt.failures) || report.Passed() != (len(tt.failures) == 0) {
				t.Fatalf("failures %q, want %q", report.Failures, tt.failures)
			}
			for i, want := range tt.failures {
				if !strings.Contains(report.Failures[i], want) {
					t.Errorf("failure %q, want ...%s...", report.Failures[i], want)
				}
			}
			var dead []string
			for _, d := range report.Dead {
				dead = append(dead, d.Name)
			}
			if strings.Join(dead, " ") != strings.Join(tt.dead, " ") {
				t.Errorf("dead %v, want %v", dead, tt.dead)
			}
			if len(report.Rules) != 3 || report.Rules[2].Kind != KindObligation || report.Rules[0].Kind != KindReason {
				t.Errorf("rules %+v, want two reasons and an obligation", report.Rules)
			}
			for _, u := range report.Uncovered {
				if u.File != "authz/p.rego" && u.File != "release/p.rego" || u.First == 0 {
					t.Errorf("uncovered %+v: want a place in the policy", u)
				}
			}
		})
	}
}

func TestReportKeepsWhatTestsPrint(t *testing.T) {
	files := tiny("decision := 1\n")
	files["authz/p_test.rego"] = &fstest.MapFile{Data: []byte("package authz_test\n\ntest_x if {\n\tprint(\"seen\", data.authz.decision)\n}\n")}
	report, err := Test(t.Context(), files, TestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Tests) != 1 || report.Tests[0].Output != "seen 1\n" || report.Tests[0].File != "authz/p_test.rego" || report.Tests[0].Line != 3 {
		t.Errorf("tests %+v, want one at authz/p_test.rego:3 that printed", report.Tests)
	}
}

func TestTestsThatCannotRun(t *testing.T) {
	for name, policy := range map[string]string{
		"do not parse":   "decision := \n",
		"do not compile": "decision := http.send({})\n",
	} {
		if report, err := Test(t.Context(), tiny(policy), TestOptions{}); err == nil {
			t.Errorf("%s: %+v, want an error", name, report)
		}
	}
	if _, err := Test(t.Context(), policies.FS, TestOptions{Run: "("}); err == nil {
		t.Error("a filter that is no expression: no error")
	}
}
