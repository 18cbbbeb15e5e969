package harness

import (
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"vouchsafe/engine/httpapi/apitest"
)

// Demo is `vouchsafe serve` without a configuration.
type Demo struct {
	process
	URL     string // of the gate
	ShopURL string // of the page
	Data    string
	Client  *http.Client
}

// StartDemo starts the demo on free ports. It ends with the test.
func StartDemo(t testing.TB) *Demo {
	t.Helper()
	dir := t.TempDir()
	d := &Demo{Data: filepath.Join(dir, "data"), Client: apitest.Client(t)}
	d.process = process{t: t, logs: filepath.Join(dir, "server.log"),
		args: []string{"serve", "--addr", "127.0.0.1:0", "--data", d.Data, "--verbose"},
		said: func(line string) bool {
			if at := after(line, "the gate on "); at != "" {
				d.URL = strings.TrimSpace(at)
			}
			line = strings.TrimSpace(line)
			if d.URL == "" || !strings.HasPrefix(line, "http://") {
				return false
			}
			d.ShopURL = strings.TrimSuffix(line, "/")
			return true
		}}
	d.start()
	t.Cleanup(d.end)
	await(t, d.Client, d.URL+"/readyz", http.StatusOK)
	return d
}

// Restart starts the demo again after Stop or Kill, on other ports.
func (d *Demo) Restart() {
	d.t.Helper()
	d.URL, d.ShopURL = "", ""
	d.start()
	await(d.t, d.Client, d.URL+"/readyz", http.StatusOK)
}

// SignIn signs a customer (alex or jordan) in at the shop and returns a token
// for one of its sites.
func (d *Demo) SignIn(t testing.TB, customer, siteID string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	defer client.CloseIdleConnections()
	resp, err := client.PostForm(d.ShopURL+"/login", url.Values{"customer": {customer}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	resp, err = client.Post(d.ShopURL+"/vouchsafe-token?site="+siteID, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Token == "" {
		t.Fatalf("signing %s in: %s, %v", customer, resp.Status, err)
	}
	return got.Token
}

// server lends the demo the ways to talk to a Server.
func (d *Demo) server() *Server { return &Server{URL: d.URL, Client: d.Client} }

// Chat takes a turn at one of the demo's sites.
func (d *Demo) Chat(t testing.TB, siteID, token string, turn Turn) Answer {
	t.Helper()
	return d.server().Chat(t, siteID, token, turn)
}

// Act asks for an action of the demo's.
func (d *Demo) Act(t testing.TB, siteID, token, action string, args map[string]any, confirm string, header ...string) Acted {
	t.Helper()
	return d.server().Act(t, siteID, token, action, args, confirm, header...)
}
