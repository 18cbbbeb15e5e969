package plan

import "slices"

// mode is how a verb is meant. Only a requested verb asks for something now.
type mode uint8

const (
	plain     mode = iota // a verb, but nobody is asked to do it
	requested             // "cancel it", "I want to cancel", "can you cancel"
	askCan                // "can I cancel": a question, or a polite request
	askHow                // "how do I cancel", "what if I cancel"
	negated               // "don't cancel"
	reported              // "was cancelled", "why did you cancel"
)

// adverbs may stand between a request and its verb.
var adverbs = set(`please kindly just now also then really actually simply quickly immediately maybe perhaps again still
	completely fully permanently temporarily urgently asap ahead instead`)

// modes judges every verb of a message, in order.
func modes(ts []token) []mode {
	out := make([]mode, len(ts))
	sentence, last := 0, -1
	for i := range ts {
		if ts[i].stop {
			sentence, last = i, -1
		}
		if ts[i].verb.form == noForm || ts[i].taken {
			continue
		}
		if ts[i].quoted {
			out[i] = reported
			continue
		}
		m := modeOf(ts, sentence, i)
		if m == requested && last >= 0 && joined(ts, last, i) && ts[i].verb.form == baseForm {
			// "how do I find and cancel": the second verb is meant as the first.
			m = out[last]
		}
		out[i], last = m, i
	}
	return out
}

// joined reports whether only "and", "or" and adverbs lie before verb i since
// its sentence's earlier verb, so that one lead governs both.
func joined(ts []token, last, i int) bool {
	j := i - 1
	for j > last && adverbs[ts[j].low] {
		j--
	}
	return j > last && (ts[j].low == "and" || ts[j].low == "or") && j-last <= 4
}

// maxLead is how far back a verb's lead is looked for.
const maxLead = 14

func modeOf(ts []token, sentence, i int) mode {
	sentence = max(sentence, i-maxLead)
	switch ts[i].verb.form {
	case thirdForm:
		return reported
	case pastForm:
		return pastMode(ts, sentence, i)
	case ingForm:
		return ingMode(ts, sentence, i)
	}
	lead := leadOf(ts, sentence, i)
	asked := questionStart(ts, sentence, i)
	conditional := isConditional(ts, sentence, i)
	if len(lead) == 0 { // the verb opens a clause
		switch {
		case conditional:
			return askHow
		case i > sentence && !ts[i].brk && asked:
			return askHow
		}
		return requested
	}
	at := func(n int) string { // the nth word before the verb, from 1
		if n <= len(lead) {
			return lead[len(lead)-n]
		}
		return ""
	}
	request := func() mode {
		if asked || conditional {
			return askHow
		}
		return requested
	}
	switch w := at(1); w {
	case "not", "never":
		if at(2) == "why" {
			return askHow
		}
		return negated
	case "longer":
		if at(2) == "no" {
			return negated
		}
	case "to":
		return infinitive(at, lead, asked || conditional)
	case "i", "we", "one":
		switch at(2) {
		case "can", "could", "may", "might":
			if how(at(3)) || conditional || at(3) != "" && asked {
				return askHow
			}
			return askCan
		case "do", "should", "would", "did", "must", "shall", "does":
			return askHow
		}
		if asked || conditional {
			return askHow
		}
		return plain
	case "you", "someone", "somebody", "anyone":
		switch at(2) {
		case "can", "could", "would", "will":
			if how(at(3)) {
				return askHow
			}
			return request()
		}
		return reported // "did you cancel", "do you ship"
	case "me", "us":
		switch at(2) {
		case "let", "help", "assist":
			return request()
		}
	case "help", "assist":
		return request()
	case "can", "could", "will", "would", "should", "might", "may", "must":
		if at(2) == "i" || at(2) == "we" {
			if asked || conditional || !how(at(3)) && at(3) != "" {
				return askHow // "tell me if I can cancel", "know how I can cancel"
			}
		}
		return plain
	case "and", "or", "then", "but", "so":
		if conditional || asked {
			return askHow
		}
		return requested
	case "wont", "cannot":
		return negated
	}
	if !asked && !conditional && runOn(ts, i) {
		return requested
	}
	return plain
}

// runOn recognises a request that nothing divides from what came before it: "I
// bought something cancel order 1001".
func runOn(ts []token, i int) bool {
	if i == 0 || i+1 == len(ts) || ts[i+1].brk {
		return false
	}
	before, after := &ts[i-1], &ts[i+1]
	thing := before.isNoun() || before.low == "something" || before.low == "it" || before.low == "anymore" || before.low == "more"
	return thing && (determiner(after.low) || after.isNoun())
}

