package faults_test

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.etcd.io/gofail/code"

	"vouchsafe/tests/harness"
)

// disk is a file that is put beside bbolt's own.
//
//go:embed testdata/disk.go.txt
var disk []byte

// An edit of a copied file; what is replaced must be there exactly once.
type edit struct{ file, old, new string }

// edits make bbolt's failpoints fail for the files that a test names, give those
// at its two syncs, which can only be waited in or panicked at, an error to
// return, and put a disk under its files.
var edits = []edit{
	{"tx.go", "// gofail: var beforeSyncDataPages struct{}\n", failpoint("beforeSyncDataPages", "tx.db")},
	{"tx.go", "// gofail: var beforeSyncMetaPage struct{}\n", failpoint("beforeSyncMetaPage", "tx.db")},
	{"tx.go", "// gofail: var beforeWriteMetaError string\n	// return errors.New(beforeWriteMetaError)\n", failpoint("beforeWriteMetaError", "tx.db")},
	{"tx.go", "// gofail: var lackOfDiskSpace string\n		// tx.rollback()\n		// return errors.New(lackOfDiskSpace)\n", failpoint("lackOfDiskSpace", "tx.db", "tx.rollback()")},
	{"db.go", "// gofail: var resizeFileError string\n			// return errors.New(resizeFileError)\n", failpoint("resizeFileError", "db")},
	{"db.go", "// gofail: var mapError string\n	// return errors.New(mapError)\n", failpoint("mapError", "db")},
	{"db.go", "	db.ops.writeAt = db.file.WriteAt\n", "	spin(db)\n"},
	{"bolt_linux.go", "	return syscall.Fdatasync(int(db.file.Fd()))\n", "	if err := syscall.Fdatasync(int(db.file.Fd())); err != nil {\n		return err\n	}\n	synced(db)\n	return nil\n"},
}

func failpoint(name, db string, first ...string) string {
	lines := []string{"// gofail: var " + name + " string", "// if err := injected(" + db + ", " + name + "); err != nil {"}
	for _, l := range first {
		lines = append(lines, "// "+l)
	}
	return strings.Join(append(lines, "// return err", "// }"), "\n") + "\n"
}

// TestMain builds the gate over a copy of bbolt whose failpoints are real.
func TestMain(m *testing.M) {
	if runtime.GOOS != "linux" {
		fmt.Println("skipped: the failpoints are put into bbolt's files for Linux")
		return
	}
	dir, err := os.MkdirTemp("", "vouchsafe-bbolt-")
	if err == nil {
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "putting failpoints into bbolt:", err)
		os.Exit(1)
	}
	harness.BuildFlags = []string{"-modfile", filepath.Join(dir, "go.mod"), "-overlay", filepath.Join(dir, "overlay.json")}
	harness.Main(m, dir)
}

// prepare makes the copy in dir, and what has a build use it.
func prepare(dir string) error {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}\n{{.GoMod}}", "go.etcd.io/bbolt", "vouchsafe").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v\n%s", err, out)
	}
	paths := strings.Fields(string(out)) // bbolt's folder and go.mod, ours
	if len(paths) != 4 {
		return fmt.Errorf("go list says\n%s", out)
	}
	copied, err := cachedCopy(dir, paths[0])
	if err != nil {
		return err
	}
	// The same modules with the copy in bbolt's place.
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(paths[2], name))
		if err != nil {
			return err
		}
		if name == "go.mod" {
			b = fmt.Appendf(b, "\nreplace go.etcd.io/bbolt => %s\n", copied)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	// And the kernel's cache is the copy's.
	cache := filepath.Join(dir, "cache_linux.go")
	if err := os.WriteFile(cache, []byte("package store\n\nimport \"go.etcd.io/bbolt\"\n\n"+
		"// Refresh is that of the disk that the tests put under bbolt.\nfunc Refresh(path string) error { return bbolt.Refresh(path) }\n"), 0o600); err != nil {
		return err
	}
	// And a file of the log is soon full, so that the next is begun, and the old
	// one sealed, in the middle of everything.
	ours := func(pkg, name string) string { return filepath.Join(paths[2], "engine", pkg, name) }
	log, err := os.ReadFile(ours("audit", "log.go"))
	if err != nil {
		return err
	}
	const full, soonFull = "defaultSegment = 128 << 20", "defaultSegment = 192 << 10"
	if bytes.Count(log, []byte(full)) != 1 {
		return fmt.Errorf("log.go is not what it was: %q is not in it once", full)
	}
	segments := filepath.Join(dir, "log.go")
	if err := os.WriteFile(segments, bytes.Replace(log, []byte(full), []byte(soonFull), 1), 0o600); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{ours("store", "cache_linux.go"): cache, ours("audit", "log.go"): segments}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600)
}

// cachedCopy is the copy, of the folder from, where the compiler's cache knows it
// from another run: what a package is compiled to depends on where it is.
func cachedCopy(dir, from string) (string, error) {
	made := filepath.Join(dir, "bbolt")
	if err := os.CopyFS(made, os.DirFS(from)); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(made, "disk.go"), disk, 0o600); err != nil {
		return "", err
	}
	if err := enable(made); err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return made, nil
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %q %s", from, edits, disk))
	kept := filepath.Join(cache, "vouchsafe-tests", fmt.Sprintf("bbolt-%x", sum[:8]))
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		return made, nil
	}
	if err := os.CopyFS(kept+filepath.Base(dir), os.DirFS(made)); err != nil {
		return "", err
	}
	// Another run may have been faster.
	if err := os.Rename(kept+filepath.Base(dir), kept); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return kept, nil
}

// enable makes the edits, and code of the failpoints, as `gofail enable` does.
func enable(dir string) error {
	sources := map[string][]byte{}
	for _, e := range edits {
		src, err := sources[e.file], error(nil)
		if src == nil {
			if src, err = os.ReadFile(filepath.Join(dir, e.file)); err != nil {
				return err
			}
		}
		if bytes.Count(src, []byte(e.old)) != 1 {
			return fmt.Errorf("%s is not what it was: %q is not in it once", e.file, e.old)
		}
		sources[e.file] = bytes.Replace(src, []byte(e.old), []byte(e.new), 1)
	}
	for name, src := range sources {
		var enabled bytes.Buffer
		points, err := code.ToFailpoints(&enabled, bytes.NewReader(src))
		if err != nil {
			return err
		}
		if err := replace(filepath.Join(dir, name), enabled.Bytes()); err != nil {
			return err
		}
		if len(points) == 0 {
			continue
		}
		var vars bytes.Buffer
		if err := code.NewBinding("bbolt", points).Write(&vars); err != nil {
			return err
		}
		if err := replace(filepath.Join(dir, strings.TrimSuffix(name, ".go")+"_fail.go"), vars.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file over one that came out of the module cache read-only.
func replace(path string, b []byte) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}
