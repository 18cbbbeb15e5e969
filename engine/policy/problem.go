package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Problem is one thing wrong with a policy, and where.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // how to put it right
}

// The codes of problems.
const (
	ProblemUnreadable = "unreadable"
	ProblemUnexpected = "unexpected_file"
	ProblemParse      = "parse"
	ProblemFormat     = "format"
	ProblemCompile    = "compile"
	ProblemType       = "type"
	ProblemCapability = "capability"
	ProblemEntryPoint = "entry_point"
	ProblemSchema     = "schema"
	ProblemData       = "data"
	ProblemMetadata   = "metadata"
	ProblemNegation   = "negation"
	ProblemDuplicate  = "duplicate_code"
	ProblemObligation = "obligation"
)

func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
			if p.Column > 0 {
				fmt.Fprintf(&b, ":%d", p.Column)
			}
		}
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "%s: %s", p.Code, p.Message)
	if p.Hint != "" {
		fmt.Fprintf(&b, " (%s)", p.Hint)
	}
	return b.String()
}

// Problems is why a policy did not compile.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// of returns the problems that have the code.
func (p Problems) of(code string) Problems {
	var out Problems
	for _, one := range p {
		if one.Code == code {
			out = append(out, one)
		}
	}
	return out
}

// sorted orders problems by place and drops repeats.
func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(p)
}

// at places a problem at an OPA location.
func at(loc *ast.Location, code, message, hint string) Problem {
	p := Problem{Code: code, Message: message, Hint: hint}
	if loc != nil {
		p.File, p.Line, p.Column = loc.File, loc.Row, loc.Col
	}
	return p
}

// fromOPA reads OPA's errors, keeping their places and adding hints where one
// helps.
func fromOPA(file string, err error) Problems {
	var list ast.Errors
	if !errors.As(err, &list) {
		if one := (*ast.Error)(nil); errors.As(err, &one) {
			list = ast.Errors{one}
		} else {
			return Problems{{File: file, Code: ProblemParse, Message: err.Error()}}
		}
	}
	var out Problems
	for _, e := range list {
		p := at(e.Location, ProblemCompile, e.Message, "")
		switch e.Code {
		case ast.ParseErr:
			p.Code = ProblemParse
		case ast.TypeErr:
			p.Code = ProblemType
		}
		if name, ok := strings.CutPrefix(e.Message, "undefined function "); ok {
			p.Code, p.Hint = functionHint(name)
		}
		if d, ok := e.Details.(*ast.RefErrInvalidDetail); ok {
			p.Message, p.Hint = refHint(d)
		}
		if p.File == "" {
			p.File = file
		}
		out = append(out, p)
	}
	return out
}

func functionHint(name string) (code, hint string) {
	if !builtinNames()[name] {
		return ProblemCompile, ""
	}
	if name == "time.now_ns" {
		return ProblemCapability, "a decision must be repeatable: use input.now, in seconds"
	}
	return ProblemCapability, "policies may only use built-ins that depend on nothing but their arguments"
}

// refHint says what may stand in a reference where something else stands.
func refHint(d *ast.RefErrInvalidDetail) (message, hint string) {
	message = "undefined reference " + d.Ref.String()
	if len(d.OneOf) == 0 {
		return message, ""
	}
	var names []string
	for _, v := range d.OneOf {
		if s, ok := v.(ast.String); ok {
			names = append(names, string(s))
		}
	}
	slices.Sort(names)
	var wrong string
	if d.Pos < len(d.Ref) {
		if s, ok := d.Ref[d.Pos].Value.(ast.String); ok {
			wrong = string(s)
		}
	}
	message += ": the schema has only " + strings.Join(names, ", ") + " there"
	if best := nearest(wrong, names); best != "" {
		hint = fmt.Sprintf("did you mean %s?", best)
	}
	return message, hint
}

// nearest returns the name most like wrong, "" when none is.
func nearest(wrong string, names []string) string {
	best, least := "", len(wrong)/2+1
	for _, name := range names {
		if d := distance(wrong, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance counts the letters to add, drop or change to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
