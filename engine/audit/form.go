package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"
)

// formVersion is the first byte of every record; a reader refuses one it does
// not know.
const formVersion = 2

// Kind says what a record is.
type Kind byte

// The kinds of record.
const (
	KindDecision Kind = 1
	KindOutcome  Kind = 2
	KindAct      Kind = 3
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case KindDecision:
		return "decision"
	case KindOutcome:
		return "outcome"
	case KindAct:
		return "act"
	}
	return fmt.Sprintf("kind %d", byte(k))
}

// A record is, byte for byte:
//
//	0      formVersion
//	1      Kind
//	2..9   its number in its site's log, from 0, big-endian
//	10..17 when it was written, Unix nanoseconds, big-endian; rises from record
//	       to record of a log, whatever the clock did
//	18..   fields: a tag, a length (uvarint), that many bytes; in the order of
//	       their tags, some more than once
//
// The number and the time are the writer's, set when the record is given its
// place; whatever is enciphered is so before, bound to the record's id.
const (
	seqAt     = 2
	writtenAt = 10
	fieldsAt  = 18
)

// Tags of fields. Those from tagVisitor on are enciphered.
const (
	tagSite         = 1
	tagID           = 2 // of a decision or an act; the decision of an outcome
	tagTime         = 3 // Unix nanoseconds
	tagFlags        = 4
	tagPolicy       = 5
	tagReason       = 6 // once for each; of an outcome its code
	tagObligation   = 7 // once for each
	tagParent       = 8
	tagAction       = 9 // absent when the catalog does not know it: then it is the visitor's word
	tagChannel      = 10
	tagSubject      = 11 // keyed hashes
	tagConversation = 12
	tagToken        = 13
	tagBody         = 14 // JSON: what else is clear of an outcome or act
	tagRule         = 15 // once for each rule of the policy that fired
	tagVisitor      = 20
	tagPerson       = 21 // once for each person the visitor named
)

// Flags of a decision.
const (
	flagAllow = 1 << iota
	flagAsked
)

// hashSize is the length of a keyed hash.
const hashSize = 16

type keyedHash [hashSize]byte

// form is a record taken apart. Its slices and strings are copies only where
// said; the rest are views of the record.
type form struct {
	kind    Kind
	seq     uint64
	written int64

	site, id     []byte
	time         int64
	flags        byte
	policy       []byte
	reasons      [][]byte
	obligations  [][]byte
	rules        [][]byte
	parent       []byte
	action       []byte
	channel      []byte
	subject      keyedHash
	conversation keyedHash
	token        keyedHash
	body         []byte
	visitor      []byte
	people       [][]byte
}

func (f *form) at() time.Time { return time.Unix(0, f.time).UTC() }

// start begins a record.
func start(b []byte, k Kind) []byte {
	b = append(b, formVersion, byte(k))
	return append(b, make([]byte, fieldsAt-seqAt)...)
}

// place gives a record its number and time.
func place(record []byte, seq uint64, written int64) {
	binary.BigEndian.PutUint64(record[seqAt:], seq)
	binary.BigEndian.PutUint64(record[writtenAt:], uint64(written))
}

func appendField(b []byte, tag byte, value []byte) []byte {
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

func appendText(b []byte, tag byte, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

func appendHash(b []byte, tag byte, h keyedHash) []byte {
	if h == (keyedHash{}) {
		return b
	}
	return appendField(b, tag, h[:])
}

func appendTime(b []byte, tag byte, t time.Time) []byte {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], uint64(t.UnixNano()))
	return appendField(b, tag, raw[:])
}

var errForm = errors.New("the record is damaged")

// fields calls each with every field of b.
func fields(b []byte, each func(tag byte, value []byte) error) error {
	for len(b) > 0 {
		tag := b[0]
		n, w := binary.Uvarint(b[1:])
		if w <= 0 || n > uint64(len(b)-1-w) {
			return errForm
		}
		b = b[1+w:]
		if err := each(tag, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// parse takes a record apart. The form holds views of it.
func (f *form) parse(record []byte) error {
	*f = form{reasons: f.reasons[:0], obligations: f.obligations[:0], rules: f.rules[:0], people: f.people[:0]}
	if len(record) < fieldsAt {
		return errForm
	}
	if record[0] != formVersion {
		return fmt.Errorf("a record of version %d is not known", record[0])
	}
	f.kind = Kind(record[1])
	f.seq = binary.BigEndian.Uint64(record[seqAt:])
	f.written = int64(binary.BigEndian.Uint64(record[writtenAt:]))
	b := record[fieldsAt:]
	for len(b) > 0 {
		tag := b[0]
		n, w := binary.Uvarint(b[1:])
		if w <= 0 || n > uint64(len(b)-1-w) {
			return errForm
		}
		v := b[1+w : 1+w+int(n)]
		b = b[1+w+int(n):]
		switch tag {
		case tagSite:
			f.site = v
		case tagID:
			f.id = v
		case tagTime:
			if len(v) != 8 {
				return errForm
			}
			f.time = int64(binary.BigEndian.Uint64(v))
		case tagFlags:
			if len(v) != 1 {
				return errForm
			}
			f.flags = v[0]
		case tagPolicy:
			f.policy = v
		case tagReason:
			f.reasons = append(f.reasons, v)
		case tagObligation:
			f.obligations = append(f.obligations, v)
		case tagParent:
			f.parent = v
		case tagAction:
			f.action = v
		case tagChannel:
			f.channel = v
		case tagSubject:
			copy(f.subject[:], v)
		case tagConversation:
			copy(f.conversation[:], v)
		case tagToken:
			copy(f.token[:], v)
		case tagBody:
			f.body = v
		case tagRule:
			f.rules = append(f.rules, v)
		case tagVisitor:
			f.visitor = v
		case tagPerson:
			f.people = append(f.people, v)
		default:
			return fmt.Errorf("a field %d is not known: %w", tag, errForm)
		}
	}
	return nil
}

// hashesOf is how many of the tree's hashes are stored with a record: those of
// the subtrees that it completes, its own leaf first.
func hashesOf(seq uint64) int { return 1 + bits.TrailingZeros64(^seq) }

// split takes a stored value apart: the hashes that the record completes, then
// the record.
func split(seq uint64, value []byte) (hashes, record []byte, err error) {
	n := hashesOf(seq) * treeHashSize
	if len(value) < n {
		return nil, nil, errForm
	}
	return value[:n], value[n:], nil
}

// codes are what a record is found by as a code: a decision's reasons, or an
// outcome's code and why it withheld records.
func (f *form) codes() [][]byte { return f.reasons }
