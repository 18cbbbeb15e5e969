package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine"
	"vouchsafe/policies"
)

func names(stages []Stage) (out []string) {
	for _, s := range stages {
		out = append(out, s.Name)
	}
	return out
}

// A policy may be put in force without tests, METADATA or coverage. Tests that
// it has must hold, and the wall stays where it is.
func TestWhatIsAdmittedAtTheStart(t *testing.T) {
	untested := map[string]string{"authz/authz_test.rego": "", "release/release_test.rego": "",
		"authz/x.rego": "package authz\n\ndeny contains {\"code\": \"x\", \"message\": \"y\"} if input.now == 1\n"}
	if set, _, err := Admit(t.Context(), shippedFiles(t, untested), probeCatalog(t), AdmitOptions{}); set == nil || err != nil {
		t.Errorf("a stricter policy without tests: %v", err)
	}
	for name, tt := range map[string]struct {
		changes map[string]string
		stage   string
	}{
		"a test that fails": {map[string]string{"authz/x_test.rego": "package authz_test\n\ntest_x if false\n"}, StageTests},
		"one that allows everything": {map[string]string{"authz/authz_test.rego": "", "release/release_test.rego": "",
			"authz/confirmation.rego": "", "authz/expiry.rego": "", "authz/identity.rego": "", "authz/pinning.rego": "", "authz/tier.rego": "",
			"authz/decision.rego": "package authz\n\ndecision := {\"allow\": true, \"reasons\": [], \"obligations\": []}\n"}, StageProbes},
	} {
		set, _, err := Admit(t.Context(), shippedFiles(t, tt.changes), probeCatalog(t), AdmitOptions{})
		var refusal *Refusal
		if set != nil || !errors.As(err, &refusal) || refusal.Stage != tt.stage {
			t.Errorf("%s: %v; want a refusal at %s", name, err, tt.stage)
		}
	}
}

// Each gate of admission is broken on purpose, and nothing gets past it.
func TestWhatIsNotAdmitted(t *testing.T) {
	half := 50.0
	pinning := string(must(policies.FS.ReadFile("authz/pinning.rego")))
	tests := string(must(policies.FS.ReadFile("authz/authz_test.rego")))
	lax := strings.Replace(pinning, "not pinned\n", "not pinned\n\tnot input.action.args.order_id == \"4711\"\n", 1)
	for _, tt := range []struct {
		name    string
		changes map[string]string
		opts    AdmitOptions
		stage   string
		says    []string
	}{
		{name: "no Rego", changes: map[string]string{"authz/x.rego": "package authz\n\nx if {\n"}, stage: StageCompile, says: []string{"authz/x.rego"}},
		{name: "a built-in that is not there", changes: map[string]string{"authz/x.rego": "package authz\n\nx := http.send({})\n"}, stage: StageCapabilities, says: []string{"http.send"}},
		{name: "a misspelt field", changes: map[string]string{"authz/x.rego": "package authz\n\nx if input.target.emial == \"x\"\n"}, stage: StageCompile, says: []string{"did you mean email?"}},
		{name: "a setting nobody knows", changes: map[string]string{dataFile: "tires: {}\n"}, stage: StageCompile, says: []string{"data.yaml"}},
		{name: "a denial without METADATA", changes: map[string]string{"authz/x.rego": "package authz\n\ndeny contains reason(rego.metadata.rule()) if input.now == 1\n"}, stage: StageCompile, says: []string{"custom.code"}},
		{name: "a waiver of pinning", changes: map[string]string{dataFile: string(must(policies.FS.ReadFile(dataFile))) + "waive: {pinning: [demo]}\n"}, stage: StageCompile, says: []string{"only tier can be waived"}},
		{name: "a file nothing reads", changes: map[string]string{"notes.json": "{}"}, stage: StageCompile, says: []string{"nothing reads this file"}},
		{name: "no tests", changes: map[string]string{"authz/authz_test.rego": "", "release/release_test.rego": ""}, stage: StageTests, says: []string{"no test ran"}},
		{name: "a test that fails", changes: map[string]string{"authz/x_test.rego": "package authz_test\n\ntest_x if false\n"}, stage: StageTests,
			says: []string{"1 of", "test_x at authz/x_test.rego:3"}},
		{name: "a line no test reaches", changes: map[string]string{"authz/x.rego": "package authz\n\nx if input.now == 1\n"}, stage: StageTests, says: []string{"coverage", "authz/x.rego:3"}},
		{name: "a dead rule, at any coverage", changes: map[string]string{"authz/x.rego": "package authz\n\n" + annotated("x") + "deny contains reason(rego.metadata.rule()) if input.now == 1\n"},
			opts: AdmitOptions{Strict: true, Coverage: &half}, stage: StageTests, says: []string{"no test makes these fire: x"}},
		{name: "a back door with a test of its own", stage: StageProbes, says: []string{"another account", `"4711"`},
			changes: map[string]string{"authz/pinning.rego": lax,
				"authz/authz_test.rego": tests + "\ntest_back_door if _allowed(_with({\"target/email\": \"x\", \"action/args\": {\"order_id\": \"4711\"}}))\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.Strict = true
			set, report, err := Admit(t.Context(), shippedFiles(t, tt.changes), probeCatalog(t), tt.opts)
			var refusal *Refusal
			if set != nil || !errors.As(err, &refusal) || refusal.Stage != tt.stage {
				t.Fatalf("Admit = %v, %v; want a refusal at %s", set, err, tt.stage)
			}
			for _, says := range tt.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("refused with %q, want ...%s...", err, says)
				}
			}
			var want []string
			for _, stage := range []string{StageCapabilities, StageCompile, StageTests, StageProbes} {
				want = append(want, stage)
				if stage == tt.stage {
					break
				}
			}
			if diff := cmp.Diff(want, names(report.Stages)); diff != "" {
				t.Errorf("stages (-want +got):\n%s", diff)
			}
		})
	}
	if set, _, err := Admit(t.Context(), fstest.MapFS{}, nil, AdmitOptions{Strict: true}); set != nil || err == nil {
		t.Errorf("Admit(nothing) = %v, %v", set, err)
	}
}

