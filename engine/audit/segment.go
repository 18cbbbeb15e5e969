package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/store"
)

// SegmentKind is what a segment's file calls itself.
const SegmentKind = "audit segment"

// A segment is a bbolt file with, for each site that has records in it, the
// buckets
//
//	records/SITE  number (8 bytes, big-endian) -> the tree's hashes that the
//	              record completes, then the record
//	hashes/SITE   once retention has dropped the records: number of the first
//	              of up to 256 -> the hashes that were stored with them
//	notes/SITE    size of the tree (8 bytes) -> a signed checkpoint of it
//	index/SITE    the index, once the segment is sealed
//
// and in bucket "meta" its kind and version, "base/SITE" the tree as it was
// when the segment was begun, and, once it is sealed, "seal".
const (
	recordsPrefix = "records/"
	hashesPrefix  = "hashes/"
	notesPrefix   = "notes/"
	indexPrefix   = "index/"
	basePrefix    = "base/"
	sealKey       = "seal"
	peopleKey     = "people" // which file of people's keys the records need
	metaBucket    = "meta"
)

// segment is one file of the log. The newest takes records; every other is
// sealed: it is opened only to be read, and only when something is asked of it.
type segment struct {
	path   string
	number uint64
	o      store.Options
	public ed25519.PublicKey
	people string
	files  *openFiles // nil for one that is looked at alone

	mu   sync.Mutex
	db   *bbolt.DB
	uses int
	// reading are those who read db.
	reading *sync.WaitGroup
	used    time.Time

	// sites is what is known of each site in the file. In a segment that takes
	// records it grows, guarded by Log.mu; in a sealed one it does not change.
	sites map[string]*portion
	// sealed says that the index is in the file and not in portion.live.
	sealed bool
	busy   atomic.Bool // being sealed
	unsure bool        // sealing it failed: what the kernel holds of it is not known
	begun  time.Time
}

// portion is one site's part of a segment: records base.size to end.
type portion struct {
	base  *tree
	tree  *tree // at the end
	live  *index
	times []stretch
	ids   span64
	span  stretch
	// signed is how many records the newest checkpoint in the file was of when it
	// was opened.
	signed uint64
	// bare says that retention has dropped the records and left the hashes, and
	// drop is what it signed of that.
	bare bool
	drop *Drop
}

func (p *portion) from() uint64 { return p.base.size }
func (p *portion) end() uint64  { return p.tree.size }

// seal is what a sealed segment says of a site.
type seal struct {
	From uint64 `json:"from"`
	End  uint64 `json:"end"`
	Tree []byte `json:"tree"` // at the end
	Bare bool   `json:"bare,omitempty"`
	// Dropped is what retention signed of the records that it dropped. A bare
	// part has no ids and times.
	Dropped string `json:"dropped,omitempty"`
	IDs     [2]uint64
	Times   []int64 // pairs: of the whole, then of each block
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func segmentName(number uint64) string { return fmt.Sprintf("%08d.db", number) }

// openSegment opens a file and reads what it says of itself. One that is not
// sealed is read through, for its index.
func openSegment(path string, number uint64, o store.Options, public ed25519.PublicKey) (*segment, error) {
	// A segment is made whole, under another name: an empty one was emptied.
	o.Existing = true
	s := &segment{path: path, number: number, o: o, public: public, sites: map[string]*portion{}}
	db, err := store.OpenFile(path, SegmentKind, o)
	if err != nil {
		return nil, err
	}
	s.db, s.used = db, time.Now()
	if err := s.load(); err != nil {
		s.close()
		return nil, fmt.Errorf("reading %s: %w", filepath.Base(path), err)
	}
	return s, nil
}

// newSegment makes a file that begins where the sites' trees are, under a name
// of its own until it is whole.
//
// An error of errStray leaves the file in its place, where it may not stay.
func newSegment(path string, number uint64, people string, bases map[string]*tree, o store.Options, public ed25519.PublicKey) (*segment, error) {
	next := path + ".new"
	if err := os.RemoveAll(next); err != nil {
		return nil, err
	}
	db, err := store.OpenFile(next, SegmentKind, store.Options{})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket([]byte(metaBucket))
		if err := meta.Put([]byte("begun"), []byte(time.Now().UTC().Format(time.RFC3339Nano))); err != nil {
			return err
		}
		if err := meta.Put([]byte(peopleKey), []byte(people)); err != nil {
			return err
		}
		for site, t := range bases {
			if err := putBase(meta, site, t); err != nil {
				return err
			}
		}
		return nil
	})
	err = errors.Join(err, db.Sync(), db.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		os.Remove(next)
		return nil, fmt.Errorf("making a segment: %w", err)
	}
	var s *segment
	if err = store.SyncDir(filepath.Dir(path)); err == nil {
		if s, err = openSegment(path, number, o, public); err == nil {
			return s, nil
		}
	}
	// It may not stay: the segment before it grows on.
	if gone := errors.Join(os.Remove(path), store.SyncDir(filepath.Dir(path))); gone != nil {
		return nil, fmt.Errorf("%w: %v; %v", errStray, err, gone)
	}
	return nil, fmt.Errorf("making a segment: %w", err)
}

