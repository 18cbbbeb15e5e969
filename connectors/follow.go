package connectors

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"vouchsafe/engine"
)

// follow is how a write that an outside system has taken on (202, or as the
// manifest says) is asked after, until it is known what became of it.
type follow struct {
	pending  *expression // of the write's reply: whether it is only taken on; nil for a 202
	id       *expression // of the write's reply: what {job} stands for; nil for nothing
	location bool        // {job} is the last segment of the reply's Location
	request  *request    // a GET
	every    time.Duration
	times    int
	done     *expression // of a later reply
	refused  *expression // of a later reply: nothing was changed, after all; nil when never
	line     int
}

// Bounds on asking what became of a write. All of it is within the action's
// timeout besides.
const (
	defaultFollows = 5
	maxFollows     = 10
	defaultEvery   = 500 * time.Millisecond
	maxEvery       = 10 * time.Second
)

// jobVariable is the name of a job in the path of a follow's request.
const jobVariable = "job"

// readFollow reads an action's follow.
func (r *reader) readFollow(n *yaml.Node, action string, s surroundings) *follow {
	f := &follow{every: defaultEvery, times: defaultFollows, line: n.Line}
	var request *yaml.Node
	seen := r.keys(n, "follow", map[string]func(*yaml.Node){
		"pending":  func(n *yaml.Node) { f.pending = r.jq(n, "follow's pending") },
		"id":       func(n *yaml.Node) { f.id = r.jq(n, "follow's id") },
		"location": func(n *yaml.Node) { f.location = r.boolean(n, "follow's location") },
		"request":  func(n *yaml.Node) { request = n },
		"every": func(n *yaml.Node) {
			if f.every = r.duration(n, "follow's every"); f.every > maxEvery {
				r.failf(n, "follow: every is at most %v", maxEvery)
			}
		},
		"times": func(n *yaml.Node) {
			if f.times = r.integer(n, "follow's times"); f.times < 1 || f.times > maxFollows {
				r.failf(n, "follow: times is how often is asked at most, from 1 to %d", maxFollows)
			}
		},
		"done":    func(n *yaml.Node) { f.done = r.jq(n, "follow's done") },
		"refused": func(n *yaml.Node) { f.refused = r.jq(n, "follow's refused") },
	})
	for _, key := range []string{"request", "done"} {
		if !seen[key] {
			r.failf(n, "follow: %s is missing", key)
		}
	}
	if !s.writes {
		r.failf(n, "%s: follow asks what became of a change, and this only reads", action)
	}
	if seen["id"] && f.location {
		r.failf(n, "follow: {job} is either id, out of the reply's body, or the end of its location")
	}
	if s.args != nil && s.args.Has(jobVariable) {
		r.failf(n, "follow: {job} is what the reply calls the change, so no argument may be called job")
	}
	if request == nil {
		return f
	}
	s.writes, s.follows = false, true
	f.request = r.readRequest(request, s)
	switch q := f.request; {
	case q.method != "GET" && q.method != "":
		r.failAt(q.line, "follow: request: only a GET asks without changing anything")
	case q.pages != nil || q.each != "":
		r.failAt(q.line, "follow: request: what became of one change has no pages and no each")
	case q.path != nil && q.job != (seen["id"] || f.location):
		r.failAt(q.line, "follow: have {job} as a segment of the path, and say what it stands for: id: <where the reply's body has it>, or location: true")
	}
	return f
}

// followUp asks what became of a write that was taken on. Only a plain answer
// ends the doubt.
func (p *performance) followUp(ctx context.Context) error {
	f := p.action.follow
	taken, asking := p.last, func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.WithoutCancel(ctx), jqTimeout)
	}
	c, cancel := asking()
	pending := taken.Status == 202
	if f.pending != nil {
		said := taken.says(c, f.pending, true)
		pending = said != no
	}
	job, err := f.job(c, taken)
	cancel()
	if !pending {
		return nil
	}
	if err != nil {
		return notYet(err)
	}
	p.values.job = job
	defer func() { p.values.job = "" }()
	b, err := f.request.build(ctx, p.values)
	if err != nil {
		return notYet(err)
	}
	if f.location && !strings.HasSuffix(locationPath(taken.Location), b.path) {
		return notYet(errors.New("the reply's location is not where the manifest asks"))
	}
	pause := taken.RetryAfter
	for range f.times {
		if p.asked >= maxAsked || p.rest.guard.wait(ctx, max(f.every, pause)) != nil {
			break
		}
		call := p.rest.call(f.request, b, "", false)
		call.Grant = p.grant
		reply, tries, err := p.rest.guard.do(ctx, call, false, maxAsked-p.asked)
		p.asked += tries
		if err != nil {
			continue
		}
		p.status, pause = reply.Status, reply.RetryAfter
		if p.bytes += len(reply.Body); p.bytes > maxBytes || len(reply.Body) > maxReply || reply.Status < 200 || reply.Status > 299 {
			continue
		}
		c, cancel := asking()
		now := &answer{Reply: reply}
		done, refused := now.says(c, f.done, true), no
		if f.refused != nil {
			refused = now.says(c, f.refused, true)
		}
		cancel()
		switch {
		case refused == yes && done != yes:
			return refusedError()
		case done == yes && refused == no:
			return nil
		}
	}
	return notYet(errors.New("it was taken on, and nothing said in time what became of it"))
}

// job is what the reply to the write calls the change; "" when it is not asked
// for by a name.
func (f *follow) job(ctx context.Context, a *answer) (string, error) {
	var id string
	switch {
	case f.id != nil:
		doc, err := a.json()
		if err != nil {
			return "", err
		}
		id = idText(f.id.one(ctx, doc))
	case f.location:
		path := locationPath(a.Location)
		last, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
		if err != nil {
			return "", errReply
		}
		id = last
	default:
		return "", nil
	}
	if id == "" {
		return "", errors.New("the reply does not say what it calls the change")
	}
	return id, nil
}

// locationPath is the path of a Location header; the connection alone knows the
// host.
func locationPath(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}

// notYet is the outcome of a write that was taken on and that nobody has seen
// done.
func notYet(err error) *engine.Error {
	return engine.Errorf(engine.CodeOutcomeUnknown, "It was taken on, and I can't tell yet whether it is done. Please check later before trying again.", err)
}
