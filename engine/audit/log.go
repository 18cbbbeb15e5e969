// Package audit is the decision log: what was asked, by whom, what the policy
// said, and what was then done.
//
// Decision returns only when the record is on disk, so that whoever acts after
// it has proof that the act was decided. Each site's records are the leaves of
// an RFC 6962 tree, so that a change behind the server's back shows to whoever
// kept a signed checkpoint of it elsewhere; to whoever did not, and faces
// somebody who owns both the log and the key, the log proves nothing. What is
// personal in a record is enciphered, each person's under a key of their own.
package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/store"
)

// ErrNotFound means that the log holds no such decision.
var ErrNotFound = errors.New("no such decision")

// ErrEnded means that a decision has its outcome: it gets no other.
var ErrEnded = errors.New("the decision has its outcome already")

// Options tune a Log. Zero values are useful but for Master.
type Options struct {
	// Master is the 32 bytes that people's keys are sealed with. A log that is
	// only read may be opened without it: what is enciphered is then left out.
	Master []byte
	// Checkpoint signs the state of the log; without it there are no
	// checkpoints.
	Checkpoint ed25519.PrivateKey
	// People is the file of people's keys; people.db beside the log's folder
	// when "".
	People string
	// Segment is how large a file grows before the next is begun, in bytes; 128
	// MiB when 0.
	Segment int64
	// SegmentAge is how old a file gets before the next is begun; a week when 0.
	// Retention drops whole files, so a record outlives its time by so much.
	SegmentAge time.Duration
	// Store tunes the writing. Its OpenFile opens segments that are written.
	Store store.Options
}

// DefaultSegmentAge is the SegmentAge of Options that name none.
const DefaultSegmentAge = 7 * 24 * time.Hour

const (
	defaultSegment = 128 << 20
	// idleFile is how long a sealed segment's file stays open unread.
	idleFile = 10 * time.Minute
)

// Log is the decision log.
type Log struct {
	dir    string
	o      Options
	people *people
	sealer Sealer
	group  *store.Group[*item] // nil when read-only
	bufs   sync.Pool

	written  int64 // of the last batch; the writer's alone
	sealing  sync.WaitGroup
	tidied   time.Time
	nextRoll time.Time // not before, after one that failed
	pendingK sync.Mutex
	pending  generations[string, keyID] // of decisions that wait for their outcome: ids, for an erasure to reach the keys
	ending   map[string]bool            // whose outcome is being written

	mu       sync.RWMutex
	segments []*segment // oldest first; the last one takes records
	broken   error      // why the last write failed; nil when healthy
	changed  chan struct{}
	noted    map[string]noted     // the newest checkpoint of each site
	unsigned map[string]time.Time // since when a site has records that no checkpoint is of

	lost atomic.Int64

	open        openFiles
	erasing     sync.Mutex   // one erasure at a time
	retaining   sync.Mutex   // one retention at a time
	replacing   sync.RWMutex // held to put a file in another's place; read-held by who reads the files as one
	using       sync.RWMutex // read-held from when a person's key is taken until what it enciphers is on disk
	step        func(string) // of retention, for tests
	foreign     bool         // people's keys were made for a log that this one does not go on from
	foreignOnce sync.Once
	stated      map[string]*statedDrop // by site, the newest act of retention; retention's alone
}

// Open opens or makes the log in the folder dir.
func Open(dir string, o Options) (_ *Log, err error) {
	if o.Segment == 0 {
		o.Segment = defaultSegment
	}
	if o.SegmentAge == 0 {
		o.SegmentAge = DefaultSegmentAge
	}
	if o.People == "" {
		o.People = filepath.Join(filepath.Dir(dir), "people.db")
	}
	l := &Log{dir: dir, o: o, changed: make(chan struct{}), ending: map[string]bool{}, noted: map[string]noted{}, unsigned: map[string]time.Time{}, stated: map[string]*statedDrop{},
		bufs: sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}}
	defer func() {
		if err != nil {
			l.closeFiles()
			err = fmt.Errorf("opening the audit log: %w", err)
		}
	}()
	if err := l.refuseOld(); err != nil {
		return nil, err
	}
	numbers, err := l.files()
	if err != nil {
		return nil, err
	}
	ro := o.Store.ReadOnly
	if ro && len(numbers) == 0 {
		return nil, fmt.Errorf("there is none in %s: %w", dir, fs.ErrNotExist)
	}
	keys := o.Store
	keys.OpenFile = nil
	if ro && o.Master != nil {
		if _, err := os.Stat(o.People); errors.Is(err, fs.ErrNotExist) {
			o.Master = nil // nobody's key is here
		}
	}
	// A file of keys that is lost is not made anew beside records: everybody in
	// them would look erased.
	keys.Existing = len(numbers) > 0
	if l.people, err = openPeople(o.People, o.Master, keys); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s, which holds the keys of the people in the log, is missing: put it back, or move %s away to begin another log", o.People, dir)
	} else if err != nil {
		return nil, err
	}
	l.sealer = Sealer{l.people}
	l.people.place = l.place
	for i, n := range numbers {
		if err := l.openOne(n, i == len(numbers)-1); err != nil {
			return nil, err
		}
	}
	if err := l.checkDropped(); err != nil {
		return nil, err
	}
	if ro {
		return l, nil
	}
	if err := l.sealAll(); err != nil {
		return nil, err
	}
	if last := l.active(); last == nil || last.sealed {
		if err := l.begin(); err != nil {
			return nil, err
		}
	}
	l.recallNotes()
	l.written = l.lastWritten()
	if err := l.eraseAgain(); err != nil {
		return nil, err
	}
	l.group = store.NewGroup(o.Store, l.write, l.idle)
	return l, nil
}

