package rollout

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/policy/bundle"
	"vouchsafe/engine/store"
)

// FileKind is what the history's file calls itself.
const FileKind = "policies"

// Kept is how many revisions can be returned to.
const Kept = 10

const recordVersion = 1

var (
	revisionsBucket = []byte("revisions")
	stateBucket     = []byte("state")
	stateKey        = []byte("state")
)

// ErrUnknownRevision means that the history holds no such revision.
var ErrUnknownRevision = errors.New("no such revision is kept")

// Revision is a policy that was in force.
type Revision struct {
	Revision string    `json:"revision"` // as in every decision
	Label    string    `json:"label,omitempty"`
	KeyID    string    `json:"key_id,omitempty"` // of the key that verified it
	Source   string    `json:"source"`           // where it came from
	At       time.Time `json:"at"`               // when it was last put in force
	By       string    `json:"by"`               // "source", or who returned to it
}

// stored is a Revision on disk, with its whole content.
type stored struct {
	Version int    `json:"v"`
	Turn    uint64 `json:"turn"` // rises with each policy that is put in force
	Revision
	Digest [sha256.Size]byte `json:"digest"`
	Folder []byte            `json:"folder"` // as bundle.Folder.Pack writes it
}

// Hold says that the policy in force was chosen by somebody, and that the
// source is not followed.
type Hold struct {
	By    string    `json:"by"`
	At    time.Time `json:"at"`
	Left  string    `json:"left"`            // the revision that was in force before
	Cause string    `json:"cause,omitempty"` // rollback or promotion
}

// state is what survives a restart beside the revisions.
type state struct {
	Version int    `json:"v"`
	Active  string `json:"active"` // revision
	Hold    *Hold  `json:"hold,omitempty"`
	// Confirmed is when the source last said that the policy in force is the one
	// it has.
	Confirmed time.Time `json:"confirmed,omitzero"`
}

// History keeps the last policies that were in force, whole.
type History struct{ db *store.DB }

// OpenHistory opens the history at path.
func OpenHistory(path string, o store.Options) (*History, error) {
	db, err := store.Open(path, FileKind, o)
	if err != nil {
		return nil, fmt.Errorf("opening the policy history: %w", err)
	}
	return &History{db}, nil
}

// Close closes the file.
func (h *History) Close() error { return h.db.Close() }

// load returns what survived.
func (h *History) load() (state, error) {
	s := state{Version: recordVersion}
	err := h.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(stateBucket)
		if b == nil || b.Get(stateKey) == nil {
			return nil
		}
		if err := json.Unmarshal(b.Get(stateKey), &s); err != nil {
			return fmt.Errorf("reading the policy history: %w", err)
		}
		if s.Version != recordVersion {
			return fmt.Errorf("reading the policy history: version %d is not known", s.Version)
		}
		return nil
	})
	return s, err
}

// save writes the state.
func (h *History) save(ctx context.Context, s state) error {
	s.Version = recordVersion
	v, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding the policy history: %w", err)
	}
	return h.db.Commit(ctx, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(stateBucket)
		if err != nil {
			return err
		}
		return b.Put(stateKey, v)
	})
}

// keep stores a revision and forgets the oldest past Kept.
func (h *History) keep(ctx context.Context, r Revision, f bundle.Folder) error {
	packed, err := f.Pack()
	if err != nil {
		return err
	}
	return h.db.Commit(ctx, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(revisionsBucket)
		if err != nil {
			return err
		}
		// A clock that was set back must not make the newest the oldest.
		turn, err := b.NextSequence()
		if err != nil {
			return err
		}
		v, err := json.Marshal(stored{Version: recordVersion, Turn: turn, Revision: r, Digest: f.Digest(), Folder: packed})
		if err != nil {
			return fmt.Errorf("encoding a policy: %w", err)
		}
		if err := b.Put([]byte(r.Revision), v); err != nil {
			return err
		}
		all, err := list(b)
		if err != nil {
			return err
		}
		for _, old := range all[min(len(all), Kept):] {
			if err := b.Delete([]byte(old.Revision)); err != nil {
				return err
			}
		}
		return nil
	})
}

// List returns the kept revisions, the one that was put in force last first.
func (h *History) List() ([]Revision, error) {
	var out []Revision
	err := h.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(revisionsBucket)
		if b == nil {
			return nil
		}
		var err error
		out, err = list(b)
		return err
	})
	return out, err
}

func list(b *bbolt.Bucket) ([]Revision, error) {
	type entry struct {
		Version int    `json:"v"`
		Turn    uint64 `json:"turn"`
		Revision
	}
	var kept []entry
	err := b.ForEach(func(k, v []byte) error {
		var s entry
		if err := json.Unmarshal(v, &s); err != nil {
			return fmt.Errorf("reading the kept policy %s: %w", k, err)
		}
		if s.Version != recordVersion {
			return fmt.Errorf("reading the kept policy %s: version %d is not known", k, s.Version)
		}
		kept = append(kept, s)
		return nil
	})
	slices.SortFunc(kept, func(a, b entry) int { return cmp.Compare(b.Turn, a.Turn) })
	var out []Revision
	for _, e := range kept {
		out = append(out, e.Revision)
	}
	return out, err
}

// folder returns a kept revision with its content, ErrUnknownRevision when it
// is not there.
func (h *History) folder(revision string) (Revision, bundle.Folder, error) {
	var s stored
	err := h.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(revisionsBucket)
		if b == nil || b.Get([]byte(revision)) == nil {
			return ErrUnknownRevision
		}
		if err := json.Unmarshal(b.Get([]byte(revision)), &s); err != nil {
			return fmt.Errorf("reading the kept policy %s: %w", revision, err)
		}
		if s.Version != recordVersion {
			return fmt.Errorf("reading the kept policy %s: version %d is not known", revision, s.Version)
		}
		return nil
	})
	if err != nil {
		return Revision{}, nil, err
	}
	f, err := bundle.Unpack(s.Folder)
	if err == nil && f.Digest() != s.Digest {
		err = errors.New("it is not what was kept")
	}
	if err != nil {
		return Revision{}, nil, fmt.Errorf("reading the kept policy %s: %w", revision, err)
	}
	return s.Revision, f, nil
}
