package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/google/go-cmp/cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/policies"
)

// probeCatalog is a catalog with an action of every kind.
func probeCatalog(t testing.TB) []*engine.Action {
	t.Helper()
	schema := func(text string) *engine.ArgSchema {
		var source map[string]any
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		if err := dec.Decode(&source); err != nil {
			t.Fatal(err)
		}
		return must(engine.CompileArgs(source))
	}
	order := `{"type": "object", "required": ["order_id"], "properties": {"order_id": {"type": "string", "pattern": "^[0-9]{4,}$"}}}`
	return []*engine.Action{
		{Name: "order.list", Personal: true, Risk: engine.Read, MinTier: engine.Pro, Args: schema(`{}`), Fields: []string{"id", "status"}},
		{Name: "order.lookup", Personal: true, Risk: engine.Read, MinTier: engine.Pro, Args: schema(order), Fields: []string{"id", "total"}},
		{Name: "order.cancel", Personal: true, Risk: engine.Destructive, MinTier: engine.Business, Args: schema(order)},
		{Name: "booking.move", Personal: true, Risk: engine.Write, MinTier: engine.Pro,
			Args: schema(`{"type": "object", "properties": {"start": {"type": "string", "format": "date-time"}, "guests": {"type": "integer", "minimum": 1, "maximum": 9}}}`)},
		{Name: "kb.answer", Risk: engine.Read, MinTier: engine.Free, Args: schema(`{"type": "object", "properties": {"question": {"type": "string"}}}`)},
	}
}

