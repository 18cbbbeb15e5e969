package kb

import (
	"context"
	"strings"
)

// How much of a question must stand on the page. Scores of the index play no
// part in declining: they depend on how the index is laid out, coverage of the
// question's own words does not.
const (
	leastCover  = 0.62 // share of the question's weight found near the answer
	unlikeCover = 0.80 // the same, when no sentence states the kind of fact asked for
	candidates  = 10   // passages looked at
	mostUnits   = 3    // sentences of an answer
	longestList = 8    // items a sentence ending in a colon may bring along
)

// What a term counts for by where it stands.
const (
	inSentence = 1.0
	inHeading  = 0.9
	inTitle    = 0.85
	inPassage  = 0.6
	viaConcept = 0.95 // put in other words
)

// candidate is a passage read against a question.
type candidate struct {
	found
	units []bag
	score float64 // of its best sentence and the whole
	best  int     // that sentence
	cover float64
	typed bool // the best sentence states the kind of fact asked for
	keys  bool // every name and number of the question is there
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
	if q.kind != anyFact && !c.typed {
		need = unlikeCover
	}
	return c.keys && c.cover >= need
}

// read scores a passage sentence by sentence.
func (s *shelf) read(q question, hit found, topScore float64) candidate {
	p := &s.passages[hit.passage]
	c := candidate{found: hit, units: make([]bag, len(p.Units)), best: -1, keys: true}
	total, whole := 0.0, 0.0
	for _, a := range q.asked {
		total += a.weight
		at := max(a.in(p.body)*inSentence, a.in(p.headings)*inHeading, a.in(p.title)*inTitle)
		whole += a.weight * at
		if a.key && at == 0 {
			c.keys = false
		}
	}
	bestScore := -1.0
	for i, u := range p.Units {
		c.units[i] = bagOf(u.Text)
		got := 0.0
		for _, a := range q.asked {
			got += a.weight * max(a.in(c.units[i])*inSentence, a.in(p.headings)*inHeading, a.in(p.title)*inTitle, a.in(p.body)*inPassage)
		}
		cover := got / total
		score := cover
		typed := q.kind.statedIn(p.listed(i))
		if q.kind != anyFact && typed {
			score += 0.15
		}
		// Between equals, the sentence that says more of it itself.
		own := 0.0
		for _, a := range q.asked {
			own += a.weight * a.in(c.units[i])
		}
		score += 0.25 * own / total
		if score > bestScore {
			bestScore, c.best, c.cover, c.typed = score, i, cover, typed
		}
	}
	c.score = bestScore + 0.2*whole/total + 0.15*hit.score/topScore
	return c
}

// in says how well a bag puts an asked term: 0 when not at all.
func (a asked) in(b bag) float64 {
	if a.exact != "" && b.has(a.exact) {
		return 1
	}
	for _, t := range a.terms {
		if b.has(t) {
			return viaConcept
		}
	}
	return 0
}

func (k kind) statedIn(text string) bool {
	switch k {
	case duration:
		return saysDuration.MatchString(text)
	case money:
		return saysMoney.MatchString(text)
	}
	return true
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

// quote makes the answer: the best sentence, the one it leans on, the items it
// introduces, and what else in the passage adds to it, in the passage's order.
func (s *shelf) quote(q question, c *candidate) Answer {
	p := &s.passages[c.passage]
	from, to := c.best, c.best
	if p.Units[c.best].Item {
		// An item is told with the sentence that introduces it when it says
		// little alone.
		if strings.Count(p.Units[c.best].Text, " ") < 5 {
			for from > 0 && p.Units[from].Item {
				from--
			}
			if c.best-from > longestList {
				from = c.best
			}
		}
	} else {
		for from > 0 && to-from < mostUnits-1 && leans(p.Units[from].Text) && !p.Units[from-1].Item {
			from--
		}
	}
	to = max(to, p.lastItem(to))
	for n := to - from + 1; n < mostUnits && to+1 < len(p.Units); n++ {
		next := p.Units[to+1]
		if next.Item != p.Units[to].Item || !s.adds(q, c, from, to) {
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

// adds reports whether the sentence after to belongs to the answer: it leans on
// what is there, or says something asked that is not said yet.
func (s *shelf) adds(q question, c *candidate, from, to int) bool {
	p := &s.passages[c.passage]
	if leans(p.Units[to+1].Text) {
		return true
	}
	for _, a := range q.asked {
		if a.light || a.in(c.units[to+1]) == 0 {
			continue
		}
		said := false
		for i := from; i <= to; i++ {
			said = said || a.in(c.units[i]) > 0
		}
		if !said {
			return true
		}
	}
	return false
}
