package plan

import (
	"regexp"
	"slices"
	"time"

	"vouchsafe/engine"
)

// reading is a message taken apart, before any action is considered.
type reading struct {
	text     string
	ts       []token
	modes    []mode
	asserted engine.Asserted
	emails   []span
	dates    []date
	now      time.Time
	shouting bool // nearly all capitals, so capitals mean nothing
}

// span is a range of bytes.
type span struct{ start, end int }

func (p *Planner) read(m Message) *reading {
	r := &reading{text: m.Text, now: m.Now.In(m.Location)}
	r.emails = findEmails(m.Text)
	r.ts = tokenize(blank(m.Text, led(m.Text, r.emails)))
	r.shouting = shouts(m.Text)
	r.dates = findDates(r.ts, r.now)
	for _, d := range r.dates {
		for i := d.from; i < d.to; i++ {
			r.ts[i].taken = true
		}
	}
	names := findNames(r.ts, p)
	r.asserted = engine.Asserted{Emails: texts(m.Text, r.emails), Names: names}
	p.tag(r.ts)
	r.modes = modes(r.ts)
	return r
}

// leadIn is what introduces an address and says nothing else: "my email is",
// "belonging to".
var leadIn = regexp.MustCompile(`(?i)(\b(my|the|his|her|their)\s+)?\b(e-?mail(\s+address)?\s*(is|:)|belong(s|ing)\s+to)\s*$`)

// led widens the spans of addresses by what introduces them.
func led(text string, emails []span) []span {
	out := slices.Clone(emails)
	for i, s := range out {
		from := 0
		if i > 0 {
			from = emails[i-1].end
		}
		if at := leadIn.FindStringIndex(text[max(from, s.start-64):s.start]); at != nil {
			out[i].start = max(from, s.start-64) + at[0]
		}
	}
	return out
}

// blank replaces the spans by a mark that is no part of a word, so that all else
// keeps its place.
func blank(text string, spans []span) string {
	if len(spans) == 0 {
		return text
	}
	b := []byte(text)
	for _, s := range spans {
		for i := s.start; i < s.end; i++ {
			b[i] = '~'
		}
	}
	return string(b)
}

func texts(text string, spans []span) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range spans {
		if e := text[s.start:s.end]; !seen[e] {
			seen[e] = true
			out = append(out, e)
		}
	}
	return out
}

// shouts reports whether nearly every letter is a capital.
func shouts(text string) bool {
	up, low := 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c >= 'A' && c <= 'Z':
			up++
		case c >= 'a' && c <= 'z':
			low++
		}
	}
	return up > 8 && low*4 < up
}

// tag says what each word is: a verb, a noun or a function word.
func (p *Planner) tag(ts []token) {
	for i := range ts {
		t := &ts[i]
		if t.taken || hasDigit(t.low) {
			continue
		}
		w := t.low
		if !p.isWord(w) && (i == 0 || t.brk || !capital(t.raw)) {
			if fixed, ok := p.correct(w); ok {
				w, t.typo = fixed, true
			}
		}
		if w == "call" && i+1 < len(ts) && ts[i+1].low == "off" {
			t.verb, t.concept = verb{"cancel", baseForm}, "v:cancel"
			continue
		}
		if v, ok := p.verbOf(w); ok && !nounHere(ts, i) {
			t.verb, t.concept = v, "v:"+v.class
			t.low = w
			continue
		}
		if v, ok := orderVerb(ts, i); ok {
			t.verb, t.concept = v, "v:"+v.class
			continue
		}
		t.low = w
		if c, ok := p.nounOf(w); ok {
			t.concept = c
			t.plural = singular(w) != w
			continue
		}
		if functionWords[w] || notNames[w] && !topics[w] {
			continue
		}
		if progress[w] {
			t.concept = "t:" + stem(w)
			continue
		}
		if attributes[w] {
			t.concept = "a:" + singular(w)
			continue
		}
		t.concept = stem(singular(w))
		t.plural = singular(w) != w
	}
	for i := 0; i+1 < len(ts); i++ {
		t, next := &ts[i], &ts[i+1]
		t.modify = t.isNoun() && !next.brk && next.isNoun() && next.concept != t.concept
	}
}

// isNoun reports whether the token names a thing, its attributes aside.
func (t *token) isNoun() bool {
	return t.concept != "" && t.verb.form == noForm && (len(t.concept) < 2 || t.concept[1] != ':')
}

