package socket

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// answer serves one word to each connection until the listener is closed.
func answer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.WriteString(c, "here")
		c.Close()
	}
}

func TestListenAndDial(t *testing.T) {
	for name, dir := range map[string]string{
		"short path": t.TempDir(),
		"long path":  filepath.Join(t.TempDir(), strings.Repeat("a-rather-deep-folder/", 12)),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "admin.sock")
			l, err := Listen(path)
			if err != nil {
				t.Fatalf("Listen: %v", err)
			}
			go answer(l)
			info, err := os.Lstat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("socket: mode %v, err %v; want 0600", info.Mode().Perm(), err)
			}
			c, err := Dial(context.Background(), path)
			if err != nil {
				t.Fatalf("Dial: %v", err)
			}
			if b, err := io.ReadAll(c); string(b) != "here" {
				t.Errorf("read %q, %v", b, err)
			}
			c.Close()
			if _, err := Listen(path); !errors.Is(err, ErrInUse) {
				t.Errorf("second Listen = %v, want ErrInUse", err)
			}
			l.Close()
			left, _ := os.ReadDir(dir)
			if len(left) != 0 {
				t.Errorf("left behind after Close: %v", left)
			}
		})
	}
}

func TestListenTakesOverADeadSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("Listen over a dead socket: %v", err)
	}
	defer l.Close()
	go answer(l)
	c, err := Dial(context.Background(), path)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	c.Close()
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Listen(path); err == nil {
		l.Close()
		t.Fatal("Listen replaced a file that is not a socket")
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file now holds %q", b)
	}
}

func TestCloseLeavesASuccessorAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("closing the first listener removed the second's socket: %v", err)
	}
}
