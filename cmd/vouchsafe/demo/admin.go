package demo

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// routeAdmin serves the admin API. It checks the key and nothing else: who may
// see which record is not its business, which is why it needs a gate.
func (s *shop) routeAdmin(mux *http.ServeMux) {
	get := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc("GET /admin"+pattern, func(w http.ResponseWriter, r *http.Request) {
			if !s.admit(w, r) {
				return
			}
			s.mu.Lock()
			body, err := f(r)
			var data []byte
			if err == nil {
				data, err = json.Marshal(body)
			}
			s.mu.Unlock()
			if err != nil {
				toFault(err).write(w)
				return
			}
			writeBytes(w, http.StatusOK, data)
		})
	}
	get("/orders", func(r *http.Request) (any, error) {
		list, err := ofEmail(r, s.state.Orders, func(o *order) Customer { return o.Customer })
		return map[string]any{"orders": list}, err
	})
	get("/orders/{id}", func(r *http.Request) (any, error) {
		o, err := byID(r, s.state.Orders, func(o *order) string { return o.ID })
		return map[string]any{"order": o}, err
	})
	get("/bookings", func(r *http.Request) (any, error) {
		list, err := ofEmail(r, s.state.Bookings, func(b *booking) Customer { return b.Customer })
		return map[string]any{"bookings": list}, err
	})
	get("/bookings/{id}", func(r *http.Request) (any, error) {
		b, err := byID(r, s.state.Bookings, func(b *booking) string { return b.ID })
		return map[string]any{"booking": b}, err
	})
	get("/subscriptions", func(r *http.Request) (any, error) {
		list, err := ofEmail(r, s.state.Subscriptions, func(b *subscription) Customer { return b.Customer })
		return map[string]any{"subscriptions": list}, err
	})
	get("/customers", func(r *http.Request) (any, error) {
		list, err := ofEmail(r, s.state.Profiles, func(p *profile) Customer { return p.Customer })
		return map[string]any{"customers": list}, err
	})
	get("/hours", func(*http.Request) (any, error) { return openingHours, nil })
	mux.HandleFunc("GET /admin/calls", func(w http.ResponseWriter, r *http.Request) {
		if !s.hasKey(r) {
			errUnauthorized.write(w)
			return
		}
		calls, err := s.calls.all()
		if err != nil {
			toFault(err).write(w)
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"calls": calls})
	})

	mux.HandleFunc("POST /admin/orders/{id}/cancel", s.change(s.cancelOrder))
	mux.HandleFunc("POST /admin/bookings/{id}/reschedule", s.change(s.reschedule))
	mux.HandleFunc("POST /admin/subscriptions/{id}/pause", s.change(s.pause))
	mux.HandleFunc("POST /admin/subscriptions/{id}/cancel", s.change(s.cancelSubscription))
	mux.HandleFunc("PUT /admin/customers/{id}/address", s.change(s.moveHouse))
}

func (s *shop) hasKey(r *http.Request) bool {
	sent := sha256.Sum256([]byte(r.Header.Get(APIKeyHeader)))
	want := sha256.Sum256(s.adminKey)
	return subtle.ConstantTimeCompare(sent[:], want[:]) == 1
}

// admit checks the key and records the call. What cannot be recorded is not
// answered.
func (s *shop) admit(w http.ResponseWriter, r *http.Request) bool {
	if !s.hasKey(r) {
		errUnauthorized.write(w)
		return false
	}
	c := call{Time: s.now().UTC(), Method: r.Method, Path: r.URL.EscapedPath(), Key: r.Header.Get("Idempotency-Key")}
	if err := s.calls.add(c); err != nil {
		toFault(err).write(w)
		return false
	}
	return true
}

// answered is what a changing call was told, kept for its idempotency key.
type answered struct {
	Request string          `json:"request"` // hash of method, path and body
	Status  int             `json:"status"`
	Body    json.RawMessage `json:"body"`
	At      time.Time       `json:"at"`
}

const answersKept = 24 * time.Hour

// change wraps a call that writes: an Idempotency-Key seen before repeats its
// answer, anything else runs once and is saved before it is answered.
func (s *shop) change(f func(r *http.Request, body []byte) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.admit(w, r) {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			(&fault{http.StatusRequestEntityTooLarge, "too_large", "the request is too large"}).write(w)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		sum := sha256.Sum256(append([]byte(r.Method+" "+r.URL.RequestURI()+"\n"), body...))
		request := hex.EncodeToString(sum[:])
		key := r.Header.Get("Idempotency-Key")
		if old, ok := s.state.Answered[key]; ok && key != "" {
			if old.Request != request {
				(&fault{http.StatusUnprocessableEntity, "idempotency_key_reused", "this key was used for another request"}).write(w)
				return
			}
			w.Header().Set("Idempotent-Replayed", "true")
			writeBytes(w, old.Status, old.Body)
			return
		}
		before, err := json.Marshal(s.state)
		if err != nil {
			toFault(err).write(w)
			return
		}
		status := http.StatusOK
		answer, err := f(r, body)
		if err != nil {
			refusal := toFault(err)
			status, answer = refusal.Status, map[string]any{"error": refusal}
		}
		data, err := json.Marshal(answer)
		if err == nil {
			s.rememberLocked(key, answered{Request: request, Status: status, Body: data, At: s.now()})
			err = s.saveLocked()
		}
		if err != nil {
			// What is not on disk did not happen.
			var undone state
			if json.Unmarshal(before, &undone) == nil {
				s.state = &undone
			}
			toFault(err).write(w)
			return
		}
		writeBytes(w, status, data)
	}
}

func (s *shop) rememberLocked(key string, a answered) {
	for k, old := range s.state.Answered {
		if a.At.Sub(old.At) > answersKept {
			delete(s.state.Answered, k)
		}
	}
	if key != "" {
		s.state.Answered[key] = a
	}
}

func toFault(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	return &fault{http.StatusInternalServerError, "internal", "the shop could not do that"}
}

func ofEmail[T any](r *http.Request, all []T, owner func(T) Customer) ([]T, error) {
	email := r.URL.Query().Get("email")
	list := []T{}
	for _, one := range all {
		// Without an e-mail the whole shop is listed, as such APIs do.
		if email == "" || strings.EqualFold(owner(one).Email, email) {
			list = append(list, one)
		}
	}
	return list, nil
}

func byID[T any](r *http.Request, all []*T, id func(*T) string) (*T, error) {
	for _, one := range all {
		if id(one) == r.PathValue("id") {
			return one, nil
		}
	}
	return nil, errMissing
}

// decode reads a strict JSON object.
func decode(body []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil || dec.More() {
		return &fault{http.StatusUnprocessableEntity, "invalid_body", "the body is not what this call takes"}
	}
	return nil
}
