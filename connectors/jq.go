package connectors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/itchyny/gojq"
)

// Bounds on the jq expressions of one call. Expressions come from the
// operator's manifests, their input from outside systems.
const (
	jqTimeout = time.Second // for all of a request's, and again for all of a reply's
	jqOutputs = 1000        // of one expression
)

var (
	errJQTimeout = errors.New("the expression ran too long")
	errJQMany    = fmt.Errorf("the expression gave more than %d values", jqOutputs)
)

// expression is a compiled jq expression. It sees its input and nothing else:
// no environment, no files, no modules.
type expression struct {
	source string
	query  *gojq.Query
	code   *gojq.Code
}

func compileJQ(source string) (*expression, error) {
	q, err := gojq.Parse(source)
	if err != nil {
		return nil, fmt.Errorf("not a jq expression: %w", err)
	}
	code, err := gojq.Compile(q, gojq.WithEnvironLoader(func() []string { return nil }))
	if err != nil {
		return nil, fmt.Errorf("not a jq expression: %w", err)
	}
	return &expression{source, q, code}, nil
}

// all returns what the expression gives for the input, as long as ctx lasts.
// Its errors do not quote the input.
func (e *expression) all(ctx context.Context, input any) ([]any, error) {
	iter := e.code.RunWithContext(ctx, input)
	var out []any
	for {
		v, ok := iter.Next()
		if !ok {
			return out, nil
		}
		if _, failed := v.(error); failed {
			if ctx.Err() != nil {
				return nil, errJQTimeout
			}
			return nil, fmt.Errorf("the expression %q does not fit the reply", e.source)
		}
		if len(out) == jqOutputs {
			return nil, errJQMany
		}
		out = append(out, v)
	}
}

// one returns the single value the expression gives, nil when it gives none,
// several or an error.
func (e *expression) one(ctx context.Context, input any) any {
	vs, err := e.all(ctx, input)
	if err != nil || len(vs) != 1 {
		return nil
	}
	return vs[0]
}

// decodeJSON reads exactly one JSON value, numbers as they are written.
func decodeJSON(b []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, errors.New("not JSON")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}
