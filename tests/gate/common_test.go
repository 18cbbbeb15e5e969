package gate_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"vouchsafe/tests/harness"
)

// Short names for what nearly every test says.
const (
	shop   = harness.Site
	corner = harness.FreeSite
)

type (
	turn = harness.Turn
	args = map[string]any
)

// world is a plain server with a token of Alex's and one of Jordan's.
type world struct {
	*harness.Server
	alex, jordan string
}

func start(t *testing.T) *world { return startWith(t, harness.Config{}) }

func startWith(t *testing.T, c harness.Config) *world {
	t.Helper()
	s := harness.Start(t, c)
	return &world{s, s.Token(t, shop, harness.Alex), s.Token(t, shop, harness.Jordan)}
}

// ofJordan are Jordan's data, in the letter case they would be shown in.
var ofJordan = []string{
	harness.Jordan.Email, harness.Jordan.Name, harness.Jordan.Subject,
	harness.JordanOrder, harness.JordanStatus, harness.JordanTotal, "1,234,567.89",
	harness.JordanAppointment, harness.JordanTreatment,
}

// nothingOfJordan fails for a reply that holds anything of Jordan's.
func nothingOfJordan(t *testing.T, what string, r harness.Response) {
	t.Helper()
	var all bytes.Buffer
	all.Write(r.Raw)
	r.Header.Write(&all)
	lower := strings.ToLower(all.String())
	for _, s := range ofJordan {
		if strings.Contains(lower, strings.ToLower(s)) {
			t.Errorf("%s: the reply holds %q of Jordan's:\n%s", what, s, r.Raw)
		}
	}
}

// shopSawNothing fails when f makes any call reach the shop.
func (w *world) shopSawNothing(t *testing.T, f func()) {
	t.Helper()
	before := w.Shop.Count()
	f()
	if calls := w.Shop.Calls()[before:]; len(calls) > 0 {
		t.Errorf("the shop saw %v, want no call", calls)
	}
}

// wantProblem checks a refusal of the actions API.
func wantProblem(t *testing.T, what string, a harness.Acted, status int, code string) {
	t.Helper()
	if a.Status != status || a.Code != code {
		t.Errorf("%s: %d %s, want %d %s\n%s", what, a.Status, a.Code, status, code, a.Raw)
	}
}

// wantReply checks the type of a turn's only reply, and returns it.
func wantReply(t *testing.T, what string, a harness.Answer, kind, code string) harness.Reply {
	t.Helper()
	if a.Status != http.StatusOK || len(a.Replies) != 1 || a.Last().Type != kind || a.Last().Code != code {
		t.Errorf("%s: %d %s %q, want one %s %q\n%s", what, a.Status, a.Types(), a.Last().Code, kind, code, a.Raw)
	}
	return a.Last()
}

// find returns the audit entries of a decision and of those made for it.
func find(entries []harness.Entry, id string) (found *harness.Entry, children []harness.Entry) {
	for i := range entries {
		switch {
		case entries[i].Decision.ID == id:
			found = &entries[i]
		case entries[i].Decision.Parent == id:
			children = append(children, entries[i])
		}
	}
	return found, children
}
