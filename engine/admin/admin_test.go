package admin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/admin"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/store"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func open(t *testing.T) (*store.DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	db, err := store.Open(path, "state", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db, path
}

var start = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func token(name string, role admin.Role, sites ...string) admin.Token {
	return admin.Token{Name: name, Role: role, Sites: sites, Expires: start.Add(time.Hour), CreatedBy: "socket"}
}

// What is refused is not made, and what is made is nowhere to be read.
func TestTokens(t *testing.T) {
	db, path := open(t)
	ctx, now := context.Background(), &clock{start}
	tokens, err := admin.Open(db, now.Now)
	if err != nil {
		t.Fatal(err)
	}
	bad := func(change func(*admin.Token)) admin.Token {
		k := token("a", admin.Auditor, "shop")
		change(&k)
		return k
	}
	for name, k := range map[string]admin.Token{
		"no name":           bad(func(k *admin.Token) { k.Name = "" }),
		"a name of others":  bad(func(k *admin.Token) { k.Name = "socket" }),
		"a name with lines": bad(func(k *admin.Token) { k.Name = "a\nb" }),
		"no role":           bad(func(k *admin.Token) { k.Role = "" }),
		"unknown role":      bad(func(k *admin.Token) { k.Role = "root" }),
		"no site":           bad(func(k *admin.Token) { k.Sites = nil }),
		"all and some":      bad(func(k *admin.Token) { k.Sites = []string{"*", "shop"} }),
		"policies of some":  bad(func(k *admin.Token) { k.Role = admin.Policy }),
		"no expiry":         bad(func(k *admin.Token) { k.Expires = time.Time{} }),
		"expired":           bad(func(k *admin.Token) { k.Expires = start }),
		"for ever":          bad(func(k *admin.Token) { k.Expires = start.Add(2 * admin.MaxLife) }),
	} {
		if secret, err := tokens.Create(ctx, k); secret != "" || engine.CodeOf(err) != "invalid_request" {
			t.Errorf("%s: %q, %v", name, secret, err)
		}
	}
	if n := len(tokens.List()); n != 0 {
		t.Fatalf("%d tokens were made", n)
	}
	secret, err := tokens.Create(ctx, token("a", admin.Auditor, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Create(ctx, token("a", admin.Operator, "*")); engine.CodeOf(err) != "invalid_request" {
		t.Errorf("a second of that name: %v", err)
	}
	for _, wrong := range []string{"", secret[:len(secret)-1], secret + "0", "a"} {
		if k, ok := tokens.Find(wrong); ok || k.For("shop") {
			t.Errorf("Find(%q) = %+v", wrong, k)
		}
	}
	now.now = start.Add(time.Minute)
	k, ok := tokens.Find(secret)
	if !ok || k.Name != "a" || k.Role != admin.Auditor || !k.For("shop") || k.For("corner") || k.Global() {
		t.Fatalf("Find = %+v, %v", k, ok)
	}
	if err := tokens.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	again, err := admin.Open(db, now.Now)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.List(); len(got) != 1 || !got[0].LastUsed.Equal(now.now) || got[0].CreatedBy != "socket" {
		t.Errorf("after a restart: %+v", got)
	}
	if _, ok := again.Find(secret); !ok {
		t.Error("it does not outlast a restart")
	}
	if file, err := os.ReadFile(path); err != nil || bytes.Contains(file, []byte(secret)) || bytes.Contains(file, []byte(secret[4:])) {
		t.Errorf("the file holds the secret, or cannot be read: %v", err)
	}
	now.now = start.Add(time.Hour)
	if _, ok := again.Find(secret); ok {
		t.Error("an expired token is found")
	}
	now.now = start
	if err := again.Revoke(ctx, "b"); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("revoking what is not there: %v", err)
	}
	if err := again.Revoke(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, ok := again.Find(secret); ok {
		t.Error("a revoked token is found")
	}
	if last, err := admin.Open(db, now.Now); err != nil || len(last.List()) != 0 {
		t.Errorf("after a restart a revoked token is back: %v", err)
	}
	if secret == "" {
		t.Error("no secret")
	}
}

// acts is a log of acts that can be full.
type acts struct {
	list []audit.Act
	full bool
}

func (a *acts) Act(_ context.Context, act audit.Act) (string, error) {
	if a.full {
		return "", engine.Errorf(engine.CodeAuditUnavailable, "Not now.", nil)
	}
	a.list = append(a.list, act)
	return "a_1", nil
}

func (a *acts) uses() (n int) {
	for _, act := range a.list {
		n += act.Uses
	}
	return n
}

// Reads that are alike are counted, and none is forgotten; whatever differs, acts
// or is refused has a record of its own, before it is answered.
func TestLedger(t *testing.T) {
	ctx, now, log := context.Background(), &clock{start}, &acts{}
	l := admin.NewLedger(log, now.Now)
	read := admin.Use{Token: "a", Method: "GET", Route: "/v1/admin/decisions", Site: "shop", Subject: "c-1"}
	record := func(u admin.Use, want int) {
		t.Helper()
		if err := l.Record(ctx, u); err != nil {
			t.Fatal(err)
		}
		if len(log.list) != want {
			t.Fatalf("%d acts, want %d: %+v", len(log.list), want, log.list)
		}
	}
	record(read, 1)
	if a := log.list[0]; a.By != "a" || a.Kind != admin.KindUse || a.Subject != "c-1" || a.Site != "shop" || a.Route != "GET /v1/admin/decisions" || a.Uses != 1 || a.Code != "" {
		t.Errorf("recorded %+v", a)
	}
	for range 10 {
		record(read, 1)
	}
	other := read
	other.Subject = "c-2"
	record(other, 2)
	write := read
	write.Method = "POST"
	record(write, 3)
	record(write, 4)
	refused := read
	refused.Code = "admin_forbidden"
	record(refused, 5)
	record(refused, 6)
	now.now = start.Add(admin.Window)
	record(read, 7)
	if a := log.list[6]; a.Uses != 11 { // this one and the ten
		t.Errorf("after the window: %d uses, want 11", a.Uses)
	}
	record(read, 7)
	record(read, 7)
	if err := l.Flush(ctx, false); err != nil || len(log.list) != 7 {
		t.Errorf("flushing within the window: %v, %d acts", err, len(log.list))
	}
	log.full = true
	if err := l.Flush(ctx, true); err == nil {
		t.Error("a full log took the counts")
	}
	fresh := read
	fresh.Object = "d_1"
	if err := l.Record(ctx, fresh); engine.CodeOf(err) != engine.CodeAuditUnavailable {
		t.Errorf("a use that is not on record: %v", err)
	}
	log.full = false
	if err := l.Flush(ctx, true); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(ctx, true); err != nil {
		t.Fatal(err)
	}
	if n := log.uses(); n != 14+1+2+2 {
		t.Errorf("%d uses on record, want 19", n)
	}
}

// Whoever knocks with what is no token is on record by where they are: once in
// a Window with the number, however many they are at once, and however many
// places they are in.
func TestRefusedCredentials(t *testing.T) {
	ctx, now, log := context.Background(), &clock{start}, &acts{}
	l := admin.NewLedger(log, now.Now)
	knock := func(source string) {
		t.Helper()
		if err := l.Record(ctx, admin.Use{Source: source, Code: "admin_token_invalid"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		knock("192.0.2.1")
	}
	if len(log.list) != 1 {
		t.Fatalf("%d acts of one source, want 1", len(log.list))
	}
	if a := log.list[0]; a.Kind != admin.KindRefused || a.By != "" || a.Object != "192.0.2.1" || a.Site != audit.GateSite || a.Code != "admin_token_invalid" || a.Uses != 1 || a.Route != "" {
		t.Errorf("recorded %+v", a)
	}
	now.now = start.Add(admin.Window)
	knock("192.0.2.1")
	if len(log.list) != 2 || log.list[1].Uses != 50 {
		t.Errorf("after the window: %+v", log.list[1:])
	}
	for i := range 10000 {
		knock(fmt.Sprint("2001:db8:", i, "::/64"))
	}
	if n := len(log.list); n > 2+256 {
		t.Errorf("%d acts of 10,000 sources", n)
	}
	if last := log.list[len(log.list)-1]; last.Object != admin.Elsewhere {
		t.Errorf("those beyond the bound are of %q", last.Object)
	}
	log.full = true
	if err := l.Record(ctx, admin.Use{Source: "192.0.2.9", Code: "admin_token_invalid"}); err != nil {
		t.Errorf("one of many, which is only counted: %v", err)
	}
	now.now = start.Add(3 * admin.Window)
	if err := l.Record(ctx, admin.Use{Source: "192.0.2.1", Code: "admin_token_invalid"}); engine.CodeOf(err) != engine.CodeAuditUnavailable {
		t.Errorf("a refusal that is not on record: %v", err)
	}
	log.full = false
	if err := l.Flush(ctx, true); err != nil {
		t.Fatal(err)
	}
	if n := log.uses(); n != 50+1+10000+1+1 {
		t.Errorf("%d on record, want 10053", n)
	}
	knock("198.51.100.7") // there is room for new ones again
	if last := log.list[len(log.list)-1]; last.Object != "198.51.100.7" {
		t.Errorf("after the windows, a source is called %q", last.Object)
	}
}
