package conversation_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"vouchsafe/engine/policy"
	"vouchsafe/policies"
)

// changed is the shipped policy with another revision.
func changed(t *testing.T) *policy.Set {
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
	out["authz/more.rego"] = &fstest.MapFile{Data: []byte("package authz\n\n_more := 1\n")}
	set, err := policy.Compile(out)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
