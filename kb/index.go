package kb

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis/analyzer/custom"
	"github.com/blevesearch/bleve/v2/analysis/tokenizer/whitespace"
	"github.com/blevesearch/bleve/v2/index/scorch"
	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search"
	"github.com/blevesearch/bleve/v2/search/query"
	index "github.com/blevesearch/bleve_index_api"
)

// The library's average field length counts dictionary terms over segments, so
// its length normalisation would depend on how the index happens to be laid
// out. Passages are of near-equal length, which makes it needless as well.
func init() { search.BM25_b = 0 }

// The indexed fields. They hold terms, already analysed and joined by spaces.
const (
	fieldTitle   = "title"
	fieldHeading = "heading"
	fieldBody    = "body"
)

// shelf is one site's documents, ready to be searched. It is never changed.
type shelf struct {
	docs     map[string]document
	passages []shelved
	df       map[string]int // passages that hold a term, headings and title included
	index    bleve.Index
}

// shelved is a passage with what the answerer asks of it.
type shelved struct {
	passage
	doc      string
	title    bag
	headings bag
	body     bag
	about    [][]string // the informative words of title and nearest heading, each with its concepts
}

// newShelf indexes a site's documents in memory.
func newShelf(docs []document) (*shelf, error) {
	slices.SortFunc(docs, func(a, b document) int { return cmp.Compare(a.ID, b.ID) })
	m, err := newMapping()
	if err != nil {
		return nil, err
	}
	// Scorch, since the library's plain in-memory index ignores BM25.
	idx, err := bleve.NewUsing("", m, scorch.Name, scorch.Name, nil)
	if err != nil {
		return nil, err
	}
	s := &shelf{docs: make(map[string]document, len(docs)), df: map[string]int{}, index: idx}
	if err := s.fill(docs); err != nil {
		idx.Close()
		return nil, err
	}
	return s, nil
}

func newMapping() (mapping.IndexMapping, error) {
	m := bleve.NewIndexMapping()
	m.ScoringModel = index.BM25Scoring
	if err := m.AddCustomAnalyzer("terms", map[string]any{"type": custom.Name, "tokenizer": whitespace.Name}); err != nil {
		return nil, err
	}
	m.DefaultAnalyzer = "terms"
	field := bleve.NewTextFieldMapping()
	field.Store, field.IncludeTermVectors, field.IncludeInAll, field.DocValues = false, false, false, false
	page := bleve.NewDocumentStaticMapping()
	for _, name := range []string{fieldTitle, fieldHeading, fieldBody} {
		page.AddFieldMappingsAt(name, field)
	}
	m.DefaultMapping = page
	return m, nil
}

// batchSize is how many passages are indexed at once.
const batchSize = 500

func (s *shelf) fill(docs []document) error {
	batch := s.index.NewBatch()
	for _, d := range docs {
		s.docs[d.ID] = d
		title := terms(d.Title)
		for _, p := range d.Passages {
			headings := terms(strings.Join(p.Headings, " . "))
			body := terms(p.text())
			sp := shelved{passage: p, doc: d.ID, title: toBag(title), headings: toBag(headings), body: toBag(body), about: about(d.Title, p.Headings)}
			all := bag{}
			for _, list := range [][]string{title, headings, body} {
				for _, t := range list {
					if !all.has(t) {
						all[t] = struct{}{}
						s.df[t]++
					}
				}
			}
			err := batch.Index(strconv.Itoa(len(s.passages)), map[string]any{
				fieldTitle:   strings.Join(title, " "),
				fieldHeading: strings.Join(headings, " "),
				fieldBody:    strings.Join(body, " "),
			})
			if err != nil {
				return err
			}
			s.passages = append(s.passages, sp)
			if batch.Size() == batchSize {
				if err := s.index.Batch(batch); err != nil {
					return err
				}
				batch.Reset()
			}
		}
	}
	if batch.Size() == 0 {
		return nil
	}
	return s.index.Batch(batch)
}

// about lists the informative words of a passage's title and nearest heading,
// each as its stem and the concepts it puts.
func about(title string, headings []string) [][]string {
	text := title
	if len(headings) > 0 {
		text += " . " + headings[len(headings)-1]
	}
	ws := words(tidy(text))
	var out [][]string
	for i, w := range ws {
		if stopWords.has(w.text) {
			continue
		}
		list := []string{w.stem}
		for _, way := range ways[w.stem] {
			if _, ok := way.match(ws, i); ok {
				list = append(list, way.token)
			}
		}
		out = append(out, list)
	}
	return out
}

func (s *shelf) close() error { return s.index.Close() }

func toBag(list []string) bag {
	b := make(bag, len(list))
	for _, t := range list {
		b[t] = struct{}{}
	}
	return b
}

// idf is how much a term tells the passages of the site apart.
func (s *shelf) idf(df int) float64 {
	n := float64(len(s.passages))
	return math.Log(1 + (n-float64(df)+0.5)/(float64(df)+0.5))
}

// found is a passage that shares terms with a question.
type found struct {
	passage int
	score   float64 // of the index; comparable within one search only
}

// search returns the passages closest to the asked terms, best first.
func (s *shelf) search(ctx context.Context, asked []asked, limit int) ([]found, error) {
	var clauses []query.Query
	for _, a := range asked {
		for _, term := range a.terms {
			for _, field := range []struct {
				name  string
				boost float64
			}{{fieldTitle, 1.2}, {fieldHeading, 1.2}, {fieldBody, 1}} {
				q := bleve.NewTermQuery(term)
				q.SetField(field.name)
				q.SetBoost(field.boost * a.weight)
				clauses = append(clauses, q)
			}
		}
	}
	req := bleve.NewSearchRequestOptions(bleve.NewDisjunctionQuery(clauses...), limit, 0, false)
	res, err := s.index.SearchInContext(ctx, req)
	if err != nil {
		return nil, err
	}
	out := make([]found, 0, len(res.Hits))
	for _, hit := range res.Hits {
		n, err := strconv.Atoi(hit.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, found{passage: n, score: hit.Score})
	}
	// Equal scores fall as the segments do; this makes the order repeatable.
	slices.SortStableFunc(out, func(a, b found) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.passage, b.passage))
	})
	return out, nil
}
