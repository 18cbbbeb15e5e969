// Package revoke remembers which visitors and tokens a site no longer believes.
//
// What it says is on disk before it says it, and a copy in memory answers every
// request. A token's id is revoked as such. A subject is revoked up to a moment:
// of the tokens that were issued until then none is believed, and one issued
// later is, so that the person can sign in again. Both lapse once no token they
// could be about is left.
//
// The moment is on our clock and the issue on the site's: where that one is
// ahead, tokens of the last seconds survive the revocation of their subject.
package revoke

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/store"
)

// No site may issue a token for longer than a day, nor be believed about the
// time by more than five minutes.
const (
	longestSkew = 5 * time.Minute
	life        = 24*time.Hour + longestSkew
)

// maxName bounds a subject and a token id as engine/identity bounds the claims.
const maxName = 255

// sweepEvery is how often lapsed entries are cleared away, when there is
// something to write anyway.
const sweepEvery = time.Minute

const recordVersion = 1

var bucket = []byte("revocations")

// Entry is one revocation: of a token when TokenID is set, else of a subject.
type Entry struct {
	Site string `json:"site"`
	// Subject is whose. With a TokenID it is set when that person signed out,
	// and then nobody else's token of the same id is meant.
	Subject string `json:"subject,omitempty"`
	TokenID string `json:"token_id,omitempty"`
	// IssuedUpTo is set for a subject: tokens issued later are believed.
	IssuedUpTo time.Time `json:"issued_up_to,omitzero"`
	At         time.Time `json:"at"`
	Until      time.Time `json:"until"` // when it lapses
	SignedOut  bool      `json:"signed_out,omitempty"`
}

// stored is an Entry on disk.
type stored struct {
	Version int `json:"v"`
	Entry
}

// key is what an entry is about.
type key struct{ site, subject, tokenID string }

func (k key) bytes() []byte { return []byte(k.subject + "\x00" + k.tokenID) }

// List is the revocations of every site. It is safe for concurrent use.
type List struct {
	db    *store.DB
	clock func() time.Time

	size    atomic.Int64 // of entries; most of the time there are none to ask for
	mu      sync.RWMutex
	entries map[key]Entry
	swept   time.Time
}

