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
)

// Headers in which the provider says of its own answers that they are not the
// outside system's. Headers of that name never come through from there.
const (
	headerError   = "Vouchsafe-Error"
	headerNotSent = "Vouchsafe-Not-Sent"
)

const maxRequestBytes = 1 << 20

// server answers the provider's calls.
type server struct {
	store           *Store
	proxy, operator [sha256.Size]byte // of the keys
	reads, writes   *http.Transport
	log             *slog.Logger
}

func newServer(store *Store, proxyKey, operatorKey string, log *slog.Logger) *server {
	return &server{
		store:    store,
		proxy:    sha256.Sum256([]byte(proxyKey)),
		operator: sha256.Sum256([]byte(operatorKey)),
		reads:    newTransport(true),
		writes:   newTransport(false),
		log:      log,
	}
}

func (s *server) close() { s.reads.CloseIdleConnections() }

// ServeHTTP finds the call by the path as it was sent: a router would clean it,
// and so change where an encoded slash leads.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	switch {
	case path == "/healthz":
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	case strings.HasPrefix(path, "/proxy/"):
		if s.authorized(w, r, s.proxy) {
			s.serveProxy(w, r, strings.TrimPrefix(path, "/proxy"))
		}
	case path == "/connections" || strings.HasPrefix(path, "/connections/"):
		if s.authorized(w, r, s.operator) {
			s.serveConnections(w, r, strings.TrimPrefix(strings.TrimPrefix(path, "/connections"), "/"))
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
	c, cred, err := s.store.Get(site, id)
	if err != nil {
		if !errors.Is(err, ErrNoConnection) {
			s.log.Error("connection cannot be used", "site", site, "connection", id, "err", err)
		}
		refuse(w, http.StatusNotFound, &Error{Code: CodeUnknownConnection, NotSent: true}, "There is no such connection.")
		return
	}
	if c.Header != "" && headers.Get(c.Header) != "" {
		refuse(w, http.StatusBadRequest, &Error{Code: CodeInvalidHeaders, NotSent: true}, "The header of the connection's credential is not sent on.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	got, callErr := s.call(ctx, c, cred, outgoing{r.Method, path, r.URL.RawQuery, headers, body})
	if callErr != nil {
		s.log.Warn("call failed", "site", site, "connection", id, "method", r.Method, "code", callErr.Code, "not_sent", callErr.NotSent)
		status := http.StatusBadGateway
		switch {
		case callErr.Timeout:
			status = http.StatusGatewayTimeout
		case callErr.Code == CodeInvalidRequest:
			status = http.StatusBadRequest
		}
		refuse(w, status, callErr, "The outside system gave no usable answer.")
		return
	}
	s.log.Debug("call answered", "site", site, "connection", id, "method", r.Method, "status", got.status)
	for name, value := range map[string]string{"Content-Type": got.contentType, "Retry-After": got.retryAfter, "Link": got.link} {
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
		case name == "Base-Url-Override":
			return "", "", nil, "A connection's base URL cannot be overridden."
		case strings.HasPrefix(name, "Nango-Proxy-"):
			to := http.CanonicalHeaderKey(strings.TrimPrefix(name, "Nango-Proxy-"))
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

// connectionJSON is a connection as Nango writes one. It has no credential.
type connectionJSON struct {
	ConnectionID      string     `json:"connection_id"`
	ProviderConfigKey string     `json:"provider_config_key"` // the site
	Created           string     `json:"created,omitempty"`
	Type              Type       `json:"type"`
	Config            configJSON `json:"connection_config"`
}

type configJSON struct {
	BaseURL string `json:"base_url"`
	Header  string `json:"header,omitempty"`
	Query   string `json:"query,omitempty"`
}

// importJSON is a request to add a connection.
type importJSON struct {
	ProviderConfigKey string          `json:"provider_config_key"`
	ConnectionID      string          `json:"connection_id"`
	Credentials       credentialsJSON `json:"credentials"`
	Config            configJSON      `json:"connection_config"`
}

type credentialsJSON struct {
	Type     Type   `json:"type"`
	APIKey   string `json:"apiKey,omitempty"`
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

func toJSON(c Connection) connectionJSON {
	out := connectionJSON{ConnectionID: c.ID, ProviderConfigKey: c.Site, Type: c.Type,
		Config: configJSON{c.BaseURL, c.Header, c.Query}}
	if !c.Created.IsZero() {
		out.Created = c.Created.UTC().Format(timeFormat)
	}
	return out
}

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// serveConnections adds, lists and removes connections.
func (s *server) serveConnections(w http.ResponseWriter, r *http.Request, id string) {
	site := r.URL.Query().Get("provider_config_key")
	switch {
	case r.Method == http.MethodGet && id == "":
		all, err := s.store.List(site)
		if err != nil {
			s.fail(w, err)
			return
		}
		out := []connectionJSON{}
		only := r.URL.Query().Get("connectionId")
		for _, c := range all {
			if only == "" || c.ID == only {
				out = append(out, toJSON(c))
			}
		}
		writeJSON(w, http.StatusOK, map[string]any{"connections": out})
	case r.Method == http.MethodPost && id == "":
		s.addConnection(w, r)
	case r.Method == http.MethodDelete && id != "":
		if err := s.store.Remove(site, id); err != nil {
			s.fail(w, err)
			return
		}
		s.log.Info("connection removed", "site", site, "connection", id)
		writeJSON(w, http.StatusOK, map[string]bool{"success": true})
	default:
		refuse(w, http.StatusMethodNotAllowed, &Error{Code: CodeInvalidRequest, NotSent: true}, "There is no such call.")
	}
}

func (s *server) addConnection(w http.ResponseWriter, r *http.Request) {
	var in importJSON
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxHeaderBytes))
	dec.DisallowUnknownFields()
	// The decoder's error could quote the credential, so it is not passed on.
	if err := dec.Decode(&in); err != nil || dec.More() {
		refuse(w, http.StatusBadRequest, &Error{Code: CodeInvalidRequest, NotSent: true}, "The body is not a connection.")
		return
	}
	cred := Credential{value: in.Credentials.APIKey + in.Credentials.Password, username: in.Credentials.Username}
	if in.Credentials.APIKey != "" && in.Credentials.Password != "" {
		refuse(w, http.StatusBadRequest, &Error{Code: CodeInvalidRequest, NotSent: true}, "An API key and a password are two credentials.")
		return
	}
	c := Connection{Site: in.ProviderConfigKey, ID: in.ConnectionID, Type: in.Credentials.Type,
		BaseURL: in.Config.BaseURL, Header: in.Config.Header, Query: in.Config.Query}
	if err := s.store.Put(c, cred); err != nil {
		s.fail(w, err)
		return
	}
	s.log.Info("connection added", "site", c.Site, "connection", c.ID, "type", c.Type)
	writeJSON(w, http.StatusCreated, toJSON(c))
}

// fail answers an error of the store. Its errors hold no credential.
func (s *server) fail(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, ErrNoConnection):
		refuse(w, http.StatusNotFound, &Error{Code: CodeUnknownConnection, NotSent: true}, "There is no such connection.")
	case errors.Is(err, errRejected):
		refuse(w, http.StatusBadRequest, &Error{Code: CodeInvalidRequest, NotSent: true}, err.Error())
	default:
		s.log.Error("store failed", "err", err)
		refuse(w, http.StatusInternalServerError, &Error{Code: CodeProviderBroke, NotSent: true}, "The store failed.")
	}
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
