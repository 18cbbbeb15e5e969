package clients

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// script is a program that is told what to do line by line, and answers so.
type script struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

// startScript starts a program. It ends, with its input, when the test does.
func startScript(t *testing.T, dir string, env []string, command ...string) *script {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, env
	var errs strings.Builder
	cmd.Stderr = &errs
	cmd.WaitDelay = 10 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			cmd.Wait()
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", command[0], errs.String())
		}
	})
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	return &script{t, in, lines}
}

// line is the next line that the program writes.
func (s *script) line() string {
	s.t.Helper()
	if !s.out.Scan() {
		s.t.Fatalf("the program ended: %v", s.out.Err())
	}
	return s.out.Text()
}

// tell says something and returns the answer.
func (s *script) tell(what string) string {
	s.t.Helper()
	fmt.Fprintln(s.in, what)
	return s.line()
}
