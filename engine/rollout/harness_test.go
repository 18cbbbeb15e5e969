package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/enginetest"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/policy/bundle"
	"vouchsafe/engine/rollout"
	"vouchsafe/engine/store"
	"vouchsafe/policies"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// with is the shipped policy with files changed; "" takes one away.
func with(changes map[string]string) bundle.Folder {
	f := must(bundle.ReadFolder(policies.FS))
	for name, text := range changes {
		if text == "" {
			delete(f, name)
		} else {
			f[name] = []byte(text)
		}
	}
	return f
}

// good is a policy of its own for each name, as strict as the shipped one.
func good(name string) bundle.Folder {
	return with(map[string]string{"authz/extra.rego": "package authz\n\n# METADATA\n# title: Not at " + name + "\n# custom:\n#   code: not_at_" + name +
		"\n#   message: Please come back later.\n#   audit: The action is called " + name + ".\n" +
		"deny contains reason(rego.metadata.rule()) if input.action.name == \"" + name + "\"\n"})
}

func revision(f bundle.Folder) string { return policy.Revision(must(f.FS())) }

type badPolicy struct {
	name, stage, says string
	changes           map[string]string
}

// bad are policies that may not be put in force, by the stage that finds it out.
var bad = []badPolicy{
	{"a forbidden built-in", policy.StageCapabilities, "http.send",
		map[string]string{"authz/x.rego": "package authz\n\nx := http.send({\"url\": \"http://127.0.0.1\", \"method\": \"get\"})\n"}},
	{"no Rego", policy.StageCompile, "authz/x.rego",
		map[string]string{"authz/x.rego": "package authz\n\nx if {\n"}},
	{"a misspelt field", policy.StageCompile, "did you mean email?",
		map[string]string{"authz/x.rego": "package authz\n\nx if input.target.emial == \"x\"\n"}},
	{"no rules at all", policy.StageCompile, "no rule defines data.authz.decision",
		map[string]string{"authz/decision.rego": "", "authz/authz_test.rego": "", "authz/identity.rego": "", "authz/expiry.rego": "",
			"authz/pinning.rego": "", "authz/tier.rego": "", "authz/confirmation.rego": ""}},
	{"a test that fails", policy.StageTests, "test_x at authz/x_test.rego:3",
		map[string]string{"authz/x_test.rego": "package authz_test\n\ntest_x if false\n"}},
	{"no tests", policy.StageCoverage, "it has no tests",
		map[string]string{"authz/authz_test.rego": "", "release/release_test.rego": ""}},
	{"lines that no test reaches", policy.StageCoverage, "and 95% is asked for",
		map[string]string{"authz/x.rego": "package authz\n\nx if {\n" + strings.Repeat("\tinput.now == 1\n", 20) + "}\n"}},
	{"a back door", policy.StageProbes, "another account",
		map[string]string{"authz/pinning.rego": strings.Replace(string(must(policies.FS.ReadFile("authz/pinning.rego"))), "not pinned\n",
			"not pinned\n\tnot input.action.args.order_id == \"4711\"\n", 1)}},
	{"too many flips", policy.StageReplay, "1 of 1 would be decided otherwise, at most 0 may",
		map[string]string{"authz/x.rego": fmt.Sprintf("package authz\n\ndeny contains {\"code\": \"shut\", \"message\": \"Closed.\"} if input.now == %d\n", enginetest.Start.Unix()),
			"authz/x_test.rego": fmt.Sprintf("package authz_test\n\nimport data.authz\n\ntest_x if count(authz.deny) > 0 with input as {\"now\": %d}\n", enginetest.Start.Unix())}},
}

// spoilt is the bad policy of that name.
func spoilt(name string) bundle.Folder {
	for _, b := range bad {
		if b.name == name {
			return with(b.changes)
		}
	}
	panic(name)
}

// memory is a source that holds what a test put there.
type memory struct {
	mu    sync.Mutex
	offer rollout.Offer
	err   error
	asked int
}

func (m *memory) put(f bundle.Folder, label string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offer, m.err = rollout.Offer{Folder: f, Label: label}, nil
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offer, m.err = rollout.Offer{}, err
}

func (m *memory) Fetch(context.Context) (rollout.Offer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return m.offer, m.err
}

func (m *memory) Next(int) time.Duration { return 0 }
func (m *memory) String() string         { return "memory" }

// clock starts when enginetest's does, and is moved by tests.
type clock struct{ past atomic.Int64 }

func (c *clock) now() time.Time      { return enginetest.Start.Add(time.Duration(c.past.Load())) }
func (c *clock) add(d time.Duration) { c.past.Add(int64(d)) }

