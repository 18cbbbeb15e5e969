package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/loader/filter"
)

// Where things are in a bundle, and where they belong in a policy folder.
const (
	manifestFile   = ".manifest"
	signaturesFile = ".signatures.json"
	bundleData     = "data.json"
	patchFile      = "patch.json"

	folderData  = "data.yaml"
	dataSchema  = "schema/data.json"
	inputSchema = "schema/input.json"
	// schemaKey is where OPA puts schema/data.json, which it takes for data.
	schemaKey = "schema"
)

// maxUnpacked bounds a bundle with all its headers.
const maxUnpacked = 2 * MaxBytes

// Key verifies bundles: for the algorithms HS256 to HS512 a shared secret, for
// the others a public key in PEM.
type Key struct {
	ID        string // the kid of the signature
	Algorithm string // the one JWS algorithm (RFC 7518) the key is for
	Material  []byte
}

// Bundle is a policy that came in one.
type Bundle struct {
	Folder   Folder
	Revision string // as its maker calls it, "" when it has no name
	KeyID    string // of the key that verified it, "" when none was asked for
}

// Read reads a signed bundle and verifies it with one of the keys. A bundle
// without a key id is verified with the only key, when there is one. schemas is
// the folder whose schemas are used where the bundle brings none, which is how
// `opa build` leaves it.
//
// Refused are: no signature, one of another key, or one that leaves a file out;
// hashes weaker than SHA-256; delta bundles; Wasm and plans; links, names that
// lead elsewhere, hidden files; anything past its bounds.
func Read(packed []byte, keys []Key, schemas fs.FS) (Bundle, error) {
	if len(keys) == 0 {
		return Bundle{}, errors.New("there is no key to verify the bundle with")
	}
	files, err := unpack(packed)
	if err != nil {
		return Bundle{}, err
	}
	key, err := signer(files[signaturesFile], keys)
	if err != nil {
		return Bundle{}, err
	}
	var config *opa.VerificationConfig
	for _, material := range key.materials() {
		config = opa.NewVerificationConfig(map[string]*opa.KeyConfig{
			key.ID: {Key: string(material), Algorithm: key.Algorithm}}, key.ID, "", nil)
		if err = strong(files[signaturesFile], config); err == nil || errors.Is(err, errWeak) {
			break
		}
	}
	if err != nil {
		return Bundle{}, fmt.Errorf("verifying the bundle: %w", err)
	}
	read, err := parse(files, func(r *opa.Reader) { r.WithBundleVerificationConfig(config) })
	if err != nil {
		return Bundle{}, fmt.Errorf("verifying the bundle: %w", err)
	}
	out, err := folderOf(files, &read, schemas)
	out.KeyID = key.ID
	return out, err
}

// ReadUnverified reads a bundle for whoever only looks at it: signed or not, by
// whomever. What it returns is never put in force.
func ReadUnverified(packed []byte, schemas fs.FS) (Bundle, error) {
	files, err := unpack(packed)
	if err != nil {
		return Bundle{}, err
	}
	read, err := parse(files, func(r *opa.Reader) { r.WithSkipBundleVerification(true) })
	if err != nil {
		return Bundle{}, fmt.Errorf("reading the bundle: %w", err)
	}
	return folderOf(files, &read, schemas)
}

// materials are the bytes that the key may stand for. `opa build` signs with
// the bytes of a secret's file, the newline at its end included.
func (k Key) materials() [][]byte {
	if strings.HasPrefix(k.Algorithm, "HS") {
		return [][]byte{k.Material, append(bytes.Clone(k.Material), '\n')}
	}
	return [][]byte{k.Material}
}

