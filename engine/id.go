package engine

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"sync/atomic"
	"time"
)

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// last is the highest time and count that an id was made of.
var last atomic.Uint64

// NewID returns an id that starts with prefix and an underscore. It holds 48
// bits of Unix milliseconds, 16 bits of count and 64 random bits, and sorts
// after every id that this process made before it.
func NewID(prefix string, now time.Time) string {
	at := uint64(now.UnixMilli()) << 16
	for {
		before := last.Load()
		if next := max(at, before+1); last.CompareAndSwap(before, next) {
			at = next
			break
		}
	}
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[0:], at)
	rand.Read(raw[8:])
	buf := make([]byte, 0, len(prefix)+1+26)
	buf = append(buf, prefix...)
	buf = append(buf, '_')
	return string(idEncoding.AppendEncode(buf, raw[:]))
}

// NewSecretID returns an id of 160 random bits, for handles that grant
// something to whoever holds them: conversations and pending actions.
func NewSecretID(prefix string) string {
	var raw [20]byte
	rand.Read(raw[:])
	return prefix + "_" + idEncoding.EncodeToString(raw[:])
}
