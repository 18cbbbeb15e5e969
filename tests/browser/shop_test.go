package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"vouchsafe/tests/harness"
)

// shop is the demo, and a browser to visit it with.
type shop struct {
	*harness.Demo
	browser context.Context
}

func open(t *testing.T) *shop {
	t.Helper()
	browser := launch(t)
	return &shop{harness.StartDemo(t), browser}
}

// calls are the requests that reached the shop's admin API, as "METHOD path".
func (s *shop) calls(t *testing.T) []string {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(s.Data, "demo", "shop", "calls.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for lines := bufio.NewScanner(bytes.NewReader(file)); lines.Scan(); {
		var c struct{ Method, Path string }
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		out = append(out, c.Method+" "+c.Path)
	}
	return out
}

// writes are the calls that asked the shop to change something.
func (s *shop) writes(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, c := range s.calls(t) {
		if c[:4] != "GET " {
			out = append(out, c)
		}
	}
	return out
}
