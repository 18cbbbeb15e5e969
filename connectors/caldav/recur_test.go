package caldav

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/connectors/connectortest"
)

func TestClocksGoForwardAndBack(t *testing.T) {
	london := location(t, "Europe/London")
	lord := location(t, "Australia/Lord_Howe") // by half an hour
	tests := []struct {
		loc  *time.Location
		wall string
		want string
	}{
		{london, "2026-03-29T00:59:59", "2026-03-29T00:59:59Z"},
		{london, "2026-03-29T01:30:00", "2026-03-29T01:30:00Z"}, // there is none: as if the clocks had not changed
		{london, "2026-03-29T02:00:00", "2026-03-29T01:00:00Z"},
		{london, "2026-10-25T01:30:00", "2026-10-25T00:30:00Z"}, // there are two: the first
		{london, "2026-10-25T02:00:00", "2026-10-25T02:00:00Z"},
		{lord, "2026-10-04T02:15:00", "2026-10-03T15:45:00Z"},
		{lord, "2026-04-05T01:45:00", "2026-04-04T14:45:00Z"},
		{time.UTC, "2026-01-01T00:00:00", "2026-01-01T00:00:00Z"},
	}
	for _, tt := range tests {
		wall, _ := time.Parse("2006-01-02T15:04:05", tt.wall)
		if got := at(wall, tt.loc).UTC().Format(time.RFC3339); got != tt.want {
			t.Errorf("at(%s, %s) = %s, want %s", tt.wall, tt.loc, got, tt.want)
		}
	}
	// The second half past one of the night cannot be said on London's clocks.
	m := moment{form: zoned, tzid: "Europe/London", loc: london}
	twice := time.Date(2026, 10, 25, 1, 30, 0, 0, time.UTC)
	if got := m.moved(twice); got.form != utc || !got.instant().Equal(twice) {
		t.Errorf("moved to the second 01:30: %+v", got)
	}
}

// object reads an object as a server would give it.
func read(t testing.TB, data string) *object {
	t.Helper()
	cal, z, err := decode([]byte(data), location(t, "Europe/London"))
	if err != nil {
		t.Fatalf("decode: %v\n%s", err, data)
	}
	return &object{calendar: "/", name: "x.ics", cal: cal, zones: z}
}

