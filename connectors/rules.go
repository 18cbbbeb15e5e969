package connectors

import (
	"net/url"
	"regexp"
	"strings"

	"vouchsafe/connectors/provider"
)

// Rules are the calls that the manifest's actions make: which methods on which
// paths. A connection needs no others.
func (m *Manifest) Rules() []provider.Rule {
	var rules []provider.Rule
	for _, a := range m.actions {
		for _, q := range a.requests() {
			rules = append(rules, provider.Rule{Method: q.request.method, Path: q.request.path.rule()})
		}
	}
	if m.kind != nil {
		rules = append(rules, m.kind.Rules...)
	}
	return provider.SortRules(rules)
}

var oddName = regexp.MustCompile(`[^A-Za-z0-9_.]`)

// rule is the template's path as the provider's rules know paths: what stands
// for a value keeps its name, and everything else is as it will be sent.
func (t *template) rule() string {
	var b strings.Builder
	for _, p := range t.pieces {
		literal, _, asks := strings.Cut(p.literal, "?")
		b.WriteString(literal)
		if asks || p.style.asks() {
			break
		}
		sep := p.style.first
		for _, v := range p.vars {
			b.WriteString(sep)
			if p.style.named {
				b.WriteString(v.name + "=")
			}
			b.WriteString("{" + strings.ReplaceAll(oddName.ReplaceAllString(v.name, "_"), "..", "_") + "}")
			sep = p.style.sep
		}
	}
	// A URL writes some literals in another way than the manifest.
	pieces := templateBraces.FindAllString(b.String(), -1)
	for i, literal := range templateBraces.Split(b.String(), -1) {
		if i == 0 {
			b.Reset()
		}
		b.WriteString((&url.URL{Path: unescaped(literal), RawPath: literal}).EscapedPath())
		if i < len(pieces) {
			b.WriteString(pieces[i])
		}
	}
	return b.String()
}

func unescaped(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}
