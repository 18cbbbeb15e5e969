package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/store"
)

// Public returns the key that checkpoints verify with, nil when there is none.
func (l *Log) Public() ed25519.PublicKey {
	if l.o.Checkpoint == nil {
		return nil
	}
	return l.o.Checkpoint.Public().(ed25519.PublicKey)
}

// Usage is how much the log holds.
type Usage struct {
	Segments int   `json:"segments"`
	Bytes    int64 `json:"bytes"`
}

// Usage returns how many files the log has and how large they are.
func (l *Log) Usage() (u Usage) {
	l.mu.RLock()
	segments := slices.Clone(l.segments)
	l.mu.RUnlock()
	for _, s := range segments {
		if info, err := os.Stat(s.path); err == nil {
			u.Segments++
			u.Bytes += info.Size()
		}
	}
	return u
}

// Backup copies the log, as it is at one moment, into a new folder while it goes
// on, and verifies the copy. People's keys are not in it: without people.db and
// the master key, what is personal in the copy cannot be read, and what was
// erased since stays erased.
//
// The copy takes the place of a log's folder as it is.
func (l *Log) Backup(ctx context.Context, out string) (Verified, error) {
	if err := os.Mkdir(out, 0o700); err != nil {
		return Verified{}, fmt.Errorf("making the backup's folder: %w", err)
	}
	// The oldest first, so that an act of retention is copied where its records
	// are gone; and none while retention puts a file in another's place.
	l.replacing.RLock()
	defer l.replacing.RUnlock()
	l.mu.RLock()
	segments := slices.Clone(l.segments)
	l.mu.RUnlock()
	for _, s := range segments {
		if err := ctx.Err(); err != nil {
			return Verified{}, err
		}
		if err := s.copyTo(filepath.Join(out, segmentName(s.number))); err != nil {
			return Verified{}, fmt.Errorf("copying %s: %w", segmentName(s.number), err)
		}
	}
	if err := store.SyncDir(out); err != nil {
		return Verified{}, err
	}
	return VerifyFolder(ctx, out, Verification{Public: l.Public()})
}

func (s *segment) copyTo(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = s.view(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	return errors.Join(err, f.Sync(), f.Close())
}