func probed(t testing.TB, changes map[string]string, opts ProbeOptions) ProbeReport {
	t.Helper()
	r, err := Probe(t.Context(), compiled(t, shippedFiles(t, changes)), probeCatalog(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestShippedPolicyHoldsTheWall(t *testing.T) {
	r := probed(t, nil, ProbeOptions{})
	for _, f := range r.Findings {
		t.Errorf("%s: %s", f.Opens, f.String())
	}
	if r.Probes < 2000 || r.Compared < 100 || r.Release < 100 || r.Failed != 0 {
		t.Errorf("%+v proves little", r)
	}
}

// A back door is an addition to the shipped policy that lets somebody through.
// Each is found, and the rule to look at is the one that opens it.
func TestBackDoorsAreFound(t *testing.T) {
	open := func(condition string) map[string]string {
		decision := string(must(policies.FS.ReadFile("authz/decision.rego")))
		decision = strings.ReplaceAll(decision, "\tcount(deny) == 0\n", "\tfine\n")
		return map[string]string{
			"authz/decision.rego": decision,
			"authz/x.rego":        "package authz\n\nfine if count(deny) == 0\n\n" + condition,
		}
	}
	tests := []struct {
		name, condition string
		opens           string
		holds           []string // of the input that is reported
		data            string   // added to data.yaml
	}{
		{name: "one order number", condition: "fine if input.action.args.order_id == \"4711\"\n", opens: OpensPinning, holds: []string{`"4711"`}},
		{name: "one order of one action", opens: OpensPinning, holds: []string{`"order.cancel"`, `"4711"`},
			condition: "fine if {\n\tinput.action.name == \"order.cancel\"\n\tinput.action.args.order_id == \"4711\"\n}\n"},
		{name: "one subject", condition: "fine if input.identity.subject == \"cus_9\"\n", opens: OpensExpiry, holds: []string{`"cus_9"`}},
		{name: "one address", condition: "fine if input.identity.email == \"boss@shop.example\"\n", opens: OpensPinning, holds: []string{"boss@shop.example"}},
		{name: "addresses of one domain", condition: "fine if endswith(input.identity.email, \"@shop.example\")\n", opens: OpensPinning, holds: []string{"@shop.example"}},
		{name: "addresses by a pattern", condition: "fine if regex.match(`^ops[0-9]+@shop\\.example$`, input.identity.email)\n", opens: OpensPinning, holds: []string{"ops1@shop.example"}},
		{name: "subjects by a glob", condition: "fine if glob.match(\"staff-*\", [], input.identity.subject)\n", opens: OpensExpiry, holds: []string{`"staff-`}},
		{name: "a claim", condition: "fine if input.identity.claims.role == \"admin\"\n", opens: OpensPinning, holds: []string{`"role":"admin"`}},
		{name: "a claim that is only there", condition: "fine if input.identity.claims.trusted\n", opens: OpensPinning, holds: []string{`"trusted":`}},
		{name: "a claim in a list", condition: "fine if \"root\" in input.identity.claims.groups\n", opens: OpensPinning, holds: []string{`"groups":["root"]`}},
		{name: "a claim searched for", condition: "fine if {\n\tsome group in input.identity.claims.groups\n\tgroup == \"root\"\n}\n", opens: OpensPinning, holds: []string{`"root"`}},
		{name: "one conversation", condition: "fine if input.conversation.id == \"cv_test\"\n", opens: OpensPinning, holds: []string{`"cv_test"`}},
		{name: "one time", condition: "fine if input.now == 1700000000\n", opens: OpensPinning, holds: []string{"1700000000"}},
		{name: "before some time", condition: "fine if input.now < 1000000000\n", opens: OpensPinning, holds: []string{"999999999"}},
		{name: "a set of orders", condition: "fine if input.action.args.order_id in {\"8001\", \"8002\"}\n", opens: OpensPinning, holds: []string{`"800`}},
		{name: "a set by name", condition: "vips := {\"cus_7\"}\n\nfine if input.identity.subject in vips\n", opens: OpensPinning, holds: []string{`"cus_7"`}},
		{name: "through a helper", condition: "friend if input.asserted.names[_] == \"Open Sesame\"\n\nfine if friend\n", opens: OpensPinning, holds: []string{"Open Sesame"}},
		{name: "through a function", condition: "magic(x) if x == \"4711\"\n\nfine if magic(input.action.args.order_id)\n", opens: OpensPinning, holds: []string{`"4711"`}},
		{name: "through two helpers", opens: OpensPinning, holds: []string{`"4711"`, `"cv_x"`},
			condition: "a if input.action.args.order_id == \"4711\"\n\nb if input.conversation.id == \"cv_x\"\n\nfine if {\n\ta\n\tb\n}\n"},
		{name: "by data", condition: "fine if data.staff[input.identity.subject] == true\n", data: "staff: {cus_boss: true}\n", opens: OpensPinning, holds: []string{`"cus_boss"`}},
		{name: "by a list in data", condition: "fine if {\n\tsome who in data.staff\n\tinput.identity.subject == who\n}\n", data: "staff: [cus_boss]\n", opens: OpensPinning, holds: []string{`"cus_boss"`}},
		{name: "by records in data", condition: "fine if {\n\tsome who in data.staff\n\tinput.identity.email == who.mail\n}\n", data: "staff: [{mail: boss@shop.example}]\n", opens: OpensPinning, holds: []string{"boss@shop.example"}},
		{name: "for nobody in particular", condition: "fine if input.identity.state == \"absent\"\n", opens: OpensTier, holds: []string{`"absent"`}},
		{name: "in the second after", condition: "fine if input.now == input.identity.expires_at\n", opens: OpensExpiry, holds: []string{"expires_at"}},
		{name: "once confirmed", condition: "fine if input.confirmation.confirmed\n", opens: OpensPinning, holds: []string{`"confirmed":true`}},
		{name: "through another door", condition: "fine if input.channel == \"action\"\n", opens: OpensPinning, holds: []string{`"action"`}},
		{name: "one site's tier", condition: "fine if input.site.id == \"shop\"\n", opens: OpensTier, holds: []string{`"shop"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changes := open(tt.condition)
			if tt.data != "" {
				changes[dataFile] = string(must(policies.FS.ReadFile(dataFile))) + tt.data
				changes[dataSchemaFile] = "{}"
			}
			r := probed(t, changes, ProbeOptions{Limit: 1500})
			for _, f := range r.Findings {
				whole := f.Opens == tt.opens && f.Rules[0].File == "authz/x.rego" && f.Rules[0].Only
				for _, part := range tt.holds {
					whole = whole && strings.Contains(string(f.Input), part)
				}
				if whole {
					return
				}
			}
			t.Errorf("of %d probes none shows that it opens %s; found:", r.Probes, tt.opens)
			for _, f := range r.Findings {
				t.Errorf("%s %s %+v", f.Opens, f.String(), f.Rules)
			}
		})
	}
}

// Each rule of the shipped policy that holds the wall is missed when it is gone.
func TestMissingDenialsAreFound(t *testing.T) {
	for _, tt := range []struct {
		name, file, condition, instead string
		opens                          []string
	}{
		{"expiry", "authz/expiry.rego", "not live\n", "input.now < 0\n", []string{OpensExpiry}},
		{"expiry, by a second", "authz/expiry.rego", "input.now < input", "input.now <= input", []string{OpensExpiry}},
		{"lifetime", "authz/expiry.rego", "not short_lived\n", "input.now < 0\n", []string{OpensExpiry}},
		{"pinning", "authz/pinning.rego", "not pinned\n", "input.now < 0\n", []string{OpensPinning}},
		{"pinning, of nobody", "authz/pinning.rego", "\tinput.target.email != \"\"\n", "", []string{OpensPinning}},
		{"revocation", "authz/identity.rego", "input.identity.revoked == true\n", "input.now < 0\n", []string{OpensIdentity}},
		{"tier", "authz/tier.rego", "not offered\n", "input.now < 0\n", []string{OpensAction, OpensTier}},
	} {
		text := string(must(policies.FS.ReadFile(tt.file)))
		if !strings.Contains(text, tt.condition) {
			t.Fatalf("%s does not hold %q", tt.file, tt.condition)
		}
		r := probed(t, map[string]string{tt.file: strings.Replace(text, tt.condition, tt.instead, 1)}, ProbeOptions{Limit: 4000})
		var opens []string
		for _, f := range r.Findings {
			if !slices.Contains(opens, f.Opens) {
				opens = append(opens, f.Opens)
			}
			if f.Rules[0].Only {
				t.Errorf("%s: %s: a rule to look at, where one is missing: %+v", tt.name, f.String(), f.Rules)
			}
		}
		if diff := cmp.Diff(tt.opens, opens); diff != "" {
			t.Errorf("without %s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestTheShortestInputIsReported(t *testing.T) {
	yes := tiny("decision := {\"allow\": true, \"reasons\": [], \"obligations\": []}\n")
	r, err := Probe(t.Context(), compiled(t, yes), probeCatalog(t), ProbeOptions{Limit: 2000})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range r.Findings {
		got[f.Opens] = string(f.Input)
	}
	want := map[string]string{
		OpensIdentity: `{"action":{"min_tier":"pro","personal":true},"identity":{"state":"absent"},"site":{"tier":"pro"}}`,
		OpensExpiry:   `{"action":{"min_tier":"pro","personal":true},"identity":{"email":"alex@example.com","state":"verified"},"site":{"tier":"pro"},"target":{"email":"alex@example.com"}}`,
		OpensAction:   `{"site":{"tier":"pro"}}`,
		OpensTier:     `{"action":{"min_tier":"free","personal":false}}`,
	}
	for opens, input := range want {
		if got[opens] != input {
			t.Errorf("%s: reported\n%s, want\n%s", opens, got[opens], input)
		}
	}
}

func TestTheSameSeedAsksTheSame(t *testing.T) {
	s := compiled(t, shippedFiles(t, nil))
	asked := func(seed uint64, limit int) (all []string) {
		newGenerator(s, probeCatalog(t), nil, seed, limit).run(func(d document) bool {
			all = append(all, string(raw(d)))
			return true
		})
		return all
	}
	first := asked(1, 3000)
	if diff := cmp.Diff(first, asked(1, 3000)); diff != "" {
		t.Errorf("the same seed asked something else:\n%s", diff)
	}
	if cmp.Equal(first, asked(2, 3000)) {
		t.Error("another seed asked the very same")
	}
	if len(first) > 3000 || len(asked(1, 100)) > 100 {
		t.Error("more was asked than the limit allows")
	}
}

// What must be denied is worked out without any policy; a policy that denies
// too much is not its business.
func TestWhatTheWallIs(t *testing.T) {
	a := probeCatalog(t)[1]
	site := &engine.Site{ID: "shop", Tier: engine.Pro}
	for _, tt := range []struct {
		name   string
		change change
		want   []string
	}{
		{"a customer's own account", change{do: func(document) {}}, nil},
		{"nobody", put("absent", stateAt...), []string{OpensIdentity}},
		{"no state", lack(stateAt...), []string{OpensIdentity}},
		{"no identity", lack("identity"), []string{OpensIdentity}},
		{"a state nobody knows", put("Verified", stateAt...), []string{OpensIdentity}},
		{"revoked", put(true, "identity", "revoked"), []string{OpensIdentity}},
		{"a second before the end", later(1, expiresAt, nowAt), nil},
		{"at the end", later(0, expiresAt, nowAt), []string{OpensExpiry}},
		{"a second after it", later(-1, expiresAt, nowAt), []string{OpensExpiry}},
		{"no end", lack(expiresAt...), []string{OpensExpiry}},
		{"no clock", lack("now"), []string{OpensExpiry}},
		{"as long-lived as may be", later(0, lifetime, mostLife), nil},
		{"a second longer", later(1, lifetime, mostLife), []string{OpensExpiry}},
		{"how long is not known", lack(lifetime...), []string{OpensExpiry}},
		{"another's account", put(otherEmail, targetAt...), []string{OpensPinning}},
		{"an empty target", put("", targetAt...), []string{OpensPinning}},
		{"no target", lack("target"), []string{OpensPinning}},
		{"nobody's account by nobody's address", change{do: func(d document) { d.set("", emailAt...); d.set("", targetAt...) }}, []string{OpensPinning}},
		{"a tier too low", put("free", "site", "tier"), []string{OpensTier}},
		{"a tier nobody knows", put("enterprise", "site", "tier"), []string{OpensTier}},
		{"a tier too low, where that is waived", change{do: func(d document) { d.set("free", "site", "tier"); d.set("lax", "site", "id") }}, nil},
		{"nobody, where the tier is waived", change{do: func(d document) { d.set("absent", stateAt...); d.set("lax", "site", "id") }}, []string{OpensIdentity}},
		{"public, at a tier too low", change{do: func(d document) { d.set(false, "action", "personal"); d.set("free", "site", "tier") }}, []string{OpensTier}},
		{"public, by nobody", change{do: func(d document) { d.set(false, "action", "personal"); d.drop("identity") }}, nil},
		{"an action nobody described", lack("action"), []string{OpensAction}},
		{"personal or not, nobody said", lack("action", "personal"), []string{OpensAction}},
	} {
		d := ordinary(site, a)
		tt.change.do(d)
		if diff := cmp.Diff(tt.want, breaches(d, map[string]bool{"lax": true})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestOnlyTheTierCanBeWaived(t *testing.T) {
	lax := map[string]string{"authz/tier.rego": strings.Replace(string(must(policies.FS.ReadFile("authz/tier.rego"))),
		"if not offered\n", "if {\n\tnot offered\n\tinput.site.id != \"lax\"\n}\n", 1)}
	if r := probed(t, lax, ProbeOptions{Limit: 4000}); !slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Opens == OpensTier && strings.Contains(string(f.Input), `"lax"`)
	}) {
		t.Errorf("a site without tiers: %+v, want a finding", r.Findings)
	}
	shippedData := string(must(policies.FS.ReadFile(dataFile)))
	lax[dataFile] = shippedData + "waive: {tier: [lax]}\n"
	if r := probed(t, lax, ProbeOptions{Limit: 4000}); !r.Passed() || !cmp.Equal(r.Waived, []string{"lax"}) {
		t.Errorf("waived: %+v, %v, want no finding and the waiver named", r.Findings, r.Waived)
	}
	for text, says := range map[string]string{
		"waive: {identity: [lax]}": "only tier can be waived",
		"waive: {expiry: [lax]}":   "only tier can be waived",
		"waive: {pinning: [lax]}":  "only tier can be waived",
		"waive: {tier: lax}":       "list of site ids",
		"waive: {tier: [1]}":       "list of site ids",
		"waive: {tier: ['']}":      "list of site ids",
		"waive: [tier]":            "mapping",
	} {
		for _, schema := range []string{"", "{}"} { // a folder may bring a schema of its own
			changes := map[string]string{dataFile: shippedData + text + "\n", dataSchemaFile: schema}
			if _, err := Compile(shippedFiles(t, changes)); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("Compile with %s: %v, want ...%s...", text, err, says)
			}
		}
	}
}

func TestReleaseMustAnswerOddRecords(t *testing.T) {
	for name, tt := range map[string]struct{ rule, holds string }{
		"a field that is no text": {"redact contains {\"record\": i, \"field\": field} if {\n\tsome i, record in input.records\n\tsome field, value in record.fields\n\tstartswith(value, \"card\")\n}\n", `"fields"`},
		"a record by its id":      {"redact contains {\"record\": record.id, \"field\": \"total\"} if some record in input.records\n", `"id"`},
		"a field without a name":  {"redact contains {\"record\": i, \"field\": record.id} if some i, record in input.records\n", `"id":""`},
	} {
		r := probed(t, map[string]string{"release/x.rego": "package release\n\n" + tt.rule}, ProbeOptions{Limit: 100})
		if len(r.Findings) == 0 || r.Findings[0].Opens != ProbeRelease || !strings.Contains(string(r.Findings[0].Input), tt.holds) {
			t.Errorf("%s: found %v, want release and %s", name, r.Findings, tt.holds)
		}
	}
}

func TestProbingEnds(t *testing.T) {
	slow := compiled(t, tiny("decision := {\"allow\": false, \"reasons\": [{\"code\": \"x\", \"message\": \"y\"}], \"obligations\": []} if {\n\tcount([1 | some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); a + b > 0]) > 0\n}\n"))
	if r, err := Probe(t.Context(), slow, probeCatalog(t), ProbeOptions{Time: 50 * time.Millisecond}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Probe of a policy that takes too long = %+v, %v; want that it took too long", r, err)
	}
	if r, err := Probe(t.Context(), shipped(t), nil, ProbeOptions{}); err != nil || !r.Passed() {
		t.Errorf("Probe without a catalog = %+v, %v", r, err)
	}
}

// Arguments are drawn from the schemas, so that they are what the gate lets
// through.
func TestArgumentsAreDrawnFromTheSchemas(t *testing.T) {
	for _, a := range probeCatalog(t) {
		for _, args := range argsOf(a.Args) {
			if err := a.Args.Validate(args); err != nil {
				t.Errorf("%s: %v: %v", a.Name, args, err)
			}
		}
	}
	for pattern, want := range map[string]string{
		"^[0-9]{4,}$": "1111", "^B[0-9]{3,8}$": "B111", "^(a|b)c?$": "a", "^#W\\d+$": "#W1", ".+@x\\.example": "x@x.example", "^[^a-z]$": "1",
	} {
		like := matching(pattern)
		if got := like[len(like)-1]; got != want {
			t.Errorf("matching(%q) = %q, want %q", pattern, got, want)
		}
	}
}

// BenchmarkProbe probes the shipped policy over a catalog of a hundred actions.
func BenchmarkProbe(b *testing.B) {
	s := shipped(b)
	var catalog []*engine.Action
	for i := range 100 {
		a := *probeCatalog(b)[i%5]
		a.Name = fmt.Sprintf("%s.%d", a.Name, i)
		catalog = append(catalog, &a)
	}
	for b.Loop() {
		r, err := Probe(b.Context(), s, catalog, ProbeOptions{})
		if err != nil || !r.Passed() {
			b.Fatal(r, err)
		}
		b.ReportMetric(float64(r.Probes), "probes/op")
	}
}
