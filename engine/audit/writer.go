package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/store"
)

// item is something to be written: a record that has no place yet, or a
// checkpoint.
type item struct {
	site   string
	record []byte // only read, and only until it is answered
	size   uint64 // of the tree that note is of
	note   []byte
}

func (l *Log) submit(ctx context.Context, site string, record []byte) error {
	return l.group.Submit(context.WithoutCancel(ctx), &item{site: site, record: record})
}

// write gives the records their places, writes them with the tree's hashes in
// one transaction, and answers.
func (l *Log) write(batch []*store.Pending[*item]) {
	l.roll()
	err := l.commit(batch)
	if err != nil {
		l.fail(err)
		err = store.Unavailable(fmt.Errorf("%w: %v", store.ErrBroken, err))
	}
	for _, p := range batch {
		p.Answer(err)
	}
}

// staged is a site's part of a batch.
type staged struct {
	portion *portion // nil for a site's first records
	tree    *tree
	records *bbolt.Bucket
	forms   []form
}

// commit writes the batch. What bbolt panics at is an error of the file's.
func (l *Log) commit(batch []*store.Pending[*item]) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged: %v", p)
		}
	}()
	s := l.active()
	if l.broken != nil || s.db == nil {
		// Only this goroutine sets them.
		return store.ErrBroken
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	now := max(time.Now().UnixNano(), l.written+1)
	stage := map[string]*staged{}
	// One piece of memory for all values: bbolt reads them until the
	// transaction ends, and the index what of them it keeps.
	room := 0
	for _, p := range batch {
		room += len(p.Value.record) + 2*treeHashSize
	}
	arena := make([]byte, 0, room+8*treeHashSize)
	var scratch []byte
	for _, p := range batch {
		it := p.Value
		if it.note != nil {
			if err := putNote(tx, it); err != nil {
				return err
			}
			continue
		}
		g := stage[it.site]
		if g == nil {
			if g, err = l.stage(tx, s, it.site); err != nil {
				return err
			}
			stage[it.site] = g
		}
		seq := g.tree.size
		place(it.record, seq, now)
		leaf, grown := leafHash(scratch, it.record)
		scratch = grown
		begin := len(arena)
		arena = g.tree.add(leaf, arena)
		at := len(arena)
		arena = append(arena, it.record...)
		var f form
		if err := f.parse(arena[at:]); err != nil {
			return err
		}
		g.forms = append(g.forms, f)
		if err := g.records.Put(seqKey(seq), arena[begin:]); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	l.written = now
	l.mu.Lock()
	defer l.mu.Unlock()
	for site, g := range stage {
		if g.portion == nil {
			g.portion = &portion{base: &tree{}, live: newIndex(0)}
			s.sites[site] = g.portion
		}
		for i := range g.forms {
			g.portion.live.add(&g.forms[i])
		}
		g.portion.tree = g.tree
		l.grewLocked(site)
	}
	close(l.changed) // by a checkpoint alone, too
	l.changed = make(chan struct{})
	return nil
}

// stage begins a site's part of a transaction.
func (l *Log) stage(tx *bbolt.Tx, s *segment, site string) (*staged, error) {
	g := &staged{portion: s.sites[site], tree: &tree{}}
	if g.portion != nil {
		g.tree = g.portion.tree.clone()
	} else if err := putBase(tx.Bucket([]byte(metaBucket)), site, g.tree); err != nil {
		return nil, err
	}
	var err error
	if g.records, err = tx.CreateBucketIfNotExists([]byte(recordsPrefix + site)); err != nil {
		return nil, err
	}
	// Numbers rise, so every record goes to the end.
	g.records.FillPercent = 0.95
	return g, nil
}

func putNote(tx *bbolt.Tx, it *item) error {
	b, err := tx.CreateBucketIfNotExists([]byte(notesPrefix + it.site))
	if err != nil {
		return err
	}
	return b.Put(seqKey(it.size), it.note)
}

// roll begins the next segment when the active one is large or old enough, and
// seals the old one beside the requests that go on. When the next cannot be made
// the old one grows on.
func (l *Log) roll() {
	s := l.active()
	if l.broken != nil || s.db == nil || time.Now().Before(l.nextRoll) || !l.due(s) {
		return
	}
	if err := l.begin(); err != nil {
		l.nextRoll = time.Now().Add(rollAgain)
		if errors.Is(err, errStray) {
			l.fail(err)
		}
		return
	}
	l.sealing.Go(func() { l.sealOne(s) })
}

// rollAgain is how long after one that failed the next segment is tried again.
const rollAgain = 10 * time.Second

func (l *Log) due(s *segment) bool {
	grown := false
	for _, p := range s.sites {
		grown = grown || p.end() > p.from()
	}
	if !grown {
		return false
	}
	if !s.begun.IsZero() && time.Since(s.begun) > l.o.SegmentAge {
		return true
	}
	var size int64
	view(s.db, func(tx *bbolt.Tx) error { size = tx.Size(); return nil })
	return size >= l.o.Segment
}

// sealOne seals a segment. One that cannot be sealed keeps its index in memory
// and is tried again when the server idles or starts.
func (l *Log) sealOne(s *segment) {
	if !s.busy.CompareAndSwap(false, true) {
		return
	}
	defer s.busy.Store(false)
	l.mu.RLock()
	done := s.sealed
	l.mu.RUnlock()
	if done {
		return
	}
	if s.unsure {
		if err := l.reopenFull(s); err != nil {
			return
		}
	}
	if s.unsure = s.seal() != nil; s.unsure {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.settle()
	s.o = store.Options{ReadOnly: true, Existing: true}
	// Closing waits for those who read, and the next who do open it read-only.
	s.mu.Lock()
	if s.db != nil && s.uses == 0 {
		s.db.Close()
		s.db = nil
	}
	s.mu.Unlock()
}

// reopenFull opens a segment that takes no more records, and that could not be
// sealed, from the disk, and proves that it holds what was acknowledged. Whoever
// reads it waits; while somebody does it fails.
func (l *Log) reopenFull(s *segment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uses > 0 {
		return errors.New("it is being read")
	}
	if s.db != nil {
		err := s.db.Close()
		if s.db = nil; err != nil {
			return err
		}
	}
	is, err := openSegment(s.path, s.number, l.o.Store, l.Public())
	if err != nil {
		return err
	}
	if missing, err := is.misses(s); err != nil {
		l.lost.Add(int64(missing))
		l.fail(err)
		return errors.Join(err, is.close())
	}
	s.db = is.db
	return nil
}

// sealAgain seals a segment that the server left half sealed when it ended.
func (s *segment) sealAgain() error {
	db, err := store.OpenFile(s.path, SegmentKind, store.Options{Existing: true})
	if err != nil {
		return err
	}
	s.db = db
	if err := s.seal(); err != nil {
		return err
	}
	s.settle()
	s.o = store.Options{ReadOnly: true, Existing: true}
	return s.close()
}

// settle lets go of the index in memory: it is in the file.
func (s *segment) settle() {
	for _, p := range s.sites {
		p.times, p.ids, p.span = p.live.times, p.live.ids, p.live.span
		p.live = nil
	}
	s.sealed = true
}

// idle is called by the writer from time to time.
func (l *Log) idle() {
	if l.Health() != nil {
		l.recover()
		if l.Health() == nil {
			// What the failed batch left on the disk counts too.
			l.written = max(l.written, l.lastWritten())
		}
	}
	if time.Since(l.tidied) < time.Minute {
		return
	}
	l.tidied = time.Now()
	l.roll() // where nobody asks for anything, records grow old all the same
	l.mu.RLock()
	var sealed, not []*segment
	for _, s := range l.segments[:len(l.segments)-1] {
		if s.sealed {
			sealed = append(sealed, s)
		} else {
			not = append(not, s)
		}
	}
	l.mu.RUnlock()
	for _, s := range sealed {
		s.rest(idleFile)
	}
	for _, s := range not {
		l.sealing.Go(func() { l.sealOne(s) })
	}
}

// fail notes that the log cannot be written. Nothing is acknowledged again until
// recover has opened the file anew, found in it what was acknowledged, and
// written to it: after a failed sync what the kernel still holds of the file is
// not known.
func (l *Log) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = err
	}
}

