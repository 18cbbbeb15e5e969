package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Bounds on one call to an outside system.
const (
	dialTimeout    = 5 * time.Second
	callTimeout    = 60 * time.Second // whoever calls may have less patience
	maxReplyBytes  = 4 << 20
	maxHeaderBytes = 64 << 10
)

// errBlocked is an address that a connection may not lead to.
var errBlocked = errors.New("the address is not allowed")

// notPublic are the ranges no name may lead to, beyond those netip knows by
// itself: this network, carrier NAT, protocol assignments, benchmarks,
// documentation, the reserved rest of IPv4, and the IPv6 ranges that carry an
// IPv4 address inside.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

// public reports an address of the open internet.
func public(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
		return false
	}
	return !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// mayDial decides on the address that is about to be dialled for a host. A
// name may lead to the open internet only, whatever it resolved to a moment
// before; an address that the operator wrote down as such is theirs to choose.
func mayDial(host string, ip netip.Addr) bool {
	if written, err := netip.ParseAddr(host); err == nil {
		return written.Unmap() == ip.Unmap()
	}
	if strings.EqualFold(host, "localhost") {
		return ip.Unmap().IsLoopback()
	}
	return public(ip)
}

// dialer connects to hosts that operators wrote down.
type dialer struct {
	resolver *net.Resolver // the system's when nil
}

// dial connects to host:port. The host is always that of a connection's base
// URL or of its authorization server, for redirects are not followed. It is
// looked up once, and each address of the answer is judged as it is dialled.
func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n := net.Dialer{Timeout: dialTimeout, Resolver: d.resolver, ControlContext: func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(resolved)
		if err != nil || !mayDial(host, to.Addr()) {
			return errBlocked
		}
		return nil
	}}
	return n.DialContext(ctx, network, address)
}

// newTransport makes a transport that asks no proxy and follows no redirect.
// One that only reads keeps its connections. One that writes does not: an HTTP
// client repeats a request, by itself, when a connection it kept turns out to
// be dead, and a write must never be sent twice.
func newTransport(keep bool) *http.Transport {
	return &http.Transport{
		DialContext:            dialer{}.dial,
		DisableKeepAlives:      !keep,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        60 * time.Second,
		TLSHandshakeTimeout:    dialTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// spelled are all the ways in which a text may hold a secret.
func spelled(secrets []string) (out [][]byte) {
	for _, secret := range secrets {
		if len(secret) < minSecret {
			continue
		}
		quoted, _ := json.Marshal(secret)
		inJSON := string(quoted[1 : len(quoted)-1])
		for _, spelling := range []string{
			secret,
			inJSON,
			strings.ReplaceAll(inJSON, "/", `\/`),
			url.QueryEscape(secret),
			url.PathEscape(secret),
		} {
			if !slices.ContainsFunc(out, func(other []byte) bool { return string(other) == spelling }) {
				out = append(out, []byte(spelling))
			}
		}
	}
	return out
}

// scrub takes every spelling of a credential out of a text.
func scrub(text []byte, spellings [][]byte) []byte {
	for _, spelling := range spellings {
		if bytes.Contains(text, spelling) {
			text = bytes.ReplaceAll(text, spelling, []byte("[removed]"))
		}
	}
	return text
}
