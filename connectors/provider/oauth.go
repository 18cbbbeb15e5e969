package provider

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// OAuth is how a connection gets its tokens (RFC 6749). The client's secret is
// part of the Credential.
type OAuth struct {
	ClientID   string            `json:"client_id,omitempty"`
	AuthURL    string            `json:"authorization_url,omitempty"` // of OAuth2 only
	TokenURL   string            `json:"token_url,omitempty"`
	Scopes     []string          `json:"scopes,omitempty"`
	ClientAuth ClientAuth        `json:"client_auth,omitempty"`
	AuthParams map[string]string `json:"authorization_params,omitempty"` // further parameters of the authorization request
}

// ClientAuth is how the client proves itself at the token URL.
type ClientAuth string

// The ways of RFC 6749, section 2.3.1, and none for a public client.
const (
	AuthBasic ClientAuth = "basic"
	AuthPost  ClientAuth = "post"
	AuthNone  ClientAuth = "none"
)

// Tokens is what became of a connection's tokens, without the tokens.
type Tokens struct {
	State    State     `json:"state,omitempty"`
	Reason   string    `json:"reason,omitempty"`    // the authorization server's error code, of StateReconnect
	Expires  time.Time `json:"expires_at,omitzero"` // of the access token; zero when it does not say
	Obtained time.Time `json:"obtained_at,omitzero"`
}

// State is whether a connection's tokens can be used. The zero State is that of
// a connection that needs none.
type State string

// The states.
const (
	StateReady     State = "ready"
	StateConnect   State = "connect_needed"   // nobody has granted access yet
	StateReconnect State = "reconnect_needed" // the grant is gone: somebody must connect again
)

func (t Type) oauth() bool { return t == OAuth2 || t == ClientCredentials }

var scopePattern = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]{1,256}$`) // RFC 6749, section 3.3

// reservedParams are the authorization request's own.
var reservedParams = []string{"client_id", "client_secret", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "scope", "state"}

// checkOAuth refuses what could not be connected, or not safely.
func (c Connection) checkOAuth(cred Credential) error {
	o := c.OAuth
	if !c.Type.oauth() {
		if o.ClientID != "" || o.AuthURL != "" || o.TokenURL != "" || len(o.Scopes) > 0 || o.ClientAuth != "" || len(o.AuthParams) > 0 ||
			cred.clientSecret != "" || cred.accessToken != "" || cred.refreshToken != "" {
			return errors.New("only a connection of type oauth2 or oauth2_cc has a client and tokens")
		}
		return nil
	}
	if o.ClientID == "" || len(o.ClientID) > 256 || strings.ContainsFunc(o.ClientID, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return errors.New("client id: want the one that the authorization server gave")
	}
	if err := checkEndpoint("token URL", o.TokenURL); err != nil {
		return err
	}
	if c.Type == OAuth2 {
		if err := checkEndpoint("authorization URL", o.AuthURL); err != nil {
			return err
		}
	} else if o.AuthURL != "" || len(o.AuthParams) > 0 || cred.refreshToken != "" {
		return errors.New("a connection of type oauth2_cc has neither an authorization URL nor a refresh token")
	}
	for _, scope := range o.Scopes {
		if !scopePattern.MatchString(scope) {
			return errors.New("a scope holds no spaces; give several one by one")
		}
	}
	for name := range o.AuthParams {
		if name == "" || slices.Contains(reservedParams, name) {
			return fmt.Errorf("the authorization request's parameter %q is not for you to set", name)
		}
	}
	switch o.ClientAuth {
	case AuthBasic, AuthPost:
		if len(cred.clientSecret) < minSecret {
			return fmt.Errorf("a client secret has at least %d bytes; a client without one has client auth none", minSecret)
		}
	case AuthNone:
		if cred.clientSecret != "" || c.Type == ClientCredentials {
			return errors.New("client auth none is for an oauth2 client without a secret")
		}
	default:
		return errors.New("client auth: want basic, post or none")
	}
	for _, token := range []string{cred.accessToken, cred.refreshToken} {
		if token != "" && len(token) < minSecret {
			return fmt.Errorf("a token has at least %d bytes", minSecret)
		}
	}
	return nil
}

// checkEndpoint refuses an endpoint that a secret would travel to in clear, or
// that is no URL.
func checkEndpoint(what, s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || numericHost(u.Hostname()):
		return fmt.Errorf("%s: want https://host/path", what)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%s: want https (http only to this machine itself)", what)
}

// fresh is the state of the tokens that a connection is added with.
func (c Connection) fresh(cred Credential) Tokens {
	switch {
	case !c.Type.oauth():
		return Tokens{}
	case c.Type == OAuth2 && cred.accessToken == "" && cred.refreshToken == "":
		return Tokens{State: StateConnect}
	}
	return Tokens{State: StateReady, Expires: c.Tokens.Expires, Obtained: c.Tokens.Obtained}
}

// endpoint is the authorization server as the OAuth library knows it. How the
// client proves itself is never tried out: a wrong try may use a code up.
func (c Connection) endpoint() oauth2.Endpoint {
	style := oauth2.AuthStyleInHeader
	if c.OAuth.ClientAuth != AuthBasic {
		style = oauth2.AuthStyleInParams
	}
	return oauth2.Endpoint{AuthURL: c.OAuth.AuthURL, TokenURL: c.OAuth.TokenURL, AuthStyle: style}
}

func (c Connection) client(cred Credential, redirect string) *oauth2.Config {
	return &oauth2.Config{ClientID: c.OAuth.ClientID, ClientSecret: cred.clientSecret, Endpoint: c.endpoint(), Scopes: c.OAuth.Scopes, RedirectURL: redirect}
}

func (c Connection) clientCredentials(cred Credential) *clientcredentials.Config {
	e := c.endpoint()
	return &clientcredentials.Config{ClientID: c.OAuth.ClientID, ClientSecret: cred.clientSecret, TokenURL: e.TokenURL, Scopes: c.OAuth.Scopes, AuthStyle: e.AuthStyle}
}

// authOptions are the further parameters of the authorization request.
func (o OAuth) authOptions(verifier string) []oauth2.AuthCodeOption {
	opts := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	for _, name := range slices.Sorted(maps.Keys(o.AuthParams)) {
		opts = append(opts, oauth2.SetAuthURLParam(name, o.AuthParams[name]))
	}
	return opts
}

// margin is how long before its end a token is renewed: a minute, or a fifth of
// a short life.
func (t Tokens) margin() time.Duration {
	if t.Obtained.IsZero() {
		return time.Minute
	}
	return min(time.Minute, t.Expires.Sub(t.Obtained)/5)
}

// dead reports an access token that is over, late one that soon will be.
func (t Tokens) dead(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }
func (t Tokens) late(now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires.Add(-t.margin()))
}
