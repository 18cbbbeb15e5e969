package provider

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
)

// outgoing is a call on its way to an outside system.
type outgoing struct {
	method      string
	path, query string // percent-encoded
	headers     http.Header
	body        []byte
}

// incoming is what an outside system answered, without its credential.
type incoming struct {
	status                  int
	contentType, retryAfter string
	link, etag, location    string
	challenge               string // WWW-Authenticate; goes no further
	body                    []byte
}

// undone reports whether a 401 means that nothing was done. A read has nothing
// to do; a write must have been refused by whoever checks the token (RFC 6750,
// section 3), for a 401 from somewhere further in proves nothing.
func (o outgoing) undone(got *incoming) bool {
	switch o.method {
	case http.MethodGet, "PROPFIND", "REPORT":
		return true
	}
	scheme, _, _ := strings.Cut(got.challenge, " ")
	return strings.EqualFold(scheme, "Bearer")
}

var errTooLarge = errors.New("the reply is too large")

// call sends a call to its connection's base URL, once.
func (s *server) call(ctx context.Context, c *opened, out outgoing) (*incoming, *Error) {
	req, err := c.request(ctx, c.cred, out)
	if err != nil {
		return nil, &Error{Code: CodeInvalidRequest, NotSent: true}
	}
	var connected atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	transport := s.writes
	if out.method == http.MethodGet {
		transport = s.reads
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, callError(ctx, err, connected.Load())
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 {
		return nil, &Error{Code: CodeUpstreamBroke}
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		// Nobody asked for it, and a credential in it could not be found.
		return nil, &Error{Code: CodeUpstreamBroke}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes+1))
	if err == nil && len(body) > maxReplyBytes {
		err = errTooLarge
	}
	if err != nil {
		return nil, callError(ctx, err, true)
	}
	return &incoming{
		status:      resp.StatusCode,
		challenge:   resp.Header.Get("Www-Authenticate"),
		contentType: string(scrub([]byte(resp.Header.Get("Content-Type")), c.secrets)),
		retryAfter:  string(scrub([]byte(resp.Header.Get("Retry-After")), c.secrets)),
		link:        string(scrub([]byte(strings.Join(resp.Header.Values("Link"), ", ")), c.secrets)),
		etag:        string(scrub([]byte(resp.Header.Get("Etag")), c.secrets)),
		location:    string(scrub([]byte(location(resp)), c.secrets)),
		body:        scrub(body, c.secrets),
	}, nil
}

// location is where the reply says that what it made is to be found. A
// redirect's is not passed on: whoever asks might follow it.
func location(resp *http.Response) string {
	if resp.StatusCode > 299 {
		return ""
	}
	return resp.Header.Get("Location")
}

// request builds what is sent: below the base URL, whatever the path says.
func (c Connection) request(ctx context.Context, cred Credential, out outgoing) (*http.Request, error) {
	switch out.method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	case "PROPFIND", "REPORT": // of WebDAV, for calendars; both only read
	default:
		return nil, errors.New("method not allowed")
	}
	if err := checkPath(out.path); err != nil {
		return nil, err
	}
	base, err := parseBaseURL(c.BaseURL)
	if err != nil {
		return nil, err
	}
	u := *base
	u.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + out.path
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return nil, errors.New("the path is not percent-encoded")
	}
	u.RawQuery = out.query
	var body io.Reader
	if len(out.body) > 0 {
		body = bytes.NewReader(out.body)
	}
	req, err := http.NewRequestWithContext(ctx, out.method, u.String(), body)
	if err != nil {
		return nil, errors.New("the request cannot be made")
	}
	req.Header = out.headers.Clone()
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	req.Header.Set("User-Agent", "Vouchsafe")
	return req, c.authorize(req, cred)
}

// callError says what became of a call that has no reply. It drops the cause,
// which could quote a URL with the credential in it.
func callError(ctx context.Context, err error, connected bool) *Error {
	var timeout net.Error
	e := &Error{Code: CodeUpstreamRefused, NotSent: !connected}
	switch {
	case errors.Is(err, errBlocked):
		e.Code = CodeUpstreamBlocked
	case errors.Is(err, errTooLarge):
		e.Code = CodeReplyTooLarge
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		e.Code, e.Timeout = CodeUpstreamTimeout, true
	case connected:
		e.Code = CodeUpstreamBroke
	}
	return e
}
