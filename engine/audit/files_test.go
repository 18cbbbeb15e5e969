package audit

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"vouchsafe/engine"
)

// However old the log and whatever is read of it, few of its files are open.
func TestFewFilesAreOpen(t *testing.T) {
	l := must(Open(filepath.Join(t.TempDir(), "audit"), Options{Master: master, Checkpoint: signing}))
	defer l.Close()
	const files = 2*openAtMost + 10
	var ids []string
	for i := range files {
		ids = append(ids, record(t, l, "shop", "x", "u", began.Add(time.Duration(i)*time.Minute), engine.Reason{Code: "x"}))
		next(t, l)
	}
	count := func() (n int) {
		for _, s := range l.segments[:files] {
			s.mu.Lock()
			if s.db != nil {
				n++
			}
			s.mu.Unlock()
		}
		return n
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range ids {
				if _, err := l.Show(ids[(i+g*30)%files]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if es, err := l.List(Query{Limit: MaxLimit}); err != nil || len(es) != files {
		t.Errorf("List: %d, %v", len(es), err)
	}
	if n := count(); n > openAtMost || n < 10 {
		t.Errorf("%d of %d files are open, want %d at most", n, files, openAtMost)
	}
}
