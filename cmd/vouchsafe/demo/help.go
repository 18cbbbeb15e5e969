package demo

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
)

// markdown renders the help centre. Raw HTML in a page is left out.
var markdown = goldmark.New(goldmark.WithExtensions(extension.Table), goldmark.WithParserOptions(parser.WithAutoHeadingID()))

// helpView is one page of the help centre.
type helpView struct {
	Title string
	Body  template.HTML // goldmark's, of our own pages
}

// helpPages renders the help centre once.
func helpPages() (map[string]helpView, error) {
	files, err := fs.Glob(Help, "*.md")
	if err != nil {
		return nil, err
	}
	out := map[string]helpView{}
	index := "<h1>Help centre</h1><ul>"
	for _, name := range files {
		src, err := fs.ReadFile(Help, name)
		if err != nil {
			return nil, err
		}
		title, text := frontMatter(string(src))
		var b bytes.Buffer
		if err := markdown.Convert([]byte(text), &b); err != nil {
			return nil, fmt.Errorf("rendering %s: %w", name, err)
		}
		id := strings.TrimSuffix(name, ".md")
		out[id] = helpView{Title: title, Body: template.HTML(b.String())}
		index += `<li><a href="/help/` + id + `">` + template.HTMLEscapeString(title) + "</a></li>"
	}
	out[""] = helpView{Title: "Help centre", Body: template.HTML(index + "</ul>")}
	return out, nil
}

// frontMatter splits a page into its title and its text.
func frontMatter(src string) (title, text string) {
	head, text, found := strings.Cut(strings.TrimPrefix(src, "---\n"), "\n---\n")
	if !found {
		return "Help", src
	}
	for line := range strings.Lines(head) {
		if t, ok := strings.CutPrefix(line, "title:"); ok {
			title = strings.Trim(strings.TrimSpace(t), `"'`)
		}
	}
	return title, text
}

func (s *shop) routeHelp(mux *http.ServeMux) {
	all, err := helpPages()
	if err != nil {
		panic(err) // the pages are part of the program
	}
	mux.HandleFunc("GET /help/{page...}", func(w http.ResponseWriter, r *http.Request) {
		v, ok := all[r.PathValue("page")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		var b bytes.Buffer
		if err := pages.ExecuteTemplate(&b, "help.html", v); err != nil {
			http.Error(w, "the page could not be made", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(b.Bytes())
	})
}
