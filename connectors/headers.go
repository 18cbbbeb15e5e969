package connectors

import (
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
		if err := provider.CheckHeader(p.key, value); err != nil {
			r.failf(p.at, "headers: %q %v", p.key, err)
		}
		out[p.key] = value
	}
	return out
}
