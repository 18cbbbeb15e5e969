package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/store"
)

// auditReader reads the decision log, wherever it is.
type auditReader interface {
	list(q audit.Query) ([]audit.Entry, error)
	show(id string) (audit.Entry, error)
	acts(site string, limit int) ([]audit.Act, error)
	close() error
}

// openAudit reads the log through the server that has it open, or else from the
// file.
func (c *cli) openAudit(ctx context.Context, data string) (auditReader, error) {
	at, err := c.place(data, config.LoadWithoutSecrets)
	if err != nil {
		return nil, err
	}
	client, err := dialAdmin(ctx, at.data)
	if err == nil {
		return &servedAudit{ctx: ctx, client: client}, nil
	}
	if !errors.Is(err, errNoServer) {
		return nil, err
	}
	log, err := at.storedAudit()
	if err != nil {
		return nil, err
	}
	return storedAudit{log}, nil
}

// storedAudit opens the log of a server that does not run. What is personal in
// it takes the master key to read: where the keys folder is gone, it is left
// out.
func (p place) storedAudit() (*audit.Log, error) {
	dir := filepath.Join(p.data, auditDir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no decision log in %s", p.data)
	}
	o := audit.Options{Store: store.Options{ReadOnly: true}}
	if !keyless(p.keys()) {
		keys, err := config.LoadKeys(p.keys())
		if err != nil {
			return nil, err
		}
		o.Master = keys.Master[:]
	}
	return audit.Open(dir, o)
}

// storedAudit is the file of a server that does not run.
type storedAudit struct{ log *audit.Log }

func (s storedAudit) list(q audit.Query) ([]audit.Entry, error) { return s.log.List(q) }
func (s storedAudit) show(id string) (audit.Entry, error)       { return s.log.Show(id) }
func (s storedAudit) close() error                              { return s.log.Close() }

// servedAudit is the log of a running server.
type servedAudit struct {
	ctx    context.Context
	client *adminClient

	last audit.Position // of the decision that the page before ended with
	next string         // the cursor behind it
}

func (s *servedAudit) list(q audit.Query) ([]audit.Entry, error) {
	v := filterValues(q)
	v.Set("limit", strconv.Itoa(q.Limit))
	set := func(name, value string) { v.Set(name, value) }
	if q.Before != (audit.Position{}) {
		if q.Before != s.last || s.next == "" {
			return nil, errors.New("the pages were not read in their order")
		}
		v.Set("cursor", s.next)
	}
	if !q.Since.IsZero() {
		set("since", q.Since.Format(time.RFC3339Nano))
	}
	if !q.Until.IsZero() {
		set("until", q.Until.Format(time.RFC3339Nano))
	}
	var got struct {
		Decisions []audit.Entry `json:"decisions"`
		Next      string        `json:"next"`
	}
	if err := s.client.get(s.ctx, "/v1/admin/decisions", v, &got); err != nil {
		return nil, err
	}
	for i := range got.Decisions {
		if err := got.Decisions[i].ReadAbout(); err != nil {
			return nil, err
		}
	}
	if n := len(got.Decisions); n > 0 {
		s.last, s.next = got.Decisions[n-1].Position(), got.Next
	}
	return got.Decisions, nil
}

// filterValues are the parameters that select decisions.
func filterValues(q audit.Query) url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"site": q.Site, "subject": q.Subject, "action": q.Action, "code": q.Code,
		"conversation": q.Conversation, "policy": q.Policy, "token_id": q.TokenID} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Allow != nil {
		v.Set("allow", strconv.FormatBool(*q.Allow))
	}
	return v
}

func (s *servedAudit) show(id string) (audit.Entry, error) {
	var e audit.Entry
	err := s.client.get(s.ctx, "/v1/admin/decisions/"+url.PathEscape(id), nil, &e)
	if refused(err, engine.CodeNotFound) {
		return e, audit.ErrNotFound
	}
	if err != nil {
		return e, err
	}
	return e, e.ReadAbout()
}

func (s *servedAudit) close() error {
	s.client.close()
	return nil
}

// auditPage is how many decisions are read at a time.
const auditPage = 200

// listAll calls row with the newest decisions that match, at most limit of them.
func listAll(r auditReader, q audit.Query, limit int, row func(*audit.Entry) error) error {
	for limit > 0 {
		q.Limit = min(limit, auditPage)
		entries, err := r.list(q)
		if err != nil {
			return err
		}
		for i := range entries {
			if err := row(&entries[i]); err != nil {
				return err
			}
		}
		if len(entries) < q.Limit {
			return nil
		}
		limit -= len(entries)
		q.Before = entries[len(entries)-1].Position()
	}
	return nil
}

// reasonTexts are what a policy's METADATA says of its codes.
type reasonTexts struct {
	of      string // the policy's revision, "" when it could not be read
	reasons map[string]engine.Reason
}

// revision names the policy of a decision, and says so when the texts are of
// another.
func (t reasonTexts) revision(decided string) string {
	if t.of == "" || t.of == decided {
		return decided
	}
	return decided + " (the texts above are of " + t.of + ")"
}

// texts reads the policies that the configuration names. A log is readable
// without them, so a policy that is broken or gone has no texts.
func (c *cli) texts() reasonTexts {
	folder, err := c.policyFolder(nil)
	if err != nil {
		return reasonTexts{}
	}
	set, err := policy.Compile(folder)
	if err != nil {
		return reasonTexts{}
	}
	t := reasonTexts{of: set.Revision(), reasons: gate.Reasons()}
	maps.Copy(t.reasons, set.Reasons())
	return t
}
