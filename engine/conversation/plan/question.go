package plan

import "strings"

// questionForm reports whether the tokens [lo, hi) have the form of a question,
// and whether it begins with a wh-word.
func questionForm(r *reading, lo, hi int) (asking, wh bool) {
	i := lo
	for i < hi && (greetWords[r.ts[i].low] || r.ts[i].low == "please" || r.ts[i].low == "so" || r.ts[i].low == "and" || r.ts[i].low == "ok" ||
		r.ts[i].low == "sorry" || r.ts[i].low == "there") {
		i++
	}
	if i < hi {
		switch r.ts[i].low {
		case "how", "what", "when", "where", "which", "who", "whose", "why":
			return true, true
		case "is", "are", "do", "does", "did", "can", "could", "will", "would", "should", "may", "has", "have", "was", "were", "am":
			return i+1 < hi && r.ts[i+1].low != "not", false
		}
	}
	end := len(r.text)
	if hi < len(r.ts) {
		end = r.ts[hi].start
	}
	if hi > lo && strings.Contains(r.text[r.ts[hi-1].end:end], "?") {
		return true, false
	}
	return false, false
}

// asks reports whether the message asks something the knowledge base may know.
func (p *Planner) asks(r *reading) bool {
	content, topic, inquiry := false, false, false
	start := 0
	for i := range r.ts {
		t := &r.ts[i]
		content = content || t.content() || hasDigit(t.low)
		topic = topic || topics[t.low]
		switch t.low {
		case "about", "information", "info", "explain", "wondering", "wonder", "question", "questions", "how", "whether", "policy", "what", "which", "when", "where", "why":
			inquiry = true
		}
		if r.modes[i] == askHow || r.modes[i] == askCan {
			inquiry = true
		}
		if t.stop && i > 0 {
			if asking, _ := questionForm(r, start, i); asking {
				inquiry = true
			}
			start = i
		}
	}
	if start < len(r.ts) {
		if asking, _ := questionForm(r, start, len(r.ts)); asking {
			inquiry = true
		}
	}
	if !content {
		return false
	}
	if inquiry || topic {
		return true
	}
	bag := bagOf(r.ts)
	total := totalOf(p.weight, bag)
	for _, e := range p.general {
		if similarity(p.weight, bag, total, e) >= 0.5 {
			return true
		}
	}
	return false
}
