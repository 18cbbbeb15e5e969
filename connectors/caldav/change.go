package caldav

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-ical"

	"vouchsafe/connectors"
	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// reschedule moves one appointment, of a series that one alone, to another
// start. It stays as long as it was.
func (c *calendars) reschedule(ctx context.Context, call connectors.NativeCall, i instance) ([]gate.Record, error) {
	if err := upcoming(i, call.Now); err != nil {
		return nil, err
	}
	start, err := c.newStart(call, i)
	if err != nil {
		return nil, err
	}
	target := i.span.startingAt(start)
	if target.start.instant().Equal(i.span.start.instant()) {
		return []gate.Record{c.record(i, call)}, nil
	}
	if !c.overlap {
		free, err := c.free(ctx, call, i, target)
		if err != nil {
			return nil, err
		}
		if !free {
			return nil, engine.Errorf(engine.CodeConnectorFailed, "That time is taken, so nothing was changed. Please choose another.", errors.New("another appointment is at that time"))
		}
	}
	i.event = i.itself()
	i.span, i.own = target, true
	target.write(i.event)
	touch(i.event, call.Now)
	err = c.settle(ctx, call, i, i.object.put(ctx, call), func(now *instance) bool {
		return now != nil && now.span.start.instant().Equal(target.start.instant())
	})
	if err != nil {
		return nil, err
	}
	return []gate.Record{c.record(i, call)}, nil
}

// cancel takes one appointment out of the calendar, or marks it there. A whole
// series goes only where the argument asks for it.
func (c *calendars) cancel(ctx context.Context, call connectors.NativeCall, i instance) ([]gate.Record, error) {
	if err := upcoming(i, call.Now); err != nil {
		return nil, err
	}
	record := c.record(i, call)
	record.Fields["status"] = "cancelled"
	write := (*object).put
	id := i.id()
	gone := func(now *instance) bool { return now == nil }
	switch series, _ := call.Args["series"].(bool); {
	case series && i.recurs != nil:
		whole, err := c.endSeries(call, i.object)
		if err != nil {
			return nil, err
		}
		if whole {
			write = (*object).remove
		}
	case c.keep:
		e := i.itself()
		e.Props.Set(&ical.Prop{Name: ical.PropStatus, Params: ical.Params{}, Value: string(ical.EventCancelled)})
		touch(e, call.Now)
	case i.recurs == nil || !i.except(call.Now):
		write = (*object).remove
	}
	if err := c.settle(ctx, call, i, write(i.object, ctx, call), gone); err != nil {
		return nil, err
	}
	record.ID = id
	return []gate.Record{record}, nil
}

func upcoming(i instance, now time.Time) error {
	if i.span.start.instant().After(now) {
		return nil
	}
	return engine.Errorf(engine.CodeConnectorFailed, "That appointment has already begun, so it cannot be changed any more.", errors.New("the appointment has begun"))
}

// newStart reads the argument start: an instant, or a time in the site's zone;
// of a whole day, its date.
func (c *calendars) newStart(call connectors.NativeCall, i instance) (moment, error) {
	invalid := func(message string) (moment, error) {
		return moment{}, engine.Errorf(engine.CodeInvalidArguments, message, errors.New("start cannot be used"))
	}
	text, _ := call.Args["start"].(string)
	local := call.Site.Location
	whole := i.span.start.form == dateOnly
	t, err := time.Parse(time.RFC3339, text)
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if err == nil {
			break
		}
		var wall time.Time
		if layout == time.DateOnly && !whole {
			break
		}
		if wall, err = time.Parse(layout, text); err == nil {
			if skipped(wall, local) && !whole {
				return invalid("There is no such time on that day: the clocks are put forward. Please choose another.")
			}
			t = at(wall, local)
		}
	}
	switch {
	case err != nil:
		return invalid("Please say the new day and time.")
	case !t.After(call.Now):
		return invalid("That time is in the past. Please choose a later one.")
	case !t.Before(c.horizon(call.Now)):
		return invalid("That is too far ahead. Please choose an earlier day.")
	}
	if whole {
		return i.span.start.on(wallOf(t, local).Truncate(24 * time.Hour)), nil
	}
	return i.span.start.moved(t), nil
}

// free reports that nothing else in the calendar takes up the time.
func (c *calendars) free(ctx context.Context, call connectors.NativeCall, i instance, target span) (bool, error) {
	from, to := target.start.instant(), target.end.instant()
	if !from.Before(to) {
		return true, nil
	}
	objects, err := query(ctx, call, i.object.calendar, filter{from: from, to: to})
	if err != nil {
		return false, err
	}
	for _, o := range objects {
		others, err := o.instances(from, to)
		if err != nil {
			return false, nil // it is at about that time, and cannot be understood
		}
		for _, other := range others {
			p := other.event.Props.Get(ical.PropTransparency)
			transparent := p != nil && strings.EqualFold(p.Value, "TRANSPARENT")
			if !transparent && other.id() != i.id() && other.span.end.instant().After(from) {
				return false, nil
			}
		}
	}
	return true, nil
}

// itself is the event that describes this instance and no other. For one that
// only the rule describes, it is made (RFC 5545, 3.8.4.4).
func (i instance) itself() *ical.Component {
	if i.recurs == nil || i.own {
		return i.event
	}
	e := &ical.Component{Name: ical.CompEvent, Props: maps.Clone(i.event.Props), Children: slices.Clone(i.event.Children)}
	for _, name := range []string{ical.PropRecurrenceRule, ical.PropRecurrenceDates, ical.PropExceptionDates, "EXRULE"} {
		delete(e.Props, name)
	}
	e.Props.Set(i.recurs.prop(ical.PropRecurrenceID))
	i.span.write(e)
	i.object.cal.Children = append(i.object.cal.Children, e)
	return e
}

