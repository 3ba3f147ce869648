package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"outrigger/broker/topic"
)

// Sizes of the format; doc.go draws the bytes.
const (
	formatVersion = 1
	// blockBytes is the unit of direct I/O: groups begin and end on it, the file header fills one.
	blockBytes        = 4096
	fileHeaderBytes   = 64
	groupHeaderBytes  = 64
	recordHeaderBytes = 48
	// payloadBytesMax bounds what a length field may claim before anything is allocated for it.
	payloadBytesMax = 1 << 30
)

// The magics begin with a byte that no Kind has, and padding is zero, so the first byte at any place
// inside the log tells what begins there.
const (
	fileMagic  uint32 = 'O' | 'R'<<8 | 'W'<<16 | 'F'<<24
	groupMagic uint32 = 'O' | 'R'<<8 | 'W'<<16 | 'G'<<24
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	endian     = binary.LittleEndian
)

// What the decoders say; recovery, reads and dumps turn them into a Damage or a torn tail.
var (
	errChecksum = errors.New("checksum does not match")
	errShort    = errors.New("bytes end too early")
	errFormat   = errors.New("bytes are not of this format")
	errVersion  = errors.New("format version is not supported")
)

// FileHeader is the first block of a file. It is synced before the file gets its name, so a named
// file without a valid one is damaged, never torn.
type FileHeader struct {
	Version uint16
	// Generation is the file's number. A recycled file gets a new one with its new name.
	Generation uint64
	// Session of the process that writes the file: one file holds groups of one session only.
	Session topic.Session
	// Synced is the highest sequence known to be on stable storage when the header was written.
	Synced uint64
	// Bytes is the size that the file was made with.
	Bytes int64
	// First is the first file that was still needed when this was written, so that who finds no earlier
	// one knows that they were drained; zero in files that were written before there were drains.
	First uint64
}

// GroupHeader precedes the records of a group.
type GroupHeader struct {
	Version    uint16
	Sequence   uint64
	Generation uint64
	Session    topic.Session
	// Synced is the highest sequence known to be on stable storage when the group was sealed.
	Synced uint64
	// Length of the header and the records, without padding.
	Length  uint32
	Records uint32
	// Previous is the CRC of the group before, in whichever file that lies: the chain.
	Previous uint32
	CRC      uint32
}

// alignUp rounds n up to a whole number of blocks.
func alignUp(n int64) int64 { return (n + blockBytes - 1) &^ (blockBytes - 1) }

// alignDown rounds n down to a whole number of blocks.
func alignDown(n int64) int64 { return n &^ (blockBytes - 1) }

// putFileHeader writes h into the block b, which is zero elsewhere.
func putFileHeader(b []byte, h FileHeader) {
	endian.PutUint32(b[0:], fileMagic)
	endian.PutUint16(b[4:], formatVersion)
	endian.PutUint64(b[8:], h.Generation)
	endian.PutUint64(b[16:], uint64(h.Session))
	endian.PutUint64(b[24:], h.Synced)
	endian.PutUint64(b[32:], uint64(h.Bytes))
	endian.PutUint64(b[40:], h.First)
	endian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
}

// parseFileHeader reads and verifies a file header.
func parseFileHeader(b []byte) (FileHeader, error) {
	if len(b) < fileHeaderBytes {
		return FileHeader{}, errShort
	}
	if endian.Uint32(b[0:]) != fileMagic {
		return FileHeader{}, errFormat
	}
	if crc32.Checksum(b[:60], castagnoli) != endian.Uint32(b[60:]) {
		return FileHeader{}, errChecksum
	}
	return decodeFileHeader(b)
}

func decodeFileHeader(b []byte) (FileHeader, error) {
	h := FileHeader{
		Version:    endian.Uint16(b[4:]),
		Generation: endian.Uint64(b[8:]),
		Session:    topic.Session(endian.Uint64(b[16:])),
		Synced:     endian.Uint64(b[24:]),
		Bytes:      int64(endian.Uint64(b[32:])),
		First:      endian.Uint64(b[40:]),
	}
	if h.Version != formatVersion {
		return h, fmt.Errorf("%w: %d, not %d", errVersion, h.Version, formatVersion)
	}
	return h, nil
}

