package reload

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"vouchsafe/tests/harness"
)

// Rotation without an outage: the new key beside the old one, then alone.
func TestKeysOverlapWhileTheyRotate(t *testing.T) {
	g := start(t)
	k3 := harness.Keys{Issuer: "https://shop.example", Audience: "vouchsafe-shop", Secret: []byte("d41c7a90be3f5528e6b9a1f07c3d2e84")}
	signed := func() string {
		return k3.Token(t, harness.Alex, func(m *harness.Minting) { m.Header["kid"] = "k3" })
	}
	old := g.token()
	g.works(old)
	g.refuses(signed())

	const k1 = "- {kid: k1, alg: HS256, secret_file: shop.secret}"
	g.write("next.secret", string(k3.Secret))
	g.edit("vouchsafe.yaml", k1, k1+"\n        - {kid: k3, alg: HS256, secret_file: next.secret}")
	g.until("both keys are in use", func() bool { return g.status(signed()) == http.StatusOK })
	g.works(old)
	g.works(g.token())

	g.edit("vouchsafe.yaml", k1+"\n", "\n")
	g.until("the old key is out of use", func() bool { return g.status(old) == http.StatusUnauthorized })
	g.refuses(g.token())
	g.works(signed())

	// Each set of keys is on record, and of a secret nothing but its name.
	acts := g.Admin(t, "/v1/admin/sites/shop/acts")
	for _, keys := range []string{`"object":"k1 HS256, k2 ES256 `, `"object":"k1 HS256, k3 HS256, k2 ES256 `, `"object":"k3 HS256, k2 ES256 `} {
		if strings.Count(acts, keys) != 1 {
			t.Errorf("the acts lack %s: %s", keys, acts)
		}
	}
}

