package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/connectors"
	"vouchsafe/engine"
	"vouchsafe/engine/admin"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/confirm"
	"vouchsafe/engine/conversation"
	"vouchsafe/engine/doubt"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/httpapi/widget"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/limit"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/revoke"
	"vouchsafe/engine/rollout"
	"vouchsafe/engine/sink"
	"vouchsafe/engine/store"
	"vouchsafe/engine/tally"
	"vouchsafe/engine/voucher"
	"vouchsafe/kb"
)

// The files in the data folder.
const (
	auditDir     = "audit"
	stateFile    = "state.db"
	kbFile       = "kb.db"
	historyFile  = "policies.db"
	adminSocket  = "admin.sock"
	providerDir  = "provider"
	providerSock = "provider.sock"
)

// settings are everything a gate is assembled from, wherever it came from.
type settings struct {
	data     string
	keys     config.Keys
	policies rollout.Source
	rollout  config.Policies // beside where they come from
	sites    []siteSettings
	provider connectors.ProviderClient
	limits   httpapi.Limits
	notFound time.Duration // see gate.Options.NotFoundAfter
	proxies  []netip.Prefix
	demo     *httpapi.Demo
	hosts    func(host string) bool
	sinks    []config.Sink
	log      *slog.Logger
}

// auditOptions are those of the decision log.
func auditOptions(k config.Keys, sites []siteSettings) audit.Options {
	return audit.Options{Master: k.Master[:], Checkpoint: k.Checkpoint, SegmentAge: segmentAge(sites)}
}

// siteSettings is one site to be served.
type siteSettings struct {
	site      engine.Site
	verifier  *identity.Verifier
	testMode  bool
	manifests []*connectors.Manifest
	// knowledge is the site's help folder, nil for none; knowledgeURL is where
	// it is published.
	knowledge    fs.FS
	knowledgeURL string
	retention    time.Duration // of its decisions; 0 is for ever
}

// app is an assembled gate.
type app struct {
	server        *httpapi.Server
	audit         *audit.Log
	state         *store.DB
	revoked       *revoke.List
	tokens        *admin.Tokens
	uses          *admin.Ledger
	doubts        *doubt.Watch
	counts        *tally.Book
	sinks         []*sink.Sink
	confirm       *confirm.Store
	conversations *conversation.Service
	keeping       retention // of the log
	kb            *kb.Base
	policy        *policy.Engine
	rollout       *rollout.Rollout
	history       *rollout.History // of policies
	shadows       *shadows
	guard         *connectors.Guard
	sites         atomic.Pointer[[]siteSettings] // those that are served
	reload        *reloader                      // nil for the demo, which has no files to change
	log           *slog.Logger
	// keysSeen is what each site's keys come to, as it is on record.
	keysSeen map[string][sha256.Size]byte
	stop     []func() // what runs beside the server, ended before the files are closed
}

