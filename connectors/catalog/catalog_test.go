// Package catalog_test holds the shipped manifests to their promise: whoever
// signs in gets what is theirs, and of anybody else's gets nothing, changes
// nothing and learns nothing.
package catalog_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"vouchsafe/connectors"
	"vouchsafe/connectors/caldav"
	"vouchsafe/connectors/connectortest"
	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
)

var (
	alex = connectortest.Customer{Email: "alex@example.com", Name: "Alex", Subject: "c-1"}
	sam  = connectortest.Customer{Email: "sam@example.com", Name: "Sam", Subject: "c-2"}
	kim  = connectortest.Customer{Email: "kim@example.com", Name: "Kim", Subject: "c-3"} // has nothing
)

func manifest(t testing.TB, file string) *connectors.Manifest {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m, err := connectors.ParseManifest(file, src, caldav.Kind())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Every manifest loads, says where it comes from and how it was tested, and
// gives the assistant something to learn from.
func TestManifests(t *testing.T) {
	files, _ := filepath.Glob("*.yaml")
	if len(files) < 6 {
		t.Fatalf("there are %d manifests", len(files))
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		m := manifest(t, file)
		if _, err := connectors.NewCatalog([]*connectors.Manifest{m}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		src, _ := os.ReadFile(file)
		header, _, _ := strings.Cut(string(src), "connector:")
		for _, line := range []string{"# Written from: ", "# Tested: ", "vouchsafe connection add " + m.Connection + " --site SITE"} {
			if !strings.Contains(header, line) {
				t.Errorf("%s: its header does not say %q", file, line)
			}
		}
		for _, a := range m.Actions() {
			if len(a.Examples) < 2 {
				t.Errorf("%s: %s has %d examples", file, a.Name, len(a.Examples))
			}
			if strings.HasSuffix(a.Name, ".cancel") && a.Risk != engine.Destructive {
				t.Errorf("%s: %s is not marked as destructive", file, a.Name)
			}
			if !strings.Contains(string(readme), "`"+a.Name+"`") {
				t.Errorf("%s: the README's table does not have %s", file, a.Name)
			}
		}
		if !strings.Contains(string(readme), "[`"+file+"`](catalog/"+file+")") {
			t.Errorf("the README's table does not have %s", file)
		}
	}
}

// standIn stands in for a vendor. It keeps what it was asked to change.
type standIn struct {
	url string
	// sloppy: it takes no notice of what it is asked to look for, and gives
	// everybody's records.
	sloppy bool

	mu     sync.Mutex
	writes []string
}

func (s *standIn) wrote(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, what)
}

func (s *standIn) written() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.writes
	s.writes = nil
	return out
}

