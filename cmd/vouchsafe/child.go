package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// A child is a process of this same binary that serves something for the
// parent: the demo's shop, the connection provider. It tells its parent that it
// is ready with one line on standard output, and ends when its standard input
// does, so that it never outlives its parent, however that ends.

// readyPrefix begins the line that tells a parent where its child listens.
const readyPrefix = "ready "

// readyTimeout bounds how long a child may take to be ready.
const readyTimeout = 30 * time.Second

// child is a running child process.
type child struct {
	Addr string // what the child said after readyPrefix
	cmd  *exec.Cmd
	in   io.Closer
	done chan struct{} // closed once it has ended
}

// startChild starts this binary with args and waits until it is ready.
func startChild(ctx context.Context, errs io.Writer, args ...string) (*child, error) {
	// Not bound to ctx: a child is ended by closing its standard input.
	cmd, err := selfCommand(context.WithoutCancel(ctx), args...)
	if err != nil {
		return nil, err
	}
	cmd.Stderr = errs
	// Of its own group, so that an interrupt typed at the terminal reaches the
	// parent alone, which ends its children when it has drained.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", args[0], err)
	}
	c := &child{cmd: cmd, in: in, done: make(chan struct{})}
	ready := make(chan string, 1)
	go func() {
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		ready <- line
		io.Copy(io.Discard, r)
		cmd.Wait()
		close(c.done)
	}()
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	select {
	case line := <-ready:
		if addr, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), readyPrefix); ok {
			c.Addr = addr
			return c, nil
		}
		err = fmt.Errorf("%s did not start", strings.Join(args[:min(2, len(args))], " "))
	case <-timeout.C:
		err = fmt.Errorf("%s was not ready in %s", strings.Join(args[:min(2, len(args))], " "), readyTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.stop()
	return nil, err
}

// stop ends the child and waits for it, by force if it takes too long.
func (c *child) stop() {
	if c == nil {
		return
	}
	c.in.Close()
	select {
	case <-c.done:
	case <-time.After(15 * time.Second):
		c.cmd.Process.Kill()
		<-c.done
	}
}

// keeper keeps a child running: one that ends by itself is started again.
type keeper struct {
	stopOnce chan struct{}
	stopped  chan struct{}
}

// keepChild watches over a started child until stop is called.
func keepChild(c *child, errs io.Writer, log *slog.Logger, args ...string) *keeper {
	k := &keeper{stopOnce: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(k.stopped)
		for {
			select {
			case <-k.stopOnce:
				c.stop()
				return
			case <-c.done:
			}
			log.Error("a child process ended; starting it again", "child", args[0])
			for {
				select {
				case <-k.stopOnce:
					return
				case <-time.After(time.Second):
				}
				next, err := startChild(context.Background(), errs, args...)
				if err == nil {
					c = next
					break
				}
				log.Error("a child process did not start", "child", args[0], "cause", err)
			}
		}
	}()
	return k
}

func (k *keeper) stop() {
	if k == nil {
		return
	}
	close(k.stopOnce)
	<-k.stopped
}

// runChild runs a child's work until its standard input ends. serve calls ready
// with the address it listens on.
func runChild(ctx context.Context, in io.Reader, out io.Writer, serve func(ctx context.Context, ready func(addr string)) error) error {
	signal.Ignore(os.Interrupt)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		io.Copy(io.Discard, in)
		cancel(errParentGone)
	}()
	err := serve(ctx, func(addr string) { fmt.Fprintln(out, readyPrefix+addr) })
	if errors.Is(context.Cause(ctx), errParentGone) && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

var errParentGone = errors.New("the parent has ended")

// selfCommand is a command that runs this binary.
func selfCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	return exec.CommandContext(ctx, self, args...), nil
}
