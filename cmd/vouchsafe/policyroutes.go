package main

import (
	"net/http"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/admin"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/rollout"
)

// policyRoutes are the policy in force, and what is done to it. Whoever may see
// anything may see it; only a token for policies, and the socket, may ship.
func (a *app) policyRoutes() []httpapi.AdminRoute {
	ships := []admin.Role{admin.Policy}
	return []httpapi.AdminRoute{
		{Method: http.MethodGet, Path: "/v1/admin/policy", Roles: admin.Roles, Serve: a.adminPolicy},
		{Method: http.MethodPost, Path: "/v1/admin/policy/rollback", Roles: ships, Serve: a.adminRollBack},
		{Method: http.MethodPost, Path: "/v1/admin/policy/resume", Roles: ships, Serve: a.adminResume},
		{Method: http.MethodPost, Path: "/v1/admin/policy/refresh", Roles: ships, Serve: a.adminRefresh},
	}
}

// policyView is the policy in force, and those that can be returned to.
type policyView struct {
	rollout.Status
	Problems  []string           `json:"problems"`
	Revisions []rollout.Revision `json:"revisions"` // newest first
}

func (a *app) policyView() (any, error) {
	revisions, err := a.rollout.History()
	if err != nil {
		return nil, err
	}
	return policyView{a.rollout.Status(), append([]string{}, a.rollout.Problems()...), append([]rollout.Revision{}, revisions...)}, nil
}

// policyNote is what the status says of the policy beside its revision.
func (a *app) policyNote() string {
	s := a.rollout.Status()
	if s.Hold == nil {
		return s.Label
	}
	return holdNote(s.Hold.Cause, s.Hold.By, s.Hold.At)
}

// holdNote says why the source is not followed.
func holdNote(cause, by string, at time.Time) string {
	what := "rolled back to"
	if cause == rollout.Promoted {
		what = "promoted"
	}
	return what + " by " + by + " at " + at.Format(time.RFC3339) + "; the source is not followed until `vouchsafe policy resume`"
}

func (a *app) adminPolicy(httpapi.AdminRequest) (any, error) { return a.policyView() }

// toRollBack names the revision to return to.
type toRollBack struct {
	Revision string `json:"revision"`
}

func (a *app) adminRollBack(r httpapi.AdminRequest) (any, error) {
	var in toRollBack
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	if in.Revision == "" {
		return nil, engine.Errorf(codeInvalidRequest, "Name a revision.", nil)
	}
	if err := a.rollout.RollBack(r.Context, r.Caller.Name(), in.Revision); err != nil {
		return nil, err
	}
	return a.policyView()
}

func (a *app) adminResume(r httpapi.AdminRequest) (any, error) {
	if err := readStrict(r.Body, &struct{}{}); err != nil {
		return nil, err
	}
	if err := a.rollout.Resume(r.Context, r.Caller.Name()); err != nil {
		return nil, err
	}
	return a.policyView()
}

func (a *app) adminRefresh(r httpapi.AdminRequest) (any, error) {
	if err := readStrict(r.Body, &struct{}{}); err != nil {
		return nil, err
	}
	a.rollout.Refresh(r.Context)
	return a.policyView()
}
