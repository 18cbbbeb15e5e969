package caldav

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"vouchsafe/connectors"
	"vouchsafe/connectors/connectortest"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// passOn stands before a server and passes everything on. before is told of
// each request. lose says that the answer is lost, and whether the request is,
// too.
func passOn(t *testing.T, to string, before func(*http.Request), lose func(*http.Request) (drop, unsent bool)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		drop, unsent := false, false
		if lose != nil {
			drop, unsent = lose(r)
		}
		if before != nil {
			before(r)
		}
		if !unsent {
			req, err := http.NewRequest(r.Method, to+r.URL.RequestURI(), r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			req.ContentLength, req.Header = r.ContentLength, r.Header.Clone() // Radicale reads no chunks
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if !drop {
				for name, values := range resp.Header {
					w.Header()[name] = values
				}
				w.WriteHeader(resp.StatusCode)
				io.Copy(w, resp.Body)
				return
			}
			io.Copy(io.Discard, resp.Body)
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// callOf is a call for a customer that can send nothing.
func callOf(who connectortest.Customer) connectors.NativeCall {
	return connectors.NativeCall{
		Site: &engine.Site{Location: time.UTC}, Now: now,
		Owns: func(o gate.Owner) bool { return o.Email == who.Email },
	}
}
