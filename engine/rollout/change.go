package rollout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/policy/bundle"
)

// bySource is who puts a policy in force when nobody did.
const bySource = "source"

// stageRecord is the last stage: what is put in force is on record and kept.
const stageRecord = "record"

// stageTime refuses what cannot be looked at in admissionTime.
const (
	stageTime     = "time"
	admissionTime = 3 * time.Minute
)

// retryRefused is how long what was refused is left alone while it stays as it
// is. It is tried again at all because a test may have taken too long, and
// because the decisions that it is tried on change.
const retryRefused = time.Minute

// Run asks the source again and again until ctx ends.
func (r *Rollout) Run(ctx context.Context) {
	for failures := 0; ; {
		var due <-chan time.Time
		stop := func() bool { return true }
		if d := r.o.Source.Next(failures); d > 0 {
			t := time.NewTimer(d)
			due, stop = t.C, t.Stop
		}
		select {
		case <-ctx.Done():
			stop()
			return
		case <-r.again:
			stop()
			failures = 0
		case <-due:
			if r.look(ctx, false) {
				failures = 0
			} else {
				failures++
			}
		}
	}
}

// Refresh asks the source now, and tries what it has even if it was refused a
// moment ago. Status says what came of it.
func (r *Rollout) Refresh(ctx context.Context) {
	r.look(ctx, true)
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// look asks the source and takes what it has. It reports whether the source
// could be asked.
func (r *Rollout) look(ctx context.Context, force bool) bool {
	r.fetching.Lock()
	defer r.fetching.Unlock()
	offer, err := r.o.Source.Fetch(ctx)
	r.turn.Lock()
	defer r.turn.Unlock()
	if err == nil {
		err = r.considerInTime(ctx, offer, force)
	}
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return true // whoever asked is gone, the gate is ending, or somebody chose
	}
	if err == nil || isRefusal(err) {
		r.set(func(s *Status) { s.Unreachable = nil })
	}
	if err != nil {
		r.fail(ctx, offer, err)
	}
	return err == nil || isRefusal(err)
}

// considerInTime considers an offer for so long and no longer, and makes way for
// somebody who chooses: a roll back does not wait for what it rolls back from.
func (r *Rollout) considerInTime(ctx context.Context, offer Offer, force bool) error {
	bounded, cancel := context.WithTimeout(ctx, admissionTime)
	defer cancel()
	r.interrupt.Store(&cancel)
	defer r.interrupt.Store(nil)
	err := r.consider(bounded, offer, force)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &policy.Refusal{Stage: stageTime, Err: fmt.Errorf("looking at it took longer than %s", admissionTime)}
	}
	return err
}

// lockToChoose is turn.Lock for somebody who chooses a policy.
func (r *Rollout) lockToChoose() {
	if cancel := r.interrupt.Load(); cancel != nil {
		(*cancel)()
	}
	r.turn.Lock()
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*policy.Refusal](err)
	return ok
}

// consider takes what the source has, unless it is in force already, was
// refused a moment ago, or somebody chose another.
func (r *Rollout) consider(ctx context.Context, offer Offer, force bool) error {
	digest := offer.Folder.Digest()
	s := r.Status()
	switch {
	case s.Hold != nil:
		// Somebody knows of the source's policy and wants another.
		if s.Offered == "" || digest != r.seen {
			fsys, err := offer.Folder.FS()
			if err != nil {
				return err
			}
			r.seen = digest
			r.set(func(s *Status) { s.Offered, s.Refused = revisionOf(fsys), nil })
		}
		r.heard(ctx)
		return nil
	case digest == r.digest:
		r.set(func(s *Status) { s.Refused = nil })
		r.heard(ctx)
		return nil
	case !force && s.Refused != nil && s.Refused.digest == digest && r.o.Clock().Before(r.retry):
		return nil
	}
	set, err := r.admit(ctx, offer.Folder, r.engine.Active(), true)
	if err != nil {
		return err
	}
	rev := r.offered(set, offer)
	return r.put(ctx, change{kind: Activated, set: set, revision: rev, folder: offer.Folder, from: s.Revision, confirmed: rev.At})
}