// serve answers with serve, once the credential is right.
func serve(t testing.TB, sloppy bool, header, value string, answer func(s *standIn, w http.ResponseWriter, r *http.Request)) *standIn {
	t.Helper()
	s := &standIn{sloppy: sloppy}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(header) != value {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		answer(s, w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func reply(w http.ResponseWriter, v any) { json.NewEncoder(w).Encode(v) }

func missing(w http.ResponseWriter) {
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, `{"message": "no such record"}`)
}

func bodyOf(r *http.Request) map[string]any {
	var v map[string]any
	json.NewDecoder(r.Body).Decode(&v)
	return v
}

type object = map[string]any

func bench(t testing.TB, file, url string) *connectortest.Bench {
	m := manifest(t, file)
	link := connectortest.Link{Connection: provider.Connection{ID: m.Connection, BaseURL: url, Type: provider.APIKey, Header: "Authorization"}, Credential: provider.NewAPIKey(token)}
	if file == "shopify.yaml" {
		link.Header = "X-Shopify-Access-Token"
	}
	return connectortest.New(t, connectortest.Options{Manifests: []*connectors.Manifest{m}, Links: []connectortest.Link{link}})
}

const token = "Bearer a-planted-token-0123456789"

// try is one action of one customer, and what must come of it.
type try struct {
	who    connectortest.Customer
	action string
	args   object
	want   string // a code; "" for success
	shows  string // what the released records hold, as JSON; "" for no record
	writes string // what the vendor was asked to change; "" for nothing
}

func run(t *testing.T, b *connectortest.Bench, s *standIn, tries []try) {
	t.Helper()
	for _, tt := range tries {
		name := fmt.Sprintf("%s %s %v (sloppy: %t)", tt.who.Name, tt.action, tt.args, s.sloppy)
		res, err := b.Do(t, tt.who, tt.action, maps.Clone(tt.args))
		if engine.CodeOf(err) != tt.want {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		shown := ""
		for _, r := range res.Records {
			fields, _ := json.Marshal(r.Fields)
			shown += string(fields)
		}
		if tt.shows == "" && shown != "" || !strings.Contains(shown, tt.shows) {
			t.Errorf("%s: shows %s, want %q", name, shown, tt.shows)
		}
		for _, other := range []connectortest.Customer{alex, sam, kim} {
			if other != tt.who && strings.Contains(shown, "of "+other.Name) {
				t.Errorf("%s: shows what is %s's: %s", name, other.Name, shown)
			}
		}
		if got := strings.Join(s.written(), "; "); got != tt.writes {
			t.Errorf("%s: the vendor was asked for %q, want %q", name, got, tt.writes)
		}
	}
}

func TestStripe(t *testing.T) {
	customers := []object{{"id": "cus_a1", "email": alex.Email}, {"id": "cus_a2", "email": alex.Email}, {"id": "cus_s", "email": sam.Email}, {"id": "cus_x", "email": nil}}
	of := map[string]string{"sub_a01": "cus_a1", "sub_a02": "cus_a2", "sub_s01": "cus_s", "sub_x01": "cus_x"}
	names := map[string]string{"cus_a1": "of Alex", "cus_a2": "of Alex", "cus_s": "of Sam", "cus_x": "of nobody"}
	subscription := func(id string, ending bool) object {
		return object{"id": id, "status": "active", "customer": of[id], "currency": "eur", "cancel_at_period_end": ending,
			"items": object{"data": []object{{"current_period_end": 1798761600, "price": object{"nickname": "Plan " + names[of[id]], "unit_amount": 1250}}}}}
	}
	invoice := func(id, customer string) object {
		return object{"id": id, "number": "N-" + id, "status": "paid", "customer": customer, "currency": "eur", "total": 1999, "created": 1790000000, "hosted_invoice_url": "https://invoice.example/" + names[customer]}
	}
	byCustomer := func(all []object, r *http.Request, sloppy bool) []object {
		asked := r.URL.Query().Get("customer")
		return slices.DeleteFunc(all, func(o object) bool {
			id, _ := o["customer"].(string)
			return id != asked && !(sloppy && names[id] != names[asked])
		})
	}
	for _, sloppy := range []bool{false, true} {
		s := serve(t, sloppy, "Authorization", token, func(s *standIn, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Stripe-Version") != "2026-08-26.dahlia" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			page := func(all []object) { // of two records each, so that pages are followed
				after, i := r.URL.Query().Get("starting_after"), 0
				if after != "" {
					i = slices.IndexFunc(all, func(o object) bool { return o["id"] == after }) + 1
				}
				reply(w, object{"data": all[min(i, len(all)):min(i+2, len(all))], "has_more": i+2 < len(all)})
			}
			expanded := func(o object) {
				i := slices.IndexFunc(customers, func(c object) bool { return c["id"] == o["customer"] })
				o["customer"] = customers[i]
				reply(w, o)
			}
			switch id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]; {
			case r.URL.Path == "/v1/customers":
				found := slices.DeleteFunc(slices.Clone(customers), func(c object) bool { return !s.sloppy && c["email"] != r.URL.Query().Get("email") })
				reply(w, object{"data": found, "has_more": false})
			case r.URL.Path == "/v1/subscriptions":
				all := []object{subscription("sub_a01", false), subscription("sub_a02", false), subscription("sub_s01", false), subscription("sub_x01", false)}
				page(byCustomer(all, r, s.sloppy))
			case r.URL.Path == "/v1/invoices":
				draft := invoice("in_a00", "cus_a1")
				draft["status"] = "draft"
				page(byCustomer([]object{draft, invoice("in_a01", "cus_a1"), invoice("in_s01", "cus_s"), invoice("in_x01", "cus_x")}, r, s.sloppy))
			case strings.HasPrefix(r.URL.Path, "/v1/subscriptions/") && of[id] != "":
				ending := false
				if r.Method == http.MethodPost {
					r.ParseForm()
					s.wrote("end " + id + ": " + r.PostForm.Get("cancel_at_period_end"))
					ending = r.PostForm.Get("cancel_at_period_end") == "true"
				}
				expanded(subscription(id, ending))
			case r.URL.Path == "/v1/invoices/in_a01":
				expanded(invoice("in_a01", "cus_a1"))
			case r.URL.Path == "/v1/invoices/in_x01":
				expanded(invoice("in_x01", "cus_x"))
			default:
				missing(w)
			}
		})
		b := bench(t, "stripe.yaml", s.url)
		run(t, b, s, []try{
			{alex, "subscription.list", nil, "", `"id":"sub_a02"`, ""},
			{alex, "subscription.list", nil, "", `"amount":12.5`, ""},
			{sam, "subscription.list", nil, "", `"id":"sub_s01"`, ""},
			{kim, "subscription.list", nil, "", "", ""},
			{alex, "subscription.lookup", object{"subscription_id": "sub_a01"}, "", `"renews":"2027-01-01T00:00:00Z"`, ""},
			{alex, "subscription.lookup", object{"subscription_id": "sub_s01"}, engine.CodeNotFound, "", ""},
			{alex, "subscription.lookup", object{"subscription_id": "sub_x01"}, engine.CodeNotFound, "", ""},
			{alex, "subscription.lookup", object{"subscription_id": "sub_none"}, engine.CodeNotFound, "", ""},
			{sam, "subscription.cancel", object{"subscription_id": "sub_a01"}, engine.CodeNotFound, "", ""},
			{kim, "subscription.cancel", object{"subscription_id": "sub_x01"}, engine.CodeNotFound, "", ""},
			{sam, "subscription.resume", object{"subscription_id": "sub_a01"}, engine.CodeNotFound, "", ""},
			{alex, "subscription.cancel", object{"subscription_id": "sub_a02"}, "", `"cancel_at_period_end":true`, "end sub_a02: true"},
			{alex, "subscription.resume", object{"subscription_id": "sub_a02"}, "", `"cancel_at_period_end":false`, "end sub_a02: false"},
			{alex, "invoice.list", nil, "", `"total":19.99`, ""},
			{sam, "invoice.list", nil, "", `"id":"in_s01"`, ""},
			{kim, "invoice.list", nil, "", "", ""},
			{alex, "invoice.lookup", object{"invoice_id": "in_a01"}, "", `"number":"N-in_a01"`, ""},
			{sam, "invoice.lookup", object{"invoice_id": "in_a01"}, engine.CodeNotFound, "", ""},
			{kim, "invoice.lookup", object{"invoice_id": "in_x01"}, engine.CodeNotFound, "", ""},
		})
		if res, err := b.Do(t, alex, "invoice.list", nil); err != nil || len(res.Records) != 1 {
			t.Errorf("Alex's invoices: %v, %v; want the one that is no draft", res.Records, err)
		}
	}
}

func TestShopify(t *testing.T) {
	order := func(number, email, name string) object {
		return object{"id": "gid://shopify/Order/9" + number, "name": "#" + number, "email": email, "createdAt": "2026-11-01T10:00:00Z", "cancelledAt": nil,
			"displayFinancialStatus": "PAID", "displayFulfillmentStatus": "UNFULFILLED", "totalPriceSet": object{"shopMoney": object{"amount": "19.99", "currencyCode": "GBP"}},
			"lineItems": object{"nodes": []object{{"name": "Coat of " + name, "quantity": 1}}}, "fulfillments": []object{}}
	}
	all := []object{order("1001", alex.Email, "Alex"), order("1002", sam.Email, "Sam"), order("1003", alex.Email, "Alex"), order("1004", "", "nobody"), order("1005", alex.Email, "Alex")}
	for _, sloppy := range []bool{false, true} {
		s := serve(t, sloppy, "X-Shopify-Access-Token", token, func(s *standIn, w http.ResponseWriter, r *http.Request) {
			in := bodyOf(r)
			query, _ := in["query"].(string)
			variables, _ := in["variables"].(object)
			if strings.HasPrefix(query, "mutation") {
				switch id := variables["id"]; id {
				case "gid://shopify/Order/91003":
					reply(w, object{"data": object{"orderCancel": object{"job": nil, "orderCancelUserErrors": []object{{"code": "INVALID", "message": "Cannot cancel a sent order"}}}}})
				case "gid://shopify/Order/91005":
					reply(w, object{"errors": []object{{"message": "Internal error", "extensions": object{"code": "INTERNAL_SERVER_ERROR"}}}})
				default:
					s.wrote(fmt.Sprint("cancel ", id))
					reply(w, object{"data": object{"orderCancel": object{"job": object{"id": "gid://shopify/Job/1", "done": false}, "orderCancelUserErrors": []object{}}}})
				}
				return
			}
			found := slices.DeleteFunc(slices.Clone(all), func(o object) bool {
				return !s.sloppy && variables["q"] != fmt.Sprintf("email:%q", o["email"])
			})
			i := 0
			if after, ok := variables["after"].(string); ok {
				fmt.Sscan(after, &i)
			}
			reply(w, object{"data": object{"orders": object{"nodes": found[min(i, len(found)):min(i+1, len(found))],
				"pageInfo": object{"hasNextPage": i+1 < len(found), "endCursor": fmt.Sprint(i + 1)}}}})
		})
		run(t, bench(t, "shopify.yaml", s.url), s, []try{
			{alex, "order.list", nil, "", `"order_number":"1003"`, ""},
			{sam, "order.list", nil, "", `"order_number":"1002"`, ""},
			{kim, "order.list", nil, "", "", ""},
			{alex, "order.lookup", object{"order_number": "1003"}, "", `"total":"19.99"`, ""},
			{alex, "order.lookup", object{"order_number": "1002"}, engine.CodeNotFound, "", ""},
			{alex, "order.lookup", object{"order_number": "1004"}, engine.CodeNotFound, "", ""},
			{alex, "order.lookup", object{"order_number": "9999"}, engine.CodeNotFound, "", ""},
			{sam, "order.cancel", object{"order_number": "1001"}, engine.CodeNotFound, "", ""},
			{kim, "order.cancel", object{"order_number": "1004"}, engine.CodeNotFound, "", ""},
			{alex, "order.cancel", object{"order_number": "1001"}, "", "", "cancel gid://shopify/Order/91001"},
			{alex, "order.cancel", object{"order_number": "1003"}, engine.CodeConnectorFailed, "", ""},
			{alex, "order.cancel", object{"order_number": "1005"}, engine.CodeOutcomeUnknown, "", ""},
		})
	}
}

func TestWooCommerce(t *testing.T) {
	order := func(id int, email, name, status string) object {
		return object{"id": id, "number": fmt.Sprint(id), "status": status, "date_created_gmt": "2026-11-01T10:00:00", "total": "19.99", "currency": "GBP",
			"billing": object{"email": email}, "line_items": []object{{"name": "Coat of " + name, "quantity": 1}}}
	}
	for _, sloppy := range []bool{false, true} {
		all := []object{order(1001, alex.Email, "Alex", "processing"), order(1002, sam.Email, "Sam", "processing"), order(1003, alex.Email, "Alex", "completed"), order(1004, "", "nobody", "pending")}
		s := serve(t, sloppy, "Authorization", token, func(s *standIn, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/orders" {
				found := slices.DeleteFunc(slices.Clone(all), func(o object) bool {
					return !s.sloppy && o["billing"].(object)["email"] != r.URL.Query().Get("search")
				})
				reply(w, found)
				return
			}
			i := slices.IndexFunc(all, func(o object) bool { return r.URL.Path == fmt.Sprintf("/orders/%v", o["id"]) })
			if i < 0 {
				missing(w)
				return
			}
			o := maps.Clone(all[i])
			if r.Method == http.MethodPut {
				o["status"] = bodyOf(r)["status"]
				s.wrote(fmt.Sprint("set ", o["id"], " ", o["status"]))
			}
			reply(w, o)
		})
		run(t, bench(t, "woocommerce.yaml", s.url), s, []try{
			{alex, "order.list", nil, "", `"order_id":"1003"`, ""},
			{sam, "order.list", nil, "", `"order_id":"1002"`, ""},
			{kim, "order.list", nil, "", "", ""},
			{alex, "order.lookup", object{"order_id": "1001"}, "", `"placed":"2026-11-01T10:00:00Z"`, ""},
			{alex, "order.lookup", object{"order_id": "1002"}, engine.CodeNotFound, "", ""},
			{kim, "order.lookup", object{"order_id": "1004"}, engine.CodeNotFound, "", ""},
			{alex, "order.lookup", object{"order_id": "9999"}, engine.CodeNotFound, "", ""},
			{sam, "order.cancel", object{"order_id": "1001"}, engine.CodeNotFound, "", ""},
			{sam, "order.cancel", object{"order_id": "1003"}, engine.CodeNotFound, "", ""},
			{alex, "order.cancel", object{"order_id": "1003"}, engine.CodeConnectorFailed, "", ""},
			{alex, "order.cancel", object{"order_id": "1001"}, "", `"status":"cancelled"`, "set 1001 cancelled"},
		})
	}
}

