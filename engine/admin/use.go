package admin

import (
	"context"
	"sync"
	"time"

	"vouchsafe/engine/audit"
)

// KindUse is the kind of the acts that record the use of a token, KindRefused of
// those that record that something was shown which is none.
const (
	KindUse     = "admin_token_used"
	KindRefused = "admin_token_refused"
)

// Use is one request that a token made, or somebody without one.
type Use struct {
	Token  string // its name
	Source string // where somebody is who showed no token that is known; then only Code is set besides
	Method string
	Route  string // the pattern, such as /v1/admin/decisions/:id
	Site   string // that it was about; audit.GateSite for none in particular
	// Subject and Object are whom and what it asked about, where it named them.
	Subject, Object string
	// Code is why it was refused, "" when it was not.
	Code string
}

// Recorder takes acts.
type Recorder interface {
	Act(ctx context.Context, a audit.Act) (id string, err error)
}

// Window is for how long reads that are alike, and refusals of one source, are
// counted rather than recorded one by one.
const Window = 5 * time.Minute

// maxSources bounds the sources that are told apart within a Window, so that
// nobody fills the log by knocking; Elsewhere are all the others.
const (
	maxSources = 256
	Elsewhere  = "elsewhere"
)

// maxOpen bounds the reads that are counted; what comes on top is recorded one
// by one.
const maxOpen = 4096

// Ledger puts on record how tokens are used: before the request is answered,
// whatever changes something or is refused, and the first of reads that are
// alike and of refusals of one source; the number of those that follow within
// Window with the next, or when Flush finds that it has passed. A process that
// dies forgets how many, and never that or what.
type Ledger struct {
	log   Recorder
	clock func() time.Time

	mu      sync.Mutex
	open    map[Use]*tally
	sources int // that are in open
}

type tally struct {
	since time.Time // when the last act about it was recorded
	more  int       // since then
}

// NewLedger makes a Ledger over the decision log.
func NewLedger(log Recorder, clock func() time.Time) *Ledger {
	return &Ledger{log: log, clock: clock, open: map[Use]*tally{}}
}

// counted reports a use of which those that are alike are counted.
func (u *Use) counted() bool { return u.Source != "" || u.Method == "GET" && u.Code == "" }

// Record puts a use on record. An error means that it is not.
func (l *Ledger) Record(ctx context.Context, u Use) error {
	now, more := l.clock(), 0
	if u.counted() {
		l.mu.Lock()
		if u.Source != "" && l.open[u] == nil && l.sources >= maxSources {
			u.Source = Elsewhere
		}
		seen := l.open[u]
		if seen != nil && now.Sub(seen.since) < Window {
			seen.more++
			l.mu.Unlock()
			return nil
		}
		if seen != nil {
			more = seen.more
		}
		if u.Source != "" {
			// Noted before it is written, so that many at once are one act.
			l.note(u, now, more)
		}
		l.mu.Unlock()
	}
	err := l.write(ctx, u, now, more+1)
	if !u.counted() || err != nil && u.Source == "" {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case u.Source == "":
		l.note(u, now, more)
	case err != nil:
		if seen := l.open[u]; seen != nil {
			seen.more += more + 1 // to be counted with the next
		}
	}
	return err
}

// note begins a window, in which more were recorded.
func (l *Ledger) note(u Use, now time.Time, more int) {
	if seen := l.open[u]; seen != nil {
		seen.since, seen.more = now, max(0, seen.more-more)
	} else if len(l.open) < maxOpen || u.Source != "" {
		l.open[u] = &tally{since: now}
		if u.Source != "" {
			l.sources++
		}
	}
}

func (l *Ledger) write(ctx context.Context, u Use, now time.Time, uses int) error {
	act := audit.Act{Time: now.UTC(), Site: u.Site, By: u.Token, Kind: KindUse,
		Subject: u.Subject, Object: u.Object, Route: u.Method + " " + u.Route, Code: u.Code, Uses: uses}
	if u.Source != "" {
		act = audit.Act{Time: now.UTC(), Site: audit.GateSite, Kind: KindRefused, Object: u.Source, Code: u.Code, Uses: uses}
	}
	_, err := l.log.Act(ctx, act)
	return err
}

// Flush records the counts of reads whose window has passed, or all of them.
func (l *Ledger) Flush(ctx context.Context, all bool) error {
	now := l.clock()
	l.mu.Lock()
	due := map[Use]int{}
	for u, t := range l.open {
		if !all && now.Sub(t.since) < Window {
			continue
		}
		if t.more > 0 {
			due[u] = t.more
		}
		delete(l.open, u)
		if u.Source != "" {
			l.sources--
		}
	}
	l.mu.Unlock()
	var failed error
	for u, uses := range due {
		if failed == nil {
			if failed = l.write(ctx, u, now, uses); failed == nil {
				continue
			}
		}
		l.mu.Lock() // to be counted with the next
		if t := l.open[u]; t != nil {
			t.more += uses
		} else {
			l.open[u] = &tally{since: now, more: uses}
			if u.Source != "" {
				l.sources++
			}
		}
		l.mu.Unlock()
	}
	return failed
}
