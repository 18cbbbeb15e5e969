package provider

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

// tokenTimeout bounds a call to an authorization server, which goes on when the
// call it is for has been given up: a rotated token must not get lost.
const tokenTimeout = 20 * time.Second

// After a failure that may pass, the authorization server is left alone for a
// while: 1 s, 2 s, and so on, at most a minute.
const (
	firstPause = time.Second
	maxPause   = time.Minute
)

// renewedJustNow is how young a token is that a 401 does not renew: a system
// that refuses every token must not make us ask for one each time.
const renewedJustNow = 10 * time.Second

// gone are the errors after which trying again is pointless (RFC 6749, section
// 5.2): somebody must connect again, or correct the client.
var gone = []string{"invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope"}

// broker sees that connections have access tokens that can be used. One renewal
// at a time is under way for a connection, and what came of it is on disk
// before anybody uses it. As a store belongs to one process, that holds across
// processes too.
type broker struct {
	store  *Store
	client *http.Client
	now    func() time.Time
	log    *slog.Logger

	flights singleflight.Group
	mu      sync.Mutex
	paused  map[string]pause
	unsaved map[string]renewed // tokens that are good and could not be written
}

// pause is the time after a failed renewal in which none is tried.
type pause struct {
	until time.Time
	last  time.Duration
}

// renewed is what an authorization server gave.
type renewed struct {
	access, refresh string // refresh "" leaves the one there is
	tokens          Tokens
	from            Credential // what it was got with
}

