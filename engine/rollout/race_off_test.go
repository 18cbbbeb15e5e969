//go:build !race

package rollout_test

const racing = false
