package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/socket"
	"vouchsafe/kb"
)

// soonRetired is how long before a key's retirement somebody should know.
const soonRetired = 14 * 24 * time.Hour

// keys admits the site's own keys and looks at when each is believed.
func (x *checkup) keys() {
	const check = "keys"
	v, err := verifierOf(x.at.config, x.site, nil)
	if err != nil {
		x.fail(check, "For a shared secret: `openssl rand -base64 48 > FILE`, and the same text to your backend. For a key pair: name the public key, and let the private one be with your backend alone.", "%v", err)
		return
	}
	x.verifier = v
	t := x.site.Tokens
	now := x.now()
	var active []string
	for _, k := range t.Keys {
		name := fmt.Sprintf("%s (%s)", k.KID, k.Alg)
		retires := k.RetireAfter
		switch {
		case !retires.IsZero() && !now.Before(retires):
			x.warn(check, "Take it out of the configuration.", "%s retired on %s: tokens signed with it are refused", name, retires.Format(time.DateOnly))
			continue
		case now.Before(k.NotBefore):
			x.ok(check, "%s is believed from %s on", name, k.NotBefore.Format(time.DateOnly))
			continue
		case !retires.IsZero() && retires.Sub(now) < soonRetired:
			x.warn(check, "Add the next key beside it and let your backend sign with that one.", "%s retires on %s", name, retires.Format(time.DateOnly))
		}
		active = append(active, name)
	}
	switch {
	case len(active) > 0:
		x.ok(check, "tokens are verified with %s", strings.Join(active, ", "))
	case t.JWKSURL == "":
		x.fail(check, "Add a key that is in use now.", "no key is in use now, so nobody can be verified")
	}
}

// published fetches the issuer's key set.
func (x *checkup) published() {
	const check = "jwks"
	if x.site.Tokens.JWKSURL == "" {
		return
	}
	set, err := identity.NewJWKS(identity.JWKSConfig{URL: x.site.Tokens.JWKSURL})
	if err != nil {
		x.fail(check, "Give the address that ends in the key set itself.", "%v", err)
		return
	}
	if err := set.Refresh(x.ctx, x.now()); err != nil {
		x.fail(check, "Open the jwks_url from this machine: it must answer 200 with a JSON document {\"keys\": [...]}, without a redirect, each key with a kid of its own.",
			"the issuer's keys cannot be had, so tokens signed with them cannot be verified: %v", withoutURL(err))
		return
	}
	s := set.Status()
	x.ok(check, "the issuer publishes %s that can be used", plural(s.Keys, "key"))
	for _, skipped := range s.Skipped {
		x.warn(check, "Nothing, if it is not for signing; otherwise publish a key that can be used.", "a published key is not used: %v", skipped)
	}
}

// testMode is for while a site is integrated.
func (x *checkup) testMode() {
	if x.site.Tokens.TestMode {
		x.warn("test mode", "Set test_mode: false before customers are served.", "whoever sends a token is told exactly why it is refused")
	}
}

// withoutURL is a request's error without the address, which may hold a secret.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// actions reads the manifests as the gate does.
func (x *checkup) actions() {
	const check = "actions"
	const fix = "Each line names the file and what would be right; connectors/README.md is the reference."
	ms, err := manifestsOf(x.site.Actions)
	if err != nil {
		x.fail(check, fix, "%v", err)
		return
	}
	x.bound = siteSettings{site: x.site.Engine(), manifests: ms}
	if x.site.Knowledge != "" {
		x.bound.knowledge = os.DirFS(x.site.Knowledge)
	}
	site, err := bind(x.bound, nil, nil)
	if err != nil {
		x.fail(check, fix, "%v", err)
		return
	}
	var beyond []string
	personal := 0
	for _, a := range site.Actions() {
		if a.MinTier > x.site.Tier {
			beyond = append(beyond, a.Name)
			continue
		}
		if !a.Personal {
			continue
		}
		personal++
		if a.List && a.Risk == engine.Read && len(a.Args.Required()) == 0 {
			x.lists = append(x.lists, a.Name)
		}
	}
	x.ok(check, "%s, of which %d need a signed-in customer", plural(len(site.Actions()), "action"), personal)
	if len(beyond) > 0 {
		x.warn(check, "Raise the site's tier, or lower the actions' min_tier.", "the site's tier, %s, does not include %s", x.site.Tier, strings.Join(beyond, ", "))
	}
	if len(site.Actions()) == 0 {
		x.warn(check, "Name manifests under actions, or a help folder under knowledge.", "there is nothing that the assistant may do")
	}
}

