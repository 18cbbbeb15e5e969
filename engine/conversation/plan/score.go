package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"vouchsafe/engine"
)

// Thresholds a score must reach: the more an action can do, the surer the
// planner must be. An action of unknown risk counts as the most dangerous.
const (
	readThreshold        = 0.5
	writeThreshold       = 0.58
	destructiveThreshold = 0.62
)

func threshold(r engine.Risk) float64 {
	switch r {
	case engine.Read:
		return readThreshold
	case engine.Write:
		return writeThreshold
	}
	return destructiveThreshold
}

// maxRanges bounds how many parts of a message are judged.
const maxRanges = 12

// judged is one action held against one part of a message.
type judged struct {
	f      *profile
	score  float64
	act    bool // the part asks for it
	asked  bool // ... in so many words, by a question or a request
	lo, hi int
	filled filled
}

// steps returns the actions the message asks for and, whatever it asks for, the
// names of those that come closest.
func (p *Planner) steps(r *reading) ([]Step, []string) {
	var picked []judged
	closest := map[string]float64{}
	for _, part := range ranges(r) {
		best := p.best(r, part.start, part.end, closest)
		if best.act {
			picked = append(picked, best)
		}
	}
	if slices.ContainsFunc(picked, func(j judged) bool { return j.asked }) {
		// What was only told does not count beside what was asked for: "I can't
		// afford order 1001, can you cancel it?"
		picked = slices.DeleteFunc(picked, func(j judged) bool { return !j.asked })
	}
	var steps []Step
	for _, j := range picked {
		said := span{j.lo, j.hi}
		if len(picked) == 1 {
			said = span{0, len(r.ts)}
			// The rest of the message may hold what the request left out.
			j.filled = j.f.fill(r, 0, len(r.ts))
			if j.f.reads {
				j.filled = j.f.fill(r, j.lo, j.hi)
			}
		}
		for _, args := range j.filled.each() {
			steps = mergeStep(steps, j.f.step(r, args, j.filled, said))
		}
	}
	if len(steps) > maxIntents {
		steps = steps[:maxIntents]
	}
	names := slices.Collect(maps.Keys(closest))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(closest[b], closest[a]), strings.Compare(a, b))
	})
	return steps, names[:min(len(names), 3)]
}

// mergeStep adds a step unless an earlier one of the same action already says
// as much or can take its arguments in.
func mergeStep(steps []Step, s Step) []Step {
next:
	for i := range steps {
		have := &steps[i]
		if have.Intent.Action != s.Intent.Action {
			continue
		}
		for k, v := range s.Intent.Args {
			if old, ok := have.Intent.Args[k]; ok && old != v {
				continue next
			}
		}
		for k, v := range s.Intent.Args {
			have.Intent.Args[k] = v
		}
		for k, v := range s.When {
			if _, ok := have.When[k]; !ok {
				have.When[k] = v
			}
		}
		have.Missing = slices.DeleteFunc(have.Missing, func(k string) bool { _, ok := have.Intent.Args[k]; return ok })
		return steps
	}
	return append(steps, s)
}

// ranges cuts a message into the parts that may each ask for something: its
// sentences, and within one, what each requested verb governs.
func ranges(r *reading) []span {
	var out []span
	ts := r.ts
	start := 0
	cut := func(at int) {
		if at > start && len(out) < maxRanges {
			out = append(out, span{start, at})
		}
		start = at
	}
	last := -1
	for i := range ts {
		if ts[i].stop && i > 0 {
			cut(i)
			last = -1
		}
		if r.modes[i] != requested {
			continue
		}
		if lead := leadStart(ts, i, max(start, last+1)); lead > start && hasContent(ts[start:lead]) {
			cut(lead)
		}
		last = i
	}
	cut(len(ts))
	return out
}

// leadStart returns where the clause of the verb at i begins, not before lo.
func leadStart(ts []token, i, lo int) int {
	j := i
	for j > lo && !ts[j].brk {
		if w := ts[j-1].low; w == "and" || w == "then" || w == "also" || w == "but" {
			break
		}
		j--
	}
	return j
}

