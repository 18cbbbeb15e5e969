package catalog_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Shopify publishes the schema of its GraphQL API in this package, and the test
// takes nothing else from it.
const (
	schemaPackage   = "@shopify/dev-mcp@1.16.0"
	schemaIntegrity = "tqgRnK7sQhjew+htxtleTH23nXB5fZcsrhWgEkomsorGXvLOB2mh2upwZm8uzuTDNTZnqtLMe64yIwh6s2awtw=="
	schemaFile      = "package/dist/data/admin_2026-07.json.gz"
)

// published fetches a package of npm into dir, and is what its archive holds.
func published(ctx context.Context, dir, name, integrity string) (*tar.Reader, error) {
	pack := exec.CommandContext(ctx, "npm", "pack", "--silent", name)
	pack.Dir = dir
	if out, err := pack.CombinedOutput(); err != nil {
		return nil, errors.New("npm pack: " + string(out))
	}
	archives, _ := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if len(archives) != 1 {
		return nil, errors.New("npm pack made no archive")
	}
	archive, err := os.ReadFile(archives[0])
	if err != nil {
		return nil, err
	}
	if sum := sha512.Sum512(archive); base64.StdEncoding.EncodeToString(sum[:]) != integrity {
		return nil, errors.New("the package is not the one that was looked at")
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	return tar.NewReader(unzipped), nil
}

// shopifySchema fetches the schema into dir.
func shopifySchema(ctx context.Context, dir string) (string, error) {
	files, err := published(ctx, dir, schemaPackage, schemaIntegrity)
	if err != nil {
		return "", err
	}
	for {
		h, err := files.Next()
		if err != nil {
			return "", err
		}
		if h.Name != schemaFile {
			continue
		}
		schema, err := gzip.NewReader(files)
		if err != nil {
			return "", err
		}
		b, err := io.ReadAll(io.LimitReader(schema, 64<<20))
		if err != nil {
			return "", err
		}
		file := filepath.Join(dir, "schema.json")
		return file, os.WriteFile(file, b, 0o600)
	}
}

// shopifyMock executes queries against the schema.
func shopifyMock(t *testing.T) string {
	t.Helper()
	missing := func(what string) {
		if os.Getenv("CI") != "" {
			t.Fatalf("missing in CI: %s", what)
		}
		t.Skipf("skipped: %s", what)
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(tool + ", for Shopify's schema")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	schema, err := shopifySchema(ctx, dir)
	if err != nil {
		missing("Shopify's schema: " + err.Error())
	}
	for _, name := range []string{"package.json", "package-lock.json", "mock.mjs"} {
		b, err := os.ReadFile(filepath.Join("testdata", "shopify", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		missing("npm ci: " + string(out))
	}
	var log bytes.Buffer
	mock := exec.Command("node", "mock.mjs", schema, alex.Email)
	mock.Dir, mock.Stderr = dir, &log
	in, err := mock.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := mock.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := mock.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); mock.Wait() })
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the mock does not start: %s", log.String())
	}
	return strings.TrimSpace(url)
}

func TestShopifySchema(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it fetches Shopify's schema")
	}
	mock := shopifyMock(t)
	var refused []string
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := http.Post(mock, "application/json", r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		if bytes.Contains(b, []byte(`"errors"`)) {
			refused = append(refused, string(b))
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(b)
	}))
	defer front.Close()
	b := bench(t, "shopify.yaml", front.URL)
	number := object{"order_number": "1001"}
	for action, args := range map[string]object{"order.list": nil, "order.lookup": number, "order.cancel": number} {
		res, err := b.Do(t, alex, action, args)
		if err != nil {
			t.Errorf("%s: %v", action, err)
		}
		if action == "order.cancel" {
			continue
		}
		if len(res.Records) != 1 {
			t.Errorf("%s: %d records, want 1", action, len(res.Records))
			continue
		}
		for _, f := range []string{"order_number", "placed", "status", "payment", "items", "total", "currency", "tracking", "tracking_url"} {
			if res.Records[0].Fields[f] == nil {
				t.Errorf("%s: %s is not in what Shopify's schema describes: %v", action, f, res.Records[0].Fields)
			}
		}
	}
	if len(refused) > 0 {
		t.Errorf("Shopify's schema does not allow this: %s", refused[0])
	}
}
