package rollout_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine"
	"vouchsafe/engine/enginetest"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/rollout"
	"vouchsafe/policies"
)

// Each gate of admission is broken on purpose. The policy in force stays, what
// was refused is said and on record once, and a good policy after it is taken.
func TestWhatIsRefusedChangesNothing(t *testing.T) {
	d := newDesk(t, with(nil))
	ninetyFive := 95.0
	d.options.Coverage, d.options.Replay = &ninetyFive, decisions(t)
	d.mustStart()
	d.well("at the start")
	before := d.Engine().Active()
	d.told()
	for _, tt := range bad {
		d.offers(with(tt.changes))
		if d.Engine().Active() != before {
			t.Fatalf("%s: it is in force", tt.name)
		}
		d.inForce(with(nil), tt.name)
		d.wrong(tt.says, tt.name)
		s := d.Status()
		if s.Refused == nil || s.Refused.Stage != tt.stage {
			t.Errorf("%s: refused %+v, want at %s", tt.name, s.Refused, tt.stage)
			continue
		}
		if last := s.Last.Stages[len(s.Last.Stages)-1].Name; tt.stage != policy.StageCompile && last != tt.stage {
			t.Errorf("%s: the last stage of the report is %s", tt.name, last)
		}
		kinds, events := d.told()
		if diff := cmp.Diff([]string{rollout.Refused}, kinds); diff != "" {
			t.Errorf("%s: on record (-want +got):\n%s", tt.name, diff)
		} else if e := events[0]; e.Stage != tt.stage || !strings.Contains(e.Reason, tt.says) || e.From != before.Revision() || e.By != "source" {
			t.Errorf("%s: on record is %+v", tt.name, e)
		}
		// The same again is no news.
		d.Refresh(t.Context())
		if kinds, _ := d.told(); len(kinds) > 0 || d.Status().Refusals != s.Refusals {
			t.Errorf("%s: the same refusal is on record twice: %q", tt.name, kinds)
		}
	}
	d.offers(good("tea"))
	d.inForce(good("tea"), "a good one after bad ones")
	d.well("a good one after bad ones")
	if kinds, _ := d.told(); !slices.Equal(kinds, []string{rollout.Activated}) {
		t.Errorf("on record: %q", kinds)
	}
	if l := d.Status().Last; l.Latency == nil || l.Latency.Ratio <= 0 || l.Coverage == nil || l.Probes == 0 || l.Replay == nil {
		t.Errorf("the report of an activation: %+v", l)
	}
	d.offers(spoilt("a forbidden built-in"))
	d.offers(good("tea"))
	d.well("what was in force is offered again after a bad one")
}

// What was refused is left alone for a while, unless somebody asks.
func TestARefusalIsNotTriedOverAndOver(t *testing.T) {
	d := newDesk(t, with(nil))
	d.mustStart()
	d.offers(spoilt("a test that fails")) // a failing test is tried anew each time
	at := d.Status().Last.At
	run := func() {
		ctx, cancel := context.WithCancel(t.Context())
		src := &paced{memory: d.source, cancel: cancel}
		d.options.Source = src
		rollout.Swap(d.Rollout, src)
		d.Run(ctx)
	}
	d.clock.add(30 * time.Second)
	run()
	if got := d.Status().Last.At; !got.Equal(at) {
		t.Error("it was tried again within the minute")
	}
	d.clock.add(31 * time.Second)
	run()
	if got := d.Status().Last.At; got.Equal(at) {
		t.Error("it was not tried again after a minute")
	}
	at = d.Status().Last.At
	d.clock.add(time.Second)
	d.Refresh(t.Context())
	if got := d.Status().Last.At; got.Equal(at) {
		t.Error("it was not tried again when somebody asked")
	}
}

// paced has Run ask once and end.
type paced struct {
	*memory
	cancel func()
	asked  bool
}