func TestRecurrence(t *testing.T) {
	from, to := time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC), time.Date(2026, 4, 12, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name  string
		lines []string
		want  []string // starts, in UTC
	}{
		{"nine stays nine when the clocks change", []string{"DTSTART;TZID=Europe/London:20260115T090000", "DTEND;TZID=Europe/London:20260115T093000", "RRULE:FREQ=WEEKLY;BYDAY=TH"},
			[]string{"2026-03-26T09:00:00Z", "2026-04-02T08:00:00Z", "2026-04-09T08:00:00Z"}},
		{"in UTC it does not", []string{"DTSTART:20260115T090000Z", "DURATION:PT30M", "RRULE:FREQ=WEEKLY;BYDAY=TH"},
			[]string{"2026-03-26T09:00:00Z", "2026-04-02T09:00:00Z", "2026-04-09T09:00:00Z"}},
		{"the hour that is skipped", []string{"DTSTART;TZID=Europe/London:20260327T013000", "DURATION:PT30M", "RRULE:FREQ=DAILY;COUNT=4"},
			[]string{"2026-03-27T01:30:00Z", "2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"}},
		{"until, in UTC, includes the last", []string{"DTSTART;TZID=Europe/London:20260326T090000", "DURATION:PT30M", "RRULE:FREQ=WEEKLY;UNTIL=20260402T080000Z"},
			[]string{"2026-03-26T09:00:00Z", "2026-04-02T08:00:00Z"}},
		{"until, a second before the last", []string{"DTSTART;TZID=Europe/London:20260326T090000", "DURATION:PT30M", "RRULE:FREQ=WEEKLY;UNTIL=20260402T075959Z"},
			[]string{"2026-03-26T09:00:00Z"}},
		{"until a day, all of it", []string{"DTSTART;TZID=Europe/London:20260326T230000", "DURATION:PT30M", "RRULE:FREQ=DAILY;UNTIL=20260327"},
			[]string{"2026-03-26T23:00:00Z", "2026-03-27T23:00:00Z"}},
		{"exceptions, however written", []string{"DTSTART;TZID=Europe/London:20260401T090000", "DURATION:PT30M", "RRULE:FREQ=DAILY;COUNT=5",
			"EXDATE:20260402T080000Z", "EXDATE;TZID=Europe/Paris:20260403T100000,20260404T100000"},
			[]string{"2026-04-01T08:00:00Z", "2026-04-05T08:00:00Z"}},
		{"dates of its own", []string{"DTSTART;TZID=Europe/London:20260401T090000", "DURATION:PT30M", "RDATE;TZID=Europe/London:20260405T100000,20260401T090000"},
			[]string{"2026-04-01T08:00:00Z", "2026-04-05T09:00:00Z"}},
		{"the last Friday of the month", []string{"DTSTART:20260130T100000Z", "DURATION:PT1H", "RRULE:FREQ=MONTHLY;BYDAY=-1FR"}, []string{"2026-03-27T10:00:00Z"}},
		{"the 31st, where there is one", []string{"DTSTART:20260131T100000Z", "DURATION:PT1H", "RRULE:FREQ=MONTHLY"}, []string{"2026-03-31T10:00:00Z"}},
		{"whole days, in the site's zone", []string{"DTSTART;VALUE=DATE:20260327", "RRULE:FREQ=WEEKLY;COUNT=2"}, []string{"2026-03-27T00:00:00Z", "2026-04-02T23:00:00Z"}},
		{"a rule that never falls", []string{"DTSTART:20260322T100000Z", "DURATION:PT1H", "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, []string{"2026-03-22T10:00:00Z"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := read(t, event(of(alex, "x", tt.lines...)...)).instances(from, to)
			if err != nil {
				t.Fatal(err)
			}
			var starts []string
			for _, i := range got {
				starts = append(starts, i.span.start.instant().UTC().Format(time.RFC3339))
			}
			slices.Sort(starts)
			if diff := cmp.Diff(tt.want, starts); diff != "" {
				t.Errorf("starts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNotUnderstood(t *testing.T) {
	from, to := time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC), time.Date(2026, 4, 12, 0, 0, 0, 0, time.UTC)
	for name, lines := range map[string][]string{
		"every second":          {"DTSTART:19700101T000000Z", "RRULE:FREQ=SECONDLY"},
		"daily for ages":        {"DTSTART:19000101T000000Z", "RRULE:FREQ=DAILY"},
		"two rules":             {"DTSTART:20260327T000000Z", "RRULE:FREQ=DAILY", "RRULE:FREQ=WEEKLY"},
		"excluded by a rule":    {"DTSTART:20260327T000000Z", "RRULE:FREQ=DAILY", "EXRULE:FREQ=WEEKLY"},
		"unknown zone":          {"DTSTART;TZID=Mars:20260327T000000"},
		"no start":              {"SEQUENCE:1"},
		"ends before it starts": {"DTSTART:20260327T100000Z", "DTEND:20260327T090000Z"},
		"a month of its own":    {"DTSTART:20261327T100000Z"},
		"periods":               {"DTSTART:20260327T100000Z", "RDATE;VALUE=PERIOD:20260328T100000Z/PT1H"},
	} {
		if got, err := read(t, event(of(alex, "x", lines...)...)).instances(from, to); err == nil {
			t.Errorf("%s: %v, want an error", name, got)
		}
	}
}

// A zone of the calendar's own, as Outlook writes it.
func TestDescribedZone(t *testing.T) {
	zone := []string{"BEGIN:VTIMEZONE", "TZID:W. Europe Standard Time",
		"BEGIN:STANDARD", "DTSTART:16010101T030000", "TZOFFSETFROM:+0200", "TZOFFSETTO:+0100", "RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10", "END:STANDARD",
		"BEGIN:DAYLIGHT", "DTSTART:16010101T020000", "TZOFFSETFROM:+0100", "TZOFFSETTO:+0200", "RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3", "END:DAYLIGHT",
		"END:VTIMEZONE"}
	for _, since := range []string{"16010101", "19700101", "20070101"} {
		text := strings.ReplaceAll(strings.Join(zone, "\n"), "16010101", since)
		lines := append(strings.Split(text, "\n"), "BEGIN:VEVENT")
		lines = append(lines, of(alex, "x", "DTSTART;TZID=W. Europe Standard Time:20260326T090000", "DURATION:PT30M", "RRULE:FREQ=WEEKLY;COUNT=2")...)
		o := read(t, vcalendar(append(lines, "END:VEVENT")...))
		got, err := o.instances(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC))
		if err != nil || len(got) != 2 {
			t.Fatalf("since %s: %v, %v", since, got, err)
		}
		for i, want := range []string{"2026-03-26T08:00:00Z", "2026-04-02T07:00:00Z"} {
			if start := got[i].span.start.instant().UTC().Format(time.RFC3339); start != want {
				t.Errorf("since %s: instance %d is at %s, want %s", since, i, start, want)
			}
		}
	}
}

func TestOwner(t *testing.T) {
	by := func(lines ...string) []string { return append([]string{"UID:x", "DTSTAMP:20261101T000000Z"}, lines...) }
	const organizer = "ORGANIZER:mailto:studio@shop.example"
	own := ownership{property: attendee, staff: []string{"@shop.example", "anna@freelance.example"}}
	tests := []struct {
		name  string
		o     ownership
		lines []string
		want  string
	}{
		{"the attendee", own, by(organizer, "ATTENDEE:mailto:alex@example.com"), "alex@example.com"},
		{"any letter case of the scheme", own, by("ATTENDEE:MAILTO:Alex@Example.com"), "Alex@Example.com"},
		{"percent-encoded", own, by("ATTENDEE:mailto:alex%2Bx@example.com"), "alex+x@example.com"},
		{"beside staff and a room", own, by(organizer, "ATTENDEE:mailto:anna@freelance.example", "ATTENDEE:mailto:Bob@SHOP.example", "ATTENDEE;CUTYPE=ROOM:mailto:room@x.example", "ATTENDEE:mailto:alex@example.com"), "alex@example.com"},
		{"twice", own, by("ATTENDEE:mailto:alex@example.com", "ATTENDEE:mailto:alex@EXAMPLE.com"), "alex@example.com"},
		{"two", own, by("ATTENDEE:mailto:alex@example.com", "ATTENDEE:mailto:sam@example.com"), ""},
		{"with somebody unknown", own, by("ATTENDEE:mailto:alex@example.com", "ATTENDEE:urn:uuid:1"), ""},
		{"with a group", own, by("ATTENDEE:mailto:alex@example.com", "ATTENDEE;CUTYPE=GROUP:mailto:all@example.com"), ""},
		{"the organizer alone", own, by("ORGANIZER:mailto:alex@example.com", "ATTENDEE:mailto:alex@example.com"), ""},
		{"nobody", own, by(organizer), ""},
		{"a query in the address", own, by("ATTENDEE:mailto:alex@example.com?cc=sam@example.com"), ""},
		{"a property", ownership{property: "X-CUSTOMER"}, by("X-CUSTOMER:alex@example.com", "ATTENDEE:mailto:sam@example.com"), "alex@example.com"},
		{"a property, twice", ownership{property: "X-CUSTOMER"}, by("X-CUSTOMER:alex@example.com", "X-CUSTOMER:sam@example.com"), ""},
		{"no property", ownership{property: "X-CUSTOMER"}, by("ATTENDEE:mailto:sam@example.com"), ""},
	}
	for _, tt := range tests {
		master, _ := read(t, event(tt.lines...)).events()
		if got := tt.o.owner(master); got.Email != tt.want || got.Subject != "" {
			t.Errorf("%s: owner %+v, want %q", tt.name, got, tt.want)
		}
	}
}

// An instance that was given to somebody else is theirs, and the series is not.
func TestInstanceOfAnother(t *testing.T) {
	lines := append([]string{"BEGIN:VEVENT"}, of(alex, "x", "DTSTART:20261201T090000Z", "DURATION:PT30M", "RRULE:FREQ=DAILY;COUNT=2")...)
	lines = append(lines, "END:VEVENT", "BEGIN:VEVENT")
	lines = append(lines, of(sam, "x", "RECURRENCE-ID:20261202T090000Z", "DTSTART:20261202T100000Z", "DURATION:PT30M")...)
	o := read(t, vcalendar(append(lines, "END:VEVENT")...))
	all, err := o.instances(now, now.AddDate(0, 1, 0))
	if err != nil || len(all) != 2 {
		t.Fatalf("instances: %v, %v", all, err)
	}
	owners := map[string]string{}
	for _, i := range all {
		owners[i.span.start.value()] = ownership{property: attendee}.owner(i.event).Email
	}
	want := map[string]string{"20261201T090000Z": alex.Email, "20261202T100000Z": sam.Email}
	if diff := cmp.Diff(want, owners); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	c := &calendars{owners: ownership{property: attendee}}
	if _, err := c.endSeries(callOf(alex), o); err == nil {
		t.Error("a series with somebody else's instance was ended as a whole")
	}
}

func TestSound(t *testing.T) {
	two := vcalendar("BEGIN:VEVENT", "UID:a", "DTSTAMP:20261101T000000Z", "END:VEVENT", "BEGIN:VEVENT", "UID:b", "DTSTAMP:20261101T000000Z", "END:VEVENT")
	todo := vcalendar("BEGIN:VEVENT", "UID:a", "DTSTAMP:20261101T000000Z", "END:VEVENT", "BEGIN:VTODO", "UID:a", "DTSTAMP:20261101T000000Z", "END:VTODO")
	for name, data := range map[string]string{"two events": two, "a task as well": todo} {
		if read(t, data).sound() {
			t.Errorf("%s: sound", name)
		}
	}
}

// FuzzDecode: what a calendar holds may come from anywhere. It is understood or
// refused; it does not take the gate down.
func FuzzDecode(f *testing.F) {
	f.Add(event(of(alex, "x", "DTSTART;TZID=Europe/London:20260115T090000", "RRULE:FREQ=WEEKLY;BYDAY=TH", "EXDATE:20260402T080000Z")...))
	f.Add(event(of(connectortest.Customer{}, "x", "DTSTART;VALUE=DATE:20260327", "DURATION:P1D")...))
	f.Fuzz(func(t *testing.T, data string) {
		cal, z, err := decode([]byte(data), time.UTC)
		if err != nil {
			return
		}
		o := &object{calendar: "/", name: "x", cal: cal, zones: z}
		if o.sound() {
			o.instances(now, now.AddDate(0, 0, 30))
		}
	})
}
