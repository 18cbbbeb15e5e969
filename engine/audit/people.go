package audit

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"
	"go.etcd.io/bbolt"

	"vouchsafe/engine/identity"
	"vouchsafe/engine/store"
)

// PeopleKind is what the file of people's keys calls itself.
const PeopleKind = "people"

// ErrWrongMaster means that people's keys were sealed by another master key.
var ErrWrongMaster = errors.New("the people's keys were sealed by another master key")

var (
	keysBucket   = []byte("keys")   // keyID -> personID and the sealed key
	peopleBucket = []byte("people") // personID -> keyID, then the ids of the person's addresses
	masterBucket = []byte("master")
	masterCheck  = []byte("check")
	sweptKey     = []byte("swept") // how far records were gone when keys were last swept
)

// What a person is known by. An address and a subject are two people to the
// log until a verified token joins them.
const (
	bySubject   = "subject"
	byEmail     = "email"
	byName      = "name"
	byDay       = "day" // nobody in particular: the anonymous visitors of one day
	conversing  = "conversation"
	byTokenID   = "token"
	masterInfo  = "vouchsafe audit: keys of people, 1"
	hashingInfo = "vouchsafe audit: keyed hashes, 1"
)

const (
	keyIDSize     = 12
	personKeySize = 32
)

type (
	personID = keyedHash
	keyID    [keyIDSize]byte
)

// personKey is one person's key at one site.
type personKey struct {
	id   keyID
	aead tink.AEAD
}

// noKey enciphers nothing: what is given to it is not kept.
var noKey = &personKey{}

// people keeps a key for each person that the log holds something of, in a file
// of their own, sealed by the master key.
type people struct {
	db   *store.DB // nil when the log is read without its keys
	id   string    // of the file, "" without one: segments name it
	seal tink.AEAD
	macs sync.Pool // of hash.Hash
	// place is how far a site's log is; nil without a log. See sweep.go.
	place func(site string) (at logPlace, ok bool)

	mu    sync.RWMutex
	era   int // counts erasures: what was read before one is not cached after it
	known generations[personID, *personKey]
	held  generations[keyID, *personKey]
	owns  generations[[2]personID, struct{}] // subjects and addresses known to be theirs
}

// cached is how many keys are kept at hand: twice this at most.
const cached = 8192

// openPeople opens the file of keys. Without a master key nothing can be read
// or enciphered, and without a file, read-only, nothing is known.
func openPeople(path string, master []byte, o store.Options) (*people, error) {
	p := &people{}
	p.forget()
	if master == nil {
		if !o.ReadOnly {
			return nil, errors.New("the audit log needs the master key")
		}
		return p, nil
	}
	if len(master) != 32 {
		return nil, fmt.Errorf("the master key has %d bytes, want 32", len(master))
	}
	sealKey, err := hkdf.Key(sha256.New, master, nil, masterInfo, 32)
	if err != nil {
		return nil, err
	}
	hashKey, err := hkdf.Key(sha256.New, master, nil, hashingInfo, 32)
	if err != nil {
		return nil, err
	}
	p.macs.New = func() any { return hmac.New(sha256.New, hashKey) }
	if p.seal, err = subtle.NewAESGCM(sealKey); err != nil {
		return nil, err
	}
	if p.db, err = store.Open(path, PeopleKind, o); err != nil {
		return nil, fmt.Errorf("opening the people's keys: %w", err)
	}
	if err := p.checkMaster(o.ReadOnly || o.Existing); err != nil {
		p.db.Close()
		return nil, err
	}
	return p, nil
}

