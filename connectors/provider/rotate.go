package provider

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	bolt "go.etcd.io/bbolt"

	"vouchsafe/engine/store"
)

// Rotation is what a rotation of the keys came to.
type Rotation struct {
	Connections int  `json:"connections"` // whose credentials were encrypted anew
	MasterKey   bool `json:"master_key"`  // the master key is another one too
	Resumed     bool `json:"resumed"`     // an earlier rotation was interrupted, and this finished it
}

// rotateBatch is how many connections are encrypted anew at a time, so that
// calls and their tokens never wait for long.
const rotateBatch = 32

// nextKeyFile is where a new master key is until the keyset is sealed with it.
func nextKeyFile(file string) string { return file + ".next" }

// Rotate replaces the key that credentials are encrypted with, and the master
// key where it is in a file, while calls go on. It can be interrupted at any
// point: the store opens with what is there, and rotating again finishes it.
//
// Its three steps are: a new key is added to the keyset, which in the same
// transaction is sealed with the new master key; every credential is encrypted
// with the new key; the old key is dropped from the keyset.
func (s *Store) Rotate() (Rotation, error) {
	s.rotating.Lock()
	defer s.rotating.Unlock()
	r := Rotation{Resumed: s.box.Load().handle.Len() > 1}
	if !r.Resumed {
		if err := s.addKey(); err != nil {
			return r, err
		}
		r.MasterKey = s.key.File != ""
	}
	for {
		n, err := s.reencrypt()
		r.Connections += n
		if err != nil {
			return r, err
		}
		if n == 0 {
			return r, s.dropOldKeys()
		}
	}
}

// addKey makes a new key the keyset's first, under a new master key if that is
// ours to write.
func (s *Store) addKey() error {
	manager := keyset.NewManagerFromHandle(s.box.Load().handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = manager.SetPrimary(id)
	}
	if err != nil {
		return fmt.Errorf("making a new key: %w", err)
	}
	master := s.master
	if s.key.File != "" {
		next := nextKeyFile(s.key.File)
		if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("making a new master key: %w", err)
		}
		if master, err = createMasterKey(next); err != nil {
			return err
		}
		if err := store.SyncDir(filepath.Dir(next)); err != nil {
			return fmt.Errorf("making a new master key: %w", err)
		}
	}
	if err := s.replaceKeyset(manager, master, nil); err != nil {
		return err
	}
	if s.key.File == "" {
		return nil
	}
	return s.placeMasterKey()
}

// placeMasterKey puts the new master key in the place of the old one.
func (s *Store) placeMasterKey() error {
	if err := os.Rename(nextKeyFile(s.key.File), s.key.File); err != nil {
		return fmt.Errorf("the keyset is sealed with the new master key, which is not yet in its place: %w", err)
	}
	return store.SyncDir(filepath.Dir(s.key.File))
}

// finishMasterKey opens a keyset that is sealed with the next master key
// already, and puts that key in its place. nil when it is not.
func (s *Store) finishMasterKey(stored []byte) (master []byte, box *sealing) {
	master, err := readMasterKey(nextKeyFile(s.key.File))
	if err != nil {
		return nil, nil
	}
	if box, err = unsealed(stored, master); err != nil || s.placeMasterKey() != nil {
		return nil, nil
	}
	return master, box
}

// reencrypt encrypts a batch of those credentials anew that another key than
// the newest has sealed, and returns how many there were.
func (s *Store) reencrypt() (n int, err error) {
	err = s.db.Commit(context.Background(), func(tx *bolt.Tx) error {
		n = 0
		old, err := s.notNewest(tx, rotateBatch)
		if err != nil {
			return err
		}
		for _, c := range old {
			plain, cred, err := s.unsealOnce(c)
			if err != nil {
				return fmt.Errorf("encrypting %s of %s anew: %w", c.ID, c.Site, err)
			}
			if err := s.write(tx, plain, cred); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// notNewest returns at most limit connections with a secret of an older key.
func (s *Store) notNewest(tx *bolt.Tx, limit int) (old []stored, err error) {
	box := s.box.Load()
	err = tx.Bucket(bucketConnections).ForEach(func(k, raw []byte) error {
		if len(old) == limit {
			return nil
		}
		c, err := decodeRecord(k, raw)
		if err != nil {
			return err
		}
		renew := c.rec.Version < recordVersion
		for _, secret := range c.rec.Secrets {
			renew = renew || !box.newest(secret)
		}
		if renew {
			old = append(old, c)
		}
		return nil
	})
	return old, err
}

// dropOldKeys leaves only the newest key in the keyset, unless something is
// still sealed with another.
func (s *Store) dropOldKeys() error {
	handle := s.box.Load().handle
	manager := keyset.NewManagerFromHandle(handle)
	info := handle.KeysetInfo()
	for _, key := range info.GetKeyInfo() {
		if key.GetKeyId() == info.GetPrimaryKeyId() {
			continue
		}
		if err := manager.Delete(key.GetKeyId()); err != nil {
			return fmt.Errorf("dropping an old key: %w", err)
		}
	}
	return s.replaceKeyset(manager, s.master, func(tx *bolt.Tx) error {
		old, err := s.notNewest(tx, 1)
		if err == nil && len(old) > 0 {
			err = errors.New("a credential is still encrypted with an old key; rotate again")
		}
		return err
	})
}

// replaceKeyset stores another keyset under a master key, if check agrees, and
// uses it from then on.
func (s *Store) replaceKeyset(manager *keyset.Manager, master []byte, check func(*bolt.Tx) error) error {
	handle, err := manager.Handle()
	if err != nil {
		return fmt.Errorf("changing the keyset: %w", err)
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
		if check != nil {
			if err := check(tx); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keyKeyset, b)
	})
	if err != nil {
		return fmt.Errorf("storing the keyset: %w", err)
	}
	s.master = master
	s.box.Store(box)
	return nil
}
