package plan

import (
	"strconv"
	"strings"
	"time"
)

// day reads a day.
func (p *dateParser) day() (time.Time, bool) {
	start := p.i
	if w := p.word(0); (w == "on" || w == "the" || w == "coming") && p.i+1 < len(p.ts) {
		p.i++
		if p.word(0) == "the" || p.word(0) == "coming" {
			p.i++
		}
	}
	for _, read := range []func() (time.Time, bool){p.named, p.iso, p.numeric, p.monthDay, p.dayMonth, p.inDays} {
		if p.i >= len(p.ts) {
			break
		}
		mid := p.i
		if day, ok := read(); ok {
			return day, true
		}
		p.i = mid
	}
	if day, ok := p.bareOrdinal(start); ok {
		return day, true
	}
	p.i = start
	return time.Time{}, false
}

func (p *dateParser) today() time.Time {
	return time.Date(p.now.Year(), p.now.Month(), p.now.Day(), 0, 0, 0, 0, p.now.Location())
}

// named reads today, tomorrow and weekdays.
func (p *dateParser) named() (time.Time, bool) {
	today := p.today()
	switch p.word(0) {
	case "today":
		p.i++
		return today, true
	case "tomorrow":
		p.i++
		return today.AddDate(0, 0, 1), true
	case "day":
		if p.word(1) == "after" && p.word(2) == "tomorrow" {
			p.i += 3
			return today.AddDate(0, 0, 2), true
		}
	case "next":
		n := 1
		if p.word(1) == "week" { // "next week Tuesday", "next week on Tuesday"
			if n = 2; p.word(2) == "on" {
				n = 3
			}
		}
		if wd, ok := p.weekday(n); ok {
			p.i += n + 1
			return p.weekAfter(wd), true
		}
	case "this":
		if wd, ok := p.weekday(1); ok {
			p.i += 2
			return p.coming(wd), true
		}
		if p.word(1) == "coming" {
			if wd, ok := p.weekday(2); ok {
				p.i += 3
				return p.coming(wd), true
			}
		}
	}
	wd, ok := p.weekday(0)
	if !ok {
		return time.Time{}, false
	}
	p.i++
	switch {
	case p.word(0) == "next" && p.word(1) == "week":
		p.i += 2
		return p.weekAfter(wd), true
	case p.word(0) == "week" && p.word(1) != "end":
		p.i++
		return p.coming(wd).AddDate(0, 0, 7), true
	}
	// "Tuesday 24 November", "Tuesday the 24th": the day of the month decides,
	// and must agree.
	mid := p.i
	if p.word(0) == "the" {
		p.i++
	}
	for _, read := range []func() (time.Time, bool){p.iso, p.numeric, p.monthDay, p.dayMonth} {
		if p.i >= len(p.ts) {
			break
		}
		at := p.i
		if d, ok := read(); ok {
			if d.Weekday() != wd {
				p.skip = p.i
			}
			return d, d.Weekday() == wd
		}
		p.i = at
	}
	p.i = mid
	return p.coming(wd), true
}

// weekday reads a day's name. The short ones that are words of their own need
// a word before them that announces a day.
func (p *dateParser) weekday(n int) (time.Weekday, bool) {
	w := p.word(n)
	wd, ok := weekdays[w]
	if !ok {
		return 0, false
	}
	if w == "sat" || w == "sun" || w == "wed" || w == "mon" {
		prev := p.before()
		if n > 0 {
			prev = p.word(n - 1)
		} else if p.i > 0 && p.ts[p.i-1].low == "the" && p.i > 1 {
			prev = p.ts[p.i-2].low
		}
		switch prev {
		case "on", "next", "this", "to", "until", "till", "by", "for", "coming", "from":
		default:
			if next := p.word(n + 1); next == "" || !hasDigit(next) && months[next] == 0 {
				return 0, false
			}
		}
	}
	return wd, true
}

