package provider

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"vouchsafe/engine/voucher"
)

// Headers in which the provider says of its own answers that they are not the
// outside system's. Headers of that name never come through from there.
const (
	headerError    = "Vouchsafe-Error"
	headerNotSent  = "Vouchsafe-Not-Sent"
	headerAudience = "Vouchsafe-Audience" // whom a voucher must be for
)

// headerVoucher is where a call's voucher is: under this name, or behind the
// proxyPrefix, where a client of Nango's puts the headers it is given.
const (
	headerVoucher = "Vouchsafe-Voucher"
	proxyPrefix   = "Nango-Proxy-"
)

const maxRequestBytes = 1 << 20

// callbackPath is where a browser comes back to after access was granted.
const callbackPath = "/oauth/callback"

// server answers the provider's calls.
type server struct {
	store           *Store
	admission       *admission
	broker          *broker
	sessions        *sessions
	proxy, operator [sha256.Size]byte // of the keys
	reads, writes   *http.Transport
	log             *slog.Logger
}

func newServer(store *Store, keys *keyring, proxyKey, operatorKey, callback string, clock func() time.Time, log *slog.Logger) *server {
	broker := newBroker(store, log, clock)
	return &server{
		store:     store,
		admission: newAdmission(keys, clock),
		broker:    broker,
		sessions:  &sessions{broker: broker, callback: callback, under: map[string]session{}},
		proxy:     sha256.Sum256([]byte(proxyKey)),
		operator:  sha256.Sum256([]byte(operatorKey)),
		reads:     newTransport(true),
		writes:    newTransport(false),
		log:       log,
	}
}

func (s *server) close() { s.reads.CloseIdleConnections() }

// ServeHTTP finds the call by the path as it was sent: a router would clean it,
// and so change where an encoded slash leads.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	switch {
	case path == "/healthz":
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "audience": s.admission.reader.Audience()})
	case strings.HasPrefix(path, "/proxy/"):
		if s.authorized(w, r, s.proxy) {
			s.serveProxy(w, r, strings.TrimPrefix(path, "/proxy"))
		}
	case path == callbackPath:
		s.serveCallback(w, r)
	case path == "/connections" || strings.HasPrefix(path, "/connections/"):
		if s.authorized(w, r, s.operator) {
			s.serveConnections(w, r, strings.TrimPrefix(strings.TrimPrefix(path, "/connections"), "/"))
		}
	case path == "/connect/sessions" || path == "/connect/sessions/reconnect":
		if s.authorized(w, r, s.operator) {
			s.serveSessions(w, r)
		}
	case path == "/rotate-key":
		if s.authorized(w, r, s.operator) {
			s.serveRotate(w, r)
		}
	default:
		refuse(w, http.StatusNotFound, &Error{Code: CodeInvalidRequest, NotSent: true}, "There is no such call.")
	}
}

// authorized compares the bearer key with the one this call wants.
func (s *server) authorized(w http.ResponseWriter, r *http.Request, want [sha256.Size]byte) bool {
	given := r.Header.Values("Authorization")
	if len(given) == 1 {
		if key, ok := strings.CutPrefix(given[0], "Bearer "); ok {
			got := sha256.Sum256([]byte(key))
			if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
				return true
			}
		}
	}
	refuse(w, http.StatusUnauthorized, &Error{Code: CodeUnauthorized, NotSent: true}, "The key does not open this call.")
	return false
}

