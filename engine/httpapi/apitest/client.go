// Package apitest is an HTTP client for tests that holds every exchange against
// the description in openapi.json.
package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"vouchsafe/engine/httpapi"
)

// described is the description, read once.
var described = sync.OnceValues(func() (*contract, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(httpapi.OpenAPI)
	if err != nil {
		return nil, fmt.Errorf("reading openapi.json: %w", err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("reading openapi.json: %w", err)
	}
	for _, kind := range []string{"text/event-stream", "text/javascript"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.PlainBodyDecoder)
	}
	return &contract{doc: doc, router: router}, nil
})

type contract struct {
	doc    *openapi3.T
	router routers.Router
}

// Client returns a client that fails t for every request or response that is
// not as described. A request that the server refuses need not be: what must
// hold is that the server accepts only what is described, and that whatever it
// answers is. Redirects are not followed.
func Client(t testing.TB) *http.Client {
	t.Helper()
	c, err := described()
	if err != nil {
		t.Fatal(err)
	}
	next := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(next.CloseIdleConnections)
	return &http.Client{
		Transport:     &transport{t: t, contract: c, next: next},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type transport struct {
	t        testing.TB
	contract *contract
	next     http.RoundTripper
}

func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	resp, err := tr.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind == "text/event-stream" {
		resp.Body = &events{tr: tr, body: resp.Body, what: r.Method + " " + r.URL.Path}
		tr.check(r, sent, resp, nil)
		return resp, nil
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(got))
	tr.check(r, sent, resp, got)
	return resp, nil
}

// check holds one exchange against the description.
func (tr *transport) check(r *http.Request, sent []byte, resp *http.Response, got []byte) {
	tr.t.Helper()
	what := fmt.Sprintf("%s %s -> %d", r.Method, r.URL.Path, resp.StatusCode)
	if resp.StatusCode >= 400 {
		tr.checkProblem(what, resp, got)
	}
	bare := r.Clone(r.Context())
	bare.URL.Scheme, bare.URL.Host = "", ""
	if r.Method == http.MethodHead {
		bare.Method = http.MethodGet
	}
	bare.Body = io.NopCloser(bytes.NewReader(sent))
	route, params, err := tr.contract.router.FindRoute(bare)
	if err != nil {
		// What is not described must not be served.
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed &&
			resp.StatusCode != http.StatusMisdirectedRequest && resp.StatusCode != http.StatusTooManyRequests {
			tr.t.Errorf("%s: it is served, but not described: %v", what, err)
		}
		return
	}
	in := &openapi3filter.RequestValidationInput{Request: bare, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
			IncludeResponseStatus: true, ExcludeResponseBody: got == nil}}
	if resp.StatusCode < 300 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			tr.t.Errorf("%s: the server accepted a request that is not as described: %v", what, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header, Options: in.Options}
	if r.Method == http.MethodHead {
		return
	}
	out.SetBodyBytes(got)
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		tr.t.Errorf("%s: the response is not as described: %v\n%s", what, err, got)
	}
}

// checkProblem holds every refusal, of a described route or not, to RFC 9457.
func (tr *transport) checkProblem(what string, resp *http.Response, got []byte) {
	tr.t.Helper()
	if resp.Header.Get("Content-Type") != "application/problem+json" {
		tr.t.Errorf("%s: Content-Type is %q, want application/problem+json", what, resp.Header.Get("Content-Type"))
	}
	if resp.Request == nil || resp.Request.Method != http.MethodHead {
		tr.visit(what, "Problem", got)
	}
}

// visit validates one JSON value against a named schema.
func (tr *transport) visit(what, schema string, data []byte) {
	tr.t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		tr.t.Errorf("%s: not JSON: %v\n%s", what, err, data)
		return
	}
	if err := tr.contract.doc.Components.Schemas[schema].Value.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.VisitAsResponse()); err != nil {
		tr.t.Errorf("%s: not a %s: %v\n%s", what, schema, err, data)
	}
}

// events validates server-sent events as they are read.
type events struct {
	tr   *transport
	body io.ReadCloser
	what string
	line []byte
	name string
}

// schemas of the events' data.
var schemas = map[string]string{"reply": "Reply", "done": "ChatDone", "error": "Problem"}

func (e *events) Read(p []byte) (int, error) {
	n, err := e.body.Read(p)
	for _, c := range p[:n] {
		if c != '\n' {
			e.line = append(e.line, c)
			continue
		}
		e.take(string(e.line))
		e.line = e.line[:0]
	}
	return n, err
}

func (e *events) take(line string) {
	switch field, value, _ := strings.Cut(line, ": "); {
	case line == "" || strings.HasPrefix(line, ":"):
	case field == "event":
		e.name = value
	case field == "data" && schemas[e.name] != "":
		e.tr.visit(e.what+" event "+e.name, schemas[e.name], []byte(value))
	default:
		e.tr.t.Errorf("%s: unexpected line of an event stream: %q", e.what, line)
	}
}

func (e *events) Close() error { return e.body.Close() }