func (p *paced) Fetch(ctx context.Context) (rollout.Offer, error) {
	p.asked = true
	return p.memory.Fetch(context.WithoutCancel(ctx))
}

func (p *paced) Next(int) time.Duration {
	if p.asked {
		p.cancel()
	}
	return time.Microsecond
}

func TestTheSourceIsGone(t *testing.T) {
	d := newDesk(t, with(nil))
	d.mustStart()
	d.told()
	d.source.fail(errGone)
	d.Refresh(t.Context())
	d.clock.add(time.Minute)
	d.Refresh(t.Context())
	d.inForce(with(nil), "without a source")
	d.wrong("cannot be had since 2026-11-23T10:00:00Z", "without a source")
	if u := d.Status().Unreachable; u.Times != 2 || d.Status().Failures != 2 {
		t.Errorf("unreachable %+v", u)
	}
	if kinds, _ := d.told(); len(kinds) > 0 {
		t.Errorf("on record: %q; what could not be read was not refused", kinds)
	}
	d.offers(with(nil))
	d.well("with a source again")
}

// No record, no activation; and what cannot be kept is not put in force.
func TestWhatIsNotOnRecordIsNotInForce(t *testing.T) {
	d := newDesk(t, with(nil))
	d.mustStart()
	d.broken = errGone
	d.offers(good("tea"))
	d.inForce(with(nil), "with a broken record")
	d.wrong("cannot be put on record", "with a broken record")
	if err := d.RollBack(t.Context(), "socket", revision(with(nil))); err == nil {
		t.Error("a roll back without a record")
	}
	d.broken = nil
	d.Refresh(t.Context())
	d.inForce(good("tea"), "with a record again")
	d.well("with a record again")
	d.history.Close()
	d.offers(good("coffee"))
	d.inForce(good("tea"), "without a history")
	d.wrong("cannot be kept", "without a history")
}

// At a start with a bad policy the last good one serves; without one there is
// no start.
func TestStarts(t *testing.T) {
	for _, tt := range bad[:5] {
		d := newDesk(t, with(tt.changes))
		if err := d.start(); err == nil || !strings.Contains(err.Error(), tt.says) || d.Rollout != nil {
			t.Errorf("%s: Start = %v, want a refusal that says %s", tt.name, err, tt.says)
		}
	}
	d := newDesk(t, with(nil))
	d.source.fail(errGone)
	if err := d.start(); err == nil || !strings.Contains(err.Error(), errGone.Error()) {
		t.Errorf("Start without a source and without a history = %v", err)
	}
	d.source.put(with(nil), "")
	d.mustStart()
	if kinds, _ := d.told(); !slices.Equal(kinds, []string{rollout.Activated}) {
		t.Errorf("on record at the first start: %q", kinds)
	}
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	if kinds, _ := d.told(); !slices.Equal(kinds, []string{rollout.Started}) {
		t.Errorf("on record at the second start: %q", kinds)
	}
	d.offers(good("tea"))
	d.source.put(spoilt("a back door"), "")
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	d.inForce(good("tea"), "after a start with a bad policy")
	d.wrong("another account", "after a start with a bad policy")
	d.source.fail(errGone)
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	d.inForce(good("tea"), "after a start without a source")
	d.wrong(errGone.Error(), "after a start without a source")
	d.offers(good("coffee"))
	d.inForce(good("coffee"), "once the source is back")
	d.well("once the source is back")

	// A restart is no way round the budget.
	d.options.Replay = decisions(t)
	d.source.put(spoilt("too many flips"), "")
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	d.inForce(good("coffee"), "after a start with a policy past the budget")
	d.wrong("1 of 1 would be decided otherwise", "after a start with a policy past the budget")
}

