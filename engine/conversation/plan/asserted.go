package plan

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxAsserted bounds how many e-mails and names of one message are kept.
const maxAsserted = 16

// findEmails finds everything that reads as an e-mail address.
func findEmails(text string) []span {
	var out []span
	for from := 0; len(out) < maxAsserted; {
		at := strings.IndexByte(text[from:], '@')
		if at < 0 {
			break
		}
		at += from
		start, end := at, at+1
		for start > from {
			r, size := utf8.DecodeLastRuneInString(text[from:start])
			if !emailRune(r) && !strings.ContainsRune("!#$%&'*+/=?^_`{|}~", r) {
				break
			}
			start -= size
		}
		for end < len(text) {
			r, size := utf8.DecodeRuneInString(text[end:])
			if !emailRune(r) {
				break
			}
			end += size
		}
		local := strings.TrimLeft(text[start:at], ".'`*_-")
		domain := strings.TrimRight(text[at+1:end], ".-_+")
		from = max(at+1+len(domain), at+1)
		if local == "" || !strings.Contains(domain, ".") || strings.HasPrefix(domain, ".") {
			continue
		}
		out = append(out, span{at - len(local), at + 1 + len(domain)})
	}
	return out
}

func emailRune(r rune) bool {
	return r == '.' || r == '-' || r == '_' || r == '+' || r == '%' || r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r))
}

// findNames finds whom the visitor says they are or speaks of: "I am Jordan",
// "order for Jordan Lee", "Jordan's order". It marks the words as taken. It is
// evidence only, so it prefers to miss a name over inventing one.
func findNames(ts []token, p *Planner) []string {
	var out []string
	seen := map[string]bool{}
	add := func(from, to int) {
		if from >= to || len(out) == maxAsserted {
			return
		}
		var words []string
		for i := from; i < to; i++ {
			ts[i].taken = true
			words = append(words, ts[i].raw)
		}
		if name := strings.Join(words, " "); !seen[strings.ToLower(name)] {
			seen[strings.ToLower(name)] = true
			out = append(out, name)
		}
	}
	for i := range ts {
		if to, sure := nameLead(ts, i); to > 0 {
			add(to, nameFrom(ts, to, p, sure))
		}
		if ts[i].poss && possessor(ts, i, p) {
			from := i
			if i > 0 && !ts[i].brk && capital(ts[i-1].raw) && (firstNames[ts[i-1].low] || !ts[i-1].stop && !p.isWord(ts[i-1].low)) {
				from--
			}
			add(from, i+1)
		}
	}
	return out
}

// nameLead reports where a name would begin if the words at i announce one, and
// whether they can announce nothing else.
func nameLead(ts []token, i int) (int, bool) {
	at := func(n int) string {
		if i+n < len(ts) && (n == 0 || !ts[i+n].stop) {
			return ts[i+n].low
		}
		return ""
	}
	n, sure := 0, false
	switch {
	case at(0) == "i" && at(1) == "am":
		n = 2
	case at(0) == "this" && at(1) == "is":
		n = 2
	case at(0) == "name" && (at(1) == "is" || at(1) == "was"):
		n, sure = 2, true
	case at(0) == "called" && i > 1 && at(-1) == "am":
		n, sure = 1, true
	case at(0) == "behalf" && at(1) == "of":
		n = 2
	case at(0) == "account" && at(1) == "of":
		n = 2
	case at(0) == "for" || at(0) == "of" || at(0) == "under":
		if i == 0 || !recordWord(ts[i-1].low) {
			return 0, false
		}
		n = 1
	}
	if n == 0 || i+n >= len(ts) {
		return 0, false
	}
	if ts[i+n].low == "called" {
		n++
	}
	for i+n < len(ts) && (ts[i+n].low == "mr" || ts[i+n].low == "mrs" || ts[i+n].low == "ms" || ts[i+n].low == "dr") {
		n, sure = n+1, true
	}
	return i + n, sure
}

// recordWord reports whether a person may stand after it: "the order for Jordan".
func recordWord(w string) bool {
	if _, ok := nounWords[w]; ok {
		return true
	}
	switch w {
	case "under", "name", "data", "number", "status", "email", "history", "everything", "records", "all":
		return true
	}
	return false
}

// nameFrom returns where the name that begins at i ends, i when there is none.
// Without capitals one word is taken, and only where the sentence then breaks.
func nameFrom(ts []token, i int, p *Planner, sure bool) int {
	j := i
	for j < len(ts) && j < i+3 && nameWord(ts, j, i, p) && capital(ts[j].raw) {
		j++
	}
	if j > i {
		return j
	}
	if i >= len(ts) || ts[i].taken || hasDigit(ts[i].low) || functionWords[ts[i].low] || notNames[ts[i].low] || roles[ts[i].low] {
		return i
	}
	w := ts[i].low
	if !sure && !firstNames[w] {
		if _, ok := verbWords[w]; ok || p.isWord(w) || unlikelyName(w) || recordWord(ts[max(i-2, 0)].low) {
			return i
		}
		if prev := ts[i-1].low; prev == "for" || prev == "of" || prev == "under" {
			return i
		}
	}
	if end := i + 1; end == len(ts) || ts[end].brk || ts[end].low == "and" || ts[end].low == "but" || firstNames[w] || sure {
		return end
	}
	return i
}

func nameWord(ts []token, j, first int, p *Planner) bool {
	t := ts[j]
	if t.taken || t.stop && j > first || t.brk && j > first || hasDigit(t.low) || functionWords[t.low] || notNames[t.low] || roles[t.low] {
		return false
	}
	if _, ok := months[t.low]; ok && j == first {
		return false
	}
	if _, ok := verbWords[t.low]; ok && !firstNames[t.low] {
		return false
	}
	return firstNames[t.low] || j > first || !p.isWord(t.low)
}

func unlikelyName(w string) bool {
	for _, s := range []string{"ing", "ed", "ly", "ful", "less", "ous", "able", "ible", "ic", "tion"} {
		if strings.HasSuffix(w, s) {
			return true
		}
	}
	return false
}

// possessor reports whether ts[i], written with 's, names a person who has
// something.
func possessor(ts []token, i int, p *Planner) bool {
	w := ts[i].low
	if ts[i].taken || relations[w] || notNames[w] || hasDigit(w) || i+1 >= len(ts) || ts[i+1].brk {
		return false
	}
	if i > 0 && !ts[i].brk {
		switch ts[i-1].low {
		case "my", "the", "a", "your", "our", "this", "that", "last", "next":
			return false
		}
	}
	if firstNames[w] {
		return true
	}
	if p.isWord(w) {
		return false
	}
	for n := 1; n <= 2 && i+n < len(ts); n++ {
		if _, ok := p.nounOf(ts[i+n].low); ok {
			return true
		}
	}
	return capital(ts[i].raw) && !ts[i].stop
}

func capital(w string) bool {
	r, _ := utf8.DecodeRuneInString(w)
	return unicode.IsUpper(r)
}
