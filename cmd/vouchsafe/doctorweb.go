package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	doctorTimeout = 15 * time.Second
	maxPageRead   = 256 << 10
	maxRedirects  = 10
)

// noRedirect makes a client return a redirect as the answer it is.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// doctorClient asks a site over HTTP. It follows nothing by itself and
// remembers by how much each host's clock differs.
type doctorClient struct {
	http   http.Client
	now    func() time.Time
	drifts map[string]time.Duration // by host
}

func newDoctorClient(now func() time.Time) *doctorClient {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives = true
	return &doctorClient{http: http.Client{Transport: t, Timeout: doctorTimeout, CheckRedirect: noRedirect},
		now: now, drifts: map[string]time.Duration{}}
}

// webAnswer is what an address answered.
type webAnswer struct {
	status int
	header http.Header
	body   string
}

// webRequest is what it is asked.
type webRequest struct {
	method      string
	url         string
	body        string
	contentType string
	header      http.Header
	cookies     []string // NAME=VALUE
}

// do asks once. Its errors do not repeat the address.
func (c *doctorClient) do(ctx context.Context, r webRequest) (webAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(r.body))
	if err != nil {
		return webAnswer{}, errors.New("the address cannot be asked")
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "vouchsafe-doctor")
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if len(r.cookies) > 0 {
		req.Header.Set("Cookie", strings.Join(r.cookies, "; "))
	}
	asked := c.now()
	resp, err := c.http.Do(req)
	if err != nil {
		return webAnswer{}, withoutURL(err)
	}
	defer resp.Body.Close()
	c.compare(req.URL.Host, asked, resp.Header)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPageRead))
	if err != nil {
		return webAnswer{}, errors.New("its answer broke off")
	}
	return webAnswer{resp.StatusCode, resp.Header, string(body)}, nil
}

// compare holds a host's clock against ours. Date has whole seconds and was
// written somewhere between the request and now, so only what lies outside is a
// difference. A page out of a cache has the date it was made.
func (c *doctorClient) compare(host string, asked time.Time, h http.Header) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || h.Get("Age") != "" {
		return
	}
	var drift time.Duration
	if early := asked.Truncate(time.Second).Sub(date); early > 0 {
		drift = -early
	} else if late := date.Sub(c.now()); late > 0 {
		drift = late
	}
	if old, ok := c.drifts[host]; !ok || drift.Abs() < old.Abs() {
		c.drifts[host] = drift
	}
}

// signIn opens the sign-in URL as a visitor's browser would.
func (x *checkup) signIn() {
	const check = "sign-in"
	if x.site.SignInURL == "" {
		x.ok(check, "no sign_in_url: the page itself has to show the visitor where to sign in")
		return
	}
	at := x.site.SignInURL
	for seen := map[string]bool{}; ; {
		u, err := url.Parse(at)
		switch {
		case err != nil:
			x.fail(check, "Correct the redirect.", "the sign-in URL leads to something that is no address")
			return
		case seen[at] || len(seen) == maxRedirects:
			x.fail(check, "Open it in a private window: it must end at a page. A loop often means that it asks for a session to show the page that makes one.", "the sign-in URL redirects in a circle")
			return
		case !x.known(u.Hostname()):
			x.ok(check, "the sign-in URL leads on to another host, %s, which was not asked", u.Host)
			return
		case u.Scheme != "https" && !onLoopback(u.Hostname()):
			x.fail(check, "Use https, all the way.", "the sign-in URL is not https: passwords could be read on the way")
			return
		}
		seen[at] = true
		got, err := x.web.do(x.ctx, webRequest{method: http.MethodGet, url: at})
		if err != nil {
			x.fail(check, "Correct sign_in_url, or see why the page is down.", "the sign-in URL does not answer: %v", err)
			return
		}
		if next := got.header.Get("Location"); got.status/100 == 3 && next != "" {
			to, err := u.Parse(next)
			if err != nil {
				x.fail(check, "Correct the redirect.", "the sign-in URL leads to something that is no address")
				return
			}
			to.Fragment = ""
			at = to.String()
			continue
		}
		switch {
		case got.status/100 == 2:
			x.ok(check, "the sign-in URL answers")
		case got.status == http.StatusUnauthorized, got.status == http.StatusForbidden, got.status == http.StatusTooManyRequests:
			x.warn(check, "Open it in a private window.", "the sign-in URL answers %d to a program; a browser may see more", got.status)
		default:
			x.fail(check, "Correct sign_in_url: visitors are sent there whenever they have to sign in.", "the sign-in URL answers %d", got.status)
		}
		return
	}
}

// known reports whether a host is one that the configuration or a flag names.
func (x *checkup) known(host string) bool {
	named := append([]string{x.site.SignInURL, x.site.Tokens.JWKSURL, x.site.Tokens.Issuer, x.site.KnowledgeURL, x.options.tokenURL}, x.site.Origins...)
	for _, s := range named {
		if u, err := url.Parse(s); err == nil && u.Hostname() != "" && strings.EqualFold(u.Hostname(), host) {
			return true
		}
	}
	return false
}

// A clock that is off by this much is worth a look even within the site's skew.
const noticeableDrift = 5 * time.Second

// clocks says by how much the site's clock differs from this machine's.
func (x *checkup) clocks() {
	const check = "clock"
	const fix = "Let both machines take their time from NTP."
	for host, drift := range x.web.drifts {
		way := "ahead of"
		if drift < 0 {
			way = "behind"
		}
		switch skew := x.site.Tokens.ClockSkew; {
		case drift.Abs() > skew:
			x.fail(check, fix, "the clock of %s is %s %s ours, more than the %s that clock_skew allows: fresh tokens are refused, or dead ones believed", host, drift.Abs().Round(time.Second), way, skew)
		case drift.Abs() >= noticeableDrift:
			x.warn(check, fix, "the clock of %s is %s %s ours; clock_skew allows %s", host, drift.Abs().Round(time.Second), way, skew)
		default:
			x.ok(check, "the clock of %s agrees with ours", host)
		}
	}
}
