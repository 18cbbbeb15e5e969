// Package kb answers general questions from a site's own pages, in sentences
// that stand there word for word, with citations; what the pages do not
// support, it declines.
//
// Pages are data. Nothing in one is run, followed or obeyed: a page can only
// ever be quoted.
package kb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Document is one page of a site's knowledge base.
type Document struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	URL      string `json:"url,omitempty"`
	Passages int    `json:"passages"`
	// Single says that the page was added by itself, so that importing the
	// site's folder leaves it alone.
	Single bool `json:"single,omitempty"`
}

// Citation says where an answer stands.
type Citation struct {
	Document string `json:"document"`
	Title    string `json:"title"`
	URL      string `json:"url,omitempty"` // with the anchor of the heading, where there is one
	Passage  string `json:"passage"`       // the text, word for word, that holds the answer's sentences
}

// Answer is made of sentences of the cited passages. The zero Answer declines.
type Answer struct {
	Text      string     `json:"answer"`
	Citations []Citation `json:"citations"`
}

// Declined reports that nothing in the knowledge base supports an answer.
func (a Answer) Declined() bool { return a.Text == "" }

// Base is the knowledge base of all sites. It is safe for concurrent use.
type Base struct {
	db *bolt.DB

	importing sync.Mutex // held from reading the old state to swapping in the new

	mu      sync.RWMutex // guards what follows; readers hold it while they search
	shelves map[string]*shelf
	closed  bool
}

var errClosed = errors.New("the knowledge base is closed")

// Open opens the knowledge base in the file at path, which it makes if need
// be, and builds the search indexes in memory.
func Open(path string) (*Base, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("opening the knowledge base: %w", err)
	}
	b := &Base{db: db, shelves: map[string]*shelf{}}
	if err := b.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the knowledge base: %w", err), b.Close())
	}
	return b, nil
}

func (b *Base) load() error {
	if err := b.db.Update(prepare); err != nil {
		return err
	}
	var sites map[string][]document
	err := b.db.View(func(tx *bolt.Tx) (err error) {
		sites, err = loadSites(tx)
		return err
	})
	if err != nil {
		return err
	}
	for site, docs := range sites {
		if b.shelves[site], err = newShelf(docs); err != nil {
			return fmt.Errorf("indexing site %q: %w", site, err)
		}
	}
	return nil
}

// Close closes the indexes and the file. Questions under way end first.
func (b *Base) Close() error {
	b.importing.Lock()
	defer b.importing.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	var errs []error
	for _, s := range b.shelves {
		errs = append(errs, s.close())
	}
	b.shelves = nil
	return errors.Join(append(errs, b.db.Close())...)
}

// Documents lists a site's pages by id. A site without any is no error.
func (b *Base) Documents(site string) ([]Document, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, errClosed
	}
	s := b.shelves[site]
	if s == nil {
		return nil, nil
	}
	out := make([]Document, 0, len(s.docs))
	for _, id := range slices.Sorted(maps.Keys(s.docs)) {
		d := s.docs[id]
		out = append(out, Document{ID: d.ID, Title: d.Title, URL: d.URL, Passages: len(d.Passages), Single: d.Single})
	}
	return out, nil
}

// Ask answers a question from the site's pages, or declines. Only a failure to
// search is an error.
func (b *Base) Ask(ctx context.Context, site, question string) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return Answer{}, errClosed
	}
	s := b.shelves[site]
	if s == nil {
		return Answer{}, nil
	}
	a, err := s.answer(ctx, question)
	if err != nil {
		return Answer{}, fmt.Errorf("searching the knowledge base: %w", err)
	}
	return a, nil
}

// current returns a site's documents by id, to be changed into the next state.
// The caller holds importing.
func (b *Base) current(site string) (map[string]document, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, errClosed
	}
	if s := b.shelves[site]; s != nil {
		return maps.Clone(s.docs), nil
	}
	return map[string]document{}, nil
}

// commit makes next the site's state: the index is built, the change is on
// disk, then readers see it, all or nothing. The caller holds importing.
func (b *Base) commit(ctx context.Context, site string, next map[string]document, c change) error {
	if c.empty() {
		return nil
	}
	fresh, err := newShelf(slices.Collect(maps.Values(next)))
	if err != nil {
		return fmt.Errorf("indexing: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return errors.Join(err, fresh.close())
	}
	if err := b.db.Update(func(tx *bolt.Tx) error { return c.apply(tx, site) }); err != nil {
		return errors.Join(fmt.Errorf("storing: %w", err), fresh.close())
	}
	b.mu.Lock()
	old := b.shelves[site]
	b.shelves[site] = fresh
	b.mu.Unlock()
	if old == nil {
		return nil
	}
	// Whoever searched the old index held mu for reading, so nobody does now.
	return old.close()
}

// checkSite refuses names that no site can have.
func checkSite(site string) error {
	if site == "" || len(site) > 128 || strings.ContainsFunc(site, func(r rune) bool { return r < ' ' }) {
		return errors.New("malformed site id")
	}
	return nil
}
