package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"vouchsafe/engine"
)

// Recorded is a decision as it was written down: what the policy was asked, to
// the byte, and what became of the question.
type Recorded struct {
	ID     string `json:"id"`
	Policy string `json:"policy"` // the revision that was asked
	Allow  bool   `json:"allow"`
	// Reasons are the codes of a denial. One that Go gave comes last.
	Reasons []string `json:"reasons,omitempty"`
	// Obligations are those of an allow, or those that Go found unmet, as
	// engine.Obligation writes itself.
	Obligations []string        `json:"obligations,omitempty"`
	Input       json.RawMessage `json:"input"`
	// Erased says that Input is not what was asked any more: somebody in it was
	// erased.
	Erased bool `json:"-"`
}

// notAsked are the codes of decisions on which the policy has said nothing.
var notAsked = map[string]bool{engine.CodeUnknownAction: true, engine.CodePolicyError: true,
	engine.CodeConfirmationCancelled: true, engine.CodeConfirmationLapsed: true,
	engine.CodeConfirmationSpent: true, engine.CodeConfirmationNeedsFreshToken: true}

// refusedInGo are the codes that Go adds to whatever the policy said, for
// reasons the policy does not know.
var refusedInGo = map[string]bool{engine.CodeInvalidArguments: true, engine.CodeWall: true, engine.CodePolicyStale: true,
	engine.CodeAuditUnavailable: true}

// said is what the policy said, apart from what Go made of it.
type said struct {
	allow       bool
	reasons     []string // sorted
	obligations []string // sorted; those the policy asked for
	// refused is the code with which Go refused all the same.
	refused string
	// unmet says that it did so because the obligations were not met. They were
	// recorded then, and not with any other code of Go's.
	unmet bool
	// unenforceable says that it allowed under an obligation of no known kind,
	// which Go denies.
	unenforceable bool
}

// said takes the policy's own answer out of the record. Why is "" unless there
// is none to be had.
func (r *Recorded) said() (s said, why string) {
	if r.Erased {
		return said{}, "erased"
	}
	if len(r.Input) == 0 {
		return said{}, "no_input"
	}
	return saidIn(r.Allow, r.Reasons, r.Obligations)
}

// saidIn takes the policy's own answer out of a decision.
func saidIn(allow bool, reasons, obligations []string) (s said, why string) {
	if n := len(reasons); n > 0 && !allow {
		switch last := reasons[n-1]; {
		case notAsked[last]:
			return said{}, last
		case len(obligations) > 0:
			// The policy allowed it under obligations that were not met.
			s.refused, s.unmet, reasons = last, true, reasons[:n-1]
		case refusedInGo[last]:
			s.refused, reasons = last, reasons[:n-1]
		}
	}
	s.allow = allow || s.refused != "" && len(reasons) == 0
	s.reasons = slices.Sorted(slices.Values(reasons))
	for _, o := range obligations {
		// Ownership is the gate's own; a policy that asks for it is refused.
		if o != engine.ObligationOwnership {
			s.obligations = append(s.obligations, o)
		}
	}
	slices.Sort(s.obligations)
	return s, ""
}

// enforceable are the obligations under which the engine lets an allow stand.
var enforceable = map[string]bool{engine.ObligationConfirm: true, engine.ObligationLimit: true, engine.ObligationStepUp: true}

// Enforceable reports whether the engine can see to obligations of the kind
// that a policy asks for.
func Enforceable(kind string) bool { return enforceable[kind] }

// saidOf is what an evaluation said, as the engine takes it: an error is a
// denial, and so is an allow under an obligation nobody can enforce.
func saidOf(r Result, err error) said {
	if err != nil {
		return said{reasons: []string{engine.CodePolicyError}}
	}
	s := said{allow: r.Allow}
	for _, reason := range r.Reasons {
		s.reasons = append(s.reasons, reason.Code)
	}
	for _, o := range r.Obligations {
		if !enforceable[o.Kind] {
			return said{reasons: []string{engine.CodeUnsupportedObligation}, unenforceable: true}
		}
		s.obligations = append(s.obligations, o.String())
	}
	slices.Sort(s.reasons)
	slices.Sort(s.obligations)
	return s
}

// ErrUnreadable means that a recorded input is not one strict JSON document.
var ErrUnreadable = errors.New("the recorded input cannot be read")

// DecideRecorded asks data.authz.decision the question of a record. Its time is
// the recorded one, input.now. Any error means deny.
func (s *Set) DecideRecorded(ctx context.Context, input []byte) (Result, error) {
	v, err := parseRecorded(input)
	if err != nil {
		return Result{}, err
	}
	return s.decideValue(ctx, v)
}

func (s *Set) decideValue(ctx context.Context, input ast.Value) (Result, error) {
	var few [8]int
	v, fired, err := s.evaluateNoting(ctx, s.authz, input, few[:0])
	if err != nil {
		return Result{}, err
	}
	r, err := s.result(v)
	for _, n := range fired {
		r.Rules = append(r.Rules, s.noted[n].place)
	}
	return r, err
}

// InputSchema is what an input that comes from a file is held to.
type InputSchema struct{ schema *jsonschema.Schema }

// ReadInputSchema reads schema/input.json of a policy folder.
func ReadInputSchema(fsys fs.FS) (*InputSchema, error) {
	text, err := fs.ReadFile(fsys, inputSchemaFile)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of input: %w", err)
	}
	schema, err := compileSchema(inputSchemaFile, text)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of input: %w", err)
	}
	return &InputSchema{schema}, nil
}

// Validate holds an input to the schema. The error names the field at fault and
// quotes no value.
func (s *InputSchema) Validate(input []byte) error {
	v, err := plainRecorded(input)
	if err != nil {
		return err
	}
	var invalid *jsonschema.ValidationError
	if err := s.schema.Validate(v); errors.As(err, &invalid) {
		leaf := leaves(invalid)[0]
		keyword := "schema"
		if keywords := leaf.ErrorKind.KeywordPath(); len(keywords) > 0 {
			keyword = keywords[len(keywords)-1]
		}
		return fmt.Errorf("input%s does not meet its %s", dotted(leaf.InstanceLocation), keyword)
	} else if err != nil {
		return errors.New("the input does not meet its schema")
	}
	return nil
}

// dotted writes where a value stands. Names below args and claims are of others'
// making and stay out of it.
func dotted(steps []string) string {
	out := ""
	for _, step := range steps {
		out += "." + step
		if step == "args" || step == "claims" {
			break
		}
	}
	return out
}
