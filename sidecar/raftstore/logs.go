package raftstore

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

	"outrigger/sidecar/raft"
)

// Pebble takes a bad chunk of its write-ahead log for the torn end of it: one flipped bit takes back
// the terms, votes and entries of all batches behind it, which others count on, and nobody knows. (Its
// newer logs do state what was synced, but too low once a batch has crossed a block, and only from the
// next block of 32 KiB on does it look.) So every batch bears a witness, which lives in the log alone:
// its number, and the last one that was synced when it was written. Before Pebble opens a log it is
// looked through to its end: bytes that are bad, with a witness behind them that they were synced, are
// damage. What remains is the last synced batch, behind which no witness was written.
//
//	chunk    0  4  checksum of all from byte 6 on
//	         4  2  length of the payload
//	         6  1  encoding: 5 to 8 with a header of 11 bytes, 9 to 12 with one of 19
//	         7  4  number of the log
//	witness  0  8  "witness:"
//	         8  8  number of the batch, counted from the start of the process
//	        16  8  number of the last batch that was synced
//	        24  4  checksum of bytes 0 to 23
const (
	logBlockBytes       = 32 << 10
	logSuffix           = ".log"
	witnessMagic        = "witness:"
	witnessBytes        = 28
	recyclableMin       = 5
	recyclableMax       = 8
	recyclableHeader    = 11
	syncedMax           = 12
	syncedHeader        = 19
	checksumAddend      = 0xa282ead8
	checksumRotatedBits = 15
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// witness is what a batch says of those before it.
type witness struct{ batch, synced uint64 }

func appendWitness(b []byte, w witness) []byte {
	start := len(b)
	b = append(b, witnessMagic...)
	b = binary.BigEndian.AppendUint64(b, w.batch)
	b = binary.BigEndian.AppendUint64(b, w.synced)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// witnesses calls fn with each witness in b.
func witnesses(b []byte, fn func(witness)) {
	for {
		i := bytes.Index(b, []byte(witnessMagic))
		if i < 0 || len(b)-i < witnessBytes {
			return
		}
		b = b[i:]
		if crc32.Checksum(b[:24], castagnoli) == binary.BigEndian.Uint32(b[24:]) {
			fn(witness{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])})
		}
		b = b[len(witnessMagic):]
	}
}

// checkLogs returns an error that wraps raft.ErrDamaged and names the place if a log has lost what was
// synced.
func checkLogs(fs vfs.FS, dir string) error {
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
		if at, w, lost := lostBatch(b, uint32(number)); lost {
			return fmt.Errorf("%w: %s is bad at byte %d, but batch %d behind it says that %d was synced",
				raft.ErrDamaged, path, at, w.batch, w.synced)
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

// lostBatch finds the place where a log does not go on, and whether a witness behind it says that a
// batch that should be there was synced.
func lostBatch(b []byte, number uint32) (at int, by witness, lost bool) {
	var last witness
	for {
		payload, length := chunkAt(b, at, number)
		if rest := logBlockBytes - at%logBlockBytes; length == 0 && rest < syncedHeader && at < len(b) {
			at += rest // too little for a header: the writer leaves it
			continue
		}
		if length == 0 {
			break
		}
		witnesses(payload, func(w witness) { last = w })
		at += length
	}
	// Where the next chunk begins is not known any more: any byte may be the first of one.
	for i := at + 1; i < len(b); i++ {
		payload, _ := chunkAt(b, i, number)
		witnesses(payload, func(w witness) {
			if last.batch == 0 { // the first batch of the log is bad: it is the one before this, or older
				last.batch = w.batch - min(w.batch, 2)
			}
			if w.synced > last.batch && !lost {
				by, lost = w, true
			}
		})
	}
	return at, by, lost
}

// chunkAt parses the chunk at that place; its length is zero if there is none of this log.
func chunkAt(b []byte, at int, number uint32) (payload []byte, length int) {
	if at+recyclableHeader > len(b) || b[at+6] < recyclableMin || b[at+6] > syncedMax ||
		binary.LittleEndian.Uint32(b[at+7:]) != number {
		return nil, 0
	}
	header := recyclableHeader
	if b[at+6] > recyclableMax {
		header = syncedHeader
	}
	length = header + int(binary.LittleEndian.Uint16(b[at+4:]))
	if at%logBlockBytes+length > logBlockBytes || at+length > len(b) {
		return nil, 0
	}
	sum := crc32.Checksum(b[at+6:at+length], castagnoli)
	sum = sum>>checksumRotatedBits | sum<<(32-checksumRotatedBits)
	if sum+checksumAddend != binary.LittleEndian.Uint32(b[at:]) {
		return nil, 0
	}
	return b[at+header : at+length], length
}