// unpack unpacks a gzipped tar, all of it or nothing.
func unpack(packed []byte) (map[string][]byte, error) {
	if len(packed) > MaxBytes {
		return nil, fmt.Errorf("the bundle is larger than %d bytes", MaxBytes)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, errors.New("this is no bundle: it is not gzipped" + looksLike(packed))
	}
	files, total := map[string][]byte{}, 0
	// Headers count as well: of what compresses well, a little makes a lot.
	t := tar.NewReader(&io.LimitedReader{R: z, N: maxUnpacked})
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("the bundle is damaged or not whole: %w", err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		name, err := nameOf(h)
		if err != nil {
			return nil, err
		}
		if _, twice := files[name]; twice {
			return nil, fmt.Errorf("the bundle holds %s twice", name)
		}
		if h.Size > maxFile || total+int(h.Size) > MaxBytes || len(files) >= maxFiles {
			return nil, errors.New("the bundle holds more than any policy")
		}
		text, err := io.ReadAll(io.LimitReader(t, maxFile+1))
		if err != nil {
			return nil, fmt.Errorf("the bundle is damaged or not whole: %w", err)
		}
		total += len(text)
		files[name] = text
	}
	// The checksum stands at the very end, and nothing but padding before it.
	rest, err := io.ReadAll(io.LimitReader(z, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("the bundle is damaged or not whole: %w", err)
	}
	if len(bytes.Trim(rest, "\x00")) > 0 {
		return nil, errors.New("something follows the end of the bundle")
	}
	return files, nil
}

// nameOf is an entry's name in the policy folder.
func nameOf(h *tar.Header) (string, error) {
	if h.Typeflag != tar.TypeReg {
		return "", fmt.Errorf("the bundle holds %q, which is not a plain file", h.Name)
	}
	name := strings.TrimPrefix(strings.TrimPrefix(h.Name, "./"), "/")
	if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\\\x00") || !utf8.ValidString(name) {
		return "", fmt.Errorf("the bundle holds %q, a name that leads elsewhere", h.Name)
	}
	for step := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(step, ".") && name != manifestFile && name != signaturesFile {
			return "", fmt.Errorf("the bundle holds a hidden file, %q", name)
		}
	}
	switch base := path.Base(name); {
	case name == patchFile:
		return "", errors.New("this is a delta bundle, which cannot be signed: have whole ones served")
	case path.Ext(name) == ".wasm" || base == "plan.json" || strings.HasPrefix(base, "plan.") && path.Ext(base) == ".pb":
		return "", fmt.Errorf("the bundle holds %s: only Rego is evaluated", name)
	}
	return name, nil
}

// looksLike says what something that is no bundle seems to be.
func looksLike(b []byte) string {
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0:
		return "; it is empty"
	case b[0] == '<':
		return "; it looks like a web page"
	case b[0] == '{' || b[0] == '[':
		return "; it looks like JSON"
	}
	return ""
}

// signer finds the key that the signature names.
func signer(signatures []byte, keys []Key) (Key, error) {
	var file opa.SignaturesConfig
	if len(signatures) == 0 {
		return Key{}, errors.New("the bundle is not signed: make it with `vouchsafe policy bundle --sign KEYFILE`")
	}
	if err := json.Unmarshal(signatures, &file); err != nil {
		return Key{}, errors.New("the bundle's signature cannot be read")
	}
	if len(file.Signatures) != 1 || file.Plugin != "" && file.Plugin != "_default" {
		return Key{}, errors.New("the bundle must have exactly one signature, of the plain kind")
	}
	part := strings.Split(file.Signatures[0], ".")
	if len(part) != 3 {
		return Key{}, errors.New("the bundle's signature cannot be read")
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	var claims struct {
		KeyID string `json:"keyid"` // where older bundles have it
	}
	for i, into := range []any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(part[i])
		if err != nil || json.Unmarshal(b, into) != nil {
			return Key{}, errors.New("the bundle's signature cannot be read")
		}
	}
	id := header.KeyID
	if id == "" {
		id = claims.KeyID
	}
	if id == "" {
		if len(keys) == 1 {
			return keys[0], nil
		}
		return Key{}, errors.New("the bundle does not say which key it is signed with, and there are several")
	}
	i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return Key{}, fmt.Errorf("the bundle is signed with the key %q, which is not one that verifies policies", id)
	}
	return keys[i], nil
}

