package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Refresh has what is read of a file next come from its disk: what was written
// is written there, and what the kernel holds is forgotten. After a failed sync
// that may be pages that it believes written and that are not, whatever process
// saw the sync fail.
func Refresh(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
}
