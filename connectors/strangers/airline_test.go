package strangers_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"vouchsafe/connectors/connectortest"
	"vouchsafe/engine"
)

// Everybody but the last has three bookings; the first of each is shared with
// whoever comes next.
const trips = 3

func locator(i, k int) string { return fmt.Sprintf("SK%02d%02d", i, k) }
func passenger(i, k int) int  { return 5000 + i*10 + k }
func surname(i int) string    { return fmt.Sprintf("Lopez%02d", i) }

// shared reports a first booking's second contact.
func shared(i, other int) bool { return other == (i+1)%people }

// skylark is the airline.
type skylark struct {
	mu       sync.Mutex
	versions map[string]int
	stale    bool // somebody else changes each booking that is read
}

func (s *skylark) booking(i, k int) object {
	s.mu.Lock()
	defer s.mu.Unlock()
	contacts := []object{{"type": "BOOKER", "email_address": strings.Replace(person(i).Email, "example", "Example", 1)}, {"type": "AGENT"}, {"email_address": nil}}
	if k == 0 {
		contacts = append(contacts, object{"email_address": person(i + 1).Email})
	}
	return object{"recordLocator": locator(i, k), "version": s.versions[locator(i, k)], "contacts": contacts,
		"passengers": []object{{"passenger_id": passenger(i, k), "firstName": "Pat", "surname": surname(i), "seatNumber": "11C"}},
		"segments":   []object{{"flight_no": "SK 7", "departs_at": "2027-03-01T10:00:00+09:00"}},
		"total":      object{"amount_minor": 12340, "currency": "EUR"}, "staffRemarks": "for staff only"}
}

func ok(data object) object    { return object{"status": "OK", "data": data} }
func wrong(code string) object { return object{"status": "ERROR", "code": code, "message": "no"} }
func numbers(at string) (i, k int) {
	if n, err := fmt.Sscanf(at, "SK%02d%02d", &i, &k); n != 2 || err != nil || i >= people-1 || k >= trips {
		return -1, -1
	}
	return i, k
}

