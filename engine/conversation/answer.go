package conversation

import (
	"context"

	"vouchsafe/engine"
	"vouchsafe/engine/conversation/plan"
	"vouchsafe/engine/gate"
)

const declined = "I could not find an answer to that in our help pages."

// ask takes a question to the knowledge base, through the gate as any other
// action. Where it finds nothing and some actions come close, the visitor is
// asked which was meant.
func (t *turn) ask(ctx context.Context, question string, asserted engine.Asserted, close []string) {
	if _, ok := t.in.Site.Action(plan.KnowledgeAction); !ok {
		t.decline("", close)
		return
	}
	step := plan.Step{Intent: engine.Intent{
		Action: plan.KnowledgeAction, Args: map[string]any{"question": bounded(question)}, Asserted: asserted}}
	res, err := t.s.confirm.Do(ctx, t.request(step.Intent), "")
	switch {
	case err != nil:
		t.failed(err, res.Action, res.Decision.ID, t.parks(ctx, &step, false))
	case !res.Decision.Allow:
		t.refuse(ctx, res.Decision, res.Action, &step, false)
	case !t.cite(res.Result):
		t.decline(res.Decision.ID, close)
	}
}

// maxQuestion is the longest question the knowledge base takes, in bytes.
const maxQuestion = 1000

func bounded(s string) string {
	r := []rune(s)
	for len(string(r)) > maxQuestion {
		r = r[:len(r)*9/10]
	}
	return string(r)
}

// cite says a found answer with its citations. It returns false when there is
// none.
func (t *turn) cite(res gate.Result) bool {
	if len(res.Records) != 1 {
		return false
	}
	f := res.Records[0].Fields
	text, _ := f["answer"].(string)
	list, _ := f["citations"].([]any)
	var citations []Citation
	for _, e := range list {
		m, _ := e.(map[string]any)
		s := func(name string) string { v, _ := m[name].(string); return v }
		citations = append(citations, Citation{Document: s("document"), Title: s("title"), URL: s("url"), Passage: s("passage")})
	}
	if text == "" || len(citations) == 0 {
		return false
	}
	t.say(Reply{Type: TypeAnswer, Text: text, Citations: citations, Decision: res.Decision.ID})
	return true
}

func (t *turn) decline(decision string, close []string) {
	if options := t.suggestions(close); len(close) > 0 && len(options) > 0 {
		t.say(Reply{Type: TypeClarify, Text: "I am not sure what you mean. Did you want one of these?", Options: options, Decision: decision})
		return
	}
	t.say(Reply{Type: TypeDeclined, Text: declined, Decision: decision})
}

// suggestions offers actions by their first example. With no names it offers a
// few of the site's personal ones.
func (t *turn) suggestions(names []string) []Option {
	out := []Option{}
	add := func(a *engine.Action) {
		if len(a.Examples) > 0 && a.Name != plan.KnowledgeAction && t.in.Site.Tier >= a.MinTier {
			out = append(out, Option{Label: a.Title, Value: a.Examples[0]})
		}
	}
	if names == nil {
		for _, a := range t.in.Site.Actions() {
			if a.Risk == engine.Read && len(out) < 3 {
				add(a)
			}
		}
		return out
	}
	for _, n := range names {
		if a, ok := t.in.Site.Action(n); ok {
			add(a)
		}
	}
	return out
}