// errStray means that a segment was made that can be neither used nor removed.
var errStray = errors.New("a segment that cannot be used is in the way")

func putBase(meta *bbolt.Bucket, site string, t *tree) error {
	return meta.Put([]byte(basePrefix+site), append(seqKey(t.size), t.bytes()...))
}

// load reads the file's account of itself.
func (s *segment) load() error {
	return view(s.db, func(tx *bbolt.Tx) error {
		meta := tx.Bucket([]byte(metaBucket))
		if meta == nil {
			return errForm
		}
		begun, err := time.Parse(time.RFC3339Nano, string(meta.Get([]byte("begun"))))
		if err != nil {
			return errors.New("it does not say when it was begun: it was not made whole")
		}
		s.begun, s.people = begun, string(meta.Get([]byte(peopleKey)))
		c := meta.Cursor()
		prefix := []byte(basePrefix)
		for k, v := c.Seek(prefix); len(k) > len(prefix) && string(k[:len(prefix)]) == basePrefix; k, v = c.Next() {
			if len(v) < 8 {
				return errForm
			}
			t, err := parseTree(binary.BigEndian.Uint64(v), v[8:])
			if err != nil {
				return err
			}
			s.sites[string(k[len(prefix):])] = &portion{base: t, tree: t.clone()}
		}
		if v := meta.Get([]byte(sealKey)); v != nil {
			return s.loadSeal(v)
		}
		if err := fetch(s.path); err != nil {
			return err
		}
		for site, p := range s.sites {
			if err := p.scan(tx, site, s.public); err != nil {
				return fmt.Errorf("site %s: %w", site, err)
			}
		}
		return nil
	})
}

// fetch reads a file from its beginning to its end and keeps nothing: what is then
// read through the map in the order of a tree comes from memory, and not a page
// at a time from the disk.
func fetch(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, f)
	return errors.Join(err, f.Close())
}

func (s *segment) loadSeal(v []byte) error {
	var seals map[string]seal
	if err := json.Unmarshal(v, &seals); err != nil {
		return fmt.Errorf("the seal: %w", err)
	}
	for site, p := range s.sites {
		sl, ok := seals[site]
		if !ok || sl.From != p.base.size || len(sl.Times) < 2 || len(sl.Times)%2 != 0 {
			return errors.New("the seal does not fit")
		}
		var err error
		if p.tree, err = parseTree(sl.End, sl.Tree); err != nil {
			return fmt.Errorf("the seal: %w", err)
		}
		p.bare, p.ids = sl.Bare, span64{sl.IDs[0], sl.IDs[1]}
		p.span = stretch{sl.Times[0], sl.Times[1]}
		if p.bare {
			d, err := parseDrop(site, sl.Dropped, s.public)
			if err == nil && d.End < p.end() {
				err = errNoDrop
			}
			if err != nil {
				return fmt.Errorf("records %d to %d of site %s are gone: %w", p.from(), p.end()-1, site, err)
			}
			p.drop = &d
		}
		for i := 2; i < len(sl.Times); i += 2 {
			p.times = append(p.times, stretch{sl.Times[i], sl.Times[i+1]})
		}
	}
	s.sealed = true
	return nil
}

// scan reads a site's records for their index and the tree's end. What new
// records are to be built on, and signed for, is hashed again, and held against
// the newest checkpoint that the file has.
func (p *portion) scan(tx *bbolt.Tx, site string, public ed25519.PublicKey) error {
	p.live = newIndex(p.base.size)
	newest, err := newestNote(tx, site, public)
	if err != nil {
		return err
	}
	if newest != nil && newest.Size < p.base.size {
		newest = nil // of the segment before
	}
	if newest != nil {
		p.signed = newest.Size
	}
	b := tx.Bucket([]byte(recordsPrefix + site))
	if b == nil {
		if newest != nil && newest.Size > p.base.size {
			return fmt.Errorf("there are %d records, and a checkpoint was signed for %d", p.base.size, newest.Size)
		}
		return nil
	}
	return p.follow(b.Cursor(), site, newest)
}

// newestNote is the newest checkpoint that a file holds of a site, nil when there
// is none or no key to verify it with.
func newestNote(tx *bbolt.Tx, site string, public ed25519.PublicKey) (*Checkpoint, error) {
	b := tx.Bucket([]byte(notesPrefix + site))
	if b == nil || public == nil {
		return nil, nil
	}
	_, v := b.Cursor().Last()
	if v == nil {
		return nil, nil
	}
	key, err := PublicKey(site, public)
	if err != nil {
		return nil, err
	}
	c, err := ParseCheckpoint(v, key)
	return &c, err
}

