// Package caldav performs actions on the appointments of any calendar server
// that speaks CalDAV (RFC 4791): the upcoming ones of a customer, another time
// for one of them, or none. It sees a calendar only through the connection
// provider and writes only what it has read in the same call, for the version
// that it read (RFC 9110, If-Match).
//
// An appointment is a customer's by what its own event says, compared before
// anything is written. Events with several customers are nobody's.
package caldav

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-ical"

	"vouchsafe/connectors"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// fields are what an appointment's record may hold.
var fields = []string{"id", "title", "start", "end", "minutes", "all_day", "location", "description", "status", "series"}

// Kind returns the kind of connector.
func Kind() *connectors.Kind {
	return &connectors.Kind{
		Name: "caldav",
		Operations: map[string]connectors.Operation{
			"list":       {Personal: true, Risk: engine.Read, List: true, Fields: fields},
			"lookup":     {Personal: true, Risk: engine.Read, Required: []string{"booking_id"}, Record: "booking_id", Fields: fields},
			"reschedule": {Personal: true, Risk: engine.Write, Required: []string{"booking_id", "start"}, Record: "booking_id", Fields: fields},
			"cancel":     {Personal: true, Risk: engine.Destructive, Required: []string{"booking_id"}, Optional: []string{"series"}, Record: "booking_id", Fields: fields},
		},
		Rules:    []connectors.Rule{{Method: "REPORT", Path: "/{calendar...}"}, {Method: "GET", Path: "/{object...}"}, {Method: "PUT", Path: "/{object...}"}, {Method: "DELETE", Path: "/{object...}"}},
		Settings: settingsSchema,
		Open:     open,
	}
}

var settingsSchema = map[string]any{
	"type": "object",
	"properties": map[string]any{
		// Paths of calendars below the connection's base URL; default: the base URL itself.
		"calendars": map[string]any{"type": "array", "minItems": 1, "maxItems": 20, "uniqueItems": true,
			"items": map[string]any{"type": "string", "pattern": "^/(?:[A-Za-z0-9._~@%+-]+/)*$"}},
		// The property that holds the customer's e-mail address or subject.
		"owner":         map[string]any{"type": "string", "pattern": "^(?:ATTENDEE|X-[A-Z0-9-]{1,60})$"},
		"owner_subject": map[string]any{"type": "string", "pattern": "^X-[A-Z0-9-]{1,60}$"},
		"staff":         map[string]any{"type": "array", "maxItems": 1000, "items": map[string]any{"type": "string", "pattern": "^[^@\\s]*@[^@\\s]+$"}},
		"days":          map[string]any{"type": "integer", "minimum": 1, "maximum": 730},
		"cancelled":     map[string]any{"enum": []any{"remove", "keep"}},
		"overlap":       map[string]any{"enum": []any{"refuse", "allow"}},
		"narrow":        map[string]any{"type": "boolean"},
	},
}

// calendars performs the operations for one manifest.
type calendars struct {
	paths   []string
	owners  ownership
	days    int  // how far ahead one looks
	keep    bool // a cancelled appointment stays in the calendar, marked
	overlap bool // two appointments may be at one time
	narrow  bool // the server is asked for the customer's events alone
}

func open(settings map[string]any) (connectors.Native, error) {
	c := &calendars{paths: []string{"/"}, owners: ownership{property: attendee}, days: 180, narrow: true}
	if list, ok := settings["calendars"].([]any); ok {
		c.paths = nil
		for _, p := range list {
			path := p.(string)
			if strings.Contains(path, "/./") || strings.Contains(path, "/../") {
				return nil, errors.New(`calendars: a path must not have a segment "." or ".."`)
			}
			c.paths = append(c.paths, path)
		}
	}
	if p, ok := settings["owner"].(string); ok {
		c.owners.property = p
	}
	if p, ok := settings["owner_subject"].(string); ok {
		if settings["owner"] != nil {
			return nil, errors.New("give either owner or owner_subject")
		}
		c.owners.property, c.owners.subject = p, true
	}
	staff, _ := settings["staff"].([]any)
	for _, s := range staff {
		address := s.(string)
		if strings.HasPrefix(address, "@") {
			address = "x" + address
		}
		if !same(address, address) {
			return nil, fmt.Errorf("staff: %q is neither an address nor a @domain", s)
		}
		c.owners.staff = append(c.owners.staff, s.(string))
	}
	if len(c.owners.staff) > 0 && c.owners.property != attendee {
		return nil, errors.New("staff is for telling attendees apart, and owner is another property")
	}
	if n, ok := settings["days"]; ok {
		if _, err := fmt.Sscan(fmt.Sprint(n), &c.days); err != nil {
			return nil, errors.New("days must be a whole number")
		}
	}
	c.keep = settings["cancelled"] == "keep"
	c.overlap = settings["overlap"] == "allow"
	if b, ok := settings["narrow"].(bool); ok {
		c.narrow = b
	}
	return c, nil
}

