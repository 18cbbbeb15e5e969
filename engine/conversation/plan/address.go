package plan

import (
	"regexp"
	"strings"
)

var postcode = regexp.MustCompile(`(?i)\b([A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2}|[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9]|[0-9]{5}-[0-9]{4}|[0-9]{4} ?[A-Z]{2}|[0-9]{4,6})$`)

// addressEnd is a request's courtesy, not the address's last line.
var addressEnd = regexp.MustCompile(`(?i)[\s,.]*\b(please|thanks|thank you|asap|now)\b[\s.!]*$`)

// address fills one argument with a whole address, or several with its lines.
// An address begins after "to", "is" or a colon and holds a figure.
func (fl *filled) address(f *profile, r *reading, lo, hi int) {
	byKind := map[argKind]*filler{}
	for _, a := range f.fillers {
		switch a.kind {
		case addressArg, cityArg, postcodeArg, countryArg:
			if byKind[a.kind] == nil {
				byKind[a.kind] = a
			}
		}
	}
	line := byKind[addressArg]
	if line == nil {
		return
	}
	text, at, ok := addressText(r, lo, hi)
	if !ok {
		return
	}
	put := func(a *filler, v string) {
		if v = strings.Trim(v, " ,."); a != nil && v != "" && a.valid(v) {
			fl.args[a.name] = v
			fl.specific = true
		}
	}
	fl.used = append(fl.used, span{at, at + len(text)})
	if len(byKind) == 1 {
		put(line, text)
		return
	}
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' })
	if len(parts) < 2 {
		put(line, text)
		return
	}
	put(line, parts[0])
	rest := parts[1:]
	if byKind[countryArg] != nil && len(rest) > 2 {
		put(byKind[countryArg], rest[len(rest)-1])
		rest = rest[:len(rest)-1]
	}
	if code := byKind[postcodeArg]; code != nil {
		last := strings.Trim(rest[len(rest)-1], " .")
		if at := postcode.FindStringIndex(last); at != nil {
			put(code, strings.ToUpper(last[at[0]:]))
			rest[len(rest)-1] = last[:at[0]]
		}
	}
	for i := len(rest) - 1; i >= 0; i-- {
		if city := strings.Trim(rest[i], " ,."); city != "" {
			put(byKind[cityArg], city)
			break
		}
	}
}

// addressText returns the address in the part, and where it begins.
func addressText(r *reading, lo, hi int) (string, int, bool) {
	end := r.ts[hi-1].end
	for i := lo; i < hi; i++ {
		begins := false
		if i > lo {
			switch r.ts[i-1].low {
			case "to", "is", "address", "at":
				begins = true
			}
		}
		if i == lo && lo == 0 {
			begins = hasDigit(r.ts[i].low)
		}
		if !begins || functionWords[r.ts[i].low] || r.ts[i].verb.form != noForm || r.ts[i].taken {
			continue
		}
		stop := end
		for k := i + 1; k < hi; k++ { // "... York YO1 7EP, please update it"
			if r.modes[k] == requested {
				stop = r.ts[leadStart(r.ts, k, i+1)-1].end
				break
			}
		}
		text := r.text[r.ts[i].start:stop]
		if loc := addressEnd.FindStringIndex(text); loc != nil {
			text = text[:loc[0]]
		}
		// A house has a figure and a street more than one word.
		if head := clip(text, 60); !hasDigit(head) || len(strings.Fields(text)) < 3 || strings.Contains(text, "@") {
			continue
		}
		return text, r.ts[i].start, true
	}
	return "", 0, false
}
