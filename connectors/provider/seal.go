package provider

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
	bolt "go.etcd.io/bbolt"
)

// Credentials are sealed with the keys of a keyset, and the keyset is sealed
// with the master key, which is not in the store.

const masterKeyBytes = 32

// sealing is a keyset in use.
type sealing struct {
	handle *keyset.Handle
	aead   tink.AEAD
}

func newSealing(handle *keyset.Handle) (*sealing, error) {
	box, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("using the keyset: %w", err)
	}
	return &sealing{handle, box}, nil
}

// newest reports whether a ciphertext is of the keyset's newest key.
func (s *sealing) newest(ciphertext []byte) bool {
	id := s.handle.KeysetInfo().GetPrimaryKeyId()
	want := []byte{1, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)} // how Tink begins a ciphertext
	return bytes.HasPrefix(ciphertext, want)
}

// sealed returns the keyset under the master key.
func sealed(handle *keyset.Handle, master []byte) ([]byte, error) {
	sealer, err := subtle.NewAESGCM(master)
	if err != nil {
		return nil, fmt.Errorf("using the master key: %w", err)
	}
	var buf bytes.Buffer
	if err := handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&buf), sealer, keysetPurpose); err != nil {
		return nil, fmt.Errorf("sealing the keyset: %w", err)
	}
	return buf.Bytes(), nil
}

func unsealed(b, master []byte) (*sealing, error) {
	sealer, err := subtle.NewAESGCM(master)
	if err != nil {
		return nil, fmt.Errorf("using the master key: %w", err)
	}
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(b)), sealer, keysetPurpose)
	if err != nil {
		return nil, ErrWrongKey
	}
	return newSealing(handle)
}

// unseal opens the keyset, or makes one in a new store.
func (s *Store) unseal(createKey bool) error {
	var stored []byte
	if err := s.db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket(bucketMeta); b != nil {
			stored = bytes.Clone(b.Get(keyKeyset))
		}
		return nil
	}); err != nil {
		return fmt.Errorf("reading the keyset: %w", err)
	}
	master, err := s.key.read()
	if errors.Is(err, ErrNoKey) && createKey && stored == nil && s.key.File != "" {
		master, err = createMasterKey(s.key.File)
	}
	if err != nil {
		return err
	}
	if stored == nil {
		return s.newKeyset(master)
	}
	box, err := unsealed(stored, master)
	if errors.Is(err, ErrWrongKey) && s.key.File != "" {
		// A rotation that was interrupted may have sealed the keyset with the
		// next key and not yet put that in the place of the old one.
		if next, found := s.finishMasterKey(stored); found != nil {
			master, box, err = next, found, nil
		}
	}
	if err != nil {
		return err
	}
	s.master = master
	s.box.Store(box)
	return nil
}

func (s *Store) newKeyset(master []byte) error {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("making a keyset: %w", err)
	}
	box, err := newSealing(handle)
	if err != nil {
		return err
	}
	b, err := sealed(handle, master)
	if err != nil {
		return err
	}
	err = s.db.Commit(context.Background(), func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucketIfNotExists(bucketConnections); err != nil {
			return err
		}
		return meta.Put(keyKeyset, b)
	})
	if err != nil {
		return fmt.Errorf("storing the keyset: %w", err)
	}
	s.master = master
	s.box.Store(box)
	return nil
}

// MasterKey is where the master key is. Exactly one is set.
type MasterKey struct {
	File string // its 32 bytes
	Env  string // the name of an environment variable with the 32 bytes in base64
}

func (m MasterKey) read() ([]byte, error) {
	if m.Env == "" {
		return readMasterKey(m.File)
	}
	text, ok := os.LookupEnv(m.Env)
	if !ok {
		return nil, fmt.Errorf("%w: the environment has no %s", ErrNoKey, m.Env)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(key) != masterKeyBytes {
		return nil, fmt.Errorf("the environment's %s is not the base64 of %d bytes", m.Env, masterKeyBytes)
	}
	return key, nil
}

// readMasterKey reads the master key, which is exactly its 32 bytes and no
// business of the machine's other users.
func readMasterKey(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNoKey, file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the master key: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("the master key file %s is open to every user of this machine; chmod 600 it", file)
	}
	if info.Size() != masterKeyBytes {
		return nil, fmt.Errorf("the master key file %s has %d bytes, want %d", file, info.Size(), masterKeyBytes)
	}
	key, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the master key: %w", err)
	}
	return key, nil
}

func createMasterKey(file string) ([]byte, error) {
	key := make([]byte, masterKeyBytes)
	rand.Read(key)
	if err := writeNewFile(file, key); err != nil {
		return nil, fmt.Errorf("making the master key: %w", err)
	}
	return key, nil
}

// writeNewFile writes a file that must not exist yet, for its owner alone, and
// waits until it is on disk.
func writeNewFile(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
