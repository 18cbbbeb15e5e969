package rollout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"vouchsafe/engine/policy/bundle"
)

// PullConfig says where a signed bundle is pulled from.
type PullConfig struct {
	URL     string // https; http only to a loopback address
	Keys    []bundle.Key
	Schemas fs.FS // see bundle.Read
	// Token returns the bearer token that the server asks for; nil for none.
	Token func() ([]byte, error)
	// Poll is how often the server is asked; a minute when 0.
	Poll time.Duration
	// Timeout bounds one request with its answer; 30 seconds when 0.
	Timeout time.Duration
}

// Pull is a signed bundle on any server that speaks OPA's bundle API: a GET
// with If-None-Match, answered by 200 and a bundle, or by 304.
type Pull struct {
	cfg    PullConfig
	client *http.Client
	shown  string // the URL without its query, which may be a credential

	// Of the last bundle that arrived whole.
	etag  string
	had   bool
	offer Offer
	err   error

	retryAfter time.Duration // as the server asked for
}

// Bounds on waiting.
const (
	firstRetry    = time.Second
	maxRetryAfter = 10 * time.Minute
)

// NewPull checks the configuration and asks nothing yet.
func NewPull(cfg PullConfig) (*Pull, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("the bundle's URL is not an absolute URL without user or fragment")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, errors.New("the bundle's URL must be https, except to a loopback address")
	}
	if len(cfg.Keys) == 0 {
		return nil, errors.New("a bundle that is pulled needs a key to verify it with")
	}
	if cfg.Poll == 0 {
		cfg.Poll = time.Minute
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.DisableCompression = true // a bundle is compressed as it is
	shown := *u
	shown.RawQuery = ""
	return &Pull{cfg: cfg, shown: shown.String(), client: &http.Client{
		Transport: transport,
		Timeout:   cfg.Timeout,
		// A redirect could lead to an address that the operator never named, and
		// would take the token there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}}, nil
}

var errRedirect = errors.New("the bundle's URL redirects; configure the address it ends at")

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Fetch asks the server, and for a whole bundle only when it has another than
// the last.
func (p *Pull) Fetch(ctx context.Context) (Offer, error) {
	p.retryAfter = 0
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.cfg.URL, nil)
	if err != nil {
		return Offer{}, errors.New("asking for the bundle: the URL cannot be used")
	}
	req.Header.Set("Accept", "application/gzip, application/octet-stream, */*;q=0.1")
	req.Header.Set("Prefer", "modes=snapshot") // no delta bundles, which nobody can sign
	if p.had && p.etag != "" {
		req.Header.Set("If-None-Match", p.etag)
	}
	if p.cfg.Token != nil {
		token, err := p.cfg.Token()
		if err != nil {
			return Offer{}, fmt.Errorf("reading the token for the bundle server: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+string(token))
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return Offer{}, fmt.Errorf("asking for the bundle: %w", withoutURL(err))
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		if req.Header.Get("If-None-Match") == "" {
			return Offer{}, errors.New("the bundle server says that nothing has changed, and nothing was there before")
		}
		return p.offer, p.err
	default:
		p.retryAfter = retryAfter(resp.Header.Get("Retry-After"))
		return Offer{}, fmt.Errorf("the bundle server answered with status %d%s", resp.StatusCode, hint(resp.StatusCode))
	}
	if resp.ContentLength > bundle.MaxBytes {
		return Offer{}, refused(fmt.Errorf("the bundle is larger than %d bytes", bundle.MaxBytes))
	}
	packed, err := io.ReadAll(io.LimitReader(resp.Body, bundle.MaxBytes+1))
	if err != nil {
		return Offer{}, fmt.Errorf("reading the bundle: %w", withoutURL(err))
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		// Somebody in between, such as a sign-in page: not the source's word.
		return Offer{}, errors.New("the bundle server answered with a web page")
	}
	p.etag, p.had = resp.Header.Get("ETag"), true
	p.offer, p.err = verified(packed, p.cfg.Keys, p.cfg.Schemas)
	return p.offer, p.err
}

// Next is the poll interval give or take a tenth, so that many gates do not ask
// at once; after failures it starts at a second and doubles up to the interval,
// half of it by chance. A server that asks for more time gets it.
func (p *Pull) Next(failures int) time.Duration {
	if failures == 0 {
		return time.Duration(float64(p.cfg.Poll) * (0.9 + 0.2*rand.Float64()))
	}
	d := min(firstRetry<<min(failures-1, 20), p.cfg.Poll)
	d = d/2 + time.Duration(rand.Float64()*float64(d/2))
	return max(d, p.retryAfter)
}

func (p *Pull) String() string { return "the bundle " + p.shown }

// retryAfter reads the header's number of seconds, within reason.
func retryAfter(v string) time.Duration {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxRetryAfter)
}

func hint(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ": does it ask for a token?"
	case http.StatusNotFound:
		return ": is the URL right?"
	}
	return ""
}

// withoutURL is a client's error without the URL, whose query may be a
// credential.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		if e.Timeout() {
			return errors.New("the server took too long")
		}
		return e.Err
	}
	return err
}
