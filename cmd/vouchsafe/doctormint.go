package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"vouchsafe/engine/identity"
)

// mint examines the endpoint of the site that mints tokens.
func (x *checkup) mint() {
	const check = "mint"
	if x.options.tokenURL == "" {
		x.warn(check, "Name it with --token-url, and a test customer's session with --cookie.",
			"the endpoint that mints tokens was not examined; a mistake there opens every customer's account")
		return
	}
	if u, _ := url.Parse(x.options.tokenURL); u.Scheme != "https" && !onLoopback(u.Hostname()) {
		x.fail(check, "Use https.", "the endpoint that mints tokens is not https, so it was not asked: sessions and tokens could be read on the way")
		return
	}
	if reached := x.withoutSession(); !reached {
		return
	}
	if len(x.options.cookies) == 0 {
		x.warn("token", "Sign in as a test customer and give the session's cookie with --cookie NAME=VALUE.",
			"no token was examined, because no session was given")
		return
	}
	own, ok := x.ownToken()
	if !ok {
		return
	}
	x.judge(own)
	x.withSession(own)
	x.foreignPage()
}

// A way is a manner of asking for a token and naming somebody in it.
type way struct {
	name string
	webRequest
}

// ways are all the manners in which careless endpoints take a name. Those with
// an empty address name nobody.
func ways(at, address string) []way {
	if address == "" {
		return []way{
			{"POST", webRequest{method: http.MethodPost, url: at}},
			{"GET", webRequest{method: http.MethodGet, url: at}},
		}
	}
	named := url.Values{}
	flat := map[string]any{}
	for _, p := range []string{"email", "user", "sub", "user_id", "userId", "customer"} {
		named.Set(p, address)
		flat[p] = address
	}
	nested := map[string]any{"user": map[string]any{"id": address, "email": address}, "customer": map[string]any{"id": address, "email": address}}
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err) // maps of text
		}
		return string(b)
	}
	queried := at + "?" + named.Encode()
	if strings.Contains(at, "?") {
		queried = at + "&" + named.Encode()
	}
	// Headers that a proxy sets for the application behind it, which believes
	// them from everybody unless the proxy takes them off first.
	headers := http.Header{}
	for _, h := range []string{"X-User-Email", "X-Forwarded-Email", "X-Forwarded-User", "X-Auth-Request-Email", "X-Remote-User", "Remote-User"} {
		headers.Set(h, address)
	}
	return []way{
		{"the query of a POST", webRequest{method: http.MethodPost, url: queried}},
		{"the query of a GET", webRequest{method: http.MethodGet, url: queried}},
		{"a JSON body", webRequest{method: http.MethodPost, url: at, body: encode(flat), contentType: "application/json"}},
		{"a nested JSON body", webRequest{method: http.MethodPost, url: at, body: encode(nested), contentType: "application/json"}},
		{"a form", webRequest{method: http.MethodPost, url: at, body: named.Encode(), contentType: "application/x-www-form-urlencoded"}},
		{"headers of a POST", webRequest{method: http.MethodPost, url: at, header: headers}},
		{"headers of a GET", webRequest{method: http.MethodGet, url: at, header: headers}},
	}
}

const mintFix = "Take the customer from the session on your server, and from nothing that the request says; answer 401 when there is no session."

// withoutSession asks for a token as nobody. It returns false when the endpoint
// cannot be reached at all.
func (x *checkup) withoutSession() bool {
	const check = "mint"
	at, other := x.options.tokenURL, x.options.otherEmail
	var signed, untold []string
	reached := false
	for _, w := range append(ways(at, ""), ways(at, other)...) {
		got, err := x.web.do(x.ctx, w.webRequest)
		if err != nil {
			if !reached {
				x.fail(check, "Correct --token-url, or see why it is down.", "the endpoint that mints tokens does not answer: %v", err)
				return false
			}
			untold = append(untold, w.name)
			continue
		}
		reached = true
		if inconclusive(got.status) {
			untold = append(untold, w.name)
		}
		if token := tokenIn(got); token != "" {
			signed = append(signed, x.describe(w.name, token))
		}
	}
	x.untold(untold)
	if len(signed) > 0 {
		x.fail(check, mintFix, "ANYBODY CAN BECOME ANY CUSTOMER: without a session, the endpoint signs a token asked for by %s", strings.Join(signed, "; by "))
		return true
	}
	x.ok(check, "without a session nobody gets a token%s", x.unknownProbe())
	return true
}

// inconclusive says that an answer tells nothing about what would be signed.
func inconclusive(status int) bool {
	return status == http.StatusTooManyRequests || status >= http.StatusInternalServerError
}

func (x *checkup) untold(ways []string) {
	if len(ways) > 0 {
		x.warn("mint", "Ask again, with more time between requests or after mending what fails.", "asked by %s, the endpoint failed or refused for the number of requests, so nothing could be told", strings.Join(ways, ", "))
	}
}

