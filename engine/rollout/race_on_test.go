//go:build race

package rollout_test

// racing says that the race detector watches, which takes ten times as long.
const racing = true
