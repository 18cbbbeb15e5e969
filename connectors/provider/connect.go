package provider

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"vouchsafe/engine"
)

// Connecting is the authorization code grant with PKCE (RFC 6749, section 4.1;
// RFC 7636): the operator opens a link, grants access at the authorization
// server, and is sent back with a code. The code's verifier never leaves the
// provider, so the code is of no use to anybody else.

// Bounds on the sessions under way.
const (
	sessionLife = 10 * time.Minute
	maxSessions = 64
)

// session is one attempt to connect.
type session struct {
	site, id, verifier, redirect string
	expires                      time.Time
}

// sessions are the attempts under way, by state. They do not outlive the
// provider: whoever is interrupted starts again.
type sessions struct {
	broker   *broker
	callback string // where browsers are sent back to when nobody says otherwise

	mu    sync.Mutex
	under map[string]session
}

// Link is where an operator grants a connection access.
type Link struct {
	Token   string    // the session's name
	URL     string    // the authorization server's page
	Expires time.Time // of the session
}

var (
	errNoCallback = errors.New("no address is known that the browser could be sent back to")
	errNotOAuth   = errors.New("the connection is not of type oauth2")
	errBusy       = errors.New("too many attempts to connect are under way")
)

// start begins an attempt. redirect is where the browser is sent back to.
func (s *sessions) start(site, id, redirect string) (Link, error) {
	c, cred, err := s.broker.store.Get(site, id)
	if err != nil {
		return Link{}, err
	}
	if c.Type != OAuth2 {
		return Link{}, errNotOAuth
	}
	if redirect == "" {
		redirect = s.callback
	}
	if redirect == "" {
		return Link{}, errNoCallback
	}
	if err := checkEndpoint("redirect URI", redirect); err != nil {
		return Link{}, err
	}
	now := s.broker.now()
	state := engine.NewSecretID("cs")
	one := session{site, id, oauth2.GenerateVerifier(), redirect, now.Add(sessionLife)}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, old := range s.under {
		if !now.Before(old.expires) {
			delete(s.under, name)
		}
	}
	if len(s.under) >= maxSessions {
		return Link{}, errBusy
	}
	s.under[state] = one
	return Link{state, c.client(cred, redirect).AuthCodeURL(state, c.OAuth.authOptions(one.verifier)...), one.expires}, nil
}

// finish takes what the browser was sent back with. problem is for the person
// in front of it.
func (s *sessions) finish(ctx context.Context, back url.Values) (problem string) {
	state := back.Get("state")
	s.mu.Lock()
	one, ok := s.under[state]
	delete(s.under, state) // an attempt has one answer
	s.mu.Unlock()
	if !ok || !s.broker.now().Before(one.expires) {
		return "This attempt to connect is not known, or took too long. Please start again."
	}
	log := s.broker.log.With("site", one.site, "connection", one.id)
	if code := back.Get("error"); code != "" {
		if !oauthCodePattern.MatchString(code) {
			code = "unexpected_answer"
		}
		log.Warn("access was not granted", "reason", code)
		return "Access was not granted (" + code + ")."
	}
	c, cred, err := s.broker.store.Get(one.site, one.id)
	if err != nil || c.Type != OAuth2 {
		return "The connection is not there any more."
	}
	ctx, cancel := context.WithTimeout(context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, s.broker.client), tokenTimeout)
	defer cancel()
	t, err := c.client(cred, one.redirect).Exchange(ctx, back.Get("code"), oauth2.VerifierOption(one.verifier))
	var got renewed
	if err == nil {
		got, err = s.broker.taken(t)
	}
	if err != nil {
		log.Warn("the code could not be exchanged", "reason", oauthCode(err))
		return "The authorization server did not accept the code (" + oauthCode(err) + "). Please start again."
	}
	if err := s.broker.connected(one.site, one.id, got); err != nil {
		return "The tokens could not be written. Please start again."
	}
	log.Info("connected", "refresh_token", got.refresh != "")
	return ""
}

// connected writes the tokens of a new grant, in place of all there were.
func (b *broker) connected(site, id string, got renewed) error {
	key := string(recordKey(site, id))
	b.mu.Lock()
	delete(b.unsaved, key)
	delete(b.paused, key)
	b.mu.Unlock()
	return b.store.change(site, id, func(c *Connection, cred *Credential) error {
		cred.accessToken, cred.refreshToken, c.Tokens = got.access, got.refresh, got.tokens
		return nil
	})
}

// serveCallback is where a browser is sent back to. It needs no key: the state
// is the secret, and opens one attempt once.
func (s *server) serveCallback(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method != http.MethodGet {
		h.Set("Allow", http.MethodGet)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if problem := s.sessions.finish(r.Context(), r.URL.Query()); problem != "" {
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte(problem + "\n"))
		return
	}
	w.Write([]byte("Connected. You can close this page.\n"))
}