// errLost stops the log for good: an acknowledged record is not there.
var errLost = errors.New("acknowledged records are missing from the log")

// recover opens a broken segment anew.
func (l *Log) recover() {
	l.mu.RLock()
	broken, old := l.broken, l.active()
	l.mu.RUnlock()
	if broken == nil || errors.Is(broken, errLost) {
		return
	}
	s, err := l.reopen(old)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken = err; err != nil {
		if s != nil {
			s.close()
		}
		return
	}
	l.segments = append(slices.Clone(l.segments[:len(l.segments)-1]), s)
	close(l.changed)
	l.changed = make(chan struct{})
}

// reopen opens what old was, from the disk, and proves that it holds what was
// acknowledged and can be written.
func (l *Log) reopen(old *segment) (*segment, error) {
	if err := old.close(); err != nil {
		return nil, err
	}
	o := l.o.Store
	o.Map = l.mapSize()
	s, err := openSegment(old.path, old.number, o, l.Public())
	if err != nil {
		return nil, err
	}
	if missing, err := s.misses(old); err != nil {
		if missing > 0 {
			l.lost.Add(int64(missing))
		}
		return s, err
	}
	// Room for many records, and not just for the few bytes that happen to be
	// free inside the file: else a full disk would come and go.
	if err := probe(s.db, make([]byte, probeSize)); err != nil {
		// Nothing more is written through it: where the sync of its meta page
		// failed, bbolt goes on from what the disk may not have, and reuses
		// pages that the disk still needs.
		return s, err
	}
	return s, probe(s.db, nil)
}

