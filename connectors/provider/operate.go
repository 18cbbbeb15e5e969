package provider

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// Add adds a connection, or replaces one whole. It needs the operator's key, as
// all that follows here does.
func (c *Client) Add(ctx context.Context, conn Connection, cred Credential) error {
	in := importJSON{
		ProviderConfigKey: conn.Site,
		ConnectionID:      conn.ID,
		Credentials: credentialsJSON{Type: conn.Type, Username: cred.username, ClientSecret: cred.clientSecret,
			AccessToken: cred.accessToken, RefreshToken: cred.refreshToken, ExpiresAt: conn.Tokens.Expires},
		Config:   configJSON{conn.BaseURL, conn.Header, conn.Query, conn.OAuth},
		Metadata: conn.Metadata,
		Allow:    conn.Allow,
	}
	if conn.Type == Basic {
		in.Credentials.Password = cred.value
	} else {
		in.Credentials.APIKey = cred.value
	}
	return c.operate(ctx, http.MethodPost, "/connections", in, nil)
}

// List returns the connections of a site, or of all for "".
func (c *Client) List(ctx context.Context, site string) ([]Connection, error) {
	var got struct {
		Connections []connectionJSON `json:"connections"`
	}
	target := "/connections"
	if site != "" {
		target += "?provider_config_key=" + url.QueryEscape(site)
	}
	if err := c.operate(ctx, http.MethodGet, target, nil, &got); err != nil {
		return nil, err
	}
	out := make([]Connection, 0, len(got.Connections))
	for _, j := range got.Connections {
		out = append(out, j.connection())
	}
	return out, nil
}

// Allow sets which calls a connection may be used for.
func (c *Client) Allow(ctx context.Context, site, id string, rules []Rule) error {
	if rules == nil {
		rules = []Rule{}
	}
	return c.operate(ctx, http.MethodPatch, connectionPath(site, id), changeJSON{Allow: &rules}, nil)
}

// Connect begins an attempt to connect a connection. The browser is sent back
// to redirect, or to the provider's own callback for "".
func (c *Client) Connect(ctx context.Context, site, id, redirect string) (Link, error) {
	in := struct {
		IntegrationID string `json:"integration_id"`
		ConnectionID  string `json:"connection_id"`
		RedirectURI   string `json:"redirect_uri,omitempty"`
	}{site, id, redirect}
	var got struct {
		Data struct {
			Token   string    `json:"token"`
			Link    string    `json:"connect_link"`
			Expires time.Time `json:"expires_at"`
		} `json:"data"`
	}
	if err := c.operate(ctx, http.MethodPost, "/connect/sessions/reconnect", in, &got); err != nil {
		return Link{}, err
	}
	return Link{got.Data.Token, got.Data.Link, got.Data.Expires}, nil
}

// finish hands over the query that a browser was sent back with.
func (c *Client) finish(ctx context.Context, query string) error {
	resp, body, err := c.send(ctx, http.MethodGet, callbackPath+"?"+query, http.Header{}, nil, maxHeaderBytes)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &Error{Code: CodeReconnectNeeded, NotSent: true, Message: string(body)}
	}
	return nil
}

// Rotate replaces the keys that credentials are encrypted with.
func (c *Client) Rotate(ctx context.Context) (r Rotation, err error) {
	err = c.operate(ctx, http.MethodPost, "/rotate-key", nil, &r)
	return r, err
}

func connectionPath(site, id string) string {
	return "/connections/" + url.PathEscape(id) + "?provider_config_key=" + url.QueryEscape(site)
}

// Remove forgets a connection and its credential.
func (c *Client) Remove(ctx context.Context, site, id string) error {
	return c.operate(ctx, http.MethodDelete, connectionPath(site, id), nil, nil)
}

// operate makes an operator's call.
func (c *Client) operate(ctx context.Context, method, target string, in, out any) error {
	headers := http.Header{}
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return errors.New("encoding the call to the connection provider failed")
		}
		headers.Set("Content-Type", "application/json")
	}
	resp, got, err := c.send(ctx, method, target, headers, body, maxReplyBytes)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return &Error{Code: CodeProviderBroke}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(got, out); err != nil {
		return &Error{Code: CodeProviderBroke}
	}
	return nil
}
