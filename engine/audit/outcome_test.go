package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/store"
)

func outcomes(t *testing.T, l *Log, id string) (n int) {
	t.Helper()
	if _, err := l.Scan("shop", 0, func(it Item) error {
		if it.Outcome != nil && it.Outcome.Decision == id {
			n++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// A decision has one outcome, whoever writes it, how many do at once, and
// whether the process that decided still runs.
func TestADecisionHasOneOutcome(t *testing.T) {
	ctx := context.Background()
	l, dir := openLog(t)
	id := record(t, l, "shop", "order.cancel", "u1", began)
	var all sync.WaitGroup
	errs := make(chan error, 16)
	for range cap(errs) {
		all.Go(func() { errs <- l.Outcome(ctx, "shop", Outcome{Decision: id, Time: began}) })
	}
	all.Wait()
	close(errs)
	written := 0
	for err := range errs {
		if err == nil {
			written++
		} else if !errors.Is(err, ErrEnded) {
			t.Errorf("Outcome: %v", err)
		}
	}
	if written != 1 {
		t.Errorf("%d of 16 outcomes were taken, want 1", written)
	}
	open := record(t, l, "shop", "order.cancel", "u1", began)
	l.Close()
	l, err := Open(dir, Options{Master: master})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Outcome(ctx, "shop", Outcome{Decision: id, Time: began}); !errors.Is(err, ErrEnded) {
		t.Errorf("a second outcome after another start: %v", err)
	}
	if err := l.Outcome(ctx, "shop", Outcome{Decision: open, Time: began}); err != nil {
		t.Errorf("the first outcome after another start: %v", err)
	}
	for _, id := range []string{id, open} {
		if n := outcomes(t, l, id); n != 1 {
			t.Errorf("%s has %d outcomes", id, n)
		}
	}
}

// An outcome that could not be acknowledged can be given again, and is there
// once, whether or not the disk had it after all.
func TestAnOutcomeThatFailedCanBeGivenAgain(t *testing.T) {
	ctx := context.Background()
	var file *os.File
	l, err := Open(filepath.Join(t.TempDir(), "audit"), Options{Master: master, Store: store.Options{Retry: 5 * time.Millisecond,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			file = f
			return f, err
		}}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	id := record(t, l, "shop", "order.cancel", "u1", began)
	file.Close()
	o := Outcome{Decision: id, Time: began}
	if err := l.Outcome(ctx, "shop", o); engine.CodeOf(err) != engine.CodeAuditUnavailable {
		t.Fatalf("Outcome on a broken file: %v", err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if err = l.Outcome(ctx, "shop", o); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Errorf("given again: %v", err)
	}
	if err := l.Outcome(ctx, "shop", o); !errors.Is(err, ErrEnded) {
		t.Errorf("and once more: %v", err)
	}
	if n := outcomes(t, l, id); n != 1 {
		t.Errorf("%d outcomes", n)
	}
}
