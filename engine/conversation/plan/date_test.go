package plan

import (
	"testing"
	"time"
)

// The tables are read on Monday 23 November 2026 at 09:30 in London.
func TestDates(t *testing.T) {
	now, _ := monday(t)
	for _, row := range []struct{ text, want string }{
		{"next Tuesday", "2026-12-01"}, // tomorrow is called tomorrow
		{"next Monday", "2026-11-30"},
		{"Tuesday", "2026-11-24"},
		{"this Tuesday", "2026-11-24"},
		{"on Friday", "2026-11-27"},
		{"Monday", "2026-11-30"}, // not today
		{"coming Friday", "2026-11-27"},
		{"Monday next week at 9am", "2026-11-30 09:00"},
		{"next week Tuesday", "2026-12-01"},
		{"Tuesday week", "2026-12-01"},
		{"a week on Tuesday", "2026-12-01"},
		{"today at 5pm", "2026-11-23 17:00"},
		{"tomorrow", "2026-11-24"},
		{"tomorrow at 3pm", "2026-11-24 15:00"},
		{"tomorow at 3 pm", "2026-11-24 15:00"},
		{"3pm tomorrow", "2026-11-24 15:00"},
		{"tomorrow 15:30", "2026-11-24 15:30"},
		{"tomorrow at 9.15am", "2026-11-24 09:15"},
		{"tomorrow at noon", "2026-11-24 12:00"},
		{"tomorrow morning at 9", "2026-11-24 09:00"},
		{"tomorrow at 3 in the afternoon", "2026-11-24 15:00"},
		{"tomorrow at half past 3", "2026-11-24 15:30"},
		{"tomorrow at quarter to 9", "2026-11-24 08:45"},
		{"tomorrow at 3 o'clock", "2026-11-24 15:00"},
		{"the day after tomorrow at noon", "2026-11-25 12:00"},
		{"12 March", "2027-03-12"},
		{"12 March at 9", "2027-03-12 09:00"},
		{"12th of March", "2027-03-12"},
		{"March 12th, 2027 at 2pm", "2027-03-12 14:00"},
		{"Dec 3rd at 9:15 am", "2026-12-03 09:15"},
		{"3 December 2026 16:00", "2026-12-03 16:00"},
		{"24 November", "2026-11-24"},
		{"22 November", "2027-11-22"},
		{"29 February", "2028-02-29"},
		{"Tuesday 24 November", "2026-11-24"},
		{"Friday 14:30", "2026-11-27 14:30"},
		{"next Tuesday at 3pm", "2026-12-01 15:00"},
		{"on the 12th", "2026-12-12"},
		{"to the 31st", "2026-12-31"},
		{"12 may", "2027-05-12"},
		{"May 12", "2027-05-12"},
		{"2026-12-01", "2026-12-01"},
		{"2026-12-01T15:00:00+02:00", "2026-12-01 13:00"},
		{"2026-12-01T15:00", "2026-12-01 15:00"},
		{"13/05/2027", "2027-05-13"},
		{"12/05/2027 at 4pm", "2027-05-12 16:00"}, // London writes the day first
		{"in 2 hours", "2026-11-23 11:30"},
		{"in three days at 5pm", "2026-11-26 17:00"},
		{"in two weeks", "2026-12-07"},
		{"in a fortnight", "2026-12-07"},
		{"two weeks from today", "2026-12-07"},
		{"in a month", "2026-12-23"},
		{"tomorrow at 3pm GMT", "2026-11-24 15:00"},
		{"1 July at 10", "2027-07-01 10:00"},
		{"1 July at 10:00 BST", "2027-07-01 10:00"},
		{"at 4pm", "15:04 16:00"},
		{"at 9am", "15:04 09:00"},

		// What is not wholly understood is no date.
		{"Wednesday 24 November", ""},
		{"tomorrow at 3pm EST", ""},
		{"1 December at 10:00 BST", ""},
		{"tomorrow afternoon", ""},
		{"next week", ""},
		{"end of the month", ""},
		{"30 February", ""},
		{"2026-13-45", ""},
		{"may I export my data", ""},
		{"I may 3 of them", ""},
		{"march on", ""},
		{"I have 3 items", ""},
		{"order 1001", ""},
		{"the 2nd", ""},
		{"I sat down", ""},
		{"in 3 parcels", ""},
		{"24/7 support", ""},
		{"a second time", ""},
	} {
		got := ""
		if found := findDates(tokenize(row.text), now); len(found) > 0 {
			switch w := found[0].When; {
			case !w.HasDay:
				got = "15:04 " + w.Time.Format("15:04")
			case w.HasTime:
				got = w.Time.Format("2006-01-02 15:04")
			default:
				got = w.Time.Format("2006-01-02")
			}
		}
		if got != row.want {
			t.Errorf("findDates(%q) = %q, want %q", row.text, got, row.want)
		}
	}
}

// "next Tuesday" is the Tuesday of the week after this one, whatever today is.
func TestNextWeekday(t *testing.T) {
	_, loc := monday(t)
	for day, want := range map[int]int{22: 24, 23: 31, 24: 31, 25: 31, 28: 31, 29: 31} {
		// March 2026: the 22nd and 29th are Sundays; the clocks change on the 29th.
		now := time.Date(2026, 3, day, 12, 0, 0, 0, loc)
		found := findDates(tokenize("next Tuesday"), now)
		if len(found) != 1 || found[0].Time.Day() != want || found[0].Time.Hour() != 0 {
			t.Errorf("next Tuesday said on %s = %v, want the %dth at midnight", now.Format("Mon 2 Jan"), found, want)
		}
	}
}

func TestAmbiguousFiguresAreLeftAlone(t *testing.T) {
	york, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 9, 30, 0, 0, york)
	if found := findDates(tokenize("12/05/2027"), now); len(found) != 0 {
		t.Errorf("findDates(12/05/2027) in New York = %v, want none", found)
	}
	found := findDates(tokenize("05/13/2027"), now)
	if len(found) != 1 || found[0].Time.Month() != time.May || found[0].Time.Day() != 13 {
		t.Errorf("findDates(05/13/2027) = %v, want 13 May", found)
	}
}

// No change may be planned for a time that has passed.
func TestNoPastDateForAChange(t *testing.T) {
	now, loc := monday(t)
	p := New(catalog(t, harborGoods))
	for _, text := range []string{"12 March", "22 November at 3pm", "Monday at 9am", "today at 8am", "1 March 2020", "yesterday", "2020-01-01", "in 2 hours", "at 8am"} {
		pl := p.Plan(Message{Text: "move booking B-2041 to " + text, Now: now, Location: loc})
		if pl.Kind != Act || len(pl.Intents) != 1 {
			t.Fatalf("Plan(... to %s) = %s, want one act", text, describe(pl))
		}
		for _, w := range pl.Intents[0].When {
			if w.Time.Before(now) {
				t.Errorf("Plan(... to %s) moves to %v, which has passed", text, w.Time)
			}
		}
	}
}
