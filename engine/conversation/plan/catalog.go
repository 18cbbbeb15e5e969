package plan

import (
	"math"
	"slices"
	"strings"

	"vouchsafe/engine"
)

// profile is what the planner made of one action.
type profile struct {
	action  *engine.Action
	verbs   map[string]float64 // classes that ask for it
	head    map[string]float64 // what it is about; one must be named
	words   map[string]bool    // everything that its words explain
	reads   bool
	fillers []*filler
	// examples, as bags of concepts
	examples []example
	weight   map[string]float64 // shared by the whole catalog
}

// example is a phrase of the manifest. mine says that it speaks of the
// visitor's own ("my") or names a record.
type example struct {
	bag   []string // sorted
	mine  bool
	total float64
	words []string // as written, sorted
}

// nameParts splits "profile.update_address" into its words.
func nameParts(name string) (prefix, suffix []string) {
	split := func(s string) []string {
		return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r == '_' || r == '-' || r == '.' })
	}
	i := strings.IndexByte(name, '.')
	if i < 0 {
		return nil, split(name)
	}
	return split(name[:i]), split(name[i+1:])
}

// learnWords takes in the catalog's own words before any of it is judged.
func (p *Planner) learnWords(actions []*engine.Action) {
	// Nouns that share a set but name different things here are kept apart.
	used := map[string]map[string]bool{}
	for _, a := range actions {
		prefix, suffix := nameParts(a.Name)
		for _, w := range append(prefix, suffix...) {
			w = singular(w)
			if c, ok := nounWords[w]; ok && c != "hour" {
				if used[c] == nil {
					used[c] = map[string]bool{}
				}
				used[c][w] = true
			}
		}
	}
	for _, words := range used {
		if len(words) < 2 {
			continue
		}
		for w := range words {
			p.nouns[w], p.nouns[plural(w)] = w, w
		}
	}
	for _, a := range actions {
		prefix, suffix := nameParts(a.Name)
		for _, w := range prefix {
			p.learnNoun(w)
		}
		title := tokenize(a.Title)
		if a.Risk != engine.Read && len(suffix) > 0 {
			p.learnVerb(suffix[0], title)
		}
		for _, w := range suffix {
			p.learnNoun(w)
		}
		for _, t := range title {
			p.known[t.low] = true
		}
		for _, e := range a.Examples {
			for _, t := range tokenize(e) {
				p.known[t.low] = true
			}
		}
	}
	for w := range verbWords {
		p.known[w] = true
	}
	for w := range nounWords {
		p.known[w] = true
	}
}

// learnNoun makes a word of an action's name a noun, unless it is known.
func (p *Planner) learnNoun(w string) {
	if functionWords[w] || attributes[w] {
		return
	}
	if _, ok := p.verbOf(w); ok {
		return
	}
	if _, ok := p.nounOf(w); ok {
		return
	}
	base := singular(w)
	for _, form := range []string{w, base, plural(base)} {
		p.nouns[form] = stem(base)
		p.known[form] = true
	}
}

// learnVerb makes the word that an action that changes something begins with a
// verb, when the title begins with it too: "flight.waitlist", "Waitlist me".
func (p *Planner) learnVerb(w string, title []token) {
	if _, ok := verbWords[w]; ok || len(w) < 3 {
		return
	}
	if len(title) < 2 || stem(title[0].low) != stem(w) {
		return
	}
	if _, ok := nounWords[w]; ok {
		return
	}
	inflect(p.verbs, w, stem(w))
	inflect(p.verbs, title[0].low, stem(w))
	for v := range p.verbs {
		p.known[v] = true
	}
}

// learnNear indexes the known words by what is left when one letter is lost.
func (p *Planner) learnNear() {
	for w := range p.known {
		if len(w) < 5 || len(w) > 24 {
			continue
		}
		for i := 1; i < len(w); i++ {
			less := w[:i] + w[i+1:]
			if have, ok := p.near[less]; !ok || p.prefer(w, have) {
				p.near[less] = w
			}
		}
	}
}

// prefer orders two words that one typing error may mean: nouns before verbs,
// then the alphabet, so that every start of the program agrees.
func (p *Planner) prefer(a, b string) bool {
	_, an := p.nounOf(a)
	_, bn := p.nounOf(b)
	if an != bn {
		return an
	}
	return a < b
}

