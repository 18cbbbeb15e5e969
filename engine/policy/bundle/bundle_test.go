package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/bundle"

	"vouchsafe/engine/policy"
	"vouchsafe/engine/policy/bundle"
	"vouchsafe/policies"
)

const secret = "4f7a1c93e06b58d2af310c7e95d8b264"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func shipped() bundle.Folder { return must(bundle.ReadFolder(policies.FS)) }

func hmac(id string) (bundle.SigningKey, bundle.Key) {
	return bundle.SigningKey{ID: id, Algorithm: "HS256", Material: []byte(secret)},
		bundle.Key{ID: id, Algorithm: "HS256", Material: []byte(secret)}
}

func pair(t *testing.T, algorithm string) (bundle.SigningKey, bundle.Key) {
	t.Helper()
	var private, public any
	switch algorithm {
	case "ES256":
		k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		private, public = k, &k.PublicKey
	case "RS256", "PS256":
		k := must(rsa.GenerateKey(rand.Reader, 2048))
		private, public = k, &k.PublicKey
	case "EdDSA":
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		private, public = key, pub
	default:
		return hmac("k1")
	}
	return bundle.SigningKey{ID: "k1", Algorithm: algorithm,
			Material: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(private))})},
		bundle.Key{ID: "k1", Algorithm: algorithm,
			Material: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(public))})}
}

func revision(t *testing.T, f bundle.Folder) string {
	t.Helper()
	return must(policy.Compile(must(f.FS()))).Revision()
}

// entry is one file of a tar, as it stands there.
type entry struct {
	name string
	kind byte
	link string
	body []byte
}

func entries(t *testing.T, packed []byte) []entry {
	t.Helper()
	var out []entry
	r := tar.NewReader(must(gzip.NewReader(bytes.NewReader(packed))))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, entry{h.Name, h.Typeflag, h.Linkname, must(io.ReadAll(r))})
	}
}

func packed(list []entry) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range list {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if err := w.WriteHeader(&tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: 0o600, Size: int64(len(e.body))}); err != nil {
			panic(err)
		}
		must(w.Write(e.body))
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

// What is bundled comes back: the same policy, its tests and its schemas.
func TestABundleIsTheFolderAgain(t *testing.T) {
	for _, algorithm := range []string{"HS256", "ES256", "RS256", "PS256", "EdDSA"} {
		sign, verify := pair(t, algorithm)
		b, err := bundle.Write(shipped(), sign, "release-7")
		if err != nil {
			t.Fatalf("%s: Write: %v", algorithm, err)
		}
		got, err := bundle.Read(b, []bundle.Key{{ID: "other", Algorithm: "HS256", Material: []byte("another secret of thirty-two bytes")}, verify}, policies.FS)
		if err != nil {
			t.Fatalf("%s: Read: %v", algorithm, err)
		}
		if got.Revision != "release-7" || got.KeyID != "k1" {
			t.Errorf("%s: Read = %q by %q", algorithm, got.Revision, got.KeyID)
		}
		if a, b := revision(t, shipped()), revision(t, got.Folder); a != b {
			t.Errorf("%s: the folder is %s, its bundle %s", algorithm, a, b)
		}
		want := slices.Sorted(maps.Keys(shipped()))
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got.Folder))); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", algorithm, diff)
		}
		r, err := policy.Test(t.Context(), must(got.Folder.FS()), policy.TestOptions{})
		if err != nil || !r.Passed() {
			t.Errorf("%s: the tests that travelled along: %v, %v", algorithm, r.Failures, err)
		}
	}
}

// OPA itself takes our bundles.
func TestOPAReadsOurBundles(t *testing.T) {
	sign, verify := pair(t, "ES256")
	b := must(bundle.Write(shipped(), sign, "r1"))
	config := opa.NewVerificationConfig(map[string]*opa.KeyConfig{"k1": {Key: string(verify.Material), Algorithm: "ES256"}}, "", "", nil)
	read, err := opa.NewReader(bytes.NewReader(b)).WithBundleVerificationConfig(config).Read()
	if err != nil {
		t.Fatal(err)
	}
	if read.Manifest.Revision != "r1" || len(read.Modules) != len(must(fs.Glob(policies.FS, "*/*.rego"))) {
		t.Errorf("OPA read %q with %d modules", read.Manifest.Revision, len(read.Modules))
	}
}

