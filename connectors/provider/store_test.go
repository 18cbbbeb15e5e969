package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

const planted = "sk-planted/credential+0123456789"

type place struct{ dir, key string }

func newPlace(t testing.TB) place {
	root := t.TempDir()
	return place{filepath.Join(root, "provider"), filepath.Join(root, "keys", "master.key")}
}

func (p place) open(t testing.TB, create bool) *Store {
	t.Helper()
	s, err := OpenStore(p.dir, MasterKey{File: p.key}, create)
	if err != nil {
		t.Fatalf("OpenStore: %v", err)
	}
	return s
}

// anything is every call that is unambiguous.
var anything = func() (all []Rule) {
	for _, m := range methods {
		all = append(all, Rule{m, "/{rest...}"})
	}
	return all
}()

func conn(id, base string) Connection {
	return Connection{Site: "demo", ID: id, Type: APIKey, Header: "X-Api-Key", BaseURL: base, Allow: anything}
}

func TestStoreKeepsCredentialsEncrypted(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, true)
	if err := s.Put(conn("shop", "https://shop.example"), NewAPIKey(planted)); err != nil {
		t.Fatal(err)
	}
	basic := Connection{Site: "demo", ID: "desk", Type: Basic, BaseURL: "https://desk.example/api"}
	if err := s.Put(basic, NewBasic("planted-user", planted)); err != nil {
		t.Fatal(err)
	}
	if _, cred, err := s.Get("demo", "desk"); err != nil || cred != NewBasic("planted-user", planted) {
		t.Errorf("Get(desk): err %v, or another credential than was put", err)
	}
	s.Close()
	files := 0
	err := filepath.WalkDir(filepath.Dir(p.dir), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		for _, secret := range []string{planted, "planted-user"} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds the credential in clear", d.Name())
			}
		}
		if info, _ := d.Info(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", d.Name(), info.Mode().Perm())
		}
		return err
	})
	if err != nil || files < 2 {
		t.Fatalf("looked at %d files: %v", files, err)
	}
	s = p.open(t, false)
	defer s.Close()
	if c, cred, err := s.Get("demo", "shop"); err != nil || cred != NewAPIKey(planted) || c.BaseURL != "https://shop.example" {
		t.Errorf("Get after opening again = %+v, %v", c, err)
	}
	if _, _, err := s.Get("other", "shop"); !errors.Is(err, ErrNoConnection) {
		t.Errorf("another site's Get = %v, want ErrNoConnection", err)
	}
}

func TestStoreRefusesKeys(t *testing.T) {
	tests := []struct {
		name   string
		spoil  func(t *testing.T, key string) error
		create bool
		want   string
	}{
		{"missing", func(_ *testing.T, key string) error { return os.Remove(key) }, false, "is missing"},
		{"missing, and may be made", func(_ *testing.T, key string) error { return os.Remove(key) }, true, "is missing"},
		{"another", func(_ *testing.T, key string) error { return os.WriteFile(key, bytes.Repeat([]byte{7}, 32), 0o600) }, true, ErrWrongKey.Error()},
		{"short", func(_ *testing.T, key string) error { return os.Truncate(key, 31) }, true, "has 31 bytes, want 32"},
		{"open to all", func(_ *testing.T, key string) error { return os.Chmod(key, 0o644) }, true, "open to every user"},
	}
	for _, tt := range tests {
		p := newPlace(t)
		p.open(t, true).Close()
		if err := tt.spoil(t, p.key); err != nil {
			t.Fatal(err)
		}
		s, err := OpenStore(p.dir, MasterKey{File: p.key}, tt.create)
		if err == nil {
			s.Close()
			t.Errorf("%s: OpenStore let it pass", tt.name)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: OpenStore = %v, want %q", tt.name, err, tt.want)
		}
	}
	p := newPlace(t)
	if s, err := OpenStore(p.dir, MasterKey{File: p.key}, false); !errors.Is(err, ErrNoKey) {
		t.Errorf("first start without a key: OpenStore = %v, %v; want ErrNoKey", s, err)
	}
}

func TestStoreIsOneProcessAtATime(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, true)
	defer s.Close()
	if _, err := OpenStore(p.dir, MasterKey{File: p.key}, false); !errors.Is(err, ErrLocked) {
		t.Errorf("second OpenStore = %v, want ErrLocked", err)
	}
}

