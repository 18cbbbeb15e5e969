package main

import (
	"context"
	"errors"
	"testing"
	"testing/fstest"
	"time"
)

// Each look runs again exactly when the content is another, and what the last
// run came to is the end of it.
func TestWatchRunsAgainWhenSomethingChanged(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	look, content := make(chan time.Time), make(chan digest)
	ran, ended := make(chan int, 10), make(chan error)
	last := errors.New("the last run")
	go func() {
		runs := 0
		ended <- again(ctx, func() digest { return <-content }, look, func() error {
			runs++
			ran <- runs
			return last
		})
	}()
	content <- digest{1}
	for _, now := range []byte{1, 2, 2, 3, 1} {
		look <- time.Time{}
		content <- digest{now}
	}
	cancel()
	if err := <-ended; err != last {
		t.Errorf("again = %v, want what the last run came to", err)
	}
	if len(ran) != 4 {
		t.Errorf("ran %d times, want at first and after three changes", len(ran))
	}
}

func TestContentIsOfEveryFile(t *testing.T) {
	files := func(change func(fstest.MapFS)) digest {
		f := fstest.MapFS{"authz/a.rego": {Data: []byte("a")}, "data.yaml": {Data: []byte("b")}}
		change(f)
		return contents(f)
	}
	first := files(func(fstest.MapFS) {})
	if first != files(func(fstest.MapFS) {}) {
		t.Error("the same files have another content")
	}
	for name, change := range map[string]func(fstest.MapFS){
		"an edit":      func(f fstest.MapFS) { f["data.yaml"].Data = []byte("c") },
		"another file": func(f fstest.MapFS) { f["authz/a_test.rego"] = &fstest.MapFile{} },
		"a file gone":  func(f fstest.MapFS) { delete(f, "data.yaml") },
		"another name": func(f fstest.MapFS) { f["authz/b.rego"] = f["authz/a.rego"]; delete(f, "authz/a.rego") },
	} {
		if files(change) == first {
			t.Errorf("%s went unnoticed", name)
		}
	}
}
