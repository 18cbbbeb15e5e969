package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"vouchsafe/cmd/vouchsafe/config"
)

// How often the configuration's files are looked at, and how long they must
// then stay as they are: whoever writes a file may not have finished.
//
// They are read rather than watched. A watch sees a file's old inode after an
// editor has renamed a new one into its place, a folder mounted from elsewhere
// or swapped by a symbolic link not at all, and it would have to follow the
// globs as well; a few small files read every other second miss none of it.
const (
	lookEvery   = 2 * time.Second
	settleAfter = 200 * time.Millisecond
	settleTries = 5
)

// reloader takes changes of the configuration, of the key files and of the
// manifests into a running gate. Everything is read and bound before anything
// is replaced, so a change that is wrong changes nothing.
type reloader struct {
	path    string
	app     *app
	started *config.Config // as the gate was started with it
	log     *slog.Logger
	allow   func(context.Context) error // tells the provider which calls the manifests make

	// Used by the watching goroutine alone.
	published keySets
	config    *config.Config // in use
	seen      fingerprint    // of the files, when config was read
	helpDue   bool           // help folders could not be read again when they should have been

	mu      sync.Mutex
	wrong   string   // how what is served differs from the files, "" when it does not
	restart []string // settings that differ and need a restart
}

// Problems says how what is served differs from what the files say.
func (r *reloader) Problems() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	if r.wrong != "" {
		out = append(out, r.wrong)
	}
	if len(r.restart) > 0 {
		out = append(out, restartNeeded(r.restart))
	}
	return out
}

func restartNeeded(keys []string) string {
	return "the configuration has a new value of " + strings.Join(keys, ", ") + ", which takes effect at the next start"
}

// watch begins to watch until ctx is done. What it returns ends that, and waits.
// SIGHUP looks at once, whether or not anything seems to have changed.
func (r *reloader) watch(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer signal.Stop(hangup)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				r.apply(ctx, true)
			case <-tick.C:
				if r.changed(ctx) {
					r.apply(ctx, false)
				}
			}
		}
	}()
	return func() error {
		cancel()
		<-ended
		return nil
	}
}

// changed reports whether there is something to apply, once the files are at
// rest. After a change that was refused there always is: what was wrong may be
// put right where we do not look.
func (r *reloader) changed(ctx context.Context) bool {
	now := look(r.config)
	if now == r.seen {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.wrong != ""
	}
	for range settleTries {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(settleAfter):
		}
		before := now
		if now = look(r.config); now == before {
			break
		}
	}
	return true
}

// apply takes the files as they are. all reads every help folder again; without
// it, only those that the configuration did not name before.
func (r *reloader) apply(ctx context.Context, all bool) {
	c, seen, err := readConfig(r.path)
	if err == nil {
		err = r.replace(ctx, c)
	}
	if err != nil {
		r.report(ctx, "a change of the configuration or of its files cannot be used, so everything stays as it was", err)
		return
	}
	r.config, r.seen = c, seen
	for _, w := range c.Warnings {
		r.log.Warn(w)
	}
	restart := needRestart(r.started, c)
	if len(restart) > 0 {
		r.log.Warn(restartNeeded(restart))
	}
	r.mu.Lock()
	r.restart = restart
	r.mu.Unlock()
	r.log.Info("the configuration and its files were read again and are in use", "sites", len(c.Sites))
	// After the swap: reading thousands of pages must not keep a key in use.
	if all || r.helpDue {
		err = r.readHelp(ctx)
		r.helpDue = err != nil
	}
	r.report(ctx, "the help pages could not be read again, so the old ones stay", err)
}

// report keeps what is wrong for whoever asks, and logs it when it is news.
func (r *reloader) report(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return // the gate is ending, which is why
	}
	wrong := ""
	if err != nil {
		wrong = what + ": " + err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && wrong != r.wrong {
		r.log.Error(what, "cause", err.Error())
	}
	r.wrong = wrong
}

