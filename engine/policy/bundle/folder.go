// Package bundle makes signed OPA bundles of policy folders, and policy folders
// of signed OPA bundles.
//
// What was signed is what is used: data is taken as the structure that OPA
// hashed, not as the text somebody wrote it in, and a file that no signature
// covers refuses the whole bundle. Nothing here says whether a policy is any
// good; that is for policy.Admit.
package bundle

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Bounds on a policy, far above what one needs.
const (
	MaxBytes = 16 << 20 // of a bundle as it travels, and of all files of a policy
	maxFile  = 4 << 20
	maxFiles = 4000
)

// Folder is a policy folder that was read once: its files by their names, which
// are written as io/fs writes them.
type Folder map[string][]byte

// ReadFolder reads what counts of a policy folder: Rego, JSON and YAML. Hidden
// files and folders do not, which is where editors and version control keep
// theirs.
func ReadFolder(fsys fs.FS) (Folder, error) {
	f, total := Folder{}, 0
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir(), !counts(name):
			return nil
		}
		text, err := readBounded(fsys, name)
		if err != nil {
			return err
		}
		if total += len(text); total > MaxBytes || len(f) >= maxFiles {
			return errors.New("the folder holds more than any policy: is it the right one?")
		}
		f[name] = text
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the policy folder: %w", err)
	}
	return f, nil
}

// counts reports whether a file can be part of a policy.
func counts(name string) bool {
	return slices.Contains([]string{".rego", ".json", ".yaml", ".yml"}, path.Ext(name))
}

func readBounded(fsys fs.FS, name string) ([]byte, error) {
	// Looked at before it is opened: opening a pipe could block for ever.
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return text, nil
}

// Digest names the folder by all its content.
func (f Folder) Digest() [sha256.Size]byte {
	h := sha256.New()
	for _, name := range f.names() {
		for _, part := range [][]byte{[]byte(name), f[name]} {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			h.Write(part)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func (f Folder) names() []string { return slices.Sorted(maps.Keys(f)) }

// FS returns the folder as a file system.
func (f Folder) FS() (fs.FS, error) {
	packed, err := f.Pack()
	if err != nil {
		return nil, err
	}
	return zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
}

// Pack writes the folder into one piece, to be kept. The same folder packs to
// the same bytes.
func (f Folder) Pack() ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range f.names() {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(f[name])
		}
		if err != nil {
			return nil, fmt.Errorf("packing %s: %w", name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("packing the policy: %w", err)
	}
	return b.Bytes(), nil
}

// Unpack reads what Pack wrote.
func Unpack(packed []byte) (Folder, error) {
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return nil, fmt.Errorf("unpacking the policy: %w", err)
	}
	f := Folder{}
	for _, file := range z.File {
		if !fs.ValidPath(file.Name) {
			return nil, errors.New("unpacking the policy: a file has a name that leads elsewhere")
		}
		if f[file.Name], err = readBounded(z, file.Name); err != nil {
			return nil, fmt.Errorf("unpacking the policy: %w", err)
		}
	}
	return f, nil
}