// unknownProbe is a caution for findings with an address that nobody has.
func (x *checkup) unknownProbe() string {
	if x.options.otherEmail == probeAddress {
		return "; it was asked for an address that no customer has, so name another test customer's with --other-email to be sure"
	}
	return ""
}

// describe says what is known of a token that should not have been signed.
func (x *checkup) describe(way, token string) string {
	s := way
	if named(token, x.options.otherEmail) {
		s += " (for the very address that was asked for)"
	}
	if x.verifier != nil {
		if r := x.verifier.Verify(x.ctx, token, x.now()); r.State == identity.Verified {
			return s + ", which verifies here"
		} else {
			return s + ", though it does not verify here: " + r.Cause
		}
	}
	return s
}

// ownToken asks for a token with the session that was given.
func (x *checkup) ownToken() (string, bool) {
	const check = "token"
	last := ""
	for _, w := range ways(x.options.tokenURL, "") {
		w.cookies = x.options.cookies
		got, err := x.web.do(x.ctx, w.webRequest)
		if err != nil {
			last = err.Error()
			continue
		}
		token := tokenIn(got)
		if token == "" {
			last = fmt.Sprintf("status %d", got.status)
			if got.status/100 == 2 {
				last = "an answer without a JWT"
			}
			continue
		}
		if cc := strings.ToLower(got.header.Get("Cache-Control")); !strings.Contains(cc, "no-store") {
			x.warn(check, "Answer with `Cache-Control: no-store`.", "the token may be kept by caches on the way: one customer could be served another's")
		}
		return token, true
	}
	x.fail(check, "The endpoint answers a POST with the token, as text or as JSON {\"token\": \"...\"}. Is the cookie of a session that is still signed in?",
		"with the given session there is no token, but %s", last)
	return "", false
}

// fixes say what to change in the backend, by the cause of a check that fails.
var fixes = map[string]string{
	identity.CauseMalformed:        "Sign a compact JWT with a maintained library; engine/identity/README.md has recipes.",
	identity.CauseAlgRefused:       "Sign with one of the algorithms that the message names.",
	identity.CauseAlgMismatch:      "Sign with the alg that the configuration has for this kid.",
	identity.CauseKidMissing:       "Set kid in the token's header.",
	identity.CauseUnknownKid:       "Set the kid to one of the configuration's, or add the key there.",
	identity.CauseKeyRetired:       "Sign with a key that is in use.",
	identity.CauseKeyNotYetActive:  "Sign with a key that is in use.",
	identity.CauseSignatureInvalid: "The backend signs with another key. Compare the secret byte for byte: no newline at its end, no decoding from base64 on one side only. Or it is the wrong public key.",
	identity.CauseKeysUnavailable:  "See what is said of jwks above.",
	identity.CauseClaimMissing:     "Add the claim that is missing: iss, aud, sub, email, iat and exp are required.",
	identity.CauseClaimInvalid:     "Give the claim its type: sub is text, iat and exp are seconds since 1970, not milliseconds.",
	identity.CauseIssuerMismatch:   "Make iss and the configuration's issuer the same, byte for byte.",
	identity.CauseAudienceMismatch: "Make aud and the configuration's audience the same, byte for byte.",
	identity.CauseEmailInvalid:     "Send the bare address: no name, no quotes, nothing but ASCII before the @.",
	identity.CauseLifetimeInvalid:  "Let exp be five minutes after iat, both in seconds.",
	identity.CauseLifetimeTooLong:  "Let exp be five minutes after iat, both in seconds, not milliseconds.",
	identity.CauseIssuedInFuture:   "Set the backend's clock by NTP, and count iat in seconds.",
	identity.CauseNotYetValid:      "Set the backend's clock by NTP, or leave nbf out.",
	identity.CauseExpired:          "Mint a fresh token for every call: this one comes out of a cache, or the backend's clock is behind.",
}

