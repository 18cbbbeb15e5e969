package audit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/store"
)

const foreign = `{"site":{"id":"shop"},"identity":{"state":"verified","subject":"u1","email":"alex@example.com"},"action":{"name":"note.add","args":{"text":"tell Jordan@Example.com, jordan lee, at once","list":["x","jor\u0064an@example.com"],"major":"majordan@example.com.org"}},"target":{"email":"jordan@example.com"},"asserted":{"emails":["Jordan@Example.com"],"names":["Jordan Lee"]},"conversation":{"id":"cv_1"},"channel":"chat"}`

func put(t *testing.T, l *Log, input string) string {
	t.Helper()
	d := &Decision{Decision: engine.Decision{ID: engine.NewID("d", began), Time: began, Policy: "rev"}, Site: "shop", Cause: "a cause", Input: question(input)}
	if err := l.Decision(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	return d.ID
}

// What people are named by is nowhere in the files, and is read back to the
// byte until they are erased.
func TestErasureOfWhoeverWasNamed(t *testing.T) {
	ctx := context.Background()
	l, dir := openLog(t)
	id := put(t, l, foreign)
	e, err := l.Show(id)
	if err != nil || string(e.Decision.Input) != foreign || e.Decision.Masked != "" {
		t.Fatalf("Show: %v\n%s\nwant\n%s", err, e.Decision.Input, foreign)
	}
	// Jordan is a customer too, and asks to be erased by the subject.
	put(t, l, strings.NewReplacer(`"u1"`, `"u2"`, "alex@example.com", "JORDAN@example.com").Replace(
		`{"site":{"id":"shop"},"identity":{"state":"verified","subject":"u1","email":"alex@example.com"},"action":{"name":"x"}}`))
	got, err := l.Erase(ctx, "shop", "socket", Person{Subject: "u2"}, nil)
	if err != nil || got.Keys != 2 {
		t.Fatalf("Erase = %+v, %v; want the subject's key and the address's", got, err)
	}
	e, err = l.Show(id)
	if err != nil || e.Decision.Masked != UnreadableErased || e.Decision.Unreadable != "" {
		t.Fatalf("after the erasure of who was named: %+v, %v", e.Decision, err)
	}
	if s := strings.ToLower(string(e.Decision.Input)); strings.Contains(strings.ReplaceAll(s, "majordan@example.com.org", ""), "jordan") ||
		!strings.Contains(s, `"alex@example.com"`) || strings.Count(s, mark) != 6 {
		t.Errorf("what is left: %s", e.Decision.Input)
	}
	if es, err := l.List(Query{Site: "shop", Subject: "u2"}); err != nil || len(es) != 1 || es[0].Decision.Unreadable != UnreadableErased || es[0].Decision.Input != nil {
		t.Errorf("the erased subject's own decision: %+v, %v", es, err)
	}
	if acts, err := l.Acts("shop", 5); err != nil || len(acts) != 1 || acts[0].Kind != "erasure" || acts[0].Subject != "" || strings.Contains(acts[0].Object, "u2") {
		t.Errorf("acts: %+v, %v", acts, err)
	}
	// A new visit is recorded under a new key.
	put(t, l, strings.ReplaceAll(foreign, "u1", "u2"))
	if es, err := l.List(Query{Subject: "u2", Limit: 1}); err != nil || len(es) != 1 || es[0].About.Identity.Subject != "u2" {
		t.Errorf("after a new visit: %+v, %v", es, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(dir, segmentName(1)), filepath.Join(filepath.Dir(dir), "people.db")} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, personal := range []string{"jordan", "Jordan", "alex@", "u1\"", "a cause", "cv_1"} {
			if bytes.Contains(b, []byte(personal)) {
				t.Errorf("%s holds %q in clear", filepath.Base(name), personal)
			}
		}
	}
}

func TestErasureOfTheVisitor(t *testing.T) {
	l, dir := openLog(t)
	id, before := put(t, l, foreign), keyOf(t, l, "u1")
	if _, err := l.Erase(context.Background(), "shop", "socket", Person{Subject: "u1"}, nil); err != nil {
		t.Fatal(err)
	}
	e, err := l.Show(id)
	if err != nil || e.Decision.Unreadable != UnreadableErased || len(e.Decision.Input) > 0 || e.Decision.Cause != "" || e.About.Action.Name != "note.add" {
		t.Errorf("Show: %+v, %v", e, err)
	}
	if v, err := l.Verify(context.Background(), Verification{}); err != nil || len(v.Problems) > 0 {
		t.Errorf("after an erasure: %+v, %v", v, err)
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "people.db"))
	if err != nil || bytes.Contains(b, before[:]) {
		t.Errorf("the file of keys still names the key (%v)", err)
	}
	if _, err := l.Erase(context.Background(), "shop", "socket", Person{Subject: "u1", Email: "a@example.com"}, nil); err == nil {
		t.Error("two people were erased at once")
	}
}

