package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/kb"
)

func (c *cli) kbCommand() *cobra.Command {
	var data, site string
	cmd := group("kb", "Add to a site's knowledge base, and try it",
		c.kbAddCommand(&data, &site), c.kbListCommand(&data, &site), c.kbAskCommand(&data, &site))
	dataFlag(cmd, &data)
	cmd.PersistentFlags().StringVar(&site, "site", "", "the `SITE` whose knowledge base it is")
	return cmd
}

func (c *cli) kbAddCommand(data, site *string) *cobra.Command {
	return &cobra.Command{
		Use:   "add FILE|DIR",
		Short: "Add a page, or each page of a folder",
		Long: `Add a Markdown or HTML page, or each page of a folder. A page that is there
already under the same name is replaced. The pages of the site's knowledge folder
need not be added: serve reads them when it starts. Without --config, to the demo.`,
		Example: `  vouchsafe kb add help/returns.md --site shop --config vouchsafe.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			pages, err := pagesAt(args[0])
			if err != nil {
				return output.Cannot(err)
			}
			base, err := c.openKB(cmd.Context(), *data, *site, true)
			if err != nil {
				return output.Cannot(err)
			}
			var problems []error
			t := p.Table("DOCUMENT", "TITLE", "PASSAGES")
			for _, page := range pages {
				src, err := page.read()
				var d kb.Document
				if err == nil {
					d, err = base.add(cmd.Context(), page.name, src)
				}
				if err == nil {
					err = t.Row(d, d.ID, d.Title, strconv.Itoa(d.Passages))
				}
				if err != nil {
					problems = append(problems, fmt.Errorf("%s: %w", page.path, err))
				}
			}
			if err := errors.Join(append(problems, t.Flush(), base.close())...); err != nil {
				return output.Cannot(err)
			}
			return nil
		},
	}
}

func (c *cli) kbListCommand(data, site *string) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the pages of a site",
		Long:    "List the pages of a site's knowledge base. Without --config, of the demo.",
		Example: `  vouchsafe kb list --site shop --config vouchsafe.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if limit < 0 {
				return output.Cannot(errors.New("--limit is at least 1, or 0 for all"))
			}
			base, err := c.openKB(cmd.Context(), *data, *site, false)
			if err != nil {
				return output.Cannot(err)
			}
			docs, err := base.documents(cmd.Context())
			if err = errors.Join(err, base.close()); err != nil {
				return output.Cannot(err)
			}
			if limit > 0 {
				docs = docs[:min(limit, len(docs))]
			}
			t := p.Table("DOCUMENT", "TITLE", "PASSAGES", "URL")
			for _, d := range docs {
				if err := t.Row(d, d.ID, d.Title, strconv.Itoa(d.Passages), d.URL); err != nil {
					return err
				}
			}
			if len(docs) == 0 {
				return errors.Join(t.Flush(), p.Line("There are no pages."))
			}
			return t.Flush()
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "at most `N` pages; 0 for all")
	return cmd
}

func (c *cli) kbAskCommand(data, site *string) *cobra.Command {
	return &cobra.Command{
		Use:   "ask QUESTION",
		Short: "Ask what a visitor would ask",
		Long: `Ask a site's knowledge base what a visitor would ask, and see the answer with the
passages it stands in. Without --config, the demo's.

Exits 0 when it is answered, 1 when it is declined, 2 when it could not be asked.`,
		Example: `  vouchsafe kb ask "do you ship to Canada?" --site demo`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			base, err := c.openKB(cmd.Context(), *data, *site, false)
			if err != nil {
				return output.Cannot(err)
			}
			a, err := base.ask(cmd.Context(), args[0])
			if err = errors.Join(err, base.close()); err != nil {
				return output.Cannot(err)
			}
			return printAnswer(p, a)
		},
	}
}

// askResult is an answer in JSON.
type askResult struct {
	Declined bool `json:"declined"`
	kb.Answer
}

func printAnswer(p *output.Printer, a kb.Answer) error {
	if a.Citations == nil {
		a.Citations = []kb.Citation{}
	}
	fields := []output.Field{{Name: "answer", Value: a.Text}}
	if a.Declined() {
		fields = []output.Field{{Name: "declined", Value: "nothing in the knowledge base supports an answer"}}
	}
	for _, c := range a.Citations {
		fields = append(fields, output.Field{Name: "from", Value: joined(c.Title, c.Document)},
			output.Field{Name: "  passage", Value: c.Passage})
		if c.URL != "" {
			fields = append(fields, output.Field{Name: "  at", Value: c.URL})
		}
	}
	if err := p.Object(askResult{a.Declined(), a}, fields...); err != nil {
		return err
	}
	if a.Declined() {
		return output.Fails(nil)
	}
	return nil
}

