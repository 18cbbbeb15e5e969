package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
)

// filters are the parameters that select decisions.
var filters = []string{"site", "subject", "action", "code", "conversation", "allow", "policy", "token_id"}

// decisionList is one page of decisions, newest first. Next, when there may be
// more, is the cursor that continues it.
type decisionList struct {
	Decisions []audit.Entry `json:"decisions"`
	Next      string        `json:"next,omitempty"`
}

const defaultListed = 50

// maxStory bounds a conversation that is told from its beginning.
const maxStory = 10 * audit.MaxLimit

func (s *Server) adminDecisions(r AdminRequest) (any, error) {
	q, err := listQuery(r)
	if err != nil {
		return nil, err
	}
	switch r.Query.Get("order") {
	case "", "newest":
	case "oldest":
		return s.story(r, q)
	default:
		return nil, invalid("order is newest or oldest")
	}
	entries, err := s.o.Log.List(q)
	if err != nil {
		return nil, err
	}
	out := decisionList{Decisions: append([]audit.Entry{}, entries...)}
	if len(entries) == q.Limit {
		out.Next = cursorOf(entries[len(entries)-1].Position(), r.Query)
	}
	return out, nil
}

// story is all of one conversation, oldest first.
func (s *Server) story(r AdminRequest, q audit.Query) (any, error) {
	if q.Conversation == "" || r.Query.Has("limit") || r.Query.Has("cursor") {
		return nil, invalid("the oldest come first for one whole conversation only: name it, without limit and cursor")
	}
	q.Limit = audit.MaxLimit
	out := decisionList{Decisions: []audit.Entry{}}
	for {
		entries, err := s.o.Log.List(q)
		if err != nil {
			return nil, err
		}
		out.Decisions = append(out.Decisions, entries...)
		if len(entries) < q.Limit {
			slices.Reverse(out.Decisions)
			return out, nil
		}
		if len(out.Decisions) >= maxStory {
			return nil, invalid(fmt.Sprintf("the conversation has more than %d decisions: list them page by page", maxStory))
		}
		q.Before = entries[len(entries)-1].Position()
	}
}

func invalid(detail string) error { return &problem{code: codeInvalidRequest, detail: detail} }

// listQuery reads the parameters of a listing, within what the caller may see.
func listQuery(r AdminRequest) (audit.Query, error) {
	q, err := filterQuery(r)
	if err != nil {
		return q, err
	}
	for name, into := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if s := r.Query.Get(name); s != "" {
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				return q, invalid(name + " is a time such as 2026-01-31T09:00:00Z")
			}
			*into = t
		}
	}
	q.Limit = defaultListed
	if s := r.Query.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > audit.MaxLimit {
			return q, invalid(fmt.Sprintf("limit is a number from 1 to %d", audit.MaxLimit))
		}
		q.Limit = n
	}
	q.Before, err = readCursor(r.Query)
	return q, err
}

// filterQuery reads the filters alone.
func filterQuery(r AdminRequest) (q audit.Query, err error) {
	v := r.Query
	q = audit.Query{Site: v.Get("site"), Subject: v.Get("subject"), Action: v.Get("action"), Code: v.Get("code"),
		Conversation: v.Get("conversation"), Policy: v.Get("policy"), TokenID: v.Get("token_id")}
	if s := v.Get("allow"); s != "" {
		if s != "true" && s != "false" {
			return q, invalid("allow is true or false")
		}
		allow := s == "true"
		q.Allow = &allow
	}
	if q.Site == "" {
		q.Site, err = r.Caller.site()
	} else if !r.Caller.May(q.Site) {
		err = errOtherSites
	}
	return q, err
}

// A cursor is the place of the decision a page ended with, bound to the question
// it is a page of. To everybody else it is a word without a meaning.
func cursorOf(at audit.Position, v url.Values) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "2 %s %d %s %d", questionOf(v), at.Written, at.Site, at.Seq))
}

var errCursor = invalid("the cursor is not one of this question's: take next from the page before, and change nothing else but limit")

func readCursor(v url.Values) (before audit.Position, err error) {
	s := v.Get("cursor")
	if s == "" {
		return before, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return before, errCursor
	}
	var of string
	if n, err := fmt.Sscanf(string(b), "2 %s %d %s %d", &of, &before.Written, &before.Site, &before.Seq); n != 4 || err != nil || of != questionOf(v) {
		return audit.Position{}, errCursor
	}
	return before, nil
}

// questionOf is a short name of what is asked, without where in its answer.
func questionOf(v url.Values) string {
	h := sha256.New()
	for _, name := range append([]string{"since", "until"}, filters...) {
		fmt.Fprintf(h, "%s=%q\n", name, v.Get(name))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:6])
}

func (s *Server) adminDecision(r AdminRequest) (any, error) {
	e, err := s.o.Log.Show(r.Param("id"))
	if errors.Is(err, audit.ErrNotFound) || err == nil && !r.Caller.May(e.Site) {
		return nil, &problem{code: engine.CodeNotFound, detail: "There is no such decision."}
	}
	return e, err
}
