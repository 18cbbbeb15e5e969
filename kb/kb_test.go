package kb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

func openBase(t testing.TB) (*Base, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kb.db")
	b, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, path
}

func folder(pages map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, text := range pages {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func ask(t testing.TB, b *Base, site, question string) Answer {
	t.Helper()
	a, err := b.Ask(context.Background(), site, question)
	if err != nil {
		t.Fatalf("Ask(%q): %v", question, err)
	}
	return a
}

func importPages(t testing.TB, b *Base, site string, pages map[string]string) ImportReport {
	t.Helper()
	r, err := b.Import(context.Background(), site, folder(pages), ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const returnsPage = "# Returns\n\nYou can return most items within 30 days of delivery.\n"

func TestConnectorRefusesWithoutPermit(t *testing.T) {
	b, _ := openBase(t)
	importPages(t, b, "shop", map[string]string{"returns.md": returnsPage})
	c := b.Connector("shop", time.Now)
	res, err := c.Call(context.Background(), gate.Claim{
		Site: "shop", Action: ActionName, Args: map[string]any{"question": "can I return an item?"},
	}, gate.Permit{})
	if !errors.Is(err, gate.ErrNoPermit) || engine.CodeOf(err) != engine.CodeConnectorFailed {
		t.Errorf("Call with the zero Permit: error %v, want %v as %s", err, gate.ErrNoPermit, engine.CodeConnectorFailed)
	}
	if len(res.Records) != 0 {
		t.Errorf("Call with the zero Permit brought back %v", res.Records)
	}
}

func TestActionTakesOneQuestion(t *testing.T) {
	a, err := Action()
	if err != nil {
		t.Fatal(err)
	}
	if a.Personal || a.MinTier != engine.Free || a.Risk != engine.Read {
		t.Errorf("kb.answer is public, free and reads: got %+v", a)
	}
	for _, args := range []map[string]any{nil, {"question": ""}, {"question": 3}, {"question": "x", "email": "y"}} {
		if a.Args.Validate(args) == nil {
			t.Errorf("Validate(%v) passed", args)
		}
	}
	if err := a.Args.Validate(map[string]any{"question": "how long is the warranty?"}); err != nil {
		t.Errorf("a question: %v", err)
	}
}

// A page that cannot be read is reported, the others are imported, and what
// was there of it before stays.
func TestImportReportsProblems(t *testing.T) {
	b, _ := openBase(t)
	importPages(t, b, "shop", map[string]string{"returns.md": returnsPage, "old.md": "# Old\n\nThis page goes away.\n"})
	r, err := b.Import(context.Background(), "shop", fstest.MapFS{
		"returns.md":     {Data: []byte("# Returns \xff\xfe")},
		"huge.md":        {Data: bytes.Repeat([]byte("word "), MaxPage/5+1)},
		"nul.html":       {Data: []byte("<p>a\x00b</p>")},
		"head.md":        {Data: []byte("---\ntitle: [\n---\ntext")},
		"endless.md":     {Data: []byte("---\ntitle: x\ntext")},
		"script.md":      {Data: []byte("---\nurl: javascript:alert(1)\n---\nSome text here.")},
		"data.md":        {Data: []byte("---\nurl: //elsewhere.example/x\n---\nSome text here.")},
		"empty.md":       {Data: []byte("   \n")},
		"deep.md":        {Data: []byte(strings.Repeat("> ", 5000) + "text")},
		"twice.md":       {Data: []byte("One page.")},
		"twice.html":     {Data: []byte("<p>Another page.</p>")},
		"link.md":        {Mode: os.ModeSymlink, Data: []byte("/etc/passwd")},
		"good.md":        {Data: []byte("# Good\n\nThis page is good.\n")},
		".hidden.md":     {Data: []byte("Hidden text.")},
		"_draft/page.md": {Data: []byte("A draft.")},
		"picture.png":    {Data: []byte("\x89PNG")},
	}, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, p := range r.Problems {
		name, _, _ := strings.Cut(p, ":")
		files = append(files, name)
	}
	want := []string{"link.md", "data.md", "deep.md", "empty.md", "endless.md", "head.md", "huge.md", "nul.html", "returns.md", "script.md", "twice.md"}
	if d := cmp.Diff(want, files); d != "" {
		t.Errorf("problems (-want +got):\n%s\n%s", d, strings.Join(r.Problems, "\n"))
	}
	if r.Added != 2 || r.Updated != 0 || r.Removed != 1 || r.Unchanged != 0 {
		t.Errorf("report %+v, want 2 added, 1 removed", r)
	}
	if got := ids(t, b, "shop"); !cmp.Equal(got, []string{"good", "returns", "twice"}) {
		t.Errorf("documents %v, want good, returns (its old version) and twice", got)
	}
	if a := ask(t, b, "shop", "can I return an item?"); !strings.Contains(a.Text, "30 days") {
		t.Errorf("the old version of a page that broke answers %q", a.Text)
	}
}

func ids(t testing.TB, b *Base, site string) []string {
	t.Helper()
	docs, err := b.Documents(site)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range docs {
		out = append(out, d.ID)
	}
	return out
}

func TestImportRefusesAnEmptyFolder(t *testing.T) {
	b, _ := openBase(t)
	importPages(t, b, "shop", map[string]string{"returns.md": returnsPage})
	if r, err := b.Import(context.Background(), "shop", fstest.MapFS{}, ImportOptions{}); err == nil {
		t.Errorf("an empty folder was imported: %+v", r)
	}
	if got := ids(t, b, "shop"); !cmp.Equal(got, []string{"returns"}) {
		t.Errorf("documents after the refusal: %v", got)
	}
}

func TestImportIsASync(t *testing.T) {
	b, path := openBase(t)
	pages := map[string]string{"returns.md": returnsPage, "help/gift-cards.md": "Gift cards are valid for 24 months."}
	steps := []struct {
		name   string
		change func()
		want   ImportReport
	}{
		{"first", func() {}, ImportReport{Added: 2}},
		{"again", func() {}, ImportReport{Unchanged: 2}},
		{"one changed", func() { pages["returns.md"] = strings.ReplaceAll(returnsPage, "30 days", "45 days") }, ImportReport{Updated: 1, Unchanged: 1}},
		{"one gone", func() { delete(pages, "help/gift-cards.md") }, ImportReport{Removed: 1, Unchanged: 1}},
	}
	for _, s := range steps {
		s.change()
		if d := cmp.Diff(s.want, importPages(t, b, "shop", pages)); d != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, d)
		}
	}
	check := func(b *Base) {
		t.Helper()
		if a := ask(t, b, "shop", "can I return an item?"); !strings.Contains(a.Text, "45 days") {
			t.Errorf("after the change: %q", a.Text)
		}
		if a := ask(t, b, "shop", "how long are gift cards valid?"); !a.Declined() {
			t.Errorf("a removed page answers %q", a.Text)
		}
	}
	check(b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Ask(context.Background(), "shop", "can I return an item?"); err == nil {
		t.Error("a closed base answered")
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	check(again)
}

func TestBaseURLIsCited(t *testing.T) {
	b, _ := openBase(t)
	pages := folder(map[string]string{
		"returns.md":  returnsPage + "\n## Late returns\n\nWe cannot take late items after the deadline.\n",
		"warranty.md": "---\ntitle: Our warranty\nurl: https://shop.example/promise\n---\nThe warranty lasts 2 years.\n",
	})
	for _, c := range []struct{ base, question, url string }{
		{"", "can I return an item?", ""},
		{"https://shop.example/help/", "can I return an item?", "https://shop.example/help/returns"},
		{"/help", "do you take late items?", "/help/returns#late-returns"},
		{"/help", "how long is the warranty?", "https://shop.example/promise"},
	} {
		if _, err := b.Import(context.Background(), "shop", pages, ImportOptions{BaseURL: c.base}); err != nil {
			t.Fatal(err)
		}
		a := ask(t, b, "shop", c.question)
		if a.Declined() || a.Citations[0].URL != c.url {
			t.Errorf("base %q: Ask(%q) = %+v, want the url %q", c.base, c.question, a, c.url)
		}
	}
}

func TestSitesAreApart(t *testing.T) {
	b, _ := openBase(t)
	importPages(t, b, "one", map[string]string{"returns.md": returnsPage})
	importPages(t, b, "two", map[string]string{"hours.md": "# Hours\n\nWe are open from 9:00 to 17:00.\n"})
	for _, site := range []string{"two", "nowhere", ""} {
		if a := ask(t, b, site, "can I return an item?"); !a.Declined() {
			t.Errorf("site %q answers from another: %q", site, a.Text)
		}
	}
}

func TestAddAndRemove(t *testing.T) {
	ctx := context.Background()
	b, _ := openBase(t)
	importPages(t, b, "shop", map[string]string{"returns.md": returnsPage})
	d, err := b.Add(ctx, "shop", "warranty.md", []byte("# Warranty\n\nThe warranty lasts 2 years.\n"))
	if want := (Document{ID: "warranty", Title: "Warranty", Passages: 1, Single: true}); err != nil || d != want {
		t.Fatalf("Add = %+v, %v, want %+v", d, err, want)
	}
	for _, name := range []string{"../x.md", "/x.md", "", ".x.md", "x.exe", "x"} {
		if _, err := b.Add(ctx, "shop", name, []byte("Some text.")); err == nil {
			t.Errorf("Add(%q) passed", name)
		}
	}
	if r := importPages(t, b, "shop", map[string]string{"returns.md": returnsPage}); r.Removed != 0 {
		t.Errorf("importing the folder removed the page that was added by itself: %+v", r)
	}
	if a := ask(t, b, "shop", "how long is the warranty?"); !strings.Contains(a.Text, "2 years") {
		t.Errorf("an added page answers %q", a.Text)
	}
	for _, want := range []bool{true, false} {
		if had, err := b.Remove(ctx, "shop", "warranty"); err != nil || had != want {
			t.Errorf("Remove = %v, %v, want %v", had, err, want)
		}
	}
	if a := ask(t, b, "shop", "how long is the warranty?"); !a.Declined() {
		t.Errorf("a removed page answers %q", a.Text)
	}
}

// An import that fails when it is stored leaves readers and the file with the
// old pages.
func TestFailedImportChangesNothing(t *testing.T) {
	b, path := openBase(t)
	importPages(t, b, "shop", map[string]string{"returns.md": returnsPage})
	if err := b.db.Close(); err != nil { // the disk goes away
		t.Fatal(err)
	}
	_, err := b.Import(context.Background(), "shop", folder(map[string]string{"returns.md": "# Returns\n\nNo returns at all.\n"}), ImportOptions{})
	if err == nil {
		t.Error("an import without a file passed")
	}
	if a := ask(t, b, "shop", "can I return an item?"); !strings.Contains(a.Text, "30 days") {
		t.Errorf("after a failed import: %q", a.Text)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if a := ask(t, again, "shop", "can I return an item?"); !strings.Contains(a.Text, "30 days") {
		t.Errorf("reopened after a failed import: %q", a.Text)
	}
}

func TestCancelledImportChangesNothing(t *testing.T) {
	b, _ := openBase(t)
	importPages(t, b, "shop", map[string]string{"returns.md": returnsPage})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Import(ctx, "shop", folder(map[string]string{"other.md": "Other text."}), ImportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Import with a cancelled context: %v", err)
	}
	if got := ids(t, b, "shop"); !cmp.Equal(got, []string{"returns"}) {
		t.Errorf("documents %v", got)
	}
}

func TestOpenRefusesAnotherVersion(t *testing.T) {
	b, path := openBase(t)
	err := b.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(versionKey, []byte("99")) })
	if err := errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	if b, err := Open(path); err == nil {
		b.Close()
		t.Error("a file of version 99 was opened")
	}
}

// Whoever asks during imports gets all of one state: the two pages always say
// the same number.
func TestAskDuringImport(t *testing.T) {
	b, _ := openBase(t)
	pages := func(n int) map[string]string {
		return map[string]string{
			"returns.md":  fmt.Sprintf("# Returns\n\nYou can return items within %d days.\n", n),
			"exchange.md": fmt.Sprintf("# Exchanges\n\nYou can exchange items within %d days.\n", n),
		}
	}
	importPages(t, b, "shop", pages(1))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, q := range []string{"can I return items?", "can I exchange items?"} {
					a, err := b.Ask(context.Background(), "shop", q)
					if err != nil || !strings.Contains(a.Text, "items within") {
						t.Errorf("Ask(%q) during an import = %q, %v", q, a.Text, err)
						return
					}
				}
				if docs, err := b.Documents("shop"); err != nil || len(docs) != 2 {
					t.Errorf("Documents during an import = %v, %v", docs, err)
					return
				}
			}
		})
	}
	for n := 2; n < 30; n++ {
		if r := importPages(t, b, "shop", pages(n)); r.Updated != 2 {
			t.Errorf("import %d: %+v", n, r)
		}
	}
	close(done)
	wg.Wait()
	if a := ask(t, b, "shop", "can I return items?"); !strings.Contains(a.Text, "29 days") {
		t.Errorf("after the last import: %q", a.Text)
	}
}

func BenchmarkAsk(b *testing.B) {
	base := openHelpCentre(b)
	for b.Loop() {
		ask(b, base, "demo", "how long do I have to send something back?")
	}
}
