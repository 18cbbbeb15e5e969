package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"time"

	"vouchsafe/engine/socket"
)

// refusal is a problem document of the server.
type refusal struct{ code, detail string }

func (r *refusal) Error() string { return r.detail }

// refused reports whether the server answered with the code.
func refused(err error, code string) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.code == code
}

// errNoServer means that nobody answers on the admin socket.
var errNoServer = errors.New("no server is running")

const (
	adminTimeout  = 30 * time.Second
	maxAdminReply = 64 << 20
)

// adminClient asks a running server over the admin socket in its data folder.
type adminClient struct{ http http.Client }

// dialAdmin reaches the server whose data folder this is. The error is
// errNoServer when there is none.
func dialAdmin(ctx context.Context, data string) (*adminClient, error) {
	path := filepath.Join(data, adminSocket)
	first, err := socket.Dial(ctx, path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNoServer
	}
	if err != nil {
		return nil, fmt.Errorf("reaching the server: %w", err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if c := first; c != nil {
			first = nil
			return c, nil
		}
		return socket.Dial(ctx, path)
	}, MaxConnsPerHost: 1}
	return &adminClient{http.Client{Transport: transport, Timeout: adminTimeout}}, nil
}

func (c *adminClient) close() { c.http.CloseIdleConnections() }

func (c *adminClient) get(ctx context.Context, path string, query url.Values, out any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.call(ctx, http.MethodGet, path, nil, out)
}

func (c *adminClient) post(ctx context.Context, path string, in, out any) error {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // a page of HTML would be several times as long
	if err := e.Encode(in); err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	return c.call(ctx, http.MethodPost, path, body.Bytes(), out)
}

// call makes one request. A problem document comes back as a *refusal.
func (c *adminClient) call(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://vouchsafe"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusalOf(resp)
	}
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminReply))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if err := json.Unmarshal(got, out); err != nil {
		return errors.New("the server's answer cannot be read; is it of another version?")
	}
	return nil
}

// refusalOf reads a problem document.
func refusalOf(resp *http.Response) error {
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminReply))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	var p struct{ Code, Detail string }
	if err := json.Unmarshal(got, &p); err != nil || p.Detail == "" {
		return fmt.Errorf("the server answered with status %d", resp.StatusCode)
	}
	return &refusal{p.Code, p.Detail}
}
