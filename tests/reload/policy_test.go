package reload

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"vouchsafe/policies"
	"vouchsafe/tests/harness"
)

// closed is a rule that denies an action, with a code of its own.
func closed(action, code string) string {
	return fmt.Sprintf(`package authz

# METADATA
# title: Closed for now
# custom:
#   code: %s
#   message: That is closed for now.
#   audit: The action %s is closed.
deny contains reason(rego.metadata.rule()) if {
	input.identity.state == "verified"
	input.action.name == %q
}
`, code, action, action)
}

// follow has the gate follow policies, as this says in its configuration, from
// its next start on.
func (g *gate) follow(policies string) {
	g.t.Helper()
	g.edit("vouchsafe.yaml", "\nsites:\n", "\npolicies: "+policies+"\nsites:\n")
	g.Stop()
	g.Restart()
}

// shipped copies the shipped policies into a folder of the gate's. Their own
// tests stay behind: what is tried here would break them.
func (g *gate) shipped(name string) {
	g.t.Helper()
	if err := os.CopyFS(g.path(name), os.DirFS("../../policies")); err != nil {
		g.t.Fatal(err)
	}
	tests, err := filepath.Glob(g.path(name + "/*/*_test.rego"))
	if err != nil || len(tests) == 0 {
		g.t.Fatalf("the policies have no tests: %v", err)
	}
	for _, test := range tests {
		if err := os.Remove(test); err != nil {
			g.t.Fatal(err)
		}
	}
}

// asks is what a visitor's listing of their orders comes to: "" when it is
// allowed, else the code.
func (g *gate) asks(token string) string {
	g.t.Helper()
	return g.Act(g.t, harness.Site, token, "order.list", nil, "").Code
}

// A folder of policies is followed while visitors ask, and a policy that may not
// be put in force changes nothing for anybody.
func TestPoliciesAreFollowed(t *testing.T) {
	g := start(t)
	g.shipped("rules")
	g.follow("./rules")
	stop := make(chan struct{})
	var visitors sync.WaitGroup
	for range 3 {
		visitors.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch got := g.Act(t, harness.Site, g.token(), "order.lookup", map[string]any{"order_id": "1001"}, ""); got.Code {
				case "", "closed_one", "closed_two":
				default:
					t.Errorf("looking up one's order = %d %s", got.Status, got.Raw)
				}
			}
		})
	}
	token := g.token()
	g.works(token)
	g.write("rules/authz/closed.rego", closed("order.list", "closed_one"))
	g.until("the new rule is in force", func() bool { return g.asks(g.token()) == "closed_one" })
	for name, broken := range map[string]string{
		"does not compile":   "package authz\n\ndeny contains {",
		"reaches outside":    "package authz\n\ndeny contains http.send({\"url\": \"http://127.0.0.1\", \"method\": \"get\"}).body\n",
		"misspells":          "package authz\n\ndeny contains reason(rego.metadata.rule()) if input.target.emial == \"x\"\n",
		"opens the wall":     "package authz\n\npinned if input.identity.subject == \"cus_4711\"\n",
		"has a failing test": closed("order.list", "closed_two") + "\ntest_it if false\n",
	} {
		file := "rules/authz/broken.rego"
		if strings.Contains(broken, "test_it") {
			file = "rules/authz/broken_test.rego"
			broken = "package authz_test\n\ntest_it if false\n"
		}
		g.write(file, broken)
		g.until("degraded: it "+name, func() bool {
			d := g.degraded()
			return len(d) == 1 && strings.Contains(d[0], "cannot be used, so ")
		})
		if got := g.Do(t, http.MethodGet, "/readyz", "", nil); got.Status != http.StatusOK || !strings.Contains(string(got.Raw), "degraded") {
			t.Errorf("readyz = %d %s, want 200 degraded", got.Status, got.Raw)
		}
		if got := g.asks(g.token()); got != "closed_one" {
			t.Errorf("with a policy that %s: %q, want the rule that is in force", name, got)
		}
		os.Remove(g.path(file))
		g.until("put right", func() bool { return len(g.degraded()) == 0 })
	}
	g.write("rules/authz/closed.rego", closed("order.list", "closed_two"))
	g.until("the next rule is in force", func() bool { return g.asks(g.token()) == "closed_two" })
	os.Remove(g.path("rules/authz/closed.rego"))
	g.until("the rule is gone", func() bool { return g.asks(g.token()) == "" })

	// Back to the first rule, which holds although the folder says otherwise.
	var view struct{ Revisions []struct{ Revision string } }
	if err := json.Unmarshal([]byte(g.Admin(t, "/v1/admin/policy")), &view); err != nil || len(view.Revisions) != 3 {
		t.Fatalf("revisions: %+v, %v; want three", view.Revisions, err)
	}
	// The newest is the shipped policy again, and closed_one the one put in
	// force first of the others.
	e := harness.Run(t, nil, "policy", "rollback", view.Revisions[2].Revision, "--config", g.Config)
	if e.Code != 0 || g.asks(g.token()) != "closed_one" {
		t.Errorf("rollback = %d\n%s%s", e.Code, e.Out, e.Errors)
	}
	close(stop)
	visitors.Wait()
	g.Stop()
	g.Restart()
	if got := g.asks(g.token()); got != "closed_one" {
		t.Errorf("after a restart: %q, want the policy that was rolled back to", got)
	}
}

