package partition

import (
	"encoding/binary"
	"errors"
	"fmt"

	"outrigger/broker/catalog"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// Catalog keeps, apart from the WAL, what the drained part of it said: a table of keys and values. A
// Store calls it from one goroutine at a time, but for Range at its start.
type Catalog interface {
	catalog.Ranger
	// View opens a view of the table as it is now, for many looks in the order of the keys.
	View() (catalog.View, error)
	// Apply makes all edits, in their order, durable together. After an error nothing is known, and the
	// node has to stop.
	Apply(edits []catalog.Edit) error
}

// The keys of the catalog; numbers are big-endian, so that they sort.
//
//	"d"                                where the chain begins: file 8, sequence 8, checksum 4; then the
//	                                   number of the next pack 8
//	"k" number 8                       a pack: session 8, bytes 8, and of one that was adopted 1
//	"l" topic 16, partition 4          a log as of there; see encodeLog
//	"r" topic 16, partition 4, base 8  a run: batches that lie in one pack one behind the other
//
//	run    pack 8, byte offset of the first record 8, then for each batch, as varints: offsets that it
//	       covers, bytes, epoch (the first time; then by how much it is more), its largest
//	       timestamp (likewise); in a pack that was adopted, before all that, how many bytes of others lie
//	       between it and the one before
const (
	keyStart = 'd'
	keyHead  = 'h' // see head.go
	keyPack  = 'k'
	keyLog   = 'l'
	keyRun   = 'r'
	keyEnd   = 0xff // behind all keys

	partitionKeyBytes = 1 + 16 + 4
	runKeyBytes       = partitionKeyBytes + 8
)

// errCatalog: the catalog holds what this program does not understand.
var errCatalog = errors.New("catalog of drained data is malformed")

func partitionKey(kind byte, p topic.Partition) []byte {
	key := make([]byte, 0, runKeyBytes)
	key = append(append(key, kind), p.Topic[:]...)
	return binary.BigEndian.AppendUint32(key, uint32(p.Index))
}

func runKey(p topic.Partition, base topic.Offset) []byte {
	return binary.BigEndian.AppendUint64(partitionKey(keyRun, p), uint64(base))
}

// runsEnd is a key behind all runs of p.
func runsEnd(p topic.Partition) []byte { return append(runKey(p, -1), 0) }

func packKey(number uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyPack}, number) }

// parsePartitionKey reads the partition of a log's or a run's key.
func parsePartitionKey(key []byte) (p topic.Partition, rest []byte, err error) {
	if len(key) < partitionKeyBytes {
		return p, nil, fmt.Errorf("%w: key of %d bytes", errCatalog, len(key))
	}
	copy(p.Topic[:], key[1:])
	p.Index = int32(binary.BigEndian.Uint32(key[17:]))
	return p, key[partitionKeyBytes:], nil
}

func parseRunKey(key []byte) (p topic.Partition, base topic.Offset, err error) {
	p, rest, err := parsePartitionKey(key)
	if err == nil && len(rest) != 8 {
		err = fmt.Errorf("%w: key of %d bytes", errCatalog, len(key))
	}
	if err != nil {
		return p, 0, err
	}
	return p, topic.Offset(binary.BigEndian.Uint64(rest)), nil
}

func encodeStart(s wal.Start) []byte {
	b := binary.BigEndian.AppendUint64(nil, s.File)
	b = binary.BigEndian.AppendUint64(b, s.Sequence)
	b = binary.BigEndian.AppendUint32(b, s.CRC)
	return binary.BigEndian.AppendUint64(b, s.NextPack)
}

func decodeStart(b []byte) (wal.Start, error) {
	d := decoder{b: b}
	s := wal.Start{File: d.uint64(), Sequence: d.uint64(), CRC: d.uint32(), NextPack: d.uint64()}
	if d.err != nil || len(d.b) > 0 || s.File == 0 || s.NextPack == 0 {
		return wal.Start{}, fmt.Errorf("%w: start of %d bytes", errCatalog, len(b))
	}
	return s, nil
}

