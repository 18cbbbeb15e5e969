package kb

import (
	"errors"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// markdown parses; nothing is ever rendered, and HTML inside is dropped.
var markdown = goldmark.New(
	goldmark.WithExtensions(extension.Table, extension.Strikethrough, extension.DefinitionList),
	goldmark.WithParserOptions(parser.WithAutoHeadingID()),
)

// maxDepth bounds how deeply blocks may nest. Pages for people stay far below.
const maxDepth = 40

var errTooDeep = errors.New("nested too deeply")

func parseMarkdown(src []byte) (parsed, error) {
	fm, body, err := cutFrontMatter(src)
	if err != nil {
		return parsed{}, err
	}
	if err := boundNesting(body); err != nil {
		return parsed{}, err
	}
	o := &outline{page: parsed{title: clean(fm.Title), url: fm.URL}}
	m := &markdownReader{src: body, out: o}
	if err := m.blocks(markdown.Parser().Parse(text.NewReader(body)), 0); err != nil {
		return parsed{}, err
	}
	o.close()
	return o.page, nil
}

// boundNesting refuses a line that opens too many quotes or lists at once,
// before the parser spends time on it.
func boundNesting(src []byte) error {
	run := 0
	for _, c := range src {
		switch c {
		case '>':
			if run++; run > maxDepth {
				return errTooDeep
			}
		case '-', '+', '*', ' ', '\t':
		default:
			run = 0
		}
	}
	return nil
}

type markdownReader struct {
	src []byte
	out *outline
}

func (m *markdownReader) blocks(parent ast.Node, depth int) error {
	if depth > maxDepth {
		return errTooDeep
	}
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Heading:
			anchor := ""
			if id, ok := n.AttributeString("id"); ok {
				if b, ok := id.([]byte); ok {
					anchor = string(b)
				}
			}
			m.out.open(n.Level, m.inline(n), anchor)
		case *ast.Paragraph, *ast.TextBlock, *extast.DefinitionTerm:
			m.out.add(m.inline(n), false)
		case *ast.ListItem:
			if err := m.item(n, depth); err != nil {
				return err
			}
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			m.out.add(m.lines(n), false)
		case *extast.Table:
			m.table(n)
		case *ast.HTMLBlock:
			// Markup is not text.
		default:
			if n.Type() == ast.TypeBlock {
				if err := m.blocks(n, depth+1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// item adds a list item: its first paragraph as an item, what it holds besides
// as blocks of their own.
func (m *markdownReader) item(n *ast.ListItem, depth int) error {
	first := n.FirstChild()
	switch first.(type) {
	case *ast.Paragraph, *ast.TextBlock:
		m.out.add(m.inline(first), true)
	case nil:
		return nil
	default:
		return m.blocks(n, depth+1)
	}
	if first.NextSibling() == nil {
		return nil
	}
	n.RemoveChild(n, first)
	return m.blocks(n, depth+1)
}

// table adds each row as one item: "Header: cell; header: cell."
func (m *markdownReader) table(t *extast.Table) {
	var header []string
	for row := t.FirstChild(); row != nil; row = row.NextSibling() {
		var cells []string
		for cell := row.FirstChild(); cell != nil; cell = cell.NextSibling() {
			cells = append(cells, clean(m.inline(cell)))
		}
		if _, ok := row.(*extast.TableHeader); ok {
			header = cells
			continue
		}
		m.out.add(rowText(header, cells), true)
	}
}

// rowText writes a table row as a line that stands without its table.
func rowText(header, cells []string) string {
	var parts []string
	for i, cell := range cells {
		switch {
		case cell == "":
		case i < len(header) && header[i] != "":
			parts = append(parts, header[i]+": "+cell)
		default:
			parts = append(parts, cell)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.TrimRight(strings.Join(parts, "; "), ".") + "."
}

// inline is the plain text of a block's inline content.
func (m *markdownReader) inline(n ast.Node) string {
	var b strings.Builder
	m.inlineTo(&b, n, 0)
	return b.String()
}

func (m *markdownReader) inlineTo(b *strings.Builder, parent ast.Node, depth int) {
	if depth > maxDepth {
		return
	}
	muted := "" // the raw element whose content is no text
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		if raw, ok := n.(*ast.RawHTML); ok {
			tag := strings.ToLower(string(raw.Segments.Value(m.src)))
			for _, name := range []string{"script", "style"} {
				if strings.HasPrefix(tag, "<"+name) {
					muted = name
				} else if muted == name && strings.HasPrefix(tag, "</"+name) {
					muted = ""
				}
			}
			if strings.HasPrefix(tag, "<br") {
				b.WriteByte(' ')
			}
			continue
		}
		if muted != "" {
			continue
		}
		switch n := n.(type) {
		case *ast.Text:
			b.Write(n.Segment.Value(m.src))
			if n.SoftLineBreak() || n.HardLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.String:
			b.Write(n.Value)
		case *ast.AutoLink:
			b.Write(n.Label(m.src))
		case *ast.Image:
			// An alternative text describes; it is no sentence of the page.
		default:
			m.inlineTo(b, n, depth+1)
		}
	}
}

// lines is the raw text of a code block.
func (m *markdownReader) lines(n ast.Node) string {
	var b strings.Builder
	for i := 0; i < n.Lines().Len(); i++ {
		seg := n.Lines().At(i)
		b.Write(seg.Value(m.src))
	}
	return b.String()
}
