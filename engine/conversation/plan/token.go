package plan

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/blevesearch/go-porterstemmer"
)

// maxText bounds what is read of one message; the contract promises no more.
const maxText = 4096

// token is one word of a message. The halves of a contraction share a span.
type token struct {
	raw, low   string
	start, end int  // bytes of the message
	brk        bool // a comma or a stronger mark stands before it
	stop       bool // a sentence begins with it
	hash       bool // written with # before it
	poss       bool // it was written with 's
	quoted     bool // it stands in double quotes, after other words

	verb    verb   // what it is as a verb, in this place
	concept string // the noun or other thing it names, "" for a function word
	plural  bool
	typo    bool // taken for the known word one letter away
	modify  bool // a noun that qualifies the noun after it
	taken   bool // used up by an e-mail, a date or an argument
}

// contractions that lost or kept their apostrophe.
var contractions = map[string]string{
	"don't": "do not", "dont": "do not", "can't": "can not", "cant": "can not", "cannot": "can not", "won't": "will not",
	"wont": "will not", "didn't": "did not", "didnt": "did not", "doesn't": "does not", "doesnt": "does not",
	"isn't": "is not", "isnt": "is not", "hasn't": "has not", "hasnt": "has not", "haven't": "have not", "havent": "have not",
	"wasn't": "was not", "wouldn't": "would not", "couldn't": "could not", "shouldn't": "should not", "aren't": "are not",
	"i'm": "i am", "im": "i am", "i'd": "i would", "i'll": "i will", "i've": "i have", "ive": "i have", "you're": "you are",
	"what's": "what is", "whats": "what is", "where's": "where is", "wheres": "where is", "when's": "when is", "whens": "when is",
	"who's": "who is", "how's": "how is", "hows": "how is", "that's": "that is", "it's": "it is", "there's": "there is",
	"here's": "here is", "name's": "name is", "let's": "let us", "lets": "let us", "they're": "they are", "we're": "we are",
	"wanna": "want to", "gonna": "going to", "gimme": "give me", "lemme": "let me", "pls": "please", "plz": "please",
	"u": "you", "ya": "you", "ur": "your", "thx": "thanks", "ty": "thanks", "tmrw": "tomorrow", "tomorow": "tomorrow", "tommorow": "tomorrow",
	"tommorrow": "tomorrow", "where're": "where are", "what're": "what are", "appt": "appointment", "ordr": "order", "oder": "order", "oredr": "order", "odrer": "order", "wher": "where", "trak": "track", "cancl": "cancel",
	"gotta": "got to", "id'like": "i would like", "wud": "would", "cud": "could",
}

// titles end with a point that ends no sentence.
var titles = set("mr mrs ms dr no nr st vs e.g i.e")

// clip cuts s to at most n bytes at a rune's edge.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// straight turns typographic apostrophes into plain ones.
var straight = strings.NewReplacer("’", "'", "‘", "'")

// fold lower-cases letters and straightens apostrophes.
func fold(s string) string { return strings.ToLower(straight.Replace(s)) }

// tokenize splits text into words, numbers and codes, in one pass. A joiner
// such as - or : belongs to a word only between letters and digits.
func tokenize(text string) []token {
	var out []token
	brk, stop, hash := true, true, false
	quote, openAt := false, 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			switch r {
			case '"', '“', '”':
				quote, openAt, brk = !quote, len(out), true
			case ',', ':', '(', ')', '-', '–', '—':
				brk = true
			case '.':
				if len(out) == 0 || out[len(out)-1].end != i || !titles[out[len(out)-1].low] {
					brk, stop = true, true
				}
			case '!', '?', ';', '\n':
				brk, stop = true, true
			}
			hash = r == '#'
			i += size
			continue
		}
		start := i
		for i < len(text) {
			r, size = utf8.DecodeRuneInString(text[i:])
			if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) {
				i += size
				continue
			}
			if !joins(text, start, i, r, size) {
				break
			}
			i += size
		}
		out = appendToken(out, text, start, i, brk, stop, hash)
		out[len(out)-1].quoted = quote && openAt > 0
		brk, stop, hash = false, false, false
	}
	return out
}

// joins reports whether the mark at i stands inside a word that began at start.
func joins(text string, start, i int, r rune, size int) bool {
	prev, _ := utf8.DecodeLastRuneInString(text[start:i])
	next, _ := utf8.DecodeRuneInString(text[i+size:])
	alnum := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	digits := unicode.IsDigit(prev) && unicode.IsDigit(next)
	switch r {
	case '\'', '’', '‘':
		return unicode.IsLetter(prev) && unicode.IsLetter(next)
	case '-', '_':
		return alnum(prev) && alnum(next)
	case '.':
		return digits || i-start == 1 && unicode.IsLetter(prev) && unicode.IsLetter(next)
	case ':', '/':
		return digits
	case '+':
		return digits && strings.ContainsRune(text[start:i], ':')
	}
	return false
}

func appendToken(out []token, text string, start, end int, brk, stop, hash bool) []token {
	raw := text[start:end]
	low := fold(raw)
	t := token{raw: raw, low: low, start: start, end: end, brk: brk, stop: stop, hash: hash}
	if whole, ok := contractions[low]; ok {
		for i, part := range strings.Fields(whole) {
			p := t
			p.low = part
			if i > 0 {
				p.brk, p.stop, p.hash = false, false, false
			}
			out = append(out, p)
		}
		return out
	}
	if base, ok := strings.CutSuffix(low, "'s"); ok {
		t.low, t.poss = base, true
		t.raw = raw[:strings.LastIndexAny(raw, "'’‘")]
	}
	return append(out, t)
}

// stem returns the Porter stem of an ASCII word, other words as they are.
func stem(w string) string {
	for i := 0; i < len(w); i++ {
		if w[i] < 'a' || w[i] > 'z' {
			return w
		}
	}
	if len(w) < 3 {
		return w
	}
	return porterstemmer.StemString(w)
}

func hasDigit(s string) bool { return strings.ContainsAny(s, "0123456789") }

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
