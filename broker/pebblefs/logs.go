package pebblefs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// LogBlockBytes is the size of the blocks of Pebble's write-ahead logs. No chunk crosses one.
const LogBlockBytes = 32 << 10

// Pebble's encodings of chunks, in groups of four: the whole of a batch, its first, a middle, its last
// part.
const (
	logSuffix           = ".log"
	recyclableMin       = 5
	recyclableMax       = 8
	recyclableHeader    = 11
	syncedMax           = 12
	syncedHeader        = 19
	checksumAddend      = 0xa282ead8
	checksumRotatedBits = 15
	encodings           = 4
	encodingFirst       = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Chunk is a part of a batch in one of Pebble's write-ahead logs.
//
//	chunk    0  4  checksum of all from byte 6 on
//	         4  2  length of the payload
//	         6  1  encoding: 5 to 8 with a header of 11 bytes, 9 to 12 with one of 19
//	         7  4  number of the log
type Chunk struct {
	Payload []byte
	// Bytes is its length with the header, zero if there is no chunk.
	Bytes int
	// Begins: a batch begins with it.
	Begins bool
}

// ChunkAt parses the chunk at that place of log number.
func ChunkAt(b []byte, at int, number uint32) Chunk {
	if at+recyclableHeader > len(b) || b[at+6] < recyclableMin || b[at+6] > syncedMax ||
		binary.LittleEndian.Uint32(b[at+7:]) != number {
		return Chunk{}
	}
	header := recyclableHeader
	if b[at+6] > recyclableMax {
		header = syncedHeader
	}
	length := header + int(binary.LittleEndian.Uint16(b[at+4:]))
	if at%LogBlockBytes+length > LogBlockBytes || at+length > len(b) {
		return Chunk{}
	}
	sum := crc32.Checksum(b[at+6:at+length], castagnoli)
	sum = sum>>checksumRotatedBits | sum<<(32-checksumRotatedBits)
	if sum+checksumAddend != binary.LittleEndian.Uint32(b[at:]) {
		return Chunk{}
	}
	return Chunk{Payload: b[at+header : at+length], Bytes: length,
		Begins: (b[at+6]-recyclableMin)%encodings <= encodingFirst}
}

// FollowLog calls fn with the payload of every chunk of a log, and returns where it does not go on.
func FollowLog(b []byte, number uint32, fn func(payload []byte)) (at int) {
	for {
		c := ChunkAt(b, at, number)
		if rest := LogBlockBytes - at%LogBlockBytes; c.Bytes == 0 && rest < syncedHeader && at < len(b) {
			at += rest // Too little for a header: the writer leaves it.
			continue
		}
		if c.Bytes == 0 {
			return at
		}
		fn(c.Payload)
		at += c.Bytes
	}
}

// ErrLost: a log lacks a batch that was synced. Pebble takes a bad chunk for the torn end of its log and
// goes on without a word.
var ErrLost = errors.New("log is bad, and a later batch lies behind that")

// CheckLogs looks for a batch that begins behind the place where a log does not go on. It is for stores
// that sync every batch before they write the next.
func CheckLogs(fs vfs.FS, dir string) error {
	return EachLog(fs, dir, func(path string, number uint32, b []byte) error {
		at := FollowLog(b, number, func([]byte) {})
		if next, more := goesOn(b, at, number); more {
			return fmt.Errorf("%w: %s at byte %d, the later batch at byte %d", ErrLost, path, at, next)
		}
		return nil
	})
}

// EachLog calls fn with the content of every write-ahead log in dir.
func EachLog(fs vfs.FS, dir string, fn func(path string, number uint32, b []byte) error) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, name := range names {
		number, err := strconv.ParseUint(strings.TrimSuffix(name, logSuffix), 10, 32)
		if err != nil || !strings.HasSuffix(name, logSuffix) {
			continue
		}
		path := filepath.Join(dir, name)
		b, err := readFile(fs, path)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if err := fn(path, uint32(number), b); err != nil {
			return err
		}
	}
	return nil
}

func readFile(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// endsWell reports whether a log was closed where it ends: Pebble writes the header of an empty chunk of
// the next log then. What lies behind it was there before, where the file was that of an earlier log.
func endsWell(b []byte, at int, number uint32) bool {
	rest := b[at:]
	if len(rest) == 0 { // No room for one was left in the block.
		return at%LogBlockBytes == 0
	}
	var trailer [recyclableHeader]byte
	trailer[6] = recyclableMin
	binary.LittleEndian.PutUint32(trailer[7:], number+1)
	return bytes.HasPrefix(rest, trailer[:])
}

// goesOn finds a batch that begins behind the place where a log does not go on.
func goesOn(b []byte, at int, number uint32) (int, bool) {
	for i := at + 1; i < len(b); i++ {
		if ChunkAt(b, i, number).Begins {
			return i, true
		}
	}
	return 0, false
}
