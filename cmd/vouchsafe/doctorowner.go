package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
)

// maxLists bounds how many actions are performed.
const maxLists = 5

// ownership performs the personal actions that only list records, with the
// token that was given, and looks at what the gate withheld of what the shop
// returned.
func (x *checkup) ownership() {
	const check = "records"
	if x.options.token == "" {
		return
	}
	if len(x.lists) == 0 {
		x.warn(check, "A list of the customer's own orders is a good first action.", "no personal action lists records without an argument, so whose records are whose was not examined")
		return
	}
	client, err := dialAdmin(x.ctx, x.at.data)
	if err != nil {
		x.fail(check, "Start the gate, `vouchsafe serve`, and ask again as the user who runs it.", "the running gate's log cannot be read: %v", err)
		return
	}
	defer client.close()
	base, err := x.gateURL()
	if err != nil {
		x.fail(check, "Name it with --gate.", "the gate's address: %v", err)
		return
	}
	for _, action := range x.lists[:min(len(x.lists), maxLists)] {
		x.list(client, base, action)
	}
}

// list performs one action and asks the log what came of it.
func (x *checkup) list(client *adminClient, base, action string) {
	const check = "records"
	got, err := x.web.do(x.ctx, webRequest{method: http.MethodPost, contentType: "application/json", body: `{"args":{}}`,
		url:    base + "/v1/sites/" + url.PathEscape(x.site.ID) + "/actions/" + url.PathEscape(action),
		header: http.Header{"Authorization": {"Bearer " + x.options.token}}})
	if err != nil {
		x.fail(check, "Start the gate, or name its address with --gate.", "the gate does not answer: %v", err)
		return
	}
	var said struct{ Decision, Code, Detail string }
	if err := json.Unmarshal([]byte(got.body), &said); err != nil || said.Decision == "" && said.Code == "" {
		x.fail(check, "Name the gate's public address with --gate.", "what answers there, with status %d, is not the gate", got.status)
		return
	}
	if said.Decision == "" {
		x.fail(check, "`vouchsafe token inspect` shows every check of the token.", "%s was refused, %s: %s", action, said.Code, said.Detail)
		return
	}
	var e audit.Entry
	if err := client.get(x.ctx, "/v1/admin/decisions/"+url.PathEscape(said.Decision), nil, &e); err != nil {
		x.fail(check, "Does --gate name the gate whose data folder this is?", "the decision is not in this gate's log: %v", err)
		return
	}
	x.released(action, &e)
}

// released says what the outcome of the listing means.
func (x *checkup) released(action string, e *audit.Entry) {
	const check = "records"
	o := e.Outcome
	switch {
	case !e.Decision.Allow:
		fix := "`vouchsafe audit show " + e.Decision.ID + "` shows the whole decision."
		if strings.HasPrefix(e.Code(), "identity_") {
			fix = "`vouchsafe token inspect` shows every check of the token."
		}
		x.fail(check, fix, "%s was denied: %s", action, strings.Join(e.Decision.Reasons, ", "))
	case o == nil || o.Code != "":
		code := "no outcome"
		if o != nil {
			code = o.Code
		}
		x.fail(check, "`vouchsafe audit show "+e.Decision.ID+"` says why.", "%s was allowed and did not succeed: %s", action, code)
	case o.Returned == 0:
		x.warn(check, "Use a test customer who has some.", "%s found no records of this customer, so whose records are whose could not be told", action)
	case o.Released == 0 && slices.Contains(o.Withheld, engine.CodeNotOwner):
		fix := "If the shop writes the address in other letter case than the token does, and takes both for one customer, set email_local_case: fold. Otherwise the action's owner is another field, or the shop was asked for somebody else's records."
		if x.site.Tokens.FoldEmailLocal {
			fix = "See that the action's owner leads to the customer's e-mail, and that the shop was asked for this customer's records."
		}
		x.fail(check, fix, "%s: the shop returned %s and the gate recognised none as this customer's, so they are told that they have none", action, plural(o.Returned, "record"))
	case slices.Contains(o.Withheld, engine.CodeNotOwner):
		x.warn(check, "Nothing is wrong at the gate; asking for less would be better for the shop.", "%s: the shop returned %s and %d were this customer's; the others were withheld", action, plural(o.Returned, "record"), o.Released)
	default:
		x.ok(check, "%s released %d of the %s that the shop returned", action, o.Released, plural(o.Returned, "record"))
	}
}

// gateURL is where the running gate's public listener is.
func (x *checkup) gateURL() (string, error) {
	if x.options.gate != "" {
		return strings.TrimSuffix(x.options.gate, "/"), nil
	}
	host, port, err := net.SplitHostPort(x.at.config.Addr)
	if err != nil || port == "0" {
		return "", errors.New("the configuration leaves the port open")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		// The token would travel in the clear.
		return "", errors.New("the gate is not on this machine: name its https address with --gate")
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