func (s *skylark) routes(f *far, mux *http.ServeMux) {
	mux.HandleFunc("POST /v2/bookings/search", func(w http.ResponseWriter, r *http.Request) {
		body := read(r)
		filter, _ := body["filter"].(object)
		if at, by := filter["recordLocator"].(string); by {
			i, k := numbers(at)
			if i < 0 {
				say(w, 200, wrong("NOT_FOUND"))
				return
			}
			say(w, 200, ok(object{"bookings": []object{s.booking(i, k)}}))
			return
		}
		var found []object
		for i := range people - 1 {
			mail := filter["contactEmail"]
			for k := range trips {
				if mail == person(i).Email || k == 0 && mail == person(i+1).Email {
					found = append(found, s.booking(i, k))
				}
			}
			if mail == person(i).Email {
				found = append(found, s.booking((i+5)%(people-1), 1)) // it finds what is near, too
			}
		}
		from := 0
		fmt.Sscan(fmt.Sprint(body["pageToken"]), &from)
		if len(found) == 0 {
			say(w, 200, wrong("NOT_FOUND"))
			return
		}
		data := object{"bookings": found[from:min(from+2, len(found))], "next_page_token": nil}
		if from+2 < len(found) {
			data["next_page_token"] = fmt.Sprint(from + 2)
		}
		say(w, 200, ok(data))
	})
	mux.HandleFunc("GET /v2/bookings/{locator}", func(w http.ResponseWriter, r *http.Request) {
		i, k := numbers(r.PathValue("locator"))
		if i < 0 || r.URL.Query().Get("lastName") != surname(i) {
			say(w, 200, wrong("NOT_FOUND"))
			return
		}
		b := s.booking(i, k)
		w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, b["version"]))
		say(w, 200, ok(object{"booking": b}))
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.stale {
			s.versions[locator(i, k)]++
		}
	})
	changes := func(pattern string, do func(r *http.Request, at string, body object) (version any, what string)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			at, body := r.PathValue("locator"), read(r)
			version, what := do(r, at, body)
			s.mu.Lock()
			now := s.versions[at]
			fits := fmt.Sprint(version) == fmt.Sprintf(`"v%d"`, now) || fmt.Sprint(version) == fmt.Sprint(now)
			if fits {
				s.versions[at]++
			}
			s.mu.Unlock()
			if !fits {
				say(w, http.StatusPreconditionFailed, wrong("STALE"))
				return
			}
			f.change("%s", what)
			say(w, 200, ok(object{}))
		})
	}
	changes("PUT /v2/bookings/{locator}/passengers/{passenger}/seat", func(r *http.Request, at string, body object) (any, string) {
		return r.Header.Get("If-Match"), fmt.Sprintf("seat %v of %s in %s", body["seatNumber"], r.PathValue("passenger"), at)
	})
	changes("PATCH /v2/bookings/{locator}", func(_ *http.Request, at string, body object) (any, string) {
		return body["version"], fmt.Sprintf("telephone %v of %s", body["contactPhone"], at)
	})
	mux.HandleFunc("POST /v2/bookings/{locator}/cancellation-quotes", func(w http.ResponseWriter, r *http.Request) {
		say(w, 201, ok(object{"quote": object{"quoteId": "Q-" + r.PathValue("locator"), "refund_minor": 9900}}))
	})
	mux.HandleFunc("POST /v2/cancellations", func(w http.ResponseWriter, r *http.Request) {
		f.change("cancel by %v", read(r)["quote_id"])
		say(w, 200, ok(object{}))
	})
	mux.HandleFunc("GET /v2/vouchers", func(w http.ResponseWriter, r *http.Request) {
		page, mail := 0, r.URL.Query().Get("holder")
		fmt.Sscan(r.URL.Query().Get("cursor"), &page)
		if page < 2 {
			w.Header().Set("Link", fmt.Sprintf(`<https://api.skylark.example/v2/vouchers?holder=%s&cursor=%d>; rel="next"`, url.QueryEscape(mail), page+1))
		}
		list := []object{{"code": "of somebody else", "holderEmail": "p99@example.com"}}
		if strings.HasPrefix(mail, "p0") {
			list = append(list, object{"code": fmt.Sprintf("V%d-%s", page, mail[:3]), "holderEmail": mail, "value_minor": 2500, "currency": "EUR"})
		}
		say(w, 200, list)
	})
	mux.HandleFunc("POST /graphql", func(w http.ResponseWriter, r *http.Request) {
		variables, _ := read(r)["variables"].(object)
		switch mail, _ := variables["mail"].(string); mail {
		case person(0).Email:
			say(w, 200, object{"data": object{"member": nil}})
		case person(1).Email:
			say(w, 200, object{"data": nil, "errors": []object{{"message": "try later"}}})
		case person(2).Email:
			say(w, 200, object{"data": object{"member": object{"email": person(3).Email, "miles": object{"balance": 1}}}})
		default:
			say(w, 200, object{"data": object{"member": object{"email": mail, "miles": object{"balance": 12000, "tierName": "Silver"}}}})
		}
	})
}

func flights(t *testing.T) (*skylark, *far, *connectortest.Bench) {
	s := &skylark{versions: map[string]int{}}
	f, b := open(t, "airline.yaml", "skylark", s.routes)
	return s, f, b
}

func seat(i, k int) object {
	return object{"locator": locator(i, k), "last_name": surname(i), "passenger_id": passenger(i, k), "seat": "12A"}
}