func newBroker(store *Store, log *slog.Logger, now func() time.Time) *broker {
	return &broker{store: store, log: log, now: now,
		client: &http.Client{
			Transport:     newTransport(false),
			Timeout:       tokenTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		paused: map[string]pause{}, unsaved: map[string]renewed{}}
}

// ready unseals a connection's credential, and renews its access token when
// that is over or soon will be.
func (b *broker) ready(ctx context.Context, sealed stored) (*opened, *Error) {
	c, err := b.store.open(sealed)
	if err != nil {
		b.log.Error("connection cannot be used", "site", sealed.Site, "connection", sealed.ID, "err", err)
		return nil, &Error{Code: CodeUnknownConnection, NotSent: true, Message: "There is no such connection."}
	}
	if !c.Type.oauth() {
		return c, nil
	}
	if e := c.Tokens.refusal(); e != nil {
		return nil, e
	}
	if c.cred.accessToken != "" && !c.Tokens.late(b.now()) {
		return c, nil
	}
	next, cred, e := b.renew(ctx, c.Connection, c.cred.accessToken)
	switch {
	case e == nil:
		return newOpened(next, cred), nil
	case e.Code != CodeReconnectNeeded && c.cred.accessToken != "" && !c.Tokens.dead(b.now()):
		return c, nil // the token at hand still is good
	}
	return nil, e
}

// refusal is the error of a connection that somebody must connect first.
func (t Tokens) refusal() *Error {
	switch t.State {
	case StateReady:
		return nil
	case StateConnect:
		return &Error{Code: CodeReconnectNeeded, NotSent: true, Message: "Nobody has connected it yet: `vouchsafe connection connect`."}
	}
	return &Error{Code: CodeReconnectNeeded, NotSent: true, Message: "Its access is gone: `vouchsafe connection connect` asks for it again."}
}

// renew gets another access token than the one that was seen, unless somebody
// else just has.
func (b *broker) renew(ctx context.Context, c Connection, seen string) (Connection, Credential, *Error) {
	type result struct {
		c    Connection
		cred Credential
	}
	key := string(recordKey(c.Site, c.ID))
	// Forgotten callers must not end it: what it brings may be the only copy.
	flight := b.flights.DoChan(key, func() (any, error) {
		c, cred, err := b.renewOnce(context.WithoutCancel(ctx), key, c.Site, c.ID, seen)
		return result{c, cred}, err
	})
	select {
	case <-ctx.Done():
		return c, Credential{}, &Error{Code: CodeCredential, NotSent: true, Timeout: true, Message: "Renewing the access token took too long."}
	case got := <-flight:
		if e, ok := errors.AsType[*Error](got.Err); ok {
			return c, Credential{}, e
		} else if got.Err != nil {
			return c, Credential{}, &Error{Code: CodeCredential, NotSent: true, Message: "The access token could not be renewed."}
		}
		r := got.Val.(result)
		return r.c, r.cred, nil
	}
}

func (b *broker) renewOnce(ctx context.Context, key, site, id, seen string) (Connection, Credential, error) {
	c, cred, err := b.store.Get(site, id)
	if err != nil {
		return c, cred, err
	}
	if e := c.Tokens.refusal(); e != nil {
		return c, cred, e
	}
	if cred.accessToken != "" && cred.accessToken != seen && !c.Tokens.late(b.now()) {
		return c, cred, nil
	}
	b.mu.Lock()
	got, have := b.unsaved[key]
	wait := b.paused[key]
	b.mu.Unlock()
	if !have {
		if b.now().Before(wait.until) {
			return c, cred, &Error{Code: CodeCredential, NotSent: true, Message: "The authorization server failed a moment ago, and is left alone for a while."}
		}
		if got, err = b.ask(ctx, c, cred); err != nil {
			return c, cred, b.failed(key, c, cred, err, wait)
		}
		got.from = cred
	}
	if err := b.save(key, site, id, got); err != nil {
		return c, cred, err
	}
	b.log.Info("access token renewed", "site", site, "connection", id)
	return b.store.Get(site, id)
}

// save writes what an authorization server gave. Until it is on disk nobody
// uses it: if it were lost then, a rotated refresh token would be lost with it.
func (b *broker) save(key, site, id string, got renewed) error {
	err := b.store.change(site, id, func(c *Connection, cred *Credential) error {
		if *cred != got.from {
			return errSuperseded
		}
		cred.accessToken, c.Tokens = got.access, got.tokens
		if got.refresh != "" {
			cred.refreshToken = got.refresh
		}
		return nil
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && !errors.Is(err, errSuperseded) && !errors.Is(err, ErrNoConnection) {
		b.unsaved[key] = got
		b.log.Error("a renewed token could not be written; it is kept until it can be", "site", site, "connection", id, "cause", err)
		return &Error{Code: CodeCredential, NotSent: true, Message: "The renewed token could not be written."}
	}
	delete(b.unsaved, key)
	delete(b.paused, key)
	return nil
}

// ask asks the authorization server for an access token.
func (b *broker) ask(ctx context.Context, c Connection, cred Credential) (renewed, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, b.client), tokenTimeout)
	defer cancel()
	var t *oauth2.Token
	var err error
	switch {
	case c.Type == ClientCredentials:
		t, err = c.clientCredentials(cred).Token(ctx)
	case cred.refreshToken == "":
		return renewed{}, errNoRefresh
	default:
		t, err = c.client(cred, "").TokenSource(ctx, &oauth2.Token{RefreshToken: cred.refreshToken}).Token()
	}
	if err != nil {
		return renewed{}, err
	}
	return b.taken(t)
}

var (
	errNoRefresh = errors.New("there is no refresh token")
	errToken     = errors.New("the token is of a kind that cannot be used")
	// errSuperseded: somebody has connected or added the connection anew while
	// its token was renewed, and what they brought counts.
	errSuperseded = errors.New("the connection has another credential by now")
)

// taken is a token as it is kept.
func (b *broker) taken(t *oauth2.Token) (renewed, error) {
	if t.Type() != "Bearer" || len(t.AccessToken) < minSecret || t.RefreshToken != "" && len(t.RefreshToken) < minSecret {
		return renewed{}, errToken
	}
	got := renewed{access: t.AccessToken, refresh: t.RefreshToken, tokens: Tokens{State: StateReady, Obtained: b.now().UTC()}}
	if !t.Expiry.IsZero() {
		got.tokens.Expires = got.tokens.Obtained.Add(time.Until(t.Expiry))
	}
	return got, nil
}

// failed notes down what a failed renewal means.
func (b *broker) failed(key string, c Connection, cred Credential, err error, wait pause) error {
	code := oauthCode(err)
	if errors.Is(err, errNoRefresh) {
		code = "expired"
		if !c.Tokens.dead(b.now()) {
			return &Error{Code: CodeCredential, NotSent: true, Message: "There is no refresh token to renew the access token with."}
		}
	}
	if code == "expired" || slices.Contains(gone, code) {
		// Unless somebody has connected it again in the meantime.
		b.store.change(c.Site, c.ID, func(now *Connection, nowCred *Credential) error {
			if *nowCred == cred {
				now.Tokens.State, now.Tokens.Reason = StateReconnect, code
			}
			return nil
		})
		b.log.Error("a connection must be connected again", "site", c.Site, "connection", c.ID, "reason", code)
		return Tokens{State: StateReconnect}.refusal()
	}
	next := pause{last: min(max(2*wait.last, firstPause), maxPause)}
	next.until = b.now().Add(next.last)
	b.mu.Lock()
	b.paused[key] = next
	b.mu.Unlock()
	b.log.Warn("an access token could not be renewed", "site", c.Site, "connection", c.ID, "reason", code, "again_in", next.last)
	return &Error{Code: CodeCredential, NotSent: true, Message: "The authorization server gave no token."}
}

var oauthCodePattern = regexp.MustCompile(`^[a-z_]{1,40}$`)

// oauthCode is the error code of an authorization server, without anything else
// of its answer, which may quote what it was sent.
func oauthCode(err error) string {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		if oauthCodePattern.MatchString(e.ErrorCode) {
			return e.ErrorCode
		}
		return "unexpected_answer"
	}
	if errors.Is(err, errToken) {
		return "unusable_token"
	}
	return "unreachable"
}
