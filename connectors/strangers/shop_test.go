package strangers_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"vouchsafe/connectors/connectortest"
	"vouchsafe/engine"
)

// Everybody has seven orders but the first, who has twenty.
const many = 20

func purchases(i int) int {
	if i == 0 {
		return many
	}
	return 7
}

func customer(i int) int     { return 4711 + i }
func orderNo(i, k int) int   { return 100000 + i*100 + k }
func addressID(i int) string { return fmt.Sprint(900 + i) }
func cardToken(i int) string { return fmt.Sprintf("tok_%02d", i) }

// oakwood is the shop.
type oakwood struct {
	mu    sync.Mutex
	polls map[string]int
}

// whose are the customers that a search brings back: whoever has a word of it
// in one of their addresses, so that two bear what one of them asks for.
func customerFound(search string) []object {
	local, _, _ := strings.Cut(search, "@")
	local, _, _ = strings.Cut(local, ".")
	out := []object{}
	for i := range people {
		mail := person(i).Email
		name, _, _ := strings.Cut(mail, "@")
		if strings.EqualFold(local, name) {
			out = append(out,
				object{"customer_id": customer(i), "emails": []object{{"address": strings.Replace(mail, "example.com", "EXAMPLE.com", 1)}, {"address": name + ".work@example.com"}}},
				// Another customer, whose mail goes to the same box at some providers.
				object{"customer_id": customer((i + 1) % people), "emails": []object{{"address": name + "+promo@example.com"}, {"address": nil}, {}}})
		}
	}
	return out
}

func purchase(i, k int) object {
	return object{"orderNo": orderNo(i, k), "customerId": fmt.Sprint(customer(i)), "status": "open", "totalCents": 1999, "contact_email": person(i).Email, "margin": 4}
}

func ordered(no string) (i, k int, there bool) {
	n, err := strconv.Atoi(no)
	i, k = (n-100000)/100, (n-100000)%100
	return i, k, err == nil && n >= 100000 && i < people && k < purchases(i)
}

func (s *oakwood) routes(f *far, mux *http.ServeMux) {
	mux.HandleFunc("GET /customers", func(w http.ResponseWriter, r *http.Request) {
		say(w, 200, object{"customers": customerFound(r.URL.Query().Get("search"))})
	})
	mux.HandleFunc("GET /customers/{id}/orders", func(w http.ResponseWriter, r *http.Request) {
		id, _ := strconv.Atoi(r.PathValue("id"))
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		i, list := id-customer(0), []object{purchase((id+3)%people, 0)} // somebody else's on each page
		for k := (page - 1) * 3; k < min(page*3, purchases(i)); k++ {
			list = append(list, purchase(i, k))
		}
		say(w, 200, object{"orders": list, "has_more": page*3 < purchases(i)})
	})
	mux.HandleFunc("GET /orders/{no}", func(w http.ResponseWriter, r *http.Request) {
		i, k, there := ordered(r.PathValue("no"))
		if !there {
			say(w, 404, object{"error": "no such order"})
			return
		}
		say(w, 200, object{"order": purchase(i, k)})
	})
	mux.HandleFunc("GET /customers/{id}/addresses", func(w http.ResponseWriter, r *http.Request) {
		id, _ := strconv.Atoi(r.PathValue("id"))
		n, _ := strconv.Atoi(addressID(id - customer(0)))
		say(w, 200, object{"addresses": []object{{"id": n, "line1": "1 Quay", "city": "Bristol"}}})
	})
	mux.HandleFunc("GET /payment_methods", func(w http.ResponseWriter, r *http.Request) {
		list := []object{} // it takes no notice of whose are asked for
		for i := range people {
			list = append(list, object{"token": cardToken(i), "last4": "4242", "customer": customer(i)})
		}
		say(w, 200, object{"data": list})
	})
	mux.HandleFunc("PATCH /orders/{no}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.change("%s of %s: %s", r.Header.Get("Content-Type"), r.PathValue("no"), body)
		i, k, _ := ordered(r.PathValue("no"))
		say(w, 200, object{"order": purchase(i, k)})
	})
	mux.HandleFunc("POST /orders/{no}/payment", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.change("%s of %s: %s", r.Header.Get("Content-Type"), r.PathValue("no"), body)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PATCH /customers/{id}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.change("%s as %s: %s", r.PathValue("id"), r.Header.Get("X-Acting-For"), body)
		say(w, 200, object{})
	})
	mux.HandleFunc("POST /orders/{no}/cancellation", func(w http.ResponseWriter, r *http.Request) {
		f.change("cancel %s", r.PathValue("no"))
		say(w, http.StatusAccepted, object{"job": object{"id": "j-" + r.PathValue("no"), "state": "queued"}})
	})
	mux.HandleFunc("GET /jobs/{job}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.polls[r.PathValue("job")]++
		n := s.polls[r.PathValue("job")]
		s.mu.Unlock()
		state := "running"
		switch _, k, _ := ordered(strings.TrimPrefix(r.PathValue("job"), "j-")); {
		case n == 1:
			w.WriteHeader(http.StatusBadGateway) // not ready to be asked yet
			return
		case k == 1:
			state = "rejected"
		case k != 2:
			state = "done"
		}
		say(w, 200, object{"job": object{"state": state}})
	})
}

