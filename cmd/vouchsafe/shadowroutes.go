package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vouchsafe/engine"
	"vouchsafe/engine/admin"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/policy/bundle"
)

// Codes of what cannot be done with a shadow.
const (
	codeShadowRunning = "shadow_running"
	codeNoShadow      = "no_shadow"
	codeShadowDiffers = "shadow_differs"
)

var errNoShadow = engine.Errorf(codeNoShadow, "No candidate is being shadowed.", nil)

// shadows is the candidate that is tried beside the policy in force. There is
// at most one, and it ends with the process.
type shadows struct {
	engine  *policy.Engine
	admit   func(ctx context.Context, folder bundle.Folder) (*policy.Set, error)
	promote func(ctx context.Context, by, label string, folder bundle.Folder) error
	record  func(ctx context.Context, kind, by, revision string) error
	clock   func() time.Time

	// changing is held while one begins, ends or is promoted, all of which may
	// take a while.
	changing sync.Mutex

	mu  sync.Mutex // guards now
	now *shadowRun
}

// shadowRun is one candidate being tried.
type shadowRun struct {
	shadow *policy.Shadow
	folder bundle.Folder
	label  string
	by     string
	began  time.Time
}

// shadowView is a shadow as an operator sees it.
type shadowView struct {
	Running bool                 `json:"running"`
	Label   string               `json:"label,omitempty"`
	By      string               `json:"by,omitempty"`
	Began   time.Time            `json:"began,omitzero"`
	Report  *policy.ShadowReport `json:"report,omitempty"`
}

func (s *shadows) running() *shadowRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (r *shadowRun) view(running bool) shadowView {
	report := r.shadow.Report()
	return shadowView{Running: running, Label: r.label, By: r.by, Began: r.began, Report: &report}
}

func (s *shadows) set(r *shadowRun) {
	s.mu.Lock()
	s.now = r
	s.mu.Unlock()
	if r == nil {
		s.engine.Shadow(nil)
	} else {
		s.engine.Shadow(r.shadow)
	}
}

// start admits a candidate as if it were to be put in force, and begins to try
// it.
func (s *shadows) start(ctx context.Context, by, label string, folder bundle.Folder) (shadowView, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.running() != nil {
		return shadowView{}, engine.Errorf(codeShadowRunning, "Another candidate is being shadowed. Stop it first.", nil)
	}
	set, err := s.admit(ctx, folder)
	if refusal, ok := errors.AsType[*policy.Refusal](err); ok {
		return shadowView{}, engine.Errorf(engine.CodePolicyRefused, refusal.Error(), nil)
	}
	if err != nil {
		return shadowView{}, err
	}
	if err := s.record(ctx, "shadow_started", by, set.Revision()); err != nil {
		return shadowView{}, err
	}
	r := &shadowRun{shadow: policy.NewShadow(set, s.clock), folder: folder, label: label, by: by, began: s.clock().UTC()}
	s.set(r)
	return r.view(true), nil
}

// stop ends the shadow and returns what it had found.
func (s *shadows) stop(ctx context.Context, by string) (shadowView, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	r := s.running()
	if r == nil {
		return shadowView{}, errNoShadow
	}
	if err := s.record(ctx, "shadow_stopped", by, r.shadow.Candidate().Revision()); err != nil {
		return shadowView{}, err
	}
	s.end(r)
	return r.view(false), nil
}

func (s *shadows) end(r *shadowRun) {
	s.set(nil)
	r.shadow.Stop()
}

// putInForce promotes the candidate, if it is the one that is meant and its
// report is within the limits. It goes through admission like any other.
func (s *shadows) putInForce(ctx context.Context, by, revision string, limits policy.Limits) (shadowView, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	r := s.running()
	if r == nil {
		return shadowView{}, errNoShadow
	}
	if is := r.shadow.Candidate().Revision(); is != revision {
		return shadowView{}, engine.Errorf(codeShadowDiffers, "The candidate that is being shadowed is "+is+".", nil)
	}
	if err := limits.Exceeded(r.shadow.Report().FlipReport); err != nil {
		return shadowView{}, engine.Errorf(codeShadowDiffers, "The candidate decides otherwise more often than it may: "+err.Error()+".", nil)
	}
	if err := s.promote(ctx, by, r.label, r.folder); err != nil {
		return shadowView{}, err
	}
	s.end(r)
	return r.view(false), nil
}

// close ends what is being tried.
func (s *shadows) close() {
	s.changing.Lock()
	defer s.changing.Unlock()
	if r := s.running(); r != nil {
		s.end(r)
	}
}

// The metrics of the shadow: what became of decisions since it began, or since
// the policy in force changed last.
var (
	shadowRunning = prometheus.NewDesc("vouchsafe_shadow_running", "1 while a candidate is tried beside the policy in force.", nil, nil)
	shadowCounted = prometheus.NewDesc("vouchsafe_shadow_decisions",
		"Decisions while a candidate is tried, by what it makes of them: same, one of four changes, skipped, waiting or missed.", []string{"result"}, nil)
)

