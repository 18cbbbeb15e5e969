package caldav

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-ical"
)

// object is one resource of a calendar: an event with, where it recurs, the
// instances that differ from the rest.
type object struct {
	calendar string // path of the calendar, as the manifest has it
	name     string // last segment of the resource's path, percent-encoded
	etag     string // as the server wrote it, quotes included
	cal      *ical.Calendar
	zones    zones
}

// decode reads an object's iCalendar text.
func decode(data []byte, local *time.Location) (cal *ical.Calendar, z zones, err error) {
	defer func() { // what stands in a calendar may have come from anywhere
		if recover() != nil {
			err = errors.New("not an iCalendar object")
		}
	}()
	cal, err = ical.NewDecoder(bytes.NewReader(data)).Decode()
	return cal, zones{local: local, cal: cal}, err
}

// encode writes the object's text.
func (o *object) encode() ([]byte, error) {
	var b bytes.Buffer
	if err := ical.NewEncoder(&b).Encode(o.cal); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// path is where the resource is, below the connection's base URL.
func (o *object) path() string { return o.calendar + o.name }

// events are the object's events: the one that recurs or is alone, nil when
// there is none, and the instances that stand for themselves.
func (o *object) events() (master *ical.Component, overrides []*ical.Component) {
	for _, c := range o.cal.Children {
		switch {
		case c.Name != ical.CompEvent:
		case c.Props.Get(ical.PropRecurrenceID) != nil:
			overrides = append(overrides, c)
		case master == nil:
			master = c
		}
	}
	return master, overrides
}

// span is an event's place in time.
type span struct {
	start, end moment
	// hasEnd: the event says its end with DTEND; otherwise with DURATION or not at all.
	hasEnd bool
}

// spanOf reads when an event is (RFC 5545, 3.6.1).
func (z zones) spanOf(c *ical.Component) (span, error) {
	p := c.Props.Get(ical.PropDateTimeStart)
	if p == nil {
		return span{}, errTime
	}
	start, err := z.one(p)
	if err != nil {
		return span{}, err
	}
	s := span{start: start, end: start}
	if p := c.Props.Get(ical.PropDateTimeEnd); p != nil {
		if s.end, err = z.one(p); err != nil {
			return span{}, err
		}
		s.hasEnd = true
	} else if p := c.Props.Get(ical.PropDuration); p != nil {
		d, err := p.Duration()
		if err != nil || d < 0 || d > 366*24*time.Hour {
			return span{}, errTime
		}
		if start.form == dateOnly {
			s.end = start.on(start.wall.Add(d))
		} else {
			s.end = start.moved(start.instant().Add(d))
		}
	} else if start.form == dateOnly {
		s.end = start.on(start.wall.AddDate(0, 0, 1))
	}
	if s.end.instant().Before(s.start.instant()) {
		return span{}, fmt.Errorf("%w: it ends before it starts", errTime)
	}
	return s, nil
}

// startingAt is the span moved to another start, as long as before: in days
// where it is whole days, else in time.
func (s span) startingAt(start moment) span {
	out := span{start: start, hasEnd: s.hasEnd}
	if s.start.form == dateOnly {
		out.end = s.end.on(start.wall.Add(s.end.wall.Sub(s.start.wall)))
	} else {
		out.end = s.end.moved(start.instant().Add(s.end.instant().Sub(s.start.instant())))
	}
	return out
}

// write puts the span into an event.
func (s span) write(c *ical.Component) {
	c.Props.Set(s.start.prop(ical.PropDateTimeStart))
	if s.hasEnd {
		c.Props.Set(s.end.prop(ical.PropDateTimeEnd))
	}
}

// instance is one appointment: an event that happens once, or one time that a
// recurring one does.
type instance struct {
	object *object
	event  *ical.Component // what describes it
	span   span
	// recurs is which of a recurring event's times this is, by the time that the
	// rule has for it; nil for an event that happens once.
	recurs *moment
	// own: the object describes this instance by itself.
	own bool
}

var errTooMany = errors.New("a calendar holds more appointments than can be looked through")

// maxInstances bounds the appointments of one object in the window.
const maxInstances = 1000

// instances are the object's appointments that touch [from, to), in no order.
// Those that are cancelled are not among them.
func (o *object) instances(from, to time.Time) ([]instance, error) {
	master, overrides := o.events()
	var out []instance
	add := func(i instance) {
		begins, ends := i.span.start.instant(), i.span.end.instant()
		if !cancelled(i.event) && begins.Before(to) && (ends.After(from) || !begins.Before(from)) {
			out = append(out, i)
		}
	}
	replaced := map[string]bool{}
	for _, c := range overrides {
		p := c.Props.Get(ical.PropRecurrenceID)
		if p.Params.Get(ical.ParamRange) != "" {
			return nil, fmt.Errorf("%w: it changes all instances from one on", errTime)
		}
		id, err := o.zones.one(p)
		if err != nil {
			return nil, err
		}
		s, err := o.zones.spanOf(c)
		if err != nil {
			return nil, err
		}
		replaced[key(id)] = true
		add(instance{object: o, event: c, span: s, recurs: &id, own: true})
	}
	if master == nil {
		return out, nil
	}
	s, err := o.zones.spanOf(master)
	if err != nil {
		return nil, err
	}
	if !recurring(master) {
		add(instance{object: o, event: master, span: s})
		return out, nil
	}
	starts, err := o.recurrences(master, s.start, to)
	if err != nil {
		return nil, err
	}
	for _, start := range starts {
		if replaced[key(start)] {
			continue
		}
		add(instance{object: o, event: master, span: s.startingAt(start), recurs: &start})
		if len(out) > maxInstances {
			return nil, errTooMany
		}
	}
	return out, nil
}

// recurring reports an event that happens more than once.
func recurring(c *ical.Component) bool {
	return c.Props.Get(ical.PropRecurrenceRule) != nil || c.Props.Get(ical.PropRecurrenceDates) != nil
}

// recurrences are the times at which a recurring event happens before to.
func (o *object) recurrences(master *ical.Component, start moment, to time.Time) ([]moment, error) {
	if len(master.Props.Values("EXRULE")) > 0 || len(master.Props.Values(ical.PropRecurrenceRule)) > 1 {
		return nil, fmt.Errorf("%w: its recurrence rule", errTime)
	}
	excepted := map[string]bool{}
	for _, p := range master.Props.Values(ical.PropExceptionDates) {
		ms, err := o.zones.moments(&p)
		if err != nil {
			return nil, err
		}
		for _, m := range ms {
			excepted[key(m)] = true
			if m.form == dateOnly && start.form != dateOnly { // as some programs write it
				y, mo, d := m.wall.Date()
				h, mi, sec := start.wall.Clock()
				excepted[key(start.on(time.Date(y, mo, d, h, mi, sec, 0, time.UTC)))] = true
			}
		}
	}
	all := []moment{start}
	for _, p := range master.Props.Values(ical.PropRecurrenceDates) {
		ms, err := o.zones.moments(&p)
		if err != nil {
			return nil, err
		}
		all = append(all, ms...)
	}
	if p := master.Props.Get(ical.PropRecurrenceRule); p != nil {
		next, err := rule(p.Value, start)
		if err != nil {
			return nil, err
		}
		for steps := 0; ; steps++ {
			wall, ok := next()
			if !ok {
				break
			}
			m := start.on(wall)
			if !m.instant().Before(to) {
				break
			}
			if steps == maxSteps {
				return nil, errTooMany
			}
			all = append(all, m)
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(m moment) bool {
		k := key(m)
		gone := excepted[k] || seen[k]
		seen[k] = true
		return gone
	}), nil
}

// key tells an object's recurrences apart, however their times are written.
func key(m moment) string {
	if m.form == dateOnly {
		return m.wall.Format(layoutDate)
	}
	return m.instant().UTC().Format(layoutUTC)
}

// cancelled reports an event that does not take place.
func cancelled(c *ical.Component) bool {
	p := c.Props.Get(ical.PropStatus)
	return p != nil && strings.EqualFold(p.Value, string(ical.EventCancelled))
}

// sound reports an object that is one event, as RFC 4791, 4.1 wants it: what
// else it held could be changed or taken away along with it.
func (o *object) sound() bool {
	masters, uid := 0, ""
	for _, c := range o.cal.Children {
		switch c.Name {
		case ical.CompTimezone:
			continue
		case ical.CompEvent:
		default:
			return false
		}
		p := c.Props.Get(ical.PropUID)
		if p == nil || uid != "" && p.Value != uid {
			return false
		}
		uid = p.Value
		if c.Props.Get(ical.PropRecurrenceID) == nil {
			masters++
		}
	}
	return uid != "" && masters <= 1
}
