package policy

import (
	"context"
	"testing"

	"vouchsafe/policies"
)

func TestShippedPolicyIsClean(t *testing.T) {
	for _, p := range Check(policies.FS) {
		t.Error(p)
	}
}

func TestShippedTestsCoverEveryLine(t *testing.T) {
	report, err := Test(context.Background(), policies.FS, TestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Failures {
		t.Error(f)
	}
	for _, r := range report.Tests {
		if r.Outcome != OutcomePass {
			t.Errorf("%s:%d: %s: %s %s", r.File, r.Line, r.Name, r.Outcome, r.Error)
		}
	}
	for _, u := range report.Uncovered {
		t.Errorf("%s:%d-%d: not covered", u.File, u.First, u.Last)
	}
}
