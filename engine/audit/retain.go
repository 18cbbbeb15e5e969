package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/store"
)

// Hold keeps records from being dropped whatever their age, because something
// may yet follow from them.
type Hold struct {
	// Settled is the number of a site's first record that may still lack its
	// outcome; nil when outcomes are looked for in the log alone.
	Settled func(site string) uint64
	// Decisions are those of a site that something still waits for.
	Decisions func(site string) ([]string, error)
}

// Retained is what retention did, or would do, to a site's log.
type Retained struct {
	Site    string    `json:"site"`
	Before  time.Time `json:"before"`  // older records go
	Records uint64    `json:"records"` // that went, or would
	From    uint64    `json:"from"`    // the first of them
	End     uint64    `json:"end"`     // the first that stays
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"` // when the oldest and the newest of them were made
	Files   int       `json:"files"`         // that hold them
	Act     string    `json:"act,omitempty"` // what it is on record as
	// Held is why something that is old enough stays.
	Held string `json:"held,omitempty"`
}

// doomed is a site's part of a segment that is to go.
type doomed struct {
	s    *segment
	site string
	p    *portion
}

// Retain drops the records of whole segments' parts that are all older than
// their site's time in before, oldest first. What goes is on record before, by
// an act that is covered by a signed checkpoint: site, numbers, times, and the
// root of the tree there, signed. What stays is the tree's hashes, so that the
// rest verifies against every checkpoint there ever was. A part in which a
// decision waits for its outcome, or which does not verify, stays, and what is
// younger with it.
//
// A segment is written anew without what goes and takes the old one's place, so
// that nothing is left in free pages; a process that ends at any moment leaves
// the one or the other. Those who read the old one read on.
//
// With dry, it only says what would go.
func (l *Log) Retain(ctx context.Context, before map[string]time.Time, by string, hold Hold, dry bool) ([]Retained, error) {
	if !dry && l.group == nil {
		return nil, errors.New("the log was opened to be read only")
	}
	if !dry && l.o.Checkpoint == nil {
		return nil, ErrNoCheckpointKey // it signs what goes
	}
	l.retaining.Lock()
	defer l.retaining.Unlock()
	var out []Retained
	var errs []error // of one site or file, which keep none of the others
	due := map[*segment][]doomed{}
	asked := map[string]time.Time{}
	maps.Copy(asked, before)
	for site := range l.stated {
		if _, there := before[site]; !there {
			asked[site] = time.Time{} // what was announced is gone through with
		}
	}
	for _, site := range slices.Sorted(maps.Keys(asked)) {
		at, asked := before[site]
		r := Retained{Site: site, Before: at.UTC()}
		ds, err := l.doomed(ctx, &r, hold)
		if err != nil {
			errs = append(errs, fmt.Errorf("looking for what is too old of site %s: %w", site, err))
			continue
		}
		if len(ds) > 0 && !dry {
			drop, err := l.announce(ctx, &r, by, ds)
			if err != nil {
				errs = append(errs, fmt.Errorf("recording what is to be dropped of site %s: %w", site, err))
				continue
			}
			for _, d := range ds {
				d.p = &portion{base: d.p.base, tree: d.p.tree, bare: true, drop: drop}
				due[d.s] = append(due[d.s], d)
			}
		}
		if asked || len(ds) > 0 {
			out = append(out, r)
		}
	}
	l.at("announced")
	failed := map[string]bool{} // sites of which a file could not be written anew
	for _, s := range slices.SortedFunc(maps.Keys(due), func(a, b *segment) int { return int(a.number) - int(b.number) }) {
		if err := ctx.Err(); err != nil {
			return out, errors.Join(append(errs, err)...)
		}
		if slices.ContainsFunc(due[s], func(d doomed) bool { return failed[d.site] }) {
			// The oldest go first, or what is left would have a hole.
			due[s] = slices.DeleteFunc(due[s], func(d doomed) bool { return failed[d.site] })
			if len(due[s]) == 0 {
				continue
			}
		}
		if err := l.strip(s, due[s]); err != nil {
			errs = append(errs, fmt.Errorf("dropping records of %s: %w", segmentName(s.number), err))
			for _, d := range due[s] {
				failed[d.site] = true
			}
		}
	}
	if dry || len(errs) > 0 {
		return out, errors.Join(errs...)
	}
	return out, l.sweepKeys(ctx)
}

// at tells a test how far a retention is.
func (l *Log) at(step string) {
	if l.step != nil {
		l.step(step)
	}
}