// What an operator may ask for beyond that a policy is whole and keeps the wall.
func TestWhatAnOperatorMayAskFor(t *testing.T) {
	zero, one, ninety, none := 0, 1, 90.0, 0.0
	active := shipped(t)
	unreached := map[string]string{"authz/x.rego": "package authz\n\nx if input.now == 1\n\ny if {\n\tinput.now == 2\n\tinput.now == 3\n\tinput.now == 4\n\tinput.now == 5\n\tinput.now == 6\n\tinput.now == 7\n\tinput.now == 8\n\tinput.now == 9\n\tinput.now == 10\n\tinput.now == 11\n}\n"}
	untested := map[string]string{"authz/authz_test.rego": "", "release/release_test.rego": ""}
	// The shop closes: what was allowed is denied.
	closed := map[string]string{"authz/x.rego": "package authz\n\n" + annotated("closed") + "deny contains reason(rego.metadata.rule()) if input.identity.state == \"verified\"\n"}
	maps.Copy(closed, untested)
	decisions := recordedSample(t, active)
	window := 0
	budget := func(against *Set, denyToAllow, flips *int) *ReplayBudget {
		window++
		return &ReplayBudget{Against: against, Window: fmt.Sprint(window), DenyToAllow: denyToAllow, Flips: flips,
			Decisions: func(_ context.Context, each func(Recorded) error) error {
				for _, d := range decisions {
					if err := each(d); err != nil {
						return err
					}
				}
				return nil
			}}
	}
	stricter, err := Compile(shippedFiles(t, closed))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		changes map[string]string
		opts    AdmitOptions
		stage   string // "" when it is admitted
		says    string
	}{
		{"coverage below the threshold", unreached, AdmitOptions{Coverage: &ninety}, StageCoverage, "and 90% is asked for (such as authz/x.rego:3)"},
		{"coverage that nobody asked for", unreached, AdmitOptions{}, "", ""},
		{"no tests, where coverage is asked for", untested, AdmitOptions{Coverage: &ninety}, StageCoverage, "it has no tests, and 90% is asked for"},
		{"no tests, where none is", untested, AdmitOptions{Coverage: &none}, "", ""},
		{"one flip too many", closed, AdmitOptions{Replay: budget(active, nil, &zero)}, StageReplay, "1 of 2 would be decided otherwise, at most 0 may"},
		{"as many flips as may be", closed, AdmitOptions{Replay: budget(active, &zero, &one)}, "", ""},
		{"what opens", nil, AdmitOptions{Replay: budget(stricter, &zero, nil)}, StageReplay, "1 of 2 would be allowed that are denied, at most 0 may"},
		{"the same policy", nil, AdmitOptions{Replay: budget(active, &zero, &zero)}, "", ""},
		{"no policy before it", closed, AdmitOptions{Replay: budget(nil, &zero, &zero)}, "", ""},
		{"decisions that cannot be read", closed, AdmitOptions{Replay: &ReplayBudget{Against: active, Flips: &one,
			Decisions: func(context.Context, func(Recorded) error) error { return errors.New("the disk is gone") }}}, StageReplay, "the disk is gone"},
	} {
		tt.opts.Probe.Limit = 500
		set, report, err := Admit(t.Context(), shippedFiles(t, tt.changes), probeCatalog(t), tt.opts)
		if tt.stage == "" {
			if set == nil || err != nil {
				t.Errorf("%s: %v; want it admitted", tt.name, err)
			}
			continue
		}
		var refusal *Refusal
		if set != nil || !errors.As(err, &refusal) || refusal.Stage != tt.stage || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v; want a refusal at %s that says %q", tt.name, err, tt.stage, tt.says)
		}
		if last := report.Stages[len(report.Stages)-1].Name; last != tt.stage {
			t.Errorf("%s: the last stage reported is %s", tt.name, last)
		}
	}
}