// desk is a rollout with what it needs, on a clock that only tests move.
type desk struct {
	t       *testing.T
	dir     string
	source  *memory
	history *rollout.History
	clock   clock
	options rollout.Options
	*rollout.Rollout

	mu     sync.Mutex
	events []rollout.Event
	broken error // what recording comes to
}

func newDesk(t *testing.T, f bundle.Folder) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir(), source: &memory{}}
	d.source.put(f, "")
	site := &engine.Site{ID: "demo", Tier: engine.Pro, MaxTokenLifetime: 15 * time.Minute}
	d.options = rollout.Options{Source: d.source, Record: d.record, Catalog: enginetest.Actions(t), Clock: d.clock.now, Logger: slog.New(slog.DiscardHandler),
		Probe: policy.ProbeOptions{Sites: []*engine.Site{site}, Limit: 400}}
	d.open()
	t.Cleanup(func() { d.history.Close() })
	return d
}

func (d *desk) open() {
	d.t.Helper()
	d.history = must(rollout.OpenHistory(filepath.Join(d.dir, "policies.db"), store.Options{}))
	d.options.History = d.history
}

func (d *desk) record(_ context.Context, e rollout.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	d.events = append(d.events, e)
	return nil
}

// told returns the events since it was last asked.
func (d *desk) told() (kinds []string, events []rollout.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	events, d.events = d.events, nil
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	return kinds, events
}

func (d *desk) start() error {
	d.t.Helper()
	var err error
	d.Rollout, err = rollout.Start(d.t.Context(), d.options)
	return err
}

func (d *desk) mustStart() {
	d.t.Helper()
	if err := d.start(); err != nil {
		d.t.Fatalf("Start: %v", err)
	}
}

// restart closes the files and starts again from what they hold.
func (d *desk) restart() error {
	d.t.Helper()
	if err := d.history.Close(); err != nil {
		d.t.Fatal(err)
	}
	d.open()
	return d.start()
}

// offers has the source hold a policy, and asks it.
func (d *desk) offers(f bundle.Folder) {
	d.t.Helper()
	d.source.put(f, "")
	d.Refresh(d.t.Context())
}

func (d *desk) inForce(want bundle.Folder, why string) {
	d.t.Helper()
	if got := d.Engine().Active().Revision(); got != revision(want) || d.Status().Revision != got {
		d.t.Errorf("%s: %s is in force (status says %s), want %s", why, got, d.Status().Revision, revision(want))
	}
}

func (d *desk) well(why string) {
	d.t.Helper()
	if p := d.Problems(); len(p) > 0 {
		d.t.Errorf("%s: problems %q, want none", why, p)
	}
}

// wrong holds that exactly one thing is wrong, and that it says this.
func (d *desk) wrong(says, why string) {
	d.t.Helper()
	if p := d.Problems(); len(p) != 1 || !strings.Contains(p[0], says) {
		d.t.Errorf("%s: problems %q, want one with ...%s...", why, p, says)
	}
}

// decisions is a log of one allowed decision, as the shipped policy made it.
func decisions(t *testing.T) *rollout.Replay {
	t.Helper()
	set := must(policy.Compile(policies.FS))
	i := slices.IndexFunc(enginetest.Actions(t), func(a *engine.Action) bool { return a.Name == "order.lookup" })
	in := policy.Input{Site: &engine.Site{ID: "demo", Tier: engine.Pro, MaxTokenLifetime: 15 * time.Minute}, Action: enginetest.Actions(t)[i],
		Args: map[string]any{"order_id": "1001"}, Target: enginetest.Alex.Email, Channel: engine.ChannelAction, Now: enginetest.Start}
	in.Identity.State, in.Identity.Subject, in.Identity.Email = "verified", enginetest.Alex.Subject, enginetest.Alex.Email
	in.Identity.IssuedAt, in.Identity.ExpiresAt, in.Identity.Lifetime = enginetest.Start.Add(-time.Minute), enginetest.Start.Add(4*time.Minute), 5*time.Minute
	r, err := set.Decide(t.Context(), &in)
	if err != nil || !r.Allow {
		t.Fatalf("the sample decision: %+v, %v", r, err)
	}
	rec := policy.Recorded{ID: "d_1", Policy: set.Revision(), Allow: true, Input: in.AppendJSON(nil)}
	zero := 0
	return &rollout.Replay{Flips: &zero, Window: func() (string, error) { return rec.ID, nil },
		Decisions: func(_ context.Context, each func(policy.Recorded) error) error { return each(rec) }}
}

var errGone = errors.New("the disk is gone")

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
