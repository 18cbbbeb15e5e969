package connectors

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pages is how the rest of a list is asked for that comes in several replies.
type pages struct {
	cursor *expression // of a reply: what {page.cursor} is in the next request
	next   *expression // of a reply: the URL of the next page
	link   bool        // the reply's Link header has that URL
	size   int         // of a full page; a shorter one is the last
	more   *expression // of a reply: whether there is another page; nil when not said
	from   int         // the first page's number
	limit  int         // pages at most
	line   int
}

// page is where in a list a request asks.
type page struct {
	number *int // nil when there are no pages
	offset int
	cursor string // "" for the first
	query  string // of the whole request, from a link; "" for none
}

// pageNames are what a request may use of a page.
var pageNames = []string{"cursor", "number", "offset"}

const (
	defaultPages = 10
	maxPages     = 50
	maxCursor    = 4096
)

func (p page) lookup(name string) []string {
	switch {
	case p.number == nil:
		return nil
	case name == "number":
		return []string{strconv.Itoa(*p.number)}
	case name == "offset":
		return []string{strconv.Itoa(p.offset)}
	case p.cursor != "":
		return []string{p.cursor}
	}
	return nil
}

func (r *reader) readPages(n *yaml.Node) *pages {
	g := &pages{from: 1, limit: defaultPages, line: n.Line}
	seen := r.keys(n, "pages", map[string]func(*yaml.Node){
		"cursor": func(n *yaml.Node) { g.cursor = r.jq(n, "pages' cursor") },
		"next":   func(n *yaml.Node) { g.next = r.jq(n, "pages' next") },
		"link":   func(n *yaml.Node) { g.link = r.boolean(n, "pages' link") },
		"more":   func(n *yaml.Node) { g.more = r.jq(n, "pages' more") },
		"size": func(n *yaml.Node) {
			if g.size = r.integer(n, "pages' size"); g.size < 1 || g.size > jqOutputs {
				r.failf(n, "pages: size is how many records a full page has, from 1 to %d", jqOutputs)
			}
		},
		"from": func(n *yaml.Node) {
			if g.from = r.integer(n, "pages' from"); g.from < 0 || g.from > 1 {
				r.failf(n, "pages: from is the first page's number, 0 or 1")
			}
		},
		"limit": func(n *yaml.Node) {
			if g.limit = r.integer(n, "pages' limit"); g.limit < 1 || g.limit > maxPages {
				r.failf(n, "pages: limit is how many pages are asked for at most, from 1 to %d", maxPages)
			}
		},
	})
	ways := 0
	for _, key := range []string{"cursor", "next", "link"} {
		if seen[key] {
			ways++
		}
	}
	if ways > 1 {
		r.failf(n, "pages: give one of cursor, next and link")
	}
	if ways == 0 && !seen["size"] && !seen["more"] {
		r.failf(n, "pages: without cursor, next, link, more or size nothing says which page is the last")
	}
	return g
}

// judgePages checks that a request asks for the page that it is told of.
func (r *reader) judgePages(n *yaml.Node, q *request, s surroundings) {
	var used []string
	for _, p := range q.query {
		used = append(used, p.value.vars...)
	}
	if q.path != nil {
		used = append(used, q.path.vars...)
	}
	asks := func(name string) bool {
		return slices.Contains(used, "page."+name) || q.use != nil && q.use.page
	}
	asked := asks("cursor") || asks("number") || asks("offset")
	switch g := q.pages; {
	case g == nil && asked:
		r.failf(n, "request: it asks for a page, and no pages say which one comes next")
	case g == nil:
	case s.writes:
		r.failAt(g.line, "pages: what changes something is asked once")
	case g.next != nil || g.link:
		if asked {
			r.failAt(g.line, "pages: the next page's URL says where it is, so the request needs no page")
		}
	case g.cursor != nil && !asks("cursor"):
		r.failAt(g.line, "pages: nothing in the request uses the cursor; have {page.cursor} in the query or .page.cursor in the body")
	case g.cursor == nil && !asks("number") && !asks("offset"):
		r.failAt(g.line, "pages: nothing in the request says which page; have {page.number} or {page.offset} in the query")
	}
}

// first is the first page.
func (g *pages) first() page {
	if g == nil {
		return page{}
	}
	n := g.from
	return page{number: &n}
}

var errPage = errors.New("the next page lies somewhere else")

// after is the page after the one that answered with so many records, nil when
// that was the last. path is the request's.
func (g *pages) after(ctx context.Context, p page, a *answer, records int, path string) (*page, error) {
	if g == nil || records == 0 || g.size > 0 && records < g.size {
		return nil, nil
	}
	if g.more != nil {
		switch a.says(ctx, g.more, true) {
		case no:
			return nil, nil
		case unclear:
			return nil, errReply
		}
	}
	n := *p.number + 1
	next := page{number: &n, offset: p.offset + records}
	var to string
	switch {
	case g.link:
		to = nextLink(a.Link)
	case g.cursor == nil && g.next == nil:
		return &next, nil
	default:
		doc, err := a.json()
		if err != nil {
			return nil, err
		}
		e := g.cursor
		if e == nil {
			e = g.next
		}
		// A list that is cut short in silence looks whole.
		values, err := e.all(ctx, doc)
		if err != nil || len(values) > 1 {
			return nil, errReply
		}
		if len(values) == 1 {
			to = idText(values[0])
		}
	}
	if to == "" || to == p.cursor {
		return nil, nil
	}
	if len(to) > maxCursor {
		return nil, errPage
	}
	if next.cursor = to; g.cursor != nil {
		return &next, nil
	}
	// Only where on the same path the next page is comes from the reply: the
	// connection alone knows the host.
	u, err := url.Parse(to)
	if err != nil || u.RawQuery == "" || u.EscapedPath() != "" && !strings.HasSuffix(u.EscapedPath(), path) {
		return nil, errPage
	}
	next.query = u.RawQuery
	return &next, nil
}

// nextLink is the target of a Link header's rel="next" (RFC 8288), "" for none.
func nextLink(header string) string {
	for header != "" {
		_, rest, ok := strings.Cut(header, "<")
		if !ok {
			return ""
		}
		target, rest, ok := strings.Cut(rest, ">")
		if !ok {
			return ""
		}
		params := rest
		if i := strings.IndexByte(rest, '<'); i >= 0 {
			params = rest[:i]
		}
		for _, param := range strings.FieldsFunc(params, func(c rune) bool { return c == ';' || c == ',' }) {
			name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
			if strings.EqualFold(name, "rel") && slices.Contains(strings.Fields(strings.ToLower(strings.Trim(value, `"`))), "next") {
				return target
			}
		}
		header = rest
	}
	return ""
}
