package kb

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/neurosnap/sentences"
	"github.com/neurosnap/sentences/english"
)

// Passages hold between these numbers of words where the text allows it.
// Near-equal lengths keep a long passage from drowning a short one.
const (
	goalWords = 80
	mostWords = 100
	// longestSentence is where text without a full stop is cut all the same.
	longestSentence = 120
)

// abbreviations are those of shops that do not end a sentence.
var abbreviations = []string{
	"approx", "incl", "excl", "sec", "min", "max", "no", "nos", "tel", "ext", "ref", "qty",
	"est", "vs", "etc", "e.g", "i.e", "a.m", "p.m", "st", "rd", "ltd", "inc", "mon", "tue",
	"tues", "wed", "thu", "thur", "thurs", "fri", "sat", "sun", "jan", "feb", "mar", "apr",
	"jun", "jul", "aug", "sept", "sep", "oct", "nov", "dec",
}

// splitter cuts text into sentences. It is some megabytes of training data, so
// it is made for an import and dropped after it.
type splitter struct {
	punkt *sentences.DefaultSentenceTokenizer
}

func newSplitter() (*splitter, error) {
	punkt, err := english.NewSentenceTokenizer(nil)
	if err != nil {
		return nil, fmt.Errorf("loading the sentence splitter: %w", err)
	}
	for _, a := range abbreviations {
		punkt.AbbrevTypes.Add(a)
	}
	return &splitter{punkt: punkt}, nil
}

// sentences returns the sentences of a cleaned text, in order. Joined with
// single spaces they are the text again.
func (s *splitter) sentences(text string) []string {
	var out []string
	for _, found := range s.punkt.Tokenize(text) {
		t := strings.TrimSpace(found.Text)
		for t != "" {
			var head string
			head, t = cutWords(t, longestSentence)
			out = append(out, head)
		}
	}
	return out
}

// cutWords parts the first n words of a cleaned text from the rest. A word
// without end is cut as well.
func cutWords(s string, n int) (head, rest string) {
	const longestWord = 200
	for i, start := 0, 0; i < len(s); {
		if s[i] == ' ' {
			if n--; n == 0 {
				return s[:i], s[i+1:]
			}
			i++
			start = i
			continue
		}
		if i-start > longestWord {
			return s[:i], s[i:]
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		i += size
	}
	return s, ""
}

// passages cuts a section into passages of near-equal length. A sentence that
// ends in a colon stays with what follows it.
func (s *splitter) passages(sec section) []passage {
	var units []unit
	var lengths []int
	total := 0
	for bi, b := range sec.blocks {
		for si, text := range s.sentences(b.text) {
			u := unit{Text: text, Item: b.item}
			switch {
			case bi == 0 && si == 0:
			case si == 0:
				u.Sep = "\n"
			default:
				u.Sep = " "
			}
			n := strings.Count(text, " ") + 1
			units, lengths, total = append(units, u), append(lengths, n), total+n
		}
	}
	if len(units) == 0 {
		return nil
	}
	parts := 1
	if total > mostWords {
		parts = (total + goalWords - 1) / goalWords
	}
	goal := float64(total) / float64(parts)
	var out []passage
	p := passage{Headings: sec.path, Anchor: sec.anchor}
	length, done := 0, 0
	for i, u := range units {
		// Measured from the section's start, so that what one passage is short
		// of or over does not pile up in the last.
		if length > 0 && float64(done)+float64(lengths[i])/2 > goal*float64(len(out)+1) && !strings.HasSuffix(units[i-1].Text, ":") {
			out = append(out, p)
			p = passage{Headings: sec.path, Anchor: sec.anchor}
			length = 0
		}
		if length == 0 {
			u.Sep = ""
		}
		p.Units = append(p.Units, u)
		length += lengths[i]
		done += lengths[i]
	}
	return append(out, p)
}
