package plan

import (
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine"
)

// FuzzPlan holds every plan to its promises, whatever is typed.
func FuzzPlan(f *testing.F) {
	now, loc := monday(f)
	for _, s := range []string{
		"", "where is my order", "cancel order 1001 and pause my subscription for 2 months", "move my fitting to next Tuesday at 3pm",
		"change my address to 12 Quay Street, Portsmouth PO1 3AX", "I'm Jordan’s order @ jordan@example.com", "’s 's #'s", "at at at half past to 9",
		"\xff\xfe order \x00 1001", "29 February 2027 12/05 2026-02-30T25:61", "İ ẞ ﬁ 𝟙𝟘𝟘𝟙", "a week on on on", "\"cancel\" “it”", "the 2nd of the 3rd",
		strings.Repeat("cancel my order and ", 200), strings.Repeat("1001 ", 800), strings.Repeat("a@", 2000),
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	var planners []*Planner
	catalogs := map[string]*engine.Action{}
	for _, source := range []string{harborGoods, airline, small} {
		actions := catalog(f, source)
		planners = append(planners, New(actions))
		for _, a := range actions {
			catalogs[source[:40]+a.Name] = a
		}
	}
	f.Fuzz(func(t *testing.T, text string, asked bool) {
		for i, p := range planners {
			m := Message{Text: text, Now: now, Location: loc, Pending: asked}
			if asked && i == 0 {
				m.Open = fittings()
			}
			pl := p.Plan(m)
			if (pl.Kind == Act) != (len(pl.Intents) > 0) || (pl.Kind == Question) != (pl.Question != "") {
				t.Fatalf("Plan(%q) = %+v: the kind and its fields disagree", text, pl)
			}
			if len(pl.Intents) > maxIntents || len(pl.Suggest) > 3 {
				t.Fatalf("Plan(%q) has %d steps and %d suggestions", text, len(pl.Intents), len(pl.Suggest))
			}
			if !strings.HasPrefix(text, pl.Question) {
				t.Fatalf("Plan(%q).Question = %q, want the visitor's own words", text, pl.Question)
			}
			if utf8.ValidString(text) && !utf8.ValidString(pl.Question) {
				t.Fatalf("Plan(%q).Question is cut inside a letter", text)
			}
			for _, s := range pl.Intents {
				checkStep(t, p, catalogs[[]string{harborGoods, airline, small}[i][:40]+s.Intent.Action], text, s)
			}
			if diff := cmp.Diff(pl, p.Plan(m)); diff != "" {
				t.Fatalf("Plan(%q) differs from itself:\n%s", text, diff)
			}
		}
	})
}

// checkStep holds a step to its action's schema: what is given is valid, and
// what is required is given or named as missing.
func checkStep(t *testing.T, p *Planner, a *engine.Action, text string, s Step) {
	t.Helper()
	if a == nil || a.Name == KnowledgeAction {
		t.Fatalf("Plan(%q) wants %q, which is no action to plan", text, s.Intent.Action)
	}
	missing := map[string]bool{}
	for _, name := range s.Missing {
		missing[name] = true
	}
	for _, name := range a.Args.Required() {
		if _, ok := s.Intent.Args[name]; ok == missing[name] {
			t.Fatalf("Plan(%q): %s is given %v and missing %v", text, name, ok, missing[name])
		}
	}
	f := p.byName(a.Name)
	for name, v := range s.Intent.Args {
		if fl := f.filler(name); fl == nil || !fl.valid(v) {
			t.Fatalf("Plan(%q): argument %s = %v is not what its schema takes", text, name, v)
		}
	}
}

func TestPlanIsConcurrent(t *testing.T) {
	now, loc := monday(t)
	p := New(catalog(t, harborGoods))
	m := Message{Text: "cancel order 1001 and move my fitting to Friday at 3pm", Now: now, Location: loc}
	want := describe(p.Plan(m))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if got := describe(p.Plan(m)); got != want {
					t.Errorf("Plan = %s, want %s", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Two planners of the same catalog agree on everything, map order or not.
func TestPlannersAgree(t *testing.T) {
	now, loc := monday(t)
	a, b := New(catalog(t, harborGoods)), New(catalog(t, harborGoods))
	for _, text := range []string{"cancel my ordr", "recieve my subscriptoin", "bookng", "show my odrers", "change my adress", "membershp"} {
		m := Message{Text: text, Now: now, Location: loc}
		if diff := cmp.Diff(a.Plan(m), b.Plan(m)); diff != "" {
			t.Errorf("Plan(%q) differs between two planners:\n%s", text, diff)
		}
	}
}

func TestEmptyCatalog(t *testing.T) {
	now, loc := monday(t)
	p := New(nil)
	for text, want := range map[string]Kind{"cancel my order": Unknown, "do you ship to Canada?": Question, "hi": Greeting, "": Unknown} {
		if got := p.Plan(Message{Text: text, Now: now, Location: loc}).Kind; got != want {
			t.Errorf("Plan(%q).Kind = %v, want %v", text, got, want)
		}
	}
}

// Four times the text must not cost much more than four times the work; counted
// in allocations, which follow it and do not depend on the machine.
func TestPlanIsLinear(t *testing.T) {
	now, loc := monday(t)
	p := New(catalog(t, harborGoods))
	for _, unit := range []string{"cancel my order and ", "1001 ", "a@b.co ", "next Tuesday at 3pm ", "if i can to do not ", "'s ", "Jordan's ", "my order. "} {
		cost := func(n int) float64 {
			m := Message{Text: clip(strings.Repeat(unit, n/len(unit)), n), Now: now, Location: loc}
			return testing.AllocsPerRun(3, func() { p.Plan(m) })
		}
		small, large := cost(1000), cost(4000)
		if large > 6*small+200 {
			t.Errorf("%q: %v allocations at 1000 bytes, %v at 4000", unit, small, large)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	now, loc := monday(b)
	p := New(catalog(b, harborGoods))
	for name, text := range map[string]string{
		"read":     "where is my order",
		"change":   "please reschedule my fitting appointment to next Tuesday at 3pm",
		"question": "what is your refund policy for furniture bought abroad?",
		"longest":  strings.Repeat("cancel order 1001 and my subscription, then show my orders. ", 68),
	} {
		b.Run(name, func(b *testing.B) {
			m := Message{Text: text, Now: now, Location: loc}
			b.ReportAllocs()
			for b.Loop() {
				p.Plan(m)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	actions := catalog(b, harborGoods)
	b.ReportAllocs()
	for b.Loop() {
		New(actions)
	}
}
