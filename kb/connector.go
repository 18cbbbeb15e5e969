package kb

import (
	"context"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// ActionName is the public action that the knowledge base answers.
const ActionName = "kb.answer"

// argQuestion is the action's one argument.
const argQuestion = "question"

// Action describes kb.answer for a site's catalog.
func Action() (engine.Action, error) {
	args, err := engine.CompileArgs(map[string]any{
		"required": []any{argQuestion},
		"properties": map[string]any{
			argQuestion: map[string]any{"type": "string", "minLength": 1, "maxLength": maxQuestion},
		},
	})
	if err != nil {
		return engine.Action{}, err
	}
	return engine.Action{
		Name:      ActionName,
		Title:     "Answer a general question",
		Risk:      engine.Read,
		MinTier:   engine.Free,
		Args:      args,
		Fields:    []string{"answer", "citations", "declined"},
		Connector: "kb",
	}, nil
}

// connector lets the gate ask one site's knowledge base.
type connector struct {
	base  *Base
	site  string
	clock func() time.Time
}

// Connector returns the connector of kb.answer for a site. It brings back one
// record with the fields answer, citations and declined.
func (b *Base) Connector(site string, clock func() time.Time) gate.Connector {
	return &connector{base: b, site: site, clock: clock}
}

// Call redeems the permit, then asks.
func (c *connector) Call(ctx context.Context, claim gate.Claim, p gate.Permit) (gate.Response, error) {
	if _, err := p.Redeem(gate.Claim{Site: c.site, Action: ActionName, Args: claim.Args}, c.clock()); err != nil {
		return gate.Response{}, engine.Errorf(engine.CodeConnectorFailed, "The knowledge base was not asked.", err)
	}
	text, ok := claim.Args[argQuestion].(string)
	if !ok {
		return gate.Response{}, engine.Errorf(engine.CodeConnectorFailed, "The question is missing.", nil)
	}
	a, err := c.base.Ask(ctx, c.site, text)
	if err != nil {
		code := engine.CodeConnectorFailed
		if ctx.Err() != nil {
			code = engine.CodeConnectorTimeout
		}
		return gate.Response{}, engine.Errorf(code, "The knowledge base could not be searched.", err)
	}
	citations := make([]any, 0, len(a.Citations))
	for _, cite := range a.Citations {
		m := map[string]any{"document": cite.Document, "title": cite.Title, "passage": cite.Passage}
		if cite.URL != "" {
			m["url"] = cite.URL
		}
		citations = append(citations, m)
	}
	return gate.Response{Records: []gate.Record{{Fields: map[string]any{
		"answer":    a.Text,
		"citations": citations,
		"declined":  a.Declined(),
	}}}}, nil
}