// recordedSample is an allow and a denial, as the policy decides them.
func recordedSample(t *testing.T, set *Set) []Recorded {
	t.Helper()
	site := &engine.Site{ID: "demo", Tier: engine.Pro, MaxTokenLifetime: 15 * time.Minute}
	i := slices.IndexFunc(probeCatalog(t), func(a *engine.Action) bool { return a.Name == "order.lookup" })
	if i < 0 {
		t.Fatal("there is no order.lookup")
	}
	good := ordinary(site, probeCatalog(t)[i])
	bad := ordinary(site, probeCatalog(t)[i])
	bad["identity"] = map[string]any{"state": "absent"}
	var out []Recorded
	for n, d := range []document{good, bad} {
		r, err := set.DecideRecorded(t.Context(), raw(d))
		if err != nil || r.Allow != (n == 0) {
			t.Fatalf("sample %d: %+v, %v", n, r, err)
		}
		rec := Recorded{ID: fmt.Sprintf("d_%d", n), Policy: set.Revision(), Allow: r.Allow, Input: raw(d)}
		for _, reason := range r.Reasons {
			rec.Reasons = append(rec.Reasons, reason.Code)
		}
		out = append(out, rec)
	}
	return out
}

func TestLatencyIsComparedByTheSameQuestions(t *testing.T) {
	site := &engine.Site{ID: "demo", Tier: engine.Pro, MaxTokenLifetime: 15 * time.Minute}
	l, err := Compare(t.Context(), shipped(t), shipped(t), probeCatalog(t), []*engine.Site{site})
	if err != nil || l.Active <= 0 || l.Candidate <= 0 || l.Ratio <= 0 {
		t.Errorf("Compare = %+v, %v", l, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l, err := Compare(ctx, shipped(t), shipped(t), probeCatalog(t), []*engine.Site{site}); err == nil {
		t.Errorf("Compare(cancelled) = %+v", l)
	}
}

func TestShippedPolicyIsAdmitted(t *testing.T) {
	catalog := probeCatalog(t)
	admit := func(changes map[string]string, catalog []*engine.Action) (*Set, AdmitReport) {
		t.Helper()
		set, report, err := Admit(t.Context(), shippedFiles(t, changes), catalog, AdmitOptions{Strict: true, Probe: ProbeOptions{Seed: 99, Limit: 2000}})
		if err != nil {
			t.Fatal(err)
		}
		return set, report
	}
	cached := func(r AdmitReport) (out []bool) {
		for _, s := range r.Stages {
			out = append(out, s.Cached)
		}
		return out
	}
	first, report := admit(nil, catalog)
	if report.Policy != shipped(t).Revision() || !report.Tests.Passed() || !report.Probes.Passed() || report.Probes.Probes == 0 {
		t.Errorf("report %+v", report)
	}
	again, report := admit(nil, catalog)
	if diff := cmp.Diff([]bool{true, true, true, true}, cached(report)); diff != "" || again != first {
		t.Errorf("the same content was tried again (-want +got):\n%s", diff)
	}
	if report.Tests == nil || report.Probes == nil {
		t.Error("what is known already is not reported")
	}
	_, report = admit(nil, catalog[:2])
	if diff := cmp.Diff([]bool{true, true, true, false}, cached(report)); diff != "" {
		t.Errorf("another catalog (-want +got):\n%s", diff)
	}
	more := string(must(policies.FS.ReadFile("release/release_test.rego"))) + "\ntest_more if true\n"
	_, report = admit(map[string]string{"release/release_test.rego": more}, catalog)
	if diff := cmp.Diff([]bool{false, false, false, false}, cached(report)); diff != "" {
		t.Errorf("another test (-want +got):\n%s", diff)
	}
	// How it is laid out is no reason to refuse a policy.
	_, report = admit(map[string]string{"release/release_test.rego": more + "\n\n\n"}, catalog)
	if len(report.Stages) != 4 {
		t.Errorf("a file that is not formatted: %+v", report)
	}
}

func TestAdmissionThatIsCutShortIsNoVerdict(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	files := shippedFiles(t, map[string]string{"release/x_test.rego": "package release_test\n\ntest_short if true\n"})
	set, _, err := Admit(ctx, files, probeCatalog(t), AdmitOptions{Strict: true})
	if set != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("Admit(cancelled) = %v, %v; want context.Canceled", set, err)
	}
	if _, _, err := Admit(t.Context(), files, probeCatalog(t), AdmitOptions{Strict: true, Probe: ProbeOptions{Limit: 1000}}); err != nil {
		t.Errorf("Admit afterwards: %v", err)
	}
}

func BenchmarkAdmit(b *testing.B) {
	for b.Loop() {
		verdicts = verdictCache{}
		_, r, err := Admit(b.Context(), policies.FS, probeCatalog(b), AdmitOptions{Strict: true})
		if err != nil {
			b.Fatal(r, err)
		}
		for _, s := range r.Stages {
			b.ReportMetric(float64(s.Took.Milliseconds()), s.Name+"-ms")
		}
	}
}
