// Package socket listens on and dials Unix sockets that only their owner may
// use, whatever the length of their path.
//
// The kernel allows about a hundred bytes for a socket's address. A data folder
// may be deeper than that, so on Linux the folder is opened and named by its
// descriptor instead.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrInUse is the error of Listen when another process answers on the socket.
var ErrInUse = errors.New("another process is listening on the socket")

// probeTimeout bounds the look at whether anybody answers on a socket found.
const probeTimeout = time.Second

// Listen makes the socket with mode 0600, in place of one that nobody answers
// on any more. It is made under another name and moved into place, so that it
// is never there with a wider mode. Closing the listener removes it.
func Listen(path string) (net.Listener, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("naming the socket: %w", err)
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	dir, name := filepath.Split(path)
	own, err := os.MkdirTemp(dir, ".s-")
	if err != nil {
		return nil, fmt.Errorf("making the socket's folder: %w", err)
	}
	defer os.RemoveAll(own)
	short, done, err := shorten(own)
	if err != nil {
		return nil, err
	}
	defer done()
	inner, err := net.Listen("unix", filepath.Join(short, "s"))
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", name, err)
	}
	inner.(*net.UnixListener).SetUnlinkOnClose(false)
	l := &listener{Listener: inner, path: path}
	made := filepath.Join(own, "s")
	if err := os.Chmod(made, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("closing the socket to others: %w", err), inner.Close())
	}
	if l.info, err = os.Lstat(made); err != nil {
		return nil, errors.Join(fmt.Errorf("looking at the new socket: %w", err), inner.Close())
	}
	if err := os.Rename(made, path); err != nil {
		return nil, errors.Join(fmt.Errorf("moving the socket into place: %w", err), inner.Close())
	}
	return l, nil
}

// Dial connects to the socket.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	short, done, err := shorten(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", filepath.Join(short, name))
}

// vacant refuses a path that holds something other than a dead socket.
func vacant(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for the socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	c, err := Dial(ctx, path)
	if err == nil {
		c.Close()
		return fmt.Errorf("%w: %s", ErrInUse, path)
	}
	if !refused(err) {
		return fmt.Errorf("asking whether %s is in use: %w", path, err)
	}
	return nil
}

// listener removes its socket when it is closed, unless another has taken its
// place since.
type listener struct {
	net.Listener
	path string
	info fs.FileInfo
	once sync.Once
}

func (l *listener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
			os.Remove(l.path)
		}
	})
	return l.Listener.Close()
}
