package plan

import (
	"strconv"
	"strings"
	"time"
)

// clock is a time of day.
type clock struct {
	hour, min int
	none      bool
	vague     bool           // "in the afternoon" and no hour
	zone      *time.Location // said with the time
	abbrev    string         // a zone's letters, to be held against the site's own
}

// zoneAbbreviations are understood only where they are the site's own.
var zoneAbbreviations = set("est edt cst cdt mst mdt pst pdt bst cet cest eet eest wet west ist jst aest aedt acst awst nzst nzdt hst akst msk")

// clock reads a time of day. After a day a bare "at 9" and a part of the day
// will do; elsewhere the words must be unmistakable.
func (p *dateParser) clock(afterDay bool) (clock, bool) {
	start := p.i
	part := p.part()
	at := false
	switch p.word(0) {
	case "at", "around", "about", "from":
		if p.word(0) == "at" || afterDay {
			at = true
			p.i++
		}
	}
	c, ok := p.hour(at, afterDay)
	if !ok {
		p.i = start
		if part = p.part(); part != "" && afterDay {
			return clock{vague: true}, true
		}
		p.i = start
		return clock{}, false
	}
	if part == "" {
		part = p.part()
	}
	switch {
	case part == "am" && c.hour > 12, part == "pm" && c.hour == 0:
		p.i = start
		return clock{}, false
	case part == "pm" && c.hour < 12:
		c.hour += 12
	}
	switch w := p.word(0); {
	case w == "utc" || w == "gmt" || w == "z":
		c.zone = time.UTC
		p.i++
	case zoneAbbreviations[w]:
		c.abbrev = w
		p.i++
	}
	return c, true
}

// part reads "morning", "in the afternoon", "this evening" as am or pm.
func (p *dateParser) part() string {
	n := 0
	if p.word(n) == "in" || p.word(n) == "this" {
		n++
	}
	if p.word(n) == "the" {
		n++
	}
	switch p.word(n) {
	case "morning":
		p.i += n + 1
		return "am"
	case "afternoon", "evening", "night", "tonight":
		p.i += n + 1
		return "pm"
	}
	return ""
}

// hour reads the figures. Without am or pm, and on no 24-hour clock, 1 to 6 are
// the afternoon's.
func (p *dateParser) hour(at, afterDay bool) (clock, bool) {
	w := p.word(0)
	switch w {
	case "noon", "midday":
		p.i++
		return clock{hour: 12}, true
	case "midnight":
		p.i++
		return clock{}, true
	case "half", "quarter":
		to := p.word(1) == "to"
		if !to && p.word(1) != "past" {
			return clock{}, false
		}
		p.i += 2
		c, ok := p.hour(true, true)
		if !ok || c.min != 0 {
			return clock{}, false
		}
		switch {
		case w == "half" && !to:
			c.min = 30
		case w == "quarter" && !to:
			c.min = 15
		case w == "quarter":
			c.hour, c.min = (c.hour+23)%24, 45
		default:
			return clock{}, false
		}
		return c, true
	}
	figures, half := w, ""
	for _, suffix := range []string{"am", "pm", "a.m", "p.m", "h"} {
		if rest, ok := strings.CutSuffix(w, suffix); ok && rest != "" {
			figures, half = rest, suffix[:1]
			break
		}
	}
	colon := strings.ContainsAny(figures, ":") || half != "" && strings.Contains(figures, ".")
	hh, mm, _ := strings.Cut(strings.ReplaceAll(figures, ".", ":"), ":")
	if !allDigits(hh) || len(hh) > 2 || colon && (!allDigits(mm) || len(mm) != 2) || !colon && mm != "" {
		return clock{}, false
	}
	c := clock{}
	c.hour, _ = strconv.Atoi(hh)
	if mm != "" {
		c.min, _ = strconv.Atoi(mm)
	}
	if c.hour > 23 || c.min > 59 {
		return clock{}, false
	}
	n := 1
	if half == "" {
		switch p.word(1) {
		case "am", "a.m", "pm", "p.m":
			half, n = p.word(1)[:1], 2
		case "o'clock", "oclock", "hours":
			n, at, afterDay = 2, true, true
		}
	}
	switch half {
	case "a", "p":
		if c.hour == 0 || c.hour > 12 {
			return clock{}, false
		}
		c.hour %= 12
		if half == "p" {
			c.hour += 12
		}
	case "h":
	default:
		if !colon {
			// A bare figure is a time only after "at", and not before a thing.
			next := p.word(1)
			if !at || !afterDay && next != "" && !p.dayFollows() {
				return clock{}, false
			}
			if months[next] != 0 {
				return clock{}, false
			}
		}
		if c.hour >= 1 && c.hour <= 6 && !strings.HasPrefix(figures, "0") && !p.morningFollows(n) {
			c.hour += 12
		}
	}
	p.i += n
	return c, true
}

func (p *dateParser) morningFollows(n int) bool {
	return p.word(n) == "in" && p.word(n+1) == "the" && p.word(n+2) == "morning"
}

// dayFollows reports whether the word after next begins a day.
func (p *dateParser) dayFollows() bool {
	switch w := p.word(1); w {
	case "on", "tomorrow", "today", "next", "this", "please":
		return true
	default:
		_, ok := weekdays[w]
		return ok
	}
}