// Open reads the revocations from the state file.
func Open(db *store.DB, clock func() time.Time) (*List, error) {
	l := &List{db: db, clock: clock, entries: map[key]Entry{}}
	err := db.View(func(tx *bbolt.Tx) error {
		sites := tx.Bucket(bucket)
		if sites == nil {
			return nil
		}
		return sites.ForEachBucket(func(site []byte) error {
			return sites.Bucket(site).ForEach(func(k, v []byte) error {
				e, err := decode(v)
				if err != nil {
					return err
				}
				l.entries[key{string(site), e.Subject, e.TokenID}] = e
				return nil
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the revocations: %w", err)
	}
	l.size.Store(int64(len(l.entries)))
	return l, nil
}

func decode(b []byte) (Entry, error) {
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return Entry{}, fmt.Errorf("reading a revocation: %w", err)
	}
	if s.Version != recordVersion {
		return Entry{}, fmt.Errorf("reading a revocation: version %d is not known", s.Version)
	}
	return s.Entry, nil
}

// Revoked reports whether the visitor's token or subject has been revoked. It
// is asked on every request.
func (l *List) Revoked(v identity.Visitor) bool {
	if l.size.Load() == 0 {
		return false
	}
	site, subject, tokenID := v.Site(), v.Subject(), v.TokenID()
	l.mu.RLock()
	defer l.mu.RUnlock()
	if e, ok := l.entries[key{site, subject, ""}]; ok && !v.IssuedAt().After(e.IssuedUpTo) && l.holds(e) {
		return true
	}
	if tokenID == "" {
		return false
	}
	if e, ok := l.entries[key{site, "", tokenID}]; ok && l.holds(e) {
		return true
	}
	e, ok := l.entries[key{site, subject, tokenID}]
	return ok && l.holds(e)
}

func (l *List) holds(e Entry) bool { return l.clock().Before(e.Until) }

// Subject revokes every token of the subject that has been issued by now.
func (l *List) Subject(ctx context.Context, site, subject string) (Entry, error) {
	if err := Check(subject); err != nil {
		return Entry{}, err
	}
	now := l.clock()
	return l.add(ctx, Entry{Site: site, Subject: subject, IssuedUpTo: now, At: now, Until: now.Add(life)})
}

// Token revokes the tokens of that id, whoever's they are.
func (l *List) Token(ctx context.Context, site, tokenID string) (Entry, error) {
	if err := Check(tokenID); err != nil {
		return Entry{}, err
	}
	now := l.clock()
	return l.add(ctx, Entry{Site: site, TokenID: tokenID, At: now, Until: now.Add(life)})
}

// SignOut revokes the token that v was made of. One without an id takes along
// the subject's tokens that were issued before it.
//
// It reaches nobody else: a site that gave two people tokens of one id would
// otherwise have each sign the other out.
func (l *List) SignOut(ctx context.Context, v identity.Visitor) error {
	e := Entry{Site: v.Site(), Subject: v.Subject(), TokenID: v.TokenID(), At: l.clock(), SignedOut: true,
		Until: v.ExpiresAt().Add(longestSkew)} // the skew may be set higher meanwhile
	if e.TokenID == "" {
		e.IssuedUpTo, e.Until = v.IssuedAt(), v.IssuedAt().Add(life+longestSkew)
	}
	_, err := l.add(ctx, e)
	return err
}

var errName = &engine.Error{Code: engine.CodeInvalidArguments,
	Message: "That cannot be in a token: it is empty, longer than 255 bytes or holds a control character."}

// Check refuses a subject or token id that no token may hold: to revoke it would
// revoke nothing. Its error is invalid_arguments.
func Check(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.IndexFunc(name, unicode.IsControl) >= 0 {
		return errName
	}
	return nil
}

// add writes an entry and then tells everybody who asks.
func (l *List) add(ctx context.Context, e Entry) (Entry, error) {
	k := key{e.Site, e.Subject, e.TokenID}
	lapsed := l.lapsed()
	err := l.db.Commit(context.WithoutCancel(ctx), func(tx *bbolt.Tx) error {
		sites, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		for _, old := range lapsed {
			if err := l.clear(sites.Bucket([]byte(old.site)), old); err != nil {
				return err
			}
		}
		b, err := sites.CreateBucketIfNotExists([]byte(e.Site))
		if err != nil {
			return err
		}
		written := e
		if v := b.Get(k.bytes()); v != nil {
			old, err := decode(v)
			if err != nil {
				return err
			}
			written = merge(old, e)
		}
		v, err := json.Marshal(stored{recordVersion, written})
		if err != nil {
			return fmt.Errorf("encoding a revocation: %w", err)
		}
		return b.Put(k.bytes(), v)
	})
	if err != nil {
		return Entry{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, old := range lapsed {
		if !l.holds(l.entries[old]) {
			delete(l.entries, old)
		}
	}
	if old, ok := l.entries[k]; ok {
		e = merge(old, e)
	}
	l.entries[k] = e
	l.size.Store(int64(len(l.entries)))
	return e, nil
}

// clear deletes an entry, unless it was renewed since it was found to have
// lapsed.
func (l *List) clear(site *bbolt.Bucket, k key) error {
	if site == nil {
		return nil
	}
	v := site.Get(k.bytes())
	if v == nil {
		return nil
	}
	if e, err := decode(v); err != nil || l.holds(e) {
		return err
	}
	return site.Delete(k.bytes())
}

// merge joins two entries about the same: neither takes back what the other
// revoked.
func merge(old, e Entry) Entry {
	if old.IssuedUpTo.After(e.IssuedUpTo) {
		e.IssuedUpTo = old.IssuedUpTo
	}
	if old.Until.After(e.Until) {
		e.Until = old.Until
	}
	e.SignedOut = e.SignedOut && old.SignedOut
	return e
}

// lapsed lists what can be cleared away, now and then.
func (l *List) lapsed() []key {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if since := now.Sub(l.swept); since >= 0 && since < sweepEvery {
		return nil
	}
	l.swept = now
	var out []key
	for k, e := range l.entries {
		if !now.Before(e.Until) {
			out = append(out, k)
		}
	}
	return out
}

// Of returns a site's revocations, newest first.
func (l *List) Of(site string) []Entry {
	out := []Entry{}
	l.mu.RLock()
	for k, e := range l.entries {
		if k.site == site && l.holds(e) {
			out = append(out, e)
		}
	}
	l.mu.RUnlock()
	slices.SortFunc(out, func(a, b Entry) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return strings.Compare(a.Subject+"\x00"+a.TokenID, b.Subject+"\x00"+b.TokenID)
	})
	return out
}
