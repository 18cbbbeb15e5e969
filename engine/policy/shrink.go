package policy

import (
	"maps"
	"slices"
)

// maxShrinking bounds how often one input is tried again.
const maxShrinking = 1500

// shrink makes an input as short as it can while it still shows what it shows:
// first what is unusual in it goes back to the ordinary, then whatever can be
// done without goes. What the gate always says stays where it is unusual: it is
// what matters, even where saying nothing would come to the same. within, when not empty, is the only member it shrinks.
func shrink(d, ordinary document, within string, still func(document) bool) document {
	s := &shrinker{doc: d, ordinary: ordinary, still: still}
	for range 4 {
		before := len(raw(s.doc))
		if within == "" {
			s.restore(nil)
		}
		s.prune(nil, within)
		if len(raw(s.doc)) == before {
			break
		}
	}
	return s.doc
}

type shrinker struct {
	doc, ordinary document
	still         func(document) bool
	tried         int
}

// always are the members that no question of the gate's lacks.
var always = [][]string{{"site", "id"}, stateAt, {"action", "name"}, {"action", "personal"}, {"confirmation", "confirmed"}, {"channel"}, nowAt}

// telling reports whether something that matters stands at or below the path.
func (s *shrinker) telling(path []string) bool {
	return slices.ContainsFunc(always, func(p []string) bool {
		if len(p) < len(path) || !slices.Equal(p[:len(path)], path) {
			return false
		}
		have := s.doc.value(p...)
		return have != nil && have != s.ordinary.value(p...)
	})
}

// try keeps a change when the input still shows what it did.
func (s *shrinker) try(change func(document)) bool {
	if s.tried++; s.tried > maxShrinking {
		return false
	}
	next := document(copied(map[string]any(s.doc)).(map[string]any))
	change(next)
	if !s.still(next) {
		return false
	}
	s.doc = next
	return true
}

// restore puts the ordinary values back, the larger parts first. What the
// input lacks stays lacking.
func (s *shrinker) restore(path []string) {
	here, _ := s.doc.value(path...).(map[string]any)
	for _, key := range sortedKeys(here) {
		at := append(path[:len(path):len(path)], key)
		want := s.ordinary.value(at...)
		have := s.doc.value(at...)
		if want == nil || string(appendValue(nil, have)) == string(appendValue(nil, want)) {
			continue
		}
		if s.try(func(d document) { d.set(copied(want), at...) }) {
			continue
		}
		if _, ok := have.(map[string]any); ok {
			s.restore(at)
		}
	}
}

// prune leaves out what is not needed, the larger parts first.
func (s *shrinker) prune(path []string, within string) {
	here, _ := s.doc.value(path...).(map[string]any)
	for _, key := range sortedKeys(maps.Clone(here)) {
		if len(path) == 0 && within != "" && key != within {
			continue
		}
		at := append(path[:len(path):len(path)], key)
		if !s.telling(at) && s.try(func(d document) { d.drop(at...) }) {
			continue
		}
		switch v := s.doc.value(at...).(type) {
		case map[string]any:
			s.prune(at, within)
		case []any:
			s.thin(at, v)
		}
	}
}

// thin leaves out elements of an array, then members of what is left in it.
func (s *shrinker) thin(path []string, list []any) {
	for i := len(list) - 1; i >= 0; i-- {
		without := append(append([]any{}, list[:i]...), list[i+1:]...)
		if s.try(func(d document) { d.set(without, path...) }) {
			list = without
		}
	}
	for i := range list {
		s.element(path, i)
	}
}

// element leaves out members of an array's element, and members of those.
func (s *shrinker) element(path []string, i int) {
	list, _ := s.doc.value(path...).([]any)
	m, ok := list[i].(map[string]any)
	if !ok {
		return
	}
	for _, key := range sortedKeys(m) {
		inner, nested := m[key].(map[string]any)
		steps := [][]string{{key}}
		if nested {
			for _, k := range sortedKeys(inner) {
				steps = append(steps, []string{key, k})
			}
		}
		for _, step := range steps {
			s.try(func(d document) {
				list, _ := d.value(path...).([]any)
				if m, ok := list[i].(map[string]any); ok {
					document(m).drop(step...)
				}
			})
		}
	}
}