// tail is how many of a site's last acknowledged records are read and hashed
// again.
const tail = 1024

// misses compares what the file holds with what was acknowledged of it.
func (s *segment) misses(old *segment) (missing uint64, err error) {
	for site, was := range old.sites {
		is := s.sites[site]
		if is == nil || is.end() < was.end() {
			lost := was.end() - was.from()
			if is != nil {
				lost = was.end() - is.end()
			}
			missing += lost
			err = errors.Join(err, fmt.Errorf("%w: %d of site %s", errLost, lost, site))
			continue
		}
		if lost := s.tailMisses(site, was); lost > 0 {
			missing += lost
			err = errors.Join(err, fmt.Errorf("%w: of the last ones of site %s, %d are not what they were", errLost, site, lost))
		}
	}
	return missing, err
}

// tailMisses counts the last acknowledged records whose bytes do not have the
// hash that is stored with them, or that lead to another tree than the one that
// was acknowledged.
func (s *segment) tailMisses(site string, was *portion) (missing uint64) {
	from := max(was.from(), was.end()-min(was.end(), tail))
	if from == was.end() {
		return 0
	}
	t := &tree{}
	err := view(s.db, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(recordsPrefix + site))
		if b == nil {
			return errForm
		}
		base := s.sites[site].base
		t = base.clone()
		c := b.Cursor()
		var scratch []byte
		for k, v := c.First(); k != nil && t.size < was.end(); k, v = c.Next() {
			hashes, record, err := split(t.size, v)
			if err != nil {
				return err
			}
			if t.size >= from {
				leaf, grown := leafHash(scratch, record)
				if scratch = grown; string(leaf[:]) != string(hashes[:treeHashSize]) {
					missing++
				}
			}
			t.adopt(hashes)
		}
		return nil
	})
	if missing == 0 && (err != nil || t.size != was.end() || !slices.Equal(t.peaks, was.tree.peaks)) {
		missing = was.end() - from
	}
	return missing
}

// probeSize is how much must fit before a file counts as writable again.
const probeSize = 256 << 10

func probe(db *bbolt.DB, value []byte) error {
	return db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(metaBucket)).Put([]byte("probe"), value) })
}
