//go:build unix

package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// unlock gives bbolt's lock of a file back.
func unlock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) }
