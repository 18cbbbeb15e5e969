//go:build !linux

package socket

import (
	"errors"
	"syscall"
)

// shorten leaves dir as it is: only Linux names an open folder by its
// descriptor. A path that is too long is an error of the kernel's elsewhere.
func shorten(dir string) (short string, done func(), err error) {
	return dir, func() {}, nil
}

// refused reports that the socket is there and nobody listens on it.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
