package policy

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"testing"
	"testing/fstest"

	"vouchsafe/policies"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func bytesReader(b []byte) io.Reader { return bytes.NewReader(b) }

// tiny is a policy folder whose authz package is this text.
func tiny(authz string) fstest.MapFS {
	return fstest.MapFS{
		"authz/p.rego":      {Data: []byte("package authz\n\n" + authz)},
		"release/p.rego":    {Data: []byte("package release\n\ndecision := {\"withheld\": [], \"redacted\": []}\n")},
		"schema/input.json": {Data: must(policies.FS.ReadFile(inputSchemaFile))},
	}
}

// tinyRelease is a policy folder whose release package is this text.
func tinyRelease(release string) fstest.MapFS {
	f := tiny("decision := {\"allow\": true, \"reasons\": [], \"obligations\": []}\n")
	f["release/p.rego"] = &fstest.MapFile{Data: []byte("package release\n\n" + release)}
	return f
}

func compiled(t testing.TB, fsys fs.FS) *Set {
	t.Helper()
	s, err := Compile(fsys)
	if err != nil {
		t.Fatalf("Compile: %v", err)
	}
	return s
}

// shippedFiles is the shipped policy, to be changed.
func shippedFiles(t testing.TB, changes map[string]string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(policies.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name] = &fstest.MapFile{Data: must(policies.FS.ReadFile(name))}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range changes {
		if text == "" {
			delete(files, name)
			continue
		}
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return maps.Clone(files)
}
