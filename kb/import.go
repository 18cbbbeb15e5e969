package kb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxPages bounds how many pages one folder may hold.
const maxPages = 20_000

// ImportOptions say how a folder is imported.
type ImportOptions struct {
	// BaseURL is where the pages can be read: a page without a url of its own
	// is cited as BaseURL, a slash and the document's id. "" cites no URL.
	BaseURL string
}

// ImportReport is what an import did.
type ImportReport struct {
	Added     int      `json:"added"`
	Updated   int      `json:"updated"`
	Removed   int      `json:"removed"`
	Unchanged int      `json:"unchanged"`
	Problems  []string `json:"problems,omitempty"` // one line per page that was not read
}

// Import makes the site's pages those of a folder, in one step: readers see all
// of the old or all of the new. A page that cannot be read is a problem of the
// report and keeps its old version; the others are imported. Files and folders
// whose names begin with a dot or an underscore are left out. A folder without
// any page is refused, since it is more often a wrong path than a wish.
func (b *Base) Import(ctx context.Context, site string, fsys fs.FS, opts ImportOptions) (ImportReport, error) {
	report, err := b.importFolder(ctx, site, fsys, opts)
	if err != nil {
		return ImportReport{}, fmt.Errorf("importing pages: %w", err)
	}
	return report, nil
}

func (b *Base) importFolder(ctx context.Context, site string, fsys fs.FS, opts ImportOptions) (ImportReport, error) {
	var report ImportReport
	if err := checkSite(site); err != nil {
		return report, err
	}
	b.importing.Lock()
	defer b.importing.Unlock()
	docs, err := b.current(site)
	if err != nil {
		return report, err
	}
	files, problems, err := pageFiles(ctx, fsys)
	if err != nil {
		return report, err
	}
	report.Problems = problems
	if len(files) == 0 {
		return report, errors.New("the folder holds no Markdown or HTML page")
	}
	split, err := newSplitter()
	if err != nil {
		return report, err
	}
	var c change
	seen := map[string]string{} // id to the file it came from
	for _, name := range files {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		id := documentID(name)
		if other, ok := seen[id]; ok {
			report.Problems = append(report.Problems, fmt.Sprintf("%s: has the same id as %s", name, other))
			continue
		}
		seen[id] = name
		src, err := readBounded(fsys, name)
		if err != nil {
			report.Problems = append(report.Problems, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		old, had := docs[id]
		if had && old.Hash == hashPage(name, src, opts.BaseURL) && !old.Single {
			report.Unchanged++
			continue
		}
		d, err := readPage(split, name, src, opts.BaseURL)
		if err != nil {
			report.Problems = append(report.Problems, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		if had {
			report.Updated++
		} else {
			report.Added++
		}
		docs[id] = d
		c.put = append(c.put, d)
	}
	for id, d := range docs {
		if _, ok := seen[id]; !ok && !d.Single {
			c.remove = append(c.remove, id)
		}
	}
	for _, id := range c.remove {
		delete(docs, id)
	}
	report.Removed = len(c.remove)
	return report, b.commit(ctx, site, docs, c)
}

// Add adds or replaces one page, named like a file so that its ending tells
// Markdown from HTML. Importing the site's folder leaves it alone, unless the
// folder holds a page of the same id.
func (b *Base) Add(ctx context.Context, site, name string, src []byte) (Document, error) {
	d, err := b.add(ctx, site, name, src)
	if err != nil {
		return Document{}, fmt.Errorf("adding a page: %w", err)
	}
	return Document{ID: d.ID, Title: d.Title, URL: d.URL, Passages: len(d.Passages), Single: true}, nil
}

func (b *Base) add(ctx context.Context, site, name string, src []byte) (document, error) {
	if err := checkSite(site); err != nil {
		return document{}, err
	}
	if !fs.ValidPath(name) || strings.HasPrefix(path.Base(name), ".") {
		return document{}, errors.New("the name is not a relative path")
	}
	split, err := newSplitter()
	if err != nil {
		return document{}, err
	}
	d, err := readPage(split, name, src, "")
	if err != nil {
		return document{}, fmt.Errorf("%s: %w", name, err)
	}
	d.Single = true
	b.importing.Lock()
	defer b.importing.Unlock()
	docs, err := b.current(site)
	if err != nil {
		return document{}, err
	}
	docs[d.ID] = d
	return d, b.commit(ctx, site, docs, change{put: []document{d}})
}

// Remove removes one page and reports whether it was there.
func (b *Base) Remove(ctx context.Context, site, id string) (bool, error) {
	b.importing.Lock()
	defer b.importing.Unlock()
	docs, err := b.current(site)
	if err != nil {
		return false, fmt.Errorf("removing a page: %w", err)
	}
	if _, ok := docs[id]; !ok {
		return false, nil
	}
	delete(docs, id)
	if err := b.commit(ctx, site, docs, change{remove: []string{id}}); err != nil {
		return false, fmt.Errorf("removing a page: %w", err)
	}
	return true, nil
}

// pageFiles lists the pages below the folder, sorted. Pages that are not
// regular files, such as links, are problems.
func pageFiles(ctx context.Context, fsys fs.FS) (files, problems []string, err error) {
	err = fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		base := path.Base(name)
		if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if _, ok := readers[strings.ToLower(path.Ext(name))]; !ok || e.IsDir() {
			return nil
		}
		if !e.Type().IsRegular() {
			problems = append(problems, name+": not a regular file")
			return nil
		}
		if len(files) == maxPages {
			return fmt.Errorf("the folder holds more than %d pages", maxPages)
		}
		files = append(files, name)
		return nil
	})
	slices.Sort(files)
	return files, problems, err
}

// readBounded reads a file that is no larger than a page may be.
func readBounded(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, errors.New("cannot be opened")
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, MaxPage+1))
	if err != nil {
		return nil, errors.New("cannot be read")
	}
	if len(src) > MaxPage {
		return nil, fmt.Errorf("larger than %d KiB", MaxPage>>10)
	}
	return src, nil
}