// putGroupHeader completes a group: b is its header and records, bodyCRC the checksum of the records
// alone. The header's own bytes come last into the checksum, because they are known last: the group
// is filled, and its records summed, while the one before it is still being written.
func putGroupHeader(b []byte, h *GroupHeader, bodyCRC uint32) {
	endian.PutUint32(b[0:], groupMagic)
	endian.PutUint16(b[4:], formatVersion)
	endian.PutUint16(b[6:], 0)
	endian.PutUint64(b[8:], h.Sequence)
	endian.PutUint64(b[16:], h.Generation)
	endian.PutUint64(b[24:], uint64(h.Session))
	endian.PutUint64(b[32:], h.Synced)
	endian.PutUint32(b[40:], h.Length)
	endian.PutUint32(b[44:], h.Records)
	endian.PutUint32(b[48:], h.Previous)
	endian.PutUint64(b[52:], 0)
	h.CRC = crc32.Update(bodyCRC, castagnoli, b[:60])
	endian.PutUint32(b[60:], h.CRC)
}

// parseGroupHeader reads a group header without verifying it: that takes the whole group.
func parseGroupHeader(b []byte) (GroupHeader, error) {
	if len(b) < groupHeaderBytes {
		return GroupHeader{}, errShort
	}
	if endian.Uint32(b[0:]) != groupMagic || endian.Uint16(b[4:]) != formatVersion {
		return GroupHeader{}, errFormat
	}
	h := GroupHeader{
		Version:    endian.Uint16(b[4:]),
		Sequence:   endian.Uint64(b[8:]),
		Generation: endian.Uint64(b[16:]),
		Session:    topic.Session(endian.Uint64(b[24:])),
		Synced:     endian.Uint64(b[32:]),
		Length:     endian.Uint32(b[40:]),
		Records:    endian.Uint32(b[44:]),
		Previous:   endian.Uint32(b[48:]),
		CRC:        endian.Uint32(b[60:]),
	}
	if h.Length < groupHeaderBytes {
		return h, errFormat
	}
	return h, nil
}

// verifies tells whether b is all of the group, with the right checksum.
func (h *GroupHeader) verifies(b []byte) bool {
	if int64(len(b)) != int64(h.Length) {
		return false
	}
	sum := crc32.Checksum(b[groupHeaderBytes:], castagnoli)
	return crc32.Update(sum, castagnoli, b[:60]) == h.CRC
}

// EncodedLen is the number of bytes that r takes in the log, what Reserve asks for.
func EncodedLen(r Record) int64 { return encodedLen(len(r.Payload)) }

// EncodedBytes is EncodedLen of a record with a payload of that length.
func EncodedBytes(payload int) int64 { return encodedLen(payload) }

func encodedLen(payloadBytes int) int64 { return recordHeaderBytes + (int64(payloadBytes)+7)&^7 }

// recordSeed starts the checksum of every record of a file, so that a record left over from an
// earlier life of a recycled file does not pass for one of this.
func recordSeed(generation uint64, session topic.Session) uint32 {
	var b [16]byte
	endian.PutUint64(b[0:], generation)
	endian.PutUint64(b[8:], uint64(session))
	return crc32.Checksum(b[:], castagnoli)
}

// putRecord encodes r into b, which is EncodedLen(r) long, and returns the checksum body continued by b.
func putRecord(b []byte, r *Record, seed, body uint32) uint32 {
	encodeRecord(b, r)
	if r.Summed >= sumsMin {
		return carrySums(b, r, seed, body)
	}
	endian.PutUint32(b[4:], recordCRC(b, seed))
	return crc32.Update(body, castagnoli, b)
}

// putLoneRecord encodes a record that no group holds.
func putLoneRecord(b []byte, r *Record, seed uint32) {
	encodeRecord(b, r)
	if r.Summed >= sumsMin {
		carrySums(b, r, seed, 0)
		return
	}
	endian.PutUint32(b[4:], recordCRC(b, seed))
}

// encodeRecord writes all of a record but its checksum.
func encodeRecord(b []byte, r *Record) {
	endian.PutUint32(b[0:], uint32(r.Kind))
	endian.PutUint32(b[8:], uint32(len(r.Payload)))
	endian.PutUint32(b[12:], uint32(r.Count))
	copy(b[16:32], r.Partition.Topic[:])
	endian.PutUint32(b[32:], uint32(r.Partition.Index))
	endian.PutUint32(b[36:], uint32(r.Epoch))
	endian.PutUint64(b[40:], uint64(r.Base))
	copy(b[recordHeaderBytes:], r.Payload)
	clear(b[recordHeaderBytes+len(r.Payload):])
}

