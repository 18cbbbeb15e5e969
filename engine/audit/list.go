package audit

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Query selects decisions. Zero fields select all.
type Query struct {
	Site, Subject, Action, Code, Conversation string
	// TokenID is the id of the token that was presented, Policy the revision
	// that decided.
	TokenID, Policy string
	Allow           *bool
	Since, Until    time.Time
	// Before lists only what was written before.
	Before Position
	Limit  int // 50 when 0
}

// MaxLimit is the most entries List returns at once.
const MaxLimit = 1000

// List returns the newest decisions that match, newest first: in the order in
// which they were written.
func (l *Log) List(q Query) ([]Entry, error) {
	if q.Limit <= 0 {
		q.Limit = 50
	}
	q.Limit = min(q.Limit, MaxLimit)
	sites := []string{q.Site}
	if q.Site == "" {
		sites = l.Sites()
	}
	// The newest of each site's next decisions, until there are enough.
	var lists []*lister
	for _, site := range sites {
		x, err := l.newLister(site, &q)
		if err != nil {
			return nil, err
		}
		if err := x.next(); err != nil {
			return nil, err
		}
		if x.ok {
			lists = append(lists, x)
		}
	}
	var out []Entry
	for len(out) < q.Limit && len(lists) > 0 {
		newest := slices.MaxFunc(lists, func(a, b *lister) int { return a.at.compare(b.at) })
		out = append(out, newest.entry)
		if err := newest.next(); err != nil {
			return nil, err
		}
		if !newest.ok {
			lists = slices.DeleteFunc(lists, func(x *lister) bool { return x == newest })
		}
	}
	for i := range out {
		if err := l.complete(&out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Position is a place in the order in which all sites' records were written, also
// of a record that is not kept any more. The zero Position is none.
type Position struct {
	Written int64 // Unix nanoseconds
	Site    string
	Seq     uint64
}

func (p Position) compare(o Position) int {
	switch {
	case p.Written != o.Written:
		if p.Written < o.Written {
			return -1
		}
		return 1
	case p.Site != o.Site:
		if p.Site < o.Site {
			return -1
		}
		return 1
	case p.Seq != o.Seq:
		if p.Seq < o.Seq {
			return -1
		}
		return 1
	}
	return 0
}

// lister walks a site's decisions that match, newest first.
type lister struct {
	log    *Log
	site   string
	q      *Query
	parts  []part // those that are left
	term   *term
	want   wanted
	late   []uint64 // decisions whose outcome, filed in a later segment, has the code
	before uint64   // only decisions with lower numbers

	cur  part
	has  bool     // whether cur is not yet through
	all  bool     // whether every record of it is a candidate
	seqs []uint64 // if not, those that are; rising

	entry Entry
	at    Position
	ok    bool
}

// wanted is a query as records show it in clear.
type wanted struct {
	subject, conversation, token keyedHash
}

func (l *Log) newLister(site string, q *Query) (*lister, error) {
	p := l.people
	x := &lister{log: l, site: site, q: q, parts: l.parts(site), want: wanted{
		p.hash(bySubject, site, q.Subject), p.hash(conversing, site, q.Conversation), p.hash(byTokenID, site, q.TokenID)}}
	if p.db == nil && (q.Subject != "" || q.Conversation != "" || q.TokenID != "") {
		return nil, errors.New("the log was opened without the master key, and nobody is found in it without")
	}
	_, x.before = l.Range(site)
	if before := q.Before; before != (Position{}) {
		if before.Site == site {
			x.before = before.Seq
		} else {
			var err error
			if x.before, err = l.firstFrom(site, before); err != nil {
				return nil, err
			}
		}
	}
	pick := func(t term) { x.term = &t }
	switch {
	case q.Conversation != "":
		pick(hashTerm(termConversation, x.want.conversation))
	case q.TokenID != "":
		pick(hashTerm(termToken, x.want.token))
	case q.Subject != "":
		pick(hashTerm(termSubject, x.want.subject))
	case q.Code != "":
		pick(wordTerm(termCode, []byte(q.Code)))
		return x, x.findLate()
	case q.Action != "":
		pick(wordTerm(termAction, []byte(q.Action)))
	}
	return x, nil
}

// firstFrom is the number of a site's first record at or after a position.
// Records are stamped in rising order, so that halving finds it.
func (l *Log) firstFrom(site string, at Position) (uint64, error) {
	from, end := l.Range(site)
	for from < end {
		mid := from + (end-from)/2
		var p Position
		err := l.record(site, mid, func(f *form) error {
			p = Position{f.written, site, f.seq}
			return nil
		})
		if err != nil {
			return 0, err
		}
		if p.compare(at) < 0 {
			from = mid + 1
		} else {
			end = mid
		}
	}
	return from, nil
}

// findLate collects the decisions whose outcome has the code and is in a later
// segment than they are.
func (x *lister) findLate() error {
	t := wordTerm(termLateCode, []byte(x.q.Code))
	for i := range x.parts {
		pt := &x.parts[i]
		seqs, err := x.log.places(x.site, pt, t)
		if err != nil {
			return err
		}
		var ids []string
		if err := kept(pt.each(x.site, seqs, func(f *form) error { ids = append(ids, string(f.id)); return nil })); err != nil {
			return err
		}
		for _, id := range ids {
			err := x.log.find(x.site, idTerm(id), func(f *form) error {
				if f.kind == KindDecision && string(f.id) == id {
					x.late = append(x.late, f.seq)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// listed is how many candidates are read in one transaction.
const listed = 64

// next finds the next decision; ok is false when there is none.
func (x *lister) next() error {
	x.ok = false
	for {
		if !x.has {
			more, err := x.enter()
			if err != nil || !more {
				return err
			}
		}
		batch := x.candidates()
		if len(batch) == 0 {
			x.has = false
			continue
		}
		ask := false // whether the outcome decides
		err := x.cur.each(x.site, batch, func(f *form) error {
			x.before = f.seq
			if !x.matches(f) {
				return nil
			}
			ask = x.q.Code != "" && !slices.ContainsFunc(f.reasons, func(c []byte) bool { return string(c) == x.q.Code })
			x.at = Position{f.written, x.site, f.seq}
			x.entry = Entry{Site: x.site, Seq: f.seq, Written: f.written}
			var err error
			if x.entry.Decision, err = x.log.people.openDecision(f); err != nil {
				return fmt.Errorf("reading decision %s: %w", f.id, err)
			}
			return errFound
		})
		if errors.Is(err, errDropped) {
			x.has = false // while we read; what is older went before
			continue
		}
		if err != nil && !errors.Is(err, errFound) {
			return err
		}
		if err == nil {
			continue
		}
		if ask {
			// Not inside the transaction: one within another can wait for ever.
			o, err := x.log.outcomeOf(x.site, x.entry.Decision.ID, x.entry.Seq)
			if err != nil {
				return err
			}
			if o == nil || o.Code != x.q.Code && !slices.Contains(o.Withheld, x.q.Code) {
				continue
			}
		}
		x.ok = true
		return nil
	}
}

// enter goes to the next older part that may hold something.
func (x *lister) enter() (bool, error) {
	for len(x.parts) > 0 {
		x.cur = x.parts[len(x.parts)-1]
		x.parts = x.parts[:len(x.parts)-1]
		if x.cur.bare || x.cur.from >= x.before || !x.meets(x.cur.span) {
			continue
		}
		x.has, x.all, x.seqs = true, x.term == nil, nil
		if x.all {
			return true, nil
		}
		seqs, err := x.log.places(x.site, &x.cur, *x.term)
		if err != nil {
			return false, err
		}
		for _, seq := range x.late {
			if seq >= x.cur.from && seq < x.cur.end {
				seqs = append(seqs, seq)
			}
		}
		slices.Sort(seqs)
		x.seqs = slices.Compact(seqs)
		return true, nil
	}
	return false, nil
}

// meets reports whether a stretch of time may hold what is looked for.
func (x *lister) meets(s stretch) bool {
	return (x.q.Since.IsZero() || s.last >= x.q.Since.UnixNano()) && (x.q.Until.IsZero() || s.first < x.q.Until.UnixNano())
}

// candidates returns the next numbers to be looked at, falling.
func (x *lister) candidates() []uint64 {
	var out []uint64
	if !x.all {
		n, _ := slices.BinarySearch(x.seqs, x.before)
		for ; n > 0 && len(out) < listed; n-- {
			out = append(out, x.seqs[n-1])
		}
		return out
	}
	for next := min(x.before, x.cur.end); next > x.cur.from && len(out) < listed; {
		// Step over blocks of another time.
		block := (next - 1 - x.cur.from) / blockSize
		if int(block) < len(x.cur.times) && !x.meets(x.cur.times[block]) {
			next = x.cur.from + block*blockSize
			continue
		}
		next--
		out = append(out, next)
	}
	return out
}

// matches looks at what a record shows in clear. Whether an outcome has the code
// that is looked for is not to be seen there.
func (x *lister) matches(f *form) bool {
	q := x.q
	switch {
	case f.kind != KindDecision,
		q.Subject != "" && f.subject != x.want.subject,
		q.Conversation != "" && f.conversation != x.want.conversation,
		q.TokenID != "" && f.token != x.want.token,
		q.Allow != nil && *q.Allow != (f.flags&flagAllow != 0),
		q.Policy != "" && q.Policy != string(f.policy),
		q.Action != "" && q.Action != string(f.action),
		!q.Since.IsZero() && f.time < q.Since.UnixNano(),
		!q.Until.IsZero() && f.time >= q.Until.UnixNano():
		return false
	}
	return true
}

// outcomeOf finds the outcome of a decision, nil when there is none yet: in the
// segment that holds the decision, or in a later one.
func (l *Log) outcomeOf(site, id string, decision uint64) (o *Outcome, err error) {
	parts := l.parts(site)
	t := idTerm(id)
	for i := range parts {
		pt := &parts[i]
		if pt.end <= decision {
			continue
		}
		seqs, err := l.places(site, pt, t)
		if err != nil {
			return nil, err
		}
		err = pt.each(site, seqs, func(f *form) error {
			if f.kind != KindOutcome || string(f.id) != id {
				return nil
			}
			if o, err = l.people.openOutcome(f); err != nil {
				return err
			}
			return errFound
		})
		if errors.Is(err, errFound) {
			return o, nil
		}
		if err = kept(err); err != nil {
			return nil, fmt.Errorf("reading the outcome of decision %s: %w", id, err)
		}
	}
	return nil, nil
}

// complete fills in an entry's outcome and whom it is about.
func (l *Log) complete(e *Entry) error {
	if e.Decision.Allow && !e.Decision.Asked {
		var err error
		if e.Outcome, err = l.outcomeOf(e.Site, e.Decision.ID, e.Seq); err != nil {
			return err
		}
	}
	if err := e.ReadAbout(); err != nil {
		return fmt.Errorf("reading the input of decision %s: %w", e.Decision.ID, err)
	}
	return nil
}

// Show returns one decision with its outcome.
func (l *Log) Show(id string) (e Entry, err error) {
	for _, site := range l.Sites() {
		err := l.find(site, idTerm(id), func(f *form) error {
			if f.kind != KindDecision || string(f.id) != id {
				return nil
			}
			e = Entry{Site: site, Seq: f.seq}
			if e.Decision, err = l.people.openDecision(f); err != nil {
				return fmt.Errorf("reading decision %s: %w", id, err)
			}
			return errFound
		})
		if errors.Is(err, errFound) {
			return e, l.complete(&e)
		}
		if err != nil {
			return e, err
		}
	}
	return e, ErrNotFound
}

// Acts returns the newest acts on a site, newest first.
func (l *Log) Acts(site string, limit int) ([]Act, error) {
	out := []Act{}
	parts := l.parts(site)
	for i := len(parts) - 1; i >= 0 && len(out) < limit; i-- {
		seqs, err := l.places(site, &parts[i], term{termAct, 0})
		if err != nil {
			return nil, err
		}
		slices.Reverse(seqs)
		err = parts[i].each(site, seqs[:min(len(seqs), limit-len(out))], func(f *form) error {
			a, err := l.people.openAct(f)
			if err == nil {
				out = append(out, *a)
			}
			return err
		})
		if err = kept(err); err != nil {
			return nil, err
		}
	}
	return out, nil
}
