// Package matrix_test asks for every record of generated systems as its customer
// and as others, and asks systems that misbehave, through the real gate and
// provider.
package matrix_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"vouchsafe/tests/harness"
)

// How much the generated systems hold.
const (
	customers = 500
	orders    = 1000
)

type object = map[string]any

// person is a customer of the shop and a member of the airline.
func person(i int) harness.Person {
	i = (i%customers + customers) % customers
	return harness.Person{Subject: fmt.Sprintf("c-%03d", i), Email: fmt.Sprintf("p%03d@example.com", i), Name: fmt.Sprintf("Person %03d", i)}
}

func orderID(i int) string   { return fmt.Sprint(100000 + i) }
func bookingID(i int) string { return fmt.Sprintf("B%05d", i) }
func boxID(i int) string     { return fmt.Sprintf("S%05d", i) }
func locator(i int) string   { return fmt.Sprintf("LOC%03d", i) }
func voucher(i int) string   { return fmt.Sprintf("V-%03d", i) }

// world is the outside systems. They show and change any record for whoever
// asks, and write down what was changed.
type world struct {
	*httptest.Server
	mu      sync.Mutex
	changed map[string]int // by method and path, and what the body names
	watched bool           // what is asked is written down
	asked   []string       // by method and path, while watched
}

func newWorld(t testing.TB) *world {
	w := &world{changed: map[string]int{}}
	mux := http.NewServeMux()
	w.shop(mux)
	w.airline(mux)
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		if w.watched {
			w.asked = append(w.asked, r.Method+" "+r.URL.RequestURI())
		}
		w.mu.Unlock()
		mux.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *world) changes(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed[what]
}

// during is what is asked while f runs.
func (w *world) during(f func()) []string {
	w.mu.Lock()
	w.watched, w.asked = true, nil
	w.mu.Unlock()
	f()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watched = false
	return w.asked
}

func (w *world) total() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.changed {
		n += c
	}
	return n
}

func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed[what]++
}

func say(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// number is the number in an id, -1 when it is not one of n records.
func number(id, prefix string, least, n int) int {
	var i int
	if _, err := fmt.Sscanf(strings.TrimPrefix(id, prefix), "%d", &i); err != nil || i < least || i >= least+n {
		return -1
	}
	return i - least
}

func customerOf(i int) object {
	p := person(i)
	return object{"id": p.Subject, "email": p.Email, "name": p.Name}
}

func order(i int) object {
	return object{"id": orderID(i), "customer": customerOf(i), "status": "shipped", "placed": "2026-11-01T10:00:00Z",
		"items": []string{"Boots"}, "total": "10.00", "staff_notes": "for staff only"}
}

func booking(i int) object {
	return object{"id": bookingID(i), "customer": customerOf(i), "service": "Fitting", "start": "2027-01-04T10:00:00Z", "minutes": 30, "status": "confirmed"}
}

func box(i int) object {
	return object{"id": boxID(i), "customer": customerOf(i), "plan": "Box", "status": "active", "price": "18.00", "next_box": "2027-01-25", "paused_until": "2027-02-25"}
}

// listed answers with those of n records whose customer has the e-mail asked
// for.
func listed(name string, n int, make func(int) object) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		list := []object{}
		for i := range n {
			if person(i).Email == r.URL.Query().Get("email") {
				list = append(list, make(i))
			}
		}
		say(w, 200, object{name: list})
	}
}

func (w *world) shop(mux *http.ServeMux) {
	mux.HandleFunc("GET /admin/orders", listed("orders", orders, order))
	mux.HandleFunc("GET /admin/bookings", listed("bookings", customers, booking))
	mux.HandleFunc("GET /admin/subscriptions", listed("subscriptions", customers, box))
	mux.HandleFunc("GET /admin/customers", listed("customers", customers, func(i int) object {
		c := customerOf(i)
		return object{"id": c["id"], "customer": c, "name": c["name"], "email": c["email"], "address": "1 Quay", "phone": "-", "member_since": "2024-01-01"}
	}))
	mux.HandleFunc("GET /admin/hours", func(w http.ResponseWriter, _ *http.Request) {
		say(w, 200, object{"hours": object{"monday_to_saturday": "9 to 5", "sunday": "closed", "bank_holidays": "closed", "address": "1 Quay"}})
	})
	one := func(pattern, name, prefix string, least, n int, make func(int) object) {
		mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
			i := number(r.PathValue("id"), prefix, least, n)
			if i < 0 {
				say(rw, 404, object{"error": "there is no such record"})
				return
			}
			if r.Method != "GET" {
				w.note(r.Method + " " + r.URL.Path)
			}
			say(rw, 200, object{name: make(i)})
		})
	}
	one("GET /admin/orders/{id}", "order", "", 100000, orders, order)
	one("POST /admin/orders/{id}/cancel", "order", "", 100000, orders, order)
	one("POST /admin/bookings/{id}/reschedule", "booking", "B", 0, customers, booking)
	one("POST /admin/subscriptions/{id}/pause", "subscription", "S", 0, customers, box)
	one("POST /admin/subscriptions/{id}/cancel", "subscription", "S", 0, customers, box)
	one("PUT /admin/customers/{id}/address", "customer", "c-", 0, customers, func(i int) object {
		return object{"id": person(i).Subject, "customer": customerOf(i), "email": person(i).Email, "address": "2 Quay"}
	})
}

