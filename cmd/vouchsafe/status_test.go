package main

import (
	"bytes"
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"vouchsafe/engine/socket"
)

// answering runs a server on the admin socket of a new data folder, with one
// answer to everything.
func answering(t *testing.T, status int, body string) (data string) {
	t.Helper()
	data = t.TempDir()
	l, err := socket.Listen(filepath.Join(data, adminSocket))
	if err != nil {
		t.Fatalf("socket.Listen: %v", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		w.Write([]byte(body))
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return data
}

func TestStatusSaysHowItIs(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		code   int
		want   string // in the output
	}{
		{"not a server of ours", 200, "<html>", 2, "cannot be read"},
		{"a failing server", 500, `{"code":"internal","detail":"Something went wrong here."}`, 2, "Something went wrong here."},
		{"an answer in another form", 502, "bad gateway", 2, "status 502"},
		{"nothing that says ready", 200, `{}`, 1, "unable"},
		{"unable to serve", 200, `{"ready":false,"degraded":["decisions cannot be recorded"]}`, 1, "decisions cannot be recorded"},
		{"degraded", 200, `{"ready":true,"degraded":["a key set is stale"]}`, 1, "a key set is stale"},
		{"the log does not write", 200, `{"ready":true,"degraded":["x"],"audit":{"healthy":false,"problem":"disk full","waiting":3}}`, 1, "not writing: disk full, 3 waiting"},
		{"ready", 200, `{"ready":true,"degraded":[],"policy":{"revision":"abc"},"audit":{"healthy":true}}`, 0, "abc"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := answering(t, test.status, test.body)
			var out, errs bytes.Buffer
			got := run(context.Background(), []string{"status", "--data", data}, strings.NewReader(""), &out, &errs)
			if got != test.code || !strings.Contains(out.String()+errs.String(), test.want) {
				t.Errorf("status of %s = %d, %q, %q: want %d and %q", test.body, got, out.String(), errs.String(), test.code, test.want)
			}
		})
	}
}
