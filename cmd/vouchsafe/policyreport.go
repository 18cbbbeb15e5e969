package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/policy"
)

// The formats of `policy check` and `policy test` for the places where they
// run, beside pretty and json.
const (
	formatJUnit  = "junit"
	formatGitHub = "github"
)

// reportPrinter is the printer for a command that has formats of its own, with
// the one that was asked for, "" for those every command has.
func (c *cli) reportPrinter(own ...string) (*output.Printer, string, error) {
	if slices.Contains(own, c.format) {
		return output.New(c.out, c.err, output.Pretty), c.format, nil
	}
	p, err := c.printer()
	if err != nil {
		err = output.WithHint(err, "this command also knows "+strings.Join(own, " and "))
	}
	return p, "", err
}

// annotation is one thing that a code host shows beside a line.
func annotation(w io.Writer, level, file string, line int, title, message string) error {
	place := ""
	if file != "" {
		place = fmt.Sprintf(" file=%s,line=%d,title=%s", property(file), max(line, 1), property(title))
	} else {
		place = " title=" + property(title)
	}
	_, err := fmt.Fprintf(w, "::%s%s::%s\n", level, place, escaped(message))
	return err
}

var escapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")

func escaped(s string) string { return escapes.Replace(s) }

func property(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(escapes.Replace(s))
}

// annotateProblems writes what is wrong with a policy for GitHub, and returns
// how the command ends.
func annotateProblems(w io.Writer, folder policyFolder, problems []policy.Problem) error {
	for _, p := range problems {
		message := p.Message
		if p.Hint != "" {
			message += "\n" + p.Hint
		}
		if err := annotation(w, "error", folder.file(p.File), p.Line, p.Code, message); err != nil {
			return err
		}
	}
	return output.Fails(errors.New(count(len(problems), "problem")))
}

// annotateTests writes a test report for GitHub. Its places are already those
// of the folder.
func annotateTests(w io.Writer, r *policy.TestReport) error {
	var errs []error
	note := func(level, file string, line int, title, message string) {
		errs = append(errs, annotation(w, level, file, line, title, message))
	}
	for _, t := range r.Tests {
		if bad(t) {
			note("error", t.File, t.Line, t.Name, whatFailed(t))
		}
	}
	short := "warning"
	if r.Coverage < r.Threshold {
		short = "error"
	}
	for _, u := range r.Uncovered {
		note(short, u.File, u.First, "not covered", fmt.Sprintf("No test evaluates lines %d to %d.", u.First, u.Last))
	}
	for _, d := range neverFire(r) {
		note("error", d.File, d.Line, "never fires", "No test makes "+d.Name+" fire.")
	}
	level := "notice"
	if !r.Passed() {
		level = "error"
	}
	note(level, "", 0, "policy tests", summary(r))
	return errors.Join(errs...)
}

// neverFire are the dead rules, where every rule must fire.
func neverFire(r *policy.TestReport) []policy.DeadRule {
	if r.Partial {
		return nil
	}
	return r.Dead
}

func bad(t policy.TestResult) bool {
	return t.Outcome == policy.OutcomeFail || t.Outcome == policy.OutcomeError
}

// whatFailed is what there is to say of a test that did not pass.
func whatFailed(t policy.TestResult) string {
	said := "The test does not hold."
	if t.Error != "" {
		said = strings.TrimSpace(t.Error)
	}
	if printed := strings.TrimSpace(t.Output); printed != "" {
		said += "\n" + printed
	}
	return said
}