// airline is another system altogether: it answers 200 to everything, knows
// members by a number of its own, nests its passengers and turns pages.
const airline = `connector: {name: air, kind: rest, connection: airline, headers: {Api-Release: "7"}, idempotency_header: X-Request-Key}
actions:
  trip.list:
    title: List my trips
    personal: true
    risk: read
    steps:
      - find: member
        request: {method: POST, path: /air/members/search, body: "{where: {mail: .pinned.email}}"}
        response: {records: ".result.hits[]", id: .number, owner: .contact.mail, fields: [number]}
    request: {method: GET, path: "/air/members/{steps.member.number}/reservations", query: {page: "{page.number}"}, pages: {size: 2}}
    response: {records: ".content[]", id: .locator, owner: {step: member, id: .booked_by.member}, fields: [locator, {names: "[.travellers[].name]"}]}
    examples: ["show my trips"]
  trip.show:
    title: Show one of my trips
    personal: true
    risk: read
    args: {type: object, required: [locator], properties: {locator: {type: string, pattern: "^[A-Z0-9]{6}$"}}}
    request: {method: GET, path: "/air/reservations/{locator}"}
    response: {records: .reservation, id: .locator, owner: {subject: .booked_by.sub}, fields: [locator, {names: "[.travellers[].name]"}], not_found: ['.status == "NONE"']}
    examples: ["show trip ABC123"]
  trip.seat:
    title: Choose a seat
    personal: true
    risk: write
    args: {type: object, required: [locator, seat], properties: {locator: {type: string, pattern: "^[A-Z0-9]{6}$"}, seat: {enum: [window, aisle]}}}
    resource: {locator: trip.list}
    request: {method: PATCH, path: "/air/reservations/{locator}", body: "{seat: .args.seat}"}
    response: {records: .reservation, id: .locator, owner: {subject: .booked_by.sub}, fields: [locator], success: '.status == "OK"'}
    examples: ["give me a window seat"]
  trip.upgrade:
    title: Use a voucher for a trip
    personal: true
    risk: write
    args: {type: object, required: [locator, voucher_id], properties: {locator: {type: string, pattern: "^[A-Z0-9]{6}$"}, voucher_id: {type: string}}}
    resource: {locator: trip.show, voucher_id: voucher.list}
    request: {method: POST, path: /air/upgrades, encode: form, body: "{trip: {locator: .args.locator}, voucher: .args.voucher_id}"}
    response: {success: '.status == "OK"'}
    examples: ["upgrade my trip"]
  voucher.list:
    title: List my vouchers
    personal: true
    risk: read
    request: {method: GET, path: /air/vouchers, query: {sub: "{pinned.subject}"}}
    response: {records: ".vouchers[]", id: .code, owner: {subject: .sub}, fields: [code]}
    examples: ["which vouchers do I have"]
`

func reservation(i int) object {
	p, companion := person(i), person(i+1)
	return object{"locator": locator(i), "booked_by": object{"sub": p.Subject, "member": 70000 + i},
		"travellers": []object{{"name": p.Name, "contact": object{"mail": p.Email}}, {"name": companion.Name, "contact": object{"mail": companion.Email}}}}
}

func (w *world) airline(mux *http.ServeMux) {
	mux.HandleFunc("POST /air/members/search", func(rw http.ResponseWriter, r *http.Request) {
		var asked struct{ Where struct{ Mail string } }
		json.NewDecoder(r.Body).Decode(&asked)
		hits := []object{}
		for i := range customers {
			// It finds what is near, too.
			if mail := person(i).Email; mail == asked.Where.Mail || mail == person(i+1).Email {
				hits = append(hits, object{"number": 70000 + i, "contact": object{"mail": strings.Replace(mail, "example", "EXAMPLE", 1)}})
			}
		}
		say(rw, 200, object{"result": object{"hits": hits}})
	})
	mux.HandleFunc("GET /air/members/{number}/reservations", func(rw http.ResponseWriter, r *http.Request) {
		i := number(r.PathValue("number"), "", 70000, customers)
		list := []object{}
		switch {
		case i >= 0 && r.URL.Query().Get("page") == "1":
			list = append(list, reservation(i+1), reservation(i)) // somebody else's as well
		case i >= 0 && r.URL.Query().Get("page") == "2":
			list = append(list, reservation(i+2))
		}
		say(rw, 200, object{"content": list})
	})
	mux.HandleFunc("GET /air/reservations/{locator}", func(rw http.ResponseWriter, r *http.Request) {
		if i := number(r.PathValue("locator"), "LOC", 0, customers); i >= 0 {
			say(rw, 200, object{"status": "OK", "reservation": reservation(i)})
			return
		}
		say(rw, 200, object{"status": "NONE"})
	})
	mux.HandleFunc("PATCH /air/reservations/{locator}", func(rw http.ResponseWriter, r *http.Request) {
		w.note("PATCH " + r.URL.Path)
		say(rw, 200, object{"status": "OK", "reservation": reservation(number(r.PathValue("locator"), "LOC", 0, customers))})
	})
	mux.HandleFunc("POST /air/upgrades", func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		w.note("upgrade " + form.Get("trip[locator]") + " by " + form.Get("voucher"))
		say(rw, 200, object{"status": "OK"})
	})
	mux.HandleFunc("GET /air/vouchers", func(rw http.ResponseWriter, r *http.Request) {
		list := []object{} // it takes no notice of whose are asked for
		for i := range customers {
			list = append(list, object{"code": voucher(i), "sub": person(i).Subject})
		}
		say(rw, 200, object{"vouchers": list})
	})
}
