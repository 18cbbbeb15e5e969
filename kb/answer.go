package kb

import (
	"context"
	"strings"
)

// How much of a question must stand on the page. Scores of the index play no
// part in declining: they depend on how the index is laid out, coverage of the
// question's own words does not.
const (
	leastCover   = 0.62 // share of the question's weight found near the answer
	topicalCover = 0.50 // the same, when the page's headings are about the question
	topicalShare = 0.45 // share of the weight in the headings that makes it so
	unlikeCover  = 0.80 // the same, when no sentence states the kind of fact asked for
	candidates   = 50   // passages looked at
	mostUnits    = 3    // sentences of an answer
	mostQuoted   = 50   // words up to which a whole paragraph is quoted
	longestList  = 8    // items a sentence ending in a colon may bring along
)

// What a term counts for by where it stands.
const (
	inSentence = 1.0
	inHeading  = 0.9
	inTitle    = 0.85
	inPassage  = 0.6
	viaConcept = 0.95 // put in other words
)

// What makes one sentence better than another that covers as much.
const (
	forKind     = 0.30 // it states the kind of fact asked for
	forOwn      = 0.25 // times the share it says itself
	forTopic    = 0.25 // times the share in the headings
	forWhole    = 0.20 // times the share in the passage
	forRank     = 0.15 // times the index's score, the best being 1
	forLead     = 0.06 // it opens the passage
	forOpening  = 0.20 // times the share in the title: the passage opens the page
	forStraying = 0.12 // less, times the share of the headings not asked about
	forPairs    = 0.30 // times the share of words that stand side by side as asked
	forSense    = 0.08 // it says yes or no like the question
	forDenial   = 0.20 // it says no, and the question is what is not so
	forAsking   = 0.20 // its heading asks for the same kind of fact
	forProse    = 0.05 // it is a sentence, not an item
)

// candidate is a passage read against a question.
type candidate struct {
	found
	score float64 // of its best sentence and the whole
	best  int     // that sentence
	cover float64
	topic float64 // share of the question in title and headings
	typed bool    // the best sentence states the kind of fact asked for
	keys  bool    // every name and number of the question is there
}

// answer picks the passage that covers most of the question and quotes it, or
// declines.
func (s *shelf) answer(ctx context.Context, text string) (Answer, error) {
	q := s.parseQuestion(text)
	if !q.informative() {
		return Answer{}, nil
	}
	hits, err := s.search(ctx, q.asked, candidates)
	if err != nil {
		return Answer{}, err
	}
	var top *candidate
	for _, hit := range hits {
		c := s.read(q, hit, hits[0].score)
		if !c.typed && (q.kind == phone || q.kind == mail) {
			continue // a number or an address is there or is not
		}
		if top == nil || c.score > top.score {
			top = &c
		}
	}
	if top == nil || !top.supports(q) {
		return Answer{}, nil
	}
	return s.quote(q, top), nil
}

// informative reports whether the question has a subject at all.
func (q question) informative() bool {
	for _, a := range q.asked {
		if !a.light {
			return true
		}
	}
	return false
}

// supports is the decision between answering and declining.
func (c *candidate) supports(q question) bool {
	need := leastCover
	switch {
	case q.kind != anyFact && !c.typed:
		need = unlikeCover
	case c.topic >= topicalShare && q.known():
		need = topicalCover
	}
	return c.keys && c.cover >= need
}

// known reports whether the site's pages have every informative term.
func (q question) known() bool {
	for _, a := range q.asked {
		if !a.known && !a.light {
			return false
		}
	}
	return true
}

// read scores a passage sentence by sentence.
func (s *shelf) read(q question, hit found, topScore float64) candidate {
	p := &s.passages[hit.passage]
	c := candidate{found: hit, best: -1, keys: true}
	total, whole, titled := 0.0, 0.0, 0.0
	for _, a := range q.asked {
		total += a.weight
		above := max(a.in(p.headings)*inHeading, a.in(p.title)*inTitle)
		at := max(a.in(p.body)*inSentence, above)
		whole += a.weight * at
		c.topic += a.weight * above
		titled += a.weight * a.in(p.title)
		if a.key && at == 0 {
			c.keys = false
		}
	}
	c.topic /= total
	c.score = -1
	for i, u := range p.units {
		cover, own := 0.0, 0.0
		for _, a := range q.asked {
			in := a.in(u.terms)
			own += a.weight * in
			cover += a.weight * max(in*inSentence, a.in(p.headings)*inHeading, a.in(p.title)*inTitle, a.in(p.body)*inPassage)
		}
		cover /= total
		score := cover + forOwn*own/total
		typed := u.states.has(q.kind)
		if q.kind != anyFact && typed {
			score += forKind
		}
		if len(q.pairs) > 0 {
			score += forPairs * q.paired(u.order)
		}
		if i == 0 {
			score += forLead
		}
		switch {
		case q.kind != anyFact:
		case u.denies && q.negative:
			score += forDenial
		case !u.denies && !q.negative:
			score += forSense
		}
		if !p.Units[i].Item {
			score += forProse
		}
		if score > c.score {
			c.score, c.best, c.cover, c.typed = score, i, cover, typed
		}
	}
	c.score += forTopic*c.topic + forWhole*whole/total + forRank*hit.score/topScore
	if len(p.Headings) == 0 {
		c.score += forOpening * titled / total
	}
	if p.asks.has(q.kind) {
		c.score += forAsking
	}
	c.score -= forStraying * q.straying(p)
	return c
}