// page is a file to be added.
type page struct {
	path string // where it is
	name string // what it is called in the knowledge base
}

// pageEndings are the files of a folder that are pages.
var pageEndings = []string{".md", ".markdown", ".html", ".htm"}

// pagesAt is the page, or the pages of the folder, at a path. Names that begin
// with a dot or an underscore are left out of a folder.
func pagesAt(name string) ([]page, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []page{{path: name, name: filepath.Base(name)}}, nil
	}
	var pages []page
	err = fs.WalkDir(os.DirFS(name), ".", func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if at != "." && strings.ContainsAny(path.Base(at)[:1], "._") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.Type().IsRegular() && slices.Contains(pageEndings, strings.ToLower(path.Ext(at))) {
			pages = append(pages, page{path: filepath.Join(name, filepath.FromSlash(at)), name: at})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the folder: %w", err)
	}
	if len(pages) == 0 {
		return nil, fmt.Errorf("%s holds no Markdown or HTML page", name)
	}
	return pages, nil
}

func (p page) read() ([]byte, error) {
	info, err := os.Stat(p.path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > kb.MaxPage {
		return nil, fmt.Errorf("not a file of at most %d KiB", kb.MaxPage>>10)
	}
	return os.ReadFile(p.path)
}

// knowledge is one site's knowledge base, wherever it is.
type knowledge interface {
	add(ctx context.Context, name string, src []byte) (kb.Document, error)
	documents(ctx context.Context) ([]kb.Document, error)
	ask(ctx context.Context, question string) (kb.Answer, error)
	close() error
}

// openKB reaches a knowledge base through the server that has it open, or else
// in its file, which is made only when create is set.
func (c *cli) openKB(ctx context.Context, data, site string, create bool) (knowledge, error) {
	at, err := c.place(data, config.LoadWithoutSecrets)
	if err != nil {
		return nil, err
	}
	if err := at.checkSite(site); err != nil {
		return nil, err
	}
	client, err := dialAdmin(ctx, at.data)
	if err == nil {
		return &servedKB{client, "/v1/admin/kb/" + url.PathEscape(site)}, nil
	}
	if !errors.Is(err, errNoServer) {
		return nil, err
	}
	file := filepath.Join(at.data, kbFile)
	if create {
		if err := os.MkdirAll(at.data, 0o700); err != nil {
			return nil, fmt.Errorf("making the data folder: %w", err)
		}
	} else if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, output.WithHint(fmt.Errorf("there is no knowledge base in %s", at.data), "`vouchsafe serve` makes it of the site's knowledge folder, `vouchsafe kb add` of single pages")
	}
	base, err := kb.Open(file)
	if err != nil {
		return nil, err
	}
	return storedKB{base, site}, nil
}

// storedKB is the file of a server that does not run.
type storedKB struct {
	base *kb.Base
	site string
}

func (s storedKB) add(ctx context.Context, name string, src []byte) (kb.Document, error) {
	return s.base.Add(ctx, s.site, name, src)
}
func (s storedKB) documents(context.Context) ([]kb.Document, error) { return s.base.Documents(s.site) }
func (s storedKB) ask(ctx context.Context, q string) (kb.Answer, error) {
	return s.base.Ask(ctx, s.site, q)
}
func (s storedKB) close() error { return s.base.Close() }

// servedKB is the knowledge base of a running server.
type servedKB struct {
	client *adminClient
	path   string
}

func (s *servedKB) add(ctx context.Context, name string, src []byte) (d kb.Document, err error) {
	if !utf8.Valid(src) {
		return d, errors.New("not UTF-8") // JSON would replace what is not
	}
	err = s.client.post(ctx, s.path+"/documents", newDocument{Name: name, Content: string(src)}, &d)
	return d, err
}

func (s *servedKB) documents(ctx context.Context) ([]kb.Document, error) {
	var got documentList
	err := s.client.get(ctx, s.path+"/documents", nil, &got)
	return got.Documents, err
}

func (s *servedKB) ask(ctx context.Context, q string) (a kb.Answer, err error) {
	err = s.client.post(ctx, s.path+"/ask", question{q}, &a)
	return a, err
}

func (s *servedKB) close() error {
	s.client.close()
	return nil
}