// summary counts, in one line.
func summary(r *policy.TestReport) string {
	counts := map[string]int{}
	for _, t := range r.Tests {
		counts[t.Outcome]++
	}
	fired := len(r.Rules) - len(r.Dead)
	return fmt.Sprintf("%d passed, %d failed, %d skipped; coverage %.1f%%, at least %g%% wanted; %d of %s fired",
		counts[policy.OutcomePass], counts[policy.OutcomeFail]+counts[policy.OutcomeError], counts[policy.OutcomeSkip],
		r.Coverage, r.Threshold, fired, count(len(r.Rules), "rule"))
}

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`

	seconds float64
}

type junitCase struct {
	Name      string       `xml:"name,attr"`
	ClassName string       `xml:"classname,attr"`
	File      string       `xml:"file,attr,omitempty"`
	Line      int          `xml:"line,attr,omitempty"`
	Time      string       `xml:"time,attr"`
	Failure   *junitDetail `xml:"failure,omitempty"`
	Error     *junitDetail `xml:"error,omitempty"`
	Skipped   *junitDetail `xml:"skipped,omitempty"`
}

type junitDetail struct {
	Message string `xml:"message,attr,omitempty"`
	Text    string `xml:",chardata"`
}

func (s *junitSuite) add(c junitCase, seconds float64) {
	c.ClassName, c.Time = s.Name, fmt.Sprintf("%.6f", seconds)
	s.Tests++
	s.Failures += given(c.Failure)
	s.Errors += given(c.Error)
	s.Skipped += given(c.Skipped)
	s.seconds += seconds
	s.Time = fmt.Sprintf("%.6f", s.seconds)
	s.Cases = append(s.Cases, c)
}

func given(d *junitDetail) int {
	if d == nil {
		return 0
	}
	return 1
}

// writeJUnit writes a test report as JUnit does: a suite for each package, and
// one for what is asked of the tests as a whole.
func writeJUnit(w io.Writer, r *policy.TestReport) error {
	var suites []*junitSuite
	byName := map[string]*junitSuite{}
	suite := func(name string) *junitSuite {
		if byName[name] == nil {
			byName[name] = &junitSuite{Name: name, Time: "0.000000"}
			suites = append(suites, byName[name])
		}
		return byName[name]
	}
	for _, t := range r.Tests {
		c := junitCase{Name: t.Name, File: t.File, Line: t.Line}
		switch t.Outcome {
		case policy.OutcomeFail:
			c.Failure = &junitDetail{Message: "the test does not hold", Text: whatFailed(t)}
		case policy.OutcomeError:
			c.Error = &junitDetail{Message: "the test could not be evaluated", Text: whatFailed(t)}
		case policy.OutcomeSkip:
			c.Skipped = &junitDetail{}
		}
		suite(t.Package).add(c, t.Duration.Seconds())
	}
	whole := suite("policy")
	coverage := junitCase{Name: "coverage"}
	if r.Coverage < r.Threshold {
		var lines []string
		for _, u := range r.Uncovered {
			lines = append(lines, fmt.Sprintf("%s:%d-%d", u.File, u.First, u.Last))
		}
		coverage.Failure = &junitDetail{Message: fmt.Sprintf("coverage is %.1f%%, below %g%%", r.Coverage, r.Threshold), Text: strings.Join(lines, "\n")}
	}
	whole.add(coverage, 0)
	for _, rule := range r.Rules {
		if r.Partial {
			break
		}
		c := junitCase{Name: rule.Kind + " " + rule.Name + " fires", File: rule.File, Line: rule.Line}
		if rule.Fired == 0 {
			c.Failure = &junitDetail{Message: "no test makes it fire", Text: fmt.Sprintf("%s:%d", rule.File, rule.Line)}
		}
		whole.add(c, 0)
	}
	if len(r.Tests) == 0 {
		whole.add(junitCase{Name: "tests", Failure: &junitDetail{Message: "no test ran"}}, 0)
	}
	out := junitSuites{Name: "vouchsafe policy test"}
	for _, s := range suites {
		out.Tests, out.Failures, out.Errors = out.Tests+s.Tests, out.Failures+s.Failures, out.Errors+s.Errors
		out.Suites = append(out.Suites, *s)
	}
	b, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return fmt.Errorf("writing JUnit: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, b)
	return err
}

// writeProblemsJUnit writes that the tests could not be run for what is wrong
// with the policy.
func writeProblemsJUnit(w io.Writer, folder policyFolder, problems []policy.Problem) error {
	s := junitSuite{Name: "policy", Time: "0.000000"}
	for _, p := range problems {
		s.add(junitCase{Name: p.Code, File: folder.file(p.File), Line: p.Line, Error: &junitDetail{Message: p.Message, Text: p.Hint}}, 0)
	}
	b, err := xml.MarshalIndent(junitSuites{Name: "vouchsafe policy test", Tests: s.Tests, Errors: s.Errors, Suites: []junitSuite{s}}, "", "  ")
	if err != nil {
		return fmt.Errorf("writing JUnit: %w", err)
	}
	if _, err = fmt.Fprintf(w, "%s%s\n", xml.Header, b); err != nil {
		return err
	}
	return output.Fails(errors.New(count(len(problems), "problem")))
}
