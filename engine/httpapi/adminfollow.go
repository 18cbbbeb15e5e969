package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"vouchsafe/engine/audit"
)

// maxFollowers bounds the streams of decisions at a time, maxLast what one begins
// with.
const (
	maxFollowers = 16
	maxLast      = audit.MaxLimit
)

// followLife is how long one stream lasts. Its client comes back with its last
// event's id, and with a token that is looked at again.
const followLife = 15 * time.Minute

// places are where a follower is: by site, the number of the next record.
type places map[string]uint64

// cursor is the places as a word that only this server reads.
func (p places) cursor() string {
	b, _ := json.Marshal(p) // numbers by strings always encode
	return base64.RawURLEncoding.EncodeToString(b)
}

func readPlaces(s string) (places, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errCursor
	}
	var p places
	if json.Unmarshal(b, &p) != nil || p == nil {
		return nil, errCursor
	}
	return p, nil
}

// EndStreams ends the streams of decisions, which would go on for ever: a server
// that shuts down waits for them.
func (s *Server) EndStreams() { s.endStreams() }

// adminFollow sends decisions as they are complete: a denial at once, what was
// permitted with its outcome. Each event's id is the cursor that goes on behind
// it, so that a client which comes back misses nothing.
func (s *Server) adminFollow(x *exchange, r AdminRequest) error {
	q, err := filterQuery(r)
	if err != nil {
		return err
	}
	last := 0
	if n := r.Query.Get("last"); n != "" {
		if last, err = strconv.Atoi(n); err != nil || last < 0 || last > maxLast {
			return invalid(fmt.Sprintf("last is a number from 0 to %d", maxLast))
		}
	}
	sites := func() []string {
		if q.Site != "" {
			return []string{q.Site}
		}
		return s.o.Log.Sites()
	}
	resume := x.r.Header.Get("Last-Event-ID")
	if resume == "" {
		resume = r.Query.Get("cursor")
	}
	at := places{}
	if resume != "" {
		if at, err = readPlaces(resume); err != nil {
			return err
		}
		last = 0
	} else {
		for _, site := range sites() {
			_, at[site] = s.o.Log.Range(site)
		}
	}
	if s.followers.Add(1) > maxFollowers {
		s.followers.Add(-1)
		return &problem{code: codeRateLimited, detail: "Too many streams of decisions are open already."}
	}
	defer s.followers.Add(-1)

	ctx, cancel := context.WithTimeout(r.Context, followLife)
	defer cancel()
	defer context.AfterFunc(s.streams, cancel)()
	st := newStream(x.w, cancel, writeTimeout)
	st.comment("decisions as they are made")
	stop := st.beat(heartbeat)
	defer stop()
	if last > 0 {
		recent := q
		recent.Limit = last
		entries, err := s.o.Log.List(recent)
		if err != nil {
			return err
		}
		slices.Reverse(entries)
		for i := range entries {
			if err := st.entry(&entries[i], at); err != nil {
				return err
			}
		}
	}
	for ctx.Err() == nil {
		changed := s.o.Log.Changed() // before looking
		for _, site := range sites() {
			if err := s.follow(ctx, st, site, &q, at); err != nil {
				if ctx.Err() == nil {
					x.fail(err) // the response has begun, so this only logs
				}
				return nil
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return nil
}

// follow sends what a site's log has grown by.
func (s *Server) follow(ctx context.Context, st *stream, site string, q *audit.Query, at places) error {
	next, err := s.o.Log.Scan(site, at[site], func(it audit.Item) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		at[site] = it.Seq + 1
		var e audit.Entry
		switch {
		case it.Decision != nil && (!it.Decision.Allow || it.Decision.Asked):
			e = audit.Entry{Site: site, Seq: it.Seq, Decision: *it.Decision}
			if err := e.ReadAbout(); err != nil {
				return err
			}
		case it.Outcome != nil:
			var err error
			if e, err = s.o.Log.Show(it.Outcome.Decision); errors.Is(err, audit.ErrNotFound) {
				return nil
			} else if err != nil {
				return err
			}
		default:
			return nil
		}
		if !selects(q, &e) {
			return nil
		}
		return st.entry(&e, at)
	})
	if err == nil {
		at[site] = next
	}
	return err
}

// selects reports whether a decision is among those that are asked for.
func selects(q *audit.Query, e *audit.Entry) bool {
	switch {
	case q.Site != "" && q.Site != e.Site,
		q.Subject != "" && q.Subject != e.About.Identity.Subject,
		q.TokenID != "" && q.TokenID != e.About.Identity.TokenID,
		q.Action != "" && q.Action != e.About.Action.Name,
		q.Conversation != "" && q.Conversation != e.About.Conversation.ID,
		q.Policy != "" && q.Policy != e.Decision.Policy,
		q.Allow != nil && *q.Allow != e.Decision.Allow:
		return false
	}
	return q.Code == "" || slices.Contains(e.Decision.Reasons, q.Code) ||
		e.Outcome != nil && (e.Outcome.Code == q.Code || slices.Contains(e.Outcome.Withheld, q.Code))
}

// entry sends a decision.
func (s *stream) entry(e *audit.Entry, at places) error {
	b, err := appendValue(nil, e)
	if err != nil {
		return err
	}
	s.eventAt("decision", at.cursor(), b)
	return nil
}