// Do performs one operation.
func (c *calendars) Do(ctx context.Context, call connectors.NativeCall) ([]gate.Record, error) {
	if call.Operation == "list" {
		all, err := c.theirs(ctx, call)
		if err != nil {
			return nil, err
		}
		out := make([]gate.Record, len(all))
		for i, a := range all {
			out[i] = c.record(a, call)
		}
		return out, nil
	}
	a, err := c.find(ctx, call)
	if err != nil {
		return nil, err
	}
	switch call.Operation {
	case "lookup":
		return []gate.Record{c.record(a, call)}, nil
	case "reschedule":
		return c.reschedule(ctx, call, a)
	case "cancel":
		return c.cancel(ctx, call, a)
	}
	return nil, errors.New("unknown operation")
}

// theirs are the customer's upcoming appointments, the next one first.
func (c *calendars) theirs(ctx context.Context, call connectors.NativeCall) ([]instance, error) {
	f := filter{from: call.Now, to: c.horizon(call.Now)}
	if c.narrow {
		f.property, f.holds = c.owners.property, c.owners.needle(call.Pinned)
	}
	var out []instance
	for _, path := range c.paths {
		objects, err := query(ctx, call, path, f)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			some, err := c.ofObject(o, call, f.from, f.to)
			if err != nil {
				return nil, err
			}
			out = append(out, some...)
		}
	}
	slices.SortFunc(out, func(a, b instance) int {
		return cmp.Or(a.span.start.instant().Compare(b.span.start.instant()), strings.Compare(a.id(), b.id()))
	})
	return out, nil
}

func (c *calendars) horizon(now time.Time) time.Time { return now.AddDate(0, 0, c.days) }

// ofObject are those of an object's appointments that are the customer's. An
// object that has nothing of theirs may be as odd as it likes.
func (c *calendars) ofObject(o *object, call connectors.NativeCall, from, to time.Time) ([]instance, error) {
	master, overrides := o.events()
	own := false
	for _, e := range append(overrides, master) {
		own = own || e != nil && call.Owns(c.owners.owner(e))
	}
	if !own {
		return nil, nil
	}
	all, err := o.instances(from, to)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(i instance) bool { return !call.Owns(c.owners.owner(i.event)) }), nil
}

// find is the customer's upcoming appointment of that id. It asks the same of
// the server, and takes the same way, whether the id is nobody's, somebody
// else's or theirs.
func (c *calendars) find(ctx context.Context, call connectors.NativeCall) (instance, error) {
	all, err := c.theirs(ctx, call)
	if err != nil {
		return instance{}, err
	}
	want, _ := call.Args["booking_id"].(string)
	all = slices.DeleteFunc(all, func(i instance) bool { return i.id() != want })
	if len(all) != 1 {
		return instance{}, connectors.ErrNotFound
	}
	return all[0], nil
}

// id names an appointment: four letters and four digits that can be read out
// over a telephone, from where it lies and which of a series it is. It stays
// the same when the appointment moves.
func (i instance) id() string {
	text := i.object.path()
	if i.recurs != nil {
		text += "\n" + key(*i.recurs)
	}
	sum := sha256.Sum256([]byte(text))
	n := binary.BigEndian.Uint64(sum[:8])
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	var out [8]byte
	for at := range 4 {
		out[at] = letters[n%uint64(len(letters))]
		n /= uint64(len(letters))
	}
	copy(out[4:], fmt.Sprintf("%04d", n%10_000))
	return string(out[:])
}

// record is an appointment as others see it, its times in the site's zone.
func (c *calendars) record(i instance, call connectors.NativeCall) gate.Record {
	f := map[string]any{"id": i.id(), "series": i.recurs != nil, "status": "confirmed"}
	begins, ends := i.span.start.instant(), i.span.end.instant()
	if allDay := i.span.start.form == dateOnly; allDay {
		f["all_day"] = true
		f["start"] = i.span.start.wall.Format(time.DateOnly)
		f["end"] = i.span.end.wall.AddDate(0, 0, -1).Format(time.DateOnly)
	} else {
		f["all_day"] = false
		f["start"] = begins.In(call.Site.Location).Format(time.RFC3339)
		f["end"] = ends.In(call.Site.Location).Format(time.RFC3339)
		f["minutes"] = int(ends.Sub(begins) / time.Minute)
	}
	if cancelled(i.event) {
		f["status"] = "cancelled"
	} else if p := i.event.Props.Get(ical.PropStatus); p != nil && strings.EqualFold(p.Value, string(ical.EventTentative)) {
		f["status"] = "tentative"
	}
	for name, prop := range map[string]string{"title": ical.PropSummary, "location": ical.PropLocation, "description": ical.PropDescription} {
		if p := i.event.Props.Get(prop); p != nil {
			if text, err := p.Text(); err == nil && text != "" {
				f[name] = text
			}
		}
	}
	return gate.Record{ID: i.id(), Owner: c.owners.owner(i.event), Fields: f}
}
