// Package config reads Vouchsafe's one YAML file, once and strictly: an unknown
// key, a weak key or a missing security setting is an error that names the line.
//
// Nothing here quotes a secret, or what stands where a secret was expected.
package config

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"vouchsafe/engine"
)

// Config is the whole file. Every path in it is absolute; relative ones were
// relative to the file's folder.
type Config struct {
	File string // the file it came from, as it was named
	Dir  string // the folder of that file

	Addr           string         // addr: the public listener; default 127.0.0.1:8080
	Data           string         // data: folder of what the gate stores; default ./data
	Keys           string         // keys: folder of the gate's own keys, not inside Data; default ./keys
	Policies       Policies       // policies: a folder or a signed bundle; default the embedded policies
	Admin          Admin          // admin
	Limits         Limits         // limits
	TrustedProxies []netip.Prefix // trusted_proxies: whose X-Forwarded-For is believed; default nobody's
	Sites          []Site         // sites: at least one
	Connections    Connections    // connections
	Sinks          []Sink         // sinks: where the decision log is sent as it grows; default none

	// Warnings are settings that work and that somebody should look at, such as
	// a secret file which others may read. Each names its line.
	Warnings []string
}

// Admin is the section admin. The Unix socket in Config.Data is always there
// and has no settings. Who may use Addr is not in the file: see engine/admin.
type Admin struct {
	Addr string // addr: an additional TCP address; default "", none
}

// DefaultNotFoundAfter is the not_found_after of a configuration that says none.
const DefaultNotFoundAfter = 100 * time.Millisecond

// Limits is the section limits: how many requests are answered.
type Limits struct {
	PerVisitor Limit // per_visitor: of one verified visitor; default 120/m
	PerAddress Limit // per_address: of one network address; default 600/m
	// NotFoundAfter is how soon at the earliest a visitor hears that there is no
	// such record; not_found_after, default 100ms, at most 5s. 0s is at once.
	NotFoundAfter time.Duration
}

// Limit is a number of requests in a time, written 120/m, 10/s or 5000/h. The
// zero Limit lets nothing through.
type Limit struct {
	Requests int
	Per      time.Duration
	// Off is set by the word off: no limit, for load tests and for a gate
	// behind another limiter.
	Off bool
}

// Site is one entry of sites: one website.
type Site struct {
	ID           string         // id: lower-case letters, digits and dashes; unique
	Name         string         // name: shown to visitors; default the id
	Tier         engine.Tier    // tier: free, pro or business; required
	Location     *time.Location // timezone: an IANA name; default UTC
	SignInURL    string         // sign_in_url: where a visitor signs in; default "", the page does it itself
	Origins      []string       // origins: exact scheme://host[:port] of the pages that may call; default none
	Tokens       Tokens         // tokens; required
	Actions      []string       // actions: the manifests that the file's globs match, sorted
	ActionGlobs  []string       // actions: those globs, as absolute patterns
	Knowledge    string         // knowledge: folder of Markdown or HTML; default "", no knowledge base
	RefuseStale  bool           // stale_policy: refuse, or allow (default): personal actions past policies.max_staleness
	KnowledgeURL string         // knowledge_url: where that folder is published, for citations; default "", no links
	// Retention is how long the site's part of the decision log is kept;
	// audit.retention, such as 400d; default 0, for ever; at least a week.
	Retention time.Duration
}

// Engine returns the site as the decision path sees it.
func (s Site) Engine() engine.Site {
	return engine.Site{
		ID:                s.ID,
		Name:              s.Name,
		Tier:              s.Tier,
		Location:          s.Location,
		SignInURL:         s.SignInURL,
		Origins:           s.Origins,
		MaxTokenLifetime:  s.Tokens.MaxLifetime,
		FoldEmailLocal:    s.Tokens.FoldEmailLocal,
		FreshConfirmation: s.Tokens.FreshConfirmation,
		RefuseStale:       s.RefuseStale,
	}
}