// coming returns the first such day after today.
func (p *dateParser) coming(wd time.Weekday) time.Time {
	n := (int(wd) - int(p.now.Weekday()) + 7) % 7
	if n == 0 {
		n = 7
	}
	return p.today().AddDate(0, 0, n)
}

// weekAfter returns such a day of the week after this one.
func (p *dateParser) weekAfter(wd time.Weekday) time.Time {
	fromMonday := func(d time.Weekday) int { return (int(d) + 6) % 7 }
	return p.today().AddDate(0, 0, 7-fromMonday(p.now.Weekday())+fromMonday(wd))
}

func (p *dateParser) iso() (time.Time, bool) {
	t, err := time.ParseInLocation("2006-01-02", p.ts[p.i].low, p.now.Location())
	if err != nil {
		return time.Time{}, false
	}
	p.i++
	return t, true
}

// numeric reads 12/05/2026, 12.5.2026 and 13/5.
func (p *dateParser) numeric() (time.Time, bool) {
	w := p.ts[p.i].low
	if w == "24/7" {
		return time.Time{}, false
	}
	sep := "/"
	if !strings.Contains(w, sep) {
		if sep = "."; strings.Count(w, sep) != 2 {
			if sep = "-"; strings.Count(w, sep) != 2 {
				return time.Time{}, false
			}
		}
	}
	parts := strings.Split(w, sep)
	if len(parts) != 2 && len(parts) != 3 {
		return time.Time{}, false
	}
	var n [3]int
	for i, part := range parts {
		if !allDigits(part) || len(part) > 4 || i < 2 && len(part) > 2 {
			return time.Time{}, false
		}
		n[i], _ = strconv.Atoi(part)
	}
	d, m := n[0], n[1]
	switch zone := p.now.Location().String(); {
	case d > 12 || d == m:
	case m > 12:
		d, m = m, d
	case strings.HasPrefix(zone, "Europe/"), strings.HasPrefix(zone, "Africa/"), strings.HasPrefix(zone, "Australia/"):
	default:
		return time.Time{}, false
	}
	if len(parts) == 2 {
		if t, ok := p.upcoming(d, time.Month(m)); ok {
			p.i++
			return t, true
		}
		return time.Time{}, false
	}
	if n[2] < 100 {
		n[2] += 2000
	}
	t, ok := p.exact(n[2], time.Month(m), d)
	if ok {
		p.i++
	}
	return t, ok
}

// exact returns the day if the calendar has it.
func (p *dateParser) exact(y int, m time.Month, d int) (time.Time, bool) {
	t := time.Date(y, m, d, 0, 0, 0, 0, p.now.Location())
	return t, t.Day() == d && t.Month() == m && y >= 1900 && y <= 2200
}

// upcoming returns the first such day from today on; 29 February may be years
// away.
func (p *dateParser) upcoming(d int, m time.Month) (time.Time, bool) {
	for y := p.now.Year(); y <= p.now.Year()+8; y++ {
		if t, ok := p.exact(y, m, d); ok && !t.Before(p.today()) {
			return t, true
		}
	}
	return time.Time{}, false
}

// dayNumber reads 1 to 31, with or without an ordinal's ending.
func dayNumber(w string) (int, bool) {
	digits := strings.TrimRight(w, "stndrh")
	if len(w)-len(digits) != 0 && len(w)-len(digits) != 2 || !allDigits(digits) || len(digits) > 2 {
		return 0, false
	}
	n, _ := strconv.Atoi(digits)
	return n, n >= 1 && n <= 31
}

// monthDay reads "March 12", "March the 12th, 2027".
func (p *dateParser) monthDay() (time.Time, bool) {
	m, ok := months[p.word(0)]
	if !ok {
		return time.Time{}, false
	}
	if b := p.before(); b == "i" || b == "we" || b == "you" || b == "that" || b == "it" {
		return time.Time{}, false // "I may 3 times ..."
	}
	n := 1
	if p.word(n) == "the" {
		n++
	}
	d, ok := dayNumber(p.word(n))
	if !ok || p.word(n+1) == "pm" || p.word(n+1) == "am" {
		return time.Time{}, false
	}
	p.i += n + 1
	return p.withYear(d, m)
}

