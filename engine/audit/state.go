package audit

import "time"

// State is how a site's log is.
type State struct {
	Site    string    `json:"site"`
	Records uint64    `json:"records"` // that are kept
	Dropped uint64    `json:"dropped"` // by retention
	Files   int       `json:"files"`   // that hold records of it
	Oldest  time.Time `json:"oldest,omitzero"`
	Newest  time.Time `json:"newest,omitzero"` // when the oldest and the newest that are kept were made
	// Signed is how many records the newest checkpoint is of, those that were
	// dropped included; SignedAt is when this process signed it, zero when an
	// earlier one did.
	Signed   uint64    `json:"signed"`
	SignedAt time.Time `json:"signed_at,omitzero"`
	// Unsigned is since when there are records that no checkpoint is of; zero
	// when there are none.
	Unsigned time.Time `json:"unsigned_since,omitzero"`
}

// States says how every site's log is, in the order of their names.
func (l *Log) States() []State {
	out := []State{}
	for _, site := range l.Sites() {
		s := State{Site: site}
		for _, pt := range l.parts(site) {
			if pt.bare {
				s.Dropped += pt.end - pt.from
				continue
			}
			s.Files++
			s.Records += pt.end - pt.from
			if first := time.Unix(0, pt.span.first).UTC(); s.Oldest.IsZero() || first.Before(s.Oldest) {
				s.Oldest = first
			}
			if last := time.Unix(0, pt.span.last).UTC(); last.After(s.Newest) {
				s.Newest = last
			}
		}
		l.mu.RLock()
		s.Signed, s.SignedAt, s.Unsigned = l.noted[site].size, l.noted[site].at, l.unsigned[site]
		l.mu.RUnlock()
		out = append(out, s)
	}
	return out
}

// noted is the newest checkpoint of a site.
type noted struct {
	size uint64
	at   time.Time // when it was signed, zero when an earlier process did
}

// grewLocked notes that a site's log has grown.
func (l *Log) grewLocked(site string) {
	if _, there := l.unsigned[site]; !there {
		l.unsigned[site] = time.Now().UTC()
	}
}

// notedLocked notes that a checkpoint of a site was signed and stored.
func (l *Log) notedLocked(site string, n noted) {
	if was := l.noted[site]; n.size < was.size {
		return
	}
	l.noted[site] = n
	if p := l.active().sites[site]; p != nil && p.end() <= n.size {
		delete(l.unsigned, site)
	}
}

// recallNotes takes the newest checkpoints from the file that takes records.
func (l *Log) recallNotes() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for site, p := range l.active().sites {
		if p.end() > 0 {
			l.grewLocked(site)
			l.notedLocked(site, noted{size: p.signed})
		}
	}
}