// hasContent reports whether a part says anything by itself.
func hasContent(ts []token) bool {
	for i := range ts {
		if ts[i].content() || hasDigit(ts[i].low) || ts[i].taken {
			return true
		}
	}
	return false
}

// best judges every action for the part [lo, hi).
func (p *Planner) best(r *reading, lo, hi int, closest map[string]float64) judged {
	part := p.newPart(r, lo, hi)
	var top, second judged
	for _, f := range p.actions {
		j := f.judge(part)
		near := max(j.score, part.loose(f))
		if near >= 0.25 {
			closest[f.action.Name] = max(closest[f.action.Name], near)
		}
		if !j.act {
			continue
		}
		if j.score > top.score {
			top, second = j, top
		} else if j.score > second.score {
			second = j
		}
	}
	if top.act && second.act && !top.f.reads && top.score-second.score < 0.02 && len(top.filled.args) <= len(second.filled.args) {
		return judged{} // two actions that change something, equally likely: ask
	}
	return top
}

// judge holds the action against the part.
func (f *profile) judge(pt *part) judged {
	j := judged{f: f, lo: pt.lo, hi: pt.hi}
	like := f.similar(pt)
	sim := like.concepts
	object := pt.object(f, pt.ts)
	verbFit, how, foreign := pt.verb(f)
	if object == 0 && sim < 0.5 && !(verbFit >= 0.7 && !f.reads) && !pt.code {
		j.score = 0.5 * sim
		return j
	}
	from := pt.lo
	if object == 0 && pt.pronoun && pt.lo > 0 { // "I can't afford order 1001, can you cancel it?"
		object = 0.9 * pt.object(f, pt.r.ts[:pt.lo])
		from = 0
	}
	j.filled = f.fill(pt.r, from, pt.hi)
	if object == 0 && j.filled.exactID && !pt.namesThing(j.filled) && (!f.reads || j.filled.pattern && (verbFit > 0 || hasAny(pt.ts, "where"))) {
		object = 0.85 // "cancel 1001", "where is #1001"
	}
	if object == 0 && f.action.Risk == engine.Write && j.filled.measured && verbFit >= 0.9 && !pt.namesThing(j.filled) {
		object = 0.85 // "move it to Friday at 3pm"
	}
	strange := pt.unexplained(f, j.filled)
	fit := verbFit
	if f.reads && !foreign {
		fit = max(fit, 0.9)
	}
	frame := object * fit * (1 - 0.8*strange)
	j.score = frame * (0.85 + 0.15*sim)
	if f.reads {
		j.act = f.readGate(pt, how, foreign, j.filled, strange) && object > 0
	} else {
		j.act = f.writeGate(pt, how, j.filled, strange)
	}
	if sim >= 0.72 && sim*0.95 > j.score && !foreign && (!like.mine || pt.own || pt.self || j.filled.exactID) {
		calm := how != askHow && how != askCan && how != negated && (how != reported || sim >= 0.95)
		if f.reads && how != askHow && !pt.told && (!f.action.Personal || pt.asking || how == requested || pt.wants()) || !f.reads && calm && sim >= 0.85 && !pt.asking {
			j.score, j.act = sim*0.95, true
		}
	}
	if f.reads {
		j.score += f.countFit(pt, j.filled)
	}
	j.score += 0.03 * like.words
	j.act = j.act && j.score >= threshold(f.action.Risk)
	j.asked = !f.reads || pt.asking || slices.Contains(pt.ms, requested)
	return j
}

// likeness is how close a part is to an action's nearest example.
type likeness struct {
	concepts float64 // 1: the same concepts
	words    float64 // 1: the very words
	mine     bool    // the example speaks of the visitor's own things
}

func (f *profile) similar(pt *part) likeness {
	var best likeness
	for _, e := range f.examples {
		l := likeness{similarity(f.weight, pt.bag, pt.total, e), 0, e.mine}
		if l.concepts < best.concepts || l.concepts == 0 {
			continue
		}
		l.words = 2 * float64(shared(pt.words, e.words)) / float64(len(pt.words)+len(e.words))
		if l.concepts > best.concepts || l.words > best.words {
			best = l
		}
	}
	return best
}

