package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"

	"vouchsafe/engine/store"
)

// Verification is what Verify is to hold a log against.
type Verification struct {
	// Public verifies checkpoints; those that the log holds are then checked
	// too. Without it the log is only checked to be whole in itself.
	Public ed25519.PublicKey
	// Checkpoints were kept elsewhere and are verified already.
	Checkpoints []Checkpoint
}

// Verified is what Verify found.
type Verified struct {
	Records     uint64     `json:"records"` // read and hashed
	Dropped     uint64     `json:"dropped"` // whose hashes alone are there; Sites say by what act
	Checkpoints int        `json:"checkpoints"`
	Sites       []SiteLog  `json:"sites"`
	Problems    []Tampered `json:"problems"`
}

// SiteLog is the state of a site's log.
type SiteLog struct {
	Site string `json:"site"`
	Size uint64 `json:"size"`
	// Dropped is what retention took from its beginning, nil for nothing.
	Dropped *Dropped `json:"dropped,omitempty"`
}

// Dropped is what retention took from the beginning of a site's log, and the act
// that accounts for all of it.
type Dropped struct {
	Records uint64    `json:"records"` // numbers 0 to Records-1
	First   time.Time `json:"first"`   // when the oldest and the newest of them were made
	Last    time.Time `json:"last"`
	Act     string    `json:"act"` // that covers them all
	By      string    `json:"by"`
	At      time.Time `json:"at"`
}

// Tampered is one thing that is not as it was written. Of a site, the first
// record that is not is named, and nothing after it.
type Tampered struct {
	Site string `json:"site,omitempty"`
	File string `json:"file,omitempty"`
	// Record is the first one concerned; of a checkpoint that does not fit, the
	// first that may be. ID is its id, where it can still be read.
	Record *uint64 `json:"record,omitempty"`
	ID     string  `json:"id,omitempty"`
	What   string  `json:"what"`
}

// String says it to people.
func (t Tampered) String() string {
	var b strings.Builder
	if t.Record != nil {
		fmt.Fprintf(&b, "record %d ", *t.Record)
		if t.ID != "" {
			fmt.Fprintf(&b, "(%s) ", t.ID)
		}
	}
	if t.Site != "" {
		fmt.Fprintf(&b, "of site %s ", t.Site)
	}
	if t.File != "" {
		fmt.Fprintf(&b, "in %s", t.File)
	}
	return strings.TrimSpace(b.String()) + ": " + t.What
}

// readable is a segment to be verified.
type readable struct {
	name   string
	number uint64
	view   func(func(tx *bbolt.Tx) error) error
}

// VerifyFolder verifies the log of a server that does not run.
func VerifyFolder(ctx context.Context, dir string, v Verification) (Verified, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Verified{}, err
	}
	var files []readable
	out := Verified{Problems: []Tampered{}}
	for _, e := range entries {
		text, ok := strings.CutSuffix(e.Name(), ".db")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			out.Problems = append(out.Problems, Tampered{File: e.Name(), What: "it is no segment of the log"})
			continue
		}
		files = append(files, readable{e.Name(), n, func(fn func(tx *bbolt.Tx) error) error {
			db, err := store.OpenFile(filepath.Join(dir, e.Name()), SegmentKind, store.Options{ReadOnly: true})
			if err != nil {
				return err
			}
			return errors.Join(view(db, fn), db.Close())
		}})
	}
	if len(files) == 0 && len(out.Problems) == 0 {
		return out, fmt.Errorf("there is no decision log in %s: %w", dir, fs.ErrNotExist)
	}
	slices.SortFunc(files, func(a, b readable) int { return int(a.number) - int(b.number) })
	found, err := verify(ctx, files, v)
	found.Problems = append(out.Problems, found.Problems...)
	return found, err
}

// Verify verifies the log while it is in use.
func (l *Log) Verify(ctx context.Context, v Verification) (Verified, error) {
	l.replacing.RLock()
	defer l.replacing.RUnlock()
	l.mu.RLock()
	var files []readable
	for _, s := range l.segments {
		files = append(files, readable{segmentName(s.number), s.number, s.view})
	}
	l.mu.RUnlock()
	return verify(ctx, files, v)
}

// portionState is a site's part of one segment, verified by itself.
type portionState struct {
	base, end *tree
	good      []uint64 // sizes of checkpoints that fit
	bad       []Checkpoint
	first     *Tampered
	records   uint64
	dropped   uint64
	drop      *Drop     // what a bare part's seal says of it
	acts      []dropAct // of retention
}

