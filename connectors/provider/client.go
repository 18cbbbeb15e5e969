package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vouchsafe/engine/socket"
	"vouchsafe/engine/voucher"
)

// Client calls a connection provider: ours over its socket, or any that speaks
// the protocol at a URL.
type Client struct {
	base          string // without a slash at the end
	keyFile       string
	reads, writes *http.Transport

	mu       sync.Mutex
	key      string // "" until it has been read
	audience string // whom vouchers are for; "" until the provider has said so
}

// NewClient makes a client of the provider at base: the path of a Unix socket,
// or a URL (https, or http to this machine). The key is read when it is first
// needed, and again when the provider does not know it any more.
func NewClient(base, keyFile string) (*Client, error) {
	c := &Client{base: strings.TrimSuffix(base, "/"), keyFile: keyFile}
	dialer := func(ctx context.Context, network, address string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
	}
	if !strings.Contains(base, "://") {
		path, err := filepath.Abs(base)
		if err != nil {
			return nil, fmt.Errorf("naming the provider's socket: %w", err)
		}
		c.base = "http://provider"
		dialer = func(ctx context.Context, _, _ string) (net.Conn, error) { return socket.Dial(ctx, path) }
	} else if _, err := parseBaseURL(c.base); err != nil {
		return nil, fmt.Errorf("connection provider: %w", err)
	}
	// Calls that only read keep their connections, calls that write do not; see
	// newTransport.
	for keep, to := range map[bool]**http.Transport{true: &c.reads, false: &c.writes} {
		*to = newTransport(keep)
		(*to).DialContext = dialer
	}
	return c, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.reads.CloseIdleConnections() }

// Do sends a call. Its errors are *Error.
func (c *Client) Do(ctx context.Context, call Call) (*Reply, error) {
	headers := http.Header{
		"Provider-Config-Key": {call.Site},
		"Connection-Id":       {call.Connection},
		"Retries":             {"0"},
	}
	for name, value := range call.Headers {
		if CheckHeader(name, value) != nil {
			return nil, &Error{Code: CodeInvalidHeaders, NotSent: true}
		}
		headers.Set(proxyPrefix+name, value)
	}
	if call.ContentType != "" {
		headers.Set("Content-Type", call.ContentType)
		headers.Set(proxyPrefix+"Content-Type", call.ContentType)
	}
	if call.IdempotencyKey != "" {
		headers.Set(proxyPrefix+"Idempotency-Key", call.IdempotencyKey)
	}
	target := "/proxy" + call.Path
	if call.Query != "" {
		target += "?" + call.Query
	}
	limit := call.MaxReply
	if limit <= 0 || limit > maxReplyBytes {
		limit = maxReplyBytes
	}
	u, err := url.Parse("http://provider" + target)
	if err != nil {
		return nil, &Error{Code: CodeInvalidRequest, NotSent: true}
	}
	resp, body, err := c.vouched(ctx, call, u, headers, limit)
	if err != nil {
		return nil, err
	}
	return &Reply{
		Status:      resp.StatusCode,
		ContentType: resp.Header.Get("Content-Type"),
		RetryAfter:  retryAfter(resp.Header.Get("Retry-After"), time.Now()),
		Link:        strings.Join(resp.Header.Values("Link"), ", "),
		ETag:        resp.Header.Get("Etag"),
		Location:    resp.Header.Get("Location"),
		Body:        body,
	}, nil
}

