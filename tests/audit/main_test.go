// Package audit_test holds the decision log of the built binary against what its
// visitors and operators see of it, across kills: what is in doubt, what is followed,
// what is sent elsewhere.
package audit_test

import (
	"testing"

	"vouchsafe/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