// dropAct is an act of retention in the log.
type dropAct struct {
	Act
	seq  uint64
	drop Drop
}

// segmentState is one segment, verified by itself.
type segmentState struct {
	sites map[string]*portionState
	whole *Tampered
}

// verify verifies segments side by side, and then that each goes on where the
// one before ends.
func verify(ctx context.Context, files []readable, v Verification) (Verified, error) {
	states := make([]segmentState, len(files))
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		wg.Go(func() {
			for i := range next {
				states[i] = verifySegment(&files[i], v)
			}
		})
	}
	var err error
	for i := range files {
		select {
		case next <- i:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	close(next)
	wg.Wait()
	if err != nil {
		return Verified{}, err
	}

	out := Verified{Problems: []Tampered{}, Sites: []SiteLog{}}
	trees := map[string]*tree{}
	gone := map[string]*goneRecords{}
	lost := map[string]bool{} // sites with a problem: what comes after it says nothing
	good := map[string]uint64{}
	report := func(site string, t Tampered) {
		if site == "" || !lost[site] {
			out.Problems = append(out.Problems, t)
		}
		if site != "" {
			lost[site] = true
		}
	}
	expected := uint64(1)
	for i, s := range states {
		name := files[i].name
		if files[i].number != expected {
			report("", Tampered{File: segmentName(expected), What: "the file is missing"})
		}
		expected = files[i].number + 1
		if s.whole != nil {
			report("", *s.whole)
		}
		for site := range trees {
			if s.whole == nil && s.sites[site] == nil {
				report(site, Tampered{Site: site, File: name, Record: &trees[site].size, What: "the file does not go on with the site's log"})
			}
		}
		for _, site := range slices.Sorted(maps.Keys(s.sites)) {
			p := s.sites[site]
			was := trees[site]
			if was == nil {
				was = &tree{}
			}
			if p.base != nil && (p.base.size != was.size || !slices.Equal(p.base.peaks, was.peaks)) {
				at := min(was.size, p.base.size)
				report(site, Tampered{Site: site, File: name, Record: &at,
					What: fmt.Sprintf("the file goes on from %d records, and there are %d before it or they are others", p.base.size, was.size)})
			}
			for _, size := range p.good {
				if !lost[site] {
					good[site] = max(good[site], size)
				}
				out.Checkpoints++
			}
			if p.first != nil {
				report(site, *p.first)
			}
			for _, c := range p.bad {
				at := good[site]
				report(site, Tampered{Site: site, File: name, Record: &at, What: fmt.Sprintf(
					"records %d to %d are not those that the checkpoint of %d records was signed for: the first that was changed is among them", at, c.Size-1, c.Size)})
			}
			out.Records += p.records
			out.Dropped += p.dropped
			trees[site] = p.end
			if gone[site] == nil {
				gone[site] = &goneRecords{ends: map[uint64]tlog.Hash{}}
			}
			if at, what := gone[site].take(p); what != "" {
				report(site, Tampered{Site: site, File: name, Record: &at, What: what})
			}
		}
	}
	for _, c := range v.Checkpoints {
		size := uint64(0)
		if t := trees[c.Site]; t != nil {
			size = t.size
		}
		if size < c.Size {
			report(c.Site, Tampered{Site: c.Site, Record: &size, What: fmt.Sprintf(
				"the log ends here, and a checkpoint was signed for %d records: it was cut off", c.Size)})
		}
	}
	for _, site := range slices.Sorted(maps.Keys(trees)) {
		dropped, at, what := gone[site].account()
		if what != "" {
			report(site, Tampered{Site: site, Record: &at, What: what})
		}
		out.Sites = append(out.Sites, SiteLog{site, trees[site].size, dropped})
	}
	return out, nil
}

func verifySegment(r *readable, v Verification) (out segmentState) {
	// A page that points outside the file is a fault, not a crash.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	out.sites = map[string]*portionState{}
	err := r.view(func(tx *bbolt.Tx) error {
		meta := tx.Bucket([]byte(metaBucket))
		if meta == nil {
			return errForm
		}
		var seals map[string]json.RawMessage
		sealed := meta.Get([]byte(sealKey))
		if sealed != nil {
			if err := json.Unmarshal(sealed, &seals); err != nil {
				return errors.New("its seal is damaged")
			}
		}
		known := map[string]bool{}
		c := meta.Cursor()
		prefix := []byte(basePrefix)
		for k, val := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, val = c.Next() {
			site := string(k[len(prefix):])
			known[site] = true
			p := &portionState{}
			out.sites[site] = p
			if len(val) < 8 {
				return errForm
			}
			base, err := parseTree(binary.BigEndian.Uint64(val), val[8:])
			if err != nil {
				return err
			}
			p.base, p.end = base, base.clone()
			p.verify(tx, r.name, site, seals[site], sealed != nil, v)
		}
		return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			for _, prefix := range []string{recordsPrefix, hashesPrefix} {
				if site, ok := strings.CutPrefix(string(name), prefix); ok && !known[site] {
					return fmt.Errorf("it holds records of site %s, which it says it does not", site)
				}
			}
			return nil
		})
	})
	if err != nil {
		out.whole = &Tampered{File: r.name, What: err.Error()}
	}
	return out
}