// refuseOld refuses the one file that the log was before it had segments.
func (l *Log) refuseOld() error {
	old := filepath.Join(filepath.Dir(l.dir), "audit.db")
	if _, err := os.Stat(old); err == nil {
		return fmt.Errorf("%s is a decision log of an older version, which this one does not read: move it away, and keep it with the version that wrote it", old)
	}
	return nil
}

// files lists the numbers of the segments, and clears away what a crash left
// half made.
func (l *Log) files() ([]uint64, error) {
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, ".new") && !l.o.Store.ReadOnly {
			if err := os.Remove(filepath.Join(l.dir, name)); err != nil {
				return nil, err
			}
			continue
		}
		if text, ok := strings.CutSuffix(name, ".db"); ok {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil || name != segmentName(n) {
				return nil, fmt.Errorf("%s is no segment of the log", name)
			}
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// openOne opens a segment and checks that it goes on where the one before ends.
func (l *Log) openOne(n uint64, last bool) error {
	path := filepath.Join(l.dir, segmentName(n))
	o := l.o.Store
	if !last {
		o = store.Options{ReadOnly: true}
	} else if !o.ReadOnly {
		o.Map = l.mapSize()
	}
	s, err := openSegment(path, n, o, l.Public())
	if err != nil {
		return err
	}
	s.files = &l.open
	if err := l.fits(s, last); err != nil {
		return errors.Join(err, s.close())
	}
	if last && l.isLeftover(s) {
		return l.dropLeftover(s)
	}
	if before := l.active(); before != nil {
		if err := follows(before, s); err != nil {
			s.close()
			return fmt.Errorf("%s does not go on where %s ends: %w", segmentName(n), segmentName(before.number), err)
		}
	}
	l.segments = append(l.segments, s)
	if s.sealed {
		s.o = store.Options{ReadOnly: true, Existing: true}
		return s.close() // until somebody asks for it
	}
	if last || l.o.Store.ReadOnly {
		return nil
	}
	return nil // the server ended while it sealed this one: sealAll
}

// fits refuses a segment whose people's keys are in another file than ours, and
// a first one that is not the log's beginning.
func (l *Log) fits(s *segment, last bool) error {
	if id := l.people.id; id != "" && s.people != id {
		return fmt.Errorf("%s needs the people's keys of another %s: put that one back", segmentName(s.number), filepath.Base(l.o.People))
	}
	if l.active() != nil {
		return nil
	}
	if s.number != 1 {
		return fmt.Errorf("%s is missing", segmentName(1))
	}
	for site, p := range s.sites {
		if p.base.size != 0 {
			return fmt.Errorf("the first %d records of site %s are missing", p.base.size, site)
		}
	}
	return nil
}

// isLeftover reports a segment that was begun and never took a record, while the
// one before it grew on: the process ended before it could be removed.
func (l *Log) isLeftover(s *segment) bool {
	before := l.active()
	if before == nil || before.sealed || s.sealed || s.number != before.number+1 {
		return false
	}
	grew := false
	for site, p := range s.sites {
		was := before.sites[site]
		if p.end() != p.from() || was == nil || was.end() < p.from() || was.from() > p.from() {
			return false
		}
	}
	for site, p := range before.sites {
		begun := s.sites[site]
		grew = grew || begun == nil || p.end() > begun.from()
	}
	return grew
}

// dropLeftover removes such a segment and goes on with the one before it.
func (l *Log) dropLeftover(s *segment) error {
	if err := s.close(); err != nil || l.o.Store.ReadOnly {
		return err
	}
	if err := errors.Join(os.Remove(s.path), store.SyncDir(l.dir)); err != nil {
		return fmt.Errorf("removing %s, which was begun and never used: %w", segmentName(s.number), err)
	}
	before := l.active()
	if err := before.close(); err != nil {
		return err
	}
	l.segments = l.segments[:len(l.segments)-1]
	return l.openOne(before.number, true)
}

// sealAll seals the segments that the server left half sealed when it ended.
func (l *Log) sealAll() error {
	for _, s := range l.segments[:max(len(l.segments)-1, 0)] {
		if s.sealed {
			continue
		}
		if err := errors.Join(s.close(), s.sealAgain()); err != nil {
			return err
		}
	}
	return nil
}

// follows checks that a segment begins with the trees that another ends with.
func follows(before, s *segment) error {
	if s.number != before.number+1 {
		return errors.New("a file between them is missing")
	}
	for site, p := range before.sites {
		next, ok := s.sites[site]
		if !ok || next.base.size != p.tree.size || !slices.Equal(next.base.peaks, p.tree.peaks) {
			return fmt.Errorf("site %s has %d records there", site, p.tree.size)
		}
	}
	for site, p := range s.sites {
		if _, known := before.sites[site]; !known && p.base.size != 0 {
			return fmt.Errorf("the first %d records of site %s are missing", p.base.size, site)
		}
	}
	return nil
}

// mapSize is address space for a whole segment, so that a growing file is not
// mapped anew while somebody reads it.
func (l *Log) mapSize() int { return int(l.o.Segment + l.o.Segment/4) }

// active is the segment that takes records, nil when there is none.
func (l *Log) active() *segment {
	if len(l.segments) == 0 {
		return nil
	}
	return l.segments[len(l.segments)-1]
}

// begin makes the next segment.
func (l *Log) begin() error {
	number, bases := uint64(1), map[string]*tree{}
	if last := l.active(); last != nil {
		number = last.number + 1
		for site, p := range last.sites {
			bases[site] = p.tree
		}
	}
	o := l.o.Store
	o.Map = l.mapSize()
	s, err := newSegment(filepath.Join(l.dir, segmentName(number)), number, l.people.id, bases, o, l.Public())
	if err != nil {
		return err
	}
	s.files = &l.open
	l.mu.Lock()
	l.segments = append(slices.Clip(l.segments), s)
	l.mu.Unlock()
	return nil
}

// lastWritten is the stamp of the newest record, over all sites.
func (l *Log) lastWritten() int64 {
	var last int64
	for _, site := range l.Sites() {
		if from, end := l.Range(site); end > from {
			// What cannot be read now is found by whoever asks for it.
			l.record(site, end-1, func(f *form) error {
				last = max(last, f.written)
				return nil
			})
		}
	}
	return last
}

// Close finishes the writes that wait and closes the files.
func (l *Log) Close() error {
	if l.group != nil {
		l.group.Close()
	}
	l.sealing.Wait()
	return l.closeFiles()
}

func (l *Log) closeFiles() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, s := range l.segments {
		errs = append(errs, s.close())
	}
	if l.people != nil {
		errs = append(errs, l.people.close())
	}
	return errors.Join(errs...)
}