func (p *Planner) profileOf(a *engine.Action, all []*engine.Action) *profile {
	f := &profile{action: a, verbs: map[string]float64{}, head: map[string]float64{}, words: map[string]bool{}, reads: a.Risk == engine.Read}
	f.fillers = p.fillersOf(a, all)
	prefix, suffix := nameParts(a.Name)
	var side []string
	for _, w := range prefix {
		if c, ok := p.nounOf(w); ok {
			side = append(side, c)
		}
	}
	for i, w := range suffix {
		if v, ok := p.verbOf(w); ok && v.form == baseForm && i == 0 {
			f.verbs[v.class] = 1
			continue
		}
		if attributes[w] || functionWords[w] {
			f.words["a:"+singular(w)] = true
			continue
		}
		if c, ok := p.nounOf(w); ok {
			f.head[c] = 1
		} else {
			f.head[stem(singular(w))] = 1
		}
	}
	if len(f.head) == 0 {
		for _, c := range side {
			f.head[c] = 1
		}
	}
	title := p.phrase(a.Title)
	for i, t := range title {
		switch {
		case i == 0 && t.verb.form == baseForm:
			f.verbs[t.verb.class] = 1
		case t.isNoun():
			f.words[t.concept] = true
			if !t.modify && !overlaps(f.head, title) {
				f.head[t.concept] = 1
			}
		case t.content():
			f.words[t.concept] = true
		}
	}
	for _, c := range side {
		f.words[c] = true
	}
	for c := range f.head {
		f.words[c] = true
	}
	f.examples = p.examplesOf(a)
	for _, e := range a.Examples {
		ts := p.phrase(e)
		ms := modes(ts)
		for i, t := range ts {
			switch {
			case t.verb.form != noForm:
				if f.reads && ms[i] != requested {
					f.words[t.concept] = true // "when does my flight leave"
				}
				if ms[i] == requested && t.verb.form == baseForm && (f.reads == looks(t.verb.class)) {
					f.verbs[t.verb.class] = max(f.verbs[t.verb.class], 0.95)
				}
			case t.isNoun() && !t.modify && !generic[t.low]:
				f.words[t.concept] = true
				if f.head[t.concept] == 0 && len(side) > 0 && !slices.Contains(side, t.concept) {
					f.head[t.concept] = 0.6
				}
			case t.content():
				f.words[t.concept] = true
			}
		}
	}
	if f.reads {
		f.verbs["show"] = max(f.verbs["show"], 0.9)
		delete(f.verbs, "create") // "list my bookings" is no wish to book
	} else if len(f.verbs) == 0 && len(suffix) > 0 {
		f.verbs[stem(suffix[0])] = 1
	}
	return f
}

// looks reports whether a verb class only looks.
func looks(class string) bool { return class == "show" || class == "track" || class == "receive" }

func overlaps(head map[string]float64, ts []token) bool {
	for _, t := range ts {
		if t.isNoun() && !t.modify && head[t.concept] == 1 {
			return true
		}
	}
	return false
}

// phrase reads words of the catalog as it would a visitor's.
func (p *Planner) phrase(s string) []token {
	ts := tokenize(clip(s, 512))
	p.tag(ts)
	return ts
}

func (p *Planner) examplesOf(a *engine.Action) []example {
	var out []example
	for _, phrase := range append([]string{a.Title}, a.Examples...) {
		ts := p.phrase(phrase)
		e := example{bag: bagOf(ts), mine: ownWords(ts), words: wordsOf(ts)}
		if len(e.bag) > 0 {
			out = append(out, e)
		}
	}
	return out
}

// bagOf collects the concepts of a phrase, with the question word that tells
// "when are you open" from "where are you". Sorted, so that sums over it never
// differ in the last bit.
func bagOf(ts []token) []string {
	var bag []string
	for i := range ts {
		switch {
		case ts[i].content():
			bag = append(bag, ts[i].concept)
		case ts[i].low == "where" || ts[i].low == "when" || ts[i].low == "how" || ts[i].low == "why" || ts[i].low == "who":
			bag = append(bag, "w:"+ts[i].low)
		}
	}
	slices.Sort(bag)
	return slices.Compact(bag)
}

// ownWords reports whether a phrase is about the visitor's own things.
func ownWords(ts []token) bool {
	for i := range ts {
		switch ts[i].low {
		case "my", "mine", "our", "i":
			return true
		}
	}
	return false
}

// weigh gives every concept its weight: the fewer actions use it the more it
// says. A concept no action uses says most.
func (p *Planner) weigh() {
	df := map[string]int{}
	for _, f := range p.actions {
		seen := map[string]bool{}
		for _, e := range f.examples {
			for _, c := range e.bag {
				seen[c] = true
			}
		}
		for c := range f.words {
			seen[c] = true
		}
		for c := range seen {
			df[c]++
		}
	}
	weight := map[string]float64{"": math.Log(2 + float64(len(p.actions)))}
	for c, n := range df {
		weight[c] = math.Log(2+float64(len(p.actions))/float64(n)) * kindWeight(c)
	}
	total := func(e *example) { e.total = totalOf(weight, e.bag) }
	p.weight = weight
	for _, f := range p.actions {
		f.weight = weight
		for i := range f.examples {
			total(&f.examples[i])
		}
	}
	for i := range p.general {
		total(&p.general[i])
	}
}

func kindWeight(c string) float64 {
	if len(c) > 1 && c[1] == ':' {
		switch c[0] {
		case 'v':
			return 0.8
		case 'w':
			return 0.3
		default:
			return 0.5
		}
	}
	return 1
}

func weightOf(weight map[string]float64, c string) float64 {
	if w, ok := weight[c]; ok {
		return w
	}
	return weight[""] * kindWeight(c)
}

// wordsOf collects the words themselves. They break ties that concepts leave.
func wordsOf(ts []token) []string {
	var out []string
	for i := range ts {
		out = append(out, ts[i].low)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// shared counts what two sorted lists have in common.
func shared(a, b []string) int {
	n := 0
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] < b[j]:
			i++
		case a[i] > b[j]:
			j++
		default:
			n, i, j = n+1, i+1, j+1
		}
	}
	return n
}

func totalOf(weight map[string]float64, bag []string) float64 {
	sum := 0.0
	for _, c := range bag {
		sum += weightOf(weight, c)
	}
	return sum
}

// similarity is the weighted Dice coefficient of two sorted bags.
func similarity(weight map[string]float64, bag []string, total float64, e example) float64 {
	common := 0.0
	for i, j := 0, 0; i < len(bag) && j < len(e.bag); {
		switch {
		case bag[i] < e.bag[j]:
			i++
		case bag[i] > e.bag[j]:
			j++
		default:
			common += weightOf(weight, bag[i])
			i, j = i+1, j+1
		}
	}
	if total+e.total == 0 {
		return 0
	}
	return 2 * common / (total + e.total)
}