// verify reads a site's part of a segment through.
func (p *portionState) verify(tx *bbolt.Tx, file, site string, sealed json.RawMessage, isSealed bool, v Verification) {
	wrong := func(f *form, what string) {
		if p.first != nil {
			return
		}
		at := p.end.size
		p.first = &Tampered{Site: site, File: file, Record: &at, What: what}
		if f != nil {
			p.first.ID = string(f.id)
		}
	}
	due := p.due(tx, site, v, wrong)
	reached := func() {
		for len(due) > 0 && due[0].Size <= p.end.size {
			c := due[0]
			due = due[1:]
			if c.Size < p.end.size {
				continue // of an earlier segment, and checked there
			}
			if p.end.root() == c.Root {
				p.good = append(p.good, c.Size)
			} else {
				p.bad = append(p.bad, c.Checkpoint)
			}
		}
	}
	reached()
	x := newIndex(p.base.size)
	records := tx.Bucket([]byte(recordsPrefix + site))
	if tiles := tx.Bucket([]byte(hashesPrefix + site)); tiles != nil {
		if records != nil {
			wrong(nil, "the file holds both the records and what is left of dropped ones")
			return
		}
		if tx.Bucket([]byte(indexPrefix+site)) != nil {
			wrong(nil, "the file holds the index of records that were dropped")
			return
		}
		p.verifyTiles(tiles, wrong, reached)
	} else if records != nil {
		p.verifyRecords(records, site, x, v.Public, wrong, reached)
		if p.first == nil && isSealed {
			if !sameIndex(tx.Bucket([]byte(indexPrefix+site)), x) {
				wrong(nil, "the index of the file is not that of its records")
			}
		}
	}
	for _, c := range due {
		if c.own {
			wrong(nil, fmt.Sprintf("the file ends here, and holds a checkpoint that was signed for %d records: it was cut off", c.Size))
		}
	}
	if p.first == nil && isSealed {
		p.verifySeal(sealed, site, x, records == nil && tx.Bucket([]byte(hashesPrefix+site)) != nil, v.Public, wrong)
	}
}

// dueCheckpoint is a checkpoint to be met; own, when the segment holds it.
type dueCheckpoint struct {
	Checkpoint
	own bool
}

// due collects the checkpoints to be met on the way, the log's own among them,
// in the order of their sizes.
func (p *portionState) due(tx *bbolt.Tx, site string, v Verification, wrong func(*form, string)) []dueCheckpoint {
	var due []dueCheckpoint
	for _, c := range v.Checkpoints {
		if c.Site == site && c.Size >= p.base.size {
			due = append(due, dueCheckpoint{c, false})
		}
	}
	if b := tx.Bucket([]byte(notesPrefix + site)); b != nil && v.Public != nil {
		key, err := PublicKey(site, v.Public)
		if err != nil {
			wrong(nil, err.Error())
			return due
		}
		c := b.Cursor()
		for k, val := c.First(); k != nil; k, val = c.Next() {
			got, err := ParseCheckpoint(val, key)
			if err != nil || len(k) != 8 || got.Size != binary.BigEndian.Uint64(k) {
				wrong(nil, "a checkpoint that the file holds was not signed by the key, or is out of place")
				continue
			}
			due = append(due, dueCheckpoint{got, true})
		}
	}
	slices.SortFunc(due, func(a, b dueCheckpoint) int {
		if a.Size < b.Size {
			return -1
		} else if a.Size > b.Size {
			return 1
		}
		return 0
	})
	return due
}