// assemble opens the files and puts a gate together.
func assemble(ctx context.Context, s settings) (_ *app, err error) {
	a := &app{log: s.log}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	catalog, probes, err := probesOf(s.sites)
	if err != nil {
		return nil, err
	}
	if a.audit, err = audit.Open(filepath.Join(s.data, auditDir), auditOptions(s.keys, s.sites)); err != nil {
		return nil, err
	}
	a.sites.Store(&s.sites)
	if a.history, err = rollout.OpenHistory(filepath.Join(s.data, historyFile), store.Options{}); err != nil {
		return nil, err
	}
	a.rollout, err = rollout.Start(ctx, rollout.Options{Source: s.policies, History: a.history, Record: a.recordRollout,
		Catalog: catalog, Probe: probes, Coverage: s.rollout.Coverage, Replay: a.budget(s.rollout.Replay),
		MaxStaleness: s.rollout.MaxStaleness, Logger: s.log})
	if err != nil {
		return nil, err
	}
	a.policy = a.rollout.Engine()
	revision := func() string { return a.policy.Active().Revision() }
	if a.state, err = store.Open(filepath.Join(s.data, stateFile), "state", store.Options{}); err != nil {
		return nil, err
	}
	if a.revoked, err = revoke.Open(a.state, time.Now); err != nil {
		return nil, err
	}
	if a.tokens, err = admin.Open(a.state, time.Now); err != nil {
		return nil, err
	}
	a.uses = admin.NewLedger(a.audit, time.Now)
	a.regularly(ctx, usesEvery, "the use of admin tokens could not be recorded", func(ctx context.Context) error {
		return errors.Join(a.uses.Flush(ctx, false), a.tokens.Flush(ctx))
	})
	if a.kb, err = kb.Open(filepath.Join(s.data, kbFile)); err != nil {
		return nil, err
	}
	a.regularly(ctx, checkpointEvery, "the state of the decision log could not be signed", a.audit.Checkpoints)
	registry := prometheus.NewRegistry()
	registry.MustRegister(newPolicyMetrics(a.rollout), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vouchsafe_audit_segments", Help: "Files of the decision log."},
			func() float64 { return float64(a.audit.Usage().Segments) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vouchsafe_audit_bytes", Help: "Size of the decision log's files."},
			func() float64 { return float64(a.audit.Usage().Bytes) }),
		newLogMetrics(a.audit.States, &a.keeping))
	if a.doubts, err = doubt.New(a.audit, a.state, time.Now); err != nil {
		return nil, err
	}
	if a.counts, err = tally.Open(a.audit, a.state, time.Now); err != nil {
		return nil, err
	}
	recorder, err := httpapi.NewRecorder(a.doubts, registry, nil)
	if err != nil {
		return nil, err
	}
	a.shadows = &shadows{engine: a.policy, admit: a.admitCandidate, promote: a.rollout.Promote, record: a.recordShadow, clock: time.Now}
	if err := registry.Register(a.shadows); err != nil {
		return nil, err
	}
	a.guard = connectors.NewGuard(s.provider, nil)
	if err := registry.Register(a.guard); err != nil {
		return nil, err
	}
	g := gate.New(gate.Options{Policy: a.policy, Stale: a.rollout.Stale, Log: recorder, NotFoundAfter: s.notFound, Uses: limit.New(a.state), Signer: voucher.NewSigner(s.keys.Permit)})
	for _, site := range s.sites {
		if err := a.importHelp(ctx, site); err != nil {
			return nil, err
		}
	}
	sites, err := a.served(s.sites)
	if err != nil {
		return nil, err
	}
	confirmations := confirm.New(a.state, g, counted{recorder, a.audit}, time.Now)
	if err := confirmations.Lapse(ctx); err != nil {
		return nil, fmt.Errorf("recording what was not confirmed in time: %w", err)
	}
	a.regularly(ctx, lapseEvery, "what was not confirmed in time could not be recorded", confirmations.Lapse)
	a.confirm = confirmations
	conversations := conversation.New(a.state, g, confirmations, time.Now)
	a.conversations = conversations
	if err := a.settle(ctx, conversations); err != nil {
		return nil, err
	}
	if err := a.startSinks(ctx, s.sinks, registry); err != nil {
		return nil, err
	}
	a.server, err = httpapi.New(httpapi.Options{
		Sites:          sites,
		Gate:           g,
		Act:            confirmations,
		Chat:           conversations,
		Revoke:         a.revoked.SignOut,
		End:            conversations.End,
		Log:            a.audit,
		State:          a.state,
		Limits:         s.limits,
		TrustedProxies: s.proxies,
		Hosts:          s.hosts,
		Demo:           s.demo,
		Metrics:        registry,
		Logger:         s.log,
		Health:         a.health,
		Policy:         revision,
		PolicyNote:     a.policyNote,
		Version:        version(),
		Widget:         widget.JS,
		WidgetETag:     widget.ETag,
		Sinks:          a.sinkStatuses,
		Logs:           a.logStates,
		AdminRoutes:    append(a.adminRoutes(), a.policyRoutes()...),
	})
	if err != nil {
		return nil, err
	}
	a.beside(ctx, a.rollout.Run)
	a.beside(ctx, a.retainRegularly)
	a.regularly(ctx, tidyEvery, "the state file could not be written anew without what has lapsed", func(ctx context.Context) error {
		return a.state.Tidy(ctx, time.Now())
	})
	return a, nil
}

