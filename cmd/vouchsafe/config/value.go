package config

import (
	"errors"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// duration reads a time such as 60s, 15m or 1h30m.
func (s section) duration(key string, fallback, least, most time.Duration) time.Duration {
	return s.span(key, fallback, least, most, time.Second)
}

// span is duration in whole units, seconds or milliseconds.
func (s section) span(key string, fallback, least, most, unit time.Duration) time.Duration {
	n, ok := s.fields[key]
	if !ok {
		return fallback
	}
	if n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!int" || n.ShortTag() == "!!float") {
		s.fail(key, "needs a unit, such as 60s or 15m")
		return fallback
	}
	v, ok := s.p.text(n, s.at(key))
	if !ok {
		return fallback
	}
	d, err := time.ParseDuration(v)
	switch {
	case err != nil:
		s.fail(key, "is not a time such as 60s, 15m or 1h")
	case d%unit != 0 && unit == time.Second:
		s.fail(key, "must be whole seconds")
	case d%unit != 0:
		s.fail(key, "must be whole milliseconds")
	case d < least:
		s.fail(key, "must be at least %s", short(least))
	case d > most:
		s.fail(key, "must be at most %s", short(most))
	default:
		return d
	}
	return fallback
}

// age reads a long time in days, such as 400d, or in hours; 0 when the key is
// absent.
func (s section) age(key string, least, most time.Duration) time.Duration {
	n, ok := s.fields[key]
	if !ok {
		return 0
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
		s.fail(key, "needs a unit, such as 400d")
		return 0
	}
	v, ok := s.p.text(n, s.at(key))
	if !ok {
		return 0
	}
	d, err := ParseAge(v)
	switch {
	case err != nil:
		s.fail(key, "%v", err)
	case d < least:
		s.fail(key, "must be at least %dd", least/day)
	case d > most:
		s.fail(key, "must be at most %dd", most/day)
	default:
		return d
	}
	return 0
}

const day = 24 * time.Hour

// ParseAge reads a time in days or hours, such as 400d or 36h.
func ParseAge(s string) (time.Duration, error) {
	for unit, of := range map[string]time.Duration{"d": day, "h": time.Hour} {
		if text, ok := strings.CutSuffix(s, unit); ok {
			if n, err := strconv.ParseUint(text, 10, 20); err == nil && !strings.HasPrefix(text, "+") {
				if n > uint64(math.MaxInt64/of) {
					return math.MaxInt64, nil
				}
				return time.Duration(n) * of, nil
			}
		}
	}
	return 0, errors.New("is not a time in days or hours, such as 400d")
}

// short writes a duration as people do: 24h, not 24h0m0s.
func short(d time.Duration) string {
	v := d.String()
	v = strings.TrimSuffix(v, "0s")
	if strings.HasSuffix(v, "h0m") {
		v = strings.TrimSuffix(v, "0m")
	}
	if v == "" {
		return "0s"
	}
	return v
}

// moment reads an RFC 3339 time, or a day, which begins at midnight UTC.
func (s section) moment(key string) time.Time {
	n, ok := s.fields[key]
	if !ok {
		return time.Time{}
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!timestamp" {
		s.p.wrongKind(n, s.at(key), "a time such as 2026-12-01T00:00:00Z")
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, n.Value); err == nil {
			return t
		}
	}
	s.fail(key, "is not a time such as 2026-12-01T00:00:00Z")
	return time.Time{}
}

var limitUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

const maxLimit = 1_000_000

// limit reads a limit such as 120/m.
func (s section) limit(key string, fallback Limit) Limit {
	n, ok := s.fields[key]
	if !ok {
		return fallback
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
		s.fail(key, "needs a time, such as 120/m")
		return fallback
	}
	v, ok := s.p.text(n, s.at(key))
	if !ok {
		return fallback
	}
	if v == "off" {
		return Limit{Off: true}
	}
	count, unit, found := strings.Cut(v, "/")
	requests, err := strconv.Atoi(count)
	per := limitUnits[unit]
	switch {
	case !found || err != nil || per == 0 || strings.HasPrefix(count, "+"):
		s.fail(key, "is not a limit such as 10/s, 120/m or 5000/h, or off")
	case requests < 1 || requests > maxLimit:
		s.fail(key, "must let through between 1 and %d requests", maxLimit)
	default:
		return Limit{Requests: requests, Per: per}
	}
	return fallback
}

