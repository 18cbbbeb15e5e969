package audit

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"vouchsafe/engine"
)

// mark stands in a JSON string for somebody whose key is gone.
const mark = "[erased]"

// someone is a person whom a visitor named, and the spellings of them.
type someone struct {
	key       *personKey
	spellings []string // lower-case ASCII letters
}

// named returns the people whom the visitor asserted and who are not the
// visitor: each address is a person's, and a name is that of the one address
// beside it, or else a person of its own.
func (s *Sealer) named(ctx context.Context, site string, about engine.About) ([]someone, error) {
	if len(about.Asserted.Emails) == 0 && len(about.Asserted.Names) == 0 {
		return nil, nil
	}
	var out []someone
	at := map[personID]int{}
	add := func(person personID, spellings ...string) error {
		i, there := at[person]
		if !there {
			key, err := s.people.keyOf(ctx, person, personID{})
			if err != nil {
				return err
			}
			i = len(out)
			at[person], out = i, append(out, someone{key: key})
		}
		for _, sp := range spellings {
			out[i].spellings = append(out[i].spellings, lowerASCII(sp))
		}
		return nil
	}
	own := foldAddress(about.Email)
	var others []personID
	for _, raw := range about.Asserted.Emails {
		folded := foldAddress(raw)
		if folded == "" || folded == own {
			continue
		}
		person := s.people.hash(byEmail, site, folded)
		if _, there := at[person]; !there {
			others = append(others, person)
		}
		if err := add(person, strings.TrimSpace(raw), folded); err != nil {
			return nil, err
		}
	}
	for _, raw := range about.Asserted.Names {
		folded := foldName(raw)
		if folded == "" || folded == foldName(about.Name) {
			continue
		}
		person := s.people.hash(byName, site, folded)
		if len(others) == 1 {
			person = others[0]
		}
		if err := add(person, strings.TrimSpace(raw)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// cutting is an input with people cut out of it.
type cutting struct {
	rest   []byte
	cuts   []byte
	pieces [][]byte // what was cut out of each person: lengths and bytes, in order
}

// cutOut cuts what people are named by out of the strings that came from the
// visitor: arguments, target and assertions.
func cutOut(input []byte, people []someone) cutting {
	c := cutting{rest: input}
	if len(people) == 0 {
		return c
	}
	c.rest = make([]byte, 0, len(input))
	c.pieces = make([][]byte, len(people))
	done, last := 0, 0
	eachString(input, func(from, to int, escaped bool) {
		text := input[from:to]
		if escaped {
			// Spellings are looked for in what the escapes mean; the whole
			// string is then the person's.
			var s string
			if json.Unmarshal(input[from-1:to+1], &s) != nil {
				return
			}
			if _, _, who := find(lowerASCII(s), people); who >= 0 {
				c.rest = append(c.rest, input[done:from]...)
				c.cut(who, text, &last)
				done = to
			}
			return
		}
		low := lowerASCII(string(text))
		for start := 0; start < len(low); {
			i, n, who := find(low[start:], people)
			if who < 0 {
				return
			}
			begin := from + start + i
			c.rest = append(c.rest, input[done:begin]...)
			c.cut(who, input[begin:begin+n], &last)
			done = begin + n
			start += i + n
		}
	})
	c.rest = append(c.rest, input[done:]...)
	return c
}

func (c *cutting) cut(who int, piece []byte, last *int) {
	c.cuts = binary.AppendUvarint(c.cuts, uint64(len(c.rest)-*last))
	c.cuts = binary.AppendUvarint(c.cuts, uint64(who))
	*last = len(c.rest)
	c.pieces[who] = binary.AppendUvarint(c.pieces[who], uint64(len(piece)))
	c.pieces[who] = append(c.pieces[who], piece...)
}

// find returns the first place at which anybody is named, and the longest
// spelling there; who is -1 when nobody is.
func find(low string, people []someone) (at, n, who int) {
	who = -1
	for i := range people {
		for _, sp := range people[i].spellings {
			for from := 0; sp != ""; {
				j := strings.Index(low[from:], sp)
				if j < 0 {
					break
				}
				j += from
				if !alone(low, j, j+len(sp)) {
					from = j + 1
					continue
				}
				if who < 0 || j < at || j == at && len(sp) > n {
					at, n, who = j, len(sp), i
				}
				break
			}
		}
	}
	return at, n, who
}

// alone reports that low[from:to] is not a part of a longer word: jo is not
// named in "major".
func alone(low string, from, to int) bool {
	before, _ := utf8.DecodeLastRuneInString(low[:from])
	after, _ := utf8.DecodeRuneInString(low[to:])
	return !inWord(before) && !inWord(after)
}

func inWord(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) }

func lowerASCII(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; 'A' <= c && c <= 'Z' {
					b[i] = c + 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// eachString calls each with the place of every string value that came from the
// visitor in an input, without its quotes. The input is our own encoding, so it
// is JSON.
func eachString(b []byte, each func(from, to int, escaped bool)) {
	depth, top := 0, ""
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			from, escaped := i+1, false
			for i = from; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					escaped = true
					i++
				}
			}
			if i >= len(b) {
				return
			}
			key := i+1 < len(b) && b[i+1] == ':'
			switch {
			case key && depth == 1:
				top = string(b[from:i])
			case key:
			case top == "action" && depth > 2, top == "target", top == "asserted":
				each(from, i, escaped)
			}
		}
	}
}

// putBack puts the pieces back where they were cut out. A nil piece is somebody
// who cannot be read: a mark takes each of their places.
func putBack(rest, cuts []byte, pieces [][]byte) ([]byte, error) {
	var out []byte
	at := 0
	erased := make([]bool, len(pieces))
	for i, p := range pieces {
		erased[i] = p == nil
	}
	for len(cuts) > 0 {
		skip, w := binary.Uvarint(cuts)
		if w <= 0 || skip > uint64(len(rest)-at) {
			return nil, errForm
		}
		cuts = cuts[w:]
		who, w := binary.Uvarint(cuts)
		if w <= 0 || who >= uint64(len(pieces)) {
			return nil, errForm
		}
		cuts = cuts[w:]
		out = append(out, rest[at:at+int(skip)]...)
		at += int(skip)
		if erased[who] {
			out = append(out, mark...)
			continue
		}
		n, w := binary.Uvarint(pieces[who])
		if w <= 0 || n > uint64(len(pieces[who])-w) {
			return nil, errForm
		}
		out = append(out, pieces[who][w:w+int(n)]...)
		pieces[who] = pieces[who][w+int(n):]
	}
	return append(out, rest[at:]...), nil
}
