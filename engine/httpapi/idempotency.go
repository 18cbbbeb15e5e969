package httpapi

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/store"
)

// How long a key holds, and how long the response it got can be repeated.
const (
	keyLife      = 24 * time.Hour
	responseLife = 15 * time.Minute
)

// maxResponses bounds the bytes of all responses kept for repeating. They are
// customers' data, so they are kept in memory only.
const maxResponses = 8 << 20

// keyring makes a request with an Idempotency-Key act once. That a key is in
// use is on disk before anything is done under it.
//
// A key is spent by an act. A request that was refused, or that certainly did
// nothing, gives its key back.
type keyring struct {
	db    *store.DB
	clock func() time.Time
	shelf store.Shelf

	mu      sync.Mutex
	running map[string][sha256.Size]byte // by id; the request under way
	kept    map[string]*list.Element     // of response
	recent  *list.List                   // newest first
	size    int                          // bytes of all that is kept
}

// spent is a key on disk.
type spent struct {
	Version  int    `json:"v"`
	Request  []byte `json:"request"` // SHA-256
	Done     bool   `json:"done"`
	Unknown  bool   `json:"unknown,omitempty"` // whether it was done is not known
	Decision string `json:"decision,omitempty"`
}

// response is what a request under a key was answered.
type response struct {
	id          string
	status      int
	contentType []string
	body        []byte
	policy      string // revision in force when it was released
	site        *gate.Site
	expires     time.Time
}

func newKeyring(db *store.DB, clock func() time.Time) *keyring {
	return &keyring{db: db, clock: clock, shelf: store.NewShelf("idempotency"),
		running: map[string][sha256.Size]byte{}, kept: map[string]*list.Element{}, recent: list.New()}
}