func TestCalcom(t *testing.T) {
	booking := func(uid, title string, attendees ...string) object {
		var people []object
		for _, a := range attendees {
			people = append(people, object{"email": a, "name": "x"})
		}
		return object{"uid": uid, "title": title, "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:30:00Z", "duration": 30, "status": "accepted", "attendees": people}
	}
	all := []object{booking("uid_alex_0001", "Fitting of Alex", alex.Email), booking("uid_sam_00001", "Fitting of Sam", sam.Email), booking("uid_both_0001", "Class", alex.Email, sam.Email), booking("uid_none_0001", "Class")}
	for _, sloppy := range []bool{false, true} {
		s := serve(t, sloppy, "Authorization", token, func(s *standIn, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Cal-Api-Version") != "2024-08-13" {
				missing(w)
				return
			}
			if r.Method == http.MethodGet {
				reply(w, object{"status": "success", "data": slices.DeleteFunc(slices.Clone(all), func(o object) bool {
					people, _ := o["attendees"].([]object)
					asked := r.URL.Query().Get("attendeeEmail")
					return !s.sloppy && !slices.ContainsFunc(people, func(p object) bool { return p["email"] == asked })
				})})
				return
			}
			parts := strings.Split(r.URL.Path, "/")
			i := slices.IndexFunc(all, func(o object) bool { return o["uid"] == parts[3] })
			if i < 0 {
				missing(w)
				return
			}
			o, in := maps.Clone(all[i]), bodyOf(r)
			if parts[4] == "cancel" {
				o["status"] = "cancelled"
				s.wrote("cancel " + parts[3])
			} else {
				o["uid"], o["start"] = "uid_new_00001", in["start"]
				s.wrote(fmt.Sprint("move ", parts[3], " to ", in["start"]))
			}
			reply(w, object{"status": "success", "data": o})
		})
		b := bench(t, "calcom.yaml", s.url)
		run(t, b, s, []try{
			{alex, "booking.list", nil, "", `"id":"uid_alex_0001"`, ""},
			{sam, "booking.list", nil, "", `"id":"uid_sam_00001"`, ""},
			{kim, "booking.list", nil, "", "", ""},
			{alex, "booking.cancel", object{"booking_id": "uid_sam_00001"}, engine.CodeNotFound, "", ""},
			{alex, "booking.cancel", object{"booking_id": "uid_both_0001"}, engine.CodeNotFound, "", ""},
			{alex, "booking.cancel", object{"booking_id": "uid_none_0001"}, engine.CodeNotFound, "", ""},
			{alex, "booking.reschedule", object{"booking_id": "uid_sam_00001", "start": "2026-12-02T09:00:00Z"}, engine.CodeNotFound, "", ""},
			{alex, "booking.reschedule", object{"booking_id": "uid_alex_0001", "start": "2026-12-02T09:00:00Z"}, "", `"id":"uid_new_00001"`, "move uid_alex_0001 to 2026-12-02T09:00:00Z"},
			{alex, "booking.cancel", object{"booking_id": "uid_alex_0001"}, "", `"status":"cancelled"`, "cancel uid_alex_0001"},
		})
		if res, err := b.Do(t, alex, "booking.list", nil); err != nil || len(res.Records) != 1 {
			t.Errorf("Alex's bookings: %v, %v; want one", res.Records, err)
		}
	}
}

