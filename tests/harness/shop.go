package harness

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Header and values of the shop's two credentials. Whatever else leaks, these
// strings must be found nowhere outside the connection provider.
const (
	keyHeader = "X-Api-Key"
	ShopKey   = "hk_live_7Qm2vT9xR4pL8sWd"
	SalonKey  = "sk_diary_3Zc6nB1yK5gJ0fHu"
)

// Call is one request that reached the shop.
type Call struct {
	Method, Path, Query string
	IdempotencyKey      string
	Body                string
}

// Shop is the outside system: an HTTP server with orders (which show any order
// to whoever has the key) and a diary of appointments.
type Shop struct {
	URL string

	mu     sync.Mutex
	orders map[string]*Order
	ids    []string // of the orders, as they are listed
	diary  []Appointment
	calls  []Call
	wrong  int
	before func(Call)
}

// Order is an order of the shop.
type Order struct {
	ID, Status, Total string
	Owner             Person
}

// Appointment is an entry of the diary.
type Appointment struct {
	Reference, Treatment string
	Begins               time.Time
	Owner                Person
}

// What Jordan has. None of it may ever be part of a reply to anybody else. The
// numbers are long so that no random id holds them by chance.
const (
	JordanOrder       = "77012001"
	JordanStatus      = "held-at-the-harbour-office"
	JordanTotal       = "1234567.89"
	JordanAppointment = "JJ-88120077"
	JordanTreatment   = "Sole replacement for Mr Lee"
)

// NewShop starts a shop. It ends with the test.
func NewShop(t testing.TB) *Shop {
	day := time.Now().UTC().Truncate(24 * time.Hour)
	s := &Shop{
		orders: map[string]*Order{},
		diary: []Appointment{
			{"AX-10", "Boot fitting", day.AddDate(0, 0, 3).Add(10 * time.Hour), Alex},
			{JordanAppointment, JordanTreatment, day.AddDate(0, 0, 4).Add(15 * time.Hour), Jordan},
		},
	}
	for _, o := range []Order{
		{"1001", "shipped", "59.00", Alex}, {"1002", "processing", "12.50", Alex}, {"1003", "processing", "80.00", Alex},
		{JordanOrder, JordanStatus, JordanTotal, Jordan},
	} {
		s.AddOrder(o)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders", s.listOrders)
	mux.HandleFunc("GET /orders/{id}", s.showOrder)
	mux.HandleFunc("POST /orders/{id}/cancel", s.cancelOrder)
	mux.HandleFunc("GET /v2/clients/{client}/appointments", s.listDiary)
	mux.HandleFunc("PATCH /v2/appointments/{reference}", s.moveAppointment)
	mux.HandleFunc("GET /v2/hours", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"data": map[string]any{"opens": "09:00", "closes": "17:30"}})
	})
	srv := httptest.NewServer(s.door(mux))
	t.Cleanup(srv.Close)
	s.URL = srv.URL
	return s
}

// door checks the key and remembers the call.
func (s *Shop) door(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		c := Call{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
			IdempotencyKey: r.Header.Get("Idempotency-Key"), Body: string(body)}
		want := ShopKey
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			want = SalonKey
		}
		s.mu.Lock()
		allowed := r.Header.Get(keyHeader) == want
		if allowed {
			s.calls = append(s.calls, c)
		} else {
			s.wrong++
		}
		before := s.before
		s.mu.Unlock()
		if !allowed {
			http.Error(w, `{"error":"bad key"}`, http.StatusUnauthorized)
			return
		}
		if before != nil {
			before(c)
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		next.ServeHTTP(w, r)
	})
}

// Calls returns the calls with the right key, oldest first.
func (s *Shop) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Count is how many calls there were so far.
func (s *Shop) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// Writes returns the calls that were to change something.
func (s *Shop) Writes() []Call {
	return slices.DeleteFunc(s.Calls(), func(c Call) bool { return c.Method == http.MethodGet })
}

// WrongKeys is how many calls came without the key.
func (s *Shop) WrongKeys() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrong
}

// Before sets what happens to each call before it is answered; nil for nothing.
func (s *Shop) Before(f func(Call)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// AddOrder adds an order.
func (s *Shop) AddOrder(o Order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orders[o.ID] = &o
	s.ids = append(s.ids, o.ID)
}

// AddAppointment adds an appointment.
func (s *Shop) AddAppointment(a Appointment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.diary = append(s.diary, a)
}

// Order returns an order as it is now, the zero Order when there is none.
func (s *Shop) Order(id string) Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.orders[id]; o != nil {
		return *o
	}
	return Order{}
}

// Appointment returns an appointment as it is now.
func (s *Shop) Appointment(reference string) Appointment {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.diary {
		if a.Reference == reference {
			return a
		}
	}
	return Appointment{}
}

func (s *Shop) listOrders(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{}
	for _, id := range s.ids { // as some shops do, it takes the filter for a hint
		list = append(list, s.orders[id].json())
	}
	reply(w, map[string]any{"orders": list})
}

func (s *Shop) showOrder(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.orders[r.PathValue("id")]; o != nil {
		reply(w, map[string]any{"order": o.json()})
		return
	}
	http.Error(w, `{"error":"no such order"}`, http.StatusNotFound)
}

func (s *Shop) cancelOrder(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.orders[r.PathValue("id")]
	if o == nil {
		http.Error(w, `{"error":"no such order"}`, http.StatusNotFound)
		return
	}
	o.Status = "cancelled"
	reply(w, map[string]any{"order": o.json()})
}

func (s *Shop) listDiary(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{}
	for _, a := range s.diary {
		if a.Owner.Subject == r.PathValue("client") {
			list = append(list, a.json())
		}
	}
	reply(w, map[string]any{"data": map[string]any{"appointments": list}})
}

func (s *Shop) moveAppointment(w http.ResponseWriter, r *http.Request) {
	var in struct{ Slot struct{ From time.Time } }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Slot.From.IsZero() {
		http.Error(w, `{"error":"no time"}`, http.StatusUnprocessableEntity)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.diary {
		if s.diary[i].Reference == r.PathValue("reference") {
			s.diary[i].Begins = in.Slot.From
			reply(w, map[string]any{"data": map[string]any{"appointment": s.diary[i].json()}})
			return
		}
	}
	http.Error(w, `{"error":"no such appointment"}`, http.StatusNotFound)
}

func (o Order) json() map[string]any {
	return map[string]any{"id": o.ID, "status": o.Status, "total": o.Total, "internal_note": "margin 41%",
		"customer": map[string]any{"email": o.Owner.Email, "name": o.Owner.Name}}
}

func (a Appointment) json() map[string]any {
	return map[string]any{"reference": a.Reference, "service": map[string]any{"label": a.Treatment},
		"slot": map[string]any{"from": a.Begins.Format(time.RFC3339)}, "client": map[string]any{"id": a.Owner.Subject, "name": a.Owner.Name}}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
