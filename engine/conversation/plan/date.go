package plan

import (
	"strconv"
	"strings"
	"time"
)

// date is a mention of a day, a time or both, over the tokens [from, to).
type date struct {
	from, to int
	When
	prep string // "to", "from", "on", ... that stood before it
	past bool   // it lies before now and says so itself
}

var weekdays = map[string]time.Weekday{
	"sunday": 0, "monday": 1, "tuesday": 2, "wednesday": 3, "thursday": 4, "friday": 5, "saturday": 6,
	"mon": 1, "tue": 2, "tues": 2, "wed": 3, "weds": 3, "thu": 4, "thur": 4, "thurs": 4, "fri": 5, "sun": 0, "sat": 6,
	"mondays": 1, "tuesdays": 2, "wednesdays": 3, "thursdays": 4, "fridays": 5, "saturdays": 6, "sundays": 0,
	"wednsday": 3, "wensday": 3, "tuseday": 2, "thusday": 4, "saterday": 6,
}

var months = map[string]time.Month{
	"january": 1, "february": 2, "march": 3, "april": 4, "may": 5, "june": 6, "july": 7, "august": 8, "september": 9, "october": 10,
	"november": 11, "december": 12, "jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "sept": 9,
	"oct": 10, "nov": 11, "dec": 12,
}

var smallNumbers = map[string]int{
	"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
	"eleven": 11, "twelve": 12, "fourteen": 14, "thirty": 30, "couple": 2, "few": 0,
}

// findDates finds the dates of a message, in order. The grammar is small and
// its own: what it does not wholly understand is no date, so that the visitor
// is asked rather than misread. In particular
//   - "next Tuesday" is the Tuesday of the week after this one, weeks beginning
//     on Monday; said on a Monday that is in eight days, because who means
//     tomorrow says tomorrow. "Tuesday" and "this Tuesday" are the first to come.
//   - a day without a year is the first to come; a time alone has no day.
//   - "at 3" is in the afternoon, as are 1 to 6; 7 to 11 are in the morning.
//   - 12/05 is a day and month only where the site's zone leaves no doubt.
//   - "may" and "march" are months only beside a day.
func findDates(ts []token, now time.Time) []date {
	var out []date
	for i := 0; i < len(ts); {
		p := dateParser{ts: ts, now: now, i: i}
		d, ok := p.mention()
		if !ok {
			i = max(i+1, p.skip)
			continue
		}
		d.from, d.to = i, p.i
		d.Text = spell(ts, i, p.i)
		for j := i - 1; j >= 0 && j >= i-2; j-- {
			if w := ts[j].low; preposition(w) {
				d.prep = w
				break
			}
		}
		out = append(out, d)
		i = p.i
	}
	return out
}

func preposition(w string) bool {
	switch w {
	case "to", "from", "on", "until", "till", "for", "by", "at", "since", "before", "after":
		return true
	}
	return false
}

func spell(ts []token, from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		if i > from {
			if ts[i].start == ts[i-1].start {
				continue
			}
			b.WriteByte(' ')
		}
		b.WriteString(ts[i].raw)
	}
	return b.String()
}

// dateParser reads one mention from position i on.
type dateParser struct {
	ts   []token
	now  time.Time
	i    int
	skip int // past words that were understood and refused
}

func (p *dateParser) word(n int) string {
	if p.i+n < len(p.ts) && !(n > 0 && p.ts[p.i+n].stop) {
		return p.ts[p.i+n].low
	}
	return ""
}

func (p *dateParser) before() string {
	if p.i > 0 && !p.ts[p.i].stop {
		return p.ts[p.i-1].low
	}
	return ""
}