// carrySums completes the encoded record b, whose payload ends in bytes with a known checksum. Should
// memory have changed under them since they were verified, then the group fails its own checksum later,
// instead of vouching for what nobody sent.
func carrySums(b []byte, r *Record, seed, body uint32) uint32 {
	end := recordHeaderBytes + len(r.Payload)
	head, tail := b[:end-r.Summed], b[end:]
	factor := shift(r.Summed)
	through := func(sum uint32) uint32 {
		return crc32.Update(multiply(sum, factor)^r.Sum, castagnoli, tail)
	}
	endian.PutUint32(b[4:], through(recordCRC(head, seed)))
	return through(crc32.Update(body, castagnoli, head))
}

func recordCRC(b []byte, seed uint32) uint32 {
	sum := crc32.Update(seed, castagnoli, b[0:4])
	return crc32.Update(sum, castagnoli, b[8:])
}

// recordLen reads how long the record at the start of b is. It needs the record's header only.
func recordLen(b []byte) (int64, error) {
	if len(b) < recordHeaderBytes {
		return 0, errShort
	}
	payload := endian.Uint32(b[8:])
	if payload > payloadBytesMax {
		return 0, errFormat
	}
	return encodedLen(int(payload)), nil
}

// parseRecord decodes and verifies the record at the start of b. Its payload aliases b.
func parseRecord(b []byte, seed uint32) (Record, int64, error) {
	n, err := recordLen(b)
	if err != nil {
		return Record{}, 0, err
	}
	if int64(len(b)) < n {
		return Record{}, n, errShort
	}
	if recordCRC(b[:n], seed) != endian.Uint32(b[4:]) {
		return Record{}, n, errChecksum
	}
	r, length, err := decodeRecord(b)
	if err != nil {
		return Record{}, n, err
	}
	if length > 0 {
		r.Payload = b[recordHeaderBytes : recordHeaderBytes+length : recordHeaderBytes+length]
	}
	return r, n, nil
}

// decodeRecord decodes the header of a record that was verified, and the length of its payload.
func decodeRecord(b []byte) (r Record, length int, err error) {
	r, _ = unverified(b)
	if !r.Kind.known() || b[1]|b[2]|b[3] != 0 {
		return Record{}, 0, errFormat
	}
	return r, int(endian.Uint32(b[8:])), nil
}

// unverified decodes the header of the record at the start of b, and says how long the whole would be.
func unverified(b []byte) (Record, int64) {
	r := Record{
		Kind:  Kind(b[0]),
		Count: int32(endian.Uint32(b[12:])),
		Epoch: topic.Epoch(endian.Uint32(b[36:])),
		Base:  topic.Offset(endian.Uint64(b[40:])),
	}
	copy(r.Partition.Topic[:], b[16:32])
	r.Partition.Index = int32(endian.Uint32(b[32:]))
	return r, encodedLen(int(endian.Uint32(b[8:])))
}

// eachRecord decodes the records of the verified group b that lies at the given place. The payloads
// alias b. An error of fn is returned as it is; anything else wrong is a malformed group.
func eachRecord(b []byte, h *GroupHeader, at Position, fn func(Placed) error) error {
	seed := recordSeed(h.Generation, h.Session)
	offset := int64(groupHeaderBytes)
	for range h.Records {
		r, n, err := parseRecord(b[offset:], seed)
		if err != nil {
			return &malformed{offset: offset, err: err}
		}
		place := Position{File: at.File, Offset: at.Offset + offset}
		if err := fn(Placed{Record: r, At: place}); err != nil {
			return err
		}
		offset += n
	}
	if offset != int64(len(b)) {
		return &malformed{offset: offset, err: errFormat}
	}
	return nil
}

// malformed says where in a group that passes its checksum a record does not decode: not a fault of
// the disk but of whoever wrote it.
type malformed struct {
	offset int64
	err    error
}

func (m *malformed) Error() string { return "record: " + m.err.Error() }
func (m *malformed) Unwrap() error { return m.err }
