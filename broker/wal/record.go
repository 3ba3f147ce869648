package wal

import (
	"cmp"
	"fmt"

	"outrigger/broker/topic"
)

// Kind says what a record does to its partition.
type Kind uint8

// The kinds of records. Zero is no kind: it is what padding looks like.
const (
	// Data holds one record batch.
	Data Kind = iota + 1
	// Truncate cuts the partition's log: everything at Base and above is gone.
	Truncate
	// LogStart moves the partition's log start to Base.
	LogStart
	// HighWatermark checkpoints the partition's high watermark, Base.
	HighWatermark
	// Remove says that the partition was removed on a committed tombstone.
	Remove
	// Reset empties the partition's log: it begins, and ends, at Base, behind a record of Epoch.
	Reset
)

// String is the name of the kind, as dumps print it.
func (k Kind) String() string {
	switch k {
	case Data:
		return "data"
	case Truncate:
		return "truncate"
	case LogStart:
		return "log-start"
	case HighWatermark:
		return "high-watermark"
	case Remove:
		return "remove"
	case Reset:
		return "reset"
	default:
		return fmt.Sprintf("kind-%d", uint8(k))
	}
}

func (k Kind) known() bool { return k >= Data && k <= Reset }

// Record is one entry of the log.
type Record struct {
	Kind      Kind
	Partition topic.Partition
	// Epoch is the leader epoch of a Data record. In a LogStart or Reset it is that of the record before
	// the first one that is kept.
	Epoch topic.Epoch
	// Base is the first offset of a Data record, else the offset that is meant.
	Base topic.Offset
	// Count is the number of offsets that a Data record covers.
	Count int32
	// Payload is the producer's record batch, verbatim. The log keeps the slice until the record is
	// durable and never writes to it; nobody may change it after Append.
	Payload []byte
	// Summed says that Sum is the CRC-32C of the last Summed bytes of Payload, as whoever appends the
	// record has just verified: they need not be read once more. 0 if nothing is known.
	Summed int
	Sum    uint32
}

// Position is the address of a record: the number of its file and the byte offset in it. A file of the
// chain has its number, a pack its number with PackBit.
type Position struct {
	File   uint64
	Offset int64
}

// PackBit tells packs from files of the chain. It makes the number of a pack a negative one, and that
// orders it before every file of the chain: what a pack holds was drained from files that are gone.
const PackBit uint64 = 1 << 63

// PackStep is how far apart the packs of two files of the chain are: what was drained from file n lies in
// packs below (n+1)*PackStep. The one of n*PackStep with adoptedMark is the file itself.
const PackStep = 1 << 16

const adoptedMark = 0xff

// adoptedNumber is the number of the pack that file n of the chain becomes if it is adopted.
func adoptedNumber(file uint64) uint64 { return file*PackStep | adoptedMark }

// Adopted reports whether the pack of that number is a file of the chain that was adopted.
func Adopted(pack uint64) bool { return pack%PackStep == adoptedMark }

// AdoptedFile is the file of the chain that became the adopted pack of that number.
func AdoptedFile(pack uint64) uint64 { return pack / PackStep }

// life is the number in the headers of a file and in the checksums of its records, from that of a Position.
func life(number uint64) uint64 {
	if number&PackBit != 0 && Adopted(number&^PackBit) {
		return AdoptedFile(number &^ PackBit)
	}
	return number
}

// Compare orders positions as the log does: packs by number, then the files of the chain by theirs. So
// the batches of one partition have ascending positions wherever they lie.
func (p Position) Compare(q Position) int {
	if c := compareFiles(p.File, q.File); c != 0 {
		return c
	}
	return cmp.Compare(p.Offset, q.Offset)
}

//nolint:gosec // the top bit is meant to become the sign
func compareFiles(a, b uint64) int { return cmp.Compare(int64(a), int64(b)) }

// String is "<file>:<offset>", with "pack" before the number of a pack, and "adopted" before that of a file
// that was adopted.
func (p Position) String() string {
	if n := life(p.File); n != p.File {
		return fmt.Sprintf("adopted %d:%d", n, p.Offset)
	}
	if p.File&PackBit != 0 {
		return fmt.Sprintf("pack %d:%d", p.File&^PackBit, p.Offset)
	}
	return fmt.Sprintf("%d:%d", p.File, p.Offset)
}

// Placed is a record with its address. EncodedLen tells how many bytes lie there.
type Placed struct {
	Record
	At Position
}

// Group is what is written and synced at once. The log reuses it, and its Records, after Durable has
// returned.
type Group struct {
	Sequence uint64
	Records  []Placed
	// Bytes is what the group takes on disk, padding and header included.
	Bytes int64
	// CRC is the checksum of its header, which the next group names; it is known in Durable.
	CRC uint32
}

// Sink hears of every group, in the order of the log. Both methods are called from the writer
// goroutine, never concurrently; they must not block or do I/O.
type Sink interface {
	// Sealed: the group is closed and its write begins now. It comes before the group's Durable.
	Sealed(*Group)
	// Durable: the group is on stable storage (under Interval: written).
	Durable(*Group)
}

// Budget is one of the byte budgets of the queue.
type Budget int

// The budgets. They are apart so that a backlog of one's own appends never starves what a leader
// elsewhere waits for: two nodes full of records that wait for each other would never acknowledge.
const (
	Leader Budget = iota
	Follower
	// Relief is for records without a payload by which space is given back, of data and in the end of files:
	// a log start that moves, a cut, a removal. The end of the last file is theirs, and if that is used
	// up a file is made for them that Config.Room would refuse: else a full log could never be emptied.
	Relief
	budgets = 3
)
