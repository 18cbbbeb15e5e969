package audit

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// dropCached asks the kernel to forget what it holds of a file, so that what is
// read next comes from the disk. After a failed sync it may hold pages that it
// believes written and that are not.
func dropCached(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
}