// replace serves the sites of c instead of those that are served.
func (r *reloader) replace(ctx context.Context, c *config.Config) error {
	// Sets that the new configuration no longer names are dropped with this map.
	published := keySets{}
	for _, s := range c.Sites {
		if known := r.published[s.Tokens.JWKSURL]; known != nil {
			published[s.Tokens.JWKSURL] = known
		}
	}
	sites, err := sitesOf(c, published)
	if err != nil {
		return err
	}
	served, err := r.app.served(sites)
	if err != nil {
		return err
	}
	for _, s := range sites {
		if r.newHelp(c, s.site.ID) {
			if err := r.app.importHelp(ctx, s); err != nil {
				return err
			}
		}
	}
	catalog, probes, err := probesOf(sites)
	if err != nil {
		return err
	}
	if err := r.allow(ctx); err != nil {
		return err
	}
	// The policy in force was probed over the actions and sites there were.
	err = r.app.rollout.WithCatalog(ctx, catalog, probes, func() error {
		set := r.app.policy.Active()
		if err := r.app.recordWaivers(ctx, set.Revision(), set.Waived(), r.added(sites)); err != nil {
			return err
		}
		if err := r.app.recordKeys(ctx, c); err != nil {
			return err
		}
		if err := r.app.server.SetSites(served); err != nil {
			return err
		}
		r.app.sites.Store(&sites)
		return nil
	})
	if err != nil {
		return err
	}
	r.published = published
	return nil
}

// added are the sites that are not served yet.
func (r *reloader) added(sites []siteSettings) []siteSettings {
	served := *r.app.sites.Load()
	return slices.DeleteFunc(slices.Clone(sites), func(s siteSettings) bool {
		return slices.ContainsFunc(served, func(known siteSettings) bool { return known.site.ID == s.site.ID })
	})
}

// readHelp brings the help folders of all sites into the knowledge base again.
func (r *reloader) readHelp(ctx context.Context) error {
	var problems []error
	for _, s := range *r.app.sites.Load() {
		problems = append(problems, r.app.importHelp(ctx, s))
	}
	return errors.Join(problems...)
}

// newHelp reports whether c names another help folder for a site than before.
func (r *reloader) newHelp(c *config.Config, id string) bool {
	help := func(c *config.Config) [2]string {
		i := slices.IndexFunc(c.Sites, func(s config.Site) bool { return s.ID == id })
		if i < 0 {
			return [2]string{}
		}
		return [2]string{c.Sites[i].Knowledge, c.Sites[i].KnowledgeURL}
	}
	return help(c) != help(r.config)
}

// needRestart names the settings that differ and that a running gate keeps.
func needRestart(started, now *config.Config) []string {
	var keys []string
	for _, setting := range []struct {
		key  string
		a, b any
	}{
		{"addr", started.Addr, now.Addr},
		{"data", started.Data, now.Data},
		{"keys", started.Keys, now.Keys},
		{"policies", started.Policies, now.Policies},
		{"admin", started.Admin, now.Admin},
		{"limits", started.Limits, now.Limits},
		{"trusted_proxies", started.TrustedProxies, now.TrustedProxies},
		{"connections", started.Connections, now.Connections},
		{"sinks", started.Sinks, now.Sinks},
	} {
		if !reflect.DeepEqual(setting.a, setting.b) {
			keys = append(keys, setting.key)
		}
	}
	return keys
}

// fingerprint is what the files of a configuration looked like.
type fingerprint [sha256.Size]byte

// readConfig reads a configuration, and what its files looked like before they
// were read, so that no later change goes unnoticed.
func readConfig(path string) (*config.Config, fingerprint, error) {
	c, err := config.Load(path)
	if err != nil {
		return nil, fingerprint{}, err
	}
	seen := look(c) // the first reading only said which files there are
	c, err = config.Load(path)
	return c, seen, err
}

// look reads the configuration's file, its sites' key files and whatever their
// globs match.
func look(c *config.Config) fingerprint {
	files := []string{c.File}
	for _, s := range c.Sites {
		for _, k := range s.Tokens.Keys {
			if k.Source.File != "" {
				files = append(files, k.Source.File)
			}
		}
		for _, glob := range s.ActionGlobs {
			matches, err := filepath.Glob(glob)
			if err != nil {
				continue // refused when the configuration was read
			}
			files = append(files, matches...)
		}
	}
	slices.Sort(files)
	h := sha256.New()
	for _, file := range slices.Compact(files) {
		content, err := hashFile(file)
		fmt.Fprintf(h, "%q %x %v\n", file, content, err)
	}
	return fingerprint(h.Sum(nil))
}

// maxLooked bounds what is read of one file; no file that can be used is larger.
const maxLooked = 4 << 20

// hashFile hashes a regular file. A device or pipe is not opened: that could
// block for ever.
func hashFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, reasonOf(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrInvalid
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, reasonOf(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxLooked)); err != nil {
		return nil, reasonOf(err)
	}
	return h.Sum(nil), nil
}

// reasonOf is a file error without its path.
func reasonOf(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
