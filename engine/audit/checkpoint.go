package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// originPrefix begins the name of every site's log, and of the key that signs
// for it.
const originPrefix = "vouchsafe-audit/"

// Checkpoint is the signed state of a site's log: a C2SP tlog-checkpoint, which
// is a signed note of the log's name, size and root.
type Checkpoint struct {
	Site string    `json:"site"`
	Size uint64    `json:"size"`
	Root tlog.Hash `json:"root"`
	Note string    `json:"checkpoint"` // as it was signed
}

// PublicKey is what checkpoints of a site verify with, in the form of
// golang.org/x/mod/sumdb/note: the log's name, a hash and the key.
func PublicKey(site string, key ed25519.PublicKey) (string, error) {
	return note.NewEd25519VerifierKey(originPrefix+site, key)
}

// signerOf makes the site's signer: the one key under the site's name.
func signerOf(site string, key ed25519.PrivateKey) (note.Signer, error) {
	name := originPrefix + site
	public := append([]byte{1}, key.Public().(ed25519.PublicKey)...) // 1 is Ed25519
	sum := sha256.Sum256(append([]byte(name+"\n"), public...))
	return note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, binary.BigEndian.Uint32(sum[:4]),
		base64.StdEncoding.EncodeToString(append([]byte{1}, key.Seed()...))))
}

// sign signs the state of a log, with extension lines below it.
func sign(site string, size uint64, root tlog.Hash, key ed25519.PrivateKey, more ...string) (Checkpoint, error) {
	signer, err := signerOf(site, key)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("using the checkpoint key: %w", err)
	}
	text := fmt.Sprintf("%s%s\n%d\n%s\n", originPrefix, site, size, base64.StdEncoding.EncodeToString(root[:]))
	for _, line := range more {
		text += line + "\n"
	}
	msg, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("signing a checkpoint: %w", err)
	}
	return Checkpoint{Site: site, Size: size, Root: root, Note: string(msg)}, nil
}

// ParseCheckpoint verifies a checkpoint with a public key of PublicKey's form.
func ParseCheckpoint(msg []byte, publicKey string) (Checkpoint, error) {
	v, err := note.NewVerifier(strings.TrimSpace(publicKey))
	if err != nil {
		return Checkpoint{}, errors.New("the public key is none: want the line that `vouchsafe audit checkpoint --public-key` prints")
	}
	site, ok := strings.CutPrefix(v.Name(), originPrefix)
	if !ok {
		return Checkpoint{}, errors.New("the public key is not that of a decision log")
	}
	n, err := note.Open(msg, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the checkpoint is not signed by that key: %w", err)
	}
	c := Checkpoint{Site: site, Note: string(msg)}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 || lines[0] != v.Name() {
		return c, errors.New("the checkpoint is of another log")
	}
	if _, err := fmt.Sscanf(lines[1], "%d", &c.Size); err != nil || fmt.Sprint(c.Size) != lines[1] {
		return c, errors.New("the checkpoint has no size")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != treeHashSize {
		return c, errors.New("the checkpoint has no root")
	}
	copy(c.Root[:], root)
	// One way to write a signature, so that no bit of it can be changed unseen.
	for line := range strings.Lines(string(msg[len(n.Text):])) {
		sig := strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:])
		if _, err := base64.StdEncoding.Strict().DecodeString(sig); err != nil {
			return c, errors.New("the checkpoint's signature is not written as signatures are")
		}
	}
	return c, nil
}

// SplitNotes takes apart a file of several checkpoints, one after the other.
func SplitNotes(b []byte) [][]byte {
	var out [][]byte
	for part := range strings.SplitSeq(string(b), "\n"+originPrefix) {
		if len(out) > 0 {
			part = originPrefix + part
		}
		if part = strings.TrimRight(strings.TrimLeft(part, "\n"), "\n"); part != "" {
			out = append(out, []byte(part+"\n"))
		}
	}
	return out
}

// ErrNoCheckpointKey means that the log was opened without the key that signs.
var ErrNoCheckpointKey = errors.New("the log has no key to sign checkpoints with")

// Checkpoint signs the present state of a site's log and stores it beside the
// records.
func (l *Log) Checkpoint(ctx context.Context, site string) (Checkpoint, error) {
	if l.o.Checkpoint == nil || l.group == nil {
		return Checkpoint{}, ErrNoCheckpointKey
	}
	l.mu.RLock()
	var size uint64
	var root tlog.Hash
	p := l.active().sites[site]
	if p != nil {
		size, root = p.tree.size, p.tree.root()
	}
	l.mu.RUnlock()
	if p == nil {
		return Checkpoint{}, fmt.Errorf("site %s has no records", site)
	}
	c, err := sign(site, size, root, l.o.Checkpoint)
	if err != nil {
		return c, err
	}
	if err := l.group.Submit(context.WithoutCancel(ctx), &item{site: site, size: size, note: []byte(c.Note)}); err != nil {
		return c, err
	}
	l.mu.Lock()
	l.notedLocked(site, noted{size, time.Now().UTC()})
	l.mu.Unlock()
	return c, nil
}

// Checkpoints signs the state of every site's log that has grown since it was
// last signed.
func (l *Log) Checkpoints(ctx context.Context) error {
	if l.o.Checkpoint == nil {
		return nil
	}
	var errs []error
	for _, site := range l.Sites() {
		_, end := l.Range(site)
		l.mu.RLock()
		grown := end > l.noted[site].size
		l.mu.RUnlock()
		if grown {
			_, err := l.Checkpoint(ctx, site)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Notes calls fn with a site's stored checkpoints of more than size records, in
// the order of their sizes: for whoever sends them elsewhere.
func (l *Log) Notes(site string, size uint64, fn func(size uint64, note string) error) error {
	type stored struct {
		size uint64
		note string
	}
	// A file that ends before has none: whoever follows opens the newest alone.
	l.mu.RLock()
	segments := slices.DeleteFunc(slices.Clone(l.segments), func(s *segment) bool {
		p := s.sites[site]
		return p == nil || p.end() <= size
	})
	l.mu.RUnlock()
	for _, s := range segments {
		var notes []stored
		err := s.view(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(notesPrefix + site))
			if b == nil {
				return nil
			}
			c := b.Cursor()
			for k, v := c.Seek(seqKey(size + 1)); len(k) == 8; k, v = c.Next() {
				notes = append(notes, stored{binary.BigEndian.Uint64(k), string(v)})
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, n := range notes {
			if n.size <= size {
				continue
			}
			if err := fn(n.size, n.note); err != nil {
				return err
			}
			size = n.size
		}
	}
	return nil
}
