package gate_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/engine"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
)

// grab is a connector that keeps what it was given.
type grab struct {
	claim  gate.Claim
	permit gate.Permit
}

func (g *grab) Call(_ context.Context, c gate.Claim, p gate.Permit) (gate.Response, error) {
	g.claim, g.permit = c, p
	return gate.Response{Records: []gate.Record{{Fields: map[string]any{"id": "1001"}}}}, nil
}

func TestPermitsAreForOneCall(t *testing.T) {
	w := New(t, Options{})
	a := &engine.Action{Name: "shop.hours", Title: "x", Risk: engine.Read, MinTier: engine.Free, Args: Actions(t)[1].Args}
	g := &grab{}
	site, err := gate.NewSite(w.Pro.Site, []gate.Binding{{Action: a, Connector: g}})
	if err != nil {
		t.Fatal(err)
	}
	mint := func() (gate.Claim, gate.Permit) {
		r := request(w, identity.Result{}, "shop.hours", order("1001"))
		r.Site = site
		if _, err := w.Gate.Do(ctx, r); err != nil {
			t.Fatal(err)
		}
		return g.claim, g.permit
	}
	now := w.Clock.Now()
	claim, p := mint()
	for _, c := range []struct {
		name   string
		permit gate.Permit
		claim  gate.Claim
		at     time.Time
		want   error
	}{
		{"zero", gate.Permit{}, claim, now, gate.ErrNoPermit},
		{"other site", p, gate.Claim{Site: "free", Action: claim.Action, Args: claim.Args}, now, gate.ErrPermitOther},
		{"other action", p, gate.Claim{Site: claim.Site, Action: "order.cancel", Args: claim.Args}, now, gate.ErrPermitOther},
		{"other arguments", p, gate.Claim{Site: claim.Site, Action: claim.Action, Args: order("1002")}, now, gate.ErrPermitOther},
		{"no arguments", p, gate.Claim{Site: claim.Site, Action: claim.Action}, now, gate.ErrPermitOther},
		{"number for text", p, gate.Claim{Site: claim.Site, Action: claim.Action, Args: map[string]any{"order_id": json.Number("1001")}}, now, gate.ErrPermitOther},
		{"expired", p, claim, now.Add(time.Minute), gate.ErrPermitExpired},
		{"good", p, claim, now, nil},
		{"used", p, claim, now, gate.ErrPermitUsed},
	} {
		if _, err := c.permit.Redeem(c.claim, c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: Redeem = %v, want %v", c.name, err, c.want)
		}
	}
	claim, p = mint()
	var good sync.Map
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if _, err := p.Redeem(claim, now); err == nil {
				good.Store(i, true)
			}
		})
	}
	wg.Wait()
	n := 0
	good.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("one permit was redeemed %d times at once", n)
	}
}

// A Permit cannot be made outside this package, whether by a literal, by a
// conversion, or by asking for its insides.
func TestPermitsCannotBeForged(t *testing.T) {
	dir := t.TempDir()
	for name, body := range map[string]string{
		"literal":    `var _ = gate.Permit{p: nil}`,
		"insides":    `var _ = gate.Permit{}.p`,
		"conversion": `var _ = gate.Permit(struct{ p *int }{})`,
		"minting":    `var _ = (*gate.Gate).mint`,
		"the type":   `var _ gate.permit`,
		"a grant":    `var _ = gate.Grant{vouching: nil}`,
	} {
		file := dir + "/" + name + ".go"
		if err := os.WriteFile(file, []byte("package main\n\nimport \"vouchsafe/engine/gate\"\n\n"+body+"\n\nfunc main() {}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("go", "vet", file).CombinedOutput()
		if err == nil {
			t.Errorf("%s: code outside the package compiles", name)
		} else if !strings.Contains(string(out), "unexported") && !strings.Contains(string(out), "cannot convert") && !strings.Contains(string(out), "not exported") && !strings.Contains(string(out), "undefined") {
			t.Errorf("%s: failed for another reason:\n%s", name, out)
		}
	}
}
