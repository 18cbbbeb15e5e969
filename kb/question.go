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
)

// question is what Ask makes of a visitor's words.
type question struct {
	asked []asked
	kind  kind
}

// asked is one informative term of a question.
type asked struct {
	terms  []string // a stem and the concepts it puts; any of them will do
	exact  string   // the stem itself, "" when a way of several words put the concept
	key    bool     // a name or a number, without which an answer is beside the point
	light  bool     // an everyday word, which tells little
	weight float64
}

var (
	asksDuration = regexp.MustCompile(`(?i)\b(how (long|soon|quick|quickly|fast|late|early|many (days|weeks|months|hours|years))|when|what time|deadline|opening (hours|times))\b`)
	asksMoney    = regexp.MustCompile(`(?i)\b(how much|what does .* cost|what do .* cost|price of|cost of|what's the cost|how expensive)\b`)

	saysDuration = regexp.MustCompile(`(?i)(\b(\d+|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fourteen|thirty|a|an|per|each|every|same|next)[\s-](?:[a-z]+[\s-])?(minute|hour|day|week|fortnight|month|year)s?\b|\b\d{1,2}[:.]\d\d\b|\b\d{1,2} ?(am|pm)\b|\b(mon|tues|wednes|thurs|fri|satur|sun)days?\b|\b(immediately|at once|straight away|at any time|any time|never expires?|does not expire|overnight|lifetime|[12]\d{3})\b)`)
	saysMoney    = regexp.MustCompile(`(?i)([£$€] ?\d|\b\d+(\.\d\d)? ?(pounds|euros|dollars|pence|gbp|eur|usd|percent|per cent|million|billion)\b|\d ?%|\bfree\b|\bno charge\b|\bnot charge\b)`)
)

// parseQuestion finds the informative terms of a question.
func (s *shelf) parseQuestion(text string) question {
	if len(text) > maxQuestion {
		text = text[:maxQuestion]
		for !utf8.ValidString(text) && len(text) > 0 {
			text = text[:len(text)-1]
		}
	}
	text = tidy(clean(text))
	var q question
	switch {
	case asksMoney.MatchString(text):
		q.kind = money
	case asksDuration.MatchString(text):
		q.kind = duration
	}
	ws := words(text)
	cased := strings.IndexFunc(text, unicode.IsLower) >= 0 // not all in capitals
	used := make([]bool, len(ws))
	seen := bag{}
	for i, w := range ws {
		if used[i] || len(q.asked) == maxAsked {
			continue
		}
		a := asked{}
		for _, way := range ways[w.stem] {
			at, ok := way.match(ws, i)
			if !ok {
				continue
			}
			if len(way.stems) > 1 {
				a.terms, a.exact = []string{way.token}, ""
				for _, j := range at {
					used[j] = true
				}
				break
			}
			if !stopWords.has(w.text) {
				a.terms = append(a.terms, way.token)
			}
		}
		if !used[i] {
			if stopWords.has(w.text) || asksOnly(q.kind, w.text) {
				continue
			}
			a.exact = w.stem
			a.terms = append(a.terms, w.stem)
			a.light = lightWords.has(w.text) || lightStems.has(w.stem)
			a.key = !a.light && (w.isNumber() && !countsTime(ws, i) || cased && properNoun(text, ws, i))
		}
		if seen.has(a.terms[0]) {
			continue
		}
		seen[a.terms[0]] = struct{}{}
		s.weigh(&a)
		q.asked = append(q.asked, a)
	}
	return q
}

// asksOnly reports that a word says what kind of fact is asked, not about what.
func asksOnly(k kind, text string) bool {
	switch k {
	case duration:
		return text == "long" || text == "soon" || text == "days" || text == "time" || text == "quickly" || text == "fast"
	case money:
		return text == "much" || text == "cost" || text == "price"
	}
	return false
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
	mostWeight  = 4.0
	lightWeight = 0.4
)

func (s *shelf) weigh(a *asked) {
	df := 0
	for _, t := range a.terms {
		df = max(df, s.df[t])
	}
	a.weight = min(max(s.idf(df), leastWeight), mostWeight)
	if a.light {
		a.weight = lightWeight
	}
}

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
can can't cannot could couldn't did didn't do does doesn't doing don't down during each either else ever every few for from further
get gets getting give go goes going got had hadn't has hasn't have haven't having he he's her here here's hers herself hi hello hey him himself his how how's
i i'd i'll i'm i've if in into is isn't it it's its itself just kindly know let let's like likely look looking me may maybe might more most mustn't must my myself
need needs no nor not now of off ok okay on once one only or other others ought our ours ourselves out over own please possible put quite really
same say says see shall shan't she she's should shouldn't so some somebody someone something still such sure take takes tell than thank thanks that that's the their theirs them themselves then there there's these they they're they've thing things this those though through to too
try trying under until up upon us use usually using very want wanted wants was wasn't way we we're we've were weren't what what's whats when when's where where's whether which while who who's whom whose why will with within won't wonder wondering would wouldn't
yes yet you you're you've you'd you'll your yours yourself explain info information question ask asking anyway actually currently happen happens work works mean means come comes able allowed
`)

// lightWords are everyday words that a page may do without.
var lightWords = wordSet(`
already ago again back bad been best better big bit buy bought came day days due easy enough fast find first friend friend's gift
good great guys happened hear help hour hours keep kept last later least left long lot lots make makes many minute minutes mine mom
month months morning much mum my new next nice old online order ordered orders part people place present products product quick quickly right
sister son daughter brother husband wife week weeks year years soon start stuff time times today tomorrow tonight yesterday two three wait want
waiting item items bought else kind sort type types policy policies rule rules option options available customer customers company shop store stores
live right arrive arrived arrives someone's normally sent send started offer offers sell accept provide allow let
`)

// lightStems are lightWords in any form.
var lightStems = wordSet(`order item product day week month year policy rule option`)
