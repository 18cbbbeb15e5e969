package demo

import "time"

// nextBox is the date of the first Harbor Box that leaves after now, once so
// many more were skipped. They leave on the 25th.
func nextBox(now time.Time, skipped int) string {
	if now.Day() >= 25 {
		skipped++
	}
	return time.Date(now.Year(), now.Month()+time.Month(skipped), 25, 0, 0, 0, 0, now.Location()).Format(time.DateOnly)
}

// renew moves appointments that have passed on by whole weeks, so that a demo
// kept for a month still has something to move. It says whether any was.
func (st *state) renew(now time.Time, zone *time.Location) bool {
	renewed := false
	for _, b := range st.Bookings {
		for b.Start.Before(now.Add(bookingNotice)) {
			b.Start = b.Start.In(zone).AddDate(0, 0, 7)
			renewed = true
		}
	}
	return renewed
}

// seed makes the shop's first day: dates lie around now, so that orders are
// recent and appointments ahead whenever the demo is first started.
func seed(now time.Time, zone *time.Location) *state {
	today := now.In(zone)
	midnight := time.Date(today.Year(), today.Month(), today.Day(), 0, 0, 0, 0, zone)
	// ago is a moment some days back, during the day.
	ago := func(days, hour, minute int) time.Time {
		d := midnight.AddDate(0, 0, -days)
		return time.Date(d.Year(), d.Month(), d.Day(), hour, minute, 0, 0, zone)
	}
	day := func(days int) string { return midnight.AddDate(0, 0, days).Format(time.DateOnly) }
	// open is the first time at or after so many days ahead that falls on one
	// of the given weekdays.
	open := func(days, hour, minute int, on ...time.Weekday) time.Time {
		for ; ; days++ {
			d := midnight.AddDate(0, 0, days)
			for _, w := range on {
				if d.Weekday() == w {
					return time.Date(d.Year(), d.Month(), d.Day(), hour, minute, 0, 0, zone)
				}
			}
		}
	}
	alex := Customer{ID: "cus_alex", Email: "alex@example.com", Name: "Alex Morgan"}
	jordan := Customer{ID: "cus_jordan", Email: "jordan@example.com", Name: "Jordan Lee"}
	person := func(c Customer, address, phone string, years int) *profile {
		return &profile{Customer: c, ID: c.ID, Name: c.Name, Email: c.Email, Address: address, Phone: phone,
			Since: midnight.AddDate(-years, -2, -11).Format(time.DateOnly)}
	}
	bought := func(id string, c Customer, status string, placed time.Time, total, tracking, expected, notes string, items ...string) *order {
		return &order{ID: id, Customer: c, Status: status, Placed: placed, Items: items, Total: total, Currency: "GBP",
			Tracking: tracking, Expected: expected, Notes: notes}
	}
	return &state{
		Version:  1,
		Sessions: map[string]session{},
		Answered: map[string]answered{},
		Profiles: []*profile{
			person(alex, "14 Quay Street, Bristol, BS1 4DJ", "+44 7700 900114", 3),
			person(jordan, "Flat 2, 8 Chapel Lane, Falmouth, TR11 3AA", "+44 7700 900382", 1),
		},
		Orders: []*order{
			bought("1001", alex, "shipped", ago(3, 19, 42), "86.00", "HG1001GB", day(2), "left the packing slip out, apologised by phone",
				"Lambswool throw, slate", "Stoneware mug, pair"),
			bought("1002", alex, "processing", ago(1, 8, 15), "148.00", "", day(5), "",
				"Waxed harbour jacket, medium"),
			bought("1003", alex, "delivered", ago(24, 13, 5), "32.50", "HG1003GB", "", "",
				"Brass storm lantern"),
			bought("1004", alex, "cancelled", ago(41, 21, 30), "19.00", "", "", "customer changed their mind",
				"Enamel kettle, small"),
			bought("2001", jordan, "delivered", ago(17, 10, 20), "54.00", "HG2001GB", "", "",
				"Canvas tool roll", "Beeswax polish"),
			bought("2002", jordan, "processing", ago(2, 17, 55), "212.00", "", day(4), "gift, no invoice in the parcel",
				"Oak sea chest"),
			bought("2003", jordan, "shipped", ago(5, 9, 10), "27.00", "HG2003GB", day(1), "",
				"Fisherman's beanie, navy", "Boot socks"),
		},
		Bookings: []*booking{
			{ID: "B301", Customer: alex, Service: "Jacket fitting", Start: open(4, 10, 0, time.Wednesday, time.Thursday, time.Friday), Minutes: 45, Status: "confirmed"},
			{ID: "B402", Customer: jordan, Service: "Boot fitting", Start: open(3, 11, 30, time.Monday, time.Thursday), Minutes: 30, Status: "confirmed"},
			{ID: "B403", Customer: jordan, Service: "Repair consultation", Start: open(8, 15, 0, time.Wednesday, time.Friday), Minutes: 20, Status: "confirmed"},
		},
		Subscriptions: []*subscription{
			{ID: "S501", Customer: alex, Plan: "Harbor Box, small", Status: "active", Price: "18.00", Currency: "GBP", NextBox: nextBox(today, 0)},
			{ID: "S502", Customer: jordan, Plan: "Harbor Box, classic", Status: "active", Price: "26.00", Currency: "GBP", NextBox: nextBox(today, 0)},
		},
	}
}