// except takes this instance out of its series. It reports false when nothing
// is left of the object then.
func (i instance) except(now time.Time) bool {
	cal := i.object.cal
	if i.own {
		cal.Children = slices.DeleteFunc(cal.Children, func(c *ical.Component) bool { return c == i.event })
	}
	master, overrides := i.object.events()
	if master == nil {
		return len(overrides) > 0
	}
	at := *i.recurs
	if start, err := i.object.zones.spanOf(master); err == nil && (start.start.form == dateOnly) == (at.form == dateOnly) {
		at = start.start.moved(at.instant())
	}
	master.Props.Add(at.prop(ical.PropExceptionDates))
	touch(master, now)
	return true
}

// endSeries takes all upcoming appointments out of a series. It reports true
// when none has taken place, so that nothing of the object needs to stay.
func (c *calendars) endSeries(call connectors.NativeCall, o *object) (whole bool, err error) {
	master, overrides := o.events()
	for _, e := range append(slices.Clone(overrides), master) {
		if e != nil && !call.Owns(c.owners.owner(e)) {
			return false, engine.Errorf(engine.CodeConnectorFailed, "These appointments cannot be cancelled together. Please cancel them one by one, or contact us.", errors.New("the series has instances of others"))
		}
	}
	past, err := o.instances(time.Time{}, call.Now)
	if err != nil {
		return false, err
	}
	if len(past) == 0 {
		return true, nil
	}
	o.cal.Children = slices.DeleteFunc(o.cal.Children, func(e *ical.Component) bool {
		if !slices.Contains(overrides, e) {
			return false
		}
		s, err := o.zones.spanOf(e)
		return err == nil && s.start.instant().After(call.Now)
	})
	if master == nil {
		return false, nil
	}
	s, err := o.zones.spanOf(master)
	if err != nil {
		return false, err
	}
	if p := master.Props.Get(ical.PropRecurrenceRule); p != nil {
		ended := *p
		ended.Value = withUntil(p.Value, s.start, call.Now.Add(time.Second))
		master.Props.Set(&ended)
	}
	if err := o.dropDates(master, call.Now); err != nil {
		return false, err
	}
	// A moved instance whose own time is past may stand for a time of the rule
	// that is still to come, and the other way round; the latter is excepted.
	for _, e := range overrides {
		id, err := o.zones.one(e.Props.Get(ical.PropRecurrenceID))
		if err == nil && !slices.Contains(o.cal.Children, e) && !id.instant().After(call.Now) {
			master.Props.Add(id.prop(ical.PropExceptionDates))
		}
	}
	touch(master, call.Now)
	return false, nil
}

// dropDates takes the dates after t out of an event's RDATEs.
func (o *object) dropDates(e *ical.Component, t time.Time) error {
	old := e.Props.Values(ical.PropRecurrenceDates)
	delete(e.Props, ical.PropRecurrenceDates)
	for _, p := range old {
		ms, err := o.zones.moments(&p)
		if err != nil {
			return err
		}
		for _, m := range ms {
			if !m.instant().After(t) {
				e.Props.Add(m.prop(ical.PropRecurrenceDates))
			}
		}
	}
	return nil
}

// touch marks an event as changed (RFC 5545, 3.8.7).
func touch(e *ical.Component, now time.Time) {
	sequence := 0
	if p := e.Props.Get(ical.PropSequence); p != nil {
		sequence, _ = strconv.Atoi(p.Value)
	}
	for name, value := range map[string]string{
		ical.PropSequence:      strconv.Itoa(max(0, sequence) + 1),
		ical.PropDateTimeStamp: now.UTC().Format(layoutUTC),
		ical.PropLastModified:  now.UTC().Format(layoutUTC),
	} {
		e.Props.Set(&ical.Prop{Name: name, Params: ical.Params{}, Value: value})
	}
}

// settle says what became of a write. One that the server did not answer is
// looked up: done is asked about the appointment as it now stands, nil when it
// is not there any more. What cannot be found out stays unknown.
func (c *calendars) settle(ctx context.Context, call connectors.NativeCall, i instance, err error, done func(*instance) bool) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errConflict):
		return engine.Errorf(engine.CodeConnectorFailed, "That appointment has just been changed by somebody else, so nothing was done. Please look at it again.", err)
	case errors.Is(err, errRefused), errors.Is(err, errUnwritable):
		return engine.Errorf(engine.CodeConnectorFailed, "That was not accepted, so nothing was changed. Please try another way, or contact us.", err)
	case !errors.Is(err, errDoubt):
		return err
	}
	reply, readErr := call.Send(ctx, provider.Call{Method: http.MethodGet, Path: i.object.path(), Headers: map[string]string{"Accept": ical.MIMEType}})
	if readErr != nil {
		return fmt.Errorf("%w, and it cannot be read again", err)
	}
	if reply.Status == http.StatusNotFound || reply.Status == http.StatusGone {
		if done(nil) {
			return nil
		}
		return err
	}
	now := &object{calendar: i.object.calendar, name: i.object.name}
	var badly error
	if now.cal, now.zones, badly = decode(reply.Body, call.Site.Location); reply.Status != http.StatusOK || badly != nil || !now.sound() {
		return err
	}
	all, badly := now.instances(call.Now, c.horizon(call.Now))
	if badly != nil {
		return err
	}
	var found *instance
	for _, other := range all {
		if other.id() == i.id() {
			found = &other
		}
	}
	if done(found) {
		return nil
	}
	return err
}
