package connectors

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// encodeForm encodes an object as application/x-www-form-urlencoded, with the
// brackets in which APIs of that kind name what lies deeper: a[b]=c, a[0]=d.
// What is null is left out.
func encodeForm(v any) ([]byte, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("a form is an object")
	}
	var pairs []string
	var walk func(name string, v any) error
	walk = func(name string, v any) error {
		switch v := v.(type) {
		case nil:
			return nil
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				if err := walk(name+"["+key+"]", v[key]); err != nil {
					return err
				}
			}
			return nil
		case []any:
			for i, item := range v {
				if err := walk(name+"["+strconv.Itoa(i)+"]", item); err != nil {
					return err
				}
			}
			return nil
		}
		text, ok := scalarText(v)
		if !ok {
			return fmt.Errorf("a form cannot hold a %T", v)
		}
		pairs = append(pairs, percentEncode(name)+"="+percentEncode(text))
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if err := walk(key, object[key]); err != nil {
			return nil, err
		}
	}
	return []byte(strings.Join(pairs, "&")), nil
}
