package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	opa "github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/util"

	"vouchsafe/engine/policy"
)

// SigningKey signs bundles: for the algorithms HS256 to HS512 a shared secret,
// for the others a private key in PEM.
type SigningKey struct {
	ID        string // "" for none, which suits whoever verifies with one key
	Algorithm string
	Material  []byte
}

// Write makes a signed bundle of a policy folder, its tests and schemas
// included. revision is what its maker calls it, "" for no name. The same folder
// gives the same files; whether the same bytes, depends on the algorithm.
func Write(f Folder, key SigningKey, revision string) ([]byte, error) {
	files, err := bundled(f, revision)
	if err != nil {
		return nil, err
	}
	signature, err := sign(files, key)
	if err != nil {
		return nil, err
	}
	files[signaturesFile] = signature
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, name := range (Folder)(files).names() {
		h := &tar.Header{Name: "/" + name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(files[name]))}
		if err := t.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("writing the bundle: %w", err)
		}
		if _, err := t.Write(files[name]); err != nil {
			return nil, fmt.Errorf("writing the bundle: %w", err)
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("writing the bundle: %w", err)
	}
	if b.Len() > MaxBytes {
		return nil, fmt.Errorf("the bundle would be larger than %d bytes", MaxBytes)
	}
	return b.Bytes(), nil
}

// bundled lays a folder out as OPA has it: data in data.json, with the schema of
// data where OPA itself would put it.
func bundled(f Folder, revision string) (map[string][]byte, error) {
	fsys, err := f.FS()
	if err != nil {
		return nil, err
	}
	// As the gate reads it, which is not in all things how OPA reads YAML.
	data, err := policy.Data(fsys)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, text := range f {
		switch {
		case name == folderData:
		case opa.IsYAMLDataFile(name), strings.HasSuffix(name, bundleData) && name != dataSchema:
			return nil, fmt.Errorf("%s would be read as data: settings stand in %s", name, folderData)
		default:
			files[name] = text
		}
	}
	if text := f[dataSchema]; text != nil {
		if _, taken := data[schemaKey]; taken {
			return nil, fmt.Errorf("%s may not have the key %s: a bundle has the schema of data there", folderData, schemaKey)
		}
		var schema any
		if err := util.UnmarshalJSON(text, &schema); err != nil {
			return nil, fmt.Errorf("reading %s: %w", dataSchema, err)
		}
		data[schemaKey] = schema
		delete(files, dataSchema)
	}
	if files[bundleData], err = json.Marshal(data); err != nil {
		return nil, fmt.Errorf("reading %s: %w", folderData, err)
	}
	version := 1
	if files[manifestFile], err = json.Marshal(opa.Manifest{Revision: revision, Roots: &[]string{""}, RegoVersion: &version}); err != nil {
		return nil, fmt.Errorf("writing the manifest: %w", err)
	}
	return files, nil
}

// sign signs the hash of every file.
func sign(files map[string][]byte, key SigningKey) ([]byte, error) {
	hasher, err := opa.NewSignatureHasher(opa.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing the bundle: %w", err)
	}
	var infos []opa.FileInfo
	for _, name := range (Folder)(files).names() {
		var content any = files[name]
		if opa.IsStructuredDoc(name) {
			if err := util.Unmarshal(files[name], &content); err != nil {
				return nil, fmt.Errorf("signing %s: %w", name, err)
			}
		}
		sum, err := hasher.HashFile(content)
		if err != nil {
			return nil, fmt.Errorf("signing %s: %w", name, err)
		}
		infos = append(infos, opa.NewFile(name, hex.EncodeToString(sum), opa.SHA256.String()))
	}
	secret := strings.HasPrefix(key.Algorithm, "HS")
	if secret {
		// OPA would take a secret that is the name of a file for that file.
		if _, err := os.Stat(string(key.Material)); err == nil {
			return nil, errors.New("signing the bundle: the secret is the name of a file")
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, errors.New("signing the bundle: the secret must be text without zero bytes, of at most 255")
		}
	}
	token, err := opa.GenerateSignedToken(infos, opa.NewSigningConfig(string(key.Material), key.Algorithm, ""), key.ID)
	switch {
	case err != nil && secret:
		return nil, errors.New("signing the bundle: the secret cannot be used") // the cause may repeat it
	case err != nil:
		return nil, fmt.Errorf("signing the bundle: %w", err)
	}
	out, err := json.Marshal(opa.SignaturesConfig{Signatures: []string{token}})
	if err != nil {
		return nil, fmt.Errorf("signing the bundle: %w", err)
	}
	return slices.Clip(out), nil
}
