package identity

import (
	"encoding/base64"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxToken is the most bytes of a token that are looked at.
const maxToken = 8 << 10

// base64url refuses padding and unused bits that are not zero. It still skips
// line ends, so decodeSegment looks at the alphabet first.
var base64url = base64.RawURLEncoding.Strict()

// jws is a compact JWS taken apart. Nothing in it has been verified.
type jws struct {
	header       header
	signingInput string
	payload      []byte
	signature    []byte
}

// header is the protected header. Members that are only ever refused are kept
// raw, because being there is enough.
type header struct {
	Alg  jsontext.Value `json:"alg"`
	Kid  jsontext.Value `json:"kid"`
	Typ  jsontext.Value `json:"typ"`
	Cty  jsontext.Value `json:"cty"`
	Crit jsontext.Value `json:"crit"`
	B64  jsontext.Value `json:"b64"`
	Enc  jsontext.Value `json:"enc"`
	Zip  jsontext.Value `json:"zip"`
	JKU  jsontext.Value `json:"jku"`
	JWK  jsontext.Value `json:"jwk"`
	X5U  jsontext.Value `json:"x5u"`
	X5C  jsontext.Value `json:"x5c"`

	alg    Alg
	kid    string
	hasKid bool
}

// parseJWS takes a compact JWS apart. It knows nothing of claims.
func parseJWS(token string) (jws, fault) {
	if len(token) > maxToken {
		return jws{}, fault{CauseTooLarge, "more than 8192 bytes"}
	}
	switch strings.Count(token, ".") {
	case 2:
	case 4:
		return jws{}, fault{CauseEncrypted, "five segments"}
	default:
		return jws{}, fault{CauseMalformed, "not three segments"}
	}
	first, last := strings.IndexByte(token, '.'), strings.LastIndexByte(token, '.')
	raw, ok := decodeSegment(token[:first])
	if !ok {
		return jws{}, fault{CauseMalformed, "header is not strict base64url"}
	}
	t := jws{signingInput: token[:last]}
	if t.payload, ok = decodeSegment(token[first+1 : last]); !ok {
		return jws{}, fault{CauseMalformed, "payload is not strict base64url"}
	}
	if t.signature, ok = decodeSegment(token[last+1:]); !ok {
		return jws{}, fault{CauseMalformed, "signature is not strict base64url"}
	}
	var f fault
	t.header, f = parseHeader(raw)
	if f != (fault{}) {
		return jws{}, f
	}
	return t, fault{}
}

// parseHeader reads the header and refuses whatever would change how the token
// is to be verified. Names are case-sensitive and duplicates are refused at any
// depth; both are the decoder's defaults.
func parseHeader(raw []byte) (header, fault) {
	var h header
	if len(raw) == 0 || jsontext.Value(raw).Kind() != '{' {
		return h, fault{CauseMalformed, "header is not a JSON object"}
	}
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, fault{CauseMalformed, "header is not strict JSON"}
	}
	for _, m := range []struct {
		name  string
		value jsontext.Value
		cause string
	}{
		{"enc", h.Enc, CauseEncrypted},
		{"zip", h.Zip, CauseEncrypted},
		{"crit", h.Crit, CauseCritRefused},
		{"b64", h.B64, CauseCritRefused},
		{"cty", h.Cty, CauseNested},
		{"jku", h.JKU, CauseHeaderRefused},
		{"jwk", h.JWK, CauseHeaderRefused},
		{"x5u", h.X5U, CauseHeaderRefused},
		{"x5c", h.X5C, CauseHeaderRefused},
	} {
		if m.value != nil {
			return h, fault{m.cause, m.name}
		}
	}
	if h.Typ != nil && h.Typ.Kind() != '"' {
		return h, fault{CauseMalformed, "typ is not a string"}
	}
	if h.Kid != nil {
		if h.kid, h.hasKid = stringOf(h.Kid); !h.hasKid {
			return h, fault{CauseMalformed, "kid is not a string"}
		}
	}
	alg, ok := stringOf(h.Alg)
	if !ok {
		return h, fault{CauseAlgRefused, "alg is missing or not a string"}
	}
	if h.alg = Alg(alg); h.alg.method() == nil {
		return h, fault{CauseAlgRefused, "alg is not supported"}
	}
	return h, fault{}
}

// verifiedBy reports whether the signature is the key's. The algorithm is the
// key's own; that it equals the header's is checked before.
func (t jws) verifiedBy(k Key) bool {
	return k.k != nil && t.header.alg == k.k.alg &&
		k.k.alg.method().Verify(t.signingInput, t.signature, k.k.material) == nil
}

// decodeSegment decodes strict base64url: its alphabet and nothing else.
func decodeSegment(s string) ([]byte, bool) {
	for i := range len(s) {
		c := s[i]
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return nil, false
		}
	}
	b, err := base64url.DecodeString(s)
	return b, err == nil
}

// stringOf returns the Go string of a JSON string.
func stringOf(v jsontext.Value) (string, bool) {
	if len(v) == 0 || v.Kind() != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return string(b), err == nil
}
