// Package strangers_test puts the manifest language to two systems that were
// made up to be awkward. Their manifests were written from the README alone.
package strangers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/connectors"
	"vouchsafe/connectors/connectortest"
	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// people is how many customers each system has.
const people = 12

type object = map[string]any

func person(i int) connectortest.Customer {
	i = (i + people) % people
	return connectortest.Customer{Email: fmt.Sprintf("p%02d@example.com", i), Name: fmt.Sprintf("Pat Lopez%02d", i), Subject: fmt.Sprintf("s-%02d", i)}
}

// far is an outside system, which writes down what it was asked and what it
// changed. It answers whoever asks.
type far struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []string
	changed []string
}

func open(t *testing.T, file, connection string, routes func(f *far, mux *http.ServeMux)) (*far, *connectortest.Bench) {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m, err := connectors.ParseManifest(file, src)
	if err != nil {
		t.Fatal(err)
	}
	f, mux := &far{}, http.NewServeMux()
	routes(f, mux)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		f.mu.Lock()
		f.asked = append(f.asked, r.Method+" "+r.URL.RequestURI()+" "+string(body))
		f.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f, connectortest.New(t, connectortest.Options{Manifests: []*connectors.Manifest{m},
		Wait:  func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		Links: []connectortest.Link{{Connection: provider.Connection{ID: connection, Type: provider.None, BaseURL: f.URL}}}})
}

// change writes a change down. The caller holds nothing.
func (f *far) change(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed = append(f.changed, fmt.Sprintf(format, args...))
}

// taken are what was asked and changed since it was last taken.
func (f *far) taken() (asked, changed []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked, changed = f.asked, f.changed
	f.asked, f.changed = nil, nil
	return asked, changed
}

func say(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func read(r *http.Request) object {
	var body object
	json.NewDecoder(r.Body).Decode(&body)
	return body
}

// values are a field of each of the records, sorted.
func values(records []gate.Record, field string) []string {
	out := []string{}
	for _, rec := range records {
		out = append(out, fmt.Sprint(rec.Fields[field]))
	}
	slices.Sort(out)
	return out
}

// try is an action on one record: whose it is, and one that does not exist.
type try struct {
	action  string
	args    func(i int) object // of customer i's record
	missing object
	change  func(i int) string      // "" for a read
	shared  func(i, other int) bool // the other's as well; nil for never
}

// alone holds that every customer has their way with their own record, and that
// everybody else hears and causes what a record does that does not exist.
func alone(t *testing.T, f *far, b *connectortest.Bench, tries []try, owners int) {
	for _, c := range tries {
		t.Run(c.action, func(t *testing.T) {
			_, err := b.Do(t, person(0), c.action, c.missing)
			if engine.CodeOf(err) != engine.CodeNotFound {
				t.Fatalf("a record that does not exist: %v", err)
			}
			want := said(err)
			forMissing := make([][]string, people)
			for other := range people {
				f.taken()
				b.Do(t, person(other), c.action, c.missing)
				forMissing[other], _ = f.taken()
			}
			for i := range owners {
				for other := range people {
					mine := other == i || c.shared != nil && c.shared(i, other)
					if mine {
						continue
					}
					res, err := b.Do(t, person(other), c.action, c.args(i))
					asked, changed := f.taken()
					if said(err) != want || len(res.Records) > 0 || len(changed) > 0 {
						t.Fatalf("customer %d asks for %v of %d: %q, %v, %d records, changed %v; want %q", other, c.args(i), i, said(err), err, len(res.Records), changed, want)
					}
					if len(asked) != len(forMissing[other]) {
						t.Fatalf("customer %d asks for %v of %d: %d calls, and %d for one that does not exist:\n%s\n%s", other, c.args(i), i, len(asked), len(forMissing[other]), strings.Join(asked, "\n"), strings.Join(forMissing[other], "\n"))
					}
				}
				f.taken()
				res, err := b.Do(t, person(i), c.action, c.args(i))
				asked, changed := f.taken()
				if err != nil {
					t.Fatalf("customer %d asks for their own %v: %v\n%s", i, c.args(i), err, strings.Join(asked, "\n"))
				}
				if c.change == nil && len(res.Records) != 1 {
					t.Fatalf("customer %d reads their own %v: %d records", i, c.args(i), len(res.Records))
				}
				if c.change != nil && !slices.Equal(changed, []string{c.change(i)}) {
					t.Fatalf("customer %d changes their own %v: %v, want %s", i, c.args(i), changed, c.change(i))
				}
			}
		})
	}
}

// said is what whoever asked hears.
func said(err error) string {
	if err == nil {
		return "done"
	}
	return err.Error()
}

// with is args with some of them replaced.
func with(args object, more object) object {
	out := maps.Clone(args)
	maps.Copy(out, more)
	return out
}
