package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"time"
)

// watchEvery is how often --watch looks at the files. They are read rather than
// watched, for the reasons the configuration's are.
const watchEvery = 300 * time.Millisecond

// digest is of the content of files.
type digest [sha256.Size]byte

// again runs something, and once more whenever a look shows another content,
// until ctx is done. It returns what the last run came to.
func again(ctx context.Context, content func() digest, look <-chan time.Time, run func() error) error {
	seen := content()
	last := run()
	for {
		select {
		case <-ctx.Done():
			return last
		case <-look:
		}
		if now := content(); now != seen {
			seen = now
			last = run()
		}
	}
}

// contents is a digest of every file of a folder, or of why it cannot be read.
func contents(folder fs.FS) digest {
	h := sha256.New()
	err := fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := fs.ReadFile(folder, name)
		fmt.Fprintf(h, "%q %d %x %v\n", name, len(b), sha256.Sum256(b), err)
		return nil
	})
	fmt.Fprint(h, err)
	return digest(h.Sum(nil))
}