// Tokens is the section tokens of a site: which visitor tokens are believed.
type Tokens struct {
	Issuer         string        // issuer: the exact iss; required
	Audience       string        // audience: the exact aud; required; no two sites share issuer and audience
	MaxLifetime    time.Duration // max_lifetime: exp - iat, which policies judge; default 15m, at most 24h
	ClockSkew      time.Duration // clock_skew: tolerated between the site's clock and ours; default 60s, at most 5m
	FoldEmailLocal bool          // email_local_case: exact (default), or fold when the shop ignores case before the @
	// fresh_confirmation: a destructive action is confirmed only with a token
	// whose jti has confirmed nothing before; default false
	FreshConfirmation bool
	TestMode          bool       // test_mode: a response header says why a token is refused; default false
	Keys              []TokenKey // keys: at least one, unless there is a JWKSURL
	JWKSURL           string     // jwks_url: further public keys; https, unless on this machine
}

// Place is where something stands in the file.
type Place struct {
	Line int    // from 1
	Key  string // such as sites[0].tokens.keys[1]
}

// Refuse returns an *Error for what somebody else, who knows more of keys than
// this package, finds wrong with the entry at p. The cause must not quote it.
func (c *Config) Refuse(p Place, cause error) error {
	return newError(c.File, []Problem{{Line: p.Line, Key: p.Key, Message: cause.Error()}})
}

// TokenKey is one entry of tokens.keys. Its key was found to be there, of the
// kind that alg takes, and long enough; whether it is admitted is for
// engine/identity.
type TokenKey struct {
	Place       Place
	KID         string    // kid: unique within the site
	Alg         string    // alg: the one algorithm the key is for
	Source      KeySource // secret_file or secret_env for HS*, public_key_file (PEM) for the others
	NotBefore   time.Time // not_before: the key is not believed earlier; zero when not given
	RetireAfter time.Time // retire_after: the key is not believed later; zero when not given
}

// Symmetric reports whether the key is a shared secret.
func (k TokenKey) Symmetric() bool { return algorithms[k.Alg].family == familyHMAC }

// Connections is the section connections: where the connection provider is,
// which alone holds the credentials of outside systems. Exactly one of
// Embedded, URL and Socket is set.
type Connections struct {
	Embedded bool      // provider: embedded (default): a child process of the gate
	URL      string    // provider: its URL; https, unless on this machine
	Socket   string    // provider: unix:PATH
	Key      KeySource // key_file or key_env: what the gate shows to a provider that is not embedded
}

const (
	maxConfigBytes = 1 << 20

	defaultAddr        = "127.0.0.1:8080"
	defaultData        = "data"
	defaultKeys        = "keys"
	defaultMaxLifetime = 15 * time.Minute
	defaultClockSkew   = time.Minute
	maxMaxLifetime     = 24 * time.Hour
	maxNotFoundAfter   = 5 * time.Second
	maxClockSkew       = 5 * time.Minute
	minRetention       = 7 * 24 * time.Hour
	maxRetention       = 100 * 366 * 24 * time.Hour
)

var (
	defaultPerVisitor = Limit{Requests: 120, Per: time.Minute}
	defaultPerAddress = Limit{Requests: 600, Per: time.Minute}
)

// Load reads and checks the file, and every key it names. All that is wrong is
// reported together, in an *Error.
func Load(path string) (*Config, error) { return load(path, true) }

// LoadWithoutSecrets is Load for commands that only ask a running server: it
// checks everything but the secrets and keys, which may well be beyond the
// reach of whoever asks.
func LoadWithoutSecrets(path string) (*Config, error) { return load(path, false) }

func load(path string, secrets bool) (*Config, error) {
	src, err := readBounded(path, maxConfigBytes)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration %s: %w", path, err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("finding the folder of %s: %w", path, err)
	}
	return parse(path, src, dir, secrets)
}

// Parse checks src as Load checks a file: name is what errors call it, dir is
// the folder its relative paths start from.
func Parse(name string, src []byte, dir string) (*Config, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding the folder of %s: %w", name, err)
	}
	return parse(name, src, dir, true)
}

// readBounded reads a regular file of at most limit bytes. Devices and pipes
// are refused before they are opened, since opening one may block for ever.
// Errors do not repeat the path: it may stand where a secret was expected.
func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return b, nil
}
