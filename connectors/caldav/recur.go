package caldav

import (
	"fmt"
	"strings"
	"time"

	"github.com/teambition/rrule-go"
)

// maxSteps bounds how far a rule is followed: a daily one for over fifty years.
const maxSteps = 20_000

// rule returns the wall clocks at which a recurrence rule falls, in order,
// however many. It is worked out on the wall clock alone; what instants these
// are is for the moment's zone to say.
func rule(text string, start moment) (func() (time.Time, bool), error) {
	if start.wall.Year() < 1900 { // further than a time.Duration reaches, which the rules are worked out with
		return nil, fmt.Errorf("%w: it recurs since before 1900", errTime)
	}
	var parts []string
	var until string
	for part := range strings.SplitSeq(strings.ToUpper(text), ";") {
		if v, ok := strings.CutPrefix(part, "UNTIL="); ok {
			until = v
			continue
		}
		parts = append(parts, part)
	}
	option, err := rrule.StrToROption(strings.Join(parts, ";"))
	if err != nil {
		return nil, fmt.Errorf("%w: its recurrence rule", errTime)
	}
	switch option.Freq {
	case rrule.YEARLY, rrule.MONTHLY, rrule.WEEKLY, rrule.DAILY:
	default:
		return nil, fmt.Errorf("%w: it recurs more often than daily", errTime)
	}
	if start.form == dateOnly {
		option.Byhour, option.Byminute, option.Bysecond = nil, nil, nil
	}
	if len(option.Byhour)+len(option.Byminute)+len(option.Bysecond) > 64 {
		return nil, fmt.Errorf("%w: its recurrence rule", errTime)
	}
	option.Dtstart = start.wall
	if until != "" {
		if option.Until, err = untilWall(until, start); err != nil {
			return nil, err
		}
	}
	r, err := rrule.NewRRule(*option)
	if err != nil {
		return nil, fmt.Errorf("%w: its recurrence rule", errTime)
	}
	return r.Iterator(), nil
}

// untilWall is the last wall clock at which a rule may fall. UNTIL is in UTC
// where the start has a zone, and of a date the whole day counts.
func untilWall(text string, start moment) (time.Time, error) {
	m, err := zones{local: start.loc}.moment(text, "")
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case m.form == dateOnly && start.form != dateOnly:
		return m.wall.Add(24*time.Hour - time.Second), nil
	case m.form == utc:
		return wallOf(m.wall, start.loc), nil
	}
	return m.wall, nil
}

// withUntil is the rule, ended at the latest before t.
func withUntil(text string, start moment, t time.Time) string {
	var parts []string
	for part := range strings.SplitSeq(text, ";") {
		upper := strings.ToUpper(part)
		if !strings.HasPrefix(upper, "UNTIL=") && !strings.HasPrefix(upper, "COUNT=") && part != "" {
			parts = append(parts, part)
		}
	}
	last := t.Add(-time.Second)
	until := last.UTC().Format(layoutUTC)
	switch start.form {
	case dateOnly:
		until = wallOf(last, start.loc).Format(layoutDate)
	case floating:
		until = wallOf(last, start.loc).Format(layoutTime)
	}
	return strings.Join(append(parts, "UNTIL="+until), ";")
}
