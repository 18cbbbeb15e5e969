package policy

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"vouchsafe/engine"
)

// The two entry points.
var (
	authzDecision   = ast.MustParseRef("data.authz.decision")
	releaseDecision = ast.MustParseRef("data.release.decision")
)

// Set is one compiled policy with its data. It never changes and any number of
// goroutines may ask it.
type Set struct {
	revision string
	compiler *ast.Compiler
	store    storage.Store
	txn      storage.Transaction // of a store nobody writes to, so it stays good
	data     baseData
	authz    ast.Body
	release  ast.Body
	rules    map[string]engine.Reason // by code, as METADATA says
	modules  map[string]*ast.Module   // as they were written, for probes
	noted    []notedRule              // by the number it is noted by
	waived   map[string]bool          // sites whose tier the policy may let slide
	workers  sync.Pool                // of *worker
}

// Compile makes a Set of a policy folder. The error is Problems; a policy with
// any problem makes no Set.
func Compile(fsys fs.FS) (*Set, error) {
	src, problems := read(fsys)
	if len(problems) > 0 {
		return nil, problems.sorted()
	}
	set, problems := src.compile()
	if len(problems) > 0 {
		return nil, problems.sorted()
	}
	return set, nil
}

// compiler returns a compiler as strict as policies are held to.
func (src *source) compiler() *ast.Compiler {
	return ast.NewCompiler().
		WithCapabilities(capabilities()).
		WithStrict(true).
		WithSchemas(src.schemas).
		WithUseTypeCheckAnnotations(true).
		WithPathConflictsCheck(func(path []string) (bool, error) { return src.hasData(path), nil })
}

// hasData reports whether data.yaml has anything at path, where a rule may
// therefore not stand.
func (src *source) hasData(path []string) bool {
	var v any = src.data
	for _, step := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		if v, ok = m[step]; !ok {
			return false
		}
	}
	return true
}

func (src *source) compile() (*Set, Problems) {
	c := src.compiler()
	modules := copyModules(src.modules)
	noteRules(modules)
	if c.WithCapabilities(notingCapabilities()).Compile(modules); c.Failed() {
		return nil, fromOPA("", c.Errors)
	}
	var problems Problems
	for _, ref := range []ast.Ref{authzDecision, releaseDecision} {
		if len(c.GetRulesExact(ref)) == 0 {
			problems = append(problems, Problem{Code: ProblemEntryPoint,
				Message: fmt.Sprintf("no rule defines %s", ref), Hint: "the engine asks for it by that name"})
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	value, err := ast.InterfaceToValue(src.data)
	if err != nil {
		return nil, Problems{{File: dataFile, Code: ProblemData, Message: err.Error()}}
	}
	data, ok := value.(ast.Object)
	if !ok {
		return nil, Problems{{File: dataFile, Code: ProblemData, Message: "the top level is not a mapping"}}
	}
	s := &Set{
		revision: src.revision,
		compiler: c,
		store:    inmem.NewFromASTObject(data),
		data:     baseData{data},
		rules:    reasons(rulesOf(src.modules)),
		modules:  src.modules,
		noted:    notedRules(c.Modules),
	}
	s.waived, _ = waivedTiers(src.data) // well-formed, or reading it would have failed
	if s.txn, err = s.store.NewTransaction(context.Background()); err != nil {
		return nil, Problems{{Code: ProblemData, Message: err.Error()}}
	}
	for _, q := range []struct {
		ref  ast.Ref
		body *ast.Body
	}{{authzDecision, &s.authz}, {releaseDecision, &s.release}} {
		*q.body, err = c.QueryCompiler().Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(answer), ast.NewTerm(q.ref))))
		if err != nil {
			return nil, fromOPA("", err)
		}
	}
	s.workers.New = func() any { return new(worker) }
	return s, nil
}

// copyModules gives a compiler modules of its own, since it rewrites them.
func copyModules(sets ...map[string]*ast.Module) map[string]*ast.Module {
	all := map[string]*ast.Module{}
	for _, set := range sets {
		maps.Copy(all, set)
	}
	for name, m := range all {
		all[name] = m.Copy()
	}
	return all
}

// Revision names the policy by the content of its Rego and data.
func (s *Set) Revision() string { return s.revision }

// Reasons returns the texts of every code that the policy's METADATA declares.
func (s *Set) Reasons() map[string]engine.Reason { return maps.Clone(s.rules) }

// Waived returns the ids of the sites whose tier the policy is not held to,
// sorted. The gate's own lock holds every site to its tier all the same.
func (s *Set) Waived() []string { return slices.Sorted(maps.Keys(s.waived)) }

// Engine holds the Set in force.
type Engine struct {
	active atomic.Pointer[Set]
	shadow atomic.Pointer[Shadow]
}

// NewEngine returns an Engine with s in force.
func NewEngine(s *Set) *Engine {
	e := &Engine{}
	e.Activate(s)
	return e
}

// Active returns the Set in force. A caller that asks more than one question
// of one decision keeps it.
func (e *Engine) Active() *Set { return e.active.Load() }

// Activate puts s in force. Questions under way end with the Set they began with.
func (e *Engine) Activate(s *Set) { e.active.Store(s) }
