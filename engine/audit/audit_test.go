package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/store"
)

// question is a policy input already encoded.
type question string

func (q question) AppendJSON(b []byte) []byte { return append(b, q...) }

// About reads the question back, which a real one has no need to.
func (q question) About() engine.About {
	var s Subject
	if err := json.Unmarshal([]byte(q), &s); err != nil {
		panic(err)
	}
	return engine.About{Subject: s.Identity.Subject, Email: s.Identity.Email, TokenID: s.Identity.TokenID, Action: s.Action.Name,
		Conversation: s.Conversation.ID, Channel: engine.Channel(s.Channel), Asserted: engine.Asserted{Emails: s.Asserted.Emails, Names: s.Asserted.Names}}
}

// master is the tests' master key.
var master = bytes.Repeat([]byte{7}, 32)

var began = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func openLog(t *testing.T) (*Log, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit")
	l, err := Open(path, Options{Master: master})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, path
}

func record(t *testing.T, l *Log, site, action, subject string, at time.Time, reasons ...engine.Reason) string {
	t.Helper()
	d := &Decision{
		Decision: engine.Decision{ID: engine.NewID("d", at), Time: at, Allow: len(reasons) == 0, Reasons: reasons, Policy: "rev"},
		Site:     site,
		Cause:    "token \"quoted\" \x01 ünïcode",
		Input: question(fmt.Sprintf(`{"site":{"id":%q},"identity":{"state":"verified","subject":%q,"email":"a@example.com"},"action":{"name":%q},"conversation":{"id":"cv_1"}}`,
			site, subject, action)),
	}
	if err := l.Decision(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	return d.ID
}

func TestWhatIsRecordedIsReadBack(t *testing.T) {
	l, path := openLog(t)
	id := record(t, l, "shop", "order.list", "u1", began)
	want := Outcome{Decision: id, Time: began.Add(time.Second), Connector: "rest", Status: 200, Returned: 2, Released: 1,
		Withheld: []string{engine.CodeNotOwner}, Milliseconds: 12}
	if err := l.Outcome(context.Background(), "shop", want); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path, Options{Master: master, Store: store.Options{ReadOnly: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e, err := l.Show(id)
	if err != nil {
		t.Fatal(err)
	}
	if e.Site != "shop" || !e.Decision.Allow || !e.Decision.Time.Equal(began) || e.Decision.Policy != "rev" ||
		e.Decision.Cause != "token \"quoted\" \x01 ünïcode" || e.About.Identity.Subject != "u1" || e.About.Action.Name != "order.list" {
		t.Errorf("Show: %+v", e)
	}
	if e.Outcome == nil || e.Outcome.Withheld[0] != engine.CodeNotOwner || e.Outcome.Released != 1 || e.Outcome.Version != formVersion {
		t.Errorf("outcome: %+v", e.Outcome)
	}
	if _, err := l.Show("d_none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Show of a missing decision: %v", err)
	}
}

func TestListFiltersNewestFirst(t *testing.T) {
	l, _ := openLog(t)
	denied := engine.Reason{Code: "identity_absent"}
	var ids []string
	for i := range 10 {
		site, action, subject := "shop", "order.list", "u1"
		if i%2 == 1 {
			site = "other"
		}
		if i >= 8 {
			action, subject = "order.cancel", "u2"
		}
		at := began.Add(time.Duration(i) * time.Minute)
		if i%5 == 0 {
			ids = append(ids, record(t, l, site, action, subject, at, denied))
		} else {
			ids = append(ids, record(t, l, site, action, subject, at))
		}
	}
	at := map[string]Position{}
	es, err := l.List(Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		at[e.Decision.ID] = e.Position()
	}
	yes := true
	for _, c := range []struct {
		name string
		q    Query
		want []int
	}{
		{"all", Query{}, []int{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}},
		{"limit", Query{Limit: 3}, []int{9, 8, 7}},
		{"page", Query{Limit: 3, Before: at[ids[7]]}, []int{6, 5, 4}},
		{"page past the end", Query{Before: at[ids[0]]}, nil},
		{"page from a place after all", Query{Limit: 1, Before: Position{Written: math.MaxInt64}}, []int{9}},
		{"page from where one site's log has no end yet", Query{Site: "shop", Limit: 1, Before: Position{Written: 1, Site: "shop", Seq: 1 << 40}}, []int{8}},
		{"site", Query{Site: "other"}, []int{9, 7, 5, 3, 1}},
		{"missing site", Query{Site: "none"}, nil},
		{"subject", Query{Subject: "u2"}, []int{9, 8}},
		{"action", Query{Action: "order.cancel", Site: "shop"}, []int{8}},
		{"code", Query{Code: "identity_absent"}, []int{5, 0}},
		{"allowed", Query{Allow: &yes, Limit: 2}, []int{9, 8}},
		{"since", Query{Since: began.Add(7 * time.Minute)}, []int{9, 8, 7}},
		{"until", Query{Until: began.Add(2 * time.Minute)}, []int{1, 0}},
		{"conversation", Query{Conversation: "cv_2"}, nil},
	} {
		got, err := l.List(c.q)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var have []string
		for _, e := range got {
			have = append(have, e.Decision.ID)
		}
		var want []string
		for _, i := range c.want {
			want = append(want, ids[i])
		}
		if strings.Join(have, " ") != strings.Join(want, " ") {
			t.Errorf("%s: List(%+v) = %v, want %v", c.name, c.q, have, want)
		}
	}
}

// A log that cannot be written says so with the code that refuses the action.
func TestUnwritableLogRefuses(t *testing.T) {
	var file *os.File
	l, err := Open(filepath.Join(t.TempDir(), "audit"), Options{Master: master, Store: store.Options{Retry: time.Hour,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			file = f
			return f, err
		}}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file.Close()
	d := &Decision{Decision: engine.Decision{ID: "d_1", Time: began}, Site: "shop", Input: question("{}")}
	if err := l.Decision(context.Background(), d); engine.CodeOf(err) != engine.CodeAuditUnavailable {
		t.Errorf("Decision on a broken file: %v, want audit_unavailable", err)
	}
	if l.Health() == nil {
		t.Error("Health of a broken log is nil")
	}
}

// The client may be gone; its decision is recorded all the same.
func TestACancelledRequestIsStillRecorded(t *testing.T) {
	l, _ := openLog(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d := &Decision{Decision: engine.Decision{ID: "d_1", Time: began}, Site: "shop", Input: question("{}")}
	if err := l.Decision(ctx, d); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Show("d_1"); err != nil {
		t.Error(err)
	}
}
