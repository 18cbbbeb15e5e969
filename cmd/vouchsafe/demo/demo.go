// Package demo is Harbor Goods, a small shop that stands in for a customer of
// Vouchsafe: its own sign-in, its own data, its own signing key and an admin
// API that, like most, checks a key and nothing else.
//
// It runs as a process of its own, so that none of its secrets is ever in the
// gate's memory, and it listens on loopback only.
package demo

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"
	_ "time/tzdata" // the shop keeps London time wherever it runs
)

// The two sites the gate serves for the shop, and its one connection.
const (
	SiteID       = "demo"      // tier pro
	FreeSiteID   = "demo-free" // tier free
	ConnectionID = "harbor-admin"
	Name         = "Harbor Goods"
	TimeZone     = "Europe/London"
	APIKeyHeader = "X-Api-Key" // of the admin API
	KeyID        = "harbor-1"  // kid of the token signing key
)

// Sites are the ids of both sites.
var Sites = []string{SiteID, FreeSiteID}

// Audience is what a token for one of the shop's sites names as its audience.
func Audience(site string) string { return "vouchsafe-" + site }

//go:embed actions/*.yaml
var actions embed.FS

// Actions holds the shop's action manifests.
var Actions = sub(actions, "actions")

//go:embed help/*.md
var help embed.FS

// Help holds the pages of the shop's help centre.
var Help = sub(help, "help")

//go:embed site
var site embed.FS

func sub(f fs.FS, dir string) fs.FS {
	s, err := fs.Sub(f, dir)
	if err != nil {
		panic(err) // only for a malformed constant
	}
	return s
}

// Options of Serve.
type Options struct {
	Addr    string            // a loopback address; port 0 picks one
	Dir     string            // the shop's own folder
	GateURL string            // origin of the gate whose widget the page embeds
	Ready   func(addr string) // called once, when the shop accepts connections
	Log     *slog.Logger
	Now     func() time.Time // time.Now when nil
}

// Serve runs the shop until ctx is done.
func Serve(ctx context.Context, o Options) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := loopback(o.Addr); err != nil {
		return err
	}
	gate, err := origin(o.GateURL)
	if err != nil {
		return err
	}
	files, err := Prepare(o.Dir)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Addr)
	if err != nil {
		return fmt.Errorf("opening the demo shop's port: %w", err)
	}
	s, err := open(files, l.Addr().String(), gate, o.Now)
	if err != nil {
		l.Close()
		return err
	}
	srv := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- srv.Shutdown(grace)
	})
	o.Log.Info("demo shop open", "addr", l.Addr().String())
	if o.Ready != nil {
		o.Ready(l.Addr().String())
	}
	err = srv.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		err = <-stopped
	} else {
		stop()
	}
	return errors.Join(err, s.calls.Close())
}

// loopback refuses an address that a neighbour on the network could reach.
func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("the demo shop's address: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("the demo shop listens on loopback only, not on %q", addr)
	}
	return nil
}

// origin checks that raw is a scheme and a host, and nothing that could add a
// source to the page's security policy.
func origin(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" ||
		(u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.User != nil {
		return "", fmt.Errorf("the gate's address %q is not an origin such as http://127.0.0.1:8080", raw)
	}
	return u.Scheme + "://" + u.Host, nil
}

// handler is everything the shop answers, for its own names only: a page of
// another site that resolves its name to this machine gets nothing.
func (s *shop) handler() http.Handler {
	mux := http.NewServeMux()
	s.routePages(mux)
	s.routeSessions(mux)
	s.routeAdmin(mux)
	sameOrigin := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != s.addr && r.Host != s.localhost {
			http.Error(w, "this server is known by another name", http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		sameOrigin.ServeHTTP(w, r)
	})
}
