package kb

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a question. What lies beyond them is not read.
const (
	maxQuestion = 2000 // bytes
	maxAsked    = 24   // informative terms
)

// kind is what sort of fact a question asks for, as far as its words tell.
type kind uint8

const (
	anyFact kind = iota
	duration
	money
	phone
	mail
	cause
)

// question is what Ask makes of a visitor's words.
type question struct {
	asked    []asked
	kind     kind
	negative bool        // asks what is not so
	pairs    [][2]termID // informative words that stand side by side
}

// asked is one informative term of a question.
type asked struct {
	terms  []string // a stem and the concepts it puts; any of them will do
	ids    []termID // of terms; those that no page has are left out
	exact  termID   // of the stem itself, noTerm when a way of several words put the concept
	key    bool     // a name or a number, without which an answer is beside the point
	light  bool     // an everyday word, which tells little
	weight float64
	known  bool // some page of the site has it
}

// kinds of fact, by how they are asked for and by what a sentence that states
// one looks like. The first that matches is taken.
var facts = []struct {
	kind       kind
	asks, says *regexp.Regexp
	only       bag // words and concepts that ask for the kind and say nothing of the subject
}{
	{
		kind: money,
		asks: regexp.MustCompile(`(?i)\b(how much|what (does|do|would|will) .* cost|price of|cost of|what's the (cost|price)|how expensive|(have to|do i|must i|need to) pay( extra)? (for|to)|is (it|there|this) .*(free|charge|fee)|are .* free)\b`),
		says: regexp.MustCompile(`(?i)([£$€] ?\d|\b\d+(\.\d\d)? ?(pounds|euros|dollars|pence|gbp|eur|usd|percent|per cent|million|billion)\b|\d ?%|\bfree\b|\b(no|not|without) (charge|fee)|\b(pay|cost)s?\b)`),
		only: wordSet(`much cost costs price prices pay charge free extra ~cost`),
	},
	{
		kind: duration,
		asks: regexp.MustCompile(`(?i)\b(how (long|soon|quick|quickly|fast|late|early|far ahead|far in advance|many (days|weeks|months|hours|years))|when|what time|deadline|opening (hours|times))\b`),
		says: regexp.MustCompile(`(?i)(\b(\d+|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fourteen|thirty|a|an|per|each|every|same|next)[\s-](?:[a-z]+[\s-])?(minute|hour|day|week|fortnight|month|year)s?\b|\b\d{1,2}[:.]\d\d\b|\b\d{1,2} ?(am|pm)\b|\b(mon|tues|wednes|thurs|fri|satur|sun)days?\b|\b(when|until|before|as soon as|immediately|at once|straight away|at any time|any time|does not expire|overnight|lifetime|[12]\d{3})\b|\b\d{1,2} (january|february|march|april|may|june|july|august|september|october|november|december)\b)`),
		only: wordSet(`long soon days time quickly fast far early`),
	},
	{
		kind: phone,
		asks: regexp.MustCompile(`(?i)\b((phone|telephone) number|number (to|can i|do i) (call|ring)|call you|ring you|phone you)\b`),
		says: regexp.MustCompile(`\+?\d[\d ()-]{7,}\d`),
		only: wordSet(`number`),
	},
	{
		kind: mail,
		asks: regexp.MustCompile(`(?i)\b(your|the shop's|contact) email\b`),
		says: regexp.MustCompile(`\S@\S`),
		only: wordSet(`address`),
	},
	{
		kind: cause,
		asks: regexp.MustCompile(`(?i)^\W*(but |and |so )?(why|how come|what for)\b`),
		says: regexp.MustCompile(`(?i)\b(because|so that|in order to|since|due to|reason)\b`),
	},
}

// kinds is a set of kinds.
type kinds uint8

func (k kinds) has(one kind) bool { return k&(1<<one) != 0 }

// stated is the kinds of fact that a text states; a fact of any kind is.
func stated(text string) kinds {
	k := kinds(1 << anyFact)
	for _, f := range facts {
		if f.says.MatchString(text) {
			k |= 1 << f.kind
		}
	}
	return k
}

