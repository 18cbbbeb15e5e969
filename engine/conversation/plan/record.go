package plan

import (
	"slices"
	"strings"
)

// candidate is a code that may name a record.
type candidate struct {
	value string
	at    int
	near  bool // the argument's noun stands before it
}

// ids finds the records named for an argument: "order 1001", "#1001", "booking
// number B-2041".
func (fl *filled) ids(a *filler, f *profile, r *reading, lo, hi int) {
	var found []candidate
	for i := lo; i < hi; i++ {
		t := &r.ts[i]
		if fl.uses(t) || t.taken || i > lo && t.start == r.ts[i-1].start {
			continue
		}
		near, other := a.nearNoun(f, r.ts, lo, i)
		if other {
			continue // "order 1001" names no booking
		}
		if v, ok := a.code(t, r, near); ok {
			found = append(found, candidate{v, i, near})
		}
	}
	if len(found) == 0 {
		return
	}
	if slices.ContainsFunc(found, func(c candidate) bool { return c.near }) {
		// What follows the noun counts, and what is joined to it by "and".
		first := slices.IndexFunc(found, func(c candidate) bool { return c.near })
		kept := found[first : first+1]
		for _, c := range found[first+1:] {
			if c.near || c.at-kept[len(kept)-1].at <= 2 {
				kept = append(kept, c)
			}
		}
		found = kept
	}
	fl.exactID, fl.specific, fl.pattern = true, true, fl.pattern || a.re != nil
	for i, c := range found {
		fl.used = append(fl.used, spanOf(r.ts, c.at, c.at+1))
		switch {
		case i == 0:
			fl.args[a.name] = c.value
		case c.value != found[0].value && !slices.Contains(fl.more, c.value) && len(fl.more) < maxIntents-1:
			fl.more = append(fl.more, c.value)
			fl.moreFor = a.name
		}
	}
}

// nearNoun reports whether the argument's noun, or the action's, stands before
// the token at i with only words like "number" between; other says that
// another kind of record does.
func (a *filler) nearNoun(f *profile, ts []token, lo, i int) (near, other bool) {
	for j := i - 1; j >= lo && j >= i-4; j-- {
		t := &ts[j]
		if t.stop && j+1 < i && ts[j+1].stop || ts[j+1].stop {
			return false, false
		}
		switch {
		case t.isNoun() && (a.words[t.concept] || f.head[t.concept] > 0):
			return true, false
		case t.isNoun():
			if _, ok := nounWords[t.low]; ok && !hasDigit(t.low) {
				return false, true
			}
			return false, false
		case t.low == "number" || t.low == "no" || t.low == "nr" || t.low == "ref" || t.low == "reference" || t.low == "id" || t.low == "code":
			if a.words[stem(t.low)] {
				return true, false
			}
		case t.low == "is" || t.low == "and" || t.low == "s" || t.low == "called" || hasDigit(t.low):
		default:
			return false, false
		}
	}
	return false, false
}

// code returns the value that a token gives for the argument. With a pattern,
// the pattern decides, but a plain word never counts as a code unless it stands
// where a code is announced.
func (a *filler) code(t *token, r *reading, near bool) (string, bool) {
	digits := hasDigit(t.raw)
	capitals := !r.shouting && len(t.raw) > 1 && strings.ToUpper(t.raw) == t.raw && strings.ToLower(t.raw) != t.raw
	announced := near && !functionWords[t.low] && !attributes[t.low] && !progress[t.low] && t.verb.form == noForm && !t.isKnownNoun()
	if !digits && !capitals && !announced {
		return "", false
	}
	if a.re == nil {
		// Without a pattern a code must look like one.
		if !digits && !(capitals && strings.Contains(t.raw, "-")) || len(t.raw) < 2 && !t.hash && !near {
			return "", false
		}
		v := t.raw
		if strings.IndexFunc(v, func(r rune) bool { return r > 126 }) >= 0 || !a.valid(v) {
			return "", false
		}
		return v, true
	}
	tries := []string{t.raw}
	if t.hash {
		tries = append(tries, "#"+t.raw)
	}
	if digits || near {
		tries = append(tries, strings.ToUpper(t.raw), strings.ToLower(t.raw))
		if t.hash {
			tries = append(tries, "#"+strings.ToUpper(t.raw))
		}
	}
	for _, v := range tries {
		if a.re.MatchString(v) && a.valid(v) {
			return v, true
		}
	}
	return "", false
}

func (t *token) isKnownNoun() bool {
	_, ok := nounWords[t.low]
	return ok
}
