package provider

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Rule is one kind of call that a connection may be used for.
type Rule struct {
	Method string `json:"method"`
	// Path is a percent-encoded path below the base URL, in which {name} stands
	// for one or more characters of one segment, and {name...}, as the last
	// segment, for any rest.
	Path string `json:"path"`
}

// String returns the rule as it is written: "GET /orders/{order_id}".
func (r Rule) String() string { return r.Method + " " + r.Path }

// methods are those that a call may have. PROPFIND and REPORT are WebDAV's, for
// calendars; both only read.
var methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "REPORT"}

// Bounds on the rules of one connection.
const (
	maxRules    = 256
	maxRulePath = 512
)

var ruleHole = regexp.MustCompile(`\{[A-Za-z0-9_.]+\}`)

// ParseRule reads a rule such as "GET /orders/{order_id}".
func ParseRule(s string) (Rule, error) {
	method, path, ok := strings.Cut(strings.TrimSpace(s), " ")
	r := Rule{Method: method, Path: strings.TrimSpace(path)}
	if !ok {
		return Rule{}, fmt.Errorf("%q is not a rule such as \"GET /orders/{order_id}\"", s)
	}
	return r, r.check()
}

// check refuses a rule that could not be matched, or that says more than it
// seems to.
func (r Rule) check() error {
	if !slices.Contains(methods, r.Method) {
		return fmt.Errorf("rule %q: the method is none of %s", r, strings.Join(methods, ", "))
	}
	if len(r.Path) > maxRulePath {
		return fmt.Errorf("rule %.40q: the path has more than %d bytes", r, maxRulePath)
	}
	// What is not a hole is a piece of a path as it is sent.
	plain := ruleHole.ReplaceAllString(strings.TrimSuffix(r.Path, "/"), "x")
	if strings.ContainsAny(plain, "{}?# ") {
		return fmt.Errorf("rule %q: want a path such as /orders/{order_id}, with neither query nor spaces", r)
	}
	if plain == "" {
		plain = "/"
	}
	if err := checkPath(plain); err != nil {
		return fmt.Errorf("rule %q: %w", r, err)
	}
	segments := strings.Split(r.Path, "/")
	for i, s := range segments {
		if strings.Contains(s, "...") && (i != len(segments)-1 || !wholeRest(s)) {
			return fmt.Errorf("rule %q: {name...} is the whole of the last segment", r)
		}
	}
	return nil
}

// wholeRest reports a segment that stands for any rest of the path.
func wholeRest(segment string) bool {
	return ruleHole.FindString(segment) == segment && strings.HasSuffix(segment, "...}")
}

// Allows reports whether one of the rules is met. A path that a server could
// read in more than one way meets none.
func Allows(rules []Rule, method, path string) bool { return compile(rules).allow(method, path) }

// compiled are rules, read once for the many calls that they are asked about.
type compiled []compiledRule

type compiledRule struct {
	method   string
	segments [][]string // the literals between the holes of each
	rest     bool       // any rest may follow them
}

func compile(rules []Rule) compiled {
	out := make(compiled, 0, len(rules))
	for _, r := range rules {
		c := compiledRule{method: r.Method}
		for i, segment := range strings.Split(r.Path, "/") {
			if i > 0 && wholeRest(segment) {
				c.rest = true
				break
			}
			c.segments = append(c.segments, ruleHole.Split(segment, -1))
		}
		out = append(out, c)
	}
	return out
}

func (c compiled) allow(method, path string) bool {
	if unambiguous(path) != nil {
		return false
	}
	segments := strings.Split(path, "/")
	return slices.ContainsFunc(c, func(r compiledRule) bool { return r.method == method && r.matches(segments) })
}

// matches compares the segments of an encoded path with the rule's, byte by
// byte.
func (r compiledRule) matches(path []string) bool {
	if len(path) < len(r.segments) || r.rest == (len(path) == len(r.segments)) {
		return false
	}
	for i, literals := range r.segments {
		if !matchSegment(literals, path[i]) {
			return false
		}
	}
	return true
}

// matchSegment compares a segment with the literals between a pattern's holes.
func matchSegment(literals []string, segment string) bool {
	rest, ok := strings.CutPrefix(segment, literals[0])
	if !ok {
		return false
	}
	if len(literals) == 1 {
		return rest == ""
	}
	last := literals[len(literals)-1]
	for _, literal := range literals[1 : len(literals)-1] {
		if rest == "" {
			return false
		}
		at := strings.Index(rest[1:], literal) // a hole is never empty
		if at < 0 {
			return false
		}
		rest = rest[1+at+len(literal):]
	}
	return len(rest) > len(last) && strings.HasSuffix(rest, last)
}

var doubleEncoded = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// unambiguous refuses a path that two servers could understand differently:
// with a slash or a backslash inside a segment, with something encoded twice,
// with dots before a parameter, or with bytes that are no text.
func unambiguous(path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	for _, segment := range strings.Split(path, "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			return errors.New("the path is not percent-encoded")
		}
		name, _, _ := strings.Cut(plain, ";")
		switch {
		case strings.ContainsAny(plain, `/\`):
			return errors.New("a segment of the path holds a slash")
		case doubleEncoded.MatchString(plain):
			return errors.New("a segment of the path is encoded twice")
		case name == "." || name == "..":
			return errors.New("the path climbs")
		case !utf8.ValidString(plain), strings.ContainsFunc(plain, func(c rune) bool { return c < 0x20 || c == 0x7f }):
			return errors.New("a segment of the path is no text")
		}
	}
	return nil
}

// checkRules refuses a list of rules. No rule is no call.
func checkRules(rules []Rule) error {
	if len(rules) > maxRules {
		return fmt.Errorf("there are %d rules, and at most %d may be", len(rules), maxRules)
	}
	for _, r := range rules {
		if err := r.check(); err != nil {
			return err
		}
	}
	return nil
}

// SortRules returns the rules in order, each once.
func SortRules(rules []Rule) []Rule {
	out := slices.Clone(rules)
	slices.SortFunc(out, func(a, b Rule) int {
		if a.Path != b.Path {
			return strings.Compare(a.Path, b.Path)
		}
		return strings.Compare(a.Method, b.Method)
	})
	return slices.Compact(out)
}
