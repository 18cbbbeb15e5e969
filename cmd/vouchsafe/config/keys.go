package config

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// Keys are the gate's own keys. However they are printed, logged or encoded,
// what comes out is [redacted]; the fields themselves are not protected.
type Keys struct {
	Master     [32]byte           // keys/master: what else is derived from
	Checkpoint ed25519.PrivateKey // keys/checkpoint: signs the state of the audit log
	Permit     ed25519.PrivateKey // keys/permit: signs what leaves the gate for the provider
}

// keyNames are the files of the keys folder. Each holds 32 random bytes in
// standard base64 and a newline: the master key, or the seed of an Ed25519 key.
var keyNames = []string{"master", "checkpoint", "permit"}

const redacted = "[redacted]"

// String returns [redacted].
func (Keys) String() string { return redacted }

// Format writes [redacted], whatever the verb.
func (Keys) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns [redacted].
func (Keys) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON returns "[redacted]".
func (Keys) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LoadKeys reads the keys folder. Keys that others may read are refused: they
// are no longer only ours.
func LoadKeys(dir string) (Keys, error) {
	var seeds [3][32]byte
	var problems []error
	for i, name := range keyNames {
		seed, err := loadKey(filepath.Join(dir, name))
		if err != nil {
			problems = append(problems, err)
		}
		seeds[i] = seed
	}
	if len(problems) > 0 {
		return Keys{}, fmt.Errorf("reading the keys: %w", errors.Join(problems...))
	}
	if seeds[0] == seeds[1] || seeds[1] == seeds[2] || seeds[0] == seeds[2] {
		return Keys{}, fmt.Errorf("reading the keys: two files in %s hold the same key", dir)
	}
	return Keys{
		Master:     seeds[0],
		Checkpoint: ed25519.NewKeyFromSeed(seeds[1][:]),
		Permit:     ed25519.NewKeyFromSeed(seeds[2][:]),
	}, nil
}

func loadKey(path string) (seed [32]byte, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return seed, fmt.Errorf("%s is missing: `vouchsafe init` makes it: %w", path, fs.ErrNotExist)
	}
	if err != nil {
		return seed, err
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return seed, fmt.Errorf("%s is open to every user of this machine (mode %04o): chmod 600, and replace it if anybody looked", path, mode)
	}
	b, err := readBounded(path, maxKeyBytes)
	if err != nil {
		return seed, fmt.Errorf("%s: %w", path, err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != len(seed) {
		return seed, fmt.Errorf("%s does not hold 32 bytes in base64", path)
	}
	copy(seed[:], raw)
	if seed == ([32]byte{}) {
		return seed, fmt.Errorf("%s holds nothing but zeroes", path)
	}
	return seed, nil
}

// EnsureKeys makes the keys that are missing from the folder and returns the
// names of the files it made. A key that is there is never touched, readable or
// not: what was encrypted or signed with it depends on it.
func EnsureKeys(dir string) (made []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the keys folder: %w", err)
	}
	for _, name := range keyNames {
		wrote, err := writeNew(filepath.Join(dir, name), randomKey(base64.StdEncoding), 0o600)
		if err != nil {
			return made, fmt.Errorf("making the %s key: %w", name, err)
		}
		if wrote {
			made = append(made, name)
		}
	}
	return made, nil
}

// randomKey returns 32 random bytes as a line of text.
func randomKey(encoding *base64.Encoding) []byte {
	var raw [32]byte
	rand.Read(raw[:])
	return append(encoding.AppendEncode(nil, raw[:]), '\n')
}

// writeNew writes a file that is not there yet, durably, and returns false when
// it is. It never leaves half a file under its name.
func writeNew(path string, content []byte, mode os.FileMode) (wrote bool, err error) {
	if _, err := os.Lstat(path); err == nil {
		return false, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return false, err
	}
	// A link, unlike a rename, never replaces what somebody else just made.
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, nil
}