// doomed finds the parts of a site's log that go, oldest first.
func (l *Log) doomed(ctx context.Context, r *Retained, hold Hold) (out []doomed, err error) {
	l.mu.RLock()
	segments := l.segments[:max(len(l.segments)-1, 0)]
	l.mu.RUnlock()
	settled := uint64(math.MaxUint64)
	if hold.Settled != nil {
		settled = hold.Settled(r.Site)
	}
	var wanted []string
	if hold.Decisions != nil {
		if wanted, err = hold.Decisions(r.Site); err != nil {
			return nil, err
		}
	}
	announced := uint64(0) // what was, and was then kept from going, goes first
	if st := l.stated[r.Site]; st != nil {
		announced = st.drop.End
	}
	for _, s := range segments {
		l.mu.RLock()
		p, sealed := s.sites[r.Site], s.sealed
		young := p != nil && p.live != nil && p.live.span.last >= r.Before.UnixNano()
		l.mu.RUnlock()
		if p == nil || p.bare || p.end() == p.from() {
			continue
		}
		if !sealed {
			if !young {
				r.Held = segmentName(s.number) + " could not be sealed yet"
			}
			break
		}
		if p.span.last >= r.Before.UnixNano() && p.end() > announced {
			if last := time.Unix(0, p.span.last); last.After(time.Now().Add(aheadGrace)) {
				r.Held = fmt.Sprintf("one of the records %d to %d is dated %s: nothing goes before that is too old", p.from(), p.end()-1, last.UTC().Format(time.RFC3339))
			}
			break
		}
		switch {
		case p.end() > settled:
			r.Held = fmt.Sprintf("records from %d on may lack their outcome", max(settled, p.from()))
		default:
			if r.Held, err = l.needed(ctx, s, r.Site, p, wanted); err != nil {
				return nil, err
			}
		}
		if r.Held != "" {
			break
		}
		if len(out) == 0 {
			r.From, r.First = p.from(), time.Unix(0, p.span.first).UTC()
		}
		out = append(out, doomed{s, r.Site, p})
		r.End, r.Records, r.Files = p.end(), r.Records+p.end()-p.from(), r.Files+1
		if first := time.Unix(0, p.span.first).UTC(); first.Before(r.First) {
			r.First = first
		}
		if last := time.Unix(0, p.span.last).UTC(); last.After(r.Last) {
			r.Last = last
		}
	}
	return out, nil
}

// aheadGrace is how far ahead of the clock a record may be dated before that is
// said to be what holds a retention.
const aheadGrace = 24 * time.Hour

// needed reads a part that is old enough through and says why it must stay, ""
// when it need not: what does not verify is evidence, and from a decision whose
// outcome is due something is yet to follow.
func (l *Log) needed(ctx context.Context, s *segment, site string, p *portion, wanted []string) (why string, err error) {
	open := map[string]bool{}
	span := stretch{math.MaxInt64, math.MinInt64}
	err = s.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(recordsPrefix + site))
		if b == nil {
			why = "its records are missing"
			return nil
		}
		t := p.base.clone()
		var f form
		var scratch, made []byte
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if t.size%4096 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			hashes, record, err := split(t.size, v)
			if err == nil {
				err = f.parse(record)
			}
			if err == nil && (f.seq != t.size || string(f.site) != site || string(k) != string(seqKey(t.size))) {
				err = errForm
			}
			if err == nil {
				var leaf [treeHashSize]byte
				leaf, scratch = leafHash(scratch, record)
				if made = t.add(leaf, made[:0]); string(made) != string(hashes) {
					err = errForm
				}
			}
			if err != nil {
				why = fmt.Sprintf("record %d is not as it was written: `vouchsafe audit verify` says more", t.size)
				return nil
			}
			span.first, span.last = min(span.first, f.time), max(span.last, f.time)
			switch {
			case f.kind == KindDecision && f.flags&flagAllow != 0 && f.flags&flagAsked == 0:
				open[string(f.id)] = true
			case f.kind == KindOutcome:
				delete(open, string(f.id))
			}
			for _, id := range wanted {
				if f.kind == KindDecision && string(f.id) == id {
					why = fmt.Sprintf("decision %s is still waited for", id)
				}
			}
		}
		if t.size != p.end() || !slices.Equal(t.peaks, p.tree.peaks) {
			why = "its records are not those that were sealed: `vouchsafe audit verify` says more"
		} else if span != p.span {
			// Nothing but the records says how old they are.
			why = fmt.Sprintf("%s says of records %d to %d that they are of another time than they are: `vouchsafe audit verify` says more",
				segmentName(s.number), p.from(), p.end()-1)
		}
		return nil
	})
	if err != nil || why != "" {
		return why, err
	}
	// Outcomes may be in later segments.
	for _, id := range slices.Sorted(maps.Keys(open)) {
		o, err := l.outcomeOf(site, id, p.end()-1)
		if err != nil {
			return "", err
		}
		if o == nil {
			return fmt.Sprintf("decision %s has no outcome yet", id), nil
		}
	}
	return "", nil
}

