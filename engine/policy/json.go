package policy

import (
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the input as a JSON document: the same one Value returns,
// for the audit record. Object members come in a fixed order.
func (in *Input) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	if s := in.Site; s != nil {
		b = append(b, `"site":{"id":`...)
		b = appendString(b, s.ID)
		b = appendMember(b, `,"tier":`, s.Tier.String())
		if max := int64(s.MaxTokenLifetime / 1e9); max > 0 {
			b = append(b, `,"max_token_lifetime":`...)
			b = strconv.AppendInt(b, max, 10)
		}
		b = append(b, `},`...)
	}
	b = append(b, `"identity":`...)
	b = in.Identity.appendJSON(b)
	if a := in.Action; a != nil {
		b = append(b, `,"action":{"name":`...)
		b = appendString(b, a.Name)
		b = append(b, `,"personal":`...)
		b = strconv.AppendBool(b, a.Personal)
		b = appendMember(b, `,"risk":`, a.Risk.String())
		b = appendMember(b, `,"min_tier":`, a.MinTier.String())
		b = append(b, `,"args":`...)
		b = appendObject(b, in.Args)
		b = append(b, '}')
	}
	if in.Target != "" {
		b = append(b, `,"target":{"email":`...)
		b = appendString(b, in.Target)
		b = append(b, '}')
	}
	b = append(b, `,"asserted":{"emails":`...)
	b = appendStrings(b, in.Asserted.Emails)
	b = append(b, `,"names":`...)
	b = appendStrings(b, in.Asserted.Names)
	b = append(b, `},"confirmation":{"confirmed":`...)
	b = strconv.AppendBool(b, in.Confirmed)
	b = append(b, '}')
	if c := in.Conversation; c != (Conversation{}) {
		b = append(b, `,"conversation":{`...)
		if c.ID != "" {
			b = append(b, `"id":`...)
			b = appendString(b, c.ID)
			b = appendMember(b, `,"subject":`, c.Subject)
		} else {
			b = append(b, `"subject":`...)
			b = appendString(b, c.Subject)
		}
		b = append(b, '}')
	}
	b = append(b, `,"channel":`...)
	b = appendString(b, string(in.Channel))
	b = append(b, `,"now":`...)
	b = strconv.AppendInt(b, in.Now.Unix(), 10)
	return append(b, '}')
}

func (id *Identity) appendJSON(b []byte) []byte {
	b = append(b, `{"state":`...)
	b = appendString(b, id.State)
	b = appendMember(b, `,"subject":`, id.Subject)
	b = appendMember(b, `,"email":`, id.Email)
	if id.EmailVerified != nil {
		b = append(b, `,"email_verified":`...)
		b = strconv.AppendBool(b, *id.EmailVerified)
	}
	b = appendMember(b, `,"name":`, id.Name)
	if !id.IssuedAt.IsZero() {
		b = append(b, `,"issued_at":`...)
		b = strconv.AppendInt(b, id.IssuedAt.Unix(), 10)
	}
	if !id.ExpiresAt.IsZero() {
		b = append(b, `,"expires_at":`...)
		b = strconv.AppendInt(b, id.ExpiresAt.Unix(), 10)
	}
	if s := seconds(id.Lifetime); s > 0 {
		b = append(b, `,"lifetime":`...)
		b = strconv.AppendInt(b, s, 10)
	}
	b = appendMember(b, `,"token_id":`, id.TokenID)
	if id.Revoked {
		b = append(b, `,"revoked":true`...)
	}
	if claims := parseClaims(id.Claims); claims != nil {
		b = append(b, `,"claims":`...)
		b = appendObject(b, claims)
	}
	return append(b, '}')
}

// appendMember appends key and value, or nothing when the value is empty.
func appendMember(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, key...)
	return appendString(b, value)
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

func appendObject(b []byte, m map[string]any) []byte {
	b = append(b, '{')
	if len(m) == 1 {
		for k, v := range m {
			b = appendString(b, k)
			b = append(b, ':')
			b = appendValue(b, v)
		}
		return append(b, '}')
	}
	for i, k := range sortedKeys(m) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, k)
		b = append(b, ':')
		b = appendValue(b, m[k])
	}
	return append(b, '}')
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendString(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	case map[string]any:
		return appendObject(b, v)
	case []any:
		b = append(b, '[')
		for i := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, v[i])
		}
		return append(b, ']')
	case []string:
		return appendStrings(b, v)
	}
	if n, ok := number(v); ok {
		return append(b, n...)
	}
	return append(b, "null"...)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string, escaping what must be and the two
// separators that JavaScript takes for line ends.
func appendString(b []byte, s string) []byte {
	s = text(s)
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == '\u2028' || r == '\u2029' {
				b = append(b, s[start:i]...)
				b = append(b, `\u202`...)
				b = append(b, hexDigits[r&0xf])
				start = i + size
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\t':
			b = append(b, `\t`...)
		case '\r':
			b = append(b, `\r`...)
		default:
			b = append(b, `\u00`...)
			b = append(b, hexDigits[c>>4], hexDigits[c&0xf])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