// checkMaster refuses a master key other than the one the file was made with:
// with it, every person would look erased.
func (p *people) checkMaster(made bool) error {
	var check []byte
	err := p.db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(masterBucket); b != nil {
			check = append(check, b.Get(masterCheck)...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if check != nil {
		id, err := p.seal.Decrypt(check, masterCheck)
		if err != nil {
			return ErrWrongMaster
		}
		p.id = string(id)
		return nil
	}
	if made {
		return errors.New("the file of people's keys is not whole")
	}
	p.id = rand.Text()
	if check, err = p.seal.Encrypt([]byte(p.id), masterCheck); err != nil {
		return fmt.Errorf("using the master key: %w", err)
	}
	return p.db.Commit(context.Background(), func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(masterBucket)
		if err != nil {
			return err
		}
		return b.Put(masterCheck, check)
	})
}

func (p *people) close() error {
	if p.db == nil {
		return nil
	}
	return p.db.Close()
}

func (p *people) health() error {
	if p.db == nil {
		return nil
	}
	return p.db.Health()
}

// hash is the keyed hash that something of a site is filed under: to whoever
// lacks the master key it says nothing. The parts cannot run into each other.
func (p *people) hash(what, site, value string) keyedHash {
	if value == "" || p.macs.New == nil {
		return keyedHash{}
	}
	m := p.macs.Get().(hash.Hash)
	m.Reset()
	var scratch [256]byte
	b := append(scratch[:0], what...)
	b = append(b, 0)
	b = append(b, site...)
	b = append(b, 0)
	b = append(b, value...)
	m.Write(b)
	var sum [sha256.Size]byte
	m.Sum(sum[:0])
	p.macs.Put(m)
	return keyedHash(sum[:hashSize])
}

// foldAddress is an address as people are told apart by it: two spellings that
// reach the same mailbox at most shops are one person.
func foldAddress(raw string) string {
	raw = strings.TrimSpace(raw)
	if c, err := identity.CanonicalEmail(raw, true); err == nil {
		return c
	}
	return strings.ToLower(raw)
}

func foldName(raw string) string { return strings.ToLower(strings.Join(strings.Fields(raw), " ")) }

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// keyOf returns a person's key, made durable first when it is new. address,
// when it is not zero, is a mailbox that a verified token says is theirs.
func (p *people) keyOf(ctx context.Context, site string, person, address personID) (*personKey, error) {
	p.mu.RLock()
	k, ok := p.known.get(person)
	if ok && address != (personID{}) {
		_, ok = p.owns.get([2]personID{person, address})
	}
	era := p.era
	p.mu.RUnlock()
	if ok {
		return k, nil
	}
	var err error
	if k, err = p.stored(person, address); err != nil {
		return nil, err
	}
	if k == nil {
		if k, err = p.make(ctx, site, person, address); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	if p.era == era {
		p.known.put(person, k)
		p.held.put(k.id, k)
		if address != (personID{}) {
			p.owns.put([2]personID{person, address}, struct{}{})
		}
	}
	p.mu.Unlock()
	return k, nil
}

// stored reads a person's key, nil when there is none or the address is not yet
// joined to it.
func (p *people) stored(person, address personID) (k *personKey, err error) {
	err = p.db.View(func(tx *bbolt.Tx) error {
		entry := get(tx, peopleBucket, person[:])
		if len(entry) < keyIDSize || address != (personID{}) && !owns(entry, address) {
			return nil
		}
		k, err = p.unseal(tx, keyID(entry[:keyIDSize]))
		return err
	})
	return k, err
}

func get(tx *bbolt.Tx, bucket, key []byte) []byte {
	b := tx.Bucket(bucket)
	if b == nil {
		return nil
	}
	return b.Get(key)
}

// owns reports whether a person's entry names the address.
func owns(entry []byte, address personID) bool {
	for b := entry[keyIDSize:]; len(b) >= hashSize; b = b[hashSize:] {
		if personID(b[:hashSize]) == address {
			return true
		}
	}
	return false
}

// unseal reads a key, nil when it is gone.
func (p *people) unseal(tx *bbolt.Tx, id keyID) (*personKey, error) {
	v := get(tx, keysBucket, id[:])
	if v == nil {
		return nil, nil
	}
	if len(v) < hashSize {
		return nil, errors.New("a person's key is damaged")
	}
	raw, err := p.seal.Decrypt(v[hashSize:], sealedFor(id, personID(v[:hashSize])))
	if err != nil {
		return nil, errors.New("a person's key is damaged or sealed by another master key")
	}
	a, err := subtle.NewAESGCM(raw)
	if err != nil {
		return nil, errors.New("a person's key is damaged")
	}
	return &personKey{id: id, aead: a}, nil
}

// sealedFor binds a sealed key to its id and to whose it is.
func sealedFor(id keyID, person personID) []byte {
	return append(append([]byte(masterInfo+"\x00"), id[:]...), person[:]...)
}

// maxAddresses bounds how many addresses are remembered as one subject's.
const maxAddresses = 64

// make gives a person a key, or joins an address to the one they have.
func (p *people) make(ctx context.Context, site string, person, address personID) (k *personKey, err error) {
	at, follows := logPlace{}, false
	if p.place != nil {
		at, follows = p.place(site)
	}
	err = p.db.Commit(context.WithoutCancel(ctx), func(tx *bbolt.Tx) error {
		k = nil // this may run twice
		folk, err := tx.CreateBucketIfNotExists(peopleBucket)
		if err != nil {
			return err
		}
		entry := append([]byte{}, folk.Get(person[:])...)
		if len(entry) >= keyIDSize {
			if k, err = p.unseal(tx, keyID(entry[:keyIDSize])); err != nil {
				return err
			}
		}
		if k == nil {
			var sealed []byte
			if k, sealed, err = p.fresh(person); err != nil {
				return err
			}
			keys, err := tx.CreateBucketIfNotExists(keysBucket)
			if err != nil {
				return err
			}
			if err := keys.Put(k.id[:], sealed); err != nil {
				return err
			}
			if follows {
				if err := p.noteSeen(tx, site, at); err != nil {
					return err
				}
			}
			entry = append([]byte{}, k.id[:]...)
		}
		if address != (personID{}) && !owns(entry, address) && len(entry) < keyIDSize+maxAddresses*hashSize {
			entry = append(entry, address[:]...)
		}
		return folk.Put(person[:], entry)
	})
	return k, err
}

// fresh makes a key and what is stored of it.
func (p *people) fresh(person personID) (*personKey, []byte, error) {
	var raw [personKeySize]byte
	k := &personKey{}
	rand.Read(raw[:])
	rand.Read(k.id[:])
	var err error
	if k.aead, err = subtle.NewAESGCM(raw[:]); err != nil {
		return nil, nil, err
	}
	sealed, err := p.seal.Encrypt(raw[:], sealedFor(k.id, person))
	if err != nil {
		return nil, nil, fmt.Errorf("sealing a person's key: %w", err)
	}
	return k, append(append([]byte{}, person[:]...), sealed...), nil
}

// byID returns the key that something was enciphered with, nil when it is gone.
func (p *people) byID(id keyID) (*personKey, error) {
	p.mu.RLock()
	k, ok := p.held.get(id)
	era := p.era
	p.mu.RUnlock()
	if ok {
		return k, nil
	}
	err := p.db.View(func(tx *bbolt.Tx) (err error) {
		k, err = p.unseal(tx, id)
		return err
	})
	if err != nil || k == nil {
		return nil, err
	}
	p.mu.Lock()
	if p.era == era {
		p.held.put(id, k)
	}
	p.mu.Unlock()
	return k, nil
}

// forget empties the caches.
func (p *people) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.era++
	p.known, p.held, p.owns = generations[personID, *personKey]{}, generations[keyID, *personKey]{}, generations[[2]personID, struct{}]{}
}

// erase destroys the keys of the people, and of the addresses that are known to
// be theirs, and returns how many there were. The file is written anew: what
// was in the old one is not left in free pages of it.
//
// done is behind which act of each site named in it erasures are carried out then;
// see again.go.
func (p *people) erase(ctx context.Context, done map[string]uint64, who ...personID) (int, error) {
	gone := map[personID]bool{}
	lost := map[keyID]bool{}
	err := p.db.Rewrite(ctx, func(from, to *bbolt.Tx) error {
		clear(gone)
		clear(lost)
		folk := from.Bucket(peopleBucket)
		for _, id := range who {
			gone[id] = true
			if folk == nil {
				continue
			}
			if entry := folk.Get(id[:]); len(entry) >= keyIDSize {
				for b := entry[keyIDSize:]; len(b) >= hashSize; b = b[hashSize:] {
					gone[personID(b[:hashSize])] = true
				}
			}
		}
		for id := range gone {
			if folk == nil {
				continue
			}
			if entry := folk.Get(id[:]); len(entry) >= keyIDSize {
				lost[keyID(entry[:keyIDSize])] = true
			}
		}
		if err := noteErased(to, done); err != nil {
			return err
		}
		return store.CopyBuckets(from, to, func(bucket, key, value []byte) bool {
			switch string(bucket) {
			case string(masterBucket):
				return !erasedNoted(key, done)
			case string(keysBucket):
				return len(key) != keyIDSize || !lost[keyID(key)]
			case string(peopleBucket):
				return len(key) != hashSize || !gone[personID(key)]
			}
			return true
		})
	})
	p.forget()
	return len(lost), err
}

// generations is a cache that forgets what was not asked for lately. Its zero
// value is ready.
type generations[K comparable, V any] struct{ now, before map[K]V }

func (g *generations[K, V]) get(k K) (V, bool) {
	if v, ok := g.now[k]; ok {
		return v, true
	}
	v, ok := g.before[k]
	return v, ok
}

func (g *generations[K, V]) put(k K, v V) {
	if g.now == nil || len(g.now) >= cached {
		g.now, g.before = make(map[K]V), g.now
	}
	g.now[k] = v
}

func (g *generations[K, V]) drop(k K) {
	delete(g.now, k)
	delete(g.before, k)
}
