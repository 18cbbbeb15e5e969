package demo

import (
	"io/fs"
	"strings"
	"testing"
)

func TestEveryHelpPageIsServed(t *testing.T) {
	pages, err := helpPages()
	if err != nil {
		t.Fatal(err)
	}
	files, _ := fs.Glob(Help, "*.md")
	if len(files) < 15 || len(pages) != len(files)+1 {
		t.Fatalf("%d files, %d pages", len(files), len(pages))
	}
	for id, p := range pages {
		if p.Title == "" || p.Title == "Help" || !strings.Contains(string(p.Body), "<h1") {
			t.Errorf("page %q: title %q", id, p.Title)
		}
		if strings.Contains(string(p.Body), "title:") {
			t.Errorf("page %q shows its front matter", id)
		}
	}
}
