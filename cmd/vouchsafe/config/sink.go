package config

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"vouchsafe/engine/export"
	"vouchsafe/engine/sink"
)

// Sink is one entry of sinks: where the decision log is sent as it grows.
type Sink struct {
	Name     string    // name: of the sink's place in the log, unique; a new name begins with the oldest record
	Kind     string    // kind: file, webhook or syslog
	Sites    []string  // sites: whose records; default every site's and the gate's own
	Format   string    // format: records (default: decisions, outcomes and acts as written), opa, ocsf or checkpoints
	Personal bool      // personal: whom each record is about, too; default false
	Path     string    // path: of a file
	URL      string    // url: of a webhook; https, unless on this machine
	Secret   KeySource // secret_file or secret_env: what a webhook's deliveries are signed with, at least 32 bytes
	Address  string    // address: of a syslog: unix:PATH, udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT
}

// Formats that are not an export's.
const (
	SinkRecords     = "records"
	SinkCheckpoints = "checkpoints"
)

const minSinkSecret = 32

var sinkName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// sinkKeys are the keys of each kind beside those of all.
var sinkKeys = map[string][]string{"file": {"path"}, "webhook": {"url", "secret_file", "secret_env"}, "syslog": {"address"}}

func (p *parser) sinks(root section, c *Config) {
	names := map[string]int{}
	for i, n := range root.list("sinks") {
		s, ok := p.section(n, fmt.Sprintf("%s[%d]", root.at("sinks"), i), "name", "kind", "sites", "format", "personal",
			"path", "url", "secret_file", "secret_env", "address")
		if !ok {
			continue
		}
		out := Sink{Name: s.required("name", "a name for the status"), Kind: s.choice("kind", "", "file", "webhook", "syslog"),
			Format: s.choice("format", SinkRecords, SinkRecords, string(export.OPA), string(export.OCSF), SinkCheckpoints), Personal: s.truth("personal")}
		if out.Name != "" && !sinkName.MatchString(out.Name) {
			s.fail("name", "must be lower-case letters, digits and dashes")
		}
		if first, dup := names[out.Name]; dup && out.Name != "" {
			s.fail("name", "is also the name of the sink on line %d", first)
		} else {
			names[out.Name] = n.Line
		}
		if out.Format == SinkCheckpoints && s.has("personal") {
			s.fail("personal", "is for records: a checkpoint holds nobody")
		}
		if !s.has("kind") {
			s.fail("kind", "is missing: file, webhook or syslog")
		}
		for kind, keys := range sinkKeys {
			for _, key := range keys {
				if out.Kind != "" && kind != out.Kind && s.has(key) {
					s.fail(key, "is for a %s", kind)
				}
			}
		}
		s.texts("sites", func(v string, n *yaml.Node, key string) {
			if !slices.ContainsFunc(c.Sites, func(s Site) bool { return s.ID == v }) {
				p.fail(n, key, "is not the id of a site in this file")
				return
			}
			out.Sites = append(out.Sites, v)
		})
		switch out.Kind {
		case "file":
			if out.Path = s.required("path", "the file to append to"); out.Path != "" {
				out.Path = p.path(out.Path)
				for _, ours := range []string{c.Data, c.Keys} {
					if ours != "" && within(out.Path, ours) {
						s.fail("path", "must not be inside data or keys: those are the gate's own files")
						break
					}
				}
			}
		case "webhook":
			if !s.has("url") {
				s.fail("url", "is missing: where records are posted")
			}
			out.URL = s.secure("url")
			if out.Secret, ok = s.source("secret_file", "secret_env"); !ok && !s.has("secret_file") && !s.has("secret_env") {
				s.fail("secret_file", "is missing: name the file that holds what deliveries are signed with, or secret_env")
			}
			s.weigh(out.Secret, minSinkSecret)
		case "syslog":
			if out.Address = s.required("address", "such as tls://logs.example:6514"); out.Address != "" {
				p.syslog(s, &out)
			}
		}
		c.Sinks = append(c.Sinks, out)
	}
}

// syslog checks a syslog's address: what goes to another machine in clear is
// about nobody.
func (p *parser) syslog(s section, out *Sink) {
	if path, ok := strings.CutPrefix(out.Address, "unix:"); ok && path != "" {
		out.Address = "unix:" + p.path(path)
	}
	if _, err := sink.NewSyslog(out.Address); err != nil {
		s.fail("address", "must be unix:PATH, udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT")
		return
	}
	scheme, rest, _ := strings.Cut(out.Address, "://")
	if scheme != "udp" && scheme != "tcp" {
		return
	}
	host, _, err := net.SplitHostPort(rest)
	switch {
	case err != nil || onThisMachine(host):
	case out.Personal:
		s.fail("personal", "must not leave this machine in clear: use tls://")
	default:
		p.warn(s.fields["address"], s.at("address"), "is another machine's, and what is sent can be read on the way")
	}
}