// What OPA's own writer makes, as `opa build --bundle --signing-key` calls it.
func byOPA(t *testing.T, f bundle.Folder, key bundle.SigningKey) []byte {
	t.Helper()
	data := must(policy.Data(must(f.FS())))
	var schema any
	if err := json.Unmarshal(f["schema/data.json"], &schema); err != nil {
		t.Fatal(err)
	}
	data["schema"] = schema
	b := opa.Bundle{Data: data, Manifest: opa.Manifest{Roots: &[]string{""}}}
	b.SetRegoVersion(ast.RegoV1)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if strings.HasSuffix(name, ".rego") {
			b.Modules = append(b.Modules, opa.ModuleFile{URL: "/" + name, Path: "/" + name, Raw: f[name],
				Parsed: must(ast.ParseModule(name, string(f[name])))})
		}
	}
	if err := b.GenerateSignature(opa.NewSigningConfig(string(key.Material), key.Algorithm, ""), key.ID, false); err != nil {
		t.Fatal(err)
	}
	var w bytes.Buffer
	if err := opa.NewWriter(&w).DisableFormat(true).Write(b); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

func TestBundlesOfOPAsLibraryAreRead(t *testing.T) {
	sign, verify := pair(t, "ES256")
	got, err := bundle.Read(byOPA(t, shipped(), sign), []bundle.Key{verify}, policies.FS)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := revision(t, shipped()), revision(t, got.Folder); a != b {
		t.Errorf("the folder is %s, its bundle %s", a, b)
	}
}

// The real thing, where it is installed; where CI is set it must be.
func TestBundlesOfTheOPABinaryAreRead(t *testing.T) {
	binary, err := exec.LookPath("opa")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("opa is not installed")
		}
		t.Skip("opa is not installed: go install github.com/open-policy-agent/opa@latest")
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "policies"), policies.FS); err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []string{"ES256", "HS256"} {
		sign, verify := pair(t, algorithm)
		verify.ID = "default" // what opa calls its key
		material := sign.Material
		if algorithm == "HS256" {
			material = append(bytes.Clone(material), '\n') // as editors and openssl leave it
		}
		if err := os.WriteFile(filepath.Join(dir, "key"), material, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary, "build", "--bundle", ".", "--signing-alg", algorithm, "--signing-key", "../key", "--revision", "r9", "--output", "../bundle.tar.gz")
		cmd.Dir = filepath.Join(dir, "policies")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("opa build: %v\n%s", err, out)
		}
		got, err := bundle.Read(must(os.ReadFile(filepath.Join(dir, "bundle.tar.gz"))), []bundle.Key{verify}, policies.FS)
		if err != nil {
			t.Fatalf("%s: %v", algorithm, err)
		}
		if got.Revision != "r9" || revision(t, got.Folder) != revision(t, shipped()) {
			t.Errorf("%s: Read = %q, %s; want r9 and the folder's revision", algorithm, got.Revision, revision(t, got.Folder))
		}
		r, err := policy.Test(t.Context(), must(got.Folder.FS()), policy.TestOptions{})
		if err != nil || !r.Passed() {
			t.Errorf("%s: the tests that travelled along: %v, %v", algorithm, r.Failures, err)
		}
	}
}

