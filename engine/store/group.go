package store

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Group hands what many callers submit to one writer, in batches: group
// commit, whatever is written.
type Group[T any] struct {
	batch int
	write func([]*Pending[T])
	idle  func()
	retry time.Duration

	items   chan *Pending[T]
	done    chan struct{} // closed when the writer has stopped
	closing chan struct{}
	once    sync.Once
}

// Pending is a submission whose caller waits for the answer.
type Pending[T any] struct {
	Value T
	done  chan error
}

// Answer tells the caller what became of it. It is called once.
func (p *Pending[T]) Answer(err error) { p.done <- err }

// NewGroup starts a writer. write must answer everything it is given; idle is
// called, by the same goroutine, every o.Retry.
func NewGroup[T any](o Options, write func([]*Pending[T]), idle func()) *Group[T] {
	o = o.withDefaults()
	g := &Group[T]{batch: o.Batch, write: write, idle: idle, retry: o.Retry,
		items: make(chan *Pending[T], o.Queue), done: make(chan struct{}), closing: make(chan struct{})}
	go g.run()
	return g
}

// run is the one writer. It runs until Close.
func (g *Group[T]) run() {
	defer close(g.done)
	retry := time.NewTicker(g.retry)
	defer retry.Stop()
	batch := make([]*Pending[T], 0, g.batch)
	for {
		batch = batch[:0]
		select {
		case p := <-g.items:
			batch = append(batch, p)
		case <-retry.C:
			g.idle()
			continue
		case <-g.closing:
			// Finish what is already waiting; Submit lets nothing new in.
			for {
				select {
				case p := <-g.items:
					g.write(append(batch[:0], p))
				default:
					return
				}
			}
		}
		// A commit costs much the same however much is in it, so whoever is
		// about to ask gets to first. Where nobody is, this returns at once.
		runtime.Gosched()
		g.write(g.fill(batch))
	}
}

// fill adds what else is waiting.
func (g *Group[T]) fill(batch []*Pending[T]) []*Pending[T] {
	for len(batch) < cap(batch) {
		select {
		case p := <-g.items:
			batch = append(batch, p)
		default:
			return batch
		}
	}
	return batch
}

// Submit queues v and returns the writer's answer. The error is one of
// Unavailable's when v was never queued. ctx ends only the wait for a place in
// the queue: what is queued is waited for, so that its caller knows what became
// of it.
func (g *Group[T]) Submit(ctx context.Context, v T) error {
	p := &Pending[T]{Value: v, done: make(chan error, 1)}
	select {
	case <-g.closing:
		return Unavailable(ErrClosed)
	case <-ctx.Done():
		return Unavailable(ctx.Err())
	default:
	}
	select {
	case g.items <- p:
	default:
		e := Unavailable(ErrBusy)
		e.RetryAfter = time.Second
		return e
	}
	select {
	case err := <-p.done:
		return err
	case <-g.done:
		// The writer may have answered just before it stopped.
		select {
		case err := <-p.done:
			return err
		default:
			return Unavailable(ErrClosed)
		}
	}
}

// Waiting returns how many submissions wait for the writer.
func (g *Group[T]) Waiting() int { return len(g.items) }

// Close refuses new submissions, finishes those that wait and stops the writer.
func (g *Group[T]) Close() {
	g.once.Do(func() { close(g.closing) })
	<-g.done
}
