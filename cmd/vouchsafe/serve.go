package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/connectors/provider"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/socket"
	"vouchsafe/engine/voucher"
)

// gcPercent is Go's GOGC for a gate that was not given one.
const gcPercent = 400

// drainTimeout bounds how long requests under way may take once the server
// stops: a little longer than any action may, so that no write is left without
// its outcome.
const drainTimeout = 65 * time.Second

func (c *cli) serveCommand() *cobra.Command {
	var addr, data string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gate; without --config, with a demo shop to try",
		Example: `  vouchsafe serve                             # the demo, on 127.0.0.1:8080
  vouchsafe serve --config vouchsafe.yaml     # your own sites`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			if os.Getenv("GOGC") == "" {
				// The gate's live memory is small and its garbage short-lived:
				// collecting it less often saves an eighth of the processor
				// time of a request for a few megabytes.
				debug.SetGCPercent(gcPercent)
			}
			s := &serving{log: newLogger(level), out: c.out, errs: c.err}
			var err error
			if c.config == "" {
				err = s.demo(cmd.Context(), addr, data)
			} else {
				err = s.configured(cmd.Context(), c.config, addr, data)
			}
			if err != nil {
				return output.Cannot(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "", "the `ADDRESS` to listen on (default 127.0.0.1:8080, or the configuration's)")
	cmd.Flags().StringVar(&data, "data", "", "the `FOLDER` for what the gate stores (default ./data, or the configuration's)")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log every request, without personal data")
	return cmd
}

// serving is one run of the gate: what it has opened, to be closed in reverse.
type serving struct {
	log       *slog.Logger
	out, errs io.Writer
	admin     *adminTCP // nil for the socket alone
	closers   []func() error
}

func (s *serving) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *serving) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

// configured serves the sites of a configuration.
func (s *serving) configured(ctx context.Context, path, addr, data string) (err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	c, seen, err := readConfig(path)
	if err != nil {
		return err
	}
	started := *c
	for _, w := range c.Warnings {
		s.log.Warn(w)
	}
	if addr != "" {
		c.Addr = addr
	}
	if data != "" {
		if c.Data, err = filepath.Abs(data); err != nil {
			return err
		}
	}
	keys, err := readyKeys(c.Keys, c.Data, s.log)
	if err != nil {
		return err
	}
	published := keySets{}
	sites, err := sitesOf(c, published)
	if err != nil {
		return err
	}
	source, err := sourceOf(c.Policies)
	if err != nil {
		return err
	}
	l, err := listen(c.Addr)
	if err != nil {
		return err
	}
	s.onClose(func() error { return ignoreClosed(l.Close()) })
	if s.admin, err = listenAdmin(c); err != nil {
		return err
	}
	if s.admin != nil {
		s.onClose(func() error { return ignoreClosed(s.admin.Close()) })
	}
	client, err := s.providerOf(ctx, c, voucher.NewSigner(keys.Permit))
	if err != nil {
		return err
	}
	allow := s.allower(c, path)
	if err := allow(ctx); err != nil {
		return err
	}
	a, err := assemble(ctx, settings{data: c.Data, keys: keys, policies: source, rollout: c.Policies, sites: sites, provider: client,
		limits: limitsOf(c.Limits), notFound: c.Limits.NotFoundAfter, proxies: c.TrustedProxies, sinks: c.Sinks, log: s.log})
	if err != nil {
		return err
	}
	s.onClose(a.close)
	if err := a.recordKeys(ctx, c); err != nil {
		return err
	}
	a.reload = &reloader{path: path, app: a, started: &started, log: s.log, published: published, config: c, seen: seen, allow: allow}
	s.onClose(a.reload.watch(ctx))
	return s.run(ctx, a, c.Data, l, func() {
		fmt.Fprintf(s.out, "Vouchsafe serves %d site(s) on http://%s\n", len(sites), l.Addr())
	})
}

// readyKeys sees that the gate's keys are there. They are made only where
// nothing was ever stored: a key that was lost is never replaced in silence.
func readyKeys(dir, data string, log *slog.Logger) (config.Keys, error) {
	_, err := os.Stat(filepath.Join(data, auditDir))
	if errors.Is(err, fs.ErrNotExist) && keyless(dir) {
		made, err := config.EnsureKeys(dir)
		if err != nil {
			return config.Keys{}, err
		}
		log.Info("made the gate's keys; keep a copy of them in a safe place", "folder", dir, "keys", made)
	}
	return config.LoadKeys(dir)
}

