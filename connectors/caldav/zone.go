package caldav

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a calendar's zones must not depend on the machine's

	"github.com/emersion/go-ical"
)

// location is the zone of a TZID. Names of the time zone database mean what
// that says, for the definitions that programs write into calendars are often
// cut to the present rule; any other name means what its VTIMEZONE says.
func (z zones) location(tzid string) (*time.Location, error) {
	name := strings.Trim(tzid, `"`)
	if i := strings.LastIndex(name, "/freeassociation.sourceforge.net/"); i >= 0 {
		name = name[i+len("/freeassociation.sourceforge.net/"):]
	}
	if strings.Contains(name, "/") || name == "UTC" {
		if loc, err := time.LoadLocation(name); err == nil {
			return loc, nil
		}
	}
	if z.cal != nil {
		for _, c := range z.cal.Children {
			if id := c.Props.Get(ical.PropTimezoneID); c.Name == ical.CompTimezone && id != nil && id.Value == tzid {
				return described(tzid, c)
			}
		}
	}
	return nil, fmt.Errorf("%w: its time zone is neither in the time zone database nor in the calendar", errTime)
}

// maxOnsets bounds how often a zone's clocks are changed by one of its rules.
const maxOnsets = 400

// onset is when an observance of a time zone begins.
type onset struct {
	at     int64 // Unix seconds
	offset int   // seconds east of UTC from then on
	dst    bool
	name   string
}

// Years for which the rules of a VTIMEZONE are worked out.
const (
	firstZoneYear = 1970
	lastZoneYear  = 2100
)

// described makes a location of a VTIMEZONE (RFC 5545, 3.6.5).
func described(name string, tz *ical.Component) (*time.Location, error) {
	var onsets []onset
	before, first := 0, int64(0)
	for _, c := range tz.Children {
		if c.Name != ical.CompTimezoneStandard && c.Name != ical.CompTimezoneDaylight {
			continue
		}
		from, err := offsetOf(c.Props.Get(ical.PropTimezoneOffsetFrom))
		if err != nil {
			return nil, err
		}
		to, err := offsetOf(c.Props.Get(ical.PropTimezoneOffsetTo))
		if err != nil {
			return nil, err
		}
		walls, err := observed(c)
		if err != nil {
			return nil, err
		}
		label := to.label()
		if p := c.Props.Get(ical.PropTimezoneName); p != nil && len(p.Value) <= 16 && p.Value != "" && !strings.Contains(p.Value, "\x00") {
			label = p.Value
		}
		for _, wall := range walls {
			o := onset{wall.Unix() - int64(from), int(to), c.Name == ical.CompTimezoneDaylight, label}
			if len(onsets) == 0 || o.at < first {
				first, before = o.at, int(from)
			}
			onsets = append(onsets, o)
		}
	}
	if len(onsets) == 0 {
		return nil, errTime
	}
	slices.SortStableFunc(onsets, func(a, b onset) int { return int(min(1, max(-1, a.at-b.at))) })
	return time.LoadLocationFromTZData(name, tzif(before, onsets))
}

// observed are the wall clocks at which an observance begins.
func observed(c *ical.Component) ([]time.Time, error) {
	z := zones{local: time.UTC}
	p := c.Props.Get(ical.PropDateTimeStart)
	if p == nil {
		return nil, errTime
	}
	start, err := z.one(p)
	if err != nil {
		return nil, err
	}
	walls := []time.Time{start.wall}
	for _, p := range c.Props.Values(ical.PropRecurrenceDates) {
		more, err := z.moments(&p)
		if err != nil {
			return nil, err
		}
		for _, m := range more {
			walls = append(walls, m.wall)
		}
	}
	for _, p := range c.Props.Values(ical.PropRecurrenceRule) {
		from := start
		if w := start.wall; w.Year() < firstZoneYear { // Outlook's rules begin in 1601
			if v := strings.ToUpper(p.Value) + ";"; strings.Contains(v, "INTERVAL=") && !strings.Contains(v, "INTERVAL=1;") {
				return nil, errTime
			}
			from = start.on(w.AddDate(firstZoneYear-w.Year(), 0, 0))
		}
		next, err := rule(p.Value, from)
		if err != nil {
			return nil, err
		}
		for n := 0; n < maxOnsets; n++ {
			wall, ok := next()
			if !ok || wall.Year() > lastZoneYear {
				break
			}
			walls = append(walls, wall)
		}
	}
	slices.SortFunc(walls, time.Time.Compare)
	return slices.CompactFunc(walls, time.Time.Equal), nil
}

// offset is seconds east of UTC.
type offset int

func (o offset) label() string {
	return time.Unix(0, 0).In(time.FixedZone("", int(o))).Format("-0700")
}

// offsetOf reads "+0100" or "-033015".
func offsetOf(p *ical.Prop) (offset, error) {
	if p == nil || len(p.Value) != 5 && len(p.Value) != 7 || p.Value[0] != '+' && p.Value[0] != '-' {
		return 0, errTime
	}
	n, err := strconv.Atoi(p.Value[1:])
	if err != nil || n < 0 {
		return 0, errTime
	}
	if len(p.Value) == 5 {
		n *= 100
	}
	seconds := n/10000*3600 + n/100%100*60 + n%100
	if seconds >= 24*3600 {
		return 0, errTime
	}
	if p.Value[0] == '-' {
		seconds = -seconds
	}
	return offset(seconds), nil
}

// tzif writes onsets as a time zone file (RFC 8536, version 2), which is what
// the standard library makes a location of. The first of its types is what held
// before the first onset.
func tzif(before int, onsets []onset) []byte {
	type local struct {
		offset int
		dst    bool
		name   string
	}
	types := []local{{before, false, offset(before).label()}}
	names, index := "", map[string]int{}
	nameAt := func(name string) byte {
		if _, ok := index[name]; !ok {
			index[name] = len(names)
			names += name + "\x00"
		}
		return byte(index[name])
	}
	var times, kinds bytes.Buffer
	count := 0
	for _, o := range onsets {
		t := local{o.offset, o.dst, o.name}
		i := slices.Index(types, t)
		if i < 0 {
			if len(types) > 200 || len(names) > 200 {
				break // no zone has that many
			}
			i, types = len(types), append(types, t)
		}
		binary.Write(&times, binary.BigEndian, o.at)
		kinds.WriteByte(byte(i))
		count++
	}
	var infos bytes.Buffer
	for _, t := range types {
		binary.Write(&infos, binary.BigEndian, int32(t.offset))
		infos.WriteByte(map[bool]byte{true: 1}[t.dst])
		infos.WriteByte(nameAt(t.name))
	}
	header := func(b *bytes.Buffer, times, types, chars int) {
		b.WriteString("TZif2" + strings.Repeat("\x00", 15))
		for _, n := range []int{0, 0, 0, times, types, chars} {
			binary.Write(b, binary.BigEndian, int32(n))
		}
	}
	var out bytes.Buffer
	header(&out, 0, 1, 1) // the part of version 1, which nobody reads
	out.Write([]byte{0, 0, 0, 0, 0, 0, 0})
	header(&out, count, len(types), len(names))
	out.Write(times.Bytes())
	out.Write(kinds.Bytes())
	out.Write(infos.Bytes())
	out.WriteString(names)
	out.WriteString("\n\n")
	return out.Bytes()
}
