package enginetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// Shop is an outside system in memory. Like most, it shows any record to
// whoever may call it.
type Shop struct {
	clock func() time.Time

	mu       sync.Mutex
	orders   []order
	bookings []booking
	calls    []Call
	// Fail, when set, is what every call comes to instead.
	Fail func(gate.Claim) error
}

// Call is one call the shop saw.
type Call struct {
	Action string
	Args   map[string]any
	Grant  gate.Grant
}

type order struct{ id, owner, status string }

type booking struct {
	id, owner, title string
	start            time.Time
}

// NewShop returns a shop with two orders and one booking of Alex's, and two
// orders and two bookings of Jordan's.
func NewShop(clock func() time.Time) *Shop {
	day := func(d, h int) time.Time { return time.Date(2026, 11, d, h, 0, 0, 0, time.UTC) }
	return &Shop{clock: clock,
		orders: []order{
			{"1001", Alex.Email, "shipped"}, {"1002", Alex.Email, "processing"},
			{"2001", Jordan.Email, "processing"}, {"2002", Jordan.Email, "shipped"},
			{"3001", "", "lost"}, // nobody's
		},
		bookings: []booking{
			{"B-1", Alex.Email, "Fitting", day(26, 10)},
			{"B-2", Jordan.Email, "Repair", day(25, 11)}, {"B-3", Jordan.Email, "Fitting", day(27, 15)},
		}}
}

// Calls returns the calls whose permit was good, in order.
func (s *Shop) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// Status returns an order's status.
func (s *Shop) Status(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.orders {
		if o.id == id {
			return o.status
		}
	}
	return ""
}

// Call performs an action.
func (s *Shop) Call(_ context.Context, c gate.Claim, p gate.Permit) (gate.Response, error) {
	g, err := p.Redeem(c, s.clock())
	if err != nil {
		return gate.Response{}, engine.Errorf(engine.CodeConnectorFailed, "The shop refused.", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, Call{c.Action, c.Args, g})
	if s.Fail != nil {
		if err := s.Fail(c); err != nil {
			return gate.Response{}, err
		}
	}
	out := gate.Response{Status: 200}
	switch c.Action {
	case "order.list":
		for _, o := range s.orders { // a shop that ignores the filter
			out.Records = append(out.Records, o.record())
		}
	case "order.lookup", "order.cancel":
		for i := range s.orders {
			if o := &s.orders[i]; o.id == fmt.Sprint(c.Args["order_id"]) {
				if c.Action == "order.cancel" {
					o.status = "cancelled"
				}
				out.Records = append(out.Records, o.record())
			}
		}
	case "booking.list":
		for _, b := range s.bookings {
			if b.owner == g.Pinned.Email {
				out.Records = append(out.Records, b.record())
			}
		}
	case "booking.reschedule":
		for i := range s.bookings {
			if b := &s.bookings[i]; b.id == fmt.Sprint(c.Args["booking_id"]) {
				t, err := time.Parse(time.RFC3339, fmt.Sprint(c.Args["start"]))
				if err != nil {
					return gate.Response{}, engine.Errorf(engine.CodeConnectorFailed, "The shop refused.", err)
				}
				b.start = t
				out.Records = append(out.Records, b.record())
			}
		}
	case "shop.hours":
		out.Records = []gate.Record{{Fields: map[string]any{"hours": "9 to 5"}}}
	case "kb.answer":
		f := map[string]any{"answer": "", "citations": []any{}, "declined": true}
		if c.Args["question"] == "what is your refund policy?" {
			f = map[string]any{"answer": "We refund within 30 days.", "declined": false, "citations": []any{
				map[string]any{"document": "refunds", "title": "Refunds", "passage": "We refund within 30 days."}}}
		}
		out.Records = []gate.Record{{Fields: f}}
	}
	return out, nil
}

func (o order) record() gate.Record {
	return gate.Record{ID: o.id, Owner: gate.Owner{Email: o.owner}, Fields: map[string]any{"id": o.id, "status": o.status}}
}

func (b booking) record() gate.Record {
	return gate.Record{ID: b.id, Owner: gate.Owner{Email: b.owner},
		Fields: map[string]any{"id": b.id, "title": b.title, "start": b.start.Format(time.RFC3339)}}
}

// Actions returns the shop's catalog.
func Actions(t testing.TB) []*engine.Action {
	t.Helper()
	schema := func(required ...string) *engine.ArgSchema {
		props, req := map[string]any{}, []any{}
		for _, name := range required {
			p := map[string]any{"type": "string"}
			switch name {
			case "order_id":
				p["pattern"] = "^[0-9]{4,}$"
			case "start":
				p["format"] = "date-time"
			}
			props[name] = p
			req = append(req, name)
		}
		s, err := engine.CompileArgs(map[string]any{"type": "object", "properties": props, "required": req})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	orderFields, bookingFields := []string{"id", "status"}, []string{"id", "title", "start"}
	return []*engine.Action{
		{Name: "order.list", Title: "List my orders", Personal: true, Risk: engine.Read, MinTier: engine.Pro, Args: schema(), List: true,
			Fields: orderFields, Connector: "shop", Examples: []string{"show my orders", "what are my orders"}},
		{Name: "order.lookup", Title: "Look up one of my orders", Personal: true, Risk: engine.Read, MinTier: engine.Pro, Args: schema("order_id"),
			IDArgument: "order_id", Fields: orderFields, Connector: "shop", Examples: []string{"where is my order", "track order 1001"}},
		{Name: "order.cancel", Title: "Cancel one of my orders", Personal: true, Risk: engine.Destructive, MinTier: engine.Pro, Args: schema("order_id"),
			Resources: []engine.Resource{{Argument: "order_id", Action: "order.lookup"}}, Fields: orderFields, Connector: "shop",
			Examples: []string{"cancel order 1001", "cancel my order"}},
		{Name: "booking.list", Title: "List my appointments", Personal: true, Risk: engine.Read, MinTier: engine.Pro, Args: schema(), List: true,
			Fields: bookingFields, Connector: "shop", Examples: []string{"show my appointments", "when is my appointment"}},
		{Name: "booking.reschedule", Title: "Move one of my appointments", Personal: true, Risk: engine.Write, MinTier: engine.Pro,
			Args: schema("booking_id", "start"), Resources: []engine.Resource{{Argument: "booking_id", Action: "booking.list"}},
			Fields: bookingFields, Connector: "shop", Examples: []string{"reschedule my appointment to Friday", "move my appointment"}},
		{Name: "shop.hours", Title: "Tell the opening hours", Risk: engine.Read, MinTier: engine.Free, Args: schema(),
			Fields: []string{"hours"}, Connector: "shop", Examples: []string{"when are you open"}},
		{Name: "kb.answer", Title: "Answer a question from the help centre", Risk: engine.Read, MinTier: engine.Free, Args: schema("question"),
			Fields: []string{"answer", "citations", "declined"}, Connector: "kb", Examples: []string{"what is your refund policy"}},
	}
}