// Health returns nil when decisions can be recorded, else why not.
func (l *Log) Health() error {
	l.mu.RLock()
	broken := l.broken
	l.mu.RUnlock()
	if broken != nil {
		return broken
	}
	return l.people.health()
}

// Waiting returns how many records wait for the disk.
func (l *Log) Waiting() int {
	if l.group == nil {
		return 0
	}
	return l.group.Waiting()
}

// Lost returns how many acknowledged records were found missing when a broken
// file was opened again. It is 0, or something is very wrong: then nothing is
// acknowledged until somebody has looked.
func (l *Log) Lost() int64 { return l.lost.Load() }

// Sites returns the sites that have records, in order.
func (l *Log) Sites() []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	last := l.active()
	if last == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(last.sites))
}

// Range returns the number of a site's first record that is still kept, and the
// number that its next record will have.
func (l *Log) Range(site string) (from, end uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	last := l.active()
	if last == nil || last.sites[site] == nil {
		return 0, 0
	}
	end = last.sites[site].end()
	from = end
	for _, s := range l.segments {
		if p := s.sites[site]; p != nil && !p.bare && p.end() > p.from() {
			return p.from(), end
		}
	}
	return from, end
}

// Changed returns a channel that is closed when the log has grown since.
func (l *Log) Changed() <-chan struct{} {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.changed
}