func keyOf(t *testing.T, l *Log, subject string) keyID {
	t.Helper()
	k, err := l.people.stored(l.people.hash(bySubject, "shop", subject), personID{})
	if err != nil || k == nil {
		t.Fatalf("the key of %s: %v, %v", subject, k, err)
	}
	return k.id
}

// A ciphertext deciphers in its own place alone.
func TestCiphertextsDoNotMove(t *testing.T) {
	l, _ := openLog(t)
	k, err := l.people.keyOf(context.Background(), "shop", l.people.hash(bySubject, "shop", "u1"), personID{})
	if err != nil {
		t.Fatal(err)
	}
	field := k.encrypt(nil, tagVisitor, []byte("plain"), boundTo("shop", KindDecision, "d_1", tagVisitor, 0))[2:]
	if plain, why, err := l.people.decrypt(field, boundTo("shop", KindDecision, "d_1", tagVisitor, 0)); err != nil || why != "" || string(plain) != "plain" {
		t.Fatalf("in its place: %q, %q", plain, why)
	}
	for what, bound := range map[string][]byte{
		"another site":   boundTo("shop2", KindDecision, "d_1", tagVisitor, 0),
		"another kind":   boundTo("shop", KindOutcome, "d_1", tagVisitor, 0),
		"another record": boundTo("shop", KindDecision, "d_2", tagVisitor, 0),
		"another field":  boundTo("shop", KindDecision, "d_1", tagPerson, 0),
		"another number": boundTo("shop", KindDecision, "d_1", tagVisitor, 1),
	} {
		if _, why, _ := l.people.decrypt(field, bound); why != UnreadableDamaged {
			t.Errorf("in the place of %s: %q, want damaged", what, why)
		}
	}
}

func TestAnotherMasterKeyIsRefused(t *testing.T) {
	l, dir := openLog(t)
	put(t, l, foreign)
	l.Close()
	if _, err := Open(dir, Options{Master: bytes.Repeat([]byte{8}, 32)}); !errors.Is(err, ErrWrongMaster) {
		t.Errorf("Open with another master key: %v", err)
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a log was opened to be written without a master key")
	}
	sealed, err := Open(dir, Options{Store: store.Options{ReadOnly: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer sealed.Close()
	if es, err := sealed.List(Query{}); err != nil || len(es) != 1 || es[0].Decision.Unreadable != UnreadableSealed {
		t.Errorf("without a master key: %+v, %v", es, err)
	}
}

// After a failed write service resumes by itself, with what was acknowledged.
func TestABrokenFileIsOpenedAgain(t *testing.T) {
	var file *os.File
	l, err := Open(filepath.Join(t.TempDir(), "audit"), Options{Master: master, Store: store.Options{Retry: 5 * time.Millisecond,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			file = f
			return f, err
		}}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	first := put(t, l, foreign)
	file.Close()
	var second string
	for deadline := time.Now().Add(30 * time.Second); second == "" && time.Now().Before(deadline); {
		d := &Decision{Decision: engine.Decision{ID: engine.NewID("d", began), Time: began}, Site: "shop", Input: question(foreign)}
		if err := l.Decision(context.Background(), d); err == nil {
			second = d.ID
		} else if engine.CodeOf(err) != engine.CodeAuditUnavailable {
			t.Fatalf("Decision: %v", err)
		}
	}
	for _, id := range []string{first, second} {
		if _, err := l.Show(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if v, err := l.Verify(context.Background(), Verification{}); err != nil || len(v.Problems) > 0 || l.Lost() != 0 {
		t.Errorf("Verify: %+v, %v; %d lost", v, err, l.Lost())
	}
}