// dayMonth reads "12 March", "12th of March 2027".
func (p *dateParser) dayMonth() (time.Time, bool) {
	d, ok := dayNumber(p.word(0))
	if !ok {
		return time.Time{}, false
	}
	n := 1
	if p.word(n) == "of" {
		n++
	}
	m, ok := months[p.word(n)]
	if !ok {
		return time.Time{}, false
	}
	p.i += n + 1
	return p.withYear(d, m)
}

func (p *dateParser) withYear(d int, m time.Month) (time.Time, bool) {
	if w := p.word(0); len(w) == 4 && allDigits(w) && (w[:2] == "19" || w[:2] == "20") {
		y, _ := strconv.Atoi(w)
		if t, ok := p.exact(y, m, d); ok {
			p.i++
			return t, true
		}
		return time.Time{}, false
	}
	t, ok := p.upcoming(d, m)
	return t, ok
}

// inDays reads "in 3 days", "in two weeks", "a week from today", "in a fortnight".
func (p *dateParser) inDays() (time.Time, bool) {
	n := 0
	in := p.word(0) == "in" || p.word(0) == "within"
	if in {
		n = 1
	}
	v, used := p.count(n)
	if used == 0 {
		return time.Time{}, false
	}
	n += used
	var t time.Time
	switch strings.TrimSuffix(p.word(n), "s") {
	case "day":
		t = p.today().AddDate(0, 0, v)
	case "week", "wk":
		t = p.today().AddDate(0, 0, 7*v)
	case "fortnight":
		t = p.today().AddDate(0, 0, 14*v)
	case "month":
		t = addMonths(p.today(), v)
	default:
		return time.Time{}, false
	}
	n++
	later := p.word(n) == "from" && (p.word(n+1) == "now" || p.word(n+1) == "today")
	if later {
		n += 2
	}
	if !in && !later {
		if p.word(n) == "on" || p.word(n) == "from" { // "a week on Tuesday"
			if wd, ok := p.weekday(n + 1); ok && strings.HasPrefix(p.word(n-1), "week") {
				p.i += n + 2
				return p.coming(wd).AddDate(0, 0, 7*v), true
			}
		}
		return time.Time{}, false
	}
	p.i += n
	return t, true
}

// addMonths keeps to the month it aims at: a month after 31 January is the last
// day of February.
func addMonths(t time.Time, n int) time.Time {
	out := t.AddDate(0, n, 0)
	if out.Day() != t.Day() {
		out = out.AddDate(0, 0, -out.Day())
	}
	return out
}

// bareOrdinal reads "the 12th", which is a day only after a word that announces
// one: "the 2nd" may be the second of a list.
func (p *dateParser) bareOrdinal(start int) (time.Time, bool) {
	p.i = start
	if p.word(0) == "on" {
		p.i++
	}
	if p.word(0) != "the" {
		return time.Time{}, false
	}
	announced := p.i > start
	if p.i > 0 {
		switch p.ts[p.i-1].low {
		case "on", "to", "until", "till", "for", "by":
			announced = true
		}
	}
	w := p.word(1)
	d, ok := dayNumber(w)
	if !ok || !announced || allDigits(w) {
		return time.Time{}, false
	}
	if next := p.word(2); next == "one" || next == "of" || next == "order" || next == "appointment" || next == "booking" {
		return time.Time{}, false
	}
	for k := 0; k < 12; k++ {
		first := time.Date(p.now.Year(), p.now.Month()+time.Month(k), 1, 0, 0, 0, 0, p.now.Location())
		if t, ok := p.exact(first.Year(), first.Month(), d); ok && !t.Before(p.today()) {
			p.i += 2
			return t, true
		}
	}
	return time.Time{}, false
}