// infinitive judges a verb after "to".
func infinitive(at func(int) string, lead []string, asked bool) mode {
	w, k := at(2), 3
	switch w {
	case "want", "need", "like", "love", "wish", "try", "trying", "tried", "hope", "hoping", "going", "got", "have", "prefer", "looking",
		"request", "asking", "ask", "decided", "require", "ready", "happy", "call", "here", "wanting", "needing", "intend", "must":
		for n := k; n < k+4; n++ {
			if at(n) == "not" {
				return negated
			}
		}
		if asked {
			return askHow
		}
		return requested
	case "you", "someone", "somebody", "me", "us", "help", "assistance", "support", "assist":
		for n := k; n < k+4; n++ {
			if at(n) == "not" {
				return negated
			}
		}
		if w == "me" && (at(3) == "tell" || at(3) == "show" || at(3) == "explain") || asked {
			return askHow
		}
		return requested
	case "able":
		if at(3) == "not" || at(3) == "un" {
			return plain
		}
		if slices.Contains(lead, "you") {
			return requested
		}
		return askHow
	case "not":
		return negated
	case "unable", "fail", "failed", "forgot":
		return plain
	case "how", "where", "way", "possible", "allowed", "steps", "what", "when", "whether", "process", "procedure", "do", "cost", "fee",
		"charge", "easy", "free", "deadline", "time", "instructions", "option", "options", "late":
		return askHow
	}
	if asked {
		return askHow
	}
	return plain
}

// pastMode judges "I want my order cancelled" against "my order was cancelled".
func pastMode(ts []token, sentence, i int) mode {
	for j := i - 1; j >= sentence; j-- {
		switch ts[j].low {
		case "want", "need", "like", "wish":
			if questionStart(ts, sentence, i) || slices.ContainsFunc(ts[sentence:j], func(t token) bool { return t.low == "not" }) {
				return reported
			}
			return requested
		case "was", "is", "has", "did", "were", "are", "why", "already":
			return reported
		}
	}
	return reported
}

// ingMode judges "help me with cancelling" against "a problem cancelling".
func ingMode(ts []token, sentence, i int) mode {
	if i == sentence || ts[i].brk {
		return askCan // "cancelling order 1001": no sentence, so it must say which
	}
	asked := questionStart(ts, sentence, i) || isConditional(ts, sentence, i)
	if w := ts[i-1].low; w == "needs" || w == "need" { // "my appointment needs moving"
		if asked {
			return askHow
		}
		return requested
	}
	for j := i - 1; j >= sentence && j >= i-4; j-- {
		switch ts[j].low {
		case "help", "assistance", "assist", "mind", "support", "proceed", "hand", "request", "want", "requesting":
			if asked {
				return askHow
			}
			return requested
		case "about", "problem", "problems", "trouble", "issue", "issues", "difficulty", "not", "error", "errors", "on", "of", "for":
			return askHow
		}
	}
	return plain
}

// leadOf returns the words that govern a verb, adverbs left out, back to the
// clause's beginning.
func leadOf(ts []token, sentence, i int) []string {
	var rev []string
	for j := i; j > sentence; j-- {
		if ts[j].brk {
			break
		}
		w := ts[j-1].low
		if adverbs[w] && !(w == "just" && len(rev) > 0) {
			continue
		}
		rev = append(rev, w)
		if len(rev) == 8 {
			break
		}
	}
	if len(rev) == 1 && (rev[0] == "go" || rev[0] == "hi" || rev[0] == "hello" || rev[0] == "hey" || rev[0] == "ok" || rev[0] == "okay" ||
		rev[0] == "yes" || rev[0] == "no" || rev[0] == "and" || rev[0] == "well" || rev[0] == "so") {
		rev = nil
	}
	slices.Reverse(rev)
	return rev
}

func how(w string) bool {
	switch w {
	case "how", "where", "when", "why", "what", "which", "who", "if", "whether":
		return true
	}
	return false
}

// questionStart reports whether a wh-word governs the verb at i: its sentence
// begins with one, or "know how", "tell me what" leads to it.
func questionStart(ts []token, sentence, i int) bool {
	for j := sentence; j < i; j++ {
		switch ts[j].low {
		case "how", "why", "whether":
			return true
		case "what", "when", "where", "which", "who":
			// "the order which came late, cancel it" is rare; a request after a
			// comma is not asked by what stands before it.
			if !commaBetween(ts, j, i) {
				return true
			}
		case "do", "does", "is", "are", "should", "must", "did":
			if j == sentence {
				return !commaBetween(ts, j, i)
			}
		}
	}
	return false
}

func commaBetween(ts []token, a, b int) bool {
	for j := a + 1; j <= b; j++ {
		if ts[j].brk {
			return true
		}
	}
	return false
}

// isConditional reports whether the verb waits on an "if", politeness aside.
func isConditional(ts []token, sentence, i int) bool {
	for j := sentence; j < i; j++ {
		switch ts[j].low {
		case "unless", "suppose", "supposing":
			return true
		case "if":
			if j+1 < len(ts) {
				switch ts[j+1].low {
				case "possible", "you", "so", "that", "not", "allowed":
					continue
				}
			}
			return true
		}
	}
	return false
}