var errWeak = errors.New("a weak hash, SHA-256 is the least")

// strong verifies the signature and refuses hashes that can be made to collide.
func strong(signatures []byte, config *opa.VerificationConfig) error {
	var file opa.SignaturesConfig
	if err := json.Unmarshal(signatures, &file); err != nil {
		return errors.New("the signature cannot be read")
	}
	signed, err := opa.VerifyBundleSignature(file, config)
	if err != nil {
		return err
	}
	for _, f := range signed {
		switch opa.HashingAlgorithm(f.Algorithm) {
		case opa.SHA256, opa.SHA384, opa.SHA512, opa.SHA512256:
		default:
			return fmt.Errorf("%s is signed by %w: %q", f.Name, errWeak, f.Algorithm)
		}
	}
	return nil
}

// parse hands the files to OPA's own reader.
func parse(files map[string][]byte, tune func(*opa.Reader)) (opa.Bundle, error) {
	l := &memory{files: files, names: Folder(files).names()}
	r := opa.NewCustomReader(l).WithSizeLimitBytes(maxFile + 1).WithRegoVersion(ast.RegoV1).WithProcessAnnotations(true)
	tune(r)
	return r.Read()
}

// memory lets OPA read files that were unpacked already.
type memory struct {
	files map[string][]byte
	names []string
}

// NextFile returns the next file, io.EOF after the last.
func (m *memory) NextFile() (*opa.Descriptor, error) {
	if len(m.names) == 0 {
		return nil, io.EOF
	}
	name := m.names[0]
	m.names = m.names[1:]
	// A copy: OPA reads its buffer empty.
	return opa.NewDescriptor(name, "/"+name, bytes.NewBuffer(bytes.Clone(m.files[name]))), nil
}

// The loader has nothing to filter or to format.
func (m *memory) WithFilter(filter.LoaderFilter) opa.DirectoryLoader { return m }
func (m *memory) WithPathFormat(opa.PathFormat) opa.DirectoryLoader  { return m }
func (m *memory) WithSizeLimitBytes(int64) opa.DirectoryLoader       { return m }
func (m *memory) WithFollowSymlinks(bool) opa.DirectoryLoader        { return m }

// folderOf makes a policy folder of what OPA read.
func folderOf(files map[string][]byte, read *opa.Bundle, schemas fs.FS) (Bundle, error) {
	out := Bundle{Folder: Folder{}, Revision: read.Manifest.Revision}
	if len(read.Manifest.WasmResolvers) > 0 {
		return Bundle{}, errors.New("the bundle wants Wasm resolved: only Rego is evaluated")
	}
	for name, text := range files {
		switch base := path.Base(name); {
		case name == manifestFile, name == signaturesFile, opa.IsYAMLDataFile(name), base == bundleData:
			// Data is what OPA made of all of these together.
		case counts(name):
			out.Folder[name] = text
		}
	}
	data := read.Data
	if schema, ok := data[schemaKey]; ok {
		text, err := json.Marshal(schema)
		if err != nil {
			return Bundle{}, fmt.Errorf("reading the schema of data: %w", err)
		}
		out.Folder[dataSchema] = text
		delete(data, schemaKey)
	}
	if len(data) > 0 {
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		if err := e.Encode(data); err != nil { // JSON is YAML
			return Bundle{}, fmt.Errorf("reading the bundle's data: %w", err)
		}
		out.Folder[folderData] = text.Bytes()
	}
	if out.Folder[inputSchema] == nil {
		text, err := fs.ReadFile(schemas, inputSchema)
		if err != nil {
			return Bundle{}, fmt.Errorf("reading the schema of input: %w", err)
		}
		out.Folder[inputSchema] = text
	}
	return out, nil
}