// connections asks the provider for the connections that the manifests name.
// Credentials stay where they are.
func (x *checkup) connections() {
	const check = "connections"
	var wanted []string
	for _, m := range x.bound.manifests {
		if m.Connection != "" && !slices.Contains(wanted, m.Connection) {
			wanted = append(wanted, m.Connection)
		}
	}
	if !x.at.config.Connections.Embedded {
		x.remoteProvider(wanted)
		return
	}
	if len(wanted) == 0 {
		return
	}
	there, err := connections(x.ctx, providerPaths(x.at.config, x.at.data), x.site.ID)
	if err != nil {
		x.fail(check, "See that the data and keys folders belong to whoever runs the gate; `vouchsafe connection list` asks the same.", "the connection provider cannot be asked: %v", err)
		return
	}
	for _, id := range wanted {
		found := false
		for _, c := range there {
			if c.ID == id {
				found = true
				x.ok(check, "%s leads to %s", id, c.BaseURL)
			}
		}
		for _, t := range x.troubles(id) {
			if t.State == connectionDiffers {
				x.warn(check, "`vouchsafe connection allow --config "+x.at.config.File+"` shows them; serve sets them when it starts and when manifests change.", "%s", t)
			} else {
				x.fail(check, "Run what it says; the assistant can do nothing with this connection until then.", "%s", t)
			}
		}
		if !found {
			x.fail(check, fmt.Sprintf("`vouchsafe connection add %s --site %s --config %s --type api_key --header X-Api-Key --value-env NAME --base-url https://...`", id, x.site.ID, x.at.config.File),
				"a manifest names the connection %s, which this site does not have: its actions will fail", id)
		}
	}
}

// troubles are what is wrong with a connection that is there.
func (x *checkup) troubles(id string) []connectionTrouble {
	all, err := connectionTroubles(x.ctx, x.at)
	if err != nil && len(all) == 0 {
		return nil // that it cannot be asked was said
	}
	return slices.DeleteFunc(all, func(t connectionTrouble) bool {
		return t.Site != x.site.ID || t.ID != id
	})
}

// remoteProvider sees whether a provider that runs elsewhere answers. What it
// holds is for its operator's key to list, which the gate does not have.
func (x *checkup) remoteProvider(wanted []string) {
	const check = "connections"
	c := x.at.config.Connections
	base := c.URL
	client := &http.Client{Timeout: doctorTimeout, CheckRedirect: noRedirect}
	if c.Socket != "" {
		base = "http://provider"
		conn, err := socket.Dial(x.ctx, c.Socket)
		if err != nil {
			x.fail(check, "Start it: `vouchsafe connection serve --dir ... --key-file ... --socket ...`", "the connection provider does not answer on its socket")
			return
		}
		conn.Close()
	} else {
		req, err := http.NewRequestWithContext(x.ctx, http.MethodGet, base+"/healthz", nil)
		if err == nil {
			var resp *http.Response
			if resp, err = client.Do(req); err == nil {
				resp.Body.Close()
			}
		}
		if err != nil {
			x.fail(check, "Start it, or correct connections.provider.", "the connection provider does not answer: %v", withoutURL(err))
			return
		}
	}
	x.ok(check, "the connection provider answers")
	if len(wanted) > 0 {
		x.warn(check, "Look with `vouchsafe connection list` where the provider runs.",
			"whether the provider, which runs elsewhere, has %s for this site could not be told from here", strings.Join(wanted, ", "))
	}
}

// help reads the help folder into a knowledge base of its own.
func (x *checkup) help() {
	const check = "help"
	if x.site.Knowledge == "" {
		return
	}
	dir, err := os.MkdirTemp("", "vouchsafe-doctor-")
	if err == nil {
		defer os.RemoveAll(dir)
		var base *kb.Base
		if base, err = kb.Open(filepath.Join(dir, kbFile)); err == nil {
			defer base.Close()
			var report kb.ImportReport
			if report, err = base.Import(x.ctx, x.site.ID, os.DirFS(x.site.Knowledge), kb.ImportOptions{}); err == nil {
				x.ok(check, "%s can be read", plural(report.Added, "help page"))
				for _, p := range report.Problems {
					x.warn(check, "kb/README.md says what a page is.", "a page is left out: %s", p)
				}
			}
		}
	}
	if err != nil {
		x.fail(check, "Name a folder of Markdown or HTML under knowledge.", "the help pages cannot be read: %v", err)
	}
}

// origins looks at which pages may call. How each is written was checked when
// the configuration was read.
func (x *checkup) origins() {
	const check = "origins"
	if len(x.site.Origins) == 0 {
		x.warn(check, "List the pages' origins, such as https://shop.example.", "no page may call the gate: the widget will not work in a browser")
		return
	}
	for _, o := range x.site.Origins {
		if u, err := url.Parse(o); err == nil && u.Scheme != "https" {
			x.warn(check, "Take it out where customers are served.", "%s is not https and for development only: any program on a visitor's machine can be that origin", o)
		}
	}
	u, err := url.Parse(x.site.SignInURL)
	if origin := ""; x.site.SignInURL != "" && err == nil {
		if origin = u.Scheme + "://" + u.Host; !slices.Contains(x.site.Origins, origin) {
			x.warn(check, "Add it, if pages with the widget are served from there. Browsers take www.shop.example and shop.example for two.",
				"%s, where visitors sign in, is not among the origins", origin)
			return
		}
	}
	x.ok(check, "the widget may be used on %s", strings.Join(x.site.Origins, ", "))
}

// onLoopback reports whether a host is this machine.
func onLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
