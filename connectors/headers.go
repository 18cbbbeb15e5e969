package connectors

import (
	"net/http"

	"go.yaml.in/yaml/v3"

	"vouchsafe/connectors/provider"
)

const defaultIdempotency = "Idempotency-Key"

// headers reads headers that are always the same, such as the version of an
// API. A credential is none of them: the connection has it.
func (r *reader) headers(n *yaml.Node) map[string]string {
	out := map[string]string{}
	for _, p := range r.pairs(n, "headers") {
		value := r.scalar(p.value, "header "+p.key)
		name := http.CanonicalHeaderKey(p.key)
		if err := provider.CheckHeader(p.key, value); err != nil {
			r.failf(p.at, "headers: %q %v", p.key, err)
		}
		if _, twice := out[name]; twice {
			r.failf(p.at, "headers: %q is there twice", name)
		}
		out[name] = value
	}
	return out
}

// judgeKey refuses a header that is always the same where a write's idempotency
// key goes: one key for all of them would do the first and no other.
func (r *reader) judgeKey(n *yaml.Node, given map[string]string, key string) {
	if _, there := given[http.CanonicalHeaderKey(key)]; there && key != "" {
		r.failf(n, "headers: %q carries the idempotency key, which is another for each write", key)
	}
}
