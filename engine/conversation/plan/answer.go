package plan

import (
	"slices"
	"strings"
	"time"
)

// answered is what a message answers to a yes-or-no question.
type answered uint8

const (
	noAnswer answered = iota
	saysYes
	saysNo
	yesAndMore // a yes, and then something of its own
)

var (
	yesWords = set(`yes yeah yep yup yea y sure ok okay confirm confirmed correct agreed absolutely definitely alright proceed
		affirmative aye`)
	noWords    = set(`no nope nah n not never nevermind cancel stop abort forget leave wait keep neither`)
	fillerWord = set(`it that this please thanks thank you i do want to ahead the just now am would like so is good fine all
		go of course me sounds great perfect one thing them hi hey oh well and we can for second actually don t sir be
		happy with`)
	yesPhrases = []string{"go ahead", "do it", "do so", "do that", "please do", "sounds good", "that is right", "that is fine", "that is correct",
		"that is good", "of course", "go for it", "looks good", "make it so", "all good"}
	noPhrases = []string{"never mind", "leave it", "forget it", "keep it"}
)

// answer reads a bare yes or no. A message that says anything else is neither:
// a confirmation must not be given by a word in passing.
func answer(ts []token) answered {
	if len(ts) == 0 {
		return noAnswer
	}
	yes := yesWords[ts[0].low]
	firm := yes && ts[0].low != "ok" && ts[0].low != "okay"
	no, bare := false, true
	var words []string
	for i := range ts {
		w := ts[i].low
		words = append(words, w)
		switch {
		case firm && i > 0 && (w == "cancel" || w == "stop"): // "yes, cancel it"
		case noWords[w]:
			no = true
		case yesWords[w]:
			yes = true
		case w == "mind" && i > 0 && ts[i-1].low == "never":
		case w == "right" && i > 0 && (ts[i-1].low == "is" || ts[i-1].low == "s" || ts[i-1].low == "all"): // not "yeah right"
		case !fillerWord[w]:
			bare = false
		}
		if len(words) > 10 {
			bare = false
			break
		}
	}
	text := " " + strings.Join(words, " ") + " "
	for _, p := range yesPhrases {
		yes = yes || strings.Contains(text, " "+p+" ")
	}
	for _, p := range noPhrases {
		no = no || strings.Contains(text, " "+p+" ")
	}
	switch {
	case !bare && firm:
		return yesAndMore
	case !bare:
		return noAnswer
	case no:
		return saysNo
	case yes:
		return saysYes
	}
	return noAnswer
}

var (
	greetWords = set("hi hello hey hiya howdy greetings yo heya hallo morning")
	greetFill  = set("there good morning afternoon evening day dear team all everyone i am this is my name to you bot assistant how are again")
	thankWords = set("thanks thank cheers thx ta appreciated grateful")
	thankFill  = set(`you so much very a lot many for your the help that is all great perfect ok okay good bye goodbye wonderful awesome lovely
		brilliant excellent nice really i appreciate it again have day was helpful no yes cool everything done and ever`)
	humans     = set("human humans agent agents person representative rep operator advisor adviser someone somebody staff manager supervisor assistant people")
	helpDesk   = set("support service team customer")
	reachWords = set("speak talk chat contact reach call phone connect transfer put get need want human real live speaking talking chatting contacting calling reaching")
	deskFacts  = set("hours hour number email mail phone address open times time when line")
)

// courtesy recognises what is neither a request nor a question: greetings,
// thanks, and the wish for a human.
func courtesy(ts []token) Kind {
	greet, thank, onlyGreet, onlyThank := false, false, true, true
	human, desk, reach, facts := false, false, false, false
	for i := range ts {
		w := ts[i].low
		greet = greet || greetWords[w]
		thank = thank || thankWords[w]
		named := ts[i].taken && !hasDigit(w)
		onlyGreet = onlyGreet && (greetWords[w] || greetFill[w] || named)
		onlyThank = onlyThank && (thankWords[w] || thankFill[w] || named)
		human = human || humans[w]
		desk = desk || helpDesk[w]
		reach = reach || reachWords[w]
		facts = facts || deskFacts[w]
	}
	switch {
	case len(ts) == 0:
		return Unknown
	case human && (reach || len(ts) <= 3) && !facts && !aboutHuman(ts):
		return Handoff
	case desk && reach && !facts && !asksHow(ts) && hasAny(ts, "speak", "talk", "chat", "contact", "reach", "call", "speaking", "talking", "connect", "transfer"):
		return Handoff
	case thank && onlyThank:
		return Thanks
	case greet && onlyGreet, onlyGreet && len(ts) == 2 && ts[0].low == "good":
		return Greeting
	}
	return Unknown
}

// aboutHuman reports whether "someone" is only the doer of something else: "can
// someone cancel my order", "get an order for another person".
func aboutHuman(ts []token) bool {
	return !hasAny(ts, "speak", "talk", "chat", "contact", "reach", "call", "connect", "transfer", "human", "real", "live", "agent",
		"representative", "operator", "speaking", "talking", "chatting", "contacting", "calling", "reaching", "advisor", "adviser", "manager", "supervisor") && len(ts) > 3 ||
		hasAny(ts, "cancel", "pause", "track") && !hasAny(ts, "speak", "talk", "chat", "contact", "call", "human", "speaking", "talking")
}