// Actions are taken only if the policy in force keeps the wall with them.
func TestActionsThatAPolicyWouldOpenAreNotTaken(t *testing.T) {
	g := start(t)
	g.shipped("rules")
	// It opens nothing until there is an action of such a name.
	g.write("rules/authz/odd.rego", "package authz\n\npinned if count(input.action.name) == 31\n")
	g.follow("./rules")
	manifest := func(action string) string {
		return `connector: {name: shop, kind: rest, connection: shop-admin}
actions:
  ` + action + `:
    title: List my parcels
    personal: true
    risk: read
    request: {method: GET, path: "/orders", query: {email: "{pinned.email}"}}
    response: {records: ".orders[]", owner: ".customer.email", fields: [id, status]}
    examples: ["show my parcels"]
`
	}
	odd := "parcel." + strings.Repeat("a", 24)
	g.write("actions/parcels.yaml", manifest(odd))
	g.until("degraded", func() bool {
		d := g.degraded()
		return len(d) == 1 && strings.Contains(d[0], "does not hold with this change") && strings.Contains(d[0], "another account")
	})
	if got := g.Act(t, harness.Site, g.token(), odd, nil, ""); got.Code != "unknown_action" {
		t.Errorf("the action = %d %s, want unknown_action", got.Status, got.Raw)
	}
	g.works(g.token())
	g.write("actions/parcels.yaml", manifest("parcel.list"))
	g.until("put right", func() bool { return len(g.degraded()) == 0 })
	if got := g.Act(t, harness.Site, g.token(), "parcel.list", nil, ""); got.Status != http.StatusOK {
		t.Errorf("parcel.list = %d %s", got.Status, got.Raw)
	}
}

// bundles is a bundle server that can be turned off.
type bundles struct {
	*httptest.Server
	mu     sync.Mutex
	packed []byte
	down   bool
}

