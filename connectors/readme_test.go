package connectors

import (
	"os"
	"strings"
	"testing"
)

// The manifests in the README are what anybody copies first, so they must load,
// and the first be the one the other tests use.
func TestREADMEManifests(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for rest := string(readme); ; {
		_, after, ok := strings.Cut(rest, "```yaml\n")
		if !ok {
			break
		}
		src, more, closed := strings.Cut(after, "```\n")
		if !closed {
			t.Fatal("a manifest of the README has no end")
		}
		if rest = more; strings.Contains(src, "kind: parcels") {
			continue // of the connector in Go, which TestREADMEConnector runs
		}
		if _, err := NewCatalog([]*Manifest{mustParse(t, src)}); err != nil {
			t.Errorf("a manifest of the README is refused: %v\n%s", err, src)
		}
		shown = append(shown, src)
	}
	want, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(shown) < 2 || shown[0] != string(want) {
		t.Errorf("of the README's %d manifests the first is not testdata/shop.yaml", len(shown))
	}
}
