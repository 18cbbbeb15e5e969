package main

import (
	"context"
	"slices"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/admin"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/httpapi"
)

// newToken is an admin token to make.
type newToken struct {
	Name    string     `json:"name"`
	Role    admin.Role `json:"role"`
	Sites   []string   `json:"sites"`
	Seconds int64      `json:"seconds"` // how long it lives
}

// madeToken is an admin token that was made, with what is shown once.
type madeToken struct {
	Secret string `json:"token"`
	Act    string `json:"act"`
	admin.Token
}

// adminCreateToken records that a token is made, and makes it.
func (a *app) adminCreateToken(r httpapi.AdminRequest) (any, error) {
	var in newToken
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	life := min(max(in.Seconds, 0), int64(2*admin.MaxLife/time.Second)) // what is too long is refused as such
	t := admin.Token{Name: in.Name, Role: in.Role, Sites: in.Sites, CreatedBy: r.Caller.Name(),
		Created: now, Expires: now.Add(time.Duration(life) * time.Second)}
	if err := t.Check(now); err != nil {
		return nil, err
	}
	for _, id := range t.Sites {
		if id != admin.Everywhere && !slices.ContainsFunc(*a.sites.Load(), func(s siteSettings) bool { return s.site.ID == id }) {
			return nil, engine.Errorf(codeUnknownSite, "There is no such site.", nil)
		}
	}
	if _, err := a.tokens.Named(t.Name); err == nil {
		return nil, engine.Errorf(codeInvalidRequest, "There is a token of that name. Revoke it, or choose another.", nil)
	}
	act, err := a.tokenAct(r.Context, "admin_token_created", r.Caller.Name(), t)
	if err != nil {
		return nil, err
	}
	out := madeToken{Act: act, Token: t}
	if out.Secret, err = a.tokens.Create(r.Context, t); err != nil {
		return nil, err
	}
	return out, nil
}

// adminRevokeToken records that a token is revoked, and revokes it.
func (a *app) adminRevokeToken(r httpapi.AdminRequest) (any, error) {
	t, err := a.tokens.Named(r.Param("id"))
	if err != nil {
		return nil, err
	}
	act, err := a.tokenAct(r.Context, "admin_token_revoked", r.Caller.Name(), t)
	if err != nil {
		return nil, err
	}
	if err := a.tokens.Revoke(r.Context, t.Name); err != nil {
		return nil, err
	}
	return struct {
		Act string `json:"act"`
		admin.Token
	}{act, t}, nil
}

// tokenAct records what is done about a token with each site it is for, and
// returns the first record's id.
func (a *app) tokenAct(ctx context.Context, kind, by string, t admin.Token) (first string, err error) {
	sites := t.Sites
	if t.Global() {
		sites = []string{audit.GateSite}
	}
	for _, site := range sites {
		id, err := a.audit.Act(ctx, audit.Act{Time: time.Now().UTC(), Site: site, By: by, Kind: kind, Object: string(t.Role) + " " + t.Name})
		if err != nil {
			return "", err
		}
		if first == "" {
			first = id
		}
	}
	return first, nil
}

// tokenList is every admin token there is.
type tokenList struct {
	Tokens []admin.Token `json:"tokens"`
}

func (a *app) adminTokens(httpapi.AdminRequest) (any, error) { return tokenList{a.tokens.List()}, nil }