func TestAirlineRecordsAreOnesOwn(t *testing.T) {
	_, f, b := flights(t)
	alone(t, f, b, []try{
		{"trip.show", func(i int) object { return object{"locator": locator(i, 1), "last_name": surname(i)} }, object{"locator": "SK9999", "last_name": "Nobody"}, nil, nil},
		{"trip.seat", func(i int) object { return seat(i, 1) }, with(seat(0, 1), object{"locator": "SK9999"}),
			func(i int) string { return fmt.Sprintf("seat 12A of %d in %s", passenger(i, 1), locator(i, 1)) }, nil},
		{"trip.telephone", func(i int) object { return object{"locator": locator(i, 2), "phone": "+441234567"} }, object{"locator": "SK9999", "phone": "+441234567"},
			func(i int) string { return "telephone +441234567 of " + locator(i, 2) }, nil},
		{"trip.cancel", func(i int) object { return object{"locator": locator(i, 0)} }, object{"locator": "SK9999"},
			func(i int) string { return "cancel by Q-" + locator(i, 0) }, shared},
	}, people-1)
}

func TestAirlineLists(t *testing.T) {
	_, _, b := flights(t)
	for i := range people {
		var mine []string
		for k := range trips {
			if i < people-1 {
				mine = append(mine, locator(i, k))
			}
		}
		if i > 0 {
			mine = append(mine, locator(i-1, 0))
		}
		slices.Sort(mine)
		res, err := b.Do(t, person(i), "trip.list", nil)
		if got := values(res.Records, "locator"); err != nil || !slices.Equal(got, mine) {
			t.Errorf("trips of %d: %v, %v; want %v", i, got, err, mine)
		}
		want := 3 // a page each
		if i >= 10 {
			want = 0
		}
		res, err = b.Do(t, person(i), "voucher.list", nil)
		if err != nil || len(res.Records) != want {
			t.Errorf("vouchers of %d: %v, %v; want %d", i, res.Records, err, want)
		}
	}
	res, err := b.Do(t, person(11), "trip.show", object{"locator": locator(10, 0), "last_name": surname(10)})
	if err != nil || res.Records[0].Fields["departs"] != "2027-03-01T10:00:00+09:00" {
		t.Errorf("a booking's second contact: %v, %v", res.Records, err)
	}
	if res, err = b.Do(t, person(0), "trip.list", nil); err != nil || res.Records[0].Fields["total"] != "123.4 EUR" {
		t.Errorf("a price in cents: %v, %v", res.Records, err)
	}
}

// Errors that come in a 200, and a member who is somebody else.
func TestAirlineGraph(t *testing.T) {
	_, _, b := flights(t)
	for i, want := range []string{engine.CodeNotFound, engine.CodeConnectorFailed, engine.CodeNotFound, ""} {
		res, err := b.Do(t, person(i), "miles.show", nil)
		if engine.CodeOf(err) != want || want == "" && fmt.Sprint(res.Records[0].Fields["balance"]) != "12000" {
			t.Errorf("miles of %d: %v, %v; want %q", i, res.Records, err, want)
		}
	}
}

// One's own booking does not help with somebody else's passenger, nor the right
// locator with the wrong name; and a booking that changed meanwhile stays as it is.
func TestAirlineSecondRecordAndVersion(t *testing.T) {
	s, f, b := flights(t)
	for name, args := range map[string]object{
		"another's passenger": with(seat(1, 1), object{"passenger_id": passenger(2, 1)}),
		"another's booking":   with(seat(1, 1), object{"locator": locator(2, 1), "last_name": surname(2)}),
		"another name":        with(seat(1, 1), object{"last_name": "Other"}),
	} {
		_, err := b.Do(t, person(1), "trip.seat", args)
		if _, changed := f.taken(); engine.CodeOf(err) != engine.CodeNotFound || len(changed) > 0 {
			t.Errorf("%s: %v, changed %v", name, err, changed)
		}
	}
	s.stale = true
	_, err := b.Do(t, person(1), "trip.seat", seat(1, 1))
	asked, changed := f.taken()
	if engine.CodeOf(err) != engine.CodeConnectorFailed || !strings.Contains(err.Error(), "nothing was changed") || len(changed) > 0 || !strings.HasPrefix(asked[len(asked)-1], "PUT ") {
		t.Errorf("a booking that changed meanwhile: %v, changed %v, asked %v", err, changed, asked)
	}
}
