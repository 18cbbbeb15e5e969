package audit

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

const treeHashSize = tlog.HashSize

// tree is the growing edge of a site's RFC 6962 tree: its size, and the roots of
// the complete subtrees that it consists of, largest first.
type tree struct {
	size  uint64
	peaks []tlog.Hash
}

func (t *tree) clone() *tree {
	return &tree{size: t.size, peaks: append(make([]tlog.Hash, 0, len(t.peaks)+2), t.peaks...)}
}

// leafHash is RFC 6962's hash of a record. scratch is grown and handed back.
func leafHash(scratch, record []byte) (tlog.Hash, []byte) {
	scratch = append(append(scratch[:0], 0), record...)
	return sha256.Sum256(scratch), scratch
}

// nodeHash is RFC 6962's hash of an interior node.
func nodeHash(left, right tlog.Hash) tlog.Hash {
	var b [1 + 2*treeHashSize]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+treeHashSize:], right[:])
	return sha256.Sum256(b[:])
}

// add adds a leaf and appends to out the hashes of the subtrees that it
// completes, its own first.
func (t *tree) add(leaf tlog.Hash, out []byte) []byte {
	out = append(out, leaf[:]...)
	h := leaf
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.peaks) - 1
		h = nodeHash(t.peaks[last], h)
		t.peaks = t.peaks[:last]
		out = append(out, h[:]...)
	}
	t.peaks = append(t.peaks, h)
	t.size++
	return out
}

// root is the hash of the whole tree.
func (t *tree) root() tlog.Hash {
	if len(t.peaks) == 0 {
		return sha256.Sum256(nil)
	}
	h := t.peaks[len(t.peaks)-1]
	for i := len(t.peaks) - 2; i >= 0; i-- {
		h = nodeHash(t.peaks[i], h)
	}
	return h
}

// bytes is the tree as it is stored: its size is kept beside it.
func (t *tree) bytes() []byte {
	out := make([]byte, 0, len(t.peaks)*treeHashSize)
	for _, h := range t.peaks {
		out = append(out, h[:]...)
	}
	return out
}

// parseTree reads a tree of a size.
func parseTree(size uint64, b []byte) (*tree, error) {
	if len(b) != bits.OnesCount64(size)*treeHashSize {
		return nil, fmt.Errorf("a tree of %d records has %d bytes of hashes", size, len(b))
	}
	t := &tree{size: size}
	for ; len(b) > 0; b = b[treeHashSize:] {
		t.peaks = append(t.peaks, tlog.Hash(b[:treeHashSize]))
	}
	return t, nil
}