func trade(t *testing.T) (*oakwood, *far, *connectortest.Bench) {
	s := &oakwood{polls: map[string]int{}}
	f, b := open(t, "shop.yaml", "oakwood", s.routes)
	return s, f, b
}

func TestShopRecordsAreOnesOwn(t *testing.T) {
	_, f, b := trade(t)
	number := func(i, k int) json.Number { return json.Number(fmt.Sprint(orderNo(i, k))) }
	alone(t, f, b, []try{
		{"order.lookup", func(i int) object { return object{"order_number": number(i, 0)} }, object{"order_number": json.Number("5")}, nil, nil},
		{"order.readdress", func(i int) object {
			return object{"order_number": number(i, 0), "address_id": addressID(i), "gift_note": nil}
		},
			object{"order_number": json.Number("5"), "address_id": "5"},
			func(i int) string {
				return fmt.Sprintf(`application/merge-patch+json of %d: {"gift_note":null,"shipping":{"address_id":"%s"}}`, orderNo(i, 0), addressID(i))
			}, nil},
		{"order.pay", func(i int) object { return object{"order_number": number(i, 3), "card_token": cardToken(i)} },
			object{"order_number": json.Number("5"), "card_token": "tok_none"},
			func(i int) string {
				return fmt.Sprintf("application/x-www-form-urlencoded of %d: method%%5Btoken%%5D=%s", orderNo(i, 3), cardToken(i))
			}, nil},
		{"order.cancel", func(i int) object { return object{"order_number": number(i, 4)} }, object{"order_number": json.Number("5")},
			func(i int) string { return fmt.Sprintf("cancel %d", orderNo(i, 4)) }, nil},
	}, people)
	// One's own order does not help with somebody else's address or card, nor the
	// other way round.
	for action, args := range map[string][]object{
		"order.readdress": {{"order_number": number(1, 0), "address_id": addressID(2)}, {"order_number": number(2, 0), "address_id": addressID(1)}},
		"order.pay":       {{"order_number": number(1, 0), "card_token": cardToken(2)}, {"order_number": number(2, 0), "card_token": cardToken(1)}},
	} {
		for _, a := range args {
			_, err := b.Do(t, person(1), action, a)
			if _, changed := f.taken(); engine.CodeOf(err) != engine.CodeNotFound || len(changed) > 0 {
				t.Errorf("%s %v: %v, changed %v", action, a, err, changed)
			}
		}
	}
}

// A customer has all of their orders under each of their addresses; a list that
// goes on says so, to the visitor and in the record.
func TestShopLists(t *testing.T) {
	_, f, b := trade(t)
	for i := range people {
		var want []string
		for k := range min(purchases(i), 15) {
			want = append(want, fmt.Sprint(orderNo(i, k)))
		}
		local, _, _ := strings.Cut(person(i).Email, "@")
		for _, mail := range []string{person(i).Email, local + ".work@example.com"} {
			who := person(i)
			who.Email = mail
			res, err := b.Do(t, who, "order.list", nil)
			if got := values(res.Records, "id"); err != nil || !slices.Equal(got, want) {
				t.Errorf("orders of %s: %v, %v; want %v", mail, got, err, want)
			}
			partial := purchases(i) > 15
			if res.Partial != partial || b.Last().Partial != partial || (res.Data()["partial"] == true) != partial {
				t.Errorf("orders of %s: partial %t, in the record %t, in the data %v; want %t", mail, res.Partial, b.Last().Partial, res.Data()["partial"], partial)
			}
		}
		f.taken()
		_, err := b.Do(t, person(i), "profile.name", object{"first_name": "Pat", "last_name": "Lo"})
		if _, changed := f.taken(); err != nil || !slices.Equal(changed, []string{fmt.Sprintf(`%d as %s: {"first_name":"Pat","last_name":"Lo"}`, customer(i), person(i).Email)}) {
			t.Errorf("name of %d: %v, %v", i, changed, err)
		}
	}
	// Whose address only looks like one of a customer's is nobody.
	stranger := connectortest.Customer{Email: "p01.home@example.com", Subject: "s-99"}
	if res, err := b.Do(t, stranger, "order.list", nil); err != nil || len(res.Records) > 0 {
		t.Errorf("a stranger's orders: %v, %v", res.Records, err)
	}
}

// What is taken on is asked after, a few times, and only a plain answer is one.
func TestShopFollowsWhatIsTakenOn(t *testing.T) {
	s, f, b := trade(t)
	for k, want := range []struct {
		code, said string
		polls      int
	}{{"", "", 2}, {engine.CodeConnectorFailed, "nothing was changed", 2}, {engine.CodeOutcomeUnknown, "taken on", 6}} {
		_, err := b.Do(t, person(3), "order.cancel", object{"order_number": json.Number(fmt.Sprint(orderNo(3, k)))})
		_, changed := f.taken()
		if polls := s.polls[fmt.Sprint("j-", orderNo(3, k))]; engine.CodeOf(err) != want.code || err != nil && !strings.Contains(err.Error(), want.said) || polls < 2 || polls > want.polls {
			t.Errorf("order %d: %v, after %d questions; want %q, %q", k, err, polls, want.code, want.said)
		}
		if len(changed) != 1 {
			t.Errorf("order %d: changed %v, want one", k, changed)
		}
	}
}