// askedIn is the kinds of fact that a text, such as a heading, asks for.
func askedIn(text string) kinds {
	var k kinds
	for _, f := range facts {
		if f.asks.MatchString(text) {
			k |= 1 << f.kind
		}
	}
	return k
}

// asideWeight is what a term counts for that stands outside the clause which
// asks: "I bought a jumper in May, can I still return it?"
const asideWeight = 0.25

var (
	clauseEnd = regexp.MustCompile(`[.,;:!?]+(\s|$)`)
	asksHere  = regexp.MustCompile(`(?i)^\W*((and|but|so|also|then) )?(can|could|do|does|did|is|are|am|was|will|would|may|should|shall|how|what|what's|when|where|which|who|why|whose)\b`)
)

// asides returns the byte ranges of the clauses that do not ask, when another
// one does.
func asides(text string) [][2]int {
	var out [][2]int
	start, questions := 0, 0
	for _, end := range append(clauseEnd.FindAllStringIndex(text, -1), []int{len(text), len(text)}) {
		switch clause := text[start:end[0]]; {
		case asksHere.MatchString(clause):
			questions++
		case strings.TrimSpace(clause) != "":
			out = append(out, [2]int{start, end[0]})
		}
		start = end[1]
	}
	if questions == 0 {
		return nil
	}
	return out
}

// negation finds sentences that say what is not so; deniesToo, questions that
// ask for them.
var (
	negation  = regexp.MustCompile(`(?i)\b(not|cannot|never|no|\w+n't)\b`)
	deniesToo = regexp.MustCompile(`(?i)\b(can't|cannot|can not|won't|not allowed|doesn't|isn't|aren't|never)\b`)
)

// theStates is the country, which without its capitals would be the word "us".
var theStates = regexp.MustCompile(`\bU\.?S\.?(A\b\.?)?(\s|[?!,]|$)`)

// parseQuestion finds the informative terms of a question.
func (s *shelf) parseQuestion(text string) question {
	if len(text) > maxQuestion {
		text = text[:maxQuestion]
		for !utf8.ValidString(text) && len(text) > 0 {
			text = text[:len(text)-1]
		}
	}
	text = tidy(clean(text))
	if strings.IndexFunc(text, unicode.IsLower) >= 0 {
		text = theStates.ReplaceAllString(text, "United States$2")
	}
	q := question{negative: deniesToo.MatchString(text)}
	var only bag
	for _, f := range facts {
		if f.asks.MatchString(text) {
			q.kind, only = f.kind, f.only
			break
		}
	}
	ws := words(text)
	cased := strings.IndexFunc(text, unicode.IsLower) >= 0 // not all in capitals
	seen := map[string]int{}
	aside := asides(text)
	for i, m := range meanings(ws) {
		w := ws[i]
		if m.absorbed || len(q.asked) == maxAsked {
			continue
		}
		a := asked{exact: noTerm}
		switch {
		case m.phrase:
			a.terms = m.concepts
		case stopWords.has(w.text), only.has(w.text):
			continue
		default:
			a.terms = append(m.concepts, w.stem)
			a.exact = s.term(w.stem)
			a.light = lightWords.has(w.text) || lightStems.has(w.stem)
			a.key = !a.light && (w.isNumber() && !countsTime(ws, i) || cased && properNoun(text, ws, i))
		}
		if m.phrase && only.has(a.terms[0]) {
			continue
		}
		if at, ok := seen[a.terms[0]]; ok {
			// Said twice, it matters more.
			q.asked[at].weight *= againWeight
			continue
		}
		seen[a.terms[0]] = len(q.asked)
		if i+1 < len(ws) && !m.phrase && !stopWords.has(ws[i+1].text) && !only.has(ws[i+1].text) {
			q.pairs = append(q.pairs, [2]termID{a.exact, s.term(ws[i+1].stem)})
		}
		s.weigh(&a)
		for _, r := range aside {
			if w.start >= r[0] && w.start < r[1] {
				a.weight, a.key = a.weight*asideWeight, false
			}
		}
		q.asked = append(q.asked, a)
	}
	return q
}

