package httpapi

import "strings"

// Causes of an Authorization header that holds no token to verify.
const (
	causeHeaderRepeated  = "authorization_repeated"
	causeHeaderMalformed = "authorization_malformed"
)

// bearer reads a token from the values of the Authorization header, as RFC 6750
// section 2.1 has it. No header is no token; a header that is not exactly one
// bearer token has a cause.
func bearer(values []string) (token, cause string) {
	switch len(values) {
	case 0:
		return "", ""
	case 1:
	default:
		return "", causeHeaderRepeated
	}
	scheme, rest, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", causeHeaderMalformed
	}
	token = strings.Trim(rest, " ")
	if !isToken68(token) {
		return "", causeHeaderMalformed
	}
	return token, ""
}

// isToken68 reports whether s is RFC 6750's b64token.
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	for i := range len(body) {
		switch c := body[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return body != ""
}