// mention reads a day with an optional time, a time with an optional day, or a
// time alone. It reports false, and may have moved, when there is none.
func (p *dateParser) mention() (date, bool) {
	start := p.i
	if d, ok := p.instant(); ok {
		return d, true
	}
	if c, ok := p.clock(false); ok { // "3pm tomorrow", "at 3pm"
		mid := p.i
		if p.word(0) == "on" {
			p.i++
		}
		if day, ok := p.day(); ok {
			return p.join(day, c)
		}
		p.i = mid
		if c.vague {
			return date{}, false
		}
		return p.timeOnly(c)
	}
	p.i = start
	day, ok := p.day()
	if !ok {
		return date{}, false
	}
	mid := p.i
	if c, ok := p.clock(true); ok {
		return p.join(day, c)
	}
	p.i = mid
	return p.join(day, clock{none: true})
}

// join puts a day and a clock time together and rolls nothing: days are already
// to come, but for those that name their year.
func (p *dateParser) join(day time.Time, c clock) (date, bool) {
	if c.vague { // "tomorrow afternoon" is no time to move anything to
		p.skip = p.i
		return date{}, false
	}
	y, m, dd := day.Date()
	today := time.Date(p.now.Year(), p.now.Month(), p.now.Day(), 0, 0, 0, 0, p.now.Location())
	if c.none {
		t := time.Date(y, m, dd, 0, 0, 0, 0, p.now.Location())
		return date{When: When{Time: t, HasDay: true}, past: t.Before(today)}, true
	}
	loc := p.now.Location()
	if c.zone != nil {
		loc = c.zone
	}
	t := time.Date(y, m, dd, c.hour, c.min, 0, 0, loc)
	if c.abbrev != "" {
		if name, _ := t.Zone(); !strings.EqualFold(name, c.abbrev) {
			p.skip = p.i
			return date{}, false // a zone that is not the site's: ask
		}
	}
	t = t.In(p.now.Location())
	return date{When: When{Time: t, HasTime: true, HasDay: true}, past: t.Before(p.now)}, true
}

func (p *dateParser) timeOnly(c clock) (date, bool) {
	if c.zone != nil || c.abbrev != "" {
		return date{}, false
	}
	t := time.Date(p.now.Year(), p.now.Month(), p.now.Day(), c.hour, c.min, 0, 0, p.now.Location())
	if t.Before(p.now) {
		t = t.AddDate(0, 0, 1)
	}
	return date{When: When{Time: t, HasTime: true}}, true
}

// instant reads ISO dates and "in 2 hours".
func (p *dateParser) instant() (date, bool) {
	raw := p.ts[p.i].raw
	if len(raw) > 10 && raw[4] == '-' {
		up := strings.ToUpper(raw)
		if t, err := time.Parse(time.RFC3339, up); err == nil {
			p.i++
			t = t.In(p.now.Location())
			return date{When: When{Time: t, HasTime: true, HasDay: true}, past: t.Before(p.now)}, true
		}
		for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04"} {
			if t, err := time.ParseInLocation(layout, up, p.now.Location()); err == nil {
				p.i++
				return date{When: When{Time: t, HasTime: true, HasDay: true}, past: t.Before(p.now)}, true
			}
		}
	}
	if p.word(0) == "in" {
		n, used := p.count(1)
		if used == 0 {
			return date{}, false
		}
		unit := p.word(1 + used)
		d := time.Duration(n)
		switch strings.TrimSuffix(unit, "s") {
		case "hour", "hr":
			d *= time.Hour
		case "minute", "min":
			d *= time.Minute
		default:
			return date{}, false
		}
		p.i += 2 + used
		return date{When: When{Time: p.now.Add(d).Truncate(time.Minute), HasTime: true, HasDay: true}}, true
	}
	return date{}, false
}

// count reads a small number at offset n: "2", "two", "a couple of". It returns
// how many words it took, 0 for none.
func (p *dateParser) count(n int) (int, int) {
	w := p.word(n)
	if w == "" {
		return 0, 0
	}
	if w == "a" && p.word(n+1) == "couple" {
		if p.word(n+2) == "of" {
			return 2, 3
		}
		return 2, 2
	}
	if v, ok := smallNumbers[w]; ok && v > 0 {
		return v, 1
	}
	if allDigits(w) && len(w) <= 3 {
		v, _ := strconv.Atoi(w)
		return v, 1
	}
	return 0, 0
}
