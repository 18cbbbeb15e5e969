package audit

import (
	"bytes"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"

	"go.etcd.io/bbolt"
)

// termKind is what records are found by.
type termKind byte

const (
	termID           termKind = 1 // the decision that a decision or outcome is of; an act's id
	termSubject      termKind = 2
	termConversation termKind = 3
	termToken        termKind = 4
	termAction       termKind = 5
	termCode         termKind = 6 // of a decision, or of its outcome: the decision's place
	termLateCode     termKind = 7 // of an outcome whose decision is in an older segment: the outcome's place
	termAct          termKind = 8 // every act
	termChild        termKind = 9 // the decision that others serve or carry out: their places
)

// term is what a record is filed under. The hash may be shared by several
// values: whoever finds a record by it compares what the record says.
type term struct {
	kind termKind
	hash uint64
}

func (t term) compare(o term) int {
	if t.kind != o.kind {
		return int(t.kind) - int(o.kind)
	}
	switch {
	case t.hash < o.hash:
		return -1
	case t.hash > o.hash:
		return 1
	}
	return 0
}

// hashTerm files under the start of a keyed hash.
func hashTerm(k termKind, h keyedHash) term { return term{k, binary.BigEndian.Uint64(h[:])} }

// wordTerm files under a word that is no secret.
func wordTerm(k termKind, word []byte) term {
	h := uint64(14695981039346656037) // FNV-1a, 64 bits
	for _, c := range word {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return term{k, h}
}

var idAlphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// idTime is when an id of engine.NewID was made, in Unix milliseconds, with the
// count that follows it: its first 64 bits. ok is false for any other id.
func idTime(id string) (at uint64, ok bool) {
	_, text, found := strings.Cut(id, "_")
	if !found || len(text) != 26 {
		return 0, false
	}
	var raw [16]byte
	if _, err := idAlphabet.Decode(raw[:], []byte(text)); err != nil {
		return 0, false
	}
	return binary.BigEndian.Uint64(raw[:]), true
}

func idTerm(id string) term {
	if at, ok := idTime(id); ok {
		return term{termID, at}
	}
	return wordTerm(termID, []byte(id))
}

// stretch is the range of times within one block of records.
type stretch struct{ first, last int64 }

// blockSize is how many records share a stretch.
const blockSize = 1024

// index finds a site's records in one segment. Places are counted from base,
// the site's first record in it.
type index struct {
	base     uint64
	postings map[term][]uint32 // rising
	times    []stretch         // of each block
	ids      span64            // of termID's hashes
	span     stretch           // of all times
}

type span64 struct{ low, high uint64 }

func newIndex(base uint64) *index {
	return &index{base: base, postings: map[term][]uint32{}, ids: span64{math.MaxUint64, 0}, span: stretch{math.MaxInt64, math.MinInt64}}
}

// add files a record. Records are added in order.
func (x *index) add(f *form) {
	at := uint32(f.seq - x.base)
	file := func(t term, at uint32) {
		list := x.postings[t]
		if n := len(list); n == 0 || list[n-1] < at {
			x.postings[t] = append(list, at)
			return
		}
		if i, there := slices.BinarySearch(list, at); !there {
			x.postings[t] = slices.Insert(list, i, at)
		}
	}
	id := idTerm(string(f.id))
	decision := uint32(math.MaxUint32)
	if f.kind == KindOutcome {
		if list := x.postings[id]; len(list) > 0 {
			decision = list[0]
		}
	}
	file(id, at)
	x.ids.low, x.ids.high = min(x.ids.low, id.hash), max(x.ids.high, id.hash)
	for _, h := range [...]struct {
		kind termKind
		hash keyedHash
	}{{termSubject, f.subject}, {termConversation, f.conversation}, {termToken, f.token}} {
		if h.hash != (keyedHash{}) {
			file(hashTerm(h.kind, h.hash), at)
		}
	}
	if len(f.action) > 0 {
		file(wordTerm(termAction, f.action), at)
	}
	if len(f.parent) > 0 {
		file(term{termChild, idTerm(string(f.parent)).hash}, at)
	}
	for _, code := range f.codes() {
		switch {
		case f.kind == KindDecision:
			file(wordTerm(termCode, code), at)
		case decision != math.MaxUint32:
			file(wordTerm(termCode, code), decision)
		default:
			file(wordTerm(termLateCode, code), at)
		}
	}
	if f.kind == KindAct {
		file(term{termAct, 0}, at)
	}
	block := int(at / blockSize)
	if block == len(x.times) {
		x.times = append(x.times, stretch{math.MaxInt64, math.MinInt64})
	}
	for _, s := range []*stretch{&x.times[block], &x.span} {
		s.first, s.last = min(s.first, f.time), max(s.last, f.time)
	}
}

// list returns a copy of the places of a term.
func (x *index) list(t term) []uint32 { return slices.Clone(x.postings[t]) }

// An index is stored as chunks in the order of their terms. A chunk's key is its
// first group's kind, hash and first place; its value is groups: kind, hash, how
// many places, and the places as uvarints, each but the first as the distance
// from the one before.
const (
	chunkBytes = 3000
	chunkKey   = 1 + 8 + 4
)

func appendKey(b []byte, t term, at uint32) []byte {
	b = append(b, byte(t.kind))
	b = binary.BigEndian.AppendUint64(b, t.hash)
	return binary.BigEndian.AppendUint32(b, at)
}

// store writes the index in the order of its keys. Each pair of slices is valid
// only until put returns.
func (x *index) store(put func(key, value []byte) error) error {
	terms := make([]term, 0, len(x.postings))
	for t := range x.postings {
		terms = append(terms, t)
	}
	slices.SortFunc(terms, term.compare)
	var key, value []byte
	flush := func() error {
		if len(value) == 0 {
			return nil
		}
		// bbolt keeps the value until the transaction ends.
		err := put(key, bytes.Clone(value))
		value = value[:0]
		return err
	}
	for _, t := range terms {
		list := x.postings[t]
		for len(list) > 0 {
			if len(value) >= chunkBytes {
				if err := flush(); err != nil {
					return err
				}
			}
			if len(value) == 0 {
				key = appendKey(nil, t, list[0])
			}
			n := min(len(list), 1+(chunkBytes-min(len(value), chunkBytes-1))/2)
			value = append(value, byte(t.kind))
			value = binary.BigEndian.AppendUint64(value, t.hash)
			value = binary.AppendUvarint(value, uint64(n))
			last := uint32(0)
			for _, at := range list[:n] {
				value = binary.AppendUvarint(value, uint64(at-last))
				last = at
			}
			list = list[n:]
		}
	}
	return flush()
}

var errIndex = errors.New("the index is damaged")

// storedList reads the places of a term from a stored index.
func storedList(b *bbolt.Bucket, t term) ([]uint32, error) {
	if b == nil {
		return nil, nil
	}
	want := appendKey(nil, t, 0)[:chunkKey-4]
	c := b.Cursor()
	c.Seek(want)
	// The term may begin inside the chunk before.
	k, v := c.Prev()
	if k == nil {
		k, v = c.Seek(want)
	}
	if k == nil {
		k, v = c.Last()
	}
	var out []uint32
	for ; k != nil; k, v = c.Next() {
		if len(k) != chunkKey {
			return nil, errIndex
		}
		if bytes.Compare(k[:chunkKey-4], want) > 0 {
			break
		}
		var err error
		if out, err = inChunk(out, v, want); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// inChunk appends the places that a chunk has for a term.
func inChunk(out []uint32, v, want []byte) ([]uint32, error) {
	for len(v) > 0 {
		if len(v) < 9 {
			return nil, errIndex
		}
		cmp := bytes.Compare(v[:9], want)
		if cmp > 0 {
			return out, nil
		}
		n, w := binary.Uvarint(v[9:])
		if w <= 0 {
			return nil, errIndex
		}
		v = v[9+w:]
		last := uint64(0)
		for range n {
			d, w := binary.Uvarint(v)
			if w <= 0 {
				return nil, errIndex
			}
			v = v[w:]
			last += d
			if cmp == 0 {
				out = append(out, uint32(last))
			}
		}
	}
	return out, nil
}
