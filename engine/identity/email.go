package identity

import (
	"errors"
	"net/mail"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// CanonicalEmail returns the one form of an address that is pinned, compared
// and recorded. It refuses rather than repairs: the address must be exactly
// what net/mail reads back from it, with a printable ASCII local part and a
// domain name. The domain comes back in lower case and in its ASCII form. The
// local part stays as it is unless foldLocal lowers its ASCII letters; nothing
// else is folded, so Unicode look-alikes, plus-tags and dots stay different.
//
// Errors say what is wrong and never quote the address.
func CanonicalEmail(raw string, foldLocal bool) (string, error) {
	switch {
	case raw == "":
		return "", errors.New("is empty")
	case len(raw) > 254:
		return "", errors.New("is longer than 254 bytes")
	case !utf8.ValidString(raw):
		return "", errors.New("is not UTF-8")
	}
	at := strings.LastIndexByte(raw, '@')
	if at < 0 {
		return "", errors.New("has no @")
	}
	local, domain := raw[:at], raw[at+1:]
	if local == "" || len(local) > 64 {
		return "", errors.New("has an empty or overlong part before the @")
	}
	for i := range len(local) {
		if c := local[i]; c <= ' ' || c > '~' {
			return "", errors.New("has something other than printable ASCII before the @")
		}
	}
	if strings.HasPrefix(domain, "[") {
		return "", errors.New("has an address literal for a domain")
	}
	// net/mail reads display names, quotes, comments and lists; only an address
	// that is nothing but itself comes back unchanged.
	addr, err := mail.ParseAddress(raw)
	if err != nil || addr.Name != "" || addr.Address != raw {
		return "", errors.New("is not a plain address")
	}
	domain, err = canonicalDomain(domain)
	if err != nil {
		return "", err
	}
	if foldLocal {
		local = lowerASCII(local)
	}
	return local + "@" + domain, nil
}

// canonicalDomain returns the lower-case ASCII form of a domain name.
func canonicalDomain(domain string) (string, error) {
	lower := lowerASCII(domain)
	ascii, err := idna.Lookup.ToASCII(lower)
	if err != nil {
		return "", errors.New("has an invalid domain")
	}
	if !isASCII(lower) {
		// IDNA maps the Kelvin sign to k, full-width letters to plain ones and
		// an ideographic stop to a dot. Whoever writes those means to deceive.
		if unicode, err := idna.Lookup.ToUnicode(ascii); err != nil || unicode != lower {
			return "", errors.New("has a domain that is not in its normal form")
		}
	}
	ascii = lowerASCII(ascii)
	if len(ascii) > 253 {
		return "", errors.New("has an overlong domain")
	}
	last := ""
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 {
			return "", errors.New("has an empty or overlong domain label")
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return "", errors.New("has a number for a domain")
	}
	return ascii, nil
}

// SameTyped reports whether an address somebody merely typed is the pinned
// one. ASCII letter case is ignored, because it is the pinned address that is
// used either way. What cannot be read as an address is not the same.
func SameTyped(typed, pinned string) bool {
	if pinned == "" {
		return false
	}
	canonical, err := CanonicalEmail(typed, true)
	return err == nil && canonical == lowerASCII(pinned)
}

// lowerASCII lowers A to Z and touches nothing else.
func lowerASCII(s string) string {
	i := 0
	for i < len(s) && (s[i] < 'A' || s[i] > 'Z') {
		i++
	}
	if i == len(s) {
		return s
	}
	b := []byte(s)
	for ; i < len(b); i++ {
		if b[i] >= 'A' && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