func serveBundles(t *testing.T) *bundles {
	b := &bundles{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		etag := fmt.Sprintf(`"%x"`, sha256.Sum256(b.packed))
		w.Header().Set("ETag", etag)
		switch {
		case b.down || r.Header.Get("Authorization") != "Bearer a-token-for-the-bundles":
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Header.Get("If-None-Match") == etag:
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Write(b.packed)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *bundles) set(packed []byte, down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.packed, b.down = packed, down
}

// Policies are pulled, and past max_staleness a site that asks for it refuses
// personal actions, and nothing else.
func TestPoliciesArePulledAndGoStale(t *testing.T) {
	g := start(t)
	g.shipped("rules")
	g.write("policy.secret", "8d1c05f3a2b94e67d0f1c2a3b4958677")
	g.write("server.secret", "a-token-for-the-bundles")
	pack := func() []byte {
		e := harness.Run(t, nil, "policy", "bundle", g.path("rules"), "--sign", g.path("policy.secret"), "--alg", "HS256", "--key-id", "p1", "--out", g.path("p.tar.gz"))
		if e.Code != 0 {
			t.Fatalf("policy bundle = %d\n%s%s", e.Code, e.Out, e.Errors)
		}
		return []byte(g.read("p.tar.gz"))
	}
	server := serveBundles(t)
	first := pack()
	server.set(first, false)
	g.edit("vouchsafe.yaml", "    tier: pro\n", "    tier: pro\n    stale_policy: refuse\n")
	g.follow("{bundle: \"" + server.URL + "/p\", verify: [{kid: p1, alg: HS256, secret_file: policy.secret}], token_file: server.secret, poll: 1s, max_staleness: 5s}")
	g.works(g.token())
	g.write("rules/authz/closed.rego", closed("order.list", "closed_one"))
	server.set(pack(), false)
	g.until("the new policy is in force", func() bool { return g.asks(g.token()) == "closed_one" })
	server.set(first, false)
	g.until("the old policy is in force again", func() bool { return g.asks(g.token()) == "" })

	server.set(first, true)
	g.until("the policy is stale", func() bool { return g.asks(g.token()) == "policy_stale" })
	if got := g.Act(t, harness.Site, g.token(), "order.lookup", map[string]any{"order_id": "1001"}, ""); got.Status != http.StatusForbidden || got.Code != "policy_stale" {
		t.Errorf("order.lookup = %d %s, want policy_stale", got.Status, got.Raw)
	}
	if got := g.Act(t, harness.Site, "", "order.list", nil, ""); got.Code != "identity_absent" {
		t.Errorf("nobody's order.list = %d %s, want identity_absent", got.Status, got.Raw)
	}
	if got := g.Chat(t, harness.Site, "", harness.Turn{Message: "how do I return something?"}); got.Types() != "answer" {
		t.Errorf("a question = %s, want an answer", got.Raw)
	}
	var said []string
	for _, d := range g.degraded() {
		said = append(said, d)
		if strings.Contains(d, "a-token-for-the-bundles") {
			t.Error("the status holds the token")
		}
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, "older than max_staleness (5s)") || !strings.Contains(all, "status 503") {
		t.Errorf("degraded: %q", said)
	}
	g.Stop()
	g.Restart()
	if got := g.asks(g.token()); got != "policy_stale" {
		t.Errorf("after a restart without the server: %q, want policy_stale", got)
	}
	server.set(first, false)
	g.until("the policy is current again", func() bool { return g.asks(g.token()) == "" })
	g.until("all is well", func() bool { return len(g.degraded()) == 0 })
}

// That a policy need not hold a site to its tier is on record for that site,
// before anything is served, at every start.
func TestAWaivedTierIsOnRecord(t *testing.T) {
	t.Parallel()
	shipped, err := policies.FS.ReadFile("data.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Config{Policies: map[string]string{"data.yaml": string(shipped) + "\nwaive: {tier: [" + harness.FreeSite + "]}\n"}})
	for starts := 1; ; starts++ {
		if acts := s.Admin(t, "/v1/admin/sites/"+harness.FreeSite+"/acts"); strings.Count(acts, `"kind":"tier_waiver"`) != starts || !strings.Contains(acts, `"by":"policy `) {
			t.Errorf("after %d starts the acts of the site are %s", starts, acts)
		}
		if acts := s.Admin(t, "/v1/admin/sites/"+harness.Site+"/acts"); strings.Contains(acts, "tier_waiver") {
			t.Errorf("the acts of the other site are %s", acts)
		}
		if starts == 2 {
			return
		}
		s.Stop()
		s.Restart()
	}
}