// vouched sends a call with a voucher for exactly what is sent. A provider that
// has started anew goes by another name than the voucher's: it says so before
// anything is sent on, and the call is vouched for once more.
func (c *Client) vouched(ctx context.Context, call Call, target *url.URL, headers http.Header, limit int64) (*http.Response, []byte, error) {
	if call.Grant == nil {
		return nil, nil, &Error{Code: CodeVoucherMissing, NotSent: true}
	}
	what := voucher.Call{
		Site:       call.Site,
		Connection: call.Connection,
		Method:     call.Method,
		Target:     voucherTarget(strings.TrimPrefix(target.EscapedPath(), "/proxy"), target.RawQuery),
		Headers:    sentOn(headers),
		Body:       call.Body,
	}
	for again := false; ; again = true {
		c.mu.Lock()
		audience := c.audience
		c.mu.Unlock()
		signed, err := call.Grant.Vouch(audience, what)
		if err != nil {
			return nil, nil, &Error{Code: CodeVoucherMissing, NotSent: true, Message: err.Error()}
		}
		headers.Set(headerVoucher, signed)
		resp, body, err := c.send(ctx, call.Method, target.RequestURI(), headers, call.Body, limit)
		if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeVoucherAudience && e.NotSent && e.audience != "" && !again {
			c.mu.Lock()
			c.audience = e.audience
			c.mu.Unlock()
			continue
		}
		return resp, body, err
	}
}

// voucherTarget is the path and query that a voucher is for.
func voucherTarget(path, query string) string {
	if query == "" {
		return path
	}
	return path + "?" + query
}

// sentOn are the headers of a call to the provider that are sent on from there.
func sentOn(headers http.Header) map[string]string {
	out := map[string]string{}
	for name, values := range headers {
		if to, ok := strings.CutPrefix(name, proxyPrefix); ok && name != proxyPrefix+headerVoucher {
			out[to] = values[0]
		}
	}
	return out
}

// send makes one call with the key. When the provider does not know the key,
// nothing has been sent on, so the key is read again and tried once more.
func (c *Client) send(ctx context.Context, method, target string, headers http.Header, body []byte, limit int64) (*http.Response, []byte, error) {
	for again := false; ; again = true {
		key, err := c.readKey(again)
		if err != nil {
			return nil, nil, &Error{Code: CodeUnauthorized, NotSent: true}
		}
		headers.Set("Authorization", "Bearer "+key)
		resp, got, err := c.once(ctx, method, target, headers, body, limit)
		if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeUnauthorized && e.NotSent && !again {
			continue
		}
		return resp, got, err
	}
}

func (c *Client) readKey(again bool) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.key == "" || again {
		key, err := readKey(c.keyFile)
		if err != nil {
			return "", err
		}
		c.key = key
	}
	return c.key, nil
}

func (c *Client) once(ctx context.Context, method, target string, headers http.Header, body []byte, limit int64) (*http.Response, []byte, error) {
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	var reader io.Reader
	if len(body) > 0 {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(traced, method, c.base+target, reader)
	if err != nil {
		return nil, nil, &Error{Code: CodeInvalidRequest, NotSent: true}
	}
	req.Header = headers
	transport := c.writes
	if method == http.MethodGet {
		transport = c.reads
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, nil, hopError(ctx, connected.Load())
	}
	defer resp.Body.Close()
	if code := resp.Header.Get(headerError); code != "" {
		var said errorJSON
		json.NewDecoder(io.LimitReader(resp.Body, maxHeaderBytes)).Decode(&said)
		return nil, nil, &Error{
			Code:    code,
			NotSent: resp.Header.Get(headerNotSent) == "true",
			Timeout: resp.StatusCode == http.StatusGatewayTimeout,
			Message: said.Error.Message,

			audience: resp.Header.Get(headerAudience),
		}
	}
	got, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, nil, hopError(ctx, true)
	}
	if int64(len(got)) > limit {
		return nil, nil, &Error{Code: CodeReplyTooLarge}
	}
	return resp, got, nil
}

// hopError is the error of a call that the provider did not answer.
func hopError(ctx context.Context, connected bool) *Error {
	e := &Error{Code: CodeProviderDown, NotSent: !connected, Timeout: errors.Is(ctx.Err(), context.DeadlineExceeded)}
	if connected {
		e.Code = CodeProviderBroke
	}
	return e
}

// maxRetryAfter bounds what an outside system may ask for.
const maxRetryAfter = time.Hour

// retryAfter reads the header: seconds, or a date.
func retryAfter(s string, now time.Time) time.Duration {
	if s == "" {
		return 0
	}
	if n, err := strconv.Atoi(s); err == nil {
		return min(max(0, time.Duration(min(n, 1<<20))*time.Second), maxRetryAfter)
	}
	if at, err := http.ParseTime(s); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}
