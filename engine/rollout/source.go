package rollout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"vouchsafe/engine/policy"
	"vouchsafe/engine/policy/bundle"
)

// StageSignature is the first stage of admission, which a source sees to before
// anybody reads what it holds. The others are policy.Admit's.
const StageSignature = "signature"

// Offer is the policy that a source holds.
type Offer struct {
	Folder bundle.Folder
	Label  string // as its maker calls it, "" when it has no name
	KeyID  string // of the key that verified it, "" where none is asked for
}

// Source is where policies come from. It is asked by one goroutine at a time.
type Source interface {
	// Fetch returns what the source holds. A *policy.Refusal says that it holds
	// something that may not be used; any other error, that it could not be had.
	Fetch(ctx context.Context) (Offer, error)
	// Next is how long to wait before asking again, after so many failures in a
	// row; 0 for a source that never changes.
	Next(failures int) time.Duration
	// String names the source for people, without secrets.
	String() string
}

func refused(err error) error { return &policy.Refusal{Stage: StageSignature, Err: err} }

// Fixed is a source that never changes, such as the embedded policies.
type Fixed struct {
	Name  string
	Files fs.FS
}

// Fetch reads the files.
func (f Fixed) Fetch(context.Context) (Offer, error) {
	folder, err := bundle.ReadFolder(f.Files)
	return Offer{Folder: folder}, err
}

// Next is never.
func (f Fixed) Next(int) time.Duration { return 0 }

func (f Fixed) String() string { return f.Name }

// How often files are looked at, and how long they must then stay as they are:
// whoever writes a file may not have finished. They are read rather than
// watched, since a watch misses folders that are mounted from elsewhere or
// swapped by a symbolic link.
const (
	lookEvery   = 2 * time.Second
	settleAfter = 200 * time.Millisecond
	settleTries = 5
)

// Dir is a policy folder on disk.
type Dir struct {
	Path string
	seen [32]byte // what the last Fetch returned
	told bool
}

// Fetch reads the folder, twice when it has changed: what is still being
// written is not taken.
func (d *Dir) Fetch(ctx context.Context) (Offer, error) {
	folder, err := bundle.ReadFolder(os.DirFS(d.Path))
	for range settleTries {
		if err == nil && d.told && folder.Digest() == d.seen {
			return Offer{Folder: folder}, nil
		}
		if waitErr := wait(ctx, settleAfter); waitErr != nil {
			return Offer{}, waitErr
		}
		before := folder
		folder, err = bundle.ReadFolder(os.DirFS(d.Path))
		if err == nil && before != nil && folder.Digest() == before.Digest() {
			break
		}
	}
	if err != nil {
		return Offer{}, err
	}
	d.seen, d.told = folder.Digest(), true
	return Offer{Folder: folder}, nil
}

// Next is soon: a few small files cost nothing to read.
func (d *Dir) Next(int) time.Duration { return lookEvery }

func (d *Dir) String() string { return "the folder " + d.Path }

// File is a signed bundle in a file.
type File struct {
	Path    string
	Keys    []bundle.Key
	Schemas fs.FS // see bundle.Read

	packed []byte
	offer  Offer
	err    error
}

// Fetch reads and verifies the bundle, if it has changed.
func (f *File) Fetch(ctx context.Context) (Offer, error) {
	packed, err := f.read()
	if err == nil && f.packed != nil && bytes.Equal(packed, f.packed) {
		return f.offer, f.err
	}
	for range settleTries {
		if waitErr := wait(ctx, settleAfter); waitErr != nil {
			return Offer{}, waitErr
		}
		before := packed
		packed, err = f.read()
		if err == nil && bytes.Equal(before, packed) {
			break
		}
	}
	if err != nil {
		return Offer{}, err
	}
	f.packed = packed
	f.offer, f.err = verified(packed, f.Keys, f.Schemas)
	return f.offer, f.err
}

func (f *File) read() ([]byte, error) {
	info, err := os.Stat(f.Path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the bundle: %w", err)
	case !info.Mode().IsRegular():
		return nil, errors.New("reading the bundle: it is not a regular file")
	case info.Size() > bundle.MaxBytes:
		return nil, refused(fmt.Errorf("the bundle is larger than %d bytes", bundle.MaxBytes))
	}
	b, err := os.ReadFile(f.Path)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	return b, nil
}

// Next is soon.
func (f *File) Next(int) time.Duration { return lookEvery }

func (f *File) String() string { return "the bundle " + f.Path }

// verified is what a bundle offers, or the refusal of it.
func verified(packed []byte, keys []bundle.Key, schemas fs.FS) (offer Offer, err error) {
	defer func() {
		if recover() != nil {
			offer, err = Offer{}, refused(errors.New("reading the bundle failed inside the policy engine"))
		}
	}()
	b, err := bundle.Read(packed, keys, schemas)
	if err != nil {
		return Offer{}, refused(err)
	}
	return Offer{Folder: b.Folder, Label: b.Revision, KeyID: b.KeyID}, nil
}

// wait waits, unless ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
