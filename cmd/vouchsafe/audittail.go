package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/audit"
)

func (c *cli) auditTailCommand(data *string) *cobra.Command {
	f := auditFilter{limit: 1}
	var last int
	var follow bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show the newest decisions, and with -f those that follow",
		Long: `Show the newest decisions, the newest last; with -f, go on with those that the
running server makes, each once it is complete: a denial at once, what was
permitted with its outcome. When the server goes away it waits for the next one
and misses nothing. Without --config, the demo's, in ./data.`,
		Example: `  vouchsafe audit tail -f --allow false
  vouchsafe audit tail -n 100 --site shop --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			q, err := f.parse(time.Now())
			if err == nil && (last < 0 || last > audit.MaxLimit) {
				err = fmt.Errorf("-n is from 0 to %d", audit.MaxLimit)
			}
			if err != nil {
				return output.Cannot(err)
			}
			if follow {
				if err := c.follow(cmd.Context(), *data, p, q, last); err != nil {
					return output.Cannot(err)
				}
				return nil
			}
			r, err := c.openAudit(cmd.Context(), *data)
			if err != nil {
				return output.Cannot(err)
			}
			var entries []audit.Entry
			err = listAll(r, q, last, func(e *audit.Entry) error {
				entries = append(entries, *e)
				return nil
			})
			if err = errors.Join(err, r.close()); err != nil {
				return output.Cannot(err)
			}
			slices.Reverse(entries)
			t := entryTable(p)
			for i := range entries {
				if err := entryRow(t, &entries[i]); err != nil {
					return err
				}
			}
			return t.Flush()
		},
	}
	f.flags(cmd)
	cmd.Flags().IntVarP(&last, "lines", "n", 20, "begin with the newest `N`")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with those that follow")
	return cmd
}

// againAfter is how long a follower waits for a server that has gone.
const againAfter = time.Second

// follow prints decisions as the server makes them, until it is interrupted.
func (c *cli) follow(ctx context.Context, data string, p *output.Printer, q audit.Query, last int) error {
	v, cursor := filterValues(q), ""
	v.Set("last", strconv.Itoa(last))
	for first := true; ; first = false {
		client, err := c.running(ctx, data, "it alone makes decisions that follow")
		if err == nil {
			err = client.follow(ctx, v, &cursor, func(e *audit.Entry) error {
				t := p.Table() // a line at a time: nobody waits for columns to be measured
				if err := entryRow(t, e); err != nil {
					return err
				}
				return t.Flush()
			})
			client.close()
		}
		switch _, wrong := errors.AsType[*refusal](err); {
		case ctx.Err() != nil:
			return nil
		case wrong, first && errors.Is(err, errNoServer), errors.Is(err, errPrinting):
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(againAfter):
		}
	}
}

var errPrinting = errors.New("printing a decision")

// follow reads the stream of decisions until it ends. cursor is where it goes on
// the next time.
func (c *adminClient) follow(ctx context.Context, v url.Values, cursor *string, each func(*audit.Entry) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://vouchsafe/v1/admin/decisions/follow?"+v.Encode(), nil)
	if err != nil {
		return err
	}
	if *cursor != "" {
		req.Header.Set("Last-Event-ID", *cursor)
	}
	stream := c.http
	stream.Timeout = 0 // the server says something every few seconds, and ends it
	resp, err := stream.Do(req)
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusalOf(resp)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxAdminReply)
	id := ""
	for lines.Scan() {
		line := lines.Text()
		if at, ok := strings.CutPrefix(line, "id: "); ok {
			id = at
		}
		doc, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var e audit.Entry
		if err := json.Unmarshal([]byte(doc), &e); err != nil {
			return errors.New("the server's answer cannot be read; is it of another version?")
		}
		if err := e.ReadAbout(); err != nil {
			return err
		}
		if err := each(&e); err != nil {
			return fmt.Errorf("%w: %v", errPrinting, err)
		}
		*cursor = id
	}
	return lines.Err()
}
