package audit

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
)

// errFound ends a search that found what it looked for.
var errFound = errors.New("found")

// part is one segment's part of a site's log, as it was when it was looked at.
type part struct {
	s         *segment
	from, end uint64
	bare      bool
	ids       span64
	span      stretch
	times     []stretch
	live      bool
}

// parts lists the parts of a site's log, oldest first.
func (l *Log) parts(site string) []part {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var out []part
	for _, s := range l.segments {
		p := s.sites[site]
		if p == nil || p.end() == p.from() {
			continue
		}
		pt := part{s: s, from: p.from(), end: p.end(), bare: p.bare, ids: p.ids, span: p.span, times: p.times}
		if p.live != nil {
			pt.live, pt.ids, pt.span, pt.times = true, p.live.ids, p.live.span, slices.Clone(p.live.times)
		}
		out = append(out, pt)
	}
	return out
}

// places returns the numbers, rising, of the part's records that are filed
// under t.
func (l *Log) places(site string, pt *part, t term) ([]uint64, error) {
	if pt.bare || t.kind == termID && (t.hash < pt.ids.low || t.hash > pt.ids.high) {
		return nil, nil
	}
	var list []uint32
	l.mu.RLock()
	p := pt.s.sites[site]
	live := p != nil && p.live != nil
	if live {
		list = p.live.list(t)
	}
	l.mu.RUnlock()
	if !live {
		err := pt.s.view(func(tx *bbolt.Tx) (err error) {
			list, err = storedList(tx.Bucket([]byte(indexPrefix+site)), t)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading the index of %s: %w", segmentName(pt.s.number), err)
		}
	}
	out := make([]uint64, 0, len(list))
	for _, at := range list {
		if seq := pt.from + uint64(at); seq < pt.end {
			out = append(out, seq)
		}
	}
	return out, nil
}

// errDropped means that retention has dropped the part's records, perhaps since
// it was listed.
var errDropped = errors.New("the records were dropped")

// each reads records of the part by their numbers, in the order given. The form
// is valid only until fn returns. What retention has dropped is errDropped, and
// fn has not been called.
func (pt *part) each(site string, seqs []uint64, fn func(f *form) error) error {
	if pt.bare {
		return errDropped
	}
	if len(seqs) == 0 {
		return nil
	}
	return pt.s.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(recordsPrefix + site))
		if b == nil && tx.Bucket([]byte(hashesPrefix+site)) != nil {
			return errDropped
		}
		var f form
		for _, seq := range seqs {
			if b == nil {
				return fmt.Errorf("record %d of site %s is missing", seq, site)
			}
			if err := readForm(&f, site, seq, b.Get(seqKey(seq))); err != nil {
				return fmt.Errorf("record %d of site %s: %w", seq, site, err)
			}
			if err := fn(&f); err != nil {
				return err
			}
		}
		return nil
	})
}

// readForm reads a record, which must be the one that belongs in its place: what
// is enciphered in it is bound to what it says of itself.
func readForm(f *form, site string, seq uint64, value []byte) error {
	if value == nil {
		return errors.New("it is missing")
	}
	_, record, err := split(seq, value)
	if err != nil {
		return err
	}
	if err := f.parse(record); err != nil {
		return err
	}
	if f.seq != seq || string(f.site) != site {
		return fmt.Errorf("record %d of site %s stands in its place", f.seq, f.site)
	}
	return nil
}

// record reads one record.
func (l *Log) record(site string, seq uint64, fn func(f *form) error) error {
	for _, pt := range l.parts(site) {
		if seq >= pt.from && seq < pt.end {
			return kept(pt.each(site, []uint64{seq}, fn))
		}
	}
	return fmt.Errorf("site %s has no record %d", site, seq)
}

// find reads a site's records that are filed under a term, newest segment
// first, rising within each.
func (l *Log) find(site string, t term, fn func(f *form) error) error {
	parts := l.parts(site)
	for i := len(parts) - 1; i >= 0; i-- {
		seqs, err := l.places(site, &parts[i], t)
		if err != nil {
			return err
		}
		if err := kept(parts[i].each(site, seqs, fn)); err != nil {
			return err
		}
	}
	return nil
}

// kept takes what was dropped for what is not there.
func kept(err error) error {
	if errors.Is(err, errDropped) {
		return nil
	}
	return err
}

// Item is one record of a site's log. One of Decision, Outcome and Act is set.
type Item struct {
	Site string
	Seq  uint64
	// Written is when the record was written, in Unix nanoseconds; it rises from
	// record to record.
	Written  int64
	Decision *Record
	Outcome  *Outcome
	Act      *Act
}

func (p *people) item(f *form) (it Item, err error) {
	it = Item{Site: string(f.site), Seq: f.seq, Written: f.written}
	switch f.kind {
	case KindDecision:
		var r Record
		r, err = p.openDecision(f)
		it.Decision = &r
	case KindOutcome:
		it.Outcome, err = p.openOutcome(f)
	case KindAct:
		it.Act, err = p.openAct(f)
	default:
		err = fmt.Errorf("a record of %v is not known", f.kind)
	}
	if err != nil {
		err = fmt.Errorf("record %d of site %s: %w", f.seq, it.Site, err)
	}
	return it, err
}

// scanned is how many records Scan reads in one transaction.
const scanned = 256

// Scan calls fn with a site's records from number from on, in order, and returns
// the number to go on from: that of the first record which fn has not taken.
// Records that retention has dropped are passed over. It ends where the log
// ended when Scan began, or with fn's error.
func (l *Log) Scan(site string, from uint64, fn func(Item) error) (next uint64, err error) {
	next = from
	for _, pt := range l.parts(site) {
		if pt.end <= next {
			continue
		}
		next = max(next, pt.from)
		if pt.bare {
			next = pt.end
			continue
		}
		for next < pt.end {
			items := make([]Item, 0, scanned)
			seqs := make([]uint64, 0, scanned)
			for seq := next; seq < min(pt.end, next+scanned); seq++ {
				seqs = append(seqs, seq)
			}
			err := pt.each(site, seqs, func(f *form) error {
				it, err := l.people.item(f)
				items = append(items, it)
				return err
			})
			if errors.Is(err, errDropped) {
				next = pt.end // while we read
				break
			}
			if err != nil {
				return next, err
			}
			// Outside the transaction: fn may be slow.
			for _, it := range items {
				if err := fn(it); err != nil {
					return next, err
				}
				next++
			}
		}
	}
	return next, nil
}