// beside runs something until the app is closed.
func (a *app) beside(ctx context.Context, run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	a.stop = append(a.stop, func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		run(ctx)
	}()
}

// checkpointEvery is how often the state of a log that grew is signed.
const checkpointEvery = time.Minute

// How often outcomes that could not be written are tried again and what is settled
// is noted, and how often decisions are counted.
const (
	doubtEvery = 5 * time.Second
	countEvery = 2 * time.Second
)

// settle says of every call that an earlier process left open that its outcome is
// not known, before anything else is served.
func (a *app) settle(ctx context.Context, told *conversation.Service) error {
	report, err := a.doubts.Settle(ctx, func(ctx context.Context, c doubt.Call) error {
		if c.Conversation == "" {
			return nil // an assistant or a script, which has its Idempotency-Key
		}
		return told.Doubt(ctx, c.Site, c.Conversation, c.Subject, conversation.Doubt{Decision: c.Decision, Action: c.Action, Args: c.Args})
	})
	if err != nil {
		return err
	}
	if report.Unknown > 0 {
		a.log.Warn("the gate ended before these calls were over; what became of them is not known: see `vouchsafe audit list --code outcome_unknown`", "calls", report.Unknown)
	}
	a.regularly(ctx, doubtEvery, "how far outcomes are settled could not be noted", a.doubts.Look)
	a.regularly(ctx, countEvery, "decisions could not be counted", a.counts.Look)
	return nil
}

// tidyEvery is how often the state file is written anew: nothing that has lapsed
// is left in its pages for longer.
const tidyEvery = 24 * time.Hour

// usesEvery is how often it is written down when admin tokens were used.
const usesEvery = time.Minute

// lapseEvery is how often what was not confirmed in time is recorded as such.
const lapseEvery = 10 * time.Second

// regularly does something every so often until the app is closed. What fails
// is logged when it begins to.
func (a *app) regularly(ctx context.Context, every time.Duration, failed string, do func(context.Context) error) {
	a.beside(ctx, func(ctx context.Context) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		var before error
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := do(ctx)
			if err != nil && before == nil && ctx.Err() == nil {
				a.log.Error(failed, "cause", err.Error())
			}
			before = err
		}
	})
}

// counted is a log whose decisions are counted on their way.
type counted struct {
	gate.Recorder
	*audit.Log
}

func (c counted) Decision(ctx context.Context, d *audit.Decision) error {
	return c.Recorder.Decision(ctx, d)
}

// served makes of sites what the server serves.
func (a *app) served(sites []siteSettings) (map[string]*httpapi.Site, error) {
	out := make(map[string]*httpapi.Site, len(sites))
	for _, s := range sites {
		bound, err := bind(s, a.guard, a.kb)
		if err != nil {
			return nil, err
		}
		s.verifier.Heed(a.revoked.Revoked)
		site := &httpapi.Site{Gate: bound, Verify: s.verifier.Verify, TestMode: s.testMode}
		if published := s.verifier.Published(); published != nil {
			site.Published = published.Status
		}
		out[s.site.ID] = site
	}
	return out, nil
}

