package provider

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Errors of the store.
var (
	ErrNoConnection = errors.New("there is no such connection")
	ErrNoKey        = errors.New("the master key file is missing")
	ErrWrongKey     = errors.New("the master key does not open this store")
	ErrLocked       = errors.New("another process has the store open")
	errRejected     = errors.New("the connection is refused")
)

const (
	storeFile      = "connections.db"
	masterKeyBytes = 32
	recordVersion  = 1
	lockTimeout    = time.Second
)

var (
	bucketMeta        = []byte("meta")
	bucketConnections = []byte("connections")
	keyKeyset         = []byte("keyset")
	keysetPurpose     = []byte("vouchsafe connection keyset v1")
)

// Store holds connections and, encrypted, their credentials. Each credential is
// bound to its connection and to where it may go: a stored one does not open
// when its site, name, base URL, type or place is changed underneath it.
type Store struct {
	db  *bolt.DB
	box tink.AEAD
}

// record is a connection as it is stored.
type record struct {
	Version int               `json:"v"`
	Type    Type              `json:"type"`
	BaseURL string            `json:"base_url"`
	Header  string            `json:"header,omitempty"`
	Query   string            `json:"query,omitempty"`
	Created time.Time         `json:"created"`
	Secrets map[string][]byte `json:"secrets"` // field -> ciphertext
}

// OpenStore opens the store in dir, which is made when it is missing. keyFile
// holds the master key of 32 bytes. When neither key nor store is there yet and
// createKey is set, both are made; in every other case a missing key is refused.
func OpenStore(dir, keyFile string, createKey bool) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the provider's folder: %w", err)
	}
	db, err := bolt.Open(filepath.Join(dir, storeFile), 0o600, &bolt.Options{Timeout: lockTimeout})
	if err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("opening the connections: %w", err)
	}
	s := &Store{db: db}
	if err := s.unseal(keyFile, createKey); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// unseal opens the keyset, or makes one in a new store.
func (s *Store) unseal(keyFile string, createKey bool) error {
	var sealed []byte
	if err := s.db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket(bucketMeta); b != nil {
			sealed = bytes.Clone(b.Get(keyKeyset))
		}
		return nil
	}); err != nil {
		return fmt.Errorf("reading the keyset: %w", err)
	}
	master, err := readMasterKey(keyFile)
	if errors.Is(err, ErrNoKey) && createKey && sealed == nil {
		master, err = createMasterKey(keyFile)
	}
	if err != nil {
		return err
	}
	sealer, err := subtle.NewAESGCM(master)
	if err != nil {
		return fmt.Errorf("using the master key: %w", err)
	}
	var handle *keyset.Handle
	if sealed != nil {
		handle, err = keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(sealed)), sealer, keysetPurpose)
		if err != nil {
			return ErrWrongKey
		}
	} else if handle, err = s.newKeyset(sealer); err != nil {
		return err
	}
	if s.box, err = aead.New(handle); err != nil {
		return fmt.Errorf("using the keyset: %w", err)
	}
	return nil
}

func (s *Store) newKeyset(sealer tink.AEAD) (*keyset.Handle, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making a keyset: %w", err)
	}
	var buf bytes.Buffer
	if err := handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&buf), sealer, keysetPurpose); err != nil {
		return nil, fmt.Errorf("sealing the keyset: %w", err)
	}
	err = s.db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucketIfNotExists(bucketConnections); err != nil {
			return err
		}
		return meta.Put(keyKeyset, buf.Bytes())
	})
	if err != nil {
		return nil, fmt.Errorf("storing the keyset: %w", err)
	}
	return handle, nil
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

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

// recordKey sorts a site's connections together. Neither id can hold the zero.
func recordKey(site, id string) []byte { return []byte(site + "\x00" + id) }

// bound is the associated data of one secret of a connection.
func (c Connection) bound(field string) []byte {
	b, _ := json.Marshal([]string{"v1", c.Site, c.ID, field, string(c.Type), c.BaseURL, c.Header, c.Query})
	return b
}

// Put adds a connection, or replaces one whole: URL and credential together.
func (s *Store) Put(c Connection, cred Credential) error {
	if err := c.check(cred); err != nil {
		return fmt.Errorf("%w: %w", errRejected, err)
	}
	if c.Created.IsZero() {
		c.Created = time.Now().UTC()
	}
	rec := record{Version: recordVersion, Type: c.Type, BaseURL: c.BaseURL, Header: c.Header, Query: c.Query,
		Created: c.Created, Secrets: map[string][]byte{}}
	for field, secret := range map[string]string{"value": cred.value, "username": cred.username} {
		if secret == "" {
			continue
		}
		sealed, err := s.box.Encrypt([]byte(secret), c.bound(field))
		if err != nil {
			return errors.New("encrypting the credential failed")
		}
		rec.Secrets[field] = sealed
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encoding the connection: %w", err)
	}
	return s.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketConnections).Put(recordKey(c.Site, c.ID), b)
	})
}

// Get returns a connection and its credential.
func (s *Store) Get(site, id string) (Connection, Credential, error) {
	var c Connection
	var rec record
	err := s.db.View(func(tx *bolt.Tx) error {
		raw := tx.Bucket(bucketConnections).Get(recordKey(site, id))
		if raw == nil {
			return ErrNoConnection
		}
		var err error
		c, rec, err = decodeRecord(recordKey(site, id), raw)
		return err
	})
	if err != nil {
		return Connection{}, Credential{}, err
	}
	var cred Credential
	for field, to := range map[string]*string{"value": &cred.value, "username": &cred.username} {
		sealed, ok := rec.Secrets[field]
		if !ok {
			continue
		}
		plain, err := s.box.Decrypt(sealed, c.bound(field))
		if err != nil {
			return Connection{}, Credential{}, errors.New("the stored credential does not belong to this connection")
		}
		*to = string(plain)
	}
	if err := c.check(cred); err != nil {
		return Connection{}, Credential{}, fmt.Errorf("the stored connection: %w", err)
	}
	return c, cred, nil
}

// List returns the connections of a site, or of all for "".
func (s *Store) List(site string) ([]Connection, error) {
	out := []Connection{}
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketConnections).ForEach(func(k, raw []byte) error {
			c, _, err := decodeRecord(k, raw)
			if err == nil && (site == "" || c.Site == site) {
				out = append(out, c)
			}
			return err
		})
	})
	return out, err
}

// Remove forgets a connection and its credential.
func (s *Store) Remove(site, id string) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketConnections)
		if b.Get(recordKey(site, id)) == nil {
			return ErrNoConnection
		}
		return b.Delete(recordKey(site, id))
	})
}

func decodeRecord(key, raw []byte) (Connection, record, error) {
	var rec record
	if err := json.Unmarshal(raw, &rec); err != nil {
		return Connection{}, rec, errors.New("a stored connection cannot be read")
	}
	if rec.Version != recordVersion {
		return Connection{}, rec, fmt.Errorf("a stored connection has version %d, this program knows %d", rec.Version, recordVersion)
	}
	site, id, _ := strings.Cut(string(key), "\x00")
	return Connection{Site: site, ID: id, Type: rec.Type, BaseURL: rec.BaseURL, Header: rec.Header, Query: rec.Query, Created: rec.Created}, rec, nil
}
