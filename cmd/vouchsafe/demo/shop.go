package demo

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Customer is somebody with an account.
type Customer struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Name  string `json:"name"`
}

type profile struct {
	Customer Customer `json:"customer"`
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Email    string   `json:"email"`
	Address  string   `json:"address"`
	Phone    string   `json:"phone"`
	Since    string   `json:"member_since"`
}

type order struct {
	ID       string    `json:"id"`
	Customer Customer  `json:"customer"`
	Status   string    `json:"status"` // processing, shipped, delivered, cancelled
	Placed   time.Time `json:"placed"`
	Items    []string  `json:"items"`
	Total    string    `json:"total"` // pounds and pence
	Currency string    `json:"currency"`
	Tracking string    `json:"tracking,omitempty"`
	Expected string    `json:"expected,omitempty"` // a date
	Notes    string    `json:"staff_notes"`        // not for customers: no manifest lists it
}

type booking struct {
	ID       string    `json:"id"`
	Customer Customer  `json:"customer"`
	Service  string    `json:"service"`
	Start    time.Time `json:"start"`
	Minutes  int       `json:"minutes"`
	Status   string    `json:"status"`
}

type subscription struct {
	ID       string   `json:"id"`
	Customer Customer `json:"customer"`
	Plan     string   `json:"plan"`
	Status   string   `json:"status"` // active, paused, cancelled
	Price    string   `json:"price"`
	Currency string   `json:"currency"`
	NextBox  string   `json:"next_box,omitempty"`     // a date
	Paused   string   `json:"paused_until,omitempty"` // a date
}

// state is the file, version 1.
type state struct {
	Version       int                 `json:"version"`
	Profiles      []*profile          `json:"profiles"`
	Orders        []*order            `json:"orders"`
	Bookings      []*booking          `json:"bookings"`
	Subscriptions []*subscription     `json:"subscriptions"`
	Sessions      map[string]session  `json:"sessions"`
	Answered      map[string]answered `json:"answered"` // by idempotency key
}

// shop is the running demo.
type shop struct {
	addr, localhost string // the two names it answers to
	url             string // its own origin, and the issuer of its tokens
	gate            string // the gate's origin
	zone            *time.Location
	now             func() time.Time
	path            string
	adminKey        []byte
	signing         *ecdsa.PrivateKey
	calls           *callLog

	mu    sync.Mutex
	state *state
}

func open(f Files, addr, gate string, now func() time.Time) (*shop, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	s := &shop{addr: addr, localhost: "localhost:" + port, url: "http://" + addr, gate: gate, now: now, path: f.state}
	if s.zone, err = time.LoadLocation(TimeZone); err != nil {
		return nil, err
	}
	if s.adminKey, err = f.adminKey(); err != nil {
		return nil, fmt.Errorf("the demo shop's admin key: %w", err)
	}
	if s.signing, err = f.signing(); err != nil {
		return nil, fmt.Errorf("the demo shop's signing key: %w", err)
	}
	if s.state, err = load(f.state); errors.Is(err, fs.ErrNotExist) {
		s.state = seed(now(), s.zone)
		err = s.saveLocked()
	} else if err == nil && s.state.renew(now(), s.zone) {
		err = s.saveLocked()
	}
	if err != nil {
		return nil, fmt.Errorf("the demo shop's data: %w", err)
	}
	s.calls, err = openCalls(f.calls)
	return s, err
}

func load(path string) (*state, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var st state
	if err := dec.Decode(&st); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if st.Version != 1 {
		return nil, fmt.Errorf("%s has version %d; this program knows version 1", path, st.Version)
	}
	if st.Sessions == nil {
		st.Sessions = map[string]session{}
	}
	if st.Answered == nil {
		st.Answered = map[string]answered{}
	}
	return &st, nil
}

func (s *shop) saveLocked() error {
	data, err := json.MarshalIndent(s.state, "", " ")
	if err != nil {
		return err
	}
	return writeFile(s.path, data, 0o600)
}

// customerLocked finds a customer by the name before the @, which is what the
// demo's customer picker sends.
func (s *shop) customerLocked(name string) (Customer, bool) {
	for _, p := range s.state.Profiles {
		if login(p.Customer) == name {
			return p.Customer, true
		}
	}
	return Customer{}, false
}

func login(c Customer) string {
	name, _, _ := strings.Cut(c.Email, "@")
	return name
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encoding the answer failed", http.StatusInternalServerError)
		return
	}
	writeBytes(w, status, data)
}

func writeBytes(w http.ResponseWriter, status int, data []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(data)
}

// fault is the shop's own error, as its API shows it.
type fault struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (f *fault) Error() string { return f.Code + ": " + f.Message }

func (f *fault) write(w http.ResponseWriter) {
	writeJSON(w, f.Status, map[string]any{"error": f})
}

var (
	errUnauthorized = &fault{http.StatusUnauthorized, "unauthorized", "the API key is missing or wrong"}
	errMissing      = &fault{http.StatusNotFound, "not_found", "there is no such record"}
)