// Describe lists the metrics.
func (s *shadows) Describe(out chan<- *prometheus.Desc) {
	out <- shadowRunning
	out <- shadowCounted
}

// Collect reports what was found so far.
func (s *shadows) Collect(out chan<- prometheus.Metric) {
	r := s.running()
	if r == nil {
		out <- prometheus.MustNewConstMetric(shadowRunning, prometheus.GaugeValue, 0)
		return
	}
	out <- prometheus.MustNewConstMetric(shadowRunning, prometheus.GaugeValue, 1)
	report := r.shadow.Report()
	count := func(result string, n int64) {
		out <- prometheus.MustNewConstMetric(shadowCounted, prometheus.GaugeValue, float64(n), result)
	}
	count("same", int64(report.Same))
	for kind, n := range report.Changed {
		count(kind, int64(n))
	}
	skipped := 0
	for _, n := range report.Skipped {
		skipped += n
	}
	count("skipped", int64(skipped))
	count("waiting", int64(report.Waiting))
	count("missed", report.Missed)
}

// recordShadow puts on record that a candidate is tried, or not any more.
func (a *app) recordShadow(ctx context.Context, kind, by, revision string) error {
	if _, err := a.audit.Act(ctx, audit.Act{Time: time.Now().UTC(), Site: audit.GateSite, By: by, Kind: kind, Object: revision}); err != nil {
		return fmt.Errorf("recording what is done with a candidate: %w", err)
	}
	a.log.Info("a candidate beside the policy in force", "what", kind, "policy", revision, "by", by)
	return nil
}

// admitCandidate takes a candidate through admission, for the sites that are
// served.
func (a *app) admitCandidate(ctx context.Context, folder bundle.Folder) (*policy.Set, error) {
	fsys, err := folder.FS()
	if err != nil {
		return nil, &policy.Refusal{Stage: policy.StageCompile, Err: err}
	}
	catalog, probes, err := probesOf(*a.sites.Load())
	if err != nil {
		return nil, err
	}
	set, _, err := policy.Admit(ctx, fsys, catalog, policy.AdmitOptions{Probe: probes})
	return set, err
}

// maxCandidate bounds a policy folder that is sent, in JSON.
const maxCandidate = 8 << 20

func (a *app) shadowRoutes() []httpapi.AdminRoute {
	const path = "/v1/admin/policy/shadow"
	ships := []admin.Role{admin.Policy}
	return []httpapi.AdminRoute{
		{Method: http.MethodGet, Path: path, Roles: admin.Roles, Serve: a.adminShadow},
		{Method: http.MethodPost, Path: path, Roles: ships, MaxBody: maxCandidate, Serve: a.adminShadowStart},
		{Method: http.MethodPost, Path: path + "/stop", Roles: ships, Serve: a.adminShadowStop},
		{Method: http.MethodPost, Path: path + "/promote", Roles: ships, Serve: a.adminShadowPromote},
	}
}

func (a *app) adminShadow(httpapi.AdminRequest) (any, error) {
	if r := a.shadows.running(); r != nil {
		return r.view(true), nil
	}
	return shadowView{}, nil
}

// candidate is a policy folder to be tried: its files by their names in it. The
// folder is sent rather than named, so that nobody makes the gate read files.
type candidate struct {
	Files map[string]string `json:"files"`
	Label string            `json:"label,omitempty"` // as its maker calls it
}

// maxLabel bounds a label, in bytes.
const maxLabel = 128

func (a *app) adminShadowStart(r httpapi.AdminRequest) (any, error) {
	var in candidate
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	if len(in.Files) == 0 || len(in.Label) > maxLabel {
		return nil, engine.Errorf(codeInvalidRequest, "Send the policy folder's files, and a label of at most 128 bytes if any.", nil)
	}
	folder := bundle.Folder{}
	for name, text := range in.Files {
		folder[name] = []byte(text)
	}
	return a.shadows.start(r.Context, r.Caller.Name(), in.Label, folder)
}

func (a *app) adminShadowStop(r httpapi.AdminRequest) (any, error) {
	if err := readStrict(r.Body, &struct{}{}); err != nil {
		return nil, err
	}
	return a.shadows.stop(r.Context, r.Caller.Name())
}

// promotion names the candidate, so that nobody promotes another than they
// looked at, and how often it may decide otherwise.
type promotion struct {
	Candidate   string `json:"candidate"`
	DenyToAllow *int   `json:"max_deny_to_allow,omitempty"`
	AllowToDeny *int   `json:"max_allow_to_deny,omitempty"`
}

func (a *app) adminShadowPromote(r httpapi.AdminRequest) (any, error) {
	var in promotion
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	if in.Candidate == "" {
		return nil, engine.Errorf(codeInvalidRequest, "Name the candidate's revision.", nil)
	}
	return a.shadows.putInForce(r.Context, r.Caller.Name(), in.Candidate, policy.Limits{DenyToAllow: in.DenyToAllow, AllowToDeny: in.AllowToDeny})
}
