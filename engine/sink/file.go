package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// File appends records to a file as JSON Lines. Whoever rotates logs may move
// the file away at any time: the next batch goes into a new one of that name.
type File struct {
	path string
	f    *os.File
}

// NewFile appends to the file at path, which need not exist yet.
func NewFile(path string) *File { return &File{path: path} }

// Send appends the batch and returns when it is on disk.
func (t *File) Send(_ context.Context, batch []Record) error {
	if err := t.open(); err != nil {
		return err
	}
	var b bytes.Buffer
	for _, r := range batch {
		b.Write(r.Body)
		b.WriteByte('\n')
	}
	_, err := t.f.Write(b.Bytes())
	if err == nil {
		err = t.f.Sync()
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("appending to the file: %w", reason(err)), t.Close())
	}
	return err
}

// open sees that the file of that name is the one that is written to, and that it
// ends with a line's end: a crash may have left half a line.
func (t *File) open() error {
	if t.f != nil {
		there, err := os.Lstat(t.path)
		mine, mineErr := t.f.Stat()
		if err == nil && mineErr == nil && os.SameFile(there, mine) {
			return nil
		}
		if err := t.Close(); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(t.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("opening the file: %w", reason(err))
	}
	if err := whole(f); err != nil {
		return errors.Join(err, f.Close())
	}
	t.f = f
	return nil
}

func whole(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("opening the file: %w", reason(err))
	}
	if !info.Mode().IsRegular() {
		return errors.New("opening the file: it is not a regular one")
	}
	if info.Size() == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, info.Size()-1); err != nil {
		return fmt.Errorf("reading the file's end: %w", reason(err))
	}
	if last[0] == '\n' {
		return nil
	}
	if _, err := f.Write([]byte{'\n'}); err != nil {
		return fmt.Errorf("ending the file's last line: %w", reason(err))
	}
	return nil
}

// Close closes the file.
func (t *File) Close() error {
	if t.f == nil {
		return nil
	}
	f := t.f
	t.f = nil
	return f.Close()
}

// reason is a file error without its path, which status and logs need not repeat.
func reason(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}
