// Package policies carries the default policy inside the binary.
package policies

import "embed"

// FS holds the Rego, its tests, its data and its schemas, as they stand in
// this folder.
//
//go:embed authz release schema data.yaml
var FS embed.FS
