package httpapi

import (
	"encoding/json"

	"vouchsafe/engine"
)

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	b = appendEscaped(b, s)
	return append(b, '"')
}

// appendEscaped appends s as the inside of a JSON string.
func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f || c == '<' || c == '>' || c == '&' {
			q, _ := json.Marshal(s) // a string always encodes
			return append(b, q[1:len(q)-1]...)
		}
	}
	return append(b, s...)
}

func appendReasons(b []byte, rs []engine.Reason) []byte {
	b = append(b, '[')
	for i := range rs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"code":`...)
		b = appendString(b, rs[i].Code)
		b = append(b, `,"message":`...)
		b = appendString(b, rs[i].Message)
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendObligations(b []byte, os []engine.Obligation) []byte {
	b = append(b, '[')
	for i := range os {
		if i > 0 {
			b = append(b, ',')
		}
		b = os[i].AppendJSON(b)
	}
	return append(b, ']')
}

// appendValue appends any JSON value.
func appendValue(b []byte, v any) ([]byte, error) {
	q, err := json.Marshal(v)
	return append(b, q...), err
}