// bind joins a site's actions to their connectors.
func bind(s siteSettings, g *connectors.Guard, base *kb.Base) (*gate.Site, error) {
	catalog, err := s.catalog()
	if err != nil {
		return nil, err
	}
	site := s.site
	made := map[*connectors.Manifest]gate.Connector{}
	var bindings []gate.Binding
	for _, action := range catalog.Actions() {
		m := catalog.Manifest(action.Name)
		if made[m] == nil {
			if m.Kind == connectors.KindKnowledge {
				made[m] = base.Connector(s.site.ID, time.Now)
			} else {
				made[m] = connectors.NewConnector(m, &site, g, time.Now)
			}
		}
		bindings = append(bindings, gate.Binding{Action: action, Connector: made[m]})
	}
	return gate.NewSite(&site, bindings)
}

// importHelp brings a site's help folder into the knowledge base. A page that
// cannot be read is reported and does not keep the gate from starting.
func (a *app) importHelp(ctx context.Context, s siteSettings) error {
	if s.knowledge == nil {
		return nil
	}
	report, err := a.kb.Import(ctx, s.site.ID, s.knowledge, kb.ImportOptions{BaseURL: s.knowledgeURL})
	if err != nil {
		return fmt.Errorf("reading the help pages of site %s: %w", s.site.ID, err)
	}
	for _, problem := range report.Problems {
		a.log.Warn("a help page was left out", "site", s.site.ID, "problem", problem)
	}
	return nil
}

// health is whether the gate can serve at all, and what does not work.
func (a *app) health() httpapi.Health {
	h := httpapi.Health{Ready: true}
	if err := a.audit.Health(); err != nil {
		h.Ready = false
		h.Degraded = append(h.Degraded, "decisions cannot be recorded, so every action is refused: "+err.Error())
	}
	if err := a.state.Health(); err != nil {
		h.Ready = false
		h.Degraded = append(h.Degraded, "conversations and confirmations cannot be kept: "+err.Error())
	}
	for _, s := range *a.sites.Load() {
		if published := s.verifier.Published(); published != nil {
			if err := published.Status().Err; err != nil {
				h.Degraded = append(h.Degraded, "the keys that the issuer of site "+s.site.ID+" publishes cannot be fetched: "+withoutURL(err).Error())
			}
		}
	}
	for _, c := range a.guard.States() {
		if c.Open {
			h.Degraded = append(h.Degraded, "the system behind connection "+c.Connection+" of site "+c.Site+" keeps failing, so it is left alone for a few seconds at a time")
		}
		for _, code := range c.Refused {
			h.Degraded = append(h.Degraded, refusedConnection(c.Site, c.Connection, code))
		}
	}
	h.Degraded = append(h.Degraded, a.rollout.Problems()...)
	h.Degraded = append(h.Degraded, a.sinkProblems(time.Now())...)
	h.Degraded = append(h.Degraded, a.keeping.problems()...)
	h.Degraded = append(h.Degraded, unsigned(a.audit.States(), time.Now())...)
	if a.reload != nil {
		h.Degraded = append(h.Degraded, a.reload.Problems()...)
	}
	return h
}

// close closes the files, the log last.
func (a *app) close() error {
	var errs []error
	for _, stop := range a.stop {
		stop()
	}
	if a.shadows != nil {
		a.shadows.close()
	}
	if a.counts != nil && a.audit.Health() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		errs = append(errs, a.doubts.Close(ctx))
		_ = a.counts.Look(ctx) // what is left is counted after the next start
		cancel()
	}
	if a.uses != nil {
		errs = append(errs, a.uses.Flush(context.Background(), true), a.tokens.Flush(context.Background()))
	}
	if a.kb != nil {
		errs = append(errs, a.kb.Close())
	}
	if a.state != nil {
		errs = append(errs, a.state.Close())
	}
	if a.history != nil {
		errs = append(errs, a.history.Close())
	}
	if a.audit != nil {
		// What cannot be signed now is when the server runs again.
		_ = a.audit.Checkpoints(context.Background())
		errs = append(errs, a.audit.Close())
	}
	return errors.Join(errs...)
}

// newLogger logs to standard error as JSON, or as text to a terminal. Nothing
// personal is ever given to it.
func newLogger(level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return slog.New(slog.NewTextHandler(os.Stderr, o))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, o))
}
