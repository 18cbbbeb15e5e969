package gate_test

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/voucher"
)

// Only a redeemed Permit vouches: for calls of its own site, for as long and as
// often as one action can take.
func TestOnlyARedeemedPermitVouches(t *testing.T) {
	w := New(t, Options{})
	signer := voucher.NewSigner(ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize))))
	keys, err := voucher.ParseKeys(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	a := &engine.Action{Name: "shop.hours", Title: "x", Risk: engine.Read, MinTier: engine.Free, Args: Actions(t)[1].Args}
	k := &grab{}
	site, err := gate.NewSite(w.Pro.Site, []gate.Binding{{Action: a, Connector: k}})
	if err != nil {
		t.Fatal(err)
	}
	grant := func(s *voucher.Signer) gate.Grant {
		t.Helper()
		g := gate.New(gate.Options{Policy: w.Policy, Log: w.Log, Clock: w.Clock.Now, EvaluationTimeout: 5 * time.Second, Signer: s})
		r := request(w, identity.Result{}, "shop.hours", order("1001"))
		r.Site = site
		if _, err := g.Do(ctx, r); err != nil {
			t.Fatal(err)
		}
		granted, err := k.permit.Redeem(k.claim, w.Clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		return granted
	}
	call := voucher.Call{Site: "free", Connection: "c", Method: "GET", Target: "/x"}
	for name, g := range map[string]gate.Grant{
		"the zero grant":             {},
		"a grant made by hand":       {Decision: "d_1", IdempotencyKey: "pa_1", Pinned: gate.Pinned{Email: Alex.Email}},
		"of a gate without a signer": grant(nil),
	} {
		if signed, err := g.Vouch("run", call); !errors.Is(err, gate.ErrCannotVouch) || signed != "" {
			t.Errorf("%s: Vouch = %q, %v; want ErrCannotVouch", name, signed, err)
		}
	}
	g := grant(signer)
	signed, err := g.Vouch("run", call)
	if err != nil {
		t.Fatal(err)
	}
	v, err := keys.Verify(signed, w.Clock.Now())
	if err != nil || v.Audience != "run" || v.Decision != g.Decision || v.Decision == "" {
		t.Errorf("Verify = %+v, %v", v, err)
	}
	if err := v.Covers(call); !errors.Is(err, voucher.ErrOther) {
		t.Errorf("the permit vouched for a call of another site: %v", err)
	}
	call.Site = "demo"
	if err := v.Covers(call); err != nil {
		t.Errorf("Covers = %v", err)
	}
	for n := 1; ; n++ {
		if _, err := g.Vouch("run", call); errors.Is(err, gate.ErrVouchedOut) {
			break
		} else if err != nil || n > 1000 {
			t.Fatalf("the permit vouches for any number of calls: %d, %v", n, err)
		}
	}
	g = grant(signer)
	w.Clock.Add(2 * time.Minute)
	if _, err := g.Vouch("run", call); !errors.Is(err, gate.ErrVouchExpired) {
		t.Errorf("two minutes later: Vouch = %v, want ErrVouchExpired", err)
	}
}
