package plan

import (
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"vouchsafe/engine"
)

// entry is one action of a test catalog, as a manifest would have it.
type entry struct {
	Name     string
	Title    string
	Public   bool
	Risk     string
	Args     map[string]any
	Resource map[string]string
	ID       string
	List     bool
	Examples []string
}

// catalog reads a test catalog.
func catalog(t testing.TB, source string) []*engine.Action {
	t.Helper()
	var entries []entry
	if err := yaml.Unmarshal([]byte(source), &entries); err != nil {
		t.Fatalf("yaml.Unmarshal: %v", err)
	}
	if len(entries) == 0 {
		t.Fatal("the catalog is empty")
	}
	var out []*engine.Action
	for _, e := range entries {
		args, err := engine.CompileArgs(e.Args)
		if err != nil {
			t.Fatalf("CompileArgs(%s): %v", e.Name, err)
		}
		risk, err := engine.ParseRisk(e.Risk)
		if err != nil {
			t.Fatal(err)
		}
		a := &engine.Action{Name: e.Name, Title: e.Title, Personal: !e.Public, Risk: risk, Args: args, Examples: e.Examples, IDArgument: e.ID, List: e.List}
		for arg, by := range e.Resource {
			a.Resources = append(a.Resources, engine.Resource{Argument: arg, Action: by})
		}
		out = append(out, a)
	}
	return out
}

// harborGoods is a furniture shop.
const harborGoods = `
- {name: order.list, title: List my orders, risk: read, list: true, examples: ["show my orders", "what have I ordered", "my order history"]}
- name: order.lookup
  title: Look up one of my orders
  risk: read
  id: order_id
  args: {type: object, required: [order_id], properties: {order_id: {type: string, pattern: "^[0-9]{4,}$"}}}
  examples: ["where is my order", "track order 1001", "has my parcel shipped", "what is the status of my order"]
- name: order.cancel
  title: Cancel one of my orders
  risk: destructive
  id: order_id
  args: {type: object, required: [order_id], properties: {order_id: {type: string, pattern: "^[0-9]{4,}$"}}}
  resource: {order_id: order.lookup}
  examples: ["cancel order 1001", "cancel my order"]
- {name: booking.list, title: List my appointments, risk: read, list: true, examples: ["what appointments do I have", "when is my fitting", "show my bookings"]}
- name: booking.reschedule
  title: Move one of my appointments
  risk: write
  id: booking_id
  args:
    type: object
    required: [booking_id, start]
    properties:
      booking_id: {type: string, pattern: "^B-[0-9]+$"}
      start: {type: string, format: date-time}
  resource: {booking_id: booking.list}
  examples: ["reschedule my appointment to next Tuesday", "move my fitting to Friday at 3pm"]
- {name: subscription.show, title: Show my subscription, risk: read, examples: ["what plan am I on", "when does my subscription renew", "show my subscription"]}
- name: subscription.pause
  title: Pause my subscription
  risk: write
  args: {type: object, properties: {months: {type: integer, minimum: 1, maximum: 3}}}
  examples: ["pause my subscription for 2 months", "skip my next box", "put my subscription on hold"]
- {name: subscription.cancel, title: Cancel my subscription, risk: destructive, examples: ["cancel my subscription", "stop my subscription", "end my membership"]}
- {name: profile.show, title: Show my profile, risk: read, examples: ["show my profile", "what address do you have for me", "my account details"]}
- name: profile.update_address
  title: Change my delivery address
  risk: write
  args: {type: object, required: [address], properties: {address: {type: string, minLength: 8, maxLength: 200}}}
  examples: ["change my address to 12 Quay Street, Portsmouth PO1 3AX", "update my shipping address", "I have moved house"]
- {name: shop.opening_hours, title: Opening hours of the shop, public: true, risk: read, examples: ["when are you open", "what are your opening hours", "are you open on Sunday"]}
- name: kb.answer
  title: Answer a question
  public: true
  risk: read
  args: {type: object, required: [question], properties: {question: {type: string}}}
  examples: ["what is your returns policy", "do you ship abroad", "how long is the warranty"]
`

// airline is a catalog of another trade.
const airline = `
- {name: flight.list, title: List my flights, risk: read, list: true, examples: ["show my flights", "what trips do I have"]}
- name: flight.show
  title: Show one of my flights
  risk: read
  id: reference
  args: {type: object, required: [reference], properties: {reference: {type: string, pattern: "^[A-Z0-9]{6}$"}}}
  examples: ["when does my flight leave", "show booking X7K2PQ", "is my flight on time"]
- name: flight.rebook
  title: Rebook one of my flights
  risk: destructive
  id: reference
  args:
    type: object
    required: [reference, date]
    properties:
      reference: {type: string}
      date: {type: string, format: date}
      cabin: {type: string, enum: [economy, premium_economy, business]}
  resource: {reference: flight.show}
  examples: ["rebook my flight to Friday", "put me on a later plane", "change flight X7K2PQ to 3 March"]
- name: flight.cancel
  title: Cancel one of my flights
  risk: destructive
  id: reference
  args: {type: object, required: [reference], properties: {reference: {type: string}}}
  resource: {reference: flight.show}
  examples: ["cancel my flight", "cancel flight X7K2PQ"]
- name: baggage.add
  title: Add baggage to a flight
  risk: write
  args: {type: object, required: [reference, bags], properties: {reference: {type: string}, bags: {type: integer, minimum: 1, maximum: 5}}}
  resource: {reference: flight.show}
  examples: ["add a bag to my flight", "I need 2 more suitcases"]
- name: seat.choose
  title: Choose my seat
  risk: write
  args: {type: object, required: [reference, seat], properties: {reference: {type: string}, seat: {type: string, pattern: "^[0-9]{1,2}[A-K]$"}}}
  resource: {reference: flight.show}
  examples: ["choose seat 12A", "change my seat to 4C"]
- {name: miles.balance, title: Show my miles, risk: read, examples: ["how many miles do I have", "show my miles balance"]}
- name: passenger.update_contact
  title: Change my contact address
  risk: write
  args:
    type: object
    required: [line1, city, postcode]
    properties: {line1: {type: string}, city: {type: string}, postcode: {type: string}}
  examples: ["change my postal address"]
`

// small is the manifest of the design's own example.
const small = `
- name: order.lookup
  title: Look up one of my orders
  risk: read
  id: order_id
  args: {type: object, required: [order_id], properties: {order_id: {type: string, pattern: "^[0-9]{4,}$"}}}
  examples: ["where is my order", "track order 1001"]
- {name: order.list, title: List my orders, risk: read, list: true, examples: ["show my orders"]}
- name: order.cancel
  title: Cancel one of my orders
  risk: destructive
  id: order_id
  args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
  resource: {order_id: order.lookup}
  examples: ["cancel order 1001"]
`

// monday is the day the tables are read on: Monday 23 November 2026, 09:30 in
// London.
func monday(t testing.TB) (time.Time, *time.Location) {
	t.Helper()
	loc, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	return time.Date(2026, 11, 23, 9, 30, 0, 0, loc), loc
}
