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
	vocab    map[string]termID
	df       []int // by termID: passages that hold it, headings and title included
	index    bleve.Index
}

// termID is a term of a site's pages. Numbers take a fraction of the room of
// sets of strings, and compare faster.
type termID uint32

// noTerm is the id of what no page has.
const noTerm = ^termID(0)

// term returns the id of a term.
func (s *shelf) term(t string) termID {
	if id, ok := s.vocab[t]; ok {
		return id
	}
	return noTerm
}

// termSet is a sorted set of terms.
type termSet []termID

func (t termSet) has(id termID) bool { _, ok := slices.BinarySearch(t, id); return ok }

// shelved is a passage with what the answerer asks of it.
type shelved struct {
	passage
	doc      string
	title    termSet
	headings termSet
	body     termSet
	units    []shelvedUnit
	about    []termSet // the informative words of title and nearest heading, each with its concepts
	asks     kinds     // of fact that the nearest heading asks for
}

// shelvedUnit is a sentence with what the answerer asks of it.
type shelvedUnit struct {
	terms  termSet
	order  []termID // the stems as they stand
	states kinds    // of fact, with the items it introduces
	denies bool     // it or its heading says what is not so
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
	s := &shelf{docs: make(map[string]document, len(docs)), vocab: map[string]termID{}, index: idx}
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
			s.passages = append(s.passages, s.shelve(d, p, title, headings, body))
			err := batch.Index(strconv.Itoa(len(s.passages)-1), map[string]any{
				fieldTitle:   strings.Join(title, " "),
				fieldHeading: strings.Join(headings, " "),
				fieldBody:    strings.Join(body, " "),
			})
			if err != nil {
				return err
			}
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

// shelve reads a passage once for all questions.
func (s *shelf) shelve(d document, p passage, title, headings, body []string) shelved {
	sp := shelved{
		passage: p, doc: d.ID,
		title: s.set(title), headings: s.set(headings), body: s.set(body),
		units: make([]shelvedUnit, len(p.Units)),
	}
	nearest := ""
	if n := len(p.Headings); n > 0 {
		nearest = p.Headings[n-1]
	}
	sp.asks = askedIn(nearest)
	ws := words(tidy(d.Title + " . " + nearest))
	for i, m := range meanings(ws) {
		if !m.absorbed && !stopWords.has(ws[i].text) {
			sp.about = append(sp.about, s.set(append(m.concepts, ws[i].stem)))
		}
	}
	for i, u := range p.Units {
		unit := shelvedUnit{
			terms:  s.set(terms(u.Text)),
			states: stated(p.listed(i)),
			denies: negation.MatchString(nearest + " . " + u.Text),
		}
		for _, w := range words(tidy(u.Text)) {
			unit.order = append(unit.order, s.intern(w.stem))
		}
		sp.units[i] = unit
	}
	all := slices.Concat(sp.title, sp.headings, sp.body)
	slices.Sort(all)
	for _, id := range slices.Compact(all) {
		s.df[id]++
	}
	return sp
}

// intern returns the id of a term, a new one if need be.
func (s *shelf) intern(t string) termID {
	id, ok := s.vocab[t]
	if !ok {
		id = termID(len(s.df))
		s.vocab[t] = id
		s.df = append(s.df, 0)
	}
	return id
}

func (s *shelf) set(list []string) termSet {
	out := make(termSet, 0, len(list))
	for _, t := range list {
		out = append(out, s.intern(t))
	}
	slices.Sort(out)
	return slices.Clip(slices.Compact(out))
}

func (s *shelf) close() error { return s.index.Close() }

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