// follow takes in the records from the cursor's on.
func (p *portion) follow(c *bbolt.Cursor, site string, newest *Checkpoint) error {
	var f form
	var scratch, made []byte
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(k) != 8 || binary.BigEndian.Uint64(k) != p.tree.size {
			return fmt.Errorf("record %d is missing", p.tree.size)
		}
		hashes, record, err := split(p.tree.size, v)
		if err != nil {
			return fmt.Errorf("record %d: %w", p.tree.size, err)
		}
		if err := f.parse(record); err != nil {
			return fmt.Errorf("record %d: %w", p.tree.size, err)
		}
		if f.seq != p.tree.size || string(f.site) != site {
			return fmt.Errorf("record %d of site %s stands in the place of record %d", f.seq, f.site, p.tree.size)
		}
		p.live.add(&f)
		leaf, grown := leafHash(scratch, record)
		scratch = grown
		if made = p.tree.add(leaf, made[:0]); !bytes.Equal(made, hashes) {
			return fmt.Errorf("record %d, or a hash stored with it, was changed: `vouchsafe audit verify` says more", f.seq)
		}
		if newest != nil && newest.Size == p.tree.size && newest.Root != p.tree.root() {
			return fmt.Errorf("the first %d records are not those that a checkpoint was signed for", newest.Size)
		}
	}
	if newest != nil && newest.Size > p.tree.size {
		return fmt.Errorf("there are %d records, and a checkpoint was signed for %d", p.tree.size, newest.Size)
	}
	return nil
}

// adopt grows the tree by a record whose hashes are stored.
func (t *tree) adopt(hashes []byte) {
	for n := t.size; n&1 == 1; n >>= 1 {
		t.peaks = t.peaks[:len(t.peaks)-1]
	}
	var top [treeHashSize]byte
	copy(top[:], hashes[len(hashes)-treeHashSize:])
	t.peaks = append(t.peaks, top)
	t.size++
}

// view reads the segment's file, opening it if need be. The error of a file
// that bbolt cannot make sense of is an error and no panic.
func (s *segment) view(fn func(tx *bbolt.Tx) error) error {
	db, done, err := s.take()
	if err != nil {
		return err
	}
	defer done()
	return view(db, fn)
}

// take opens the file if need be, and keeps it open until done is called.
func (s *segment) take() (db *bbolt.DB, done func(), err error) {
	opened := false
	defer func() {
		if opened && s.files != nil {
			s.files.opened(s)
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		if !s.o.ReadOnly {
			// It took records, and is to be opened by who writes it.
			return nil, nil, store.Unavailable(store.ErrBroken)
		}
		if s.db, err = store.OpenFile(s.path, SegmentKind, s.o); err != nil {
			s.db = nil
			return nil, nil, err
		}
		opened = true
	}
	if s.reading == nil {
		s.reading = new(sync.WaitGroup)
	}
	reading := s.reading
	reading.Add(1)
	s.uses++
	return s.db, func() {
		reading.Done()
		s.mu.Lock()
		s.uses--
		s.used = time.Now()
		s.mu.Unlock()
	}, nil
}

func view(db *bbolt.DB, fn func(tx *bbolt.Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged: %v", p)
		}
	}()
	return db.View(fn)
}

// rest closes the file of a sealed segment that nobody reads.
func (s *segment) rest(idle time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil && s.uses == 0 && time.Since(s.used) >= idle {
		s.db.Close()
		s.db = nil
	}
}

// close closes the file, once those who read it now have done so. Whoever comes
// meanwhile does not wait: they open it anew, or what has taken its place.
func (s *segment) close() error {
	s.mu.Lock()
	db, reading := s.db, s.reading
	s.db, s.reading = nil, nil
	s.mu.Unlock()
	if db == nil {
		return nil
	}
	if reading != nil {
		reading.Wait()
	}
	return db.Close()
}

// seal writes the index of a segment that takes no more records. It is then a
// file that is only read.
func (s *segment) seal() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sealing %s: the file is damaged: %v", filepath.Base(s.path), p)
		}
	}()
	seals := map[string]seal{}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		for site, p := range s.sites {
			x := p.live
			seals[site] = sealOf(p, x)
			b, err := tx.CreateBucketIfNotExists([]byte(indexPrefix + site))
			if err != nil {
				return err
			}
			b.FillPercent = 1
			if err := x.store(b.Put); err != nil {
				return err
			}
		}
		v, err := json.Marshal(seals)
		if err != nil {
			return err
		}
		return tx.Bucket([]byte(metaBucket)).Put([]byte(sealKey), v)
	})
	if err != nil {
		return fmt.Errorf("sealing %s: %w", filepath.Base(s.path), err)
	}
	return nil
}

func sealOf(p *portion, x *index) seal {
	out := seal{From: p.from(), End: p.end(), Tree: p.tree.bytes(), IDs: [2]uint64{x.ids.low, x.ids.high}}
	for _, t := range append([]stretch{x.span}, x.times...) {
		out.Times = append(out.Times, t.first, t.last)
	}
	return out
}
