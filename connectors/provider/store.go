package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"
	bolt "go.etcd.io/bbolt"

	"vouchsafe/engine/store"
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
	storeFile     = "connections.db"
	storeKind     = "connections"
	recordVersion = 2
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
	db     *store.DB
	key    MasterKey
	master []byte // the key itself; used only while the keys are rotated
	// box seals with the newest key of the keyset and opens with any of them.
	// Replaced when the keys are rotated.
	box      atomic.Pointer[sealing]
	rotating sync.Mutex

	mu    sync.Mutex
	known map[string]stored // connections as they were last found, by recordKey
}

func (s *Store) sealer() tink.AEAD { return s.box.Load().aead }

// record is a connection as it is stored.
type record struct {
	Version  int               `json:"v"`
	Type     Type              `json:"type"`
	BaseURL  string            `json:"base_url"`
	Header   string            `json:"header,omitempty"`
	Query    string            `json:"query,omitempty"`
	OAuth    OAuth             `json:"oauth,omitzero"`
	Allow    []Rule            `json:"allow,omitempty"`
	Created  time.Time         `json:"created"`
	Metadata json.RawMessage   `json:"metadata,omitempty"`
	Tokens   Tokens            `json:"tokens,omitzero"`
	Secrets  map[string][]byte `json:"secrets"` // field -> ciphertext
}

// stored is a connection as it was read.
type stored struct {
	Connection
	rec   record
	rules compiled
	// raw is the record it was read from, and opened its credential once that
	// has been opened; both of one that was found. As long as the record is the
	// same to the byte, so is all that follows from it.
	raw    []byte
	opened *atomic.Pointer[opened]
}

// opened is a connection ready to be used.
type opened struct {
	Connection
	cred    Credential
	secrets [][]byte // the spellings of the credential that an answer may hold
}

func newOpened(c Connection, cred Credential) *opened {
	return &opened{c, cred, spelled(c.spellings(cred))}
}

// OpenStore opens the store in dir, which is made when it is missing. When
// neither key nor store is there yet and createKey is set, both are made, where
// the key is a file; in every other case a missing key is refused.
//
// A store belongs to one process at a time, which the operating system sees to
// even when that process is killed. ErrLocked says that another has it.
func OpenStore(dir string, key MasterKey, createKey bool) (*Store, error) {
	db, err := store.Open(filepath.Join(dir, storeFile), storeKind, store.Options{})
	if errors.Is(err, store.ErrHeld) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("opening the connections: %w", err)
	}
	s := &Store{db: db, key: key, known: map[string]stored{}}
	if err := s.unseal(createKey); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

// recordKey sorts a site's connections together. Neither id can hold the zero.
func recordKey(site, id string) []byte { return []byte(site + "\x00" + id) }

// bound is the associated data of one secret of a connection: everything that
// says what the secret may be used for.
func (c Connection) bound(version int, field string) []byte {
	var b []byte
	if version == 1 {
		b, _ = json.Marshal([]string{"v1", c.Site, c.ID, field, string(c.Type), c.BaseURL, c.Header, c.Query})
		return b
	}
	b, _ = json.Marshal(struct {
		Version                                       string
		Site, ID, Field, Type, BaseURL, Header, Query string
		OAuth                                         OAuth
		Allow                                         []Rule
	}{"v2", c.Site, c.ID, field, string(c.Type), c.BaseURL, c.Header, c.Query, c.OAuth, SortRules(c.Allow)})
	return b
}

// fields are the parts of a credential that are sealed, each by itself.
func (c *Credential) fields() map[string]*string {
	return map[string]*string{"value": &c.value, "username": &c.username, "client_secret": &c.clientSecret,
		"access_token": &c.accessToken, "refresh_token": &c.refreshToken}
}

// Put adds a connection, or replaces one whole: URL, rules and credential
// together.
func (s *Store) Put(c Connection, cred Credential) error {
	if err := c.check(cred); err != nil {
		return fmt.Errorf("%w: %w", errRejected, err)
	}
	if c.Created.IsZero() {
		c.Created = time.Now().UTC()
	}
	c.Tokens = c.fresh(cred)
	return s.db.Commit(context.Background(), func(tx *bolt.Tx) error { return s.write(tx, c, cred) })
}

// write seals a connection and stores it.
func (s *Store) write(tx *bolt.Tx, c Connection, cred Credential) error {
	c.Allow = SortRules(c.Allow)
	rec := record{Version: recordVersion, Type: c.Type, BaseURL: c.BaseURL, Header: c.Header, Query: c.Query, OAuth: c.OAuth,
		Allow: c.Allow, Created: c.Created, Metadata: c.Metadata, Tokens: c.Tokens, Secrets: map[string][]byte{}}
	for field, secret := range cred.fields() {
		// The value is sealed even where there is none: what the rules are, and
		// that there is no credential, must not be changed underneath it either.
		if *secret == "" && field != "value" {
			continue
		}
		sealed, err := s.sealer().Encrypt([]byte(*secret), c.bound(recordVersion, field))
		if err != nil {
			return errors.New("encrypting the credential failed")
		}
		rec.Secrets[field] = sealed
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encoding the connection: %w", err)
	}
	return tx.Bucket(bucketConnections).Put(recordKey(c.Site, c.ID), b)
}

