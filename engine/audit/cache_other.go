//go:build !linux

package audit

// dropCached does nothing: this system has no way to ask for it.
func dropCached(string) error { return nil }
