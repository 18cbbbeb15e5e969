package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 25 * time.Second
	// clockTick is the unit of /proc/PID/stat, which Linux fixes for programs.
	clockTick = 10 * time.Millisecond
)

// process is a server this program started.
type process struct {
	cmd  *exec.Cmd
	errs *tail
	out  chan string // its lines on standard output, the first ones
	done chan struct{}
}

// start starts a server. It stays in this program's process group, so that an
// interrupt ends both.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, errs: &tail{}, out: make(chan string, 64), done: make(chan struct{})}
	cmd.Stderr = p.errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			select {
			case p.out <- lines.Text():
			default:
			}
		}
		io.Copy(io.Discard, out)
		cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// line waits for the line of output that pick takes.
func (p *process) line(ctx context.Context, pick func(string) (string, bool)) (string, error) {
	late := time.After(startTimeout)
	for {
		select {
		case l := <-p.out:
			if s, ok := pick(l); ok {
				return s, nil
			}
		case <-p.done:
			return "", fmt.Errorf("%s ended: %s", p.cmd.Path, p.errs)
		case <-late:
			return "", fmt.Errorf("%s was not ready in %s: %s", p.cmd.Path, startTimeout, p.errs)
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// answers waits until t gives a right answer.
func (p *process) answers(ctx context.Context, t *target) error {
	late := time.Now().Add(startTimeout)
	for {
		c := &client{t: t}
		c.connect()
		if c.conn != nil {
			c.ask(ctx)
			c.close()
		}
		if c.seen.requests > 0 {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", t.name, p.errs)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(late) {
			return fmt.Errorf("%s does not answer as expected: %w: %s", t.name, c.seen.firstErr, p.errs)
		}
	}
}

// stop asks the server to end, and ends it if it does not.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// cpu returns the processor time the server has used.
func (p *process) cpu() time.Duration { return cpuOf(p.cmd.Process.Pid) }

// cpuOf returns the processor time a process has used.
func cpuOf(pid int) time.Duration {
	f := stat(pid)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * clockTick
}

// stat returns the fields of /proc/PID/stat behind the second, which is the
// command in brackets and may hold anything.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// child returns the process that p has started whose arguments begin with args.
func (p *process) child(args ...string) (int, error) {
	begin := "\x00" + strings.Join(args, "\x00") + "\x00"
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range found {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if f := stat(pid); err != nil || len(f) < 2 || f[1] != strconv.Itoa(p.cmd.Process.Pid) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if _, rest, ok := bytes.Cut(line, []byte{0}); ok && bytes.HasPrefix(append([]byte{0}, rest...), []byte(begin)) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("%s has no child %s", p.cmd.Path, strings.Join(args, " "))
}

// memory is what a process has in memory, in bytes.
type memory struct {
	resident  int64
	anonymous int64 // without the pages of files, which the kernel takes back when it likes
}

func (p *process) memory() memory { return memoryOf(p.cmd.Process.Pid) }

func memoryOf(pid int) memory {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}
	}
	var m memory
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			m.resident = n << 10
		case "RssAnon:":
			m.anonymous = n << 10
		}
	}
	return m
}

// freeAddr returns a loopback address nobody listens on, for servers that do
// not say which port they got.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// tail keeps the beginning of what a server says on standard error, for when it
// fails.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const maxTail = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[:min(len(p), maxTail-len(t.b))]...)
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