// A roll back holds until somebody resumes, whatever the source has and however
// often the gate starts.
func TestARollBackHolds(t *testing.T) {
	d := newDesk(t, with(nil))
	d.mustStart()
	d.offers(good("tea"))
	d.told()
	if err := d.RollBack(t.Context(), "alice", revision(with(nil))); err != nil {
		t.Fatal(err)
	}
	_, events := d.told()
	want := []rollout.Event{{Kind: rollout.RolledBack, Revision: revision(with(nil)), From: revision(good("tea")), By: "alice"}}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("on record (-want +got):\n%s", diff)
	}
	held := func(why, offered string) {
		t.Helper()
		d.inForce(with(nil), why)
		d.well(why)
		s := d.Status()
		if s.Hold == nil || s.Hold.By != "alice" || s.Hold.Left != revision(good("tea")) || s.By != "alice" || s.Offered != offered {
			t.Errorf("%s: hold %+v by %q, offered %q; want alice's, and %s offered", why, s.Hold, s.By, s.Offered, offered)
		}
	}
	held("rolled back", revision(good("tea")))
	d.Refresh(t.Context())
	held("the source has what was left", revision(good("tea")))
	d.offers(good("coffee"))
	held("the source has another", revision(good("coffee")))
	d.offers(spoilt("no Rego"))
	held("the source has a bad one", revision(spoilt("no Rego")))
	d.offers(good("coffee"))
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	d.Refresh(t.Context())
	held("after a restart", revision(good("coffee")))
	d.told()
	if err := d.Resume(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	d.inForce(good("coffee"), "resumed")
	if kinds, _ := d.told(); !slices.Equal(kinds, []string{rollout.Resumed, rollout.Activated}) || d.Status().Hold != nil {
		t.Errorf("on record: %q; hold %+v", kinds, d.Status().Hold)
	}
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	d.inForce(good("coffee"), "resumed, after a restart")
	if err := d.Resume(t.Context(), "bob"); err != nil || d.Status().Hold != nil {
		t.Errorf("Resume without a hold = %v", err)
	}
}

func TestRollBacksThatAreNone(t *testing.T) {
	d := newDesk(t, with(nil))
	d.mustStart()
	d.offers(good("tea"))
	d.told()
	for _, revision := range []string{"", "0123456789abcdef", "../x"} {
		if err := d.RollBack(t.Context(), "alice", revision); engine.CodeOf(err) != engine.CodeUnknownRevision {
			t.Errorf("RollBack(%q) = %v", revision, err)
		}
	}
	if kinds, _ := d.told(); len(kinds) > 0 || d.Status().Hold != nil {
		t.Errorf("on record: %q", kinds)
	}
	// What would open the wall is not returned to either.
	lax := spoilt("a back door")
	if err := d.Promote(t.Context(), "alice", "", lax); engine.CodeOf(err) != engine.CodePolicyRefused || !strings.Contains(err.Error(), "another account") {
		t.Errorf("Promote(a back door) = %v", err)
	}
	if kinds, events := d.told(); !slices.Equal(kinds, []string{rollout.Refused}) || events[0].By != "alice" || events[0].Revision != revision(lax) {
		t.Errorf("on record: %+v", events)
	}
	d.inForce(good("tea"), "after a promotion that was refused")
	// The revision in force can be held.
	if err := d.RollBack(t.Context(), "alice", revision(good("tea"))); err != nil || d.Status().Hold == nil {
		t.Errorf("holding the policy in force: %v", err)
	}
	if err := d.Promote(t.Context(), "alice", "try-1", good("juice")); err != nil {
		t.Fatal(err)
	}
	d.inForce(good("juice"), "promoted")
	d.Refresh(t.Context())
	d.inForce(good("juice"), "promoted, and the source has another")
	if s := d.Status(); s.Hold.Cause != rollout.Promoted || s.Label != "try-1" {
		t.Errorf("status %+v, hold %+v", s, s.Hold)
	}
}

