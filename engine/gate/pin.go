package gate

import (
	"maps"
	"slices"
	"strings"

	"vouchsafe/engine"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/policy"
)

// pin is the identity the policy sees. For a verified token it is what the
// signature proved; for an expired one what it still proves; else nothing but
// the state.
func pin(r identity.Result) policy.Identity {
	out := policy.Identity{State: r.State.String()}
	switch r.State {
	case identity.Verified, identity.Revoked:
		v := named(r)
		// A signature is what it was; that it is not believed is a fact of its
		// own, and asked for anew because it may have come about since.
		out.State, out.Revoked = identity.Verified.String(), r.State == identity.Revoked || v.Revoked()
		out.Subject, out.Email, out.Name, out.TokenID = v.Subject(), v.Email(), v.Name(), v.TokenID()
		out.EmailVerified = v.EmailVerified()
		out.IssuedAt, out.ExpiresAt, out.Lifetime = v.IssuedAt(), v.ExpiresAt(), v.Lifetime()
		out.Claims = v.Claims()
	case identity.Expired:
		out.Subject, out.TokenID = r.Expired.Subject, r.Expired.TokenID
		out.IssuedAt, out.ExpiresAt = r.Expired.IssuedAt, r.Expired.ExpiresAt
	}
	return out
}

// named is whom the token names, believed or not. It is for policies and the
// record; what opens anything asks for the Visitor alone.
func named(r identity.Result) identity.Visitor {
	if r.State == identity.Revoked {
		return r.Revoked
	}
	return r.Visitor
}

// Bounds of what is kept of assertions.
const (
	maxAsserted    = 8
	maxAssertedLen = 254 // RFC 5321, section 4.5.3.1.3, less the brackets
)

// target is whom an action would run against: the first asserted e-mail that
// differs from the pin, else the pin.
func target(v identity.Visitor, asserted []string) string {
	pinned := v.Email()
	for _, typed := range asserted {
		if pinned != "" && identity.SameTyped(typed, pinned) {
			continue
		}
		if c, err := identity.CanonicalEmail(typed, false); err == nil {
			typed = c
		}
		if typed = bounded(typed); typed != pinned {
			return typed
		}
	}
	return pinned
}

// boundedAsserted keeps what is worth recording of what was asserted: first the
// addresses that differ from the pin.
func boundedAsserted(a engine.Asserted, pinned string) engine.Asserted {
	if len(a.Emails) == 0 && len(a.Names) == 0 {
		return a
	}
	var out engine.Asserted
	for _, same := range []bool{false, true} {
		for _, e := range a.Emails {
			if (pinned != "" && identity.SameTyped(e, pinned)) == same && len(out.Emails) < maxAsserted {
				out.Emails = append(out.Emails, bounded(e))
			}
		}
	}
	for _, n := range a.Names[:min(len(a.Names), maxAsserted)] {
		out.Names = append(out.Names, bounded(n))
	}
	return out
}

func bounded(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxAssertedLen)], "?")
}

// evidence adds what undeclared arguments claim about the person, at any depth,
// to what was asserted.
func evidence(schema *engine.ArgSchema, args map[string]any, a engine.Asserted) engine.Asserted {
	out := engine.Asserted{Emails: slices.Clone(a.Emails), Names: slices.Clone(a.Names)}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if !schema.Has(name) {
			claim(&out, strings.ToLower(name), args[name])
		}
	}
	return out
}

// claim adds one value to what was asserted: as an address when it looks like
// one or its name says so, else as a name. An undeclared argument claims
// something, whatever it is called.
func claim(out *engine.Asserted, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			claim(out, path+"."+strings.ToLower(name), v[name])
		}
	case []any:
		for _, inner := range v {
			claim(out, path, inner)
		}
	case string:
		switch {
		case v == "":
		case strings.Contains(v, "@") || strings.Contains(path, "mail"):
			out.Emails = append(out.Emails, bounded(v))
		default:
			out.Names = append(out.Names, bounded(v))
		}
	}
}
