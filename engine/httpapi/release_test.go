package httpapi_test

import (
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/policy"
	"vouchsafe/policies"
)

// releasing is the shipped policy with another release decision.
func releasing(t *testing.T, rego string) *policy.Set {
	t.Helper()
	out := fstest.MapFS{}
	err := fs.WalkDir(policies.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(path, "release/") {
			return err
		}
		b, err := fs.ReadFile(policies.FS, path)
		out[path] = &fstest.MapFile{Data: b}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	out["release/r.rego"] = &fstest.MapFile{Data: []byte("package release\n\n" + rego + "\n")}
	set, err := policy.Compile(out)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// A write whose record may not be shown has happened, and its key is spent.
func TestAWriteHappensOnceWhateverIsReleased(t *testing.T) {
	for name, rego := range map[string]string{
		"withheld": `decision := {"withheld": [{"record": i, "code": "hidden", "message": "Not shown."} | some i; input.records[i]; input.action.risk != "read"], "redacted": []}`,
		"failing":  `decision := {"withheld": [], "redacted": []} if input.action.risk == "read"`,
	} {
		b := newBench(t, nil)
		b.policy.Activate(releasing(t, rego))
		who := append(signedIn("alex"), "Idempotency-Key", "k")
		for range 3 {
			if a := b.post(notePath, `{"args":{"order_id":"1001"}}`, who...); a.status != 200 {
				t.Errorf("%s: %d %s; want it done", name, a.status, a.body)
			}
		}
		if n := b.shop.did("order.note"); n != 1 {
			t.Errorf("%s: under one Idempotency-Key the note was added %d times", name, n)
		}
	}
}

// A response is not repeated under a policy that might have shown less of it.
func TestAReplayIsUnderItsOwnPolicy(t *testing.T) {
	b := newBench(t, nil)
	who := append(signedIn("alex"), "Idempotency-Key", "k")
	if first := b.post(lookupPath, `{"args":{"order_id":"1001"}}`, who...); first.status != 200 {
		t.Fatalf("%d %s", first.status, first.body)
	}
	b.policy.Activate(releasing(t, `decision := {"withheld": [], "redacted": [{"record": i, "field": "status"} | some i; input.records[i]]}`))
	again := b.post(lookupPath, `{"args":{"order_id":"1001"}}`, who...)
	if again.status != 409 || strings.Contains(again.body, "status\":\"sent") {
		t.Errorf("%d %s; want already_done and nothing of the response", again.status, again.body)
	}
}

// Two people who are not signed in do not share their keys.
func TestKeysOfNobodyAreOfOneAddress(t *testing.T) {
	b := newBench(t, func(o *httpapi.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	for i, c := range []struct {
		from     string
		replayed string
	}{{"192.0.2.1", ""}, {"192.0.2.2", ""}, {"192.0.2.1", "true"}} {
		a := b.post(hoursPath, `{}`, "Idempotency-Key", "shared", "X-Forwarded-For", c.from)
		if got := a.header.Get("Idempotent-Replayed"); a.status != 200 || got != c.replayed {
			t.Errorf("request %d from %s: %d, replayed %q; want %q", i, c.from, a.status, got, c.replayed)
		}
	}
}

// A write is done, whatever its record looks like.
func TestAWriteWithAnOddRecordHappensOnce(t *testing.T) {
	b := newBench(t, nil)
	b.shop.odd = true
	for range 3 {
		if a := b.post(notePath, `{"args":{"order_id":"1001"}}`, append(signedIn("alex"), "Idempotency-Key", "k")...); a.status != 200 {
			t.Errorf("%d %s; want it done", a.status, a.body)
		}
	}
	if n := b.shop.did("order.note"); n != 1 {
		t.Errorf("under one Idempotency-Key the note was added %d times", n)
	}
}
