// Package admin keeps the bearer tokens of the admin side: who may do what, on
// which sites and until when.
//
// A token is 160 random bits that are shown once, when it is made. Only its
// SHA-256 is kept, which is enough for a secret that nobody can guess.
package admin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/store"
)

// Role is what a token may do. The zero Role may do nothing.
type Role string

// The roles. None includes another: who ships policies need not see what
// customers did, and who reads changes nothing.
const (
	Auditor  Role = "auditor"  // reads
	Operator Role = "operator" // reads and acts
	Policy   Role = "policy"   // ships policies
)

// Roles are all roles.
var Roles = []Role{Auditor, Operator, Policy}

// Everywhere stands for every site, and for what concerns none in particular.
const Everywhere = "*"

// Bounds of what is kept.
const (
	MaxLife   = 366 * 24 * time.Hour
	maxTokens = 256
	maxSites  = 256
)

// nameSyntax keeps names fit for logs and command lines. "socket" is how the
// log calls whoever uses the admin socket.
var nameSyntax = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

const codeInvalidRequest = "invalid_request"

// ErrNotFound means that there is no token of that name.
var ErrNotFound = engine.Errorf(engine.CodeNotFound, "There is no such token.", nil)

// Token is what a bearer token is good for. The zero Token is good for nothing.
type Token struct {
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	Sites     []string  `json:"sites"` // or only Everywhere
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Expires   time.Time `json:"expires"`
	// LastUsed is to the minute across a restart, and exact before.
	LastUsed time.Time `json:"last_used,omitzero"`
}

// Global reports whether it is for every site.
func (t Token) Global() bool { return slices.Contains(t.Sites, Everywhere) }

// For reports whether it is for a site.
func (t Token) For(site string) bool { return t.Global() || slices.Contains(t.Sites, site) }

// kept is a Token on disk.
type kept struct {
	Version int    `json:"v"`
	SHA256  []byte `json:"sha256"`
	Token
}

const recordVersion = 1

var bucket = []byte("admin_tokens") // by name

type hash [sha256.Size]byte

// Tokens are the tokens there are. It is safe for concurrent use.
type Tokens struct {
	db    *store.DB
	clock func() time.Time

	mu     sync.Mutex
	held   map[hash]*Token
	unsaid map[hash]bool // whose LastUsed is not on disk yet
}

// Open reads the tokens from the state file.
func Open(db *store.DB, clock func() time.Time) (*Tokens, error) {
	t := &Tokens{db: db, clock: clock, held: map[hash]*Token{}, unsaid: map[hash]bool{}}
	err := db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if b == nil {
			return nil
		}
		return b.ForEach(func(name, v []byte) error {
			var k kept
			if err := json.Unmarshal(v, &k); err != nil {
				return err
			}
			if k.Version != recordVersion || len(k.SHA256) != len(hash{}) {
				return fmt.Errorf("the token %s is of version %d, which is not known", name, k.Version)
			}
			t.held[hash(k.SHA256)] = &k.Token
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the admin tokens: %w", err)
	}
	return t, nil
}

// Check says what is wrong with a token to be made, as an error fit for whoever
// asked for it.
func (t Token) Check(now time.Time) error {
	wrong := func(format string, a ...any) error {
		return engine.Errorf(codeInvalidRequest, fmt.Sprintf(format, a...), nil)
	}
	switch {
	case !nameSyntax.MatchString(t.Name) || t.Name == "socket":
		return wrong("A token's name is 1 to 63 of a-z, 0-9, dot, dash and underscore, and not socket.")
	case !slices.Contains(Roles, t.Role):
		return wrong("A token's role is auditor, operator or policy.")
	case len(t.Sites) == 0 || len(t.Sites) > maxSites:
		return wrong("A token is for at least one site, or for %q.", Everywhere)
	case t.Global() && len(t.Sites) > 1:
		return wrong("A token for %q names no other site.", Everywhere)
	case t.Role == Policy && !t.Global():
		return wrong("Policies are of all sites, and so is a token that ships them: give it %q.", Everywhere)
	case !t.Expires.After(now):
		return wrong("A token expires in the future.")
	case t.Expires.After(now.Add(MaxLife)):
		return wrong("A token lives for a year at most.")
	}
	return nil
}

// Create makes a token and returns its secret, which is nowhere else. The error
// is an *engine.Error.
func (t *Tokens) Create(ctx context.Context, made Token) (secret string, err error) {
	now := t.clock()
	if err := made.Check(now); err != nil {
		return "", err
	}
	made.Created, made.LastUsed = now, time.Time{}
	secret = engine.NewSecretID("vsa")
	sum := hash(sha256.Sum256([]byte(secret)))
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.held) >= maxTokens {
		return "", engine.Errorf(codeInvalidRequest, fmt.Sprintf("There are %d tokens already. Revoke those that are not needed.", maxTokens), nil)
	}
	for _, other := range t.held {
		if other.Name == made.Name {
			return "", engine.Errorf(codeInvalidRequest, "There is a token of that name. Revoke it, or choose another.", nil)
		}
	}
	if err := t.write(ctx, map[hash]*Token{sum: &made}); err != nil {
		return "", err
	}
	t.held[sum] = &made
	return secret, nil
}

func (t *Tokens) write(ctx context.Context, tokens map[hash]*Token) error {
	return t.db.Commit(context.WithoutCancel(ctx), func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		for sum, token := range tokens {
			v, err := json.Marshal(kept{recordVersion, sum[:], *token})
			if err != nil {
				return errors.New("encoding an admin token")
			}
			if err := b.Put([]byte(token.Name), v); err != nil {
				return err
			}
		}
		return nil
	})
}

// Find returns the token whose secret was shown, unless it has expired. It
// compares nothing but hashes.
func (t *Tokens) Find(secret string) (Token, bool) {
	now, sum := t.clock(), hash(sha256.Sum256([]byte(secret)))
	t.mu.Lock()
	defer t.mu.Unlock()
	found := t.held[sum]
	if found == nil || !now.Before(found.Expires) {
		return Token{}, false
	}
	found.LastUsed, t.unsaid[sum] = now, true
	return *found, true
}

// List returns the tokens by name, those that have expired too.
func (t *Tokens) List() []Token {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Token, 0, len(t.held))
	for _, token := range t.held {
		out = append(out, *token)
	}
	slices.SortFunc(out, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Named returns the token of that name.
func (t *Tokens) Named(name string) (Token, error) {
	for _, token := range t.List() {
		if token.Name == name {
			return token, nil
		}
	}
	return Token{}, ErrNotFound
}

// Revoke makes a token worthless at once. Its error is ErrNotFound, or
// audit_unavailable when that could not be written down.
func (t *Tokens) Revoke(ctx context.Context, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for sum, token := range t.held {
		if token.Name != name {
			continue
		}
		err := t.db.Commit(context.WithoutCancel(ctx), func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucket)
			if b == nil {
				return nil
			}
			return b.Delete([]byte(name))
		})
		if err == nil {
			delete(t.held, sum)
			delete(t.unsaid, sum)
		}
		return err
	}
	return ErrNotFound
}

// Flush writes down when tokens were last used.
func (t *Tokens) Flush(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	used := map[hash]*Token{}
	for sum := range t.unsaid {
		used[sum] = t.held[sum]
	}
	if len(used) == 0 {
		return nil
	}
	err := t.write(ctx, used)
	if err == nil {
		clear(t.unsaid)
	}
	return err
}