// Decision records d and returns once it is on disk. The caller's context may
// end before; the record is written all the same.
func (l *Log) Decision(ctx context.Context, d *Decision) error {
	if l.group == nil {
		return store.Unavailable(store.ErrBroken)
	}
	l.using.RLock()
	defer l.using.RUnlock()
	buf := l.bufs.Get().(*[]byte)
	defer l.bufs.Put(buf)
	var key *personKey
	var err error
	if *buf, key, err = l.sealer.decision(ctx, (*buf)[:0], d); err != nil {
		return unavailable(err)
	}
	if err := l.submit(ctx, d.Site, *buf); err != nil {
		return err
	}
	if d.Allow && !d.Asked {
		l.pendingK.Lock()
		l.pending.put(d.ID, key.id)
		l.pendingK.Unlock()
	}
	return nil
}

// Outcome records what became of a decision that was allowed: once, or it
// returns ErrEnded.
func (l *Log) Outcome(ctx context.Context, site string, o Outcome) error {
	if l.group == nil {
		return store.Unavailable(store.ErrBroken)
	}
	if err := l.claim(site, o.Decision); err != nil {
		return err
	}
	tried := false
	defer func() { l.release(o.Decision, tried) }()
	o.Version = formVersion
	l.using.RLock()
	defer l.using.RUnlock()
	buf := l.bufs.Get().(*[]byte)
	defer l.bufs.Put(buf)
	var err error
	*buf, err = l.sealer.outcome((*buf)[:0], site, o, func() (*personKey, error) { return l.keyOfDecision(ctx, site, o) })
	if err != nil {
		return unavailable(err)
	}
	tried = true
	return l.submit(ctx, site, *buf)
}

// claim makes sure that a decision has no outcome, and gets none until release.
func (l *Log) claim(site, id string) error {
	l.pendingK.Lock()
	if l.ending[id] {
		l.pendingK.Unlock()
		return ErrEnded
	}
	l.ending[id] = true
	_, due := l.pending.get(id)
	l.pendingK.Unlock()
	if due {
		return nil
	}
	// Of an earlier process, or one whose outcome was tried before: what is on
	// disk of it is on disk. Where that cannot be read it is written all the same.
	err := l.find(site, idTerm(id), func(f *form) error {
		if f.kind == KindOutcome && string(f.id) == id {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		l.release(id, false)
		return ErrEnded
	}
	return nil
}

func (l *Log) release(id string, tried bool) {
	l.pendingK.Lock()
	defer l.pendingK.Unlock()
	delete(l.ending, id)
	if tried {
		l.pending.drop(id)
	}
}

// keyOfDecision is the key of whom a decision is about, or noKey where they were
// erased since, or cannot be told for now: an outcome is recorded all the same, and
// without what is personal of it. Of a decision that is not in the log it goes
// under the site's key of the day.
func (l *Log) keyOfDecision(ctx context.Context, site string, o Outcome) (*personKey, error) {
	l.pendingK.Lock()
	id, ok := l.pending.get(o.Decision)
	l.pendingK.Unlock()
	if !ok {
		var err error
		if id, ok, err = l.recordedKey(site, o.Decision); err != nil {
			return noKey, nil
		}
	}
	if ok {
		k, err := l.people.byID(id)
		if k == nil && err == nil {
			k = noKey
		}
		if k != nil {
			return k, nil
		}
	}
	return l.people.keyOf(ctx, site, l.people.hash(byDay, site, day(o.Time)), personID{})
}

// recordedKey finds which key a decision is enciphered with.
func (l *Log) recordedKey(site, id string) (k keyID, ok bool, err error) {
	err = l.find(site, idTerm(id), func(f *form) error {
		if f.kind != KindDecision || string(f.id) != id || len(f.visitor) < keyIDSize {
			return nil
		}
		k, ok = keyID(f.visitor[:keyIDSize]), true
		return errFound
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return k, ok, err
}

// Act records an act and returns once it is on disk. Like a decision it is
// recorded before it is carried out.
func (l *Log) Act(ctx context.Context, a Act) (id string, err error) {
	if l.group == nil {
		return "", store.Unavailable(store.ErrBroken)
	}
	a.Version, a.ID = formVersion, engine.NewID("a", a.Time)
	l.using.RLock()
	defer l.using.RUnlock()
	b, err := l.sealer.act(ctx, nil, a)
	if err != nil {
		return "", unavailable(err)
	}
	return a.ID, l.submit(ctx, a.Site, b)
}

// unavailable is the refusal for whatever kept a record from being made.
func unavailable(err error) error {
	if _, coded := errors.AsType[*engine.Error](err); coded {
		return err
	}
	return store.Unavailable(err)
}
