package engine

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID returns an unguessable id that starts with prefix and an underscore.
// It holds 48 bits of Unix milliseconds and 80 random bits, and sorts by time.
func NewID(prefix string, now time.Time) string {
	var raw [16]byte
	rand.Read(raw[6:])
	ms := uint64(now.UnixMilli())
	binary.BigEndian.PutUint16(raw[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(raw[2:], uint32(ms))
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