func encodePack(p wal.Pack) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.Session))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Bytes))
	if wal.Adopted(p.Number) {
		b = append(b, 1) // Versions that know of no such packs refuse it.
	}
	return b
}

func decodePack(key, b []byte) (wal.Pack, error) {
	d := decoder{b: key[1:]}
	number := d.uint64()
	want := 16
	if wal.Adopted(number) {
		want++
	}
	if len(key) != 9 || len(b) != want || want == 17 && b[16] != 1 {
		return wal.Pack{}, fmt.Errorf("%w: pack %d of %d and %d bytes", errCatalog, number, len(key), len(b))
	}
	return wal.Pack{Number: number,
		Session: topic.Session(binary.BigEndian.Uint64(b)),
		Bytes:   int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

// continues reports whether e lies right behind a, or behind it in an adopted file: one run holds both.
func (e extent) continues(a extent) bool {
	return e.base == a.end() && e.at.File == a.at.File &&
		(e.at.File == nowhere.File || gapped(e.at.File) || e.at.Offset == a.at.Offset+int64(a.encoded))
}

// gapped reports whether batches of others lie between those of a run in that file.
func gapped(file uint64) bool { return wal.Adopted(file &^ wal.PackBit) }

// encodeRun encodes extents each of which continues the one before.
func encodeRun(run []extent) []byte {
	b := binary.BigEndian.AppendUint64(nil, run[0].at.File)
	b = binary.BigEndian.AppendUint64(b, uint64(run[0].at.Offset))
	epoch, newest := topic.Epoch(0), int64(0)
	next := run[0].at.Offset
	for _, e := range run {
		if gapped(e.at.File) {
			b = binary.AppendUvarint(b, uint64(e.at.Offset-next))
		}
		next = e.at.Offset + int64(e.encoded)
		b = binary.AppendUvarint(b, uint64(e.count))
		b = binary.AppendUvarint(b, uint64(e.bytes))
		b = binary.AppendVarint(b, int64(e.epoch)-int64(epoch))
		b = binary.AppendVarint(b, e.newest-newest)
		epoch, newest = e.epoch, e.newest
	}
	return b
}

// packOfRun is the number of the pack that a run lies in.
func packOfRun(b []byte) uint64 { return (&decoder{b: b}).uint64() &^ wal.PackBit }

// decodeRun calls fn with every extent of a run.
func decodeRun(base topic.Offset, b []byte, fn func(extent)) error {
	d := decoder{b: b}
	at := wal.Position{File: d.uint64(), Offset: int64(d.uint64())}
	e := extent{base: base, at: at}
	for len(d.b) > 0 && d.err == nil {
		if gapped(at.File) {
			e.at.Offset += int64(d.uvarint())
		}
		e.count, e.bytes = int32(d.uvarint()), int32(d.uvarint())
		e.epoch += topic.Epoch(d.varint())
		e.newest += d.varint()
		e.latest = e.newest // the index makes the running maximum of it
		e.encoded = int32(wal.EncodedBytes(int(e.bytes)))
		if d.err != nil || e.count <= 0 || e.bytes <= 0 {
			return fmt.Errorf("%w: run at %d", errCatalog, base)
		}
		fn(e)
		if e.base = e.end(); at.File != nowhere.File {
			e.at.Offset += int64(e.encoded)
		}
	}
	return d.err
}

// decoder reads numbers off the front of b. The first that is missing is an error, and all after it are
// zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if len(d.b) < n {
		d.err, d.b = fmt.Errorf("%w: %d bytes are missing", errCatalog, n-len(d.b)), nil
		return make([]byte, n)
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) uint8() byte    { return d.take(1)[0] }
func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) uint64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.skip(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.skip(n)
	return v
}

func (d *decoder) skip(n int) {
	if n <= 0 {
		d.err, d.b = fmt.Errorf("%w: bad varint", errCatalog), nil
		return
	}
	d.b = d.b[n:]
}
