// Package uncleared gives memory to callers that fill all of it before anybody reads it: make would write zeros into
// what a socket or a copy overwrites at once, which was 4 % of a broker's processor time.
package uncleared

import (
	"strings"
	"unsafe"
)

// least is from how many bytes on clearing costs more than what this does instead.
const least = 4 << 10

// Bytes returns n bytes that hold anything, old data of this process above all. Whoever hands them on has written each
// of them before; on an error they are dropped unread.
func Bytes(n int) []byte {
	if n < least {
		return make([]byte, n)
	}
	// A strings.Builder takes memory without clearing it, since it shows only what was written. Its first byte is
	// written because the data of an empty string is unspecified. The builder and its string end here, so that nobody
	// sees a string change, and the bytes belong to the caller alone.
	var b strings.Builder
	b.Grow(n)
	b.WriteByte(0)
	return unsafe.Slice(unsafe.StringData(b.String()), n)
}
