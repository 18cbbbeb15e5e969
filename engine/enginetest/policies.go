package enginetest

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"vouchsafe/policies"
)

// Policies returns the shipped policies with files added or replaced.
func Policies(t testing.TB, files map[string]string) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	err := fs.WalkDir(policies.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(policies.FS, path)
		out[path] = &fstest.MapFile{Data: b}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range files {
		out[path] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

// Obliging returns the shipped policies with one more obligation, a Rego object,
// on the actions of that name.
func Obliging(t testing.TB, action, obligation string) fstest.MapFS {
	return Policies(t, map[string]string{"authz/oblige.rego": "package authz\n\noblige contains " + obligation +
		" if input.action.name == \"" + action + "\"\n"})
}
