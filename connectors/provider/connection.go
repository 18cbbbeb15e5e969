package provider

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Connection is a site's access to one outside system, without the credential.
type Connection struct {
	Site    string // the one site it belongs to
	ID      string
	Type    Type
	BaseURL string // the only place the credential is sent to
	Header  string // where an API key goes: a header ...
	Query   string // ... or a parameter of the query
	OAuth   OAuth  // of the types OAuth2 and ClientCredentials
	Allow   []Rule // which calls it may be used for; none means none
	Created time.Time
	Tokens  Tokens // what became of its tokens; zero when it has none
	// Metadata is a JSON object of the operator's own. Nothing here reads it.
	Metadata json.RawMessage
}

// Type is how an outside system wants to be given the credential.
type Type string

// The types of connection, as Nango writes them.
const (
	APIKey            Type = "API_KEY"
	Basic             Type = "BASIC"
	OAuth2            Type = "OAUTH2"    // authorization code, with PKCE
	ClientCredentials Type = "OAUTH2_CC" // the client's own
	None              Type = "NONE"
)

// ParseType reads a type, in small letters or large.
func ParseType(s string) (Type, error) {
	switch t := Type(strings.ToUpper(s)); t {
	case APIKey, Basic, OAuth2, ClientCredentials, None:
		return t, nil
	}
	return "", fmt.Errorf("unknown type %q: want api_key, basic, oauth2, oauth2_cc or none", s)
}

// Credential is what opens the outside system. It never prints.
type Credential struct {
	value        string // the API key, or the password
	username     string
	clientSecret string // "" for a public client
	accessToken  string // "" until there is one
	refreshToken string
}

// NewAPIKey is the credential of a connection of type APIKey: the whole value
// of the header or parameter.
func NewAPIKey(value string) Credential { return Credential{value: value} }

// NewBasic is the credential of a connection of type Basic. The password may be
// empty where the outside system takes its key for the name.
func NewBasic(username, password string) Credential {
	return Credential{value: password, username: username}
}

// NewClientSecret is the secret of an OAuth client. Its tokens come later.
func NewClientSecret(value string) Credential { return Credential{clientSecret: value} }

const hidden = "[credential]"

// String hides the credential.
func (Credential) String() string { return hidden }

// GoString hides the credential.
func (Credential) GoString() string { return hidden }

// LogValue hides the credential.
func (Credential) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON hides the credential.
func (Credential) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// minSecret is the shortest credential that is taken. A shorter one is no
// secret, and could not be told from other text in an echo.
const minSecret = 8

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// reservedHeaders are set by the caller or by HTTP itself, so a credential
// cannot be there.
var reservedHeaders = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Connection": true, "Content-Length": true, "Content-Type": true,
	"Cookie": true, "Expect": true, "Host": true, "Idempotency-Key": true, "Keep-Alive": true, "Te": true,
	"Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "User-Agent": true,
}

// check refuses a connection that could not be used, or not safely.
func (c Connection) check(cred Credential) error {
	if !idPattern.MatchString(c.Site) {
		return errors.New("site: want an id of letters, digits, - and _")
	}
	if !idPattern.MatchString(c.ID) {
		return errors.New("connection: want an id of letters, digits, - and _")
	}
	if _, err := parseBaseURL(c.BaseURL); err != nil {
		return err
	}
	if err := checkRules(c.Allow); err != nil {
		return err
	}
	if err := checkMetadata(c.Metadata); err != nil {
		return err
	}
	if err := c.checkOAuth(cred); err != nil {
		return err
	}
	if c.Type != APIKey && (c.Header != "" || c.Query != "") {
		return errors.New("only an API key goes into a header or the query")
	}
	if c.Type != Basic && cred.username != "" {
		return errors.New("only a connection of type basic has a username")
	}
	switch c.Type {
	case APIKey:
		if (c.Header == "") == (c.Query == "") {
			return errors.New("an API key goes either into a header or into the query")
		}
		if c.Header != "" && !headerName(c.Header) {
			return fmt.Errorf("%q cannot be the header of an API key", c.Header)
		}
		if len(cred.value) < minSecret {
			return fmt.Errorf("an API key has at least %d bytes", minSecret)
		}
	case Basic:
		if max(len(cred.value), len(cred.username)) < minSecret {
			return fmt.Errorf("the password, or the username where that is the key, has at least %d bytes", minSecret)
		}
		if strings.Contains(cred.username, ":") {
			return errors.New("a username holds no colon")
		}
	case OAuth2, ClientCredentials, None:
		if cred.value != "" {
			return fmt.Errorf("a connection of type %s has neither key nor password", strings.ToLower(string(c.Type)))
		}
	default:
		return errors.New("unknown type: want api_key, basic, oauth2, oauth2_cc or none")
	}
	for _, b := range []byte(cred.value + cred.username + cred.clientSecret + cred.accessToken + cred.refreshToken) {
		if b < 0x20 || b == 0x7f {
			return errors.New("a credential holds no control characters; is it the right file?")
		}
	}
	return nil
}

