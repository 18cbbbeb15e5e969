package provider

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// connectionJSON is a connection as Nango writes one. It has no credential.
type connectionJSON struct {
	ID                string          `json:"id"` // of ours there is no other
	ConnectionID      string          `json:"connection_id"`
	ProviderConfigKey string          `json:"provider_config_key"` // the site
	Provider          string          `json:"provider"`
	Created           string          `json:"created,omitempty"`
	Type              Type            `json:"type"`
	Config            configJSON      `json:"connection_config"`
	Metadata          json.RawMessage `json:"metadata"`
	Errors            []troubleJSON   `json:"errors"`
	Tokens            *Tokens         `json:"tokens,omitempty"`
	Allow             []Rule          `json:"allow"`
	// Credentials says of which type they are, and nothing else.
	Credentials *typeJSON `json:"credentials,omitempty"`
}

type typeJSON struct {
	Type Type `json:"type"`
}

// troubleJSON is what is wrong with a connection, as Nango writes it.
type troubleJSON struct {
	Type  string `json:"type"`
	LogID string `json:"log_id"`
}

type configJSON struct {
	BaseURL string `json:"base_url,omitempty"`
	Header  string `json:"header,omitempty"`
	Query   string `json:"query,omitempty"`
	OAuth
}

// importJSON is a request to add a connection.
type importJSON struct {
	ProviderConfigKey string          `json:"provider_config_key"`
	ConnectionID      string          `json:"connection_id"`
	Credentials       credentialsJSON `json:"credentials"`
	Config            configJSON      `json:"connection_config"`
	Metadata          json.RawMessage `json:"metadata,omitempty"`
	Allow             []Rule          `json:"allow,omitempty"`
}

type credentialsJSON struct {
	Type         Type      `json:"type"`
	APIKey       string    `json:"apiKey,omitempty"`
	Username     string    `json:"username,omitempty"`
	Password     string    `json:"password,omitempty"`
	ClientSecret string    `json:"client_secret,omitempty"`
	AccessToken  string    `json:"access_token,omitempty"`
	RefreshToken string    `json:"refresh_token,omitempty"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"`
}

// changeJSON is a request to change a connection. What is left out stays.
type changeJSON struct {
	Allow *[]Rule `json:"allow,omitempty"`
}

// metadataJSON is a request to note something down with connections.
type metadataJSON struct {
	ProviderConfigKey string          `json:"provider_config_key"`
	ConnectionID      stringOrList    `json:"connection_id"`
	Metadata          json.RawMessage `json:"metadata"`
}

// stringOrList is one text, or several.
type stringOrList []string

func (s *stringOrList) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*s = stringOrList{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(s))
}

func toJSON(c Connection) connectionJSON {
	out := connectionJSON{ID: c.ID, ConnectionID: c.ID, ProviderConfigKey: c.Site, Provider: "vouchsafe", Type: c.Type,
		Config: configJSON{c.BaseURL, c.Header, c.Query, c.OAuth}, Metadata: c.Metadata, Errors: []troubleJSON{},
		Allow: append([]Rule{}, c.Allow...)}
	if c.Tokens.State != "" {
		out.Tokens = &c.Tokens
	}
	if c.Tokens.State == StateReconnect || c.Tokens.State == StateConnect {
		out.Errors = append(out.Errors, troubleJSON{Type: "auth"})
	}
	if !c.Created.IsZero() {
		out.Created = c.Created.UTC().Format(timeFormat)
	}
	return out
}

