package caldav

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/connectors"
	"vouchsafe/connectors/connectortest"
	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
)

// now is the time in these tests: a Tuesday in winter.
var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

var (
	alex = connectortest.Customer{Email: "alex@example.com", Name: "Alex", Subject: "c-1"}
	sam  = connectortest.Customer{Email: "sam@example.com", Name: "Sam", Subject: "c-2"}
)

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// shipped is the manifest that the catalog ships, with other settings.
func shipped(t testing.TB, settings string) *connectors.Manifest {
	t.Helper()
	src, err := os.ReadFile("../catalog/caldav.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(src)
	if settings != "" {
		before, rest, _ := strings.Cut(text, "  settings:\n")
		_, after, ok := strings.Cut(rest, "actions:\n")
		if !ok {
			t.Fatal("the shipped manifest has no settings to replace")
		}
		text = before + "  settings: " + settings + "\nactions:\n" + after
	}
	m, err := connectors.ParseManifest("caldav.yaml", []byte(text), Kind())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func bench(t testing.TB, base, settings string) *connectortest.Bench {
	t.Helper()
	return connectortest.New(t, connectortest.Options{
		Manifests: []*connectors.Manifest{shipped(t, settings)},
		Now:       now,
		Location:  location(t, "Europe/London"),
		Links: []connectortest.Link{{
			Connection: provider.Connection{ID: "calendar", Type: provider.Basic, BaseURL: base},
			Credential: provider.NewBasic(studioUser, studioPassword),
		}},
	})
}

// lines of an appointment of somebody's.
func of(who connectortest.Customer, uid string, more ...string) []string {
	return append([]string{"UID:" + uid, "DTSTAMP:20261101T000000Z", "SUMMARY:Fitting",
		"ORGANIZER:mailto:studio@shop.example", "ATTENDEE;PARTSTAT=ACCEPTED:mailto:" + who.Email}, more...)
}

// list is a customer's appointments as "start title".
func list(t testing.TB, b *connectortest.Bench, who connectortest.Customer) []string {
	t.Helper()
	res, err := b.Do(t, who, "booking.list", nil)
	if err != nil {
		t.Fatalf("booking.list: %v", err)
	}
	out := []string{}
	for _, r := range res.Records {
		out = append(out, fmt.Sprintf("%v %v", r.Fields["start"], r.Fields["title"]))
	}
	return out
}

// only is the id of the customer's appointment at a start.
func id(t testing.TB, b *connectortest.Bench, who connectortest.Customer, start string) string {
	t.Helper()
	res, err := b.Do(t, who, "booking.list", nil)
	if err != nil {
		t.Fatalf("booking.list: %v", err)
	}
	for _, r := range res.Records {
		if r.Fields["start"] == start {
			return r.ID
		}
	}
	t.Fatalf("%s has no appointment at %s: %v", who.Email, start, res.Records)
	return ""
}

func wantCode(t testing.TB, what string, err error, code string) {
	t.Helper()
	if engine.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func TestRadicale(t *testing.T) {
	r := startRadicale(t)
	b := bench(t, r.url+"/studio/appointments", "")

	t.Run("only one's own", func(t *testing.T) {
		r.put(t, "a.ics", event(of(alex, "a", "DTSTART;TZID=Europe/London:20261130T090000", "DTEND;TZID=Europe/London:20261130T093000")...))
		r.put(t, "s.ics", event(of(sam, "s", "DTSTART:20261130T110000Z", "DTEND:20261130T113000Z")...))
		r.put(t, "both.ics", event(append(of(alex, "both", "DTSTART:20261130T130000Z", "DTEND:20261130T133000Z"), "ATTENDEE:mailto:sam@example.com")...))
		r.put(t, "near.ics", event(of(connectortest.Customer{Email: "xalex@example.com"}, "near", "DTSTART:20261130T140000Z", "DTEND:20261130T143000Z")...))
		r.put(t, "none.ics", event("UID:none", "DTSTAMP:20261101T000000Z", "SUMMARY:alex@example.com", "DTSTART:20261130T150000Z", "DTEND:20261130T153000Z"))
		if diff := cmp.Diff([]string{"2026-11-30T09:00:00Z Fitting"}, list(t, b, alex)); diff != "" {
			t.Errorf("Alex's (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"2026-11-30T11:00:00Z Fitting"}, list(t, b, sam)); diff != "" {
			t.Errorf("Sam's (-want +got):\n%s", diff)
		}
		before := r.get(t, "s.ics")
		foreign := id(t, b, sam, "2026-11-30T11:00:00Z")
		for action, args := range map[string]map[string]any{
			"booking.lookup":     {"booking_id": foreign},
			"booking.reschedule": {"booking_id": foreign, "start": "2026-12-01T09:00:00Z"},
			"booking.cancel":     {"booking_id": foreign},
		} {
			_, err := b.Do(t, alex, action, args)
			wantCode(t, action+" of somebody else's", err, engine.CodeNotFound)
			args["booking_id"] = "BBBB0000"
			_, missing := b.Do(t, alex, action, args)
			if missing == nil || err == nil || missing.Error() != err.Error() {
				t.Errorf("%s: foreign %q, missing %q; want the same", action, err, missing)
			}
		}
		if after := r.get(t, "s.ics"); after != before {
			t.Errorf("somebody else's appointment was written:\n%s", after)
		}
	})

	t.Run("reschedule", func(t *testing.T) {
		r.put(t, "move.ics", event(of(alex, "move", "DTSTART;TZID=Europe/Paris:20261202T090000", "DTEND;TZID=Europe/Paris:20261202T094500",
			"SEQUENCE:3", "X-ROOM;X-FLOOR=2:Blue", "BEGIN:VALARM", "ACTION:DISPLAY", "DESCRIPTION:Soon", "TRIGGER:-PT30M", "END:VALARM")...))
		res, err := b.Do(t, alex, "booking.reschedule", map[string]any{"booking_id": id(t, b, alex, "2026-12-02T08:00:00Z"), "start": "2026-12-03T15:30:00Z"})
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Records[0].Fields; got["start"] != "2026-12-03T15:30:00Z" || got["minutes"] != 45 {
			t.Errorf("reschedule returned %v", got)
		}
		text := r.get(t, "move.ics")
		for _, want := range []string{"DTSTART;TZID=Europe/Paris:20261203T163000", "DTEND;TZID=Europe/Paris:20261203T171500", "SEQUENCE:4", "X-ROOM;X-FLOOR=2:Blue", "TRIGGER:-PT30M", "ORGANIZER:mailto:studio@shop.example"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in what was written:\n%s", want, text)
			}
		}
	})

	t.Run("one of a series", func(t *testing.T) {
		// Nine in the morning in London, across the end of summer time's return.
		r.put(t, "weekly.ics", event(of(sam, "weekly", "DTSTART;TZID=Europe/London:20261104T090000", "DURATION:PT30M", "RRULE:FREQ=WEEKLY;COUNT=8", "EXDATE;TZID=Europe/London:20261209T090000")...))
		_, err := b.Do(t, sam, "booking.reschedule", map[string]any{"booking_id": id(t, b, sam, "2026-12-02T09:00:00Z"), "start": "2026-12-03T10:00:00Z"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Do(t, sam, "booking.cancel", map[string]any{"booking_id": id(t, b, sam, "2026-12-16T09:00:00Z")})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"2026-11-25T09:00:00Z Fitting", "2026-11-30T11:00:00Z Fitting", "2026-12-03T10:00:00Z Fitting", "2026-12-23T09:00:00Z Fitting"}
		if diff := cmp.Diff(want, list(t, b, sam)); diff != "" {
			t.Errorf("Sam's (-want +got):\n%s", diff)
		}
		text := r.get(t, "weekly.ics")
		for _, want := range []string{"RRULE:FREQ=WEEKLY;COUNT=8", "RECURRENCE-ID;TZID=Europe/London:20261202T090000", "EXDATE;TZID=Europe/London:20261216T090000", "DTSTART;TZID=Europe/London:20261104T090000"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in what was written:\n%s", want, text)
			}
		}
		if strings.Count(text, "RRULE:FREQ=WEEKLY") != 1 {
			t.Errorf("the instance became a series of its own:\n%s", text)
		}
		// The instance that moved has an event of its own; it can move again, and go.
		moved := id(t, b, sam, "2026-12-03T10:00:00Z")
		if _, err := b.Do(t, sam, "booking.reschedule", map[string]any{"booking_id": moved, "start": "2026-12-04T10:00:00Z"}); err != nil {
			t.Fatal(err)
		}
		if again := id(t, b, sam, "2026-12-04T10:00:00Z"); again != moved {
			t.Errorf("the appointment's id was %s and is %s", moved, again)
		}
		if _, err := b.Do(t, sam, "booking.cancel", map[string]any{"booking_id": moved}); err != nil {
			t.Fatal(err)
		}
		if text := r.get(t, "weekly.ics"); strings.Contains(text, "RECURRENCE-ID") || !strings.Contains(text, "EXDATE;TZID=Europe/London:20261202T090000") {
			t.Errorf("after cancelling a moved instance:\n%s", text)
		}
	})

	t.Run("the rest of a series, if asked", func(t *testing.T) {
		if _, err := b.Do(t, sam, "booking.cancel", map[string]any{"booking_id": id(t, b, sam, "2026-12-23T09:00:00Z"), "series": true}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"2026-11-30T11:00:00Z Fitting"}, list(t, b, sam)); diff != "" {
			t.Errorf("Sam's (-want +got):\n%s", diff)
		}
		text := r.get(t, "weekly.ics")
		if !strings.Contains(text, "RRULE:FREQ=WEEKLY;UNTIL=20261124T120000Z") {
			t.Errorf("what has taken place must stay:\n%s", text)
		}
		r.put(t, "ahead.ics", event(of(sam, "ahead", "DTSTART:20261201T070000Z", "DURATION:PT30M", "RRULE:FREQ=DAILY;COUNT=3")...))
		if _, err := b.Do(t, sam, "booking.cancel", map[string]any{"booking_id": id(t, b, sam, "2026-12-02T07:00:00Z"), "series": true}); err != nil {
			t.Fatal(err)
		}
		if text := r.get(t, "ahead.ics"); text != "" {
			t.Errorf("nothing of it has taken place, and it is still there:\n%s", text)
		}
	})

	t.Run("whole days and floating times", func(t *testing.T) {
		r.put(t, "day.ics", event(of(alex, "day", "DTSTART;VALUE=DATE:20261207", "DTEND;VALUE=DATE:20261209")...))
		r.put(t, "float.ics", event(of(alex, "float", "DTSTART:20261210T083000", "DTEND:20261210T090000")...))
		for start, to := range map[string]string{"2026-12-07": "2026-12-14T09:00:00Z", "2026-12-10T08:30:00Z": "2026-12-11T08:30:00Z"} {
			if _, err := b.Do(t, alex, "booking.reschedule", map[string]any{"booking_id": id(t, b, alex, start), "start": to}); err != nil {
				t.Fatalf("%s: %v", start, err)
			}
		}
		if text := r.get(t, "day.ics"); !strings.Contains(text, "DTSTART;VALUE=DATE:20261214") || !strings.Contains(text, "DTEND;VALUE=DATE:20261216") {
			t.Errorf("whole days:\n%s", text)
		}
		if text := r.get(t, "float.ics"); !strings.Contains(text, "DTSTART:20261211T083000\n") || !strings.Contains(text, "DTEND:20261211T090000\n") {
			t.Errorf("floating:\n%s", text)
		}
	})

	t.Run("cancel", func(t *testing.T) {
		r.put(t, "gone.ics", event(of(alex, "gone", "DTSTART:20261217T090000Z", "DTEND:20261217T093000Z")...))
		res, err := b.Do(t, alex, "booking.cancel", map[string]any{"booking_id": id(t, b, alex, "2026-12-17T09:00:00Z")})
		if err != nil || res.Records[0].Fields["status"] != "cancelled" {
			t.Fatalf("cancel: %v, %v", res.Records, err)
		}
		if text := r.get(t, "gone.ics"); text != "" {
			t.Errorf("it is still there:\n%s", text)
		}
	})

	t.Run("a time that is taken", func(t *testing.T) {
		_, err := b.Do(t, alex, "booking.reschedule", map[string]any{"booking_id": id(t, b, alex, "2026-11-30T09:00:00Z"), "start": "2026-11-30T11:15:00Z"})
		wantCode(t, "onto Sam's", err, engine.CodeConnectorFailed)
		// Onto its own time, half an hour later, is no conflict.
		if _, err := b.Do(t, alex, "booking.reschedule", map[string]any{"booking_id": id(t, b, alex, "2026-11-30T09:00:00Z"), "start": "2026-11-30T09:15:00Z"}); err != nil {
			t.Errorf("a quarter of an hour later: %v", err)
		}
	})

	t.Run("what cannot be", func(t *testing.T) {
		r.put(t, "begun.ics", event(of(alex, "begun", "DTSTART:20261124T113000Z", "DTEND:20261124T123000Z")...))
		_, err := b.Do(t, alex, "booking.cancel", map[string]any{"booking_id": id(t, b, alex, "2026-11-24T11:30:00Z")})
		wantCode(t, "one that has begun", err, engine.CodeConnectorFailed)
		mine := id(t, b, alex, "2026-12-03T15:30:00Z")
		for _, start := range []string{"2026-11-23T09:00:00Z", "2030-01-01T09:00:00Z"} {
			_, err := b.Do(t, alex, "booking.reschedule", map[string]any{"booking_id": mine, "start": start})
			wantCode(t, "to "+start, err, engine.CodeInvalidArguments)
		}
	})

	t.Run("another user's calendar", func(t *testing.T) {
		theirs := bench(t, r.url+"/other/appointments", "")
		_, err := theirs.Do(t, alex, "booking.list", nil)
		wantCode(t, "a calendar of another user", err, engine.CodeConnectorFailed)
	})

	t.Run("kept, and marked", func(t *testing.T) {
		keeps := bench(t, r.url+"/studio", "{calendars: [/appointments/], cancelled: keep}")
		r.put(t, "mark.ics", event(of(alex, "mark", "DTSTART:20270104T090000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=2")...))
		if _, err := keeps.Do(t, alex, "booking.cancel", map[string]any{"booking_id": id(t, keeps, alex, "2027-01-04T09:00:00Z")}); err != nil {
			t.Fatal(err)
		}
		if text := r.get(t, "mark.ics"); strings.Count(text, "STATUS:CANCELLED") != 1 || strings.Count(text, "BEGIN:VEVENT") != 2 {
			t.Errorf("what was written:\n%s", text)
		}
		for _, start := range list(t, keeps, alex) {
			if strings.HasPrefix(start, "2027-01-04") {
				t.Error("the cancelled appointment is still listed")
			}
		}
	})

	t.Run("by a property of one's own", func(t *testing.T) {
		r.put(t, "x.ics", event("UID:x", "DTSTAMP:20261101T000000Z", "SUMMARY:Training", "X-CUSTOMER:c-1", "DTSTART:20270201T090000Z", "DTEND:20270201T093000Z"))
		r.put(t, "y.ics", event("UID:y", "DTSTAMP:20261101T000000Z", "SUMMARY:Training", "X-CUSTOMER:c-11", "DTSTART:20270201T100000Z", "DTEND:20270201T103000Z"))
		mine := bench(t, r.url+"/studio/appointments", "{owner_subject: X-CUSTOMER}")
		if diff := cmp.Diff([]string{"2027-02-01T09:00:00Z Training"}, list(t, mine, alex)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A calendar program changes the appointment between our read and our write: a
// real server's 412 must keep ours out.
func TestRadicaleStaleVersion(t *testing.T) {
	r := startRadicale(t)
	r.put(t, "a.ics", event(of(alex, "a", "DTSTART:20261130T090000Z", "DTEND:20261130T093000Z")...))
	changes := 0
	between := func() {
		changes++ // Radicale's version of an object is a hash of it
		r.put(t, "a.ics", event(of(alex, "a", "DTSTART:20261130T090000Z", "DTEND:20261130T093000Z", fmt.Sprintf("LOCATION:Upstairs %d", changes))...))
	}
	front := passOn(t, r.url, func(q *http.Request) {
		if q.Method == http.MethodPut || q.Method == http.MethodDelete {
			between()
		}
	}, nil)
	b := bench(t, front+"/studio/appointments", "")
	for _, action := range []string{"booking.reschedule", "booking.cancel"} {
		args := map[string]any{"booking_id": id(t, b, alex, "2026-11-30T09:00:00Z")}
		if action == "booking.reschedule" {
			args["start"] = "2026-12-01T09:00:00Z"
		}
		_, err := b.Do(t, alex, action, args)
		wantCode(t, action, err, engine.CodeConnectorFailed)
		if b.Last().Status != http.StatusPreconditionFailed {
			t.Errorf("%s: the server answered %d, want 412", action, b.Last().Status)
		}
		if text := r.get(t, "a.ics"); !strings.Contains(text, "LOCATION:Upstairs") || !strings.Contains(text, "DTSTART:20261130T090000Z") {
			t.Errorf("%s: the other's change is lost:\n%s", action, text)
		}
	}
}

// A write that the server carries out and does not answer is looked up.
func TestRadicaleLostAnswer(t *testing.T) {
	r := startRadicale(t)
	put := func() {
		r.put(t, "a.ics", event(of(alex, "a", "DTSTART:20261130T090000Z", "DTEND:20261130T093000Z")...))
	}
	tests := []struct {
		name   string
		before bool // the connection breaks before the server hears of it
		action string
		want   string
	}{
		{"moved", false, "booking.reschedule", ""},
		{"cancelled", false, "booking.cancel", ""},
		{"not moved", true, "booking.reschedule", engine.CodeOutcomeUnknown},
		{"not cancelled", true, "booking.cancel", engine.CodeOutcomeUnknown},
	}
	for _, tt := range tests {
		put()
		writes := 0
		front := passOn(t, r.url, nil, func(q *http.Request) (drop, before bool) {
			w := q.Method == http.MethodPut || q.Method == http.MethodDelete
			if w {
				writes++
			}
			return w, w && tt.before
		})
		b := bench(t, front+"/studio/appointments", "")
		args := map[string]any{"booking_id": id(t, b, alex, "2026-11-30T09:00:00Z")}
		if tt.action == "booking.reschedule" {
			args["start"] = "2026-12-01T09:00:00Z"
		}
		_, err := b.Do(t, alex, tt.action, args)
		wantCode(t, tt.name, err, tt.want)
		if writes != 1 {
			t.Errorf("%s: %d writes, want 1", tt.name, writes)
		}
	}
}
