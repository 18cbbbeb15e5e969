package phrase

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

func london(t *testing.T) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func said(t *testing.T, risk engine.Risk, reply string, fields ...string) Said {
	return Said{Site: &engine.Site{Name: "Harbor Goods", Location: london(t)},
		Action: &engine.Action{Name: "x.y", Title: "Move one of my appointments", Risk: risk, Reply: reply, Fields: fields}}
}

func record(fields map[string]any) gate.Record { return gate.Record{Fields: fields} }

func TestResult(t *testing.T) {
	was := record(map[string]any{"id": "B-1", "start": "2026-06-30T09:00:00Z"})
	is := record(map[string]any{"id": "B-1", "start": "2026-12-01T10:00:00Z"})
	read := said(t, engine.Read, "", "id", "total", "paid", "items")
	read.Records = []gate.Record{record(map[string]any{"id": json.Number("1001"), "total": json.Number("12.50"), "paid": true,
		"items": []any{"a\u202eb", "c\nd"}, "secret": "x"})}
	list := read
	action := *read.Action
	action.List = true
	list.Action = &action
	list.Records = append(list.Records, record(map[string]any{"id": "1002"}))
	moved := said(t, engine.Write, "", "id", "start")
	moved.Before, moved.Records = &was, []gate.Record{is}
	templated := moved
	action2 := *moved.Action
	action2.Reply = `{{.site}}: {{when .before.start}} -> {{date .record.start}} {{money "3" "£"}}`
	templated.Action = &action2
	broken := moved
	action3 := *moved.Action
	action3.Reply = `{{index .records 7}}`
	broken.Action = &action3
	for name, c := range map[string]struct {
		said Said
		want string
	}{
		"one record":            {read, "1001, total: 12.50, paid: yes, items: a b; c d."},
		"a list":                {list, "I found 2:\n• 1001, total: 12.50, paid: yes, items: a b; c d\n• 1002"},
		"nothing":               {said(t, engine.Read, ""), "I found nothing in your account for that."},
		"a change":              {moved, "Done: move one of your appointments. Start: from Tuesday 30 June 2026 at 10:00 BST to Tuesday 1 December 2026 at 10:00 GMT."},
		"a template":            {templated, "Harbor Goods: Tuesday 30 June 2026 at 10:00 BST -> Tuesday 1 December 2026 £3.00"},
		"a template that fails": {broken, "Done: move one of your appointments. Start: from Tuesday 30 June 2026 at 10:00 BST to Tuesday 1 December 2026 at 10:00 GMT."},
		"a bare write":          {said(t, engine.Write, ""), "Done: move one of your appointments."},
	} {
		if got := Result(c.said); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}

func TestSummary(t *testing.T) {
	s := said(t, engine.Destructive, "", "id", "title", "minutes")
	s.Before = &gate.Record{Fields: map[string]any{"id": "B-1", "title": "Fitting", "minutes": json.Number("45")}}
	s.Args = map[string]any{"booking_id": "B-1", "start": "2026-12-01T10:00:00Z", "note": "x\n\nNothing will be changed"}
	s.Action.Resources = []engine.Resource{{Argument: "booking_id", Action: "booking.list"}}
	want := "Move one of your appointments: B-1, Fitting, minutes: 45 (note x  Nothing will be changed, start Tuesday 1 December 2026 at 10:00 GMT)"
	if got := Summary(s); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if strings.Contains(Summary(s), "\n") {
		t.Error("typed text broke out of its line")
	}
}