// unexplained returns how much of what the part says the action has no part in,
// from 0 to 1.
func (pt *part) unexplained(f *profile, fl filled) float64 {
	total, strange := 0.0, 0.0
	for i := range pt.ts {
		t := &pt.ts[i]
		if !t.content() || fl.uses(t) {
			continue
		}
		w := weightOf(f.weight, t.concept)
		total += w
		switch {
		case f.words[t.concept]:
			if t.modify && f.head[t.concept] > 0 {
				strange += 0.3 * w
			}
		case t.verb.form != noForm:
			switch {
			case looks(t.verb.class), f.explains(t.verb.class):
			case pt.ms[i] == reported || pt.ms[i] == plain:
				strange += 0.3 * w
			default:
				strange += w
			}
		case strings.HasPrefix(t.concept, "t:"):
			if !f.reads {
				strange += 0.3 * w
			}
		case strings.HasPrefix(t.concept, "a:"):
			strange += 0.1 * w
		case t.modify && len(f.action.Resources) > 0:
			strange += 0.4 * w // "the blue sofa order": it says which
		case t.modify:
			strange += 2 * w // "my e-mail address": it says another thing
		default:
			strange += w
		}
	}
	if total == 0 {
		return 0
	}
	return min(strange/total, 1)
}

func (f *profile) explains(class string) bool {
	for c := range f.verbs {
		if c == class || alike[[2]string{class, c}] >= 0.65 {
			return true
		}
	}
	return false
}

// countFit prefers a list for several records and a single read for one.
func (f *profile) countFit(pt *part, fl filled) float64 {
	fit := 0.0
	switch {
	case fl.exactID:
		fit += 0.1
	case f.action.List && !pt.plural && f.hasList():
		fit -= 0.04
	case f.action.List && pt.plural:
		fit += 0.06
	case !f.action.List && pt.plural && len(required(f.action)) > 0:
		fit -= 0.1
	}
	return fit
}

// hasList reports whether the action is a list beside which single reads may
// stand, which is so whenever it takes no record's name itself.
func (f *profile) hasList() bool { return f.action.IDArgument == "" }

// readGate decides whether a part asks to be shown something of the visitor's.
func (f *profile) readGate(pt *part, how mode, foreign bool, fl filled, strange float64) bool {
	if foreign || pt.refused || pt.told || pt.generic && strange > 0 {
		return false
	}
	if how == askHow && !fl.exactID {
		return false
	}
	switch {
	case !f.action.Personal:
		return strange < 0.35
	case fl.exactID:
		return strange < 0.55
	case pt.own:
		return strange < 0.42 && (pt.asking || how == requested || pt.wants())
	case how == requested:
		return strange < 0.35 && !(pt.unsure && (pt.self || hasAny(pt.ts, "about")))
	case pt.unsure:
		return false
	case pt.self && (pt.wh || pt.asking && hasAny(pt.ts, "have", "had")):
		return strange < 0.2
	}
	return pt.short && strange < 0.2 && (!pt.asking || pt.wh && !pt.generic && strange == 0 && pt.singular())
}

// writeGate decides whether a part asks for something to be done now.
func (f *profile) writeGate(pt *part, how mode, fl filled, strange float64) bool {
	switch how {
	case requested:
		switch {
		case len(f.action.Resources) > 0: // what is strange may say which record
			return strange < 0.45
		case f.action.Risk == engine.Write:
			return strange < 0.4
		}
		return strange < 0.3
	case askCan:
		// A polite request says which one, or what the new value is.
		return strange < 0.4 && (fl.exactID || fl.specific)
	case plain:
		return pt.short && strange < 0.1 && !pt.asking && f.saysVerb(pt)
	}
	return false
}

func (f *profile) saysVerb(pt *part) bool {
	for i := range pt.ts {
		if v := pt.ts[i].verb; v.form != noForm && pt.ms[i] == plain && f.explains(v.class) {
			return true
		}
	}
	return false
}
