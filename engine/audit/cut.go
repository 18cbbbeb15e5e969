package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"vouchsafe/engine"
)

// mark stands in a JSON string for somebody whose key is gone.
const mark = "[erased]"

// someone is a person whom a visitor named.
type someone struct {
	person personID
	key    *personKey // nil for those beyond maxNamed: what they are named by is not kept
	// addresses are theirs, folded; spellings are what else they are named by,
	// in lower-case ASCII letters.
	addresses, spellings []string
}

// maxNamed is how many people one record keeps apart. What the rest are named by
// is cut out and dropped.
const maxNamed = 24

// named returns the people whom the visitor asserted, or whose addresses stand
// in what came from the visitor, and who are not the visitor: each address is a
// person's, and an asserted name is that of the one asserted address beside it,
// or else a person of its own.
func (s *Sealer) named(ctx context.Context, site string, about engine.About, input []byte) ([]someone, error) {
	var out []someone
	at := map[personID]int{}
	add := func(person personID, address, spelling string) {
		i, there := at[person]
		if !there {
			i = min(len(out), maxNamed)
			if at[person] = i; i == len(out) {
				out = append(out, someone{person: person})
			}
		}
		if address != "" {
			out[i].addresses = append(out[i].addresses, address)
		}
		if spelling != "" {
			out[i].spellings = append(out[i].spellings, lowerASCII(spelling))
		}
	}
	own := foldAddress(about.Email)
	// address adds the addresses in a text; any says that there is one at all.
	address := func(text string) (person personID, found, any bool) {
		eachAddress(text, func(from, to int) {
			any = true
			if folded := foldAddress(text[from:to]); folded != own {
				person, found = s.people.hash(byEmail, site, folded), true
				add(person, folded, "")
			}
		})
		return person, found, any
	}
	others := map[personID]bool{}
	for _, raw := range about.Asserted.Emails {
		raw = strings.TrimSpace(raw)
		person, found, any := address(raw)
		if folded := foldAddress(raw); !any && folded != "" && folded != own {
			// No plain address, such as one with letters of another script.
			person, found = s.people.hash(byEmail, site, folded), true
			add(person, folded, raw)
		}
		if found {
			others[person] = true
		}
	}
	for _, raw := range about.Asserted.Names {
		folded := foldName(raw)
		if folded == "" || folded == foldName(about.Name) {
			continue
		}
		person := s.people.hash(byName, site, folded)
		if len(others) == 1 {
			for p := range others {
				person = p
			}
		}
		add(person, "", strings.TrimSpace(raw))
	}
	if bytes.IndexByte(input, '@') >= 0 {
		eachString(input, func(from, to int) {
			if bytes.IndexByte(input[from:to], '@') >= 0 || bytes.IndexByte(input[from:to], '\\') >= 0 {
				text, _ := decoded(input[from:to])
				address(text)
			}
		})
	}
	return out, s.keys(ctx, site, out)
}

// keys finds everybody's key; those that are new share a commit.
func (s *Sealer) keys(ctx context.Context, site string, people []someone) error {
	errs := make([]error, min(len(people), maxNamed))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { people[i].key, errs[i] = s.people.keyOf(ctx, site, people[i].person, personID{}) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// decoded is what a JSON string without its quotes means, and where each byte of
// that, and its end, stand in it: nil where they stand in the same place.
func decoded(raw []byte) (text string, at []int) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw), nil
	}
	var b []byte
	unit := func(i int) (r rune, n int) {
		if raw[i] != '\\' || i+1 >= len(raw) {
			return rune(raw[i]), 1
		}
		if raw[i+1] != 'u' || i+6 > len(raw) {
			return ' ', 2 // a quote or a line's end: no part of an address
		}
		v, err := strconv.ParseUint(string(raw[i+2:i+6]), 16, 32)
		if err != nil {
			return ' ', 2
		}
		return rune(v), 6
	}
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			b, at = append(b, raw[i]), append(at, i)
			i++
			continue
		}
		r, n := unit(i)
		if utf16.IsSurrogate(r) && i+n < len(raw) && raw[i+n] == '\\' {
			if low, m := unit(i + n); m == 6 {
				if whole := utf16.DecodeRune(r, low); whole != utf8.RuneError {
					r, n = whole, n+m
				}
			}
		}
		before := len(b)
		b = utf8.AppendRune(b, r)
		for range len(b) - before {
			at = append(at, i)
		}
		i += n
	}
	return string(b), append(at, len(raw))
}

