package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
)

// Rate is how many requests one caller may make in a time. So many may come at
// once; after them, one whenever its share of the time has passed.
type Rate struct {
	Count int
	Per   time.Duration
	Off   bool // no limit
}

var (
	defaultPerVisitor = Rate{Count: 120, Per: time.Minute}
	defaultPerAddress = Rate{Count: 600, Per: time.Minute}
)

// defaultKeys is how many callers of each kind are remembered. The least recent
// one is forgotten first, so that memory stays bounded however many there are.
const defaultKeys = 1 << 16

// ParseRate reads "120/m", with s, m or h for the time, or "off".
func ParseRate(s string) (Rate, error) {
	if s == "off" {
		return Rate{Off: true}, nil
	}
	count, unit, _ := strings.Cut(s, "/")
	n, err := strconv.Atoi(count)
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	if err != nil || n < 1 || per == 0 || time.Duration(n) > per {
		return Rate{}, fmt.Errorf("%q is not a rate: want a number with /s, /m or /h, or off", s)
	}
	return Rate{Count: n, Per: per}, nil
}

// limiter holds callers to a rate. A nil limiter holds nobody.
type limiter struct{ gcra *throttled.GCRARateLimiterCtx }

func newLimiter(r, byDefault Rate, keys int, clock func() time.Time) (*limiter, error) {
	if r.Off {
		return nil, nil
	}
	if r == (Rate{}) {
		r = byDefault
	}
	if r.Count < 1 || r.Per <= 0 {
		return nil, fmt.Errorf("%d in %s is not a rate", r.Count, r.Per)
	}
	if keys == 0 {
		keys = defaultKeys
	}
	mem, err := memstore.New(keys)
	if err != nil {
		return nil, err
	}
	mem.SetTimeNow(clock)
	gcra, err := throttled.NewGCRARateLimiterCtx(throttled.WrapStoreWithContext(mem),
		throttled.RateQuota{MaxRate: throttled.PerDuration(r.Count, r.Per), MaxBurst: r.Count - 1})
	if err != nil {
		return nil, err
	}
	return &limiter{gcra}, nil
}

// take counts one request of key. It reports whether the request is over the
// limit, and how long to wait.
func (l *limiter) take(key string) (wait time.Duration, limited bool) {
	if l == nil {
		return 0, false
	}
	limited, result, err := l.gcra.RateLimitCtx(context.Background(), key, 1)
	if err != nil {
		// Only a crowd on one key makes the store give up.
		return time.Second, true
	}
	return result.RetryAfter, limited
}

func (s *Server) limited(kind string, wait time.Duration) error {
	s.metrics.limited.WithLabelValues(kind).Inc()
	return &problem{code: codeRateLimited, retryAfter: max(wait, time.Second),
		detail: "That was too many requests in a short time. Please wait a moment."}
}

// addressKey names the network a request comes from: one IPv4 address, or the
// 64 bits of IPv6 that one customer usually has. X-Forwarded-For is read from
// its end, and only as far as trusted proxies wrote it.
func addressKey(trusted []netip.Prefix, r *http.Request) string {
	var addr netip.Addr
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		addr = ap.Addr().Unmap()
	}
	if len(trusted) > 0 && isTrusted(trusted, addr) {
		addr = forwarded(trusted, addr, r.Header["X-Forwarded-For"])
	}
	key := addr.As16()
	if addr.Is6() {
		clear(key[8:])
	}
	return string(key[:])
}

func isTrusted(trusted []netip.Prefix, addr netip.Addr) bool {
	for _, p := range trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// forwarded walks from the nearest hop outwards to the first one that is not a
// trusted proxy. Every header line counts: a proxy may have added its own.
func forwarded(trusted []netip.Prefix, addr netip.Addr, lines []string) netip.Addr {
	hops := strings.Split(strings.Join(lines, ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return addr
		}
		if addr = hop.WithZone("").Unmap(); !isTrusted(trusted, addr) {
			return addr
		}
	}
	return addr
}
