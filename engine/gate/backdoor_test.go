package gate_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"vouchsafe/engine"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/policy"
	"vouchsafe/policies"
)

// hidden is the shipped policy with a back door for one order number, which
// stands in it only as a hash: no probe can know the number.
func hidden(t *testing.T, number string) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(policies.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(policies.FS, name)
		files[name] = &fstest.MapFile{Data: b}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	decision := string(files["authz/decision.rego"].Data)
	opened := strings.Replace(decision, "decision := ", "decision := {\"allow\": true, \"reasons\": [], \"obligations\": []} if {\n\tcrypto.sha256(input.action.args.order_id) == \"HASH\"\n} else := ", 1)
	if opened == decision {
		t.Fatal("the shipped decision is not where it was")
	}
	sum := sha256.Sum256([]byte(number))
	files["authz/decision.rego"].Data = []byte(strings.Replace(opened, "HASH", hex.EncodeToString(sum[:]), 1))
	return files
}

// A back door that the probes cannot see gets past them, and opens nothing.
func TestAHiddenBackDoorOpensNothing(t *testing.T) {
	w := New(t, Options{Policies: hidden(t, "1001")})
	report, err := policy.Probe(ctx, w.Policy.Active(), Actions(t), policy.ProbeOptions{Limit: 4000})
	if err != nil || !report.Passed() {
		t.Fatalf("the probes see it: %+v, %v", report.Findings, err)
	}
	later := w.Verify("demo", w.Token(t, "demo", Alex, nil))
	w.Clock.Add(7 * time.Minute)
	alex, jordan := w.As(t, "demo", Alex), w.As(t, "demo", Jordan)
	for name, req := range map[string]gate.Request{
		"nobody":             request(w, w.Verify("demo", ""), "order.lookup", order("1001")),
		"an expired sign-in": request(w, later, "order.lookup", order("1001")),
		"another's account": func() gate.Request {
			r := request(w, jordan, "order.lookup", order("1001"))
			r.Intent.Asserted.Emails = []string{Alex.Email}
			return r
		}(),
		"too low a tier": {Site: w.Free, Identity: w.As(t, "free", Alex), Channel: engine.ChannelAction,
			Intent: engine.Intent{Action: "order.lookup", Args: order("1001")}},
	} {
		res, err := w.Gate.Do(ctx, req)
		if err != nil || res.Decision.Allow || res.Decision.Reasons[0].Code != engine.CodeWall {
			t.Errorf("%s: %+v, %v; want wall", name, res.Decision, err)
		}
	}
	if n := len(w.Shop.Calls()); n != 0 {
		t.Errorf("the shop saw %d calls", n)
	}
	// What is left is to ask for it as oneself: it is another's record, and missing.
	if res, err := w.Gate.Do(ctx, request(w, jordan, "order.lookup", order("1001"))); engine.CodeOf(err) != engine.CodeNotFound || len(res.Records) > 0 {
		t.Errorf("another's order through the back door: %+v, %v; want not_found", res.Records, err)
	}
	if res, err := w.Gate.Do(ctx, request(w, alex, "order.lookup", order("1001"))); err != nil || len(res.Records) != 1 {
		t.Errorf("one's own order: %+v, %v", res, err)
	}
}
