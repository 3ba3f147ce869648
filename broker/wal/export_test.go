package wal

import "hash/crc32"

// Accounts is what Reserve has promised and not got back: bytes of the queue, file space, and
// reservations not used; and how many wait.
func (l *Log) Accounts() (queued, unplaced, reservations int64, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for b := range l.mu.ledger.queued {
		queued += l.mu.ledger.queued[b]
		unplaced += l.mu.ledger.unplaced[b]
		reservations += l.mu.ledger.reservations[b]
		waiting += len(l.mu.ledger.waiting[b].list)
	}
	return queued, unplaced, reservations, waiting
}

// Ready is how many files stand by, the one in use included.
func (l *Log) Ready() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.segments)
}

// Direct says whether direct I/O is used.
func (l *Log) Direct() bool { return l.direct }

// Sizes and codec for the tests that stand outside.
const (
	BlockBytes        = blockBytes
	GroupHeaderBytes  = groupHeaderBytes
	RecordHeaderBytes = recordHeaderBytes
)

// FileName of a file in dir.
func FileName(dir string, number uint64) string { return fileName(dir, number, fileSuffix) }

// PutGroup encodes a whole group, unpadded.
func PutGroup(h GroupHeader, records []Record) []byte {
	g := openGroup{}
	s := &segment{number: h.Generation, capacity: 1 << 30, used: blockBytes,
		seed: recordSeed(h.Generation, h.Session)}
	length := int64(groupHeaderBytes)
	for _, r := range records {
		length += EncodedLen(r)
	}
	g.begin(s, blockBytes, alignUp(length))
	for _, r := range records {
		g.add(&queued{record: r, bytes: EncodedLen(r)})
	}
	g.seal(h.Sequence)
	g.finish(chain{sequence: h.Sequence - 1, crc: h.Previous}, h.Session, h.Synced)
	return g.buffer[:g.length]
}

// ParseGroup decodes and verifies a group.
func ParseGroup(b []byte) (GroupHeader, []Record, error) {
	h, err := parseGroupHeader(b)
	if err != nil {
		return h, nil, err
	}
	if int64(len(b)) < int64(h.Length) {
		return h, nil, errShort
	}
	b = b[:h.Length]
	if !h.verifies(b) {
		return h, nil, errChecksum
	}
	var records []Record
	err = eachRecord(b, &h, Position{File: h.Generation, Offset: blockBytes}, func(p Placed) error {
		records = append(records, p.Record)
		return nil
	})
	return h, records, err
}

// ParseRecord decodes one record.
func ParseRecord(b []byte, seed uint32) (Record, int64, error) { return parseRecord(b, seed) }

// ParseFileHeader decodes a file header.
func ParseFileHeader(b []byte) (FileHeader, error) { return parseFileHeader(b) }

// Mend sets the checksums of the group b and of the records in it as far as its lengths make sense,
// so that a fuzzer gets past them.
func Mend(b []byte) {
	h, err := parseGroupHeader(b)
	if err != nil || int64(h.Length) > int64(len(b)) {
		return
	}
	b = b[:h.Length]
	seed := recordSeed(h.Generation, h.Session)
	for rest := b[groupHeaderBytes:]; ; {
		n := MendRecord(rest, seed)
		if n == 0 {
			break
		}
		rest = rest[n:]
	}
	sum := crc32.Checksum(b[groupHeaderBytes:], castagnoli)
	endian.PutUint32(b[60:], crc32.Update(sum, castagnoli, b[:60]))
}

// MendRecord sets the checksum of the record at the start of b and returns its length.
func MendRecord(b []byte, seed uint32) int64 {
	n, err := recordLen(b)
	if err != nil || n > int64(len(b)) {
		return 0
	}
	endian.PutUint32(b[4:], recordCRC(b[:n], seed))
	return n
}

// ReadAheadOne does what the goroutines of Run do for one chunk, if one is wanted.
func (l *Log) ReadAheadOne() bool {
	select {
	case at := <-l.cache.ahead:
		l.readAheadOne(at)
		return true
	default:
		return false
	}
}

// ShrinkCache passes one round of the cache.
func (l *Log) ShrinkCache() { l.cache.shrink() }

// Waiting is how many Reserves of a budget wait.
func (l *Log) Waiting(b Budget) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.ledger.waiting[b].list)
}