// keyless reports a keys folder that is not there, or that holds only the
// provider's key, which adding a first connection makes.
func keyless(dir string) bool {
	held, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	return err == nil && (len(held) == 0 || len(held) == 1 && held[0].Name() == providerKey)
}

// providerOf reaches the connection provider, starting one when it is embedded.
func (s *serving) providerOf(ctx context.Context, c *config.Config, signer *voucher.Signer) (*provider.Client, error) {
	switch {
	case c.Connections.Embedded:
		return s.startProvider(ctx, providerPaths(c, c.Data), signer)
	case c.Connections.Socket != "":
		return provider.NewClient(c.Connections.Socket, c.Connections.Key.File)
	default:
		return provider.NewClient(c.Connections.URL, c.Connections.Key.File)
	}
}

// startProvider starts the connection provider as a child process. Its master
// key and the credentials are its own; this process never reads them.
func (s *serving) startProvider(ctx context.Context, o provider.Options, signer *voucher.Signer) (*provider.Client, error) {
	args := []string{"connection", "serve", "--child", "--dir", o.Dir, "--key-file", o.Key.File, "--socket", o.Socket,
		"--permit-key", signer.Public()}
	if err := s.keep(ctx, args...); err != nil {
		return nil, err
	}
	client, err := provider.NewClient(o.Socket, provider.ProxyKeyFile(o.Dir))
	if err != nil {
		return nil, err
	}
	s.onClose(func() error { client.Close(); return nil })
	return client, nil
}

// allower tells an embedded provider which calls the manifests make. It does so
// by a command of the operator's, as a process of its own: configuration and
// provider are the same operator's here, and the key that it takes is never in
// this process. Beside a provider that runs apart, the operator runs it.
func (s *serving) allower(c *config.Config, path string) func(context.Context) error {
	if !c.Connections.Embedded {
		return func(context.Context) error { return nil }
	}
	return func(ctx context.Context) error {
		return s.runSelf(ctx, "connection", "allow", "--apply", "--config", path, "--data", c.Data)
	}
}

// keep starts a child and keeps it running until the end.
func (s *serving) keep(ctx context.Context, args ...string) error {
	_, err := s.keepAt(ctx, args...)
	return err
}

func (s *serving) keepAt(ctx context.Context, args ...string) (addr string, err error) {
	ch, err := startChild(ctx, s.errs, args...)
	if err != nil {
		return "", err
	}
	k := keepChild(ch, s.errs, s.log, args...)
	s.onClose(func() error { k.stop(); return nil })
	return ch.Addr, nil
}

func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, output.WithHint(fmt.Errorf("%s is in use by another program", addr), "choose another with --addr, such as --addr 127.0.0.1:8090")
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, err)
	}
	return l, nil
}

// run serves until ctx is done, then drains.
func (s *serving) run(ctx context.Context, a *app, data string, public net.Listener, announce func()) error {
	admin, err := socket.Listen(filepath.Join(data, adminSocket))
	if err != nil {
		return fmt.Errorf("opening the admin socket: %w", err)
	}
	servers := []*http.Server{httpapi.HTTPServer(a.server.Public()), httpapi.HTTPServer(a.server.Admin())}
	listeners := []net.Listener{public, admin}
	if s.admin != nil {
		servers = append(servers, httpapi.HTTPServer(a.adminOverTCP()))
		listeners = append(listeners, s.admin)
		s.log.Info("the admin side answers over TCP too", "address", s.admin.Addr().String(), "tokens", len(a.tokens.List()))
	}
	ended := make(chan error, len(servers))
	for i, l := range listeners {
		go func() { ended <- servers[i].Serve(l) }()
	}
	announce()
	select {
	case <-ctx.Done():
		s.log.Info("stopping: no new requests, finishing those under way")
	case err = <-ended:
		s.log.Error("the server ended by itself", "cause", err)
	}
	a.server.EndStreams()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	for _, srv := range servers {
		if stopErr := srv.Shutdown(drain); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("draining: %w", stopErr), srv.Close())
		}
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