// Each bundle here is one step away from one that is read.
func TestWhatIsNoBundleForUs(t *testing.T) {
	sign, verify := hmac("k1")
	good := must(bundle.Write(shipped(), sign, ""))
	if _, err := bundle.Read(good, []bundle.Key{verify}, policies.FS); err != nil {
		t.Fatal(err)
	}
	change := func(f func([]entry) []entry) []byte { return packed(f(entries(t, good))) }
	edit := func(name string, f func([]byte) []byte) []byte {
		found := false
		b := change(func(list []entry) []entry {
			for i := range list {
				if list[i].name == name {
					found = true
					list[i].body = f(list[i].body)
				}
			}
			return list
		})
		if !found {
			t.Fatalf("the bundle has no %s", name)
		}
		return b
	}
	add := func(e entry) []byte { return change(func(list []entry) []entry { return append(list, e) }) }
	without := func(name string) []byte {
		return change(func(list []entry) []entry {
			return slices.DeleteFunc(list, func(e entry) bool { return e.name == name })
		})
	}
	other := verify
	other.Material = []byte("another secret of thirty-two bytes")
	renamed := verify
	renamed.ID = "k2"
	weak := func() []byte {
		files := map[string][]byte{}
		for _, e := range entries(t, good) {
			files[strings.TrimPrefix(e.name, "/")] = e.body
		}
		var infos []opa.FileInfo
		for name, body := range files {
			if name == ".signatures.json" {
				continue
			}
			var content any = body
			if opa.IsStructuredDoc(name) {
				if err := json.Unmarshal(body, &content); err != nil {
					t.Fatal(err)
				}
			}
			sum := must(must(opa.NewSignatureHasher(opa.MD5)).HashFile(content))
			infos = append(infos, opa.NewFile(name, hexOf(sum), "MD5"))
		}
		token := must(opa.GenerateSignedToken(infos, opa.NewSigningConfig(secret, "HS256", ""), "k1"))
		return edit("/.signatures.json", func([]byte) []byte {
			return must(json.Marshal(opa.SignaturesConfig{Signatures: []string{token}}))
		})
	}
	big := bytes.Repeat([]byte("# x\n"), 3<<20)
	for _, tt := range []struct {
		name   string
		packed []byte
		keys   []bundle.Key
		says   string
	}{
		{"no key", good, []bundle.Key{}, "no key to verify"},
		{"a wrong key", good, []bundle.Key{other}, "verify"},
		{"a wrong key id", good, []bundle.Key{renamed}, `the key "k1", which is not one`},
		{"another algorithm", good, []bundle.Key{{ID: "k1", Algorithm: "HS384", Material: verify.Material}}, "verify"},
		{"no signature", without("/.signatures.json"), nil, "not signed"},
		{"an empty signature", edit("/.signatures.json", func([]byte) []byte { return []byte(`{"signatures":[]}`) }), nil, "exactly one signature"},
		{"two signatures", edit("/.signatures.json", func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"]`), []byte(`","x.y.z"]`), 1)
		}), nil, "exactly one signature"},
		{"another verifier", edit("/.signatures.json", func(b []byte) []byte {
			return bytes.Replace(b, []byte(`{"`), []byte(`{"plugin":"mine","`), 1)
		}), nil, "of the plain kind"},
		{"no JWT", edit("/.signatures.json", func([]byte) []byte { return []byte(`{"signatures":["x"]}`) }), nil, "cannot be read"},
		{"weak hashes", weak(), nil, "SHA-256 is the least"},
		{"a rule changed", edit("/authz/tier.rego", func(b []byte) []byte { return append(b, '\n') }), nil, "digest mismatch"},
		{"a schema changed", edit("/schema/input.json", func(b []byte) []byte { return append(b, '\n') }), nil, "digest mismatch"},
		{"a setting changed", edit("/data.json", func(b []byte) []byte { return bytes.Replace(b, []byte(`"pro"`), []byte(`"xro"`), 1) }), nil, "digest mismatch"},
		{"a rule left out", without("/authz/tier.rego"), nil, "not found in the target bundle"},
		{"a rule added", add(entry{name: "/authz/more.rego", body: []byte("package authz\n")}), nil, "not included in bundle signature"},
		{"a page added", add(entry{name: "/README.md", body: []byte("hello\n")}), nil, "not included in bundle signature"},
		{"a rule twice", add(entry{name: "authz/tier.rego", body: []byte("package authz\n")}), nil, "twice"},
		{"a delta bundle", packed([]entry{{name: "/patch.json", body: []byte(`{"data":[]}`)}}), nil, "delta bundle"},
		{"a delta beside it", add(entry{name: "/patch.json", body: []byte(`{"data":[]}`)}), nil, "delta bundle"},
		{"Wasm", add(entry{name: "/policy.wasm", body: []byte("x")}), nil, "only Rego"},
		{"a plan", add(entry{name: "/plan.json", body: []byte("{}")}), nil, "only Rego"},
		{"a way out", add(entry{name: "/../x.rego", body: []byte("package x\n")}), nil, "leads elsewhere"},
		{"a way out further in", add(entry{name: "authz/../../x.rego", body: []byte("package x\n")}), nil, "leads elsewhere"},
		{"a root of its own", add(entry{name: "//etc/x.rego", body: []byte("package x\n")}), nil, "leads elsewhere"},
		{"a backslash", add(entry{name: `authz\..\x.rego`, body: []byte("package x\n")}), nil, "leads elsewhere"},
		{"a hidden file", add(entry{name: "/authz/.x.rego", body: []byte("package x\n")}), nil, "hidden"},
		{"a manifest further in", add(entry{name: "/authz/.manifest.json", body: []byte("{}")}), nil, "hidden"},
		{"a link", add(entry{name: "/x.rego", kind: tar.TypeSymlink, link: "/etc/passwd"}), nil, "not a plain file"},
		{"a hard link", add(entry{name: "/x.rego", kind: tar.TypeLink, link: "authz/tier.rego"}), nil, "not a plain file"},
		{"a pipe", add(entry{name: "/x.rego", kind: tar.TypeFifo}), nil, "not a plain file"},
		{"too large a file", add(entry{name: "/x.rego", body: big[:5<<20]}), nil, "more than any policy"},
		{"too much in all", change(func(list []entry) []entry {
			for _, name := range []string{"a", "b", "c", "d", "e"} {
				list = append(list, entry{name: name + ".rego", body: big[:4<<20]})
			}
			return list
		}), nil, "more than any policy"},
		{"too many folders", folders(90_000), nil, "follows the end"},
		{"too large to look at", bytes.Repeat([]byte("x"), bundle.MaxBytes+1), nil, "larger than"},
		{"half of it", good[:len(good)/2], nil, "damaged or not whole"},
		{"all but its end", good[:len(good)-1], nil, "damaged or not whole"},
		{"a flipped bit", flipped(good), nil, ""},
		{"more after it", append(bytes.Clone(good), good...), nil, "follows the end"},
		{"nothing", nil, nil, "it is empty"},
		{"a web page", []byte("<!doctype html><title>Sign in</title>"), nil, "looks like a web page"},
		{"an error document", []byte(`{"code":"not_found"}`), nil, "looks like JSON"},
		{"an old Rego", packedBy(t, "package authz\n\nallow { input.x }\n"), nil, ""},
	} {
		keys := tt.keys
		if keys == nil {
			keys = []bundle.Key{verify}
		}
		got, err := bundle.Read(tt.packed, keys, policies.FS)
		if err == nil {
			t.Errorf("%s: read, %d files", tt.name, len(got.Folder))
			continue
		}
		if !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v; want ...%s...", tt.name, err, tt.says)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error holds the secret", tt.name)
		}
	}
}

// folders is a bundle of nothing but folders, which compress to very little.
func folders(n int) []byte {
	list := make([]entry, n)
	for i := range list {
		list[i] = entry{name: "d/", kind: tar.TypeDir}
	}
	return packed(list)
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range b {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	return b
}

// packedBy is a signed bundle of one module.
func packedBy(t *testing.T, module string) []byte {
	t.Helper()
	sign, _ := hmac("k1")
	f := shipped()
	f["authz/old.rego"] = []byte(module)
	return must(bundle.Write(f, sign, ""))
}

// A bundle that does not say which key it is signed with takes the only one.
func TestAKeyWithoutAName(t *testing.T) {
	sign, verify := hmac("")
	b := must(bundle.Write(shipped(), sign, ""))
	verify.ID = "whatever"
	if _, err := bundle.Read(b, []bundle.Key{verify}, policies.FS); err != nil {
		t.Errorf("with one key: %v", err)
	}
	second := bundle.Key{ID: "k2", Algorithm: "HS256", Material: []byte("another secret of thirty-two bytes")}
	if _, err := bundle.Read(b, []bundle.Key{verify, second}, policies.FS); err == nil || !strings.Contains(err.Error(), "there are several") {
		t.Errorf("with two keys: %v", err)
	}
}

func TestSigningKeysThatWillNotDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a-file-with-a-long-enough-name-for-a-secret")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]bundle.SigningKey{
		"no algorithm": {Algorithm: "none", Material: []byte(secret)},
		"no key":       {Algorithm: "ES256", Material: []byte(secret)},
		"a file":       {Algorithm: "HS256", Material: []byte(file)},
		"no text":      {Algorithm: "HS256", Material: []byte(secret + "\x00")},
	} {
		b, err := bundle.Write(shipped(), key, "")
		if err == nil {
			t.Errorf("%s: %d bytes", name, len(b))
		} else if strings.Contains(err.Error(), string(key.Material)) {
			t.Errorf("%s: the error holds the key: %v", name, err)
		}
	}
	broken := shipped()
	broken["data.yaml"] = []byte("tiers: {pro: {includes: {nothing: true}}}\n")
	if _, err := bundle.Write(broken, bundle.SigningKey{Algorithm: "HS256", Material: []byte(secret)}, ""); err == nil {
		t.Error("settings of the wrong shape were bundled")
	}
}

func TestFoldersArePackedWhole(t *testing.T) {
	f := shipped()
	a, b := must(f.Pack()), must(f.Pack())
	if !bytes.Equal(a, b) {
		t.Error("the same folder packs to other bytes")
	}
	back := must(bundle.Unpack(a))
	if diff := cmp.Diff(map[string][]byte(f), map[string][]byte(back)); diff != "" {
		t.Errorf("unpacked (-want +got):\n%s", diff)
	}
	if f.Digest() != back.Digest() {
		t.Error("the digest changed")
	}
	back["x.rego"] = nil
	if f.Digest() == back.Digest() {
		t.Error("another folder has the same digest")
	}
	if _, err := bundle.Unpack(a[:len(a)/2]); err == nil {
		t.Error("half a folder was unpacked")
	}
}
