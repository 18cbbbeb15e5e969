//go:build !unix

package store

import "os"

// unlock does nothing: here a lock ends with its file's closing.
func unlock(*os.File) error { return nil }
