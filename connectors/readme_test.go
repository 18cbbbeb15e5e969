package connectors

import (
	"os"
	"strings"
	"testing"
)

// The manifest in the README is the first that anybody copies, so it must load
// and be the one the other tests use.
func TestREADMEManifest(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "```yaml\n")
	src, _, closed := strings.Cut(rest, "```\n")
	if !ok || !closed {
		t.Fatal("the README shows no manifest")
	}
	mustParse(t, src)
	want, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if src != string(want) {
		t.Error("the README's manifest is not testdata/shop.yaml")
	}
}
