package audit

import (
	"sync"
	"time"
)

// openAtMost is how many sealed segments' files are open at once, unless more are
// being read: a log has as many files as it is old, and a process may not open as
// many.
const openAtMost = 64

// openFiles are the sealed segments whose files are open. Its zero value is ready.
type openFiles struct {
	mu   sync.Mutex
	open []*segment
}

// opened notes that a segment's file was opened, and closes that of the one which
// was not read for longest, if there are too many.
func (o *openFiles) opened(s *segment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	left := o.open[:0]
	var oldest *segment
	var used time.Time // when oldest was last read
	for _, other := range o.open {
		if other == s || !other.mu.TryLock() { // somebody is just about to read it
			if other != s {
				left = append(left, other)
			}
			continue
		}
		if other.db != nil {
			left = append(left, other)
			if other.uses == 0 && (oldest == nil || other.used.Before(used)) {
				oldest, used = other, other.used
			}
		}
		other.mu.Unlock()
	}
	o.open = append(left, s)
	if oldest != nil && len(o.open) > openAtMost {
		oldest.rest(0)
	}
}