// content reports whether the token carries a subject that wants explaining.
func (t *token) content() bool { return t.concept != "" && !t.taken }

func (p *Planner) isWord(w string) bool {
	if p.known[w] || functionWords[w] || topics[w] || attributes[w] || progress[w] || familiar[w] || notNames[w] || firstNames[w] {
		return true
	}
	if _, ok := verbWords[w]; ok {
		return true
	}
	_, ok := nounWords[w]
	return ok
}

func (p *Planner) verbOf(w string) (verb, bool) {
	if v, ok := p.verbs[w]; ok {
		return v, true
	}
	if _, ok := p.nouns[w]; ok {
		if _, both := nounWords[w]; both {
			return verb{}, false
		}
	}
	v, ok := verbWords[w]
	return v, ok
}

func (p *Planner) nounOf(w string) (string, bool) {
	if c, ok := p.nouns[w]; ok {
		return c, true
	}
	c, ok := nounWords[w]
	return c, ok
}

// nounHere reports whether a word that may be a verb stands as a noun: "my
// return", "the refund policy", "a change".
func nounHere(ts []token, i int) bool {
	if _, noun := nounWords[ts[i].low]; noun {
		return true
	}
	if i > 0 && !ts[i].brk {
		switch ts[i-1].low {
		case "my", "the", "a", "an", "any", "your", "our", "this", "that", "his", "her", "their", "no", "another":
			if _, ok := irregular[ts[i].low]; ok && i+1 < len(ts) && ts[i+1].low == "of" {
				return false // "a cancellation of my order"
			}
			return !(ts[i-1].low == "that" || ts[i-1].low == "this") || i+1 >= len(ts) || !determiner(ts[i+1].low)
		}
		if ts[i-1].poss {
			return true
		}
	}
	if i+1 < len(ts) && !ts[i+1].brk {
		switch ts[i+1].low {
		case "policy", "policies", "fee", "fees", "charge", "charges", "window", "label":
			return true
		}
	}
	return false
}

func determiner(w string) bool {
	switch w {
	case "my", "the", "a", "an", "any", "your", "our", "this", "that", "it", "them", "these", "those", "all", "some", "me":
		return true
	}
	return false
}

// orderVerb reads "order" as a verb where it asks to buy something: "order a
// lamp", "I want to order". Customers mostly write it as a noun.
func orderVerb(ts []token, i int) (verb, bool) {
	if ts[i].low != "order" && ts[i].low != "purchase" && ts[i].low != "reordering" && ts[i].low != "ordering" {
		return verb{}, false
	}
	if ts[i].low == "ordering" || ts[i].low == "reordering" {
		return verb{"create", ingForm}, true
	}
	buy := verb{"create", baseForm}
	if i > 0 && !ts[i].brk {
		switch ts[i-1].low {
		case "i", "we":
			return buy, i < 2 || ts[i-2].low != "did"
		case "to", "you", "can", "could", "not":
			return buy, true
		case "my", "the", "a", "an", "this", "that", "your", "our", "any", "another":
			return verb{}, false
		}
	}
	if i+1 < len(ts) && !ts[i+1].brk {
		switch ts[i+1].low {
		case "a", "an", "me", "more", "some", "another", "two", "three", "new", "us":
			return buy, true
		case "the", "all":
			return buy, i == 0 || ts[i].brk || adverbs[ts[i-1].low]
		}
	}
	return verb{}, false
}

// correct returns the known word that is one letter away.
func (p *Planner) correct(w string) (string, bool) {
	if len(w) < 5 || len(w) > 24 {
		return "", false
	}
	short := len(w) == 5 // too short to guess but at a letter left out
	for i := 0; i < len(w); i++ {
		if w[i] < 'a' || w[i] > 'z' {
			return "", false
		}
	}
	pick := func(k string) (string, bool) {
		v, ok := p.near[k]
		return v, ok && v[0] == w[0] && len(v)-len(w) <= 1 && len(w)-len(v) <= 1
	}
	if v, ok := pick(w); ok || short { // a letter is lacking
		return v, ok
	}
	for i := 1; i < len(w); i++ {
		less := w[:i] + w[i+1:]
		if p.known[less] && len(less) >= 5 { // one too many
			return less, true
		}
		if v, ok := pick(less); ok { // another letter, or two changed places
			return v, true
		}
	}
	return "", false
}
