package audit

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// Proof proves that a record is in the log that a checkpoint is of (RFC 6962,
// 2.1.1). It needs no more than the checkpoint's public key to be checked.
type Proof struct {
	Site       string      `json:"site"`
	Index      uint64      `json:"index"`
	Record     []byte      `json:"record"` // as it is stored: the leaf
	Hashes     []tlog.Hash `json:"hashes"`
	Checkpoint string      `json:"checkpoint"`
}

// Proven is what a checked proof proves.
type Proven struct {
	Site  string `json:"site"`
	Index uint64 `json:"index"`
	Size  uint64 `json:"size"` // of the log at the checkpoint
	Kind  string `json:"kind"`
	ID    string `json:"id"`
	Time  string `json:"time"`
	// Allow, Reasons, Action and Policy are of a decision.
	Allow   bool     `json:"allow"`
	Reasons []string `json:"reasons,omitempty"`
	Action  string   `json:"action,omitempty"`
	Policy  string   `json:"policy,omitempty"`
}

// Check checks a proof with the public key of the site's checkpoints.
func (p *Proof) Check(publicKey string) (Proven, error) {
	c, err := ParseCheckpoint([]byte(p.Checkpoint), publicKey)
	if err != nil {
		return Proven{}, err
	}
	leaf, _ := leafHash(nil, p.Record)
	if p.Index >= c.Size || c.Size > 1<<62 {
		return Proven{}, errors.New("the record is not one of those that the checkpoint is of")
	}
	if err := tlog.CheckRecord(p.Hashes, int64(c.Size), c.Root, int64(p.Index), leaf); err != nil {
		return Proven{}, errors.New("the record is not in the log that the checkpoint is of")
	}
	var f form
	if err := f.parse(p.Record); err != nil {
		return Proven{}, err
	}
	if f.seq != p.Index || string(f.site) != c.Site || p.Site != c.Site {
		return Proven{}, errors.New("the record says that it is another")
	}
	return Proven{Site: c.Site, Index: f.seq, Size: c.Size, Kind: f.kind.String(), ID: string(f.id), Time: f.at().Format("2006-01-02T15:04:05.000Z"),
		Allow: f.flags&flagAllow != 0, Reasons: texts(f.reasons), Action: string(f.action), Policy: string(f.policy)}, nil
}

// Prove makes a proof of a decision's record under a fresh checkpoint.
func (l *Log) Prove(ctx context.Context, id string) (Proof, error) {
	for _, site := range l.Sites() {
		p := Proof{Site: site}
		err := l.find(site, idTerm(id), func(f *form) error {
			if string(f.id) != id || f.kind == KindOutcome {
				return nil
			}
			p.Index = f.seq
			return errFound
		})
		if err == nil {
			continue
		}
		if !errors.Is(err, errFound) {
			return p, err
		}
		c, err := l.Checkpoint(ctx, site)
		if err != nil {
			return p, err
		}
		p.Checkpoint = c.Note
		if p.Record, err = l.stored(site, p.Index); err != nil {
			return p, err
		}
		if p.Hashes, err = tlog.ProveRecord(int64(c.Size), int64(p.Index), l.hashReader(site)); err != nil {
			return p, err
		}
		return p, l.proves(&p, id)
	}
	return Proof{}, ErrNotFound
}

// errUnproven means that what is stored does not lead to what is signed.
var errUnproven = errors.New("a record or a hash was changed: `vouchsafe audit verify` says which")

// proves checks a proof before it is handed out, as whoever gets it will.
func (l *Log) proves(p *Proof, id string) error {
	key, err := PublicKey(p.Site, l.Public())
	if err != nil {
		return err
	}
	if got, err := p.Check(key); err != nil || got.ID != id {
		return fmt.Errorf("record %d of site %s: %w", p.Index, p.Site, errUnproven)
	}
	return nil
}

// Consistency proves that a site's log, as a newer checkpoint has it, begins
// with what an older one has (RFC 6962, 2.1.2).
type Consistency struct {
	Old    string      `json:"old"`
	New    string      `json:"new"`
	Hashes []tlog.Hash `json:"hashes"`
}