func (p *portionState) verifyRecords(b *bbolt.Bucket, site string, x *index, public ed25519.PublicKey, wrong func(*form, string), reached func()) {
	var f form
	var scratch, made []byte
	written := int64(0)
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(k) != 8 {
			wrong(nil, "something stands between the records that is none")
			return
		}
		if at := binary.BigEndian.Uint64(k); at != p.end.size {
			wrong(nil, fmt.Sprintf("the record is missing: record %d follows", at))
			return
		}
		hashes, record, err := split(p.end.size, v)
		if err == nil {
			err = f.parse(record)
		}
		if err != nil {
			wrong(nil, "the record was changed: "+err.Error())
			return
		}
		leaf, grown := leafHash(scratch, record)
		scratch = grown
		before := p.end.size
		if f.seq != before || string(f.site) != site {
			wrong(&f, fmt.Sprintf("record %d of site %s stands in its place", f.seq, f.site))
			return
		}
		if !bytes.Equal(leaf[:], hashes[:treeHashSize]) {
			wrong(&f, "the record, or the hash stored with it, was changed")
			return
		}
		if f.written < written {
			wrong(&f, "the record says that it was written before the one before it")
			return
		}
		written = f.written
		made = p.end.add(leaf, made[:0])
		if !bytes.Equal(made, hashes) {
			p.end.size = before
			wrong(&f, "a hash of the tree that is stored with the record was changed, or a record before it")
			return
		}
		x.add(&f)
		p.records++
		reached()
		if a, ok := actOf(&f); ok {
			d, err := parseDrop(site, a.Statement, public)
			if err != nil || d.End > f.seq {
				p.end.size = before
				wrong(&f, "it says that retention dropped records, and was not signed for that")
				return
			}
			p.acts = append(p.acts, dropAct{a, f.seq, d})
		}
	}
}

func (p *portionState) verifyTiles(b *bbolt.Bucket, wrong func(*form, string), reached func()) {
	var made []byte
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(k) != 8 || binary.BigEndian.Uint64(k) != p.end.size {
			wrong(nil, "the hash of a dropped record is missing")
			return
		}
		for len(v) > 0 {
			n := hashesOf(p.end.size) * treeHashSize
			if len(v) < n {
				wrong(nil, "the hash of a dropped record is damaged")
				return
			}
			before := p.end.size
			made = p.end.add([treeHashSize]byte(v[:treeHashSize]), made[:0])
			if !bytes.Equal(made, v[:n]) {
				p.end.size = before
				wrong(nil, "a hash of a dropped record was changed")
				return
			}
			v = v[n:]
			p.dropped++
			reached()
		}
	}
}

// sameIndex compares a stored index with the one that the records make.
func sameIndex(b *bbolt.Bucket, x *index) bool {
	if b == nil {
		return len(x.postings) == 0
	}
	c := b.Cursor()
	k, v := c.First()
	err := x.store(func(key, value []byte) error {
		if !bytes.Equal(k, key) || !bytes.Equal(v, value) {
			return errIndex
		}
		k, v = c.Next()
		return nil
	})
	return err == nil && k == nil
}

func (p *portionState) verifySeal(sealed json.RawMessage, site string, x *index, bare bool, public ed25519.PublicKey, wrong func(*form, string)) {
	var got seal
	if sealed == nil || json.Unmarshal(sealed, &got) != nil {
		wrong(nil, "the file's seal says nothing of the site")
		return
	}
	want := sealOf(&portion{base: p.base, tree: p.end}, x)
	if bare {
		// What is left of dropped records does not say when they were.
		want.Bare, want.IDs, want.Times = true, [2]uint64{}, []int64{0, 0}
		d, err := parseDrop(site, got.Dropped, public)
		if err == nil && d.End < want.End {
			err = errNoDrop
		}
		if err != nil {
			end := p.end
			p.end = p.base // the first of them is named
			wrong(nil, fmt.Sprintf("records %d to %d are gone, and retention did not drop them: %v", want.From, want.End-1, err))
			p.end = end
			return
		}
		p.drop, want.Dropped = &d, got.Dropped
	}
	if asWritten, err := json.Marshal(got); err != nil || !bytes.Equal(asWritten, sealed) {
		wrong(nil, "the file's seal was changed")
		return
	}
	if got.From != want.From || got.End != want.End || got.Bare != want.Bare || got.Dropped != want.Dropped || got.IDs != want.IDs ||
		!bytes.Equal(got.Tree, want.Tree) || !slices.Equal(got.Times, want.Times) {
		wrong(nil, fmt.Sprintf("the file's seal says other than its records: records were cut off or added (it was sealed with %d)", got.End))
	}
}