// A credential opens only where it was put: changing the record under it, or
// moving it to another, makes it useless.
func TestCredentialIsBoundToItsConnection(t *testing.T) {
	changes := map[string]func(rec *record) string{
		"base URL":     func(rec *record) string { rec.BaseURL = "https://evil.example"; return "shop" },
		"header":       func(rec *record) string { rec.Header = "X-Debug"; return "shop" },
		"place":        func(rec *record) string { rec.Header, rec.Query = "", "key"; return "shop" },
		"connection":   func(*record) string { return "other" },
		"field":        func(rec *record) string { rec.Secrets["username"] = rec.Secrets["value"]; return "shop" },
		"ciphertext":   func(rec *record) string { rec.Secrets["value"][20] ^= 1; return "shop" },
		"version":      func(rec *record) string { rec.Version = 3; return "shop" },
		"old version":  func(rec *record) string { rec.Version = 1; return "shop" },
		"rules":        func(rec *record) string { rec.Allow = append(rec.Allow, Rule{"GET", "/admin"}); return "shop" },
		"no rules":     func(rec *record) string { rec.Allow = nil; return "shop" },
		"client":       func(rec *record) string { rec.OAuth.TokenURL = "https://evil.example"; return "shop" },
		"type to none": func(rec *record) string { rec.Type, rec.Header = None, ""; return "shop" },
	}
	for name, change := range changes {
		p := newPlace(t)
		s := p.open(t, true)
		if err := s.Put(conn("shop", "https://shop.example"), NewAPIKey(planted)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Get("demo", "shop"); err != nil { // and so it is known
			t.Fatal(err)
		}
		var id string
		err := s.db.Commit(t.Context(), func(tx *bolt.Tx) error {
			b := tx.Bucket(bucketConnections)
			var rec record
			if err := json.Unmarshal(b.Get(recordKey("demo", "shop")), &rec); err != nil {
				return err
			}
			id = change(&rec)
			raw, err := json.Marshal(rec)
			if err != nil {
				return err
			}
			return b.Put(recordKey("demo", id), raw)
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, cred, err := s.Get("demo", id); err == nil || cred != (Credential{}) {
			t.Errorf("%s changed: Get gave a credential (err %v)", name, err)
		}
		s.Close()
	}
}

// What was worked out of a connection is used again while its record is the
// same, and no longer.
func TestKnownConnections(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, true)
	defer s.Close()
	put := func(key string, allow ...string) {
		t.Helper()
		c := conn("shop", "https://shop.example")
		c.Allow = rules(t, allow...)
		if err := s.Put(c, NewAPIKey(key)); err != nil {
			t.Fatal(err)
		}
	}
	open := func() (stored, *opened) {
		t.Helper()
		c, err := s.find("demo", "shop")
		if err != nil {
			t.Fatal(err)
		}
		o, err := s.open(c)
		if err != nil {
			t.Fatal(err)
		}
		return c, o
	}
	put(planted, "GET /orders")
	c, first := open()
	if _, again := open(); again != first || first.cred != NewAPIKey(planted) || !c.rules.allow("GET", "/orders") {
		t.Errorf("the same record: %p %p, %v", first, again, c.Allow)
	}
	if err := s.Allow("demo", "shop", rules(t, "GET /customers")); err != nil {
		t.Fatal(err)
	}
	if c, _ := open(); c.rules.allow("GET", "/orders") || !c.rules.allow("GET", "/customers") {
		t.Errorf("other rules: %v", c.Allow)
	}
	put("another-key-0001", "GET /orders")
	if _, o := open(); o.cred != NewAPIKey("another-key-0001") || string(o.secrets[0]) != "another-key-0001" {
		t.Error("another credential is not the one that is used")
	}
	if _, err := s.Rotate(); err != nil {
		t.Fatal(err)
	}
	if _, o := open(); o.cred != NewAPIKey("another-key-0001") {
		t.Error("the credential is another after the keys were rotated")
	}
	if err := s.Remove("demo", "shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.find("demo", "shop"); !errors.Is(err, ErrNoConnection) || len(s.known) != 0 {
		t.Errorf("removed: %v, and %d are known", err, len(s.known))
	}
}

func TestConnectionNearMisses(t *testing.T) {
	key := NewAPIKey(planted)
	with := func(change func(*Connection)) Connection {
		c := conn("shop", "https://shop.example/api")
		change(&c)
		return c
	}
	tests := []struct {
		name string
		c    Connection
		cred Credential
	}{
		{"http to elsewhere", with(func(c *Connection) { c.BaseURL = "http://shop.example" }), key},
		{"http to a private address", with(func(c *Connection) { c.BaseURL = "http://10.0.0.1" }), key},
		{"http to 0.0.0.0", with(func(c *Connection) { c.BaseURL = "http://0.0.0.0" }), key},
		{"name that begins like localhost", with(func(c *Connection) { c.BaseURL = "http://localhost.evil.example" }), key},
		{"no scheme", with(func(c *Connection) { c.BaseURL = "shop.example" }), key},
		{"file", with(func(c *Connection) { c.BaseURL = "file:///etc/passwd" }), key},
		{"no host", with(func(c *Connection) { c.BaseURL = "https:///api" }), key},
		{"only a port", with(func(c *Connection) { c.BaseURL = "https://:443/api" }), key},
		{"credential in the URL", with(func(c *Connection) { c.BaseURL = "https://u:p@shop.example" }), key},
		{"query in the URL", with(func(c *Connection) { c.BaseURL = "https://shop.example?x=1" }), key},
		{"fragment in the URL", with(func(c *Connection) { c.BaseURL = "https://shop.example#x" }), key},
		{"climbing URL", with(func(c *Connection) { c.BaseURL = "https://shop.example/a/../b" }), key},
		{"no site", with(func(c *Connection) { c.Site = "" }), key},
		{"site with a slash", with(func(c *Connection) { c.Site = "a/b" }), key},
		{"connection with a zero", with(func(c *Connection) { c.ID = "a\x00b" }), key},
		{"unknown type", with(func(c *Connection) { c.Type = "OAUTH9" }), key},
		{"header and query", with(func(c *Connection) { c.Query = "key" }), key},
		{"neither header nor query", with(func(c *Connection) { c.Header = "" }), key},
		{"header of HTTP itself", with(func(c *Connection) { c.Header = "host" }), key},
		{"header of the caller's", with(func(c *Connection) { c.Header = "idempotency-key" }), key},
		{"header with a line break", with(func(c *Connection) { c.Header = "X-A\r\nX-B" }), key},
		{"no key", with(func(*Connection) {}), NewAPIKey("")},
		{"short key", with(func(*Connection) {}), NewAPIKey("1234567")},
		{"key with a line break", with(func(*Connection) {}), NewAPIKey("0123456789\n")},
		{"username with an API key", with(func(*Connection) {}), NewBasic("somebody", planted)},
		{"basic without secret", Connection{Site: "demo", ID: "x", Type: Basic, BaseURL: "https://a.example"}, NewBasic("me", "")},
		{"basic with a colon", Connection{Site: "demo", ID: "x", Type: Basic, BaseURL: "https://a.example"}, NewBasic("m:e", planted)},
		{"none with a credential", Connection{Site: "demo", ID: "x", Type: None, BaseURL: "https://a.example"}, key},
	}
	p := newPlace(t)
	s := p.open(t, true)
	defer s.Close()
	for _, tt := range tests {
		err := s.Put(tt.c, tt.cred)
		if err == nil {
			t.Errorf("%s: Put let it pass", tt.name)
		} else if strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: the error quotes the credential", tt.name)
		}
	}
	if list, err := s.List(""); err != nil || len(list) != 0 {
		t.Errorf("stored all the same: %v, %v", list, err)
	}
	for _, base := range []string{"https://shop.example", "https://shop.example:8443/api/", "http://127.0.0.1:9", "http://localhost:9/x", "http://[::1]:9"} {
		if err := s.Put(conn("ok", base), key); err != nil {
			t.Errorf("Put with %s = %v", base, err)
		}
	}
}

func TestCredentialNeverPrints(t *testing.T) {
	cred := NewBasic("planted-user", planted)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).InfoContext(context.Background(), "x", "cred", cred, "all", struct{ C Credential }{cred})
	j, err := json.Marshal(map[string]any{"c": cred, "p": &cred})
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %q %v", cred, cred, cred, cred, cred, &cred) + string(j) + log.String()
	if strings.Contains(printed, "planted") {
		t.Errorf("printed: %s", printed)
	}
}
