package plan

import (
	"encoding/json"
	"maps"
	"strconv"

	"vouchsafe/engine"
)

// answerOpen takes the message as the answer to the open question, unless it
// clearly asks for something new.
func (p *Planner) answerOpen(r *reading, o *Open, steps []Step) (Step, bool) {
	f := p.byName(o.Action)
	if f == nil {
		return Step{}, false
	}
	fresh := len(steps) > 0 && requests(r)
	if fresh && steps[0].Intent.Action != o.Action {
		return Step{}, false
	}
	s := Step{Intent: engine.Intent{Action: o.Action, Args: maps.Clone(o.Args), Asserted: r.asserted}, When: maps.Clone(o.When)}
	if s.Intent.Args == nil {
		s.Intent.Args = map[string]any{}
	}
	if s.When == nil {
		s.When = map[string]When{}
	}
	fl := f.fill(r, 0, len(r.ts))
	heard := false
	take := func(name string, v any) {
		s.Intent.Args[name] = v
		heard = true
	}
	byDate := false
	if i, ok := pick(r.ts, r.dates, o.Choices, r.now, true); ok {
		take(o.Missing, o.Choices[i].Value)
		byDate = dateFit(r.dates, o.Choices[i].Label, r.now) > 0
	} else if v, ok := fl.args[o.Missing]; ok {
		take(o.Missing, v)
	} else if w, ok := fl.when[o.Missing]; ok {
		s.When[o.Missing] = w
		heard = true
	} else if v, ok := f.bare(o.Missing, r); ok && len(o.Choices) == 0 {
		take(o.Missing, v)
	}
	if !heard && !(fresh && steps[0].Intent.Action == o.Action) {
		return Step{}, false
	}
	for name, v := range fl.args {
		if a := f.filler(name); a.kind == dateArg && byDate || name == o.Missing {
			continue
		} else if _, ok := s.Intent.Args[name]; !ok || fresh {
			s.Intent.Args[name] = v
		}
	}
	for name, w := range fl.when {
		if _, ok := s.When[name]; (!ok || fresh) && !byDate {
			s.When[name] = w
		}
	}
	for _, name := range required(f.action) {
		if _, ok := s.Intent.Args[name]; !ok {
			s.Missing = append(s.Missing, name)
		}
	}
	s.About = about(r.ts, fl)
	return s, true
}

func (p *Planner) byName(name string) *profile {
	for _, f := range p.actions {
		if f.action.Name == name {
			return f
		}
	}
	return nil
}

func (f *profile) filler(name string) *filler {
	for _, a := range f.fillers {
		if a.name == name {
			return a
		}
	}
	return nil
}

// requests reports whether the message asks for something to be done.
func requests(r *reading) bool {
	for i, m := range r.modes {
		if m == requested && !r.ts[i].taken {
			return true
		}
	}
	return false
}

// bare takes the whole of a short message as the value asked for, when its
// schema agrees: "3", "12 Quay Street, Portsmouth".
func (f *profile) bare(name string, r *reading) (any, bool) {
	a := f.filler(name)
	if a == nil || len(r.ts) == 0 || len(r.text) > 300 {
		return nil, false
	}
	switch a.kind {
	case numberArg:
		for i := range r.ts {
			p := dateParser{ts: r.ts, i: i}
			if n, used := p.count(0); used > 0 {
				if v := json.Number(strconv.Itoa(n)); a.valid(v) {
					return v, true
				}
			}
		}
	case idArg:
		for i := range r.ts {
			if v, ok := a.code(&r.ts[i], r, len(r.ts) == 1); ok {
				return v, true
			}
		}
	case addressArg, cityArg, postcodeArg, countryArg, otherArg, reasonArg:
		if asked, _ := questionForm(r, 0, len(r.ts)); asked || requests(r) || answer(r.ts) != noAnswer {
			return nil, false
		}
		if v := r.text; a.valid(v) {
			return v, true
		}
	}
	return nil, false
}