func hasAny(ts []token, words ...string) bool {
	return slices.ContainsFunc(ts, func(t token) bool { return slices.Contains(words, t.low) })
}

func asksHow(ts []token) bool {
	return hasAny(ts, "how", "what", "where", "when", "which")
}

// Pick returns the one choice that the text describes by its words or its
// date: "the fitting one", "my Tuesday appointment". It reports false when none
// or more than one fits.
func Pick(text string, choices []Choice, now time.Time, loc *time.Location) (Choice, bool) {
	if loc == nil {
		loc = time.UTC
	}
	ts := tokenize(clip(text, maxText))
	i, ok := pick(ts, findDates(ts, now.In(loc)), choices, now.In(loc), false)
	if !ok {
		return Choice{}, false
	}
	return choices[i], true
}

var ordinals = map[string]int{
	"first": 1, "1st": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4, "fifth": 5, "5th": 5, "sixth": 6, "6th": 6,
	"seventh": 7, "7th": 7, "eighth": 8, "8th": 8, "former": 1, "top": 1, "last": -1, "latter": -1, "bottom": -1,
	"one": 1, "two": 2, "three": 3, "four": 4, "five": 5,
}

// pick finds the choice meant. With byPlace a number or an ordinal may give its
// place in the list.
func pick(ts []token, dates []date, choices []Choice, now time.Time, byPlace bool) (int, bool) {
	if len(choices) == 0 {
		return 0, false
	}
	for i := range ts { // the value itself comes before everything
		for c := range choices {
			if v := fold(choices[c].Value); ts[i].low == v || ts[i].hash && "#"+ts[i].low == v {
				return c, true
			}
		}
	}
	best, score, tied := 0, 0.0, false
	bags := make([]map[string]bool, len(choices))
	seen := map[string]int{}
	for c := range choices {
		bags[c] = choiceBag(choices[c])
		for w := range bags[c] {
			seen[w]++
		}
	}
	for c := range choices {
		s := 0.0
		for i := range ts {
			if w := choiceWord(&ts[i]); w != "" && !asksFor(ts[i].low) && bags[c][w] && seen[w] < len(choices) {
				s += 1 / float64(seen[w])
			}
		}
		s += 3 * dateFit(dates, choices[c].Label, now)
		switch {
		case s > score:
			best, score, tied = c, s, false
		case s == score:
			tied = true
		}
	}
	if score > 0 && !tied {
		return best, true
	}
	if score > 0 || !byPlace || len(ts) > 8 {
		return 0, false
	}
	return place(ts, len(choices))
}

// place reads "the second", "2", "number 2", "the last one".
func place(ts []token, n int) (int, bool) {
	at := 0
	for i := range ts {
		w := ts[i].low
		k, ok := ordinals[w]
		if w == "one" && (at != 0 || len(ts) > 2) {
			continue // "the second one"
		}
		if !ok && allDigits(w) && len(w) <= 2 {
			for _, d := range w {
				k = k*10 + int(d-'0')
			}
			ok = true
		}
		if !ok {
			continue
		}
		if at != 0 && at != k {
			return 0, false
		}
		at = k
	}
	if at == -1 {
		at = n
	}
	if at < 1 || at > n {
		return 0, false
	}
	return at - 1, true
}

func choiceBag(c Choice) map[string]bool {
	bag := map[string]bool{}
	for _, s := range append([]string{c.Value, c.Label}, c.Words...) {
		ts := tokenize(clip(s, 256))
		for i := range ts {
			if w := choiceWord(&ts[i]); w != "" {
				bag[w] = true
			}
		}
	}
	return bag
}

// asksFor reports whether a word says what to do rather than to what: the
// "cancel" of "cancel my order" does not describe the order that is cancelled
// already.
func asksFor(w string) bool {
	_, noun := nounWords[w]
	return verbWords[w].form == baseForm && !noun
}

// choiceWord is what a word counts as when choices are told apart.
func choiceWord(t *token) string {
	if wd, ok := weekdays[t.low]; ok {
		return wd.String()
	}
	if m, ok := months[t.low]; ok {
		return m.String()
	}
	if functionWords[t.low] && t.low != "morning" && t.low != "afternoon" {
		return ""
	}
	if _, ok := dayNumber(t.low); ok && !allDigits(t.low) {
		return t.low[:len(t.low)-2] // "the 24th" is found in "24 Nov"
	}
	return stem(t.low)
}

// dateFit says how well one of the dates said agrees with one in the label.
func dateFit(said []date, label string, now time.Time) float64 {
	if len(said) == 0 {
		return 0
	}
	best := 0.0
	for _, l := range findDates(tokenize(clip(label, 256)), now) {
		for _, s := range said {
			sameDay := s.HasDay && l.HasDay && s.Time.YearDay() == l.Time.YearDay() && s.Time.Year() == l.Time.Year()
			sameTime := s.HasTime && l.HasTime && s.Time.Hour() == l.Time.Hour() && s.Time.Minute() == l.Time.Minute()
			switch {
			case sameDay && (sameTime || !s.HasTime):
				best = max(best, 1)
			case sameTime && !s.HasDay:
				best = max(best, 0.8)
			}
		}
	}
	return best
}
