package socket

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// shorten names dir by a descriptor, which done closes.
func shorten(dir string) (short string, done func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, fmt.Errorf("opening the socket's folder: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), func() { f.Close() }, nil
}

// refused reports that the socket is there and nobody listens on it.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
