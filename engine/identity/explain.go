package identity

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Check is one step of a verification, for whoever integrates a site.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Cause  string `json:"cause,omitempty"`  // when not OK, as in Result
	Detail string `json:"detail,omitempty"` // when not OK, as in Result
	Want   string `json:"want"`
	Got    string `json:"got"`
}

// Explain runs the checks of Verify without the cache and says what each
// wanted and got, up to the first after which nothing more can be told. It
// shows no signature, no key and no e-mail address.
func (v *Verifier) Explain(ctx context.Context, token string, now time.Time) []Check {
	a := attempt{v: v, ctx: ctx, keys: v.live.Load().keys, token: token, now: now}
	var done []Check
	for _, c := range checks {
		f := c.run(&a)
		ok := f == (fault{})
		done = append(done, Check{Name: c.name, OK: ok, Cause: f.cause, Detail: f.detail, Want: c.want(&a), Got: c.got(&a)})
		if !ok && c.gate {
			break
		}
	}
	return done
}

// is returns a text that does not depend on the attempt.
func is(s string) func(*attempt) string { return func(*attempt) string { return s } }

// quote shows strings somebody else wrote, escaped and cut short.
func quote(all ...string) string {
	var b strings.Builder
	for i, s := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == 8 {
			b.WriteString("...")
			break
		}
		if len(s) > 80 {
			s = strings.ToValidUTF8(s[:80], "") + "..."
		}
		b.WriteString(strconv.QuoteToASCII(s))
	}
	return b.String()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func window(from, until time.Time) string {
	switch {
	case from.IsZero() && until.IsZero():
		return "any time"
	case until.IsZero():
		return "from " + stamp(from)
	case from.IsZero():
		return "before " + stamp(until)
	}
	return "from " + stamp(from) + " before " + stamp(until)
}