// isKey accepts 1 to 255 visible ASCII characters.
func isKey(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// keyID is a key within its site and customer, or within the address of whoever
// is not verified, which no subject can be mistaken for.
func keyID(site string, who identity.Result, address, key string) string {
	subject := "-" + address
	if who.State == identity.Verified {
		subject = "=" + who.Visitor.Subject()
	}
	h := sha256.New()
	for _, part := range []string{site, subject, who.Visitor.Email(), key} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return "ik_" + hex.EncodeToString(h.Sum(nil)[:20])
}

// once performs r under a key, or repeats what was answered before.
func (x *exchange) once(r gate.Request, yes, key string) error {
	ctx, k := x.r.Context(), x.s.keys
	if r.Intent.Args == nil {
		r.Intent.Args = map[string]any{}
	}
	if k.db == nil {
		return &problem{code: engine.CodeAuditUnavailable, detail: "Idempotency keys are not kept here; send the request without one."}
	}
	id := keyID(x.site.id, x.identity, addressKey(x.s.o.TrustedProxies, x.r), key)
	args := engine.ArgsHash(r.Intent.Args)
	request := sha256.Sum256(fmt.Appendf(nil, "%s\x00%x\x00%s", r.Intent.Action, args, yes))
	before, err := k.begin(ctx, id, request)
	if err != nil {
		return err
	}
	if before != nil {
		return x.again(r, id, before)
	}
	defer k.end(id)
	r.IdempotencyKey = id
	decision, err := x.act(r, yes)
	status, contentType := http.StatusOK, jsonType
	unknown := engine.CodeOutcomeUnknown == codeOf(err)
	if err != nil {
		if !unknown {
			if undo := k.forget(ctx, id); undo != nil {
				x.s.o.Logger.ErrorContext(ctx, "an idempotency key could not be given back", "cause", undo.Error())
			}
			return err
		}
		p := problemOf(err)
		x.code, status, contentType = p.code, statusOf(p.code), problemType
		x.out = p.append(x.out[:0], status)
	}
	if err := k.done(ctx, id, spent{Request: request[:], Done: true, Unknown: unknown, Decision: decision}); err != nil {
		// It was done and is in the decision log. Until this process ends the
		// response is repeated; after that the key says outcome_unknown.
		x.s.o.Logger.ErrorContext(ctx, "an idempotency key could not be completed", "cause", err.Error())
	}
	k.keep(response{id: id, policy: x.s.o.Policy(), site: x.site.gate, status: status, contentType: contentType, body: bytes.Clone(x.out)})
	return x.send(status, contentType)
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return problemOf(err).code
}

// again answers a request whose key has been used for the same request. To show
// a response once more is decided and recorded like showing it at first.
func (x *exchange) again(r gate.Request, id string, before *spent) error {
	if kept, ok := x.s.keys.response(id); ok {
		r.Repeats = true
		said, err := x.s.o.Gate.Ask(x.r.Context(), r)
		if err != nil {
			return err
		}
		if !said.Allow {
			return x.refusal(&said)
		}
		if said.Policy != kept.policy || x.site.gate != kept.site {
			// Another policy or another manifest may show less of it than the
			// ones that released it.
			return doneBefore(before)
		}
		x.w.Header()["Idempotent-Replayed"] = []string{"true"}
		x.out = append(x.out[:0], kept.body...)
		return x.send(kept.status, kept.contentType)
	}
	if !before.Done || before.Unknown {
		return &problem{code: engine.CodeOutcomeUnknown, decision: before.Decision,
			detail: "This request was begun before, but what became of it is not known. Check before you send it under another key."}
	}
	return doneBefore(before)
}

func doneBefore(before *spent) *problem {
	return &problem{code: codeAlreadyDone, decision: before.Decision,
		detail: "This request was done before; its response is no longer kept."}
}

// begin claims a key. It returns what the key was used for before, when it was
// used for this very request.
func (k *keyring) begin(ctx context.Context, id string, request [sha256.Size]byte) (*spent, error) {
	k.mu.Lock()
	current, busy := k.running[id]
	if !busy {
		k.running[id] = request
	}
	k.mu.Unlock()
	if busy {
		if current != request {
			return nil, errMismatch
		}
		return nil, &problem{code: codeInFlight, retryAfter: time.Second,
			detail: "A request with this Idempotency-Key is still under way."}
	}
	now := k.clock()
	var before *spent
	err := k.db.Commit(ctx, func(tx *bbolt.Tx) error {
		before = nil
		b, _ := k.shelf.Get(tx, id, now)
		if b == nil {
			return k.write(tx, id, spent{Request: request[:]}, now)
		}
		before = new(spent)
		if err := json.Unmarshal(b, before); err != nil {
			return fmt.Errorf("reading an idempotency key: %w", err)
		}
		if before.Version != 1 {
			return fmt.Errorf("reading an idempotency key: version %d is not known", before.Version)
		}
		if !bytes.Equal(before.Request, request[:]) {
			return errMismatch
		}
		return nil
	})
	if err != nil || before != nil {
		k.end(id)
	}
	return before, err
}

var errMismatch = &problem{code: codeMismatch, detail: "This Idempotency-Key was used for another request."}

// end says that no request is under way with the key any more.
func (k *keyring) end(id string) {
	k.mu.Lock()
	delete(k.running, id)
	k.mu.Unlock()
}

// forget gives a key back.
func (k *keyring) forget(ctx context.Context, id string) error {
	return k.db.Commit(context.WithoutCancel(ctx), func(tx *bbolt.Tx) error { return k.shelf.Delete(tx, id) })
}

// done records that the key has been spent.
func (k *keyring) done(ctx context.Context, id string, s spent) error {
	now := k.clock()
	return k.db.Commit(context.WithoutCancel(ctx), func(tx *bbolt.Tx) error { return k.write(tx, id, s, now) })
}

func (k *keyring) write(tx *bbolt.Tx, id string, s spent, now time.Time) error {
	s.Version = 1
	b, err := json.Marshal(s)
	if err != nil {
		return errors.New("encoding an idempotency key")
	}
	return k.shelf.Put(tx, id, b, now.Add(keyLife), now)
}

// keep remembers a response, forgetting the oldest ones to make room.
func (k *keyring) keep(r response) {
	r.expires = k.clock().Add(responseLife)
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.kept[r.id]; ok {
		k.dropLocked(old)
	}
	k.kept[r.id] = k.recent.PushFront(&r)
	k.size += len(r.body)
	for k.size > maxResponses {
		k.dropLocked(k.recent.Back())
	}
}

func (k *keyring) response(id string) (response, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.kept[id]
	if !ok {
		return response{}, false
	}
	r := e.Value.(*response)
	if !k.clock().Before(r.expires) {
		k.dropLocked(e)
		return response{}, false
	}
	return *r, true
}

// ForgetResponses lets go of the responses that are kept for repeating: whoever
// asks again under the same key hears that it was done.
func (s *Server) ForgetResponses() {
	k := s.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.recent.Len() > 0 {
		k.dropLocked(k.recent.Back())
	}
}

func (k *keyring) dropLocked(e *list.Element) {
	r := k.recent.Remove(e).(*response)
	delete(k.kept, r.id)
	k.size -= len(r.body)
}