func (j connectionJSON) connection() Connection {
	created, _ := time.Parse(timeFormat, j.Created)
	c := Connection{Site: j.ProviderConfigKey, ID: j.ConnectionID, Type: j.Type, BaseURL: j.Config.BaseURL, Header: j.Config.Header,
		Query: j.Config.Query, OAuth: j.Config.OAuth, Allow: j.Allow, Created: created, Metadata: j.Metadata}
	if j.Tokens != nil {
		c.Tokens = *j.Tokens
	}
	return c
}

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// serveConnections adds, lists, changes and removes connections.
func (s *server) serveConnections(w http.ResponseWriter, r *http.Request, id string) {
	site := r.URL.Query().Get("provider_config_key")
	switch {
	case r.Method == http.MethodGet && id == "":
		s.listConnections(w, r, site)
	case r.Method == http.MethodPost && id == "":
		s.addConnection(w, r)
	case (r.Method == http.MethodPost || r.Method == http.MethodPatch) && id == "metadata":
		s.setMetadata(w, r)
	case r.Method == http.MethodGet && id != "":
		s.showConnection(w, r, site, id)
	case r.Method == http.MethodPatch && id != "":
		s.changeConnection(w, r, site, id)
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

func (s *server) listConnections(w http.ResponseWriter, r *http.Request, site string) {
	if site == "" {
		site = r.URL.Query().Get("integrationId")
	}
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
}

// showConnection says all of a connection but its credential. force_refresh
// renews its access token first, as Nango's call does.
func (s *server) showConnection(w http.ResponseWriter, r *http.Request, site, id string) {
	c, err := s.store.find(site, id)
	if err == nil && r.URL.Query().Get("force_refresh") == "true" && c.Type.oauth() {
		plain, openErr := s.store.open(c)
		if openErr != nil {
			s.fail(w, openErr)
			return
		}
		if _, _, e := s.broker.renew(r.Context(), plain.Connection, plain.cred.accessToken); e != nil {
			refuse(w, statusOf(e), e, e.Message)
			return
		}
		c, err = s.store.find(site, id)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	out := toJSON(c.Connection)
	out.Credentials = &typeJSON{c.Type}
	writeJSON(w, http.StatusOK, out)
}

func (s *server) addConnection(w http.ResponseWriter, r *http.Request) {
	var in importJSON
	if !decode(w, r, &in, "The body is not a connection.") {
		return
	}
	given := in.Credentials
	if given.APIKey != "" && given.Password != "" {
		refuse(w, http.StatusBadRequest, &Error{Code: CodeInvalidRequest, NotSent: true}, "An API key and a password are two credentials.")
		return
	}
	cred := Credential{value: given.APIKey + given.Password, username: given.Username,
		clientSecret: given.ClientSecret, accessToken: given.AccessToken, refreshToken: given.RefreshToken}
	c := Connection{Site: in.ProviderConfigKey, ID: in.ConnectionID, Type: given.Type, BaseURL: in.Config.BaseURL, Header: in.Config.Header,
		Query: in.Config.Query, OAuth: in.Config.OAuth, Allow: in.Allow, Metadata: in.Metadata, Tokens: Tokens{Expires: given.ExpiresAt}}
	if err := s.store.Put(c, cred); err != nil {
		s.fail(w, err)
		return
	}
	s.log.Info("connection added", "site", c.Site, "connection", c.ID, "type", c.Type, "rules", len(c.Allow))
	c.Tokens = c.fresh(cred)
	writeJSON(w, http.StatusCreated, toJSON(c))
}

func (s *server) changeConnection(w http.ResponseWriter, r *http.Request, site, id string) {
	var in changeJSON
	if !decode(w, r, &in, "The body is not a change of a connection.") {
		return
	}
	if in.Allow != nil {
		if err := s.store.Allow(site, id, *in.Allow); err != nil {
			s.fail(w, err)
			return
		}
		s.log.Info("connection's rules set", "site", site, "connection", id, "rules", len(*in.Allow))
	}
	writeJSON(w, http.StatusOK, map[string]bool{"success": true})
}

// setMetadata replaces what is noted down with connections, or with PATCH adds
// to it, member by member.
func (s *server) setMetadata(w http.ResponseWriter, r *http.Request) {
	var in metadataJSON
	if !decode(w, r, &in, "The body is not metadata.") {
		return
	}
	var given map[string]json.RawMessage
	if json.Unmarshal(in.Metadata, &given) != nil || given == nil || len(in.ConnectionID) == 0 || len(in.ConnectionID) > 100 {
		refuse(w, http.StatusBadRequest, &Error{Code: CodeInvalidRequest, NotSent: true}, "Want connection_id and metadata, an object.")
		return
	}
	for _, id := range in.ConnectionID {
		err := s.store.change(in.ProviderConfigKey, id, func(c *Connection, _ *Credential) error {
			all := map[string]json.RawMessage{}
			if r.Method == http.MethodPatch && c.Metadata != nil {
				if err := json.Unmarshal(c.Metadata, &all); err != nil {
					return errors.New("the stored metadata cannot be read")
				}
			}
			for name, value := range given {
				all[name] = value
			}
			var err error
			c.Metadata, err = json.Marshal(all)
			return err
		})
		if err != nil {
			s.fail(w, err)
			return
		}
	}
	writeJSON(w, http.StatusOK, in)
}

// sessionJSON is a request to connect a connection: Nango's, with what is ours
// in connection_id and redirect_uri.
type sessionJSON struct {
	IntegrationID string   `json:"integration_id"`       // of reconnect: the site
	Integrations  []string `json:"allowed_integrations"` // of sessions: the site, alone
	ConnectionID  string   `json:"connection_id"`
	RedirectURI   string   `json:"redirect_uri"`
	// What Nango knows of the person, and we do not need.
	EndUser      json.RawMessage `json:"end_user"`
	Organization json.RawMessage `json:"organization"`
	Tags         json.RawMessage `json:"tags"`
	Defaults     json.RawMessage `json:"integrations_config_defaults"`
	Overrides    json.RawMessage `json:"overrides"`
}

// serveSessions begins an attempt to connect a connection.
func (s *server) serveSessions(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		refuse(w, http.StatusMethodNotAllowed, &Error{Code: CodeInvalidRequest, NotSent: true}, "There is no such call.")
		return
	}
	var in sessionJSON
	if !decode(w, r, &in, "The body is not a connect session.") {
		return
	}
	no := func(message string) {
		refuse(w, http.StatusBadRequest, &Error{Code: CodeInvalidRequest, NotSent: true}, message)
	}
	site := in.IntegrationID
	if site == "" && len(in.Integrations) == 1 {
		site = in.Integrations[0]
	}
	if site == "" {
		no("Want one site, as integration_id or as the only one of allowed_integrations.")
		return
	}
	if in.ConnectionID == "" {
		// A connection is what the operator has added: there is none to make
		// up, but there may be only one that could be meant.
		all, err := s.store.List(site)
		if err != nil {
			s.fail(w, err)
			return
		}
		all = slices.DeleteFunc(all, func(c Connection) bool { return c.Type != OAuth2 })
		if len(all) != 1 {
			no("Which connection? The site has not exactly one of type OAUTH2; name it in connection_id.")
			return
		}
		in.ConnectionID = all[0].ID
	}
	link, err := s.sessions.start(site, in.ConnectionID, in.RedirectURI)
	switch {
	case errors.Is(err, ErrNoConnection):
		s.fail(w, err)
		return
	case errors.Is(err, errBusy):
		refuse(w, http.StatusTooManyRequests, &Error{Code: CodeInvalidRequest, NotSent: true}, "Too many attempts to connect are under way.")
		return
	case err != nil:
		no("It cannot be connected: " + err.Error() + ".")
		return
	}
	s.log.Info("connecting", "site", site, "connection", in.ConnectionID)
	writeJSON(w, http.StatusCreated, map[string]any{"data": map[string]string{
		"token": link.Token, "connect_link": link.URL, "expires_at": link.Expires.UTC().Format(timeFormat)}})
}

// serveRotate replaces the keys that credentials are encrypted with.
func (s *server) serveRotate(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		refuse(w, http.StatusMethodNotAllowed, &Error{Code: CodeInvalidRequest, NotSent: true}, "There is no such call.")
		return
	}
	got, err := s.store.Rotate()
	if err != nil {
		s.log.Error("rotating the keys failed", "cause", err)
		refuse(w, http.StatusInternalServerError, &Error{Code: CodeProviderBroke, NotSent: true}, "Rotating the keys failed: "+err.Error())
		return
	}
	s.log.Info("keys rotated", "connections", got.Connections, "master_key", got.MasterKey, "resumed", got.Resumed)
	writeJSON(w, http.StatusOK, got)
}

// decode reads a body strictly. Its error is not passed on: it could quote a
// credential.
func decode(w http.ResponseWriter, r *http.Request, into any, problem string) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 256<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil || dec.More() {
		refuse(w, http.StatusBadRequest, &Error{Code: CodeInvalidRequest, NotSent: true}, problem)
		return false
	}
	return true
}

// fail answers an error of the store. Its errors hold no credential.
func (s *server) fail(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, ErrNoConnection):
		refuse(w, http.StatusNotFound, &Error{Code: CodeUnknownConnection, NotSent: true}, "There is no such connection.")
	case errors.Is(err, errRejected):
		refuse(w, http.StatusBadRequest, &Error{Code: CodeInvalidRequest, NotSent: true}, strings.ToUpper(err.Error()[:1])+err.Error()[1:]+".")
	default:
		s.log.Error("store failed", "err", err)
		refuse(w, http.StatusInternalServerError, &Error{Code: CodeProviderBroke, NotSent: true}, "The store failed.")
	}
}