// offered is the source's policy as the history keeps it.
func (r *Rollout) offered(set *policy.Set, offer Offer) Revision {
	return Revision{Revision: set.Revision(), Label: offer.Label, KeyID: offer.KeyID, Source: r.o.Source.String(),
		At: r.o.Clock().UTC(), By: bySource}
}

// heard notes that the source has no other policy than the one in force, or
// than the one that somebody left on purpose.
func (r *Rollout) heard(ctx context.Context) {
	now := r.o.Clock()
	r.confirm(now)
	if r.o.MaxStaleness == 0 || now.Sub(r.saved) < r.o.MaxStaleness/20 {
		return
	}
	s := r.Status()
	if err := r.o.History.save(ctx, state{Active: s.Revision, Hold: s.Hold, Confirmed: now.UTC()}); err != nil {
		r.o.Logger.Warn("that the policy is current could not be noted", "cause", err.Error())
		return
	}
	r.saved = now
}

// admit takes a policy through admission over the catalog. What only says how
// well a change was prepared, coverage and the budget, is asked of new policies
// and not of those that were in force before: nothing may stand in the way of a
// roll back but the wall.
func (r *Rollout) admit(ctx context.Context, folder bundle.Folder, before *policy.Set, fresh bool) (*policy.Set, error) {
	o := policy.AdmitOptions{Probe: r.o.Probe}
	if fresh {
		o.Coverage = r.o.Coverage
		if r.o.Replay != nil {
			window, err := r.o.Replay.Window()
			if err != nil {
				return nil, &policy.Refusal{Stage: policy.StageReplay, Err: err}
			}
			o.Replay = &policy.ReplayBudget{Against: before, Decisions: r.o.Replay.Decisions, Window: window,
				DenyToAllow: r.o.Replay.DenyToAllow, Flips: r.o.Replay.Flips}
		}
	}
	set, report, err := admitted(ctx, folder, r.o.Catalog, o)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	attempt := Attempt{At: r.o.Clock().UTC(), Revision: report.Policy, Stages: report.Stages, Replay: report.Replay}
	if report.Tests != nil {
		attempt.Coverage = &report.Tests.Coverage
	}
	if report.Probes != nil {
		attempt.Probes = report.Probes.Probes
	}
	if err == nil && before != nil {
		if l, err := policy.Compare(ctx, before, set, r.o.Catalog, r.o.Probe.Sites); err == nil {
			attempt.Latency = &l
		}
	}
	r.set(func(s *Status) { s.Last = &attempt })
	return set, err
}

// admitted is policy.Admit, of which not even a panic gets out.
func admitted(ctx context.Context, folder bundle.Folder, catalog []*engine.Action, o policy.AdmitOptions) (set *policy.Set, report policy.AdmitReport, err error) {
	defer func() {
		if p := recover(); p != nil {
			set, err = nil, &policy.Refusal{Stage: policy.StageCompile, Err: errors.New("looking at the policy failed inside the policy engine")}
		}
	}()
	fsys, err := folder.FS()
	if err != nil {
		return nil, report, &policy.Refusal{Stage: policy.StageCompile, Err: err}
	}
	return policy.Admit(ctx, fsys, catalog, o)
}

// change is a policy on its way into force.
type change struct {
	kind      string
	set       *policy.Set
	revision  Revision
	folder    bundle.Folder
	from      string // the policy before it
	hold      *Hold
	confirmed time.Time
}

