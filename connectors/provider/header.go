package provider

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// unsendable are the headers that belong to the provider, to HTTP itself or to
// whoever stands between: they say where a call goes, how it is framed, which
// method it really is, or who makes it.
var unsendable = []string{
	"Accept-Encoding", "Connection", "Content-Length", "Cookie", "Expect", "Forwarded", "Host", "Keep-Alive",
	"Origin", "Proxy-Connection", "Referer", "Retries", "Retry-On", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"User-Agent", "Via", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Original-Method",
	"X-Original-Url", "X-Real-Ip", "X-Rewrite-Url", "Destination",
}

// credentialHeader is what headers that carry a credential are called. They are
// the provider's to set.
var credentialHeader = regexp.MustCompile(`(?i)auth|api-?key|access-?key|token|secret|password|session|signature|cookie|credential`)

// CheckHeader says why a caller may not send a header on, nil when it may.
func CheckHeader(name, value string) error {
	name = http.CanonicalHeaderKey(name)
	switch {
	case !httpguts.ValidHeaderFieldName(name), !httpguts.ValidHeaderFieldValue(value), len(value) > 1024:
		return errors.New("is not a header of HTTP")
	case credentialHeader.MatchString(name):
		return errors.New("carries a credential, which the connection has")
	case slices.Contains(unsendable, name), strings.HasPrefix(name, "Proxy-"),
		strings.HasPrefix(name, "X-Forwarded-"), strings.HasPrefix(name, "Nango-"), strings.HasPrefix(name, "Vouchsafe-"):
		return errors.New("is not for a caller to set")
	}
	return nil
}