// Check checks a proof with the public key of the site's checkpoints.
func (p *Consistency) Check(publicKey string) (older, newer Checkpoint, err error) {
	if older, err = ParseCheckpoint([]byte(p.Old), publicKey); err != nil {
		return older, newer, err
	}
	if newer, err = ParseCheckpoint([]byte(p.New), publicKey); err != nil {
		return older, newer, err
	}
	if older.Size > newer.Size || newer.Size > 1<<62 {
		return older, newer, errors.New("the older checkpoint is of more records than the newer")
	}
	if err := tlog.CheckTree(p.Hashes, int64(newer.Size), newer.Root, int64(older.Size), older.Root); err != nil {
		return older, newer, errors.New("the newer log does not begin with the older one")
	}
	return older, newer, nil
}

// ErrInconsistent means that the log is not the one that a checkpoint was signed
// for.
var ErrInconsistent = errors.New("the log does not hold what the checkpoint was signed for")

// ProveConsistency makes a proof from an older checkpoint to a newer one, a fresh
// one when that is nil.
func (l *Log) ProveConsistency(ctx context.Context, older Checkpoint, newer *Checkpoint) (Consistency, error) {
	c := Checkpoint{}
	if newer != nil {
		c = *newer
	} else {
		var err error
		if c, err = l.Checkpoint(ctx, older.Site); err != nil {
			return Consistency{}, err
		}
	}
	_, end := l.Range(older.Site)
	if older.Site != c.Site || older.Size == 0 || older.Size > c.Size || c.Size > end {
		return Consistency{}, fmt.Errorf("site %s has %d records, and the checkpoints are of %d, site %s, and %d: %w", older.Site, end, older.Size, c.Site, c.Size, ErrInconsistent)
	}
	p := Consistency{Old: older.Note, New: c.Note}
	var err error
	if p.Hashes, err = tlog.ProveTree(int64(c.Size), int64(older.Size), l.hashReader(older.Site)); err != nil {
		return p, err
	}
	if err := tlog.CheckTree(p.Hashes, int64(c.Size), c.Root, int64(older.Size), older.Root); err != nil {
		return p, ErrInconsistent
	}
	return p, nil
}

// stored returns a copy of a record's bytes.
func (l *Log) stored(site string, seq uint64) (record []byte, err error) {
	for _, pt := range l.parts(site) {
		if seq < pt.from || seq >= pt.end || pt.bare {
			continue
		}
		err := pt.s.view(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(recordsPrefix + site))
			if b == nil && tx.Bucket([]byte(hashesPrefix+site)) != nil {
				return ErrNotFound // dropped a moment ago
			}
			if b == nil {
				return errForm
			}
			_, v, err := split(seq, b.Get(seqKey(seq)))
			record = append(record, v...)
			return err
		})
		return record, err
	}
	return nil, ErrNotFound
}

// hashReader reads the tree's hashes: each is stored with the record that
// completes its subtree.
func (l *Log) hashReader(site string) tlog.HashReader {
	parts := l.parts(site)
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			level, n := tlog.SplitStoredHashIndex(index)
			seq := uint64(n+1)<<level - 1
			found := false
			for j := range parts {
				pt := &parts[j]
				if seq < pt.from || seq >= pt.end {
					continue
				}
				hashes, err := pt.hashes(site, seq)
				if err != nil {
					return nil, err
				}
				copy(out[i][:], hashes[level*treeHashSize:])
				found = true
			}
			if !found {
				return nil, fmt.Errorf("the hash of record %d is missing", seq)
			}
		}
		return out, nil
	})
}

// hashes returns a copy of the hashes that a record completes.
func (pt *part) hashes(site string, seq uint64) (out []byte, err error) {
	err = pt.s.view(func(tx *bbolt.Tx) error {
		var all []byte
		if b := tx.Bucket([]byte(recordsPrefix + site)); b != nil {
			all = b.Get(seqKey(seq))
		} else if b := tx.Bucket([]byte(hashesPrefix + site)); b != nil {
			first := max(pt.from, seq/tileSize*tileSize)
			all = b.Get(seqKey(first))
			for ; first < seq; first++ {
				n := hashesOf(first) * treeHashSize
				if len(all) < n {
					return errForm
				}
				all = all[n:]
			}
		}
		n := hashesOf(seq) * treeHashSize
		if len(all) < n {
			return errForm
		}
		out = append(out, all[:n]...)
		return nil
	})
	return out, err
}

// tileSize is how many dropped records' hashes are kept under one key.
const tileSize = 256
