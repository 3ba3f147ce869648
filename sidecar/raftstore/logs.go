package raftstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2/vfs"

	"outrigger/broker/pebblefs"
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
//	witness  0  8  "witness:"
//	         8  8  number of the batch, counted from the start of the process
//	        16  8  number of the last batch that was synced
//	        24  4  checksum of bytes 0 to 23
const (
	logSuffix    = ".log"
	witnessMagic = "witness:"
	witnessBytes = 28
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
	return pebblefs.EachLog(fs, dir, func(path string, number uint32, b []byte) error {
		if at, w, lost := lostBatch(b, number); lost {
			return fmt.Errorf("%w: %s is bad at byte %d, but batch %d behind it says that %d was synced",
				raft.ErrDamaged, path, at, w.batch, w.synced)
		}
		return nil
	})
}

// lostBatch finds the place where a log does not go on, and whether a witness behind it says that a
// batch that should be there was synced.
func lostBatch(b []byte, number uint32) (at int, by witness, lost bool) {
	var last witness
	at = pebblefs.FollowLog(b, number, func(payload []byte) {
		witnesses(payload, func(w witness) { last = w })
	})
	// Where the next chunk begins is not known any more: any byte may be the first of one.
	for i := at + 1; i < len(b); i++ {
		witnesses(pebblefs.ChunkAt(b, i, number).Payload, func(w witness) {
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
