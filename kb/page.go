package kb

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxPage is the size of the largest page that is read, in bytes.
const MaxPage = 1 << 20

// parserVersion is part of every page's hash. Raise it when pages parse
// differently than before, so that an import reads unchanged files again.
const parserVersion = "1"

// block is one paragraph, list item, table row or the like.
type block struct {
	text string
	item bool // stands on a line of its own: a list item or a table row
}

// section is what stands under one heading.
type section struct {
	path   []string // the headings above it, outermost first, without the title
	anchor string   // of the nearest heading, "" above the first
	blocks []block
}

// parsed is a page before it is cut into passages.
type parsed struct {
	title    string
	url      string // from the front matter, "" when it names none
	sections []section
}

// frontMatter is the optional head of a Markdown page. Other members are the
// site generator's business and are left alone.
type frontMatter struct {
	Title string `yaml:"title"`
	URL   string `yaml:"url"`
}

// readers maps the endings of pages to their reader.
var readers = map[string]func([]byte) (parsed, error){
	".md":       parseMarkdown,
	".markdown": parseMarkdown,
	".html":     parseHTML,
	".htm":      parseHTML,
}

// documentID is the id of the page in a file: its path without the ending.
func documentID(name string) string {
	return strings.TrimSuffix(name, path.Ext(name))
}

// readPage turns the source of a page into a document.
func readPage(split *splitter, name string, src []byte, baseURL string) (document, error) {
	parse, ok := readers[strings.ToLower(path.Ext(name))]
	if !ok {
		return document{}, errors.New("neither Markdown nor HTML")
	}
	if len(src) > MaxPage {
		return document{}, fmt.Errorf("larger than %d KiB", MaxPage>>10)
	}
	if !utf8.Valid(src) {
		return document{}, errors.New("not UTF-8")
	}
	if bytes.IndexByte(src, 0) >= 0 {
		return document{}, errors.New("holds a NUL byte")
	}
	p, err := parse(bytes.TrimPrefix(src, []byte("\ufeff")))
	if err != nil {
		return document{}, err
	}
	id := documentID(name)
	d := document{
		Version: recordVersion,
		ID:      id,
		Title:   clean(p.title),
		Hash:    hashPage(name, src, baseURL),
	}
	if d.Title == "" {
		d.Title = titleFromID(id)
	}
	if d.URL, err = pageURL(p.url, baseURL, id); err != nil {
		return document{}, err
	}
	for _, s := range p.sections {
		d.Passages = append(d.Passages, split.passages(s)...)
	}
	if len(d.Passages) == 0 {
		return document{}, errors.New("holds no text")
	}
	return d, nil
}

// hashPage tells whether a file would parse to the same document again.
func hashPage(name string, src []byte, baseURL string) string {
	h := sha256.New()
	for _, part := range []string{parserVersion, name, baseURL} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	h.Write(src)
	return hex.EncodeToString(h.Sum(nil))
}

// pageURL is where a visitor can read the page: what its front matter says,
// or its place under the base. Only web addresses pass, since a page is not
// trusted to put a script behind a link.
func pageURL(own, base, id string) (string, error) {
	if own == "" {
		if base == "" {
			return "", nil
		}
		return strings.TrimSuffix(base, "/") + "/" + (&url.URL{Path: id}).EscapedPath(), nil
	}
	u, err := url.Parse(own)
	if err != nil {
		return "", errors.New("the url in the front matter is malformed")
	}
	web := (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
	local := u.Scheme == "" && u.Host == "" && strings.HasPrefix(u.Path, "/")
	if !web && !local {
		return "", errors.New("the url in the front matter is neither http(s) nor a path from the root")
	}
	return u.String(), nil
}

// cutFrontMatter parts a leading YAML block between two "---" lines from the
// rest. A page that begins with a thematic break has none.
func cutFrontMatter(src []byte) (frontMatter, []byte, error) {
	var fm frontMatter
	first, rest, ok := bytes.Cut(src, []byte("\n"))
	if !ok || string(bytes.TrimRight(first, " \t\r")) != "---" {
		return fm, src, nil
	}
	head := rest
	for length := 0; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		if string(bytes.TrimRight(line, " \t\r")) == "---" {
			head, rest = head[:length], after
			if len(head) > 16<<10 {
				return fm, nil, errors.New("the front matter is larger than 16 KiB")
			}
			if err := yaml.Unmarshal(head, &fm); err != nil {
				return fm, nil, fmt.Errorf("the front matter is not YAML with a title and a url: %v", err)
			}
			return fm, rest, nil
		}
		length += len(rest) - len(after)
		rest = after
	}
	return fm, nil, errors.New("the front matter does not end")
}

// clean collapses white space and drops control and formatting characters,
// which could hide text from a reader or turn it round.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r), r == utf8.RuneError:
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// titleFromID makes "Shipping abroad" of "help/shipping-abroad".
func titleFromID(id string) string {
	s := clean(strings.NewReplacer("-", " ", "_", " ").Replace(path.Base(id)))
	if s == "" {
		return id
	}
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

// outline collects sections as a reader walks a page from top to bottom.
type outline struct {
	page     parsed
	headings []heading // open at this point, outermost first
	current  section
}

type heading struct {
	level int
	text  string
}

// add appends a block to the current section.
func (o *outline) add(text string, item bool) {
	if text = clean(text); text != "" {
		o.current.blocks = append(o.current.blocks, block{text: text, item: item})
	}
}

// open begins the section under a heading. The first heading of level one
// gives the page its title, unless it has one already.
func (o *outline) open(level int, text, anchor string) {
	o.close()
	text = clean(text)
	if level == 1 && (o.page.title == "" || strings.EqualFold(o.page.title, text)) {
		if o.page.title == "" {
			o.page.title = text
		}
		o.headings = nil
		o.current = section{}
		return
	}
	for len(o.headings) > 0 && o.headings[len(o.headings)-1].level >= level {
		o.headings = o.headings[:len(o.headings)-1]
	}
	o.headings = append(o.headings, heading{level: level, text: text})
	o.current = section{anchor: anchor}
	for _, h := range o.headings {
		o.current.path = append(o.current.path, h.text)
	}
}

// close ends the current section.
func (o *outline) close() {
	if len(o.current.blocks) > 0 {
		o.page.sections = append(o.page.sections, o.current)
	}
	o.current = section{path: o.current.path, anchor: o.current.anchor}
}
