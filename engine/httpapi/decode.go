package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a body beside its length.
const (
	maxDepth    = 32  // of arrays and objects inside one another
	maxNumber   = 64  // bytes of a number's text
	maxExponent = 308 // of a number; what reads numbers later computes with it
)

// document reads a body as strict JSON. jsontext refuses duplicate members,
// invalid UTF-8 and a byte order mark; the rest is refused here: unknown members
// and members in another case, null, numbers beyond any use, depth, and bytes
// after the document.
type document struct {
	dec *jsontext.Decoder
	buf *bytes.Buffer // which jsontext reads without a copy
}

func (d *document) reset(body []byte) {
	if d.dec == nil {
		d.buf = bytes.NewBuffer(body)
		d.dec = jsontext.NewDecoder(d.buf)
		return
	}
	*d.buf = *bytes.NewBuffer(body)
	d.dec.Reset(d.buf)
}

// errKind is a value of another kind than the contract has.
var errKind = errors.New("a value has the wrong type")

// unknownMember is a member that the contract does not have.
type unknownMember string

func (u unknownMember) Error() string {
	return fmt.Sprintf("the field %q is not known here", string(u[:min(len(u), 64)]))
}

// decode reads the exchange's body as one object. member is called with each
// name and reads its value; it returns unknownMember for a name it does not
// take.
func (x *exchange) decode(member func(d *document, name string) error) error {
	d := &x.doc
	d.reset(x.in)
	err := d.object(member)
	if err == nil {
		_, err = d.dec.ReadToken()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = errors.New("something follows the JSON document")
		}
	}
	return &problem{code: codeMalformedJSON, detail: "The body is not what is expected here: " + explain(d, err) + "."}
}

// explain says what is wrong without quoting more than a member's name.
func explain(d *document, err error) string {
	if _, ok := errors.AsType[unknownMember](err); ok || errors.Is(err, errKind) {
		return err.Error()
	}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return "a field occurs twice"
		}
		return "it is not valid JSON at byte " + strconv.FormatInt(syntactic.ByteOffset, 10)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	return err.Error()
}

// object reads an object member by member.
func (d *document) object(member func(d *document, name string) error) error {
	if err := d.open('{'); err != nil {
		return err
	}
	for {
		t, err := d.dec.ReadToken()
		if err != nil {
			return err
		}
		if t.Kind() == '}' {
			return nil
		}
		if err := member(d, t.String()); err != nil {
			return err
		}
	}
}

// open reads the beginning of an object or an array.
func (d *document) open(kind jsontext.Kind) error {
	t, err := d.dec.ReadToken()
	if err != nil {
		return err
	}
	if t.Kind() != kind {
		return errKind
	}
	if d.dec.StackDepth() > maxDepth {
		return fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	}
	return nil
}

// text reads a string.
func (d *document) text() (string, error) {
	t, err := d.dec.ReadToken()
	if err != nil {
		return "", err
	}
	if t.Kind() != '"' {
		return "", errKind
	}
	return t.String(), nil
}

// texts reads an array of at most n strings.
func (d *document) texts(n int) ([]string, error) {
	if err := d.open('['); err != nil {
		return nil, err
	}
	var out []string
	for d.dec.PeekKind() != ']' {
		s, err := d.text()
		if err != nil {
			return nil, err
		}
		if out = append(out, s); len(out) > n {
			return nil, fmt.Errorf("a list has more than %d items", n)
		}
	}
	_, err := d.dec.ReadToken()
	return out, err
}

// values reads an object of any JSON values, its numbers as json.Number.
func (d *document) values() (map[string]any, error) {
	if err := d.open('{'); err != nil {
		return nil, err
	}
	out := map[string]any{}
	for {
		t, err := d.dec.ReadToken()
		if err != nil {
			return nil, err
		}
		if t.Kind() == '}' {
			return out, nil
		}
		name := t.String()
		if out[name], err = d.value(); err != nil {
			return nil, err
		}
	}
}

func (d *document) value() (any, error) {
	switch d.dec.PeekKind() {
	case '{':
		return d.values()
	case '[':
		return d.list()
	}
	t, err := d.dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case '"':
		return t.String(), nil
	case '0':
		return number(t.String())
	case 't':
		return true, nil
	case 'f':
		return false, nil
	case 'n':
		return nil, nil
	}
	return nil, errKind
}

func (d *document) list() (any, error) {
	if err := d.open('['); err != nil {
		return nil, err
	}
	out := []any{}
	for d.dec.PeekKind() != ']' {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := d.dec.ReadToken()
	return out, err
}

// number keeps a number's text, unless computing with it could take for ever.
func number(s string) (json.Number, error) {
	if len(s) > maxNumber {
		return "", errors.New("a number is too long")
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if n, err := strconv.Atoi(s[i+1:]); err != nil || n > maxExponent || n < -maxExponent {
			return "", errors.New("a number is too large or too small")
		}
	}
	return json.Number(s), nil
}