// put puts an admitted policy in force. It is on record and kept before it
// decides anything; whoever asked may be gone meanwhile.
func (r *Rollout) put(ctx context.Context, c change) error {
	ctx = context.WithoutCancel(ctx)
	// Another test or label of the policy in force changes nothing for anybody.
	news := c.kind != Activated || c.from != c.revision.Revision
	if news {
		e := Event{Kind: c.kind, Revision: c.revision.Revision, From: c.from, By: c.revision.By, Waived: c.set.Waived()}
		if c.kind == Started {
			e.From = ""
		}
		if err := r.o.Record(ctx, e); err != nil {
			return &policy.Refusal{Stage: stageRecord, Err: fmt.Errorf("it cannot be put on record: %w", err)}
		}
	}
	err := r.o.History.keep(ctx, c.revision, c.folder)
	if err == nil {
		err = r.o.History.save(ctx, state{Active: c.revision.Revision, Hold: c.hold, Confirmed: c.confirmed.UTC()})
	}
	if err != nil {
		return &policy.Refusal{Stage: stageRecord, Err: fmt.Errorf("it cannot be kept: %w", err)}
	}
	r.saved = c.confirmed
	r.confirm(c.confirmed)
	r.folder, r.digest = c.folder, c.folder.Digest()
	if r.engine == nil {
		r.engine = policy.NewEngine(c.set)
	} else {
		r.engine.Activate(c.set)
	}
	r.set(func(s *Status) {
		if s.Hold == nil && c.hold != nil && c.kind != Started {
			s.Offered = c.from
		}
		if s.Hold = c.hold; c.hold == nil {
			s.Offered = ""
		}
		s.Revision, s.Label, s.KeyID, s.Since, s.By = c.revision.Revision, c.revision.Label, c.revision.KeyID, c.revision.At, c.revision.By
		s.Refused, s.LostHold = nil, ""
		if news {
			s.Activations++
		}
	})
	if news {
		r.o.Logger.Info("a policy is in force", "policy", c.revision.Revision, "label", c.revision.Label, "before", c.from, "why", c.kind, "by", c.revision.By)
	}
	return nil
}

// fail notes why what the source has is not in force. Each refusal is put on
// record once.
func (r *Rollout) fail(ctx context.Context, offer Offer, cause error) {
	now := r.o.Clock().UTC()
	refusal, ok := errors.AsType[*policy.Refusal](cause)
	if !ok {
		r.set(func(s *Status) {
			s.Failures++
			if s.Unreachable == nil {
				s.Unreachable = &Failure{Since: now}
				r.o.Logger.Error("the policies cannot be had, so the one in force stays", "source", s.Source, "policy", s.Revision, "cause", cause.Error())
			}
			// A new one each time: Status hands the old one out.
			s.Unreachable = &Failure{Since: s.Unreachable.Since, Times: s.Unreachable.Times + 1, Reason: clipped(cause.Error())}
		})
		return
	}
	f := &Refusal{Label: offer.Label, At: now, Stage: refusal.Stage, Reason: clipped(refusal.Error())}
	if offer.Folder != nil {
		f.digest = offer.Folder.Digest()
		if fsys, err := offer.Folder.FS(); err == nil {
			f.Revision = revisionOf(fsys)
		}
	}
	r.retry = now.Add(retryRefused)
	news := false
	r.set(func(s *Status) {
		news = s.Refused == nil || s.Refused.digest != f.digest || s.Refused.Stage != f.Stage || f.Stage == StageSignature && s.Refused.Reason != f.Reason
		if news {
			s.Refusals++
		} else {
			f.At = s.Refused.At
		}
		s.Refused = f
	})
	if !news {
		return
	}
	in := r.Status().Revision
	r.o.Logger.Error("a policy cannot be used, so the one in force stays", "policy", f.Revision, "in force", in, "stage", f.Stage, "cause", logged(f))
	e := Event{Kind: Refused, Revision: f.Revision, From: in, By: bySource, Stage: f.Stage, Reason: f.Reason}
	if err := r.o.Record(context.WithoutCancel(ctx), e); err != nil {
		r.o.Logger.Error("that a policy was refused could not be put on record", "policy", f.Revision, "cause", err.Error())
	}
}

// revisionOf is policy.Revision, of which not even a panic gets out.
func revisionOf(fsys fs.FS) (revision string) {
	defer func() { _ = recover() }()
	return policy.Revision(fsys)
}

// logged is a refusal as the log may have it: without the input that shows it,
// which holds what stands in the policy's settings, such as addresses.
func logged(f *Refusal) string {
	if f.Stage != policy.StageProbes {
		return f.Reason
	}
	said, _, _ := strings.Cut(f.Reason, ": {")
	return said + "; `vouchsafe policy status` shows the input"
}

func clipped(reason string) string {
	if len(reason) > maxReason {
		return strings.ToValidUTF8(reason[:maxReason], "") + "..."
	}
	return reason
}

