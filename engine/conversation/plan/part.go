package plan

// part is a range of a message with what all actions need to know of it.
type part struct {
	r       *reading
	lo, hi  int
	ts      []token
	ms      []mode
	bag     []string
	total   float64 // weight of the bag
	words   []string
	own     bool // "my", a possessive or a name
	self    bool // "I"
	unsure  bool // "a subscription", "a new order": no record that exists
	refused bool // "I don't want the order"
	told    bool // says or asks why something was done
	plural  bool // speaks of several
	pronoun bool // "it", "that one"
	code    bool // holds a figure
	generic bool // speaks of rules in general
	asking  bool // has the form of a question
	wh      bool // ... that begins with how, what, when, ...
	short   bool
}

func (p *Planner) newPart(r *reading, lo, hi int) *part {
	pt := &part{r: r, lo: lo, hi: hi, ts: r.ts[lo:hi], ms: r.modes[lo:hi]}
	pt.bag, pt.words = bagOf(pt.ts), wordsOf(pt.ts)
	pt.total = totalOf(p.weight, pt.bag)
	pt.self = ownWords(pt.ts)
	pt.own = hasAny(pt.ts, "my", "mine", "our") || len(r.asserted.Names)+len(r.asserted.Emails) > 0
	words := 0
	for i := range pt.ts {
		t := &pt.ts[i]
		switch t.low {
		case "it", "that", "this", "them", "those", "these", "one":
			pt.pronoun = true
		case "all", "every", "history", "list", "any", "many":
			pt.plural = true
		}
		if t.isNoun() && t.plural {
			pt.plural = true
		}
		if i > 0 && t.isNoun() && (pt.ts[i-1].low == "a" || pt.ts[i-1].low == "an" || pt.ts[i-1].low == "another" || pt.ts[i-1].low == "new") || t.low == "new" {
			pt.unsure = true
		}
		if i > 0 && (t.low == "want" || t.low == "need") && (pt.ts[i-1].low == "not" || pt.ts[i-1].low == "longer") {
			pt.refused = true
		}
		pt.code = pt.code || hasDigit(t.low) && !t.taken
		if generic[t.low] && t.verb.form == noForm {
			pt.generic = true
		}
		if !adverbs[t.low] {
			words++
		}
	}
	pt.short = words <= 5
	pt.asking, pt.wh = questionForm(r, lo, hi)
	for i := range pt.ts {
		t := &pt.ts[i]
		if pt.ms[i] == reported && !looks(t.verb.class) && (!progress[t.low] || t.verb.class == "cancel") && (!pt.asking || hasAny(pt.ts, "why")) {
			pt.told = true
		}
		if i >= 2 && pt.ts[i].low == "i" && pt.ts[i-2].low == "what" { // "what have I ordered"
			pt.plural = true
		}
	}
	return pt
}

// object returns how surely the words name what the action is about. For an
// action that changes something, "remove an item from my order" is not about
// the order.
func (pt *part) object(f *profile, ts []token) float64 {
	best := 0.0
	for i := range ts {
		if t := &ts[i]; t.isNoun() && !t.taken {
			v := f.head[t.concept]
			if t.modify {
				v *= 0.6
			}
			if t.typo {
				v *= 0.95
			}
			if !f.reads && v > 0 && insideOf(ts, i) {
				v *= 0.5
			}
			best = max(best, v)
		}
	}
	return best
}

// insideOf reports whether the noun at i only holds what the verb is about:
// "something from my order".
func insideOf(ts []token, i int) bool {
	for j := i - 1; j > 0 && j >= i-4; j-- {
		switch ts[j].low {
		case "from", "of", "in", "inside":
			before := &ts[j-1]
			switch before.low {
			case "one", "all", "some", "any", "both", "each", "out", "rid", "either", "none", "those", "two":
				return false
			}
			return before.verb.form == noForm
		}
		if !determiner(ts[j].low) && ts[j].low != "your" && ts[j].low != "last" && !hasDigit(ts[j].low) {
			return false
		}
	}
	return false
}

func (pt *part) namesThing(fl filled) bool {
	for i := range pt.ts {
		if pt.ts[i].isNoun() && !pt.ts[i].taken && !fl.uses(&pt.ts[i]) {
			return true
		}
	}
	return false
}

// verb returns how well a verb of the part asks for the action, how it is
// meant, and whether another verb asks for something else.
func (pt *part) verb(f *profile) (fit float64, how mode, foreign bool) {
	for i := range pt.ts {
		v := pt.ts[i].verb
		if v.form == noForm || pt.ts[i].taken {
			continue
		}
		m := pt.ms[i]
		s := 0.0
		for class, w := range f.verbs {
			a := alike[[2]string{v.class, class}]
			if class == v.class {
				a = 1
			}
			s = max(s, a*w)
		}
		if pt.ts[i].typo {
			s *= 0.97
		}
		if s >= 0.65 && (s > fit || s == fit && m == requested) {
			fit, how = s, m
		} else if s < 0.65 && !looks(v.class) && m != reported && !(m == plain && (progress[pt.ts[i].low] || f.words[pt.ts[i].concept])) {
			foreign = true
		}
	}
	return fit, how, foreign
}

// wants reports whether a statement looks for something and does not only tell:
// "I am waiting for my order", "my parcel is late", "my orders", but not "I'm
// happy with my order".
func (pt *part) wants() bool {
	told := false
	for i := range pt.ts {
		t := &pt.ts[i]
		switch t.low {
		case "looking", "waiting", "find", "where", "want", "need", "like", "know", "about", "for":
			return true
		case "i", "is", "are", "was", "were", "have", "has", "am":
			told = true
		}
		if progress[t.low] && t.low != "have" && t.low != "ordered" || attributes[t.low] {
			return true
		}
	}
	return !told
}

// singular reports whether a definite record is meant: "where is the order".
func (pt *part) singular() bool {
	for i := 0; i+1 < len(pt.ts); i++ {
		if pt.ts[i].low == "the" && pt.ts[i+1].isNoun() {
			return true
		}
	}
	return false
}

// loose is a generous closeness, for suggestions only.
func (pt *part) loose(f *profile) float64 {
	fit, _, _ := pt.verb(f)
	return 0.4*pt.object(f, pt.ts) + 0.3*fit
}