// However an editor or an orchestrator puts a file into place, it is seen.
func TestEveryWayOfReplacingAFileIsSeen(t *testing.T) {
	g := start(t)
	secrets := []string{"0f1e2d3c4b5a69788796a5b4c3d2e1f0-one", "0f1e2d3c4b5a69788796a5b4c3d2e1f0-two", "0f1e2d3c4b5a69788796a5b4c3d2e1f0-three"}
	for i, put := range []func(secret string){
		func(secret string) { // a new file is renamed over the old one
			g.write("shop.secret.tmp", secret)
			if err := os.Rename(g.path("shop.secret.tmp"), g.path("shop.secret")); err != nil {
				t.Fatal(err)
			}
		},
		func(secret string) { // the file becomes a link into a folder, as orchestrators mount them
			if err := os.MkdirAll(g.path("..v1"), 0o700); err != nil {
				t.Fatal(err)
			}
			g.write("..v1/shop.secret", secret)
			os.Symlink("..v1", g.path("..data"))
			os.Remove(g.path("shop.secret"))
			if err := os.Symlink("..data/shop.secret", g.path("shop.secret")); err != nil {
				t.Fatal(err)
			}
		},
		func(secret string) { // and then the folder's own link is swapped
			if err := os.MkdirAll(g.path("..v2"), 0o700); err != nil {
				t.Fatal(err)
			}
			g.write("..v2/shop.secret", secret)
			os.Symlink("..v2", g.path("..tmp"))
			if err := os.Rename(g.path("..tmp"), g.path("..data")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		put(secrets[i])
		k := harness.Keys{Issuer: "https://shop.example", Audience: "vouchsafe-shop", Secret: []byte(secrets[i])}
		token := k.Token(t, harness.Alex)
		g.until(fmt.Sprintf("secret %d is in use", i+1), func() bool { return g.status(token) == http.StatusOK })
	}
}

// Manifests and sites come and go.
func TestActionsAndSitesComeAndGo(t *testing.T) {
	g := start(t)
	token := g.token()
	listed := func(path string) string {
		return string(g.Do(t, http.MethodGet, path, token, nil).Raw)
	}
	if strings.Contains(listed("/v1/sites/shop/actions"), "parcel.list") {
		t.Fatal("parcel.list is there before its manifest is")
	}
	g.write("actions/parcels.yaml", `connector: {name: shop, kind: rest, connection: shop-admin}
actions:
  parcel.list:
    title: List my parcels
    personal: true
    risk: read
    request: {method: GET, path: "/orders", query: {email: "{pinned.email}"}}
    response: {records: ".orders[]", owner: ".customer.email", fields: [id, status]}
    examples: ["show my parcels"]
`)
	g.until("the new action is offered", func() bool { return strings.Contains(listed("/v1/sites/shop/actions"), "parcel.list") })
	if got := g.Act(t, harness.Site, token, "parcel.list", nil, ""); got.Status != http.StatusOK {
		t.Errorf("parcel.list = %d %s, want 200", got.Status, got.Raw)
	}
	if got := g.Chat(t, harness.Site, token, harness.Turn{Message: "show my parcels"}); got.Types() != "result" || got.Last().Action != "parcel.list" {
		t.Errorf("asking for parcels in the chat = %s, want the new action's result", got.Raw)
	}
	os.Remove(g.path("actions/parcels.yaml"))
	g.until("the action is gone", func() bool { return !strings.Contains(listed("/v1/sites/shop/actions"), "parcel.list") })
	if got := g.Act(t, harness.Site, token, "parcel.list", nil, ""); got.Status != http.StatusNotFound || got.Code != "unknown_action" {
		t.Errorf("parcel.list = %d %s, want 404 unknown_action", got.Status, got.Raw)
	}

	config := g.read("vouchsafe.yaml")
	i := strings.Index(config, "  - id: corner")
	j := strings.Index(config, "connections:")
	if i < 0 || j < i {
		t.Fatal("the configuration is not as expected")
	}
	g.write("vouchsafe.yaml", config[:i]+config[j:])
	g.until("the site is gone", func() bool {
		return g.Do(t, http.MethodGet, "/v1/sites/corner/actions", "", nil).Status == http.StatusNotFound
	})
	g.works(token)
	g.write("vouchsafe.yaml", config)
	g.until("the site is back", func() bool {
		return g.Do(t, http.MethodGet, "/v1/sites/corner/actions", "", nil).Status == http.StatusOK
	})
}

// SIGHUP reads everything again, the help pages too.
func TestHangupReadsHelpPagesToo(t *testing.T) {
	g := start(t)
	ask := harness.Turn{Message: "where can I park a cargo bike?"}
	if got := g.Chat(t, harness.Site, "", ask); strings.Contains(string(got.Raw), "courtyard") {
		t.Fatalf("answered before there was a page: %s", got.Raw)
	}
	g.write("help/parking.md", "# Parking\n\n## Where can I park a cargo bike?\n\nYou can park a cargo bike in the courtyard behind the shop.\n")
	g.look()
	g.until("the new page is read", func() bool {
		return strings.Contains(string(g.Chat(t, harness.Site, "", ask).Raw), "courtyard")
	})
	select {
	case <-g.Ended():
		t.Fatal("the server ended")
	default:
	}
}

// While keys and sites change over and over, nobody with a good token notices.
func TestVisitorsDoNotNoticeChanges(t *testing.T) {
	g := start(t)
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
				token := g.token(g.Keys[harness.Site].ES256)
				if got := g.Act(t, harness.Site, token, "order.lookup", map[string]any{"order_id": "1001"}, ""); got.Status != http.StatusOK {
					t.Errorf("looking up one's order = %d %s, want 200", got.Status, got.Raw)
				}
			}
		})
	}
	for i := range 3 {
		secret := fmt.Sprintf("5c9e1f7b3a8d2064%016x-%d", i*7919, i)
		g.write("shop.secret", secret)
		k := harness.Keys{Issuer: "https://shop.example", Audience: "vouchsafe-shop", Secret: []byte(secret)}
		token := k.Token(t, harness.Alex)
		g.look()
		g.until("the change is in use", func() bool { return g.status(token) == http.StatusOK })
	}
	close(stop)
	visitors.Wait()
}
