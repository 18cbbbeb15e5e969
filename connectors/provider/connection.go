package provider

import (
	"encoding/base64"
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
	Created time.Time
}

// Type is how an outside system wants to be given the credential.
type Type string

// The types of connection, as Nango writes them.
const (
	APIKey Type = "API_KEY"
	Basic  Type = "BASIC"
	None   Type = "NONE"
)

// ParseType reads a type, in small letters or large.
func ParseType(s string) (Type, error) {
	switch t := Type(strings.ToUpper(s)); t {
	case APIKey, Basic, None:
		return t, nil
	}
	return "", fmt.Errorf("unknown type %q: want api_key, basic or none", s)
}

// Credential is what opens the outside system. It never prints.
type Credential struct {
	value    string // the API key, or the password
	username string
}

// NewAPIKey is the credential of a connection of type APIKey: the whole value
// of the header or parameter.
func NewAPIKey(value string) Credential { return Credential{value: value} }

// NewBasic is the credential of a connection of type Basic. The password may be
// empty where the outside system takes its key for the name.
func NewBasic(username, password string) Credential {
	return Credential{value: password, username: username}
}

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
	case None:
		if cred.value != "" {
			return errors.New("a connection of type none has no credential")
		}
	default:
		return errors.New("unknown type: want api_key, basic or none")
	}
	for _, b := range []byte(cred.value + cred.username) {
		if b < 0x20 || b == 0x7f {
			return errors.New("a credential holds no control characters; is it the right file?")
		}
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
	case checkPath(u.EscapedPath()) != nil && u.Path != "":
		return nil, errors.New("base URL: its path has a segment that is empty or climbs")
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	default:
		return nil, errors.New("base URL: want https (http only to this machine itself)")
	}
	return u, nil
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

// spellings returns the ways in which an outside system may echo the credential.
func (c Connection) spellings(cred Credential) []string {
	secrets := []string{cred.value}
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
	return secrets
}