// eachAddress calls each with the places of the plain addresses in a text, in
// order: the longest stretch around an @ that can be one. What may stand before
// the @ and is no letter, digit or one of . _ + - ' ends it: email=jo@shop.example
// names jo@shop.example.
func eachAddress(text string, each func(from, to int)) {
	last := 0
	for i := 0; i < len(text); i++ {
		if text[i] != '@' {
			continue
		}
		from := i
		for from > last && inLocal(text[from-1]) {
			from--
		}
		for from < i && (text[from] == '.' || text[from] == '\'' || text[from] == '-') {
			from++
		}
		to := i + 1
		for to < len(text) && inDomain(text[to]) {
			to++
		}
		for to > i+1 && (text[to-1] == '.' || text[to-1] == '-') {
			to--
		}
		if from == i || to == i+1 {
			continue
		}
		each(from, to)
		last = to
	}
}

func inDomain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-'
}

func inLocal(c byte) bool { return inDomain(c) || c == '_' || c == '+' || c == '\'' }

// cutting is an input with people cut out of it.
type cutting struct {
	rest   []byte
	cuts   []byte
	pieces [][]byte // what was cut out of each person: lengths and bytes, in order
}

// cutOut cuts what people are named by out of the strings that came from the
// visitor: arguments and their names, target and assertions.
func cutOut(input []byte, people []someone) cutting {
	c := cutting{rest: input}
	if len(people) == 0 {
		return c
	}
	c.rest = make([]byte, 0, len(input))
	c.pieces = make([][]byte, len(people))
	who := map[string]int{}
	spelled := false
	for i := range people {
		for _, a := range people[i].addresses {
			who[a] = i
		}
		spelled = spelled || len(people[i].spellings) > 0
	}
	done, last := 0, 0
	eachString(input, func(from, to int) {
		text, at := decoded(input[from:to])
		var found []naming
		eachAddress(text, func(i, j int) {
			if p, ok := who[foldAddress(text[i:j])]; ok {
				found = append(found, naming{i, j, p})
			}
		})
		if spelled {
			found = spellings(found, lowerASCII(text), people)
		}
		for _, f := range found {
			begin, end := f.from, f.to
			if at != nil {
				begin, end = at[f.from], at[f.to]
			}
			begin, end = from+begin, from+end
			if begin < done {
				continue // a name within an address
			}
			c.rest = append(c.rest, input[done:begin]...)
			c.cut(f.who, input[begin:end], &last)
			done = end
		}
	})
	c.rest = append(c.rest, input[done:]...)
	return c
}

// naming is where somebody is named in a text.
type naming struct{ from, to, who int }

// spellings adds where people are named by what is no plain address, each
// spelling being looked for once, and puts the places in order.
func spellings(found []naming, low string, people []someone) []naming {
	for i := range people {
		for _, sp := range people[i].spellings {
			for from := 0; sp != ""; {
				j := strings.Index(low[from:], sp)
				if j < 0 {
					break
				}
				j += from
				from = j + 1
				if alone(low, j, j+len(sp)) {
					found = append(found, naming{j, j + len(sp), i})
					from = j + len(sp)
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b naming) int { return cmp.Or(a.from-b.from, b.to-a.to) })
	return found
}

func (c *cutting) cut(who int, piece []byte, last *int) {
	c.cuts = binary.AppendUvarint(c.cuts, uint64(len(c.rest)-*last))
	c.cuts = binary.AppendUvarint(c.cuts, uint64(who))
	*last = len(c.rest)
	c.pieces[who] = binary.AppendUvarint(c.pieces[who], uint64(len(piece)))
	c.pieces[who] = append(c.pieces[who], piece...)
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

// eachString calls each with the place of every string that came from the visitor
// in an input, without its quotes: values, and the names in arguments. The input is our own encoding, so it
// is JSON.
func eachString(b []byte, each func(from, to int)) {
	depth, top := 0, ""
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			from := i + 1
			for i = from; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
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
			case top == "action" && depth > 2, !key && (top == "target" || top == "asserted"):
				each(from, i)
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