// announce puts on record, under a signed checkpoint, what is to be dropped.
func (l *Log) announce(ctx context.Context, r *Retained, by string, ds []doomed) (*Drop, error) {
	if st := l.stated[r.Site]; st != nil && st.drop.End >= r.End {
		r.Act = st.act // and it is not carried out yet
		return &st.drop, nil
	}
	last := ds[len(ds)-1].p
	d := Drop{Site: r.Site, From: r.From, End: r.End, First: r.First, Last: r.Last, Root: last.tree.root()}
	if was := l.dropped(r.Site); was != nil {
		// It speaks for what went before too: the acts of that may go now.
		if was.First.Before(d.First) {
			d.First = was.First
		}
		if was.Last.After(d.Last) {
			d.Last = was.Last
		}
	}
	var err error
	if d, err = signDrop(d, l.o.Checkpoint); err != nil {
		return nil, err
	}
	r.Act, err = l.Act(ctx, Act{Time: time.Now().UTC(), Site: r.Site, By: by, Kind: KindRetention, Statement: d.Note,
		Object: fmt.Sprintf("records %d to %d, of before %s", d.From, d.End-1, r.Before.Format(time.RFC3339))})
	if err != nil {
		return nil, err
	}
	if _, err = l.Checkpoint(ctx, r.Site); err != nil {
		return nil, err
	}
	l.stated[r.Site] = &statedDrop{r.Act, d}
	return &d, nil
}

// statedDrop is what an act of retention says.
type statedDrop struct {
	act  string
	drop Drop
}

// recallDrop finds the newest act of retention in the log that is signed for what
// the log holds. Where nothing is gone it is looked for in the two newest files:
// an act that was not carried out yet is there.
func (l *Log) recallDrop(site string, ends map[uint64]*tree, bare bool) (*statedDrop, error) {
	parts := l.parts(site)
	for i := len(parts) - 1; i >= 0 && (bare || i >= len(parts)-2); i-- {
		seqs, err := l.places(site, &parts[i], term{termAct, 0})
		if err != nil {
			return nil, err
		}
		var found *statedDrop
		err = kept(parts[i].each(site, seqs, func(f *form) error {
			a, ok := actOf(f)
			if !ok {
				return nil
			}
			d, err := parseDrop(site, a.Statement, l.Public())
			if t := ends[d.End]; err == nil && d.End <= f.seq && t != nil && t.root() == d.Root && (found == nil || d.End > found.drop.End) {
				found = &statedDrop{a.ID, d}
			}
			return nil
		}))
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, nil
}

// dropped is the newest statement that the log holds of a site's dropped records.
func (l *Log) dropped(site string) (d *Drop) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, s := range l.segments {
		if p := s.sites[site]; p != nil && p.bare {
			d = p.drop
		}
	}
	return d
}

// checkDropped refuses a log from which records are gone that retention did not
// drop, or in which younger ones are gone and older ones are not.
func (l *Log) checkDropped() error {
	for _, site := range l.Sites() {
		ends := map[uint64]*tree{}
		var stated []*Drop
		bare, kept := uint64(0), false
		for _, s := range l.segments {
			p := s.sites[site]
			if p == nil {
				continue
			}
			ends[p.end()] = p.tree
			if !p.bare {
				kept = kept || p.end() > p.from()
				continue
			}
			if kept {
				return fmt.Errorf("records %d to %d of site %s were taken out from behind older ones: retention does not do that", p.from(), p.end()-1, site)
			}
			stated, bare = append(stated, p.drop), p.end()
		}
		st, err := l.recallDrop(site, ends, bare > 0)
		if err != nil {
			return err
		}
		if bare > 0 && (st == nil || st.drop.End < bare) {
			return fmt.Errorf("the first %d records of site %s are gone, and no act on record says that retention dropped them", bare, site)
		}
		if st != nil {
			l.stated[site] = st
		}
		for _, d := range stated {
			if t := ends[d.End]; t == nil || t.root() != d.Root {
				return fmt.Errorf("the first %d records of site %s are gone, and they are not those that retention says it dropped", bare, site)
			}
		}
	}
	return nil
}

// strip replaces a segment by one without what goes.
func (l *Log) strip(s *segment, ds []doomed) error {
	next := s.path + ".new"
	err := s.writeStripped(next, ds)
	if err != nil {
		return errors.Join(err, removed(next))
	}
	l.at("written")
	// Not while somebody reads several files as one: they would see the records
	// gone and miss the act.
	l.replacing.Lock()
	defer l.replacing.Unlock()
	if err := os.Rename(next, s.path); err != nil {
		return errors.Join(err, removed(next))
	}
	l.at("replaced")
	durable := store.SyncDir(l.dir)
	l.mu.Lock()
	sites := maps.Clone(s.sites)
	for _, d := range ds {
		sites[d.site] = d.p
	}
	s.sites = sites
	l.mu.Unlock()
	// Whoever reads the old file reads on; closing waits for them.
	return errors.Join(durable, s.close())
}
