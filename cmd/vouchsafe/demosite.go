package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/demo"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/connectors"
	"vouchsafe/engine"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/rollout"
	"vouchsafe/engine/voucher"
	"vouchsafe/policies"
)

// Where the demo listens and stores when nothing else is said.
const (
	demoAddr = "127.0.0.1:8080"
	demoData = "data"
)

// shopDir is the demo shop's own folder.
func shopDir(data string) string { return filepath.Join(data, "demo", "shop") }

// demoKeys is the folder of the demo gate's own keys. It is inside the data
// folder, where a real gate's may not be: they guard nothing but the demo.
func demoKeys(data string) string { return filepath.Join(data, "demo", "keys") }

// shopCommand is the demo shop's process. `serve` starts it.
func (c *cli) shopCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:    "demo-shop",
		Short:  "Run the demo's shop, as a child of serve",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Log = newLogger(0)
			err := runChild(cmd.Context(), c.in, c.out, func(ctx context.Context, ready func(string)) error {
				o.Ready = ready
				return demo.Serve(ctx, o)
			})
			if err != nil {
				return output.Cannot(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Addr, "addr", "127.0.0.1:0", "the loopback address to listen on")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "the shop's folder")
	cmd.Flags().StringVar(&o.GateURL, "gate", "", "the gate's origin")
	return cmd
}

// demo serves the demo's two sites, with the shop and the connection provider
// as processes of their own: neither's secrets are ever in this one.
func (s *serving) demo(ctx context.Context, addr, data string) (err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	if addr == "" {
		addr = demoAddr
	}
	if data == "" {
		data = demoData
	}
	if data, err = filepath.Abs(data); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("--addr %s: want HOST:PORT", addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return output.WithHint(fmt.Errorf("the demo listens on this machine only, not on %s", addr), "use --addr 127.0.0.1:8080, or a configuration of your own with --config")
	}
	l, err := listen(addr)
	if err != nil {
		return err
	}
	s.onClose(func() error { return ignoreClosed(l.Close()) })
	gateURL := "http://" + l.Addr().String()

	shop, err := s.startShop(ctx, shopDir(data), gateURL, l.Addr().(*net.TCPAddr).Port+1)
	if err != nil {
		return err
	}
	keys, err := readyKeys(demoKeys(data), data, s.log)
	if err != nil {
		return err
	}
	options := providerPaths(nil, data)
	client, err := s.startProvider(ctx, options, voucher.NewSigner(keys.Permit))
	if err != nil {
		return err
	}
	files := demo.FilesIn(shopDir(data))
	for _, site := range demo.Sites {
		// By a process of its own too: the key goes from the shop's file to
		// the provider, and this process does not see it.
		if err := s.runSelf(ctx, "connection", "add", demo.ConnectionID, "--site", site, "--data", data,
			"--type", "api_key", "--header", demo.APIKeyHeader, "--value-file", files.AdminKey, "--base-url", shop); err != nil {
			return err
		}
	}
	sites, err := demoSites(shop, files.PublicKey)
	if err != nil {
		return err
	}
	a, err := assemble(ctx, settings{data: data, keys: keys, policies: rollout.Fixed{Name: embeddedPolicies, Files: policies.FS}, sites: sites, provider: client, log: s.log,
		notFound: config.DefaultNotFoundAfter,
		demo:     &httpapi.Demo{Origin: shop, Home: shop + "/"},
		hosts:    func(h string) bool { return h == l.Addr().String() || h == localhost(l) },
	})
	if err != nil {
		return err
	}
	s.onClose(a.close)
	return s.run(ctx, a, data, l, func() {
		fmt.Fprintf(s.out, `
Harbor Goods, a demo shop, is open. Its assistant is behind the gate on %s.
Three things to try:
  1. As nobody, ask "do you ship to Canada?", then "where is my order".
  2. Sign in as Alex and say "reschedule my appointment to next Tuesday".
  3. Still as Alex, try "look up the order for jordan@example.com".

  %s/
`, gateURL, shop)
	})
}

func localhost(l net.Listener) string {
	return "localhost:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// startShop starts the shop on the port after the gate's, so that its address
// is the same the next time; on any other when that one is taken.
func (s *serving) startShop(ctx context.Context, dir, gateURL string, port int) (origin string, err error) {
	addr := "127.0.0.1:0"
	if port <= 65535 && free(port) {
		addr = "127.0.0.1:" + strconv.Itoa(port)
	}
	at, err := s.keepAt(ctx, "demo-shop", "--dir", dir, "--gate", gateURL, "--addr", addr)
	if err != nil {
		return "", err
	}
	return "http://" + at, nil
}

func free(port int) bool {
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// runSelf runs another command of this binary to its end.
func (s *serving) runSelf(ctx context.Context, args ...string) error {
	cmd, err := selfCommand(ctx, args...)
	if err != nil {
		return err
	}
	cmd.Stderr = s.errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s %s: %w", args[0], args[1], err)
	}
	return nil
}

// demoSites are the shop's two sites: the same but for the tier.
func demoSites(shop, publicKey string) ([]siteSettings, error) {
	loc, err := time.LoadLocation(demo.TimeZone)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(publicKey)
	if err != nil {
		return nil, fmt.Errorf("reading the demo shop's public key: %w", err)
	}
	manifests, err := demoManifests()
	if err != nil {
		return nil, err
	}
	var out []siteSettings
	for _, id := range demo.Sites {
		key, err := identity.ParsePublicKey(demo.KeyID, "ES256", pem)
		if err != nil {
			return nil, err
		}
		v, err := identity.NewVerifier(identity.Config{Site: id, Issuer: shop, Audience: demo.Audience(id),
			Keys: []identity.Key{key}, ClockSkew: 30 * time.Second})
		if err != nil {
			return nil, err
		}
		site := demoSite(id)
		site.Location, site.SignInURL, site.Origins = loc, shop+"/login", []string{shop}
		out = append(out, siteSettings{site: site, verifier: v, manifests: manifests, knowledge: demo.Help, knowledgeURL: shop + "/help"})
	}
	return out, nil
}

// demoSite is one of the demo's sites, as policies see it.
func demoSite(id string) engine.Site {
	tier := engine.Pro
	if id == demo.FreeSiteID {
		tier = engine.Free
	}
	return engine.Site{ID: id, Name: demo.Name, Tier: tier, MaxTokenLifetime: 15 * time.Minute}
}

func demoManifests() ([]*connectors.Manifest, error) {
	names, err := fs.Glob(demo.Actions, "*.yaml")
	if err != nil {
		return nil, err
	}
	var out []*connectors.Manifest
	for _, name := range names {
		src, err := fs.ReadFile(demo.Actions, name)
		if err != nil {
			return nil, err
		}
		m, err := connectors.ParseManifest(name, src)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}
