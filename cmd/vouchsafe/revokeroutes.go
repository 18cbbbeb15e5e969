package main

import (
	"strconv"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/revoke"
)

// What is listed of revocations and acts unless a limit says otherwise, and at
// most.
const (
	defaultListed = 100
	maxListed     = 1000
)

// toRevoke names a subject or a token.
type toRevoke struct {
	Subject string `json:"subject"`
	TokenID string `json:"token_id"`
}

// revocation is what was revoked, and the record of it.
type revocation struct {
	Act string `json:"act"`
	revoke.Entry
}

// adminRevoke records that an operator revokes something, and then does it.
func (a *app) adminRevoke(r httpapi.AdminRequest) (any, error) {
	s, err := a.site(r)
	if err != nil {
		return nil, err
	}
	var in toRevoke
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	if (in.Subject == "") == (in.TokenID == "") {
		return nil, engine.Errorf(codeInvalidRequest, "Name either a subject or a token_id.", nil)
	}
	if err := revoke.Check(in.Subject + in.TokenID); err != nil {
		return nil, err
	}
	act := audit.Act{Time: time.Now().UTC(), Site: s.ID, By: r.Caller.Name(), Kind: "revocation", Subject: in.Subject, TokenID: in.TokenID}
	var out revocation
	if out.Act, err = a.audit.Act(r.Context, act); err != nil {
		return nil, err
	}
	if in.Subject != "" {
		out.Entry, err = a.revoked.Subject(r.Context, s.ID, in.Subject)
	} else {
		out.Entry, err = a.revoked.Token(r.Context, s.ID, in.TokenID)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// revocationList is what a site does not believe at the moment.
type revocationList struct {
	Revocations []revoke.Entry `json:"revocations"`
	Total       int            `json:"total"`
}

func (a *app) adminRevocations(r httpapi.AdminRequest) (any, error) {
	s, err := a.site(r)
	if err != nil {
		return nil, err
	}
	limit, err := listed(r)
	if err != nil {
		return nil, err
	}
	all := a.revoked.Of(s.ID)
	return revocationList{all[:min(len(all), limit)], len(all)}, nil
}

// actList is what operators did to a site, newest first.
type actList struct {
	Acts []audit.Act `json:"acts"`
}

func (a *app) adminActs(r httpapi.AdminRequest) (any, error) {
	s, err := a.site(r)
	if err != nil {
		return nil, err
	}
	limit, err := listed(r)
	if err != nil {
		return nil, err
	}
	acts, err := a.audit.Acts(s.ID, limit)
	return actList{acts}, err
}

// adminGateActs are the acts that concern no site in particular.
func (a *app) adminGateActs(r httpapi.AdminRequest) (any, error) {
	limit, err := listed(r)
	if err != nil {
		return nil, err
	}
	acts, err := a.audit.Acts(audit.GateSite, limit)
	return actList{acts}, err
}

// listed is the parameter limit.
func listed(r httpapi.AdminRequest) (int, error) {
	given := r.Query.Get("limit")
	if given == "" {
		return defaultListed, nil
	}
	n, err := strconv.Atoi(given)
	if err != nil || n < 1 || n > maxListed {
		return 0, engine.Errorf(codeInvalidRequest, "limit is a number from 1 to "+strconv.Itoa(maxListed)+".", nil)
	}
	return n, nil
}