// properNoun reports whether the word is written as a name: with a capital
// that its place in the sentence does not ask for.
func properNoun(text string, ws []word, i int) bool {
	at := ws[i].start
	r, _ := utf8.DecodeRuneInString(text[at:])
	if !unicode.IsUpper(r) || i == 0 {
		return false
	}
	before := strings.TrimRight(text[:at], " \"'(")
	return before != "" && !strings.ContainsAny(before[len(before)-1:], ".!?:")
}

// countsTime reports whether the number at i counts days or the like, which a
// page may well put in another number.
func countsTime(ws []word, i int) bool {
	if i+1 >= len(ws) {
		return false
	}
	switch ws[i+1].stem {
	case "minut", "hour", "day", "week", "month", "year", "pm", "am":
		return true
	}
	return false
}

// Weights: no single term decides alone, and an everyday word hardly counts.
const (
	leastWeight = 1.0
	mostWeight  = 3.5
	newWeight   = 5.0 // of a term that no page has
	lightWeight = 0.4
	againWeight = 1.4
)

func (s *shelf) weigh(a *asked) {
	df := 0
	for _, t := range a.terms {
		if id := s.term(t); id != noTerm {
			a.ids = append(a.ids, id)
			df = max(df, s.df[id])
		}
	}
	a.known = df > 0
	a.weight = min(max(s.idf(df), leastWeight), mostWeight)
	if !a.known {
		a.weight = newWeight
	}
	if a.light {
		a.weight = lightWeight
	}
}

// bag is a set of words.
type bag map[string]struct{}

func (b bag) has(word string) bool { _, ok := b[word]; return ok }

func wordSet(list string) bag {
	b := bag{}
	for w := range strings.FieldsSeq(list) {
		b[w] = struct{}{}
	}
	return b
}

// stopWords tell nothing about the subject of a question.
var stopWords = wordSet(`
a about above after again all also am an and any anybody anyone anything are aren't as at be been before being below between both but by
can can't cannot could couldn't did didn't do does doesn't doing don't down during each either else ever every far few for from further
gave get gets getting give given go goes going got had hadn't has hasn't have haven't having he he's her here here's hers herself hi hello hey him himself his how how's
i i'd i'll i'm i've if in into is isn't it it's its itself just kindly know let let's like likely look looking me may maybe might more most mustn't must my myself near nearby
need needs no nor not now of off ok okay on once one only or other others ought our ours ourselves out over own please possible put quite really
same say says see shall shan't she she's should shouldn't so some somebody someone something still such sure take takes tell than thank thanks that that's the their theirs them themselves then there there's these they they're they've thing things this those though through to too
try trying under until up upon us use usually using very want wanted wants was wasn't way we we're we've were weren't what what's whats when when's where where's whether which while who who's whom whose why will with within won't wonder wondering would wouldn't
yes yet you you're you've you'd you'll your yours yourself explain info information question ask asking anyway actually currently happen happens work works mean means come comes able allowed
`)

// lightWords are everyday words that a page may do without.
var lightWords = wordSet(`
ahead advance already ago again back bad been best better big bit buy bought came day days due easy enough fast find first friend friend's purchase purchases gift
good great guys happened hear help hour hours keep kept last later least left long lot lots make makes many minute minutes mine mom
month months morning much mum my new next nice old online order ordered orders part people place present products product quick quickly right
sister son daughter brother husband wife week weeks year years soon start stuff time times today tomorrow tonight yesterday two three wait want
waiting item items bought else kind sort type types policy policies rule rules option options available customer customers company shop store stores
live right arrive arrived arrives someone's normally sent send started offer offers accept provide allow let
`)

// lightStems are lightWords in any form.
var lightStems = wordSet(`order item product day week month year policy rule option`)