// truth reads true or false, false when the key is absent.
func (s section) truth(key string) bool {
	n, ok := s.fields[key]
	if !ok {
		return false
	}
	var v bool
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&v) != nil {
		s.fail(key, "must be true or false")
	}
	return v
}

// choice reads one of a few words.
func (s section) choice(key, fallback string, words ...string) string {
	n, ok := s.fields[key]
	if !ok {
		return fallback
	}
	v, ok := s.p.text(n, s.at(key))
	if !ok {
		return fallback
	}
	for _, w := range words {
		if v == w {
			return v
		}
	}
	s.fail(key, "must be %s", oneOf(words))
	return fallback
}

func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// address reads host:port to listen on.
func (s section) address(key, fallback string) string {
	if !s.has(key) {
		return fallback
	}
	v := s.text(key)
	if v == "" {
		return v
	}
	host, port, err := net.SplitHostPort(v)
	if err != nil {
		s.fail(key, "is not an address such as 127.0.0.1:8080")
		return fallback
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		s.fail(key, "must end in a port between 0 and 65535")
		return fallback
	}
	if host != "" && host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			s.fail(key, "must name an IP address of this machine, or localhost")
			return fallback
		}
	}
	return v
}

// onThisMachine reports whether traffic to the host does not leave the machine.
func onThisMachine(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// web reads an absolute http or https URL. URLs are never repeated in errors:
// some hold a credential.
func (s section) web(key string) *url.URL {
	v := s.text(key)
	if v == "" {
		return nil
	}
	u, err := url.Parse(v)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		s.fail(key, "is not a URL such as https://shop.example/path")
	case u.User != nil:
		s.fail(key, "must not hold a user name or password")
	case u.Fragment != "" || strings.Contains(v, "#"):
		s.fail(key, "must not hold a fragment (#...)")
	case !validPort(u):
		s.fail(key, "must have a port between 1 and 65535, or none")
	default:
		return u
	}
	return nil
}

// secure is web for what the gate itself fetches: https, unless the traffic
// stays on this machine.
func (s section) secure(key string) string {
	u := s.web(key)
	if u == nil {
		return ""
	}
	if u.Scheme != "https" && !onThisMachine(u.Hostname()) {
		s.fail(key, "must be https, unless it is on this machine")
		return ""
	}
	return u.String()
}

func validPort(u *url.URL) bool {
	if strings.HasSuffix(u.Host, ":") {
		return false
	}
	if u.Port() == "" {
		return true
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}

// origin says why v is not an origin as browsers write it, "" when it is one.
func origin(v string) string {
	if strings.Contains(v, "*") {
		return "must be exact: wildcards are not supported"
	}
	if v == "null" {
		return "must name a page's origin: null is everybody's"
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "" {
		return "is not an origin such as https://shop.example"
	}
	if u.User != nil || u.Path != "" || strings.ContainsAny(v, "?#\\") {
		return "must be scheme://host[:port] and nothing more, not even a slash at the end"
	}
	if !validPort(u) {
		return "must have a port between 1 and 65535, or none"
	}
	if u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
		return "must leave out the usual port, as browsers do"
	}
	if strings.HasPrefix(u.Port(), "0") {
		return "must write the port as browsers do"
	}
	if v != u.Scheme+"://"+u.Host || v != strings.ToLower(v) {
		return "must be in lower case, as browsers write it"
	}
	for _, r := range u.Host {
		if r > 0x7e || r <= ' ' || r == '%' {
			return "must write the host in ASCII, as browsers do (xn--...)"
		}
	}
	if path.Clean("/"+u.Host) != "/"+u.Host || strings.HasSuffix(u.Hostname(), ".") || strings.Contains(u.Host, "..") {
		return "is not an origin such as https://shop.example"
	}
	if u.Scheme != "https" && !onThisMachine(u.Hostname()) {
		return "must be https, unless it is on this machine"
	}
	return ""
}

// proxy reads an IP address or a range of them. The string says what is wrong.
func proxy(v string) (netip.Prefix, string) {
	if addr, err := netip.ParseAddr(v); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), ""
	}
	prefix, err := netip.ParsePrefix(v)
	switch {
	case err != nil:
		return netip.Prefix{}, "is not an IP address or a range such as 10.0.0.0/8"
	case prefix.Bits() == 0:
		return netip.Prefix{}, "would trust every address: name the proxies"
	case prefix.Masked() != prefix:
		return netip.Prefix{}, "names an address inside the range; did you mean " + prefix.Masked().String() + "?"
	}
	return prefix, ""
}