// Ten revisions are kept whole, and any of them can be returned to after a
// restart.
func TestTheLastTenAreKept(t *testing.T) {
	d := newDesk(t, good("n0"))
	d.mustStart()
	for i := 1; i < 12; i++ {
		d.clock.add(time.Second)
		d.offers(good(fmt.Sprintf("n%d", i)))
	}
	var want []string
	for i := 11; i > 1; i-- {
		want = append(want, revision(good(fmt.Sprintf("n%d", i))))
	}
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	list, err := d.History()
	var got []string
	for _, r := range list {
		got = append(got, r.Revision)
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil || len(got) != rollout.Kept {
		t.Errorf("kept (-want +got):\n%s%v", diff, err)
	}
	if err := d.RollBack(t.Context(), "alice", revision(good("n1"))); engine.CodeOf(err) != engine.CodeUnknownRevision {
		t.Errorf("rolling back to the eleventh: %v", err)
	}
	if err := d.RollBack(t.Context(), "alice", revision(good("n2"))); err != nil {
		t.Errorf("rolling back to the tenth: %v", err)
	}
	d.inForce(good("n2"), "rolled back")
}

// Only word of the source that this very policy is current keeps it from going
// stale, and a restart is no such word.
func TestStaleness(t *testing.T) {
	d := newDesk(t, with(nil))
	d.options.MaxStaleness = time.Hour
	d.mustStart()
	stale := func(want bool, why string) {
		t.Helper()
		if got := d.Stale(d.clock.now()); got != want || d.Status().Stale != want {
			t.Errorf("%s: stale is %v, want %v", why, got, want)
		}
	}
	d.clock.add(time.Hour)
	stale(false, "an hour after the start")
	d.Refresh(t.Context())
	d.clock.add(time.Hour)
	stale(false, "an hour after word from the source")
	d.clock.add(time.Nanosecond)
	stale(true, "more than an hour after it")
	d.wrong("older than max_staleness (1h0m0s)", "more than an hour after it")
	d.Refresh(t.Context())
	stale(false, "asked again")
	d.source.fail(errGone)
	d.clock.add(30 * time.Minute)
	d.Refresh(t.Context())
	stale(false, "half an hour without the source")
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	d.clock.add(31 * time.Minute)
	stale(true, "an hour without the source, with a restart between")
	d.offers(good("tea"))
	stale(false, "a new policy")
	d.offers(spoilt("no Rego"))
	d.clock.add(59 * time.Minute)
	d.Refresh(t.Context())
	d.clock.add(2 * time.Minute)
	stale(true, "an hour in which the source has another policy, which cannot be used")
	d.clock.add(-24 * time.Hour)
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	d.clock.add(61 * time.Minute)
	stale(true, "an hour after a start before which the clock was set back")

	d.options.MaxStaleness = 0
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	d.clock.add(1000 * time.Hour)
	stale(false, "a gate that asks for nothing")
}

// Actions and sites change only if the policy in force holds with them.
func TestTheCatalogChangesOnlyIfThePolicyHolds(t *testing.T) {
	// A rule that opens nothing until there is an action of a certain name.
	tier := string(must(policies.FS.ReadFile("authz/tier.rego")))
	lax := strings.Replace(tier, "if not offered\n", "if {\n\tnot offered\n\tnot odd\n}\n\nodd if count(input.action.name) == 31\n", 1)
	if lax == tier {
		t.Fatal("tier.rego is not as expected")
	}
	catalog := enginetest.Actions(t)
	odd := *catalog[0]
	odd.Name = strings.Repeat("a", 31)
	more := append(slices.Clone(catalog), &odd)
	d := newDesk(t, with(map[string]string{"authz/tier.rego": lax, "authz/authz_test.rego": ""}))
	d.options.Catalog = catalog
	d.mustStart()
	swapped := 0
	swap := func() error { swapped++; return nil }
	err := d.WithCatalog(t.Context(), more, d.options.Probe, swap)
	if err == nil || swapped != 0 || !strings.Contains(err.Error(), "does not hold with this change") || !strings.Contains(err.Error(), "tier") {
		t.Fatalf("WithCatalog = %v, swapped %d times; want it refused for the tier", err, swapped)
	}
	if err := d.WithCatalog(t.Context(), catalog[:1], d.options.Probe, func() error { return errGone }); err == nil {
		t.Error("a swap that failed is no error")
	}
	if err := d.WithCatalog(t.Context(), catalog[:1], d.options.Probe, swap); err != nil || swapped != 1 {
		t.Errorf("WithCatalog(fewer) = %v, swapped %d times", err, swapped)
	}
	// From now on policies are probed over the new one.
	d.offers(with(nil))
	d.inForce(with(nil), "a stricter policy")
	if err := d.WithCatalog(t.Context(), more, d.options.Probe, swap); err != nil || swapped != 2 {
		t.Errorf("WithCatalog with a stricter policy = %v", err)
	}
	d.offers(with(map[string]string{"authz/tier.rego": lax, "authz/authz_test.rego": ""}))
	d.inForce(with(nil), "what would open with the new actions")

	// A held policy that no longer holds is left, and that is said.
	if err := d.WithCatalog(t.Context(), catalog, d.options.Probe, swap); err != nil {
		t.Fatal(err)
	}
	d.Refresh(t.Context())
	if err := d.RollBack(t.Context(), "alice", d.Status().Revision); err != nil {
		t.Fatal(err)
	}
	d.source.put(good("tea"), "")
	d.options.Catalog = more
	if err := d.restart(); err != nil {
		t.Fatal(err)
	}
	d.inForce(good("tea"), "after a start with more actions")
	d.wrong("which alice chose, cannot be used any more", "after a start with more actions")
}

// A folder on disk is followed, and half of it is not taken.
func TestAFolderIsFollowed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	if err := os.CopyFS(dir, policies.FS); err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, nil)
	d.options.Source = &rollout.Dir{Path: dir}
	d.mustStart()
	d.inForce(with(nil), "at the start")
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("authz/extra.rego", string(good("tea")["authz/extra.rego"]))
	put("authz/.extra.rego.swp", "what an editor keeps")
	put("README.md", "what people read")
	d.Refresh(t.Context())
	d.inForce(good("tea"), "after a change")
	put("authz/extra.rego", "package authz\n\ndeny contains {")
	d.Refresh(t.Context())
	d.inForce(good("tea"), "after a bad change")
	d.wrong("authz/extra.rego", "after a bad change")
	if err := os.Remove(filepath.Join(dir, "authz", "extra.rego")); err != nil {
		t.Fatal(err)
	}
	d.Refresh(t.Context())
	d.inForce(with(nil), "put right")
	d.well("put right")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	d.Refresh(t.Context())
	d.inForce(with(nil), "without the folder")
	if len(d.Problems()) != 1 {
		t.Errorf("without the folder: problems %q", d.Problems())
	}
}

// A roll back does not wait for the admission of what it is to keep out.
func TestARollBackDoesNotWait(t *testing.T) {
	d := newDesk(t, with(nil))
	d.mustStart()
	d.offers(good("tea"))
	trying, left := make(chan struct{}), make(chan struct{})
	replay := decisions(t)
	replay.Decisions = func(ctx context.Context, _ func(policy.Recorded) error) error {
		close(trying)
		<-ctx.Done()
		close(left)
		return ctx.Err()
	}
	d.options.Replay = replay
	if err := d.restart(); err != nil { // the policy in force has no budget to keep
		t.Fatal(err)
	}
	d.source.put(good("coffee"), "")
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		d.Refresh(t.Context())
	}()
	<-trying
	if err := d.RollBack(t.Context(), "alice", revision(with(nil))); err != nil {
		t.Fatal(err)
	}
	<-left
	<-looked
	d.inForce(with(nil), "rolled back while another was on its way")
	d.well("rolled back while another was on its way")
	if s := d.Status(); s.Hold == nil || s.Refusals != 0 {
		t.Errorf("hold %+v, %d refusals; want a hold, and that nothing was refused", s.Hold, s.Refusals)
	}
}
