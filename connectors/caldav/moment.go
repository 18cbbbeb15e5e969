package caldav

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-ical"
)

// form is how a calendar writes a time (RFC 5545, 3.3.5). A changed time is
// written in the form of the one it replaces.
type form uint8

const (
	dateOnly form = iota + 1 // 20261124: a whole day, wherever one is
	floating                 // 20261124T090000: nine o'clock, wherever one is
	utc                      // 20261124T090000Z
	zoned                    // TZID=Europe/Paris:20261124T090000
)

// The layouts of iCalendar.
const (
	layoutDate = "20060102"
	layoutTime = "20060102T150405"
	layoutUTC  = "20060102T150405Z"
)

// moment is a time as a calendar writes it. Its wall clock is kept apart from
// its zone, because recurrence is a matter of the wall clock: nine o'clock
// stays nine o'clock when the clocks change.
type moment struct {
	wall time.Time // the digits on the clock, in a time.Time of UTC
	form form
	tzid string         // for zoned
	loc  *time.Location // what the wall clock is read in; never nil
}

// instant is when that is.
func (m moment) instant() time.Time { return at(m.wall, m.loc) }

// on is the same kind of moment at another wall clock.
func (m moment) on(wall time.Time) moment {
	m.wall = wall
	return m
}

// moved is the moment t in m's own form. A wall clock that cannot say t, in the
// hour that the clocks go through twice, makes way for UTC.
func (m moment) moved(t time.Time) moment {
	out := m.on(wallOf(t, m.loc))
	if m.form == dateOnly {
		y, mo, d := out.wall.Date()
		return m.on(time.Date(y, mo, d, 0, 0, 0, 0, time.UTC))
	}
	if !out.instant().Equal(t) {
		return moment{wall: t.UTC(), form: utc, loc: time.UTC}
	}
	return out
}

// value is the moment's text, as in a list of EXDATE.
func (m moment) value() string {
	switch m.form {
	case dateOnly:
		return m.wall.Format(layoutDate)
	case utc:
		return m.wall.Format(layoutUTC)
	}
	return m.wall.Format(layoutTime)
}

// prop is the moment as a property.
func (m moment) prop(name string) *ical.Prop {
	p := ical.NewProp(name)
	p.Value = m.value()
	switch m.form {
	case dateOnly:
		p.Params.Set(ical.ParamValue, string(ical.ValueDate))
	case zoned:
		p.Params.Set(ical.PropTimezoneID, m.tzid)
	}
	return p
}

// wallOf is what a clock in loc shows at t.
func wallOf(t time.Time, loc *time.Location) time.Time {
	l := t.In(loc)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), 0, time.UTC)
}

// at is when clocks in loc show wall. In the hour that they skip it is as if
// they had not skipped it, and of an hour that they go through twice it is the
// first time (RFC 5545, 3.3.5).
func at(wall time.Time, loc *time.Location) time.Time {
	_, before := wall.Add(-26 * time.Hour).In(loc).Zone()
	_, after := wall.Add(26 * time.Hour).In(loc).Zone()
	first := wall.Add(-time.Duration(before) * time.Second)
	if wallOf(first, loc).Equal(wall) {
		return first.In(loc)
	}
	if then := wall.Add(-time.Duration(after) * time.Second); wallOf(then, loc).Equal(wall) {
		return then.In(loc)
	}
	return first.In(loc)
}

// skipped reports a wall clock that clocks in loc never show.
func skipped(wall time.Time, loc *time.Location) bool { return !wallOf(at(wall, loc), loc).Equal(wall) }

var errTime = errors.New("a time cannot be understood")

// zones reads the times of one calendar object.
type zones struct {
	local *time.Location // the site's, for floating times and whole days
	cal   *ical.Calendar // the object, for its VTIMEZONEs; may be nil
}

// moments reads a property that holds one time or a list of them.
func (z zones) moments(p *ical.Prop) ([]moment, error) {
	switch v := p.ValueType(); {
	case v == ical.ValuePeriod:
		return nil, fmt.Errorf("%w: %s holds periods", errTime, p.Name)
	case len(p.Value) > 64<<10:
		return nil, fmt.Errorf("%w: %s is too long", errTime, p.Name)
	}
	var out []moment
	for text := range strings.SplitSeq(p.Value, ",") {
		m, err := z.moment(strings.TrimSpace(text), p.Params.Get(ical.PropTimezoneID))
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func (z zones) moment(text, tzid string) (moment, error) {
	var m moment
	var layout string
	switch {
	case len(text) == len(layoutDate):
		m, layout = moment{form: dateOnly, loc: z.local}, layoutDate
	case strings.HasSuffix(text, "Z"):
		m, layout = moment{form: utc, loc: time.UTC}, layoutUTC
	case tzid != "":
		loc, err := z.location(tzid)
		if err != nil {
			return moment{}, err
		}
		m, layout = moment{form: zoned, tzid: tzid, loc: loc}, layoutTime
	default:
		m, layout = moment{form: floating, loc: z.local}, layoutTime
	}
	wall, err := time.Parse(layout, text)
	if err != nil || wall.Year() < 1600 || wall.Year() > 2200 {
		return moment{}, errTime
	}
	m.wall = wall
	return m, nil
}

// one reads a property that holds one time.
func (z zones) one(p *ical.Prop) (moment, error) {
	ms, err := z.moments(p)
	if err != nil || len(ms) != 1 {
		return moment{}, errTime
	}
	return ms[0], nil
}
