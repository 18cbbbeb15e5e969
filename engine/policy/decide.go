package policy

import (
	"context"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"

	"vouchsafe/engine"
)

// Result is what the policy said of an Input.
type Result struct {
	Allow       bool
	Reasons     []engine.Reason     // sorted by code; empty exactly when allowed
	Obligations []engine.Obligation // under which the allow holds; of kinds the engine may not know
	// Rules are the rules that brought it about, by where they are in the policy:
	// "authz/expiry.rego:17".
	Rules []string
}

// Release is what the policy withholds of an action's records. The zero Release
// withholds nothing.
type Release struct {
	Withheld map[int]engine.Reason // by the record's place
	Redacted map[int][]string      // fields to leave out, by the record's place
}

// The members of a decision.
var (
	memberAllow       = fixed("allow")
	memberReasons     = fixed("reasons")
	memberObligations = fixed("obligations")
	memberCode        = fixed("code")
	memberMessage     = fixed("message")
	memberWithheld    = fixed("withheld")
	memberRedacted    = fixed("redacted")
	memberRecord      = fixed("record")
	memberField       = fixed("field")
)

// Decide asks data.authz.decision. Any error means deny.
func (s *Set) Decide(ctx context.Context, in *Input) (Result, error) {
	return s.decideValue(ctx, in.Value())
}

// Release asks data.release.decision of the records. Any error means that
// nothing may be released.
func (s *Set) Release(ctx context.Context, in *Input, recs []Record) (Release, error) {
	v, err := s.evaluate(ctx, s.release, in.value(recordsTerm(recs)))
	if err != nil {
		return Release{}, err
	}
	return s.releaseOf(v, recs)
}

// result takes a decision's value for exactly what the contract says it is.
func (s *Set) result(v ast.Value) (Result, error) {
	o, err := object(v, "the decision", memberAllow, memberReasons, memberObligations)
	if err != nil {
		return Result{}, err
	}
	allow, ok := o.Get(memberAllow).Value.(ast.Boolean)
	if !ok {
		return Result{}, fmt.Errorf("%w: allow is not a boolean", ErrMalformed)
	}
	r := Result{Allow: bool(allow)}
	err = each(o.Get(memberReasons).Value, "reasons", func(v ast.Value) error {
		reason, err := s.reason(v, memberCode, memberMessage)
		r.Reasons = append(r.Reasons, reason)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	err = each(o.Get(memberObligations).Value, "obligations", func(v ast.Value) error {
		o, err := obligationOf(v)
		if err != nil {
			return fmt.Errorf("%w: an obligation: %v", ErrMalformed, err)
		}
		r.Obligations = append(r.Obligations, o)
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	switch {
	case r.Allow && len(r.Reasons) > 0:
		return Result{}, fmt.Errorf("%w: it allows and gives reasons to deny", ErrMalformed)
	case !r.Allow && len(r.Reasons) == 0:
		return Result{}, fmt.Errorf("%w: it denies without a reason", ErrMalformed)
	}
	return r, nil
}

// reason reads a code and a message, and adds what METADATA tells the auditor.
func (s *Set) reason(v ast.Value, members ...*ast.Term) (engine.Reason, error) {
	o, err := object(v, "a reason", members...)
	if err != nil {
		return engine.Reason{}, err
	}
	code, err := nonEmpty(o, memberCode)
	if err != nil {
		return engine.Reason{}, err
	}
	message, err := nonEmpty(o, memberMessage)
	if err != nil {
		return engine.Reason{}, err
	}
	return engine.Reason{Code: code, Message: message, Audit: s.rules[code].Audit}, nil
}

func (s *Set) releaseOf(v ast.Value, recs []Record) (Release, error) {
	o, err := object(v, "the release", memberWithheld, memberRedacted)
	if err != nil {
		return Release{}, err
	}
	var r Release
	err = each(o.Get(memberWithheld).Value, "withheld", func(v ast.Value) error {
		reason, err := s.reason(v, memberRecord, memberCode, memberMessage)
		if err != nil {
			return err
		}
		i, err := place(v.(ast.Object), len(recs))
		if err != nil {
			return err
		}
		if r.Withheld == nil {
			r.Withheld = map[int]engine.Reason{}
		}
		if _, ok := r.Withheld[i]; !ok {
			r.Withheld[i] = reason // the first by code, when several rules withhold it
		}
		return nil
	})
	if err != nil {
		return Release{}, err
	}
	err = each(o.Get(memberRedacted).Value, "redacted", func(v ast.Value) error {
		o, err := object(v, "a redaction", memberRecord, memberField)
		if err != nil {
			return err
		}
		field, err := nonEmpty(o, memberField)
		if err != nil {
			return err
		}
		i, err := place(o, len(recs))
		if err != nil {
			return err
		}
		if r.Redacted == nil {
			r.Redacted = map[int][]string{}
		}
		r.Redacted[i] = append(r.Redacted[i], field)
		return nil
	})
	if err != nil {
		return Release{}, err
	}
	return r, nil
}

// object takes v for an object of exactly these members.
func object(v ast.Value, what string, members ...*ast.Term) (ast.Object, error) {
	o, ok := v.(ast.Object)
	if !ok {
		return nil, fmt.Errorf("%w: %s is not an object", ErrMalformed, what)
	}
	if o.Len() != len(members) {
		return nil, fmt.Errorf("%w: %s has %d members, not %d", ErrMalformed, what, o.Len(), len(members))
	}
	for _, m := range members {
		if o.Get(m) == nil {
			return nil, fmt.Errorf("%w: %s has no member %s", ErrMalformed, what, m)
		}
	}
	return o, nil
}

// each visits the elements of an array, or of a set in its sorted order: as
// JSON the two are the same.
func each(v ast.Value, what string, visit func(ast.Value) error) error {
	switch v := v.(type) {
	case *ast.Array:
		for i := range v.Len() {
			if err := visit(v.Elem(i).Value); err != nil {
				return err
			}
		}
		return nil
	case ast.Set:
		if v.Len() == 0 {
			return nil
		}
		for _, t := range v.Slice() {
			if err := visit(t.Value); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%w: %s is not an array", ErrMalformed, what)
}

func nonEmpty(o ast.Object, member *ast.Term) (string, error) {
	s, ok := o.Get(member).Value.(ast.String)
	if !ok || s == "" {
		return "", fmt.Errorf("%w: %s is not a string, or an empty one", ErrMalformed, member)
	}
	return string(s), nil
}

// place reads which of n records is meant.
func place(o ast.Object, n int) (int, error) {
	number, ok := o.Get(memberRecord).Value.(ast.Number)
	if !ok {
		return 0, fmt.Errorf("%w: record is not a number", ErrMalformed)
	}
	i, ok := number.Int()
	if !ok || i < 0 || i >= n {
		return 0, fmt.Errorf("%w: there is no such record", ErrMalformed)
	}
	return i, nil
}
