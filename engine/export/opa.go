package export

import (
	"encoding/json"
	"time"

	"vouchsafe/engine/audit"
)

// opaDecision is one event of OPA's decision log, as its documentation describes
// it under "Decision Logs". What OPA has no word for is under custom.
type opaDecision struct {
	Labels     map[string]string    `json:"labels"`
	DecisionID string               `json:"decision_id"`
	Bundles    map[string]opaBundle `json:"bundles"`
	Path       string               `json:"path"`
	Input      json.RawMessage      `json:"input,omitempty"`
	Result     opaResult            `json:"result"`
	Erased     []string             `json:"erased,omitempty"`
	Timestamp  time.Time            `json:"timestamp"`
	Custom     map[string]opaCustom `json:"custom"`
}

type opaBundle struct {
	Revision string `json:"revision"`
}

type opaResult struct {
	Allow       bool      `json:"allow"`
	Reasons     []opaCode `json:"reasons"`
	Obligations []opaKind `json:"obligations"`
}

type opaCode struct {
	Code string `json:"code"`
}

type opaKind struct {
	Kind string `json:"kind"`
}

type opaCustom struct {
	Rules   []string       `json:"rules,omitempty"`
	Parent  string         `json:"parent,omitempty"`
	Asked   bool           `json:"asked,omitempty"`
	Cause   string         `json:"cause,omitempty"`
	Problem string         `json:"problem,omitempty"`
	Outcome *audit.Outcome `json:"outcome,omitempty"`
}

// erasedPaths are the parts of an input that are left out with whom it is about.
var erasedPaths = []string{"/input/identity", "/input/action/args", "/input/target", "/input/asserted", "/input/conversation"}

func opaEvent(e *audit.Entry, o Options) opaDecision {
	var erased []string
	if !o.Personal {
		m := masked(e)
		e, erased = &m, erasedPaths
	}
	d := &e.Decision
	out := opaDecision{
		Labels:     map[string]string{"app": "vouchsafe", "id": e.Site, "version": o.Version},
		DecisionID: d.ID,
		Bundles:    map[string]opaBundle{"vouchsafe": {d.Policy}},
		Path:       "authz/decision",
		Input:      d.Input,
		Result:     opaResult{Allow: d.Allow, Reasons: []opaCode{}, Obligations: []opaKind{}},
		Erased:     erased,
		Timestamp:  d.Time.UTC(),
		Custom:     map[string]opaCustom{"vouchsafe": {d.Rules, d.Parent, d.Asked, d.Cause, d.Problem, e.Outcome}},
	}
	for _, code := range d.Reasons {
		out.Result.Reasons = append(out.Result.Reasons, opaCode{code})
	}
	for _, kind := range d.Obligations {
		out.Result.Obligations = append(out.Result.Obligations, opaKind{kind})
	}
	return out
}