// RollBack puts a kept revision in force again and holds it: the source is not
// followed until somebody resumes. by is who wants it. The revision in force can
// be held in the same way.
func (r *Rollout) RollBack(ctx context.Context, by, revision string) error {
	r.lockToChoose()
	defer r.turn.Unlock()
	rev, folder, err := r.o.History.folder(revision)
	if errors.Is(err, ErrUnknownRevision) {
		return engine.Errorf(engine.CodeUnknownRevision, "No such revision is kept. GET /v1/admin/policy lists those that are.", nil)
	}
	if err != nil {
		return err
	}
	set, err := r.admit(ctx, folder, r.engine.Active(), false)
	if err != nil {
		return r.declined(ctx, by, revision, err)
	}
	return r.choose(ctx, by, change{kind: RolledBack, set: set, revision: rev, folder: folder})
}

// Promote puts a policy in force that somebody chose, such as one that was
// shadowed, and holds it as RollBack does. It passes every gate that the
// source's do.
func (r *Rollout) Promote(ctx context.Context, by, label string, folder bundle.Folder) error {
	r.lockToChoose()
	defer r.turn.Unlock()
	set, err := r.admit(ctx, folder, r.engine.Active(), true)
	if err != nil {
		revision := ""
		if fsys, err := folder.FS(); err == nil {
			revision = revisionOf(fsys)
		}
		return r.declined(ctx, by, revision, err)
	}
	return r.choose(ctx, by, change{kind: Promoted, set: set, folder: folder,
		revision: Revision{Revision: set.Revision(), Label: label, Source: "a candidate"}})
}

// choose puts in force what somebody chose.
func (r *Rollout) choose(ctx context.Context, by string, c change) error {
	now := r.o.Clock().UTC()
	c.from = r.Status().Revision
	c.revision.At, c.revision.By = now, by
	c.hold = &Hold{By: by, At: now, Left: c.from, Cause: c.kind}
	c.confirmed = r.lastConfirmed()
	return r.put(ctx, c)
}

// declined tells somebody why a policy was not put in force, and puts that on
// record.
func (r *Rollout) declined(ctx context.Context, by, revision string, err error) error {
	refusal, ok := errors.AsType[*policy.Refusal](err)
	if !ok {
		return err
	}
	e := Event{Kind: Refused, Revision: revision, From: r.Status().Revision, By: by, Stage: refusal.Stage, Reason: clipped(refusal.Error())}
	if err := r.o.Record(context.WithoutCancel(ctx), e); err != nil {
		r.o.Logger.Error("that a policy was refused could not be put on record", "policy", revision, "cause", err.Error())
	}
	return engine.Errorf(engine.CodePolicyRefused, clipped(refusal.Error()), nil)
}

// Resume follows the source again, and takes what it has. Without a hold there
// is nothing to resume, and the source is asked all the same.
func (r *Rollout) Resume(ctx context.Context, by string) error {
	if err := r.release(ctx, by); err != nil {
		return err
	}
	r.Refresh(ctx)
	return nil
}

func (r *Rollout) release(ctx context.Context, by string) error {
	r.turn.Lock()
	defer r.turn.Unlock()
	s := r.Status()
	if s.Hold == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	if err := r.o.Record(ctx, Event{Kind: Resumed, Revision: s.Revision, From: s.Revision, By: by}); err != nil {
		return err
	}
	if err := r.o.History.save(ctx, state{Active: s.Revision, Confirmed: s.Confirmed}); err != nil {
		return err
	}
	r.retry = time.Time{}
	r.set(func(s *Status) { s.Hold, s.Offered = nil, "" })
	return nil
}

// WithCatalog changes the actions and sites that policies are for. The policy
// in force is probed over them first; when something opens, nothing changes.
// swap is what puts the change into effect.
func (r *Rollout) WithCatalog(ctx context.Context, catalog []*engine.Action, probe policy.ProbeOptions, swap func() error) error {
	r.turn.Lock()
	defer r.turn.Unlock()
	_, _, err := admitted(ctx, r.folder, catalog, policy.AdmitOptions{Probe: probe})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("the policy in force, %s, does not hold with this change: %w", r.Status().Revision, err)
	}
	if err := swap(); err != nil {
		return err
	}
	r.o.Catalog, r.o.Probe = catalog, probe
	r.retry = time.Time{} // what was refused may be right with these
	return nil
}
