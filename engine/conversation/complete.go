package conversation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/conversation/plan"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/phrase"
)

// maxChoices bounds how many records a question offers.
const maxChoices = 10

// maxLabelFields bounds how much of a record an option shows; a manifest names
// the fields that tell records apart first.
const maxLabelFields = 4

// lacking lists the required arguments that a step does not have yet, dates
// that were only half said included.
func (t *turn) lacking(a *engine.Action, step plan.Step) []string {
	var out []string
	for _, name := range a.Args.Required() {
		if _, given := step.Intent.Args[name]; !given {
			out = append(out, name)
		}
	}
	for name := range step.When {
		if _, given := step.Intent.Args[name]; !given && !contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// complete finds what a step lacks: the record it is about among the customer's
// own, and the part of a time that was not said from that record. It asks the
// visitor for the rest and then returns false.
func (t *turn) complete(ctx context.Context, a *engine.Action, step *plan.Step, mustConfirm bool) bool {
	args := map[string]any{}
	for k, v := range step.Intent.Args {
		args[k] = v
	}
	step.Intent.Args = args
	var record *gate.Record
	for _, name := range recordArguments(a) {
		value, given := args[name]
		source := t.listing(a, name)
		if given && (source == nil || len(step.When) == 0) {
			continue
		}
		if !given && source == nil {
			continue
		}
		found, ok := t.own(ctx, source, step, mustConfirm)
		if !ok {
			return false
		}
		if given {
			record = find(found, value)
			continue
		}
		picked, ok := t.choose(ctx, a, step, name, source, found, mustConfirm)
		if !ok {
			return false
		}
		record, args[name] = picked, recordID(*picked)
	}
	for _, name := range t.lacking(a, *step) {
		when, half := step.When[name]
		if half {
			if at, ok := fillTime(when, name, record, t.in.Site.Location); ok {
				args[name] = at.Format(time.RFC3339)
				delete(step.When, name)
				continue
			}
		}
		t.question(ctx, a, step, name, half, mustConfirm)
		return false
	}
	return true
}

// recordArguments are the arguments that name a record of the customer.
func recordArguments(a *engine.Action) []string {
	var out []string
	for _, r := range a.Resources {
		out = append(out, r.Argument)
	}
	if a.IDArgument != "" && !contains(out, a.IDArgument) {
		out = append(out, a.IDArgument)
	}
	return out
}

// listing is the action that lists the records an argument may name: the one
// that proves it, if that needs nothing more, else a personal listing of the
// same family (order.* for order.cancel).
func (t *turn) listing(a *engine.Action, argument string) *engine.Action {
	usable := func(l *engine.Action) bool {
		return l.Personal && l.Risk == engine.Read && l.List && len(l.Args.Required()) == 0
	}
	for _, r := range a.Resources {
		if r.Argument == argument {
			if by, ok := t.in.Site.Action(r.Action); ok && usable(by) {
				return by
			}
		}
	}
	family, _, dotted := strings.Cut(a.Name, ".")
	if !dotted {
		return nil
	}
	for _, l := range t.in.Site.Actions() {
		if strings.HasPrefix(l.Name, family+".") && usable(l) {
			return l
		}
	}
	return nil
}

// own lists the customer's records through the gate.
func (t *turn) own(ctx context.Context, source *engine.Action, step *plan.Step, mustConfirm bool) ([]gate.Record, bool) {
	res, err := t.s.gate.Do(ctx, t.request(engine.Intent{Action: source.Name, Args: map[string]any{}, Asserted: step.Intent.Asserted}))
	switch {
	case err != nil:
		t.failed(err, source, res.Decision.ID, t.parks(ctx, step, mustConfirm))
		return nil, false
	case !res.Decision.Allow:
		t.refuse(ctx, res.Decision, source, step, mustConfirm)
		return nil, false
	}
	var named []gate.Record
	for _, r := range res.Records {
		if recordID(r) != "" {
			named = append(named, r)
		}
	}
	return named, true
}

func recordID(r gate.Record) string {
	if r.ID != "" {
		return r.ID
	}
	if v, ok := r.Fields["id"]; ok && v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

func find(records []gate.Record, id any) *gate.Record {
	for i := range records {
		if recordID(records[i]) == fmt.Sprint(id) {
			return &records[i]
		}
	}
	return nil
}

// choose picks the record that is meant: the only one there is, else the
// visitor is asked.
func (t *turn) choose(ctx context.Context, a *engine.Action, step *plan.Step, name string, source *engine.Action, found []gate.Record, mustConfirm bool) (*gate.Record, bool) {
	switch len(found) {
	case 0:
		t.say(Reply{Type: TypeFailed, Code: engine.CodeNotFound, Action: a.Name, Text: "I found nothing in your account for that."})
		return nil, false
	case 1:
		return &found[0], true
	}
	choices := make([]plan.Choice, 0, maxChoices)
	for _, r := range found[:min(len(found), maxChoices)] {
		shown := source.Fields[:min(len(source.Fields), maxLabelFields)]
		choices = append(choices, plan.Choice{Value: recordID(r), Label: phrase.Brief(r, shown, t.in.Site.Location), Words: words(r)})
	}
	if c, ok := plan.Pick(step.About, choices, t.s.clock(), t.in.Site.Location); ok {
		return find(found, c.Value), true
	}
	text := "Which one do you mean?"
	if len(found) > maxChoices {
		text += " These are the first of them; you can also give me its number."
	}
	t.open(ctx, a, step, name, choices, text, mustConfirm)
	return nil, false
}

// words are other ways to name a record: its text fields.
func words(r gate.Record) []string {
	var out []string
	for _, v := range r.Fields {
		if s, ok := v.(string); ok && s != "" {
			out = append(out, s)
		}
	}
	return out
}

// fillTime completes a half-said time from the record that it would move.
func fillTime(w plan.When, name string, r *gate.Record, loc *time.Location) (time.Time, bool) {
	if w.HasTime && w.HasDay {
		return w.Time, true
	}
	if r == nil {
		return time.Time{}, false
	}
	old, ok := timeOf(r.Fields, name)
	if !ok {
		return time.Time{}, false
	}
	day, clock := w.Time.In(loc), old.In(loc)
	if !w.HasDay {
		day, clock = clock, day
	}
	return time.Date(day.Year(), day.Month(), day.Day(), clock.Hour(), clock.Minute(), clock.Second(), 0, loc), true
}

// timeOf finds the time in a record that an argument stands for: the field of
// the same name, with or without "new_", else the only time there is.
func timeOf(fields map[string]any, name string) (time.Time, bool) {
	for _, f := range []string{name, strings.TrimPrefix(name, "new_")} {
		if t, dateOnly, ok := phrase.Time(fields[f]); ok && !dateOnly {
			return t, true
		}
	}
	var only time.Time
	n := 0
	for _, v := range fields {
		if t, dateOnly, ok := phrase.Time(v); ok && !dateOnly {
			only, n = t, n+1
		}
	}
	return only, n == 1
}

// question asks for an argument that only the visitor knows.
func (t *turn) question(ctx context.Context, a *engine.Action, step *plan.Step, name string, half, mustConfirm bool) {
	property := a.Args.Property(name)
	text, _ := property["description"].(string)
	switch {
	case half:
		text = "At what time? Please give the day and the time."
	case text == "":
		text = "Please tell me the " + phrase.Label(name) + "."
	}
	var choices []plan.Choice
	if values, ok := property["enum"].([]any); ok {
		for _, v := range values[:min(len(values), maxChoices)] {
			s := fmt.Sprint(v)
			choices = append(choices, plan.Choice{Value: s, Label: phrase.Label(s)})
		}
	}
	t.open(ctx, a, step, name, choices, text, mustConfirm)
}

// open asks a question and keeps what its answer belongs to.
func (t *turn) open(ctx context.Context, a *engine.Action, step *plan.Step, name string, choices []plan.Choice, text string, mustConfirm bool) {
	t.update(ctx, func(s *state) {
		s.Open = &plan.Open{Action: a.Name, Args: step.Intent.Args, When: step.When, Missing: name, Choices: choices}
		s.Asked = &asked{Asserted: step.Intent.Asserted, MustConfirm: mustConfirm}
	})
	options := make([]Option, len(choices))
	for i, c := range choices {
		options[i] = Option{Label: c.Label, Value: c.Value}
	}
	t.say(Reply{Type: TypeClarify, Text: text, Action: a.Name, Options: options})
}
