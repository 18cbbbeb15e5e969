package identity

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestVisitorCannotBeForged builds programs outside this package. The honest
// one compiles, which shows that the others fail for what they try.
func TestVisitorCannotBeForged(t *testing.T) {
	for _, tt := range []struct{ name, complaint string }{
		{"honest", ""},
		{"literal", "cannot refer to unexported field v"},
		{"positional", "implicit assignment to unexported field v"},
		{"field", "v.v undefined"},
		{"conversion", "cannot convert"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := exec.Command("go", "vet", "./testdata/forge/"+tt.name).CombinedOutput()
			if tt.complaint == "" {
				if err != nil {
					t.Fatalf("the honest program does not compile: %v\n%s", err, out)
				}
				return
			}
			if err == nil || !strings.Contains(string(out), tt.complaint) {
				t.Errorf("go vet: %v, want a complaint that it %s\n%s", err, tt.complaint, out)
			}
		})
	}
}

func TestZeroVisitorIsNobody(t *testing.T) {
	var decoded Visitor
	// What cannot be written as a literal might be written as JSON.
	//lint:ignore SA9005 that nothing gets through is what is tested
	if err := json.Unmarshal([]byte(`{"v":{"email":"alex@example.com"},"V":{},"email":"alex@example.com","Site":"shop"}`), &decoded); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]Visitor{"literal": {}, "new": *new(Visitor), "decoded": decoded, "of a bare result": Result{State: Verified}.Visitor} {
		for _, now := range []time.Time{{}, time.Unix(0, 0), noon} {
			if v.Live(now) {
				t.Errorf("%s: Live(%s) = true", name, now)
			}
		}
		if v.Site() != "" || v.Subject() != "" || v.Email() != "" || v.Name() != "" || v.TokenID() != "" ||
			v.EmailVerified() != nil || v.Claims() != nil || v.Lifetime() != 0 || !v.IssuedAt().IsZero() || !v.ExpiresAt().IsZero() {
			t.Errorf("%s: nobody has something", name)
		}
	}
	if got := State(200).String(); got != "invalid" {
		t.Errorf("State(200) = %q, want invalid", got)
	}
}
