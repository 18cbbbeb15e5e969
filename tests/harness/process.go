package harness

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Bounds of a server's life. They are for a busy machine, not for a measure.
const (
	startTimeout = 60 * time.Second
	stopTimeout  = 40 * time.Second
	waitDelay    = 10 * time.Second
)

// capture is a buffer that is written and read at once.
type capture struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(p)
}

func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

// process is a running `vouchsafe serve`.
type process struct {
	t    testing.TB
	args []string
	env  []string // beside that of the tests
	// said finds in a line of the server's output that it is open.
	said func(line string) bool

	cmd  *exec.Cmd
	out  *capture
	logs string // the file of its standard error, of all runs
	done chan struct{}
}

// start starts the process and waits until it says that it is open.
func (p *process) start() {
	p.t.Helper()
	errs, err := os.OpenFile(p.logs, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer errs.Close()
	p.cmd = exec.Command(Build(p.t), p.args...)
	p.cmd.Dir = filepath.Dir(p.logs)
	if p.env != nil {
		p.cmd.Env = append(os.Environ(), p.env...)
	}
	p.cmd.Stderr = errs // a file, so that Wait does not wait for children that inherited it
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.out, p.done = new(capture), make(chan struct{})
	open := make(chan bool, 1)
	go func() {
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadString('\n')
			io.WriteString(p.out, line)
			if p.said(line) {
				open <- true
			}
			if err != nil {
				break
			}
		}
		p.cmd.Wait()
		close(p.done)
	}()
	select {
	case <-open:
	case <-p.done:
		p.t.Fatalf("the server ended with status %d instead of starting:\n%s", p.cmd.ProcessState.ExitCode(), p.Logs())
	case <-time.After(startTimeout):
		p.Kill()
		p.t.Fatalf("the server did not start in %s:\n%s", startTimeout, p.Logs())
	}
}

// PID is the process's number.
func (p *process) PID() int { return p.cmd.Process.Pid }

// Ended is closed once the process has ended.
func (p *process) Ended() <-chan struct{} { return p.done }

// Logs is everything that the server and its children wrote to standard error.
func (p *process) Logs() string {
	b, err := os.ReadFile(p.logs)
	if err != nil {
		p.t.Error(err)
	}
	return string(b)
}

// Output is what the server wrote to standard output.
func (p *process) Output() string { return p.out.String() }

// Terminate asks the process to end, and does not wait.
func (p *process) Terminate() { p.cmd.Process.Signal(syscall.SIGTERM) }

// Stop asks the process to end, waits, and returns its status: -1 when it had
// to be killed.
func (p *process) Stop() int {
	p.t.Helper()
	p.Terminate()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(stopTimeout):
		p.t.Errorf("the server did not end in %s:\n%s", stopTimeout, p.Logs())
		p.Kill()
		return -1
	}
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// end is for the test's own end: whatever the test did, nothing is left.
func (p *process) end() {
	select {
	case <-p.done:
	default:
		p.Stop()
	}
	logs := p.Logs()
	for _, sign := range []string{"DATA RACE", "panic:"} {
		if strings.Contains(logs, sign) {
			p.t.Errorf("the server's logs hold %q", sign)
		}
	}
	if p.t.Failed() {
		p.t.Logf("the server's logs:\n%s", logs[max(0, len(logs)-8000):])
	}
}

// await asks url until it answers with status, and fails when it never does.
func await(t testing.TB, client *http.Client, url string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	last := "no answer"
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == status {
				return
			}
			last = resp.Status
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s did not answer %d in %s, last: %s", url, status, startTimeout, last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// after returns what follows prefix in s up to the next space, "" when prefix
// is not there.
func after(s, prefix string) string {
	_, rest, found := strings.Cut(s, prefix)
	if !found {
		return ""
	}
	word, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	return strings.TrimRight(word, ".")
}