// judge holds a token of the site's own to every check, and to what the default
// policy wants.
func (x *checkup) judge(token string) {
	const check = "token"
	if x.verifier == nil {
		x.warn(check, "Mend the keys first.", "the token was not examined, because the site's keys cannot be used")
		return
	}
	now := x.now()
	for _, c := range x.verifier.Explain(x.ctx, token, now) {
		if !c.OK {
			fix := fixes[c.Cause]
			if fix == "" {
				fix = "`vouchsafe token inspect` shows every check; engine/identity/README.md has recipes."
			}
			detail := ""
			if c.Detail != "" {
				detail = " (" + c.Detail + ")"
			}
			x.fail(check, fix, "the site's own token is refused, %s%s: %s wants %s, and got %s", c.Cause, detail, c.Name, c.Want, c.Got)
		}
	}
	r := x.verifier.Verify(x.ctx, token, now)
	if r.State != identity.Verified {
		return
	}
	x.ok(check, "the site's own token verifies")
	v := r.Visitor
	switch life, most := v.Lifetime(), x.site.Tokens.MaxLifetime; {
	case life > most:
		x.fail(check, "Let exp be five minutes after iat: the widget asks for a new token by itself.", "the token lives %s and max_lifetime is %s: the default policy refuses every personal action, identity_too_long_lived", life, most)
	case life < time.Minute:
		x.warn(check, "Five minutes are a good life.", "the token lives %s: it may be dead before it arrives", life)
	default:
		x.ok(check, "it lives %s; max_lifetime allows %s", life, most)
	}
	switch {
	case v.TokenID() != "":
	case x.site.Tokens.FreshConfirmation:
		x.fail(check, "Add a jti that is random for every token.", "the token has no jti, and fresh_confirmation wants one: nothing that destroys can be confirmed")
	default:
		x.warn(check, "Add a jti that is random for every token.", "the token has no jti: it cannot be revoked by itself, nor used up by a confirmation")
	}
	switch verified := v.EmailVerified(); {
	case verified == nil:
		x.warn(check, "Add email_verified, true only where the customer has proven the address.", "the token does not say email_verified: whoever registers at your site with somebody else's address could be taken for them")
	case !*verified:
		x.fail(check, "Have the test customer prove the address, or use another customer.", "the token says that its e-mail is not verified, so the default policy refuses every personal action, email_unverified")
	}
}

// withSession asks with a session and names somebody else.
func (x *checkup) withSession(own string) {
	const check = "mint"
	if named(own, x.options.otherEmail) {
		x.warn(check, "Give the address of another test customer.", "--other-email is the signed-in customer's own, so nothing could be told")
		return
	}
	mine := claimed(own)
	var swayed, untold []string
	for _, w := range ways(x.options.tokenURL, x.options.otherEmail) {
		w.cookies = x.options.cookies
		got, err := x.web.do(x.ctx, w.webRequest)
		if err != nil || inconclusive(got.status) {
			untold = append(untold, w.name)
			continue
		}
		token := tokenIn(got)
		if token == "" {
			continue
		}
		if theirs := claimed(token); theirs != mine || named(token, x.options.otherEmail) {
			swayed = append(swayed, x.describe(w.name, token))
		}
	}
	x.untold(untold)
	if len(swayed) > 0 {
		x.fail(check, mintFix, "ANY CUSTOMER CAN BECOME ANOTHER: a signed-in customer gets a token that vouches for somebody else, asked for by %s", strings.Join(swayed, "; by "))
		return
	}
	x.ok(check, "a session gets tokens for its own customer only%s", x.unknownProbe())
}

// foreignPage asks as a page of another origin would, with the visitor's own
// cookies.
func (x *checkup) foreignPage() {
	const foreign = "https://vouchsafe-doctor.example"
	for _, w := range ways(x.options.tokenURL, "") {
		w.cookies = x.options.cookies
		w.header = http.Header{"Origin": {foreign}}
		got, err := x.web.do(x.ctx, w.webRequest)
		if err != nil {
			continue
		}
		h := got.header
		if tokenIn(got) != "" && h.Get("Access-Control-Allow-Origin") == foreign && h.Get("Access-Control-Allow-Credentials") == "true" {
			x.fail("mint", "Allow your own origins by name, never whichever asks.", "ANY WEB PAGE CAN TAKE A VISITOR'S TOKEN: the endpoint lets a page of any origin read what it answers to the visitor's own session")
			return
		}
	}
	x.ok("mint", "pages of other origins cannot read the token")
}

var jwtPattern = regexp.MustCompile(`eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`)

// tokenIn finds a token anywhere in an answer, however it is wrapped.
func tokenIn(a webAnswer) string {
	if token := jwtPattern.FindString(a.body); token != "" {
		return token
	}
	for _, name := range []string{"Set-Cookie", "Location", "Authorization"} {
		if i := slices.IndexFunc(a.header.Values(name), jwtPattern.MatchString); i >= 0 {
			return jwtPattern.FindString(a.header.Values(name)[i])
		}
	}
	return ""
}

// claim is whom a token speaks of, verified or not.
type claim struct{ sub, email string }

// claimed reads whom a token speaks of. It proves nothing.
func claimed(token string) claim {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claim{}
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claim{}
	}
	var c map[string]any
	if json.Unmarshal(raw, &c) != nil {
		return claim{}
	}
	text := func(v any) string {
		if v == nil {
			return ""
		}
		return fmt.Sprint(v)
	}
	return claim{text(c["sub"]), text(c["email"])}
}

// named reports whether a token speaks of an address.
func named(token, address string) bool {
	c := claimed(token)
	return identity.SameTyped(address, c.email) || strings.EqualFold(c.sub, address)
}
