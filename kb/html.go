package kb

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// parseHTML reads the text of an HTML page: of its <main> or <article> where it
// has one, otherwise of its body. Nothing is run, fetched or kept but text.
func parseHTML(src []byte) (parsed, error) {
	root, err := html.Parse(bytes.NewReader(src))
	if err != nil {
		return parsed{}, fmt.Errorf("not HTML: %v", err)
	}
	h := &htmlReader{out: &outline{}}
	top := find(root, atom.Main)
	if top == nil {
		top = find(root, atom.Article)
	}
	if top == nil {
		top = root
	}
	if find(top, atom.H1) == nil {
		if t := find(root, atom.Title); t != nil {
			h.out.page.title = clean(textOf(t))
		}
	}
	h.walk(top, 0)
	h.flush()
	h.out.close()
	return h.out.page, nil
}

// mute lists the elements that hold no text for readers, or none about the
// page's subject.
var mute = map[atom.Atom]bool{
	atom.Script: true, atom.Style: true, atom.Template: true, atom.Noscript: true,
	atom.Head: true, atom.Nav: true, atom.Footer: true, atom.Aside: true, atom.Iframe: true,
	atom.Object: true, atom.Embed: true, atom.Svg: true, atom.Math: true, atom.Canvas: true,
	atom.Form: true, atom.Button: true, atom.Select: true, atom.Textarea: true, atom.Input: true,
	atom.Audio: true, atom.Video: true,
}

// breaks lists the elements that end the text before them.
var breaks = map[atom.Atom]bool{
	atom.P: true, atom.Div: true, atom.Section: true, atom.Article: true, atom.Main: true,
	atom.Header: true, atom.Ul: true, atom.Ol: true, atom.Dl: true, atom.Dt: true, atom.Dd: true,
	atom.Blockquote: true, atom.Pre: true, atom.Figure: true, atom.Figcaption: true, atom.Address: true,
	atom.Details: true, atom.Summary: true, atom.Hr: true, atom.Body: true,
}

type htmlReader struct {
	out  *outline
	text strings.Builder
	item bool // the text stands in a list item
}

// flush ends the running text.
func (h *htmlReader) flush() {
	h.out.add(h.text.String(), h.item)
	h.text.Reset()
}

func (h *htmlReader) walk(n *html.Node, depth int) {
	if depth > 4*maxDepth {
		return
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		switch c.Type {
		case html.TextNode:
			h.text.WriteString(c.Data)
		case html.ElementNode:
			h.element(c, depth)
		}
	}
}

func (h *htmlReader) element(n *html.Node, depth int) {
	if mute[n.DataAtom] || hidden(n) {
		return
	}
	switch n.DataAtom {
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		h.flush()
		h.out.open(int(n.Data[1]-'0'), textOf(n), attr(n, "id"))
	case atom.Table:
		h.flush()
		h.table(n)
	case atom.Li:
		h.flush()
		was := h.item
		h.item = true
		h.walk(n, depth+1)
		h.flush()
		h.item = was
	case atom.Br:
		h.text.WriteByte(' ')
	default:
		if breaks[n.DataAtom] {
			h.flush()
			h.walk(n, depth+1)
			h.flush()
			return
		}
		h.walk(n, depth+1)
	}
}

// table adds the rows of a table, with the cells of its first header row.
func (h *htmlReader) table(t *html.Node) {
	var header []string
	for n := range t.Descendants() {
		if n.Type != html.ElementNode || n.DataAtom != atom.Tr {
			continue
		}
		var cells []string
		heads := 0
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			if c.Type != html.ElementNode || (c.DataAtom != atom.Td && c.DataAtom != atom.Th) {
				continue
			}
			if c.DataAtom == atom.Th {
				heads++
			}
			cells = append(cells, clean(textOf(c)))
		}
		if header == nil && heads == len(cells) && heads > 0 {
			header = cells
			continue
		}
		h.out.add(rowText(header, cells), true)
	}
}

// hidden reports whether the page says that readers do not see n.
func hidden(n *html.Node) bool {
	for _, a := range n.Attr {
		switch a.Key {
		case "hidden":
			return true
		case "aria-hidden":
			return a.Val == "true"
		case "style":
			s := strings.ToLower(strings.Join(strings.Fields(a.Val), ""))
			if strings.Contains(s, "display:none") || strings.Contains(s, "visibility:hidden") {
				return true
			}
		}
	}
	return false
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// textOf is the visible text below n.
func textOf(n *html.Node) string {
	var b strings.Builder
	var visit func(*html.Node, int)
	visit = func(n *html.Node, depth int) {
		if depth > 4*maxDepth {
			return
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			switch {
			case c.Type == html.TextNode:
				b.WriteString(c.Data)
			case c.Type == html.ElementNode && !mute[c.DataAtom] && !hidden(c):
				if c.DataAtom == atom.Br || breaks[c.DataAtom] {
					b.WriteByte(' ')
				}
				visit(c, depth+1)
			}
		}
	}
	visit(n, 0)
	return b.String()
}

// find returns the first element of the kind below n.
func find(n *html.Node, kind atom.Atom) *html.Node {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.DataAtom == kind {
			return d
		}
	}
	return nil
}