// hubspot stands in for HubSpot, with a contact each for Alex and Sam.
func hubspot(t testing.TB, sloppy bool) *standIn {
	contacts := map[string]object{
		alex.Email: {"id": "11", "properties": object{"email": alex.Email, "firstname": "of Alex", "phone": "1"}},
		sam.Email:  {"id": "12", "properties": object{"email": sam.Email, "firstname": "of Sam", "phone": "2"}},
		// HubSpot finds a contact by any of its addresses.
		kim.Email: {"id": "12", "properties": object{"email": sam.Email, "firstname": "of Sam", "phone": "2"}},
	}
	tickets := map[string][]object{"11": {{"toObjectId": "501"}, {"toObjectId": "502"}}, "12": {{"toObjectId": "601"}}}
	ticket := func(id, name string) object {
		return object{"id": id, "properties": object{"subject": "Coat of " + name, "createdate": "2026-11-01T10:00:00Z", "closed_date": nil}}
	}
	return serve(t, sloppy, "Authorization", token, func(s *standIn, w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case r.Method == http.MethodGet && strings.HasPrefix(path, "/crm/v3/objects/contacts/"):
			c, ok := contacts[strings.TrimPrefix(path, "/crm/v3/objects/contacts/")]
			if !ok || r.URL.Query().Get("idProperty") != "email" {
				missing(w)
				return
			}
			reply(w, c)
		case r.Method == http.MethodPatch:
			in, _ := json.Marshal(bodyOf(r))
			s.wrote("contact " + path[strings.LastIndex(path, "/")+1:] + " " + string(in))
			reply(w, contacts[alex.Email])
		case strings.HasPrefix(path, "/crm/v4/objects/contacts/"):
			reply(w, object{"results": tickets[strings.Split(path, "/")[5]]})
		case path == "/crm/v3/objects/tickets/batch/read":
			var out []object
			inputs, _ := bodyOf(r)["inputs"].([]any)
			for _, in := range inputs {
				id, _ := in.(object)["id"].(string)
				out = append(out, ticket(id, map[byte]string{'5': "Alex", '6': "Sam"}[id[0]]))
			}
			if s.sloppy {
				out = append(out, ticket("501", "Alex"), ticket("601", "Sam"))
			}
			reply(w, object{"results": out})
		case path == "/crm/v3/objects/tickets":
			in := bodyOf(r)
			to, _ := json.Marshal(in["associations"])
			s.wrote(fmt.Sprint("ticket ", in["properties"].(object)["subject"], " ", string(to)))
			w.WriteHeader(http.StatusCreated)
			reply(w, object{"id": "701"})
		default:
			missing(w)
		}
	})
}

