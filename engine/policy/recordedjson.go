package policy

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// recordedKeys are the terms of the member names that every input has.
var recordedKeys = map[string]*ast.Term{
	"action": keyAction, "args": keyArgs, "asserted": keyAsserted, "channel": keyChannel, "claims": keyClaims,
	"confirmation": keyConfirmation, "confirmed": keyConfirmed, "conversation": keyConversation, "email": keyEmail,
	"email_verified": keyEmailVerified, "emails": keyEmails, "expires_at": keyExpiresAt, "id": keyID,
	"identity": keyIdentity, "issued_at": keyIssuedAt, "lifetime": keyLifetime, "max_token_lifetime": keyMaxLifetime,
	"min_tier": keyMinTier, "name": keyName, "names": keyNames, "now": keyNow, "personal": keyPersonal,
	"revoked": keyRevoked, "risk": keyRisk, "site": keySite, "state": keyState, "subject": keySubject,
	"target": keyTarget, "tier": keyTier, "token_id": keyTokenID,
}

// maxRecordedDepth bounds the nesting of a recorded input.
const maxRecordedDepth = 200

// recordedReader turns JSON text into what OPA evaluates, without Go values in
// between. It takes one document with no member twice and nothing after it.
type recordedReader struct {
	text  bytes.Reader
	dec   *jsontext.Decoder
	items [][2]*ast.Term
	terms []*ast.Term
}

var recordedReaders = sync.Pool{New: func() any {
	r := new(recordedReader)
	r.dec = jsontext.NewDecoder(&r.text)
	return r
}}

func parseRecorded(text []byte) (ast.Value, error) {
	r := recordedReaders.Get().(*recordedReader)
	r.text.Reset(text)
	r.dec.Reset(&r.text)
	t, err := r.value(0)
	if err == nil {
		if _, end := r.dec.ReadToken(); end != io.EOF {
			err = ErrUnreadable
		}
	}
	r.text.Reset(nil)
	clear(r.items[:cap(r.items)])
	clear(r.terms[:cap(r.terms)])
	r.items, r.terms = r.items[:0], r.terms[:0]
	recordedReaders.Put(r)
	if err != nil {
		return nil, ErrUnreadable // the decoder's own words may quote the text
	}
	if _, ok := t.Value.(ast.Object); !ok {
		return nil, ErrUnreadable
	}
	return t.Value, nil
}

func (r *recordedReader) value(depth int) (*ast.Term, error) {
	if depth > maxRecordedDepth {
		return nil, ErrUnreadable
	}
	token, err := r.dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '{':
		from := len(r.items)
		for r.dec.PeekKind() != '}' {
			name, err := r.dec.ReadToken()
			if err != nil {
				return nil, err
			}
			key := recordedKey(name.String())
			v, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			r.items = append(r.items, [2]*ast.Term{key, v})
		}
		if _, err := r.dec.ReadToken(); err != nil {
			return nil, err
		}
		if len(r.items) == from {
			return emptyObject, nil
		}
		o := ast.ObjectTerm(r.items[from:]...)
		r.items = r.items[:from]
		return o, nil
	case '[':
		from := len(r.terms)
		for r.dec.PeekKind() != ']' {
			v, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			r.terms = append(r.terms, v)
		}
		if _, err := r.dec.ReadToken(); err != nil {
			return nil, err
		}
		if len(r.terms) == from {
			return emptyArray, nil
		}
		a := ast.ArrayTerm(append([]*ast.Term(nil), r.terms[from:]...)...)
		r.terms = r.terms[:from]
		return a, nil
	case '"':
		return stringTerm(token.String()), nil
	case '0':
		return numberTerm(token.String()), nil
	case 't', 'f':
		return ast.InternedTerm(token.Bool()), nil
	}
	return ast.NullTerm(), nil
}

func recordedKey(name string) *ast.Term {
	if t, ok := recordedKeys[name]; ok {
		return t
	}
	return stringTerm(name)
}

func numberTerm(s string) *ast.Term {
	if len(s) <= 3 {
		if n, err := strconv.Atoi(s); err == nil && strconv.Itoa(n) == s {
			return intTerm(int64(n))
		}
	}
	return ast.NumberTerm(json.Number(s))
}

// plainRecorded is the same document as JSON values, numbers as json.Number.
func plainRecorded(text []byte) (any, error) {
	if _, err := parseRecorded(text); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, ErrUnreadable
	}
	return v, nil
}