// serveProxy sends a call to a connection's outside system.
func (s *server) serveProxy(w http.ResponseWriter, r *http.Request, path string) {
	site, id, headers, problem := proxyHeaders(r)
	if problem != "" {
		refuse(w, http.StatusBadRequest, &Error{Code: CodeInvalidHeaders, NotSent: true}, problem)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, &Error{Code: CodeInvalidRequest, NotSent: true}, "The body is too large or broke off.")
		return
	}
	signed := r.Header.Get(headerVoucher)
	if signed == "" {
		signed = r.Header.Get(proxyPrefix + headerVoucher)
	}
	decision, refusal := s.admission.admit(signed, voucher.Call{Site: site, Connection: id, Method: r.Method,
		Target: voucherTarget(path, r.URL.RawQuery), Headers: sentOn(r.Header), Body: body})
	if refusal != nil {
		s.log.Warn("call refused", "site", site, "connection", id, "method", r.Method, "code", refusal.Code)
		w.Header().Set(headerAudience, s.admission.reader.Audience())
		refuse(w, http.StatusForbidden, refusal, refusal.Message)
		return
	}
	log := s.log.With("site", site, "connection", id, "method", r.Method, "decision", decision)
	sealed, err := s.store.find(site, id)
	if err != nil {
		if !errors.Is(err, ErrNoConnection) {
			log.Error("connection cannot be used", "err", err)
		}
		refuse(w, http.StatusNotFound, &Error{Code: CodeUnknownConnection, NotSent: true}, "There is no such connection.")
		return
	}
	if !sealed.rules.allow(r.Method, path) {
		log.Warn("call refused", "code", CodeCallNotAllowed)
		refuse(w, http.StatusForbidden, &Error{Code: CodeCallNotAllowed, NotSent: true},
			"No rule of the connection allows this method and path; `vouchsafe connection allow` shows and sets them.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	c, callErr := s.broker.ready(ctx, sealed)
	if callErr != nil {
		log.Warn("call refused", "code", callErr.Code)
		refuse(w, statusOf(callErr), callErr, callErr.Message)
		return
	}
	if c.credentialHeader() != "" && headers.Get(c.credentialHeader()) != "" {
		refuse(w, http.StatusBadRequest, &Error{Code: CodeInvalidHeaders, NotSent: true}, "The header of the connection's credential is not sent on.")
		return
	}
	out := outgoing{r.Method, path, r.URL.RawQuery, headers, body}
	got, callErr := s.call(ctx, c, out)
	if callErr == nil && got.status == http.StatusUnauthorized && out.undone(got) && c.Type.oauth() && s.broker.now().Sub(c.Tokens.Obtained) >= renewedJustNow {
		// The token ended before its time. The system has said that it did
		// nothing, so the call is sent again with another, once.
		if c, cred, e := s.broker.renew(ctx, c.Connection, c.cred.accessToken); e == nil {
			got, callErr = s.call(ctx, newOpened(c, cred), out)
		}
	}
	if callErr != nil {
		log.Warn("call failed", "code", callErr.Code, "not_sent", callErr.NotSent)
		refuse(w, statusOf(callErr), callErr, "The outside system gave no usable answer.")
		return
	}
	log.Debug("call answered", "status", got.status)
	for name, value := range map[string]string{"Content-Type": got.contentType, "Retry-After": got.retryAfter, "Link": got.link,
		"Etag": got.etag, "Location": got.location} {
		if value != "" {
			w.Header().Set(name, value)
		}
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(got.status)
	if got.status != http.StatusNoContent && got.status != http.StatusNotModified {
		w.Write(got.body)
	}
}

// statusOf is the status of an error of the provider's own.
func statusOf(e *Error) int {
	switch {
	case e.Timeout:
		return http.StatusGatewayTimeout
	case e.Code == CodeInvalidRequest:
		return http.StatusBadRequest
	case e.Code == CodeUnknownConnection:
		return http.StatusNotFound
	case e.Code == CodeReconnectNeeded:
		return http.StatusFailedDependency // as Nango answers
	case e.Code == CodeCredential:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

// proxyHeaders reads the headers of a call. problem says what is wrong.
func proxyHeaders(r *http.Request) (site, id string, out http.Header, problem string) {
	out = http.Header{}
	for name, values := range r.Header {
		if len(values) > 1 && name != "Accept" {
			return "", "", nil, "The header " + name + " is there twice."
		}
		switch {
		case name == "Provider-Config-Key":
			site = values[0]
		case name == "Connection-Id":
			id = values[0]
		case name == "Base-Url-Override" && values[0] != "": // Nango's client always sends one
			return "", "", nil, "A connection's base URL cannot be overridden."
		case name == proxyPrefix+headerVoucher: // is for this provider
		case strings.HasPrefix(name, proxyPrefix):
			to := http.CanonicalHeaderKey(strings.TrimPrefix(name, proxyPrefix))
			if CheckHeader(to, values[0]) != nil {
				return "", "", nil, "The header " + name + " is not sent on."
			}
			out.Set(to, values[0])
		}
	}
	if !idPattern.MatchString(site) || !idPattern.MatchString(id) {
		return "", "", nil, "Provider-Config-Key and Connection-Id are needed."
	}
	return site, id, out, ""
}

// errorJSON is an error as Nango writes one.
type errorJSON struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// refuse answers with an error of the provider's own.
func refuse(w http.ResponseWriter, status int, e *Error, message string) {
	w.Header().Set(headerError, e.Code)
	if e.NotSent {
		w.Header().Set(headerNotSent, "true")
	}
	var out errorJSON
	out.Error.Code, out.Error.Message = e.Code, message
	writeJSON(w, status, out)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
