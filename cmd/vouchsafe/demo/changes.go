package demo

import (
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// openingHours is the shop's week, as the API and the page tell it.
var openingHours = map[string]any{"hours": map[string]any{
	"monday_to_saturday": "9:00 to 17:30",
	"sunday":             "closed",
	"bank_holidays":      "closed",
	"time_zone":          TimeZone,
	"address":            "14 Camber Quay, Portsmouth",
}}

// The rules of the help centre's page on appointments.
const (
	bookingAhead  = 8 * 7 * 24 * time.Hour
	bookingNotice = 24 * time.Hour
)

// openAt says whether an appointment may start at that moment.
func openAt(t time.Time) bool {
	minute := t.Hour()*60 + t.Minute()
	return t.Weekday() != time.Sunday && minute >= 9*60 && minute <= 16*60+30 &&
		t.Minute()%30 == 0 && t.Second() == 0 && t.Nanosecond() == 0
}

func (s *shop) cancelOrder(r *http.Request, _ []byte) (any, error) {
	o, err := byID(r, s.state.Orders, func(o *order) string { return o.ID })
	if err != nil {
		return nil, err
	}
	switch o.Status {
	case "processing":
	case "cancelled":
		return nil, &fault{http.StatusConflict, "already_cancelled", "this order is already cancelled"}
	default:
		return nil, &fault{http.StatusConflict, "already_shipped", "this order has left the shop and can be returned instead"}
	}
	o.Status, o.Expected = "cancelled", ""
	return map[string]any{"order": o}, nil
}

func (s *shop) reschedule(r *http.Request, body []byte) (any, error) {
	b, err := byID(r, s.state.Bookings, func(b *booking) string { return b.ID })
	if err != nil {
		return nil, err
	}
	var in struct {
		Start time.Time `json:"start"`
	}
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	start, now := in.Start.In(s.zone), s.now()
	switch {
	case !b.Start.After(now) || b.Status != "confirmed":
		return nil, &fault{http.StatusConflict, "not_upcoming", "this appointment has passed or was cancelled"}
	case b.Start.Sub(now) < bookingNotice:
		return nil, &fault{http.StatusConflict, "too_late", "less than 24 hours before, an appointment can be moved by telephone only"}
	case !start.After(now):
		return nil, &fault{http.StatusUnprocessableEntity, "in_the_past", "that time has passed"}
	case start.After(now.Add(bookingAhead)):
		return nil, &fault{http.StatusUnprocessableEntity, "too_far_ahead", "appointments open 8 weeks ahead"}
	case !openAt(start):
		return nil, &fault{http.StatusUnprocessableEntity, "closed", "the shop takes appointments on the hour and half hour, Monday to Saturday from 9:00 to 16:30"}
	}
	for _, other := range s.state.Bookings {
		if other != b && other.Status == "confirmed" && other.Start.Equal(start) {
			return nil, &fault{http.StatusConflict, "slot_taken", "that time is taken"}
		}
	}
	b.Start = start
	return map[string]any{"booking": b}, nil
}

func (s *shop) pause(r *http.Request, body []byte) (any, error) {
	b, err := byID(r, s.state.Subscriptions, func(b *subscription) string { return b.ID })
	if err != nil {
		return nil, err
	}
	var in struct {
		Months int `json:"months"`
	}
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	if in.Months < 1 || in.Months > 3 {
		return nil, &fault{http.StatusUnprocessableEntity, "invalid_months", "a subscription can be paused for 1 to 3 months"}
	}
	if b.Status == "cancelled" {
		return nil, &fault{http.StatusConflict, "already_cancelled", "this subscription is cancelled"}
	}
	until := nextBox(s.now().In(s.zone), in.Months)
	b.Status, b.Paused, b.NextBox = "paused", until, until
	return map[string]any{"subscription": b}, nil
}

func (s *shop) cancelSubscription(r *http.Request, _ []byte) (any, error) {
	b, err := byID(r, s.state.Subscriptions, func(b *subscription) string { return b.ID })
	if err != nil {
		return nil, err
	}
	if b.Status == "cancelled" {
		return nil, &fault{http.StatusConflict, "already_cancelled", "this subscription is already cancelled"}
	}
	b.Status, b.NextBox, b.Paused = "cancelled", "", ""
	return map[string]any{"subscription": b}, nil
}

func (s *shop) moveHouse(r *http.Request, body []byte) (any, error) {
	p, err := byID(r, s.state.Profiles, func(p *profile) string { return p.ID })
	if err != nil {
		return nil, err
	}
	var in struct {
		Address string `json:"address"`
	}
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	address := strings.Join(strings.Fields(in.Address), " ")
	if n := utf8.RuneCountInString(address); n < 8 || n > 200 {
		return nil, &fault{http.StatusUnprocessableEntity, "invalid_address", "an address has 8 to 200 characters"}
	}
	p.Address = address
	return map[string]any{"customer": p}, nil
}
