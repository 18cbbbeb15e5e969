package policy

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
)

// Check returns everything wrong with a policy folder, in the order of the
// files: what Compile refuses, and beyond it formatting, incomplete METADATA,
// codes that stand twice, obligations nobody could meet, data nobody defines
// and tests that do not compile.
func Check(fsys fs.FS) []Problem {
	src, problems := read(fsys)
	if src == nil {
		return problems.sorted()
	}
	return src.check(problems)
}

// check adds to the problems of reading all others.
func (src *source) check(problems Problems) Problems {
	for name, text := range src.text {
		if strings.HasSuffix(name, ".rego") {
			problems = append(problems, checkFormat(name, text)...)
		}
	}
	problems = append(problems, checkMetadata(rulesOf(src.modules))...)
	problems = append(problems, checkNegations(rulesOf(src.modules))...)
	problems = append(problems, checkObligations(src.modules)...)
	problems = append(problems, src.checkData()...)
	if broken(problems) {
		return problems.sorted() // the compiler would only repeat it
	}
	_, more := src.compile()
	if len(more) == 0 {
		c := src.compiler()
		if c.Compile(copyModules(src.modules, src.tests)); c.Failed() {
			more = fromOPA("", c.Errors)
		}
	}
	return append(problems, more...).sorted()
}

// broken reports a problem that leaves nothing to compile.
func broken(problems Problems) bool {
	for _, p := range problems {
		switch p.Code {
		case ProblemParse, ProblemUnreadable, ProblemSchema:
			return true
		}
	}
	return false
}

func checkFormat(name string, text []byte) Problems {
	options := parserOptions()
	want, err := format.SourceWithOpts(name, text, format.Opts{RegoVersion: ast.RegoV1, ParserOptions: &options})
	if err != nil || bytes.Equal(want, text) {
		return nil // what does not parse has been reported already
	}
	wrong, right := bytes.Split(text, []byte("\n")), bytes.Split(want, []byte("\n"))
	line := 0
	for line < len(wrong)-1 && line < len(right)-1 && bytes.Equal(wrong[line], right[line]) {
		line++
	}
	return Problems{{File: name, Line: line + 1, Column: 1, Code: ProblemFormat,
		Message: "the file is not formatted", Hint: fmt.Sprintf("opa fmt would write: %s", right[line])}}
}

// checkMetadata holds every denial to a title, a code of its own, and a text
// for each of its two readers.
func checkMetadata(found []denial) Problems {
	var problems Problems
	first := map[string]*ast.Location{}
	for _, d := range found {
		loc := d.rule.Location
		missing := func(what, hint string) {
			problems = append(problems, at(loc, ProblemMetadata, fmt.Sprintf("the rule's METADATA has no %s", what), hint))
		}
		if d.title == "" {
			missing("title", "say in a few words what the rule denies")
		}
		if d.reason.Message == "" {
			missing("custom.message", "tell the visitor what to do next, without blame")
		}
		if d.reason.Audit == "" {
			missing("custom.audit", "tell the auditor what was wrong")
		}
		switch code := d.reason.Code; {
		case code == "":
			missing("custom.code", "give it a stable code such as target_mismatch")
		case !codePattern.MatchString(code):
			problems = append(problems, at(loc, ProblemMetadata, fmt.Sprintf("the code %q is not lower_snake_case", code), ""))
		case first[code] != nil:
			problems = append(problems, at(loc, ProblemDuplicate, fmt.Sprintf("the code %s already stands at %s:%d", code, first[code].File, first[code].Row),
				"give each rule a code of its own, so that an auditor can tell them apart"))
		default:
			first[code] = loc
		}
	}
	return problems
}

// checkNegations finds denials that a missing value would cancel. OPA works out
// the operands of a negated comparison before the negation: when one of them is
// undefined, `not input.a < input.b` is undefined as well, rather than true.
// Plain equality of whole references is the exception.
func checkNegations(found []denial) Problems {
	var problems Problems
	for _, d := range found {
		for _, expr := range d.rule.Body {
			if expr.Negated && cancels(expr) {
				problems = append(problems, at(expr.Location, ProblemNegation,
					"the rule does not deny when a value under this `not` is missing",
					"give the condition a rule of its own and write `not` and its name"))
			}
		}
	}
	return problems
}

// cancels reports whether OPA lifts something out of the negated expression
// that may be undefined.
func cancels(expr *ast.Expr) bool {
	if !expr.IsCall() {
		t, ok := expr.Terms.(*ast.Term)
		return ok && liftable(t, true)
	}
	operator := expr.Operator().String()
	whole := operator == ast.Equal.Name || operator == ast.Equality.Name
	for _, operand := range expr.Operands() {
		if liftable(operand, whole) {
			return true
		}
	}
	return false
}

// liftable reports whether the term holds a reference, below its top when the
// whole term may be one.
func liftable(t *ast.Term, whole bool) bool {
	top, isRef := t.Value.(ast.Ref)
	if isRef {
		if !whole {
			return true
		}
		for _, part := range top[1:] {
			if liftable(part, false) {
				return true
			}
		}
		return false
	}
	found := false
	ast.WalkTerms(t, func(inner *ast.Term) bool {
		switch inner.Value.(type) {
		case ast.Ref, ast.Call:
			found = true
		}
		return found
	})
	return found
}

// checkData finds references to data that neither a rule nor data.yaml defines,
// which would be undefined for ever.
func (src *source) checkData() Problems {
	known := map[string]bool{}
	for name := range src.data {
		known[name] = true
	}
	for _, modules := range []map[string]*ast.Module{src.modules, src.tests} {
		for _, m := range modules {
			if len(m.Package.Path) > 1 {
				if s, ok := m.Package.Path[1].Value.(ast.String); ok {
					known[string(s)] = true
				}
			}
		}
	}
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	var problems Problems
	for _, m := range src.modules {
		ast.WalkRefs(m, func(ref ast.Ref) bool {
			if len(ref) < 2 || !ref[0].Equal(ast.DefaultRootDocument) {
				return false
			}
			if s, ok := ref[1].Value.(ast.String); ok && !known[string(s)] {
				hint := "define it in data.yaml"
				if best := nearest(string(s), names); best != "" {
					hint = fmt.Sprintf("did you mean data.%s?", best)
				}
				problems = append(problems, at(ref[0].Location, ProblemData, fmt.Sprintf("nothing defines data.%s", string(s)), hint))
			}
			return false
		})
	}
	return problems
}
