package gate_test

import (
	"context"
	"slices"
	"testing"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
)

// A foreign record and a missing one are the same to the visitor, and different
// to the auditor.
func TestForeignIsMissing(t *testing.T) {
	w := New(t, Options{})
	alex := w.As(t, "demo", Alex)
	do := func(action, id string) (gate.Result, audit.Entry, error) {
		res, err := w.Gate.Do(ctx, request(w, alex, action, order(id)))
		e, showErr := w.Log.Show(res.Decision.ID)
		if showErr != nil {
			t.Fatal(showErr)
		}
		return res, e, err
	}
	_, e, missing := do("order.lookup", "9999")
	if engine.CodeOf(missing) != engine.CodeNotFound || len(e.Outcome.Withheld) != 0 {
		t.Errorf("missing: %v, %+v", missing, e.Outcome)
	}
	for _, id := range []string{"2001", "3001"} {
		res, e, foreign := do("order.lookup", id)
		if foreign == nil || foreign.Error() != missing.Error() || len(res.Records) != 0 {
			t.Errorf("order %s: %v with %d records, want what a missing order says: %v", id, foreign, len(res.Records), missing)
		}
		if !slices.Equal(e.Outcome.Withheld, []string{engine.CodeNotOwner}) {
			t.Errorf("order %s: outcome %+v, want not_owner for the auditor", id, e.Outcome)
		}
	}
	// A write on it stops at the proof.
	res, err := w.Gate.Do(ctx, func() gate.Request {
		r := request(w, alex, "order.cancel", order("2001"))
		r.Confirmed = w.Policy.Active().Revision()
		return r
	}())
	if engine.CodeOf(err) != engine.CodeNotFound || err.Error() != missing.Error() || len(res.Records) != 0 {
		t.Errorf("cancelling a foreign order: %v, want not_found", err)
	}
	if w.Shop.Status("2001") != "processing" {
		t.Error("a foreign order was cancelled")
	}
	// And a listing that ignores its filter shows only what is the customer's.
	res, err = w.Gate.Do(ctx, request(w, alex, "order.list", nil))
	if err != nil || len(res.Records) != 2 {
		t.Fatalf("order.list: %d records, %v; want Alex's two", len(res.Records), err)
	}
	if e := w.Entries(t)[0]; e.Outcome.Returned != 5 || e.Outcome.Released != 2 || len(e.Outcome.Withheld) != 3 {
		t.Errorf("order.list: outcome %+v, want 3 of 5 withheld", e.Outcome)
	}
}

func TestReleasePoliciesThatDoNotAnswer(t *testing.T) {
	for _, rel := range []string{`decision := {"withheld": []}`, `decision := 1`, `decision := {"withheld": [], "redacted": []} if input.now < 0`,
		`decision := {"withheld": [{"record": 7, "code": "x", "message": "y"}], "redacted": []}`} {
		w := New(t, Options{Policies: only(t, allowAll, rel)})
		res, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "order.lookup", order("1001")))
		if engine.CodeOf(err) != engine.CodePolicyError || len(res.Records) != 0 {
			t.Errorf("%s: %+v, %v; want policy_error and no record", rel, res.Records, err)
		}
	}
}

func TestReleaseWithholdsAndRedacts(t *testing.T) {
	w := New(t, Options{Policies: only(t, allowAll,
		`decision := {"withheld": [{"record": i, "code": "shipped_hidden", "message": "Not shown."} | some i; input.records[i].fields.status == "shipped"], "redacted": [{"record": i, "field": "status"} | some i; input.records[i].fields.status == "processing"]}`)})
	alex := w.As(t, "demo", Alex)
	res, err := w.Gate.Do(ctx, request(w, alex, "order.list", nil))
	if err != nil || len(res.Records) != 1 || res.Records[0].ID != "1002" {
		t.Fatalf("order.list: %+v, %v; want only 1002", res.Records, err)
	}
	if _, there := res.Records[0].Fields["status"]; there {
		t.Error("a redacted field was released")
	}
	if w.Shop.Status("1002") != "processing" {
		t.Error("redaction reached into the connector's record")
	}
	if _, err := w.Gate.Do(ctx, request(w, alex, "order.lookup", order("1001"))); engine.CodeOf(err) != "shipped_hidden" {
		t.Errorf("withheld single record: %v, want the rule's own code", err)
	}
}

// A write that happened is never called refused, whatever may be shown of it.
func TestADoneWriteIsDone(t *testing.T) {
	for name, rel := range map[string]string{
		"withheld": `decision := {"withheld": [{"record": i, "code": "hidden", "message": "Not shown."} | some i; input.records[i]; input.action.risk != "read"], "redacted": []}`,
		"failing":  `decision := {"withheld": [], "redacted": []} if input.action.risk == "read"`,
	} {
		w := New(t, Options{Policies: only(t, allowAll, rel)})
		res, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "order.cancel", order("1002")))
		if err != nil || len(res.Records) != 0 || w.Shop.Status("1002") != "cancelled" {
			t.Errorf("%s: %+v, %v, order %s; want it done and nothing shown", name, res.Records, err, w.Shop.Status("1002"))
		}
		if e, _ := w.Log.Show(res.Decision.ID); e.Outcome == nil || e.Outcome.Code != "" || len(e.Outcome.Withheld) != 1 {
			t.Errorf("%s: outcome %+v, want done with one record withheld", name, e.Outcome)
		}
	}
}

// A record that does not say which one it is proves nothing.
func TestAProofNamesItsRecord(t *testing.T) {
	w := New(t, Options{})
	as := Actions(t)
	as[1].IDArgument = ""
	var bs []gate.Binding
	for _, a := range as {
		bs = append(bs, gate.Binding{Action: a, Connector: w.Shop})
	}
	if _, err := gate.NewSite(w.Pro.Site, bs); err == nil {
		t.Error("a catalog was accepted whose proof does not name its record")
	}
}

// twins answers with two records of one name, one of them somebody else's.
type twins struct{}

func (twins) Call(_ context.Context, c gate.Claim, p gate.Permit) (gate.Response, error) {
	if _, err := p.Redeem(c, Start); err != nil {
		return gate.Response{}, err
	}
	return gate.Response{Records: []gate.Record{
		{ID: "1001", Owner: gate.Owner{Email: Jordan.Email}, Fields: map[string]any{"id": "1001"}},
		{ID: "1001", Owner: gate.Owner{Email: Alex.Email}, Fields: map[string]any{"id": "1001"}},
	}}, nil
}

// A name that somebody else's record bears as well proves nothing.
func TestAmbiguousProofs(t *testing.T) {
	w := New(t, Options{})
	var bs []gate.Binding
	for _, a := range Actions(t) {
		b := gate.Binding{Action: a, Connector: w.Shop}
		if a.Name == "order.lookup" {
			b.Connector = twins{}
		}
		bs = append(bs, b)
	}
	site, err := gate.NewSite(w.Pro.Site, bs)
	if err != nil {
		t.Fatal(err)
	}
	r := request(w, w.As(t, "demo", Alex), "order.cancel", order("1001"))
	r.Site, r.Confirmed = site, w.Policy.Active().Revision()
	if _, err := w.Gate.Do(ctx, r); engine.CodeOf(err) != engine.CodeNotFound || w.Shop.Status("1001") != "shipped" {
		t.Errorf("%v, order %s; want not_found and nothing done", err, w.Shop.Status("1001"))
	}
}