// maxMetadata bounds what an operator may note down with a connection.
const maxMetadata = 4 << 10

func checkMetadata(m json.RawMessage) error {
	if m == nil {
		return nil
	}
	var object map[string]json.RawMessage
	if len(m) > maxMetadata || json.Unmarshal(m, &object) != nil || object == nil {
		return fmt.Errorf("metadata: want a JSON object of at most %d bytes", maxMetadata)
	}
	return nil
}

// headerName reports a name that a credential can be sent under.
func headerName(name string) bool {
	for _, b := range []byte(name) {
		if !(b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_') {
			return false
		}
	}
	return name != "" && !reservedHeaders[textproto.CanonicalMIMEHeaderKey(name)]
}

// parseBaseURL reads a base URL: https, or http to this machine.
func parseBaseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return nil, errors.New("base URL: want https://host or https://host/path")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("base URL: a credential does not belong into it")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("base URL: no query and no fragment")
	case numericHost(u.Hostname()):
		return nil, errors.New("base URL: its host is an odd spelling of an address; write the address out")
	case checkPath(u.EscapedPath()) != nil && u.Path != "":
		return nil, errors.New("base URL: its path has a segment that is empty or climbs")
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	default:
		return nil, errors.New("base URL: want https (http only to this machine itself)")
	}
	return u, nil
}

// numericHost reports a host that is no address as such and that much software
// takes for one all the same: 2130706433, 0x7f.1, 0177.0.0.1 (the "ends in a
// number" of the URL standard, section 3.5).
func numericHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// isLoopback reports a host that is this machine by its very name.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// checkPath refuses an encoded path that is not rooted, or has a segment that
// is empty or climbs. A slash at the end is allowed.
func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") {
		return errors.New(`a path starts with "/"`)
	}
	if path == "/" {
		return nil
	}
	for _, segment := range strings.Split(strings.TrimSuffix(path, "/"), "/")[1:] {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			return errors.New("the path is not percent-encoded")
		}
		if plain == "" {
			return errors.New("the path has an empty segment")
		}
		for _, part := range strings.FieldsFunc(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
			if part == "." || part == ".." {
				return errors.New("the path climbs")
			}
		}
	}
	return nil
}

// authorize adds the credential to a request.
func (c Connection) authorize(r *http.Request, cred Credential) error {
	switch c.Type {
	case APIKey:
		if c.Header != "" {
			r.Header.Set(c.Header, cred.value)
			return nil
		}
		asked, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil || asked.Has(c.Query) {
			return errors.New("the query is malformed, or brings the credential's parameter itself")
		}
		if r.URL.RawQuery != "" {
			r.URL.RawQuery += "&"
		}
		r.URL.RawQuery += url.QueryEscape(c.Query) + "=" + url.QueryEscape(cred.value)
	case Basic:
		r.SetBasicAuth(cred.username, cred.value)
	case OAuth2, ClientCredentials:
		if cred.accessToken == "" {
			return errors.New("there is no access token")
		}
		r.Header.Set("Authorization", "Bearer "+cred.accessToken)
	case None:
	default:
		return errors.New("unknown type of connection")
	}
	return nil
}

// minGenerated is the shortest username that is taken for a generated key.
const minGenerated = 20

// secretUsername reports a username that is a key, as some APIs have it: alone,
// or as one half of a pair. That of a person or a mailbox is none, and a reply
// full of it (a calendar's paths, an appointment's organizer) must come through
// as it is, or a record would be written back with holes.
func (c Credential) secretUsername() bool {
	return c.value == "" || len(c.username) >= minGenerated && !strings.Contains(c.username, "@")
}

// credentialHeader is the header that the credential goes into, "" for none.
func (c Connection) credentialHeader() string {
	switch {
	case c.Type == Basic, c.Type.oauth():
		return "Authorization"
	}
	return c.Header
}

// spellings returns the ways in which an outside system may echo the credential.
func (c Connection) spellings(cred Credential) []string {
	secrets := []string{cred.value, cred.clientSecret, cred.accessToken, cred.refreshToken}
	if c.Type == Basic {
		if cred.secretUsername() {
			secrets = append(secrets, cred.username)
		}
		pair := base64.StdEncoding.EncodeToString([]byte(cred.username + ":" + cred.value))
		secrets = append(secrets, pair, base64.URLEncoding.EncodeToString([]byte(cred.username+":"+cred.value)))
	}
	if _, token, ok := strings.Cut(cred.value, " "); ok { // "Bearer ..."
		secrets = append(secrets, strings.TrimSpace(token))
	}
	if cred.value != "" && c.Type == APIKey {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(cred.value)))
	}
	return secrets
}