// paired is the share of the question's pairs that stand in a text.
func (q question) paired(text []termID) float64 {
	n := 0
	for _, pair := range q.pairs {
		for i := 1; i < len(text); i++ {
			if text[i-1] == pair[0] && text[i] == pair[1] {
				n++
				break
			}
		}
	}
	return float64(n) / float64(len(q.pairs))
}

// straying is the share of a passage's own heading that the question does not
// ask about.
func (q question) straying(p *shelved) float64 {
	if len(p.about) == 0 {
		return 0
	}
	n := 0
	for _, terms := range p.about {
		asked := false
		for _, a := range q.asked {
			asked = asked || a.in(terms) > 0
		}
		if !asked {
			n++
		}
	}
	return float64(n) / float64(len(p.about))
}

// in says how well a text puts an asked term: 0 when not at all.
func (a asked) in(t termSet) float64 {
	if a.exact != noTerm && t.has(a.exact) {
		return 1
	}
	for _, id := range a.ids {
		if t.has(id) {
			return viaConcept
		}
	}
	return 0
}

// listed is a sentence with the items it introduces, if any.
func (p passage) listed(i int) string { return p.span(i, p.lastItem(i)) }

// lastItem is the last of the items that the sentence at i introduces, or i.
func (p passage) lastItem(i int) int {
	if !strings.HasSuffix(p.Units[i].Text, ":") {
		return i
	}
	last := i
	for j := i + 1; j < len(p.Units) && j-i <= longestList && p.Units[j].Item; j++ {
		last = j
	}
	return last
}

// leaning lists the words that tie a sentence to the one before it.
var leaning = wordSet(`it its they them their this that these those he she his her if otherwise however but then so instead also after before both either neither such there in`)

// leans reports whether a sentence says too little without the one before it.
func leans(text string) bool {
	first, rest, _ := strings.Cut(strings.ToLower(text), " ")
	first = strings.Trim(first, ",;")
	switch first {
	case "if", "after", "before", "there", "in":
		return strings.HasPrefix(rest, "so ") || strings.HasPrefix(rest, "that ") || strings.HasPrefix(rest, "not,") || strings.HasPrefix(rest, "this ")
	}
	return leaning.has(first)
}

// quote makes the answer: the best sentence with what belongs to it, in the
// passage's order.
func (s *shelf) quote(q question, c *candidate) Answer {
	p := &s.passages[c.passage]
	from, to := p.around(c.best)
	if p.Units[c.best].Item {
		from, to = p.items(q, c)
	}
	for n := to - from + 1; n < mostUnits && to+1 < len(p.Units); n++ {
		if p.Units[to+1].Item || p.Units[to].Item || !s.adds(q, c, from, to) {
			break
		}
		to = max(to+1, p.lastItem(to+1))
	}
	d := s.docs[p.doc]
	text := p.span(from, to)
	cite := Citation{Document: d.ID, Title: d.Title, URL: d.URL, Passage: text}
	if cite.URL != "" && p.Anchor != "" && !strings.Contains(cite.URL, "#") {
		cite.URL += "#" + p.Anchor
	}
	return Answer{Text: text, Citations: []Citation{cite}}
}

// around is what is quoted with a sentence: its whole paragraph if that is
// short, otherwise the sentence with those it leans on and the items it
// introduces.
func (p passage) around(best int) (from, to int) {
	from, to = best, best
	for from > 0 && p.Units[from].Sep == " " {
		from--
	}
	for to+1 < len(p.Units) && p.Units[to+1].Sep == " " {
		to++
	}
	if to-from < mostUnits && strings.Count(p.span(from, to), " ") < mostQuoted {
		return from, p.lastItem(to)
	}
	from, to = best, best
	for from > 0 && to-from < mostUnits-1 && leans(p.Units[from].Text) && !p.Units[from-1].Item {
		from--
	}
	return from, p.lastItem(to)
}

// items is what is quoted with a list item or a table row: itself, when the
// question names it, otherwise the list it stands in.
func (p *shelved) items(q question, c *candidate) (from, to int) {
	from, to = c.best, c.best
	for _, a := range q.asked {
		if !a.light && a.in(p.units[c.best].terms) > 0 && a.in(p.headings) == 0 && a.in(p.title) == 0 {
			if strings.Count(p.Units[c.best].Text, " ") >= 5 {
				return from, to
			}
		}
	}
	for from > 0 && p.Units[from].Item && c.best-from < longestList {
		from--
	}
	if !p.Units[from].Item && !strings.HasSuffix(p.Units[from].Text, ":") {
		from++
	}
	for to+1 < len(p.Units) && p.Units[to+1].Item && to-from < longestList {
		to++
	}
	return from, to
}

// adds reports whether the sentence after to belongs to the answer: it leans on
// what is there, or says something asked that is not said yet.
func (s *shelf) adds(q question, c *candidate, from, to int) bool {
	p := &s.passages[c.passage]
	if leans(p.Units[to+1].Text) {
		return true
	}
	for _, a := range q.asked {
		if a.light || a.in(p.units[to+1].terms) == 0 {
			continue
		}
		said := false
		for i := from; i <= to; i++ {
			said = said || a.in(p.units[i].terms) > 0
		}
		if !said {
			return true
		}
	}
	return false
}