func TestHubSpot(t *testing.T) {
	for _, sloppy := range []bool{false, true} {
		s := hubspot(t, sloppy)
		of := func(id string) string {
			return `ticket Late [{"to":{"id":"` + id + `"},"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":16}]}]`
		}
		run(t, bench(t, "hubspot.yaml", s.url), s, []try{
			{alex, "contact.lookup", nil, "", `"first_name":"of Alex"`, ""},
			{kim, "contact.lookup", nil, engine.CodeNotFound, "", ""},
			{alex, "contact.update", object{"phone_number": "+44 20 7946 0000", "city": "Leeds"}, "", "", `contact 11 {"properties":{"city":"Leeds","phone":"+44 20 7946 0000"}}`},
			{kim, "contact.update", object{"phone_number": "+44 20 7946 0000"}, engine.CodeNotFound, "", ""},
			{alex, "ticket.list", nil, "", `"title":"Coat of Alex"`, ""},
			{sam, "ticket.list", nil, "", `"id":"601"`, ""},
			{kim, "ticket.list", nil, "", "", ""},
			{sam, "ticket.create", object{"topic": "Late", "message": "It is late."}, "", "", of("12")},
			{kim, "ticket.create", object{"topic": "Late", "message": "It is late."}, engine.CodeNotFound, "", ""},
		})
	}
}