// find returns a connection as it is now. What was worked out of the same record
// before is not worked out again.
func (s *Store) find(site, id string) (c stored, err error) {
	err = s.db.View(func(tx *bolt.Tx) (err error) {
		key := recordKey(site, id)
		raw := tx.Bucket(bucketConnections).Get(key)
		s.mu.Lock()
		defer s.mu.Unlock()
		if c = s.known[string(key)]; c.raw != nil && bytes.Equal(c.raw, raw) {
			return nil
		}
		delete(s.known, string(key))
		if c, err = read(tx, site, id); err != nil {
			return err
		}
		c.raw, c.opened, c.rules = bytes.Clone(raw), &atomic.Pointer[opened]{}, compile(c.Allow)
		s.known[string(key)] = c
		return nil
	})
	return c, err
}

func read(tx *bolt.Tx, site, id string) (stored, error) {
	raw := tx.Bucket(bucketConnections).Get(recordKey(site, id))
	if raw == nil {
		return stored{}, ErrNoConnection
	}
	return decodeRecord(recordKey(site, id), raw)
}

// open unseals the credential of a connection. Its key may have been rotated
// since the connection was found, and then it is found again.
func (s *Store) open(c stored) (*opened, error) {
	if o := c.opened.Load(); o != nil {
		return o, nil
	}
	plain, cred, err := s.unsealOnce(c)
	if errors.Is(err, errNotTheirs) {
		if again, findErr := s.find(c.Site, c.ID); findErr == nil && !bytes.Equal(again.raw, c.raw) {
			c = again
			plain, cred, err = s.unsealOnce(c)
		}
	}
	if err != nil {
		return nil, err
	}
	o := newOpened(plain, cred)
	c.opened.Store(o)
	return o, nil
}

func (s *Store) unsealOnce(c stored) (Connection, Credential, error) {
	var cred Credential
	for field, to := range cred.fields() {
		sealed, ok := c.rec.Secrets[field]
		if !ok {
			if field == "value" && c.rec.Version > 1 {
				return Connection{}, Credential{}, errNotTheirs
			}
			continue
		}
		plain, err := s.sealer().Decrypt(sealed, c.bound(c.rec.Version, field))
		if err != nil {
			return Connection{}, Credential{}, errNotTheirs
		}
		*to = string(plain)
	}
	if err := c.check(cred); err != nil {
		return Connection{}, Credential{}, fmt.Errorf("the stored connection: %w", err)
	}
	return c.Connection, cred, nil
}

var errNotTheirs = errors.New("the stored credential does not belong to this connection")

// Get returns a connection and its credential.
func (s *Store) Get(site, id string) (Connection, Credential, error) {
	c, err := s.find(site, id)
	if err != nil {
		return Connection{}, Credential{}, err
	}
	o, err := s.open(c)
	if err != nil {
		return Connection{}, Credential{}, err
	}
	return o.Connection, o.cred, nil
}

// change rewrites a connection that is there, in one transaction.
func (s *Store) change(site, id string, change func(*Connection, *Credential) error) error {
	return s.db.Commit(context.Background(), func(tx *bolt.Tx) error {
		sealed, err := read(tx, site, id)
		if err != nil {
			return err
		}
		c, cred, err := s.unsealOnce(sealed)
		if err != nil {
			return err
		}
		if err := change(&c, &cred); err != nil {
			return err
		}
		if err := c.check(cred); err != nil {
			return fmt.Errorf("%w: %w", errRejected, err)
		}
		return s.write(tx, c, cred)
	})
}

// Allow sets which calls a connection may be used for.
func (s *Store) Allow(site, id string, rules []Rule) error {
	return s.change(site, id, func(c *Connection, _ *Credential) error { c.Allow = rules; return nil })
}

// List returns the connections of a site, or of all for "".
func (s *Store) List(site string) ([]Connection, error) {
	out := []Connection{}
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketConnections).ForEach(func(k, raw []byte) error {
			c, err := decodeRecord(k, raw)
			if err == nil && (site == "" || c.Site == site) {
				out = append(out, c.Connection)
			}
			return err
		})
	})
	return out, err
}

// Remove forgets a connection and its credential.
func (s *Store) Remove(site, id string) error {
	defer func() {
		s.mu.Lock()
		delete(s.known, string(recordKey(site, id)))
		s.mu.Unlock()
	}()
	return s.db.Commit(context.Background(), func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketConnections)
		if b.Get(recordKey(site, id)) == nil {
			return ErrNoConnection
		}
		return b.Delete(recordKey(site, id))
	})
}

func decodeRecord(key, raw []byte) (stored, error) {
	var rec record
	if err := json.Unmarshal(raw, &rec); err != nil {
		return stored{}, errors.New("a stored connection cannot be read")
	}
	if rec.Version < 1 || rec.Version > recordVersion {
		return stored{}, fmt.Errorf("a stored connection has version %d, this program knows %d", rec.Version, recordVersion)
	}
	if rec.Version == 1 { // knew of neither
		rec.Allow, rec.OAuth = nil, OAuth{}
	}
	site, id, _ := strings.Cut(string(key), "\x00")
	return stored{Connection: Connection{Site: site, ID: id, Type: rec.Type, BaseURL: rec.BaseURL, Header: rec.Header, Query: rec.Query, OAuth: rec.OAuth,
		Allow: rec.Allow, Created: rec.Created, Metadata: rec.Metadata, Tokens: rec.Tokens}, rec: rec}, nil
}
