// Package gate_test drives the built binary over HTTP, with a configuration,
// keys, manifests and a shop of the tests' own, and holds every exchange against
// the server's own description.
package gate_test

import (
	"testing"

	"vouchsafe/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
