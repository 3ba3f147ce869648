package storage

import (
	"encoding/binary"
	"hash/crc32"

	"outrigger/broker/topic"
)

// producerBatch makes a record batch of one record, as an idempotent producer sends it.
func producerBatch(producer int64, sequence int32, value []byte) []byte {
	b := make([]byte, 61, 80+len(value))
	b[16] = 2
	binary.BigEndian.PutUint32(b[12:], ^uint32(0))
	binary.BigEndian.PutUint64(b[43:], uint64(producer))
	binary.BigEndian.PutUint32(b[53:], uint32(sequence))
	binary.BigEndian.PutUint32(b[57:], 1)
	record := []byte{0, 0, 0, 1} // attributes, timestamp delta, offset delta, no key
	record = binary.AppendVarint(record, int64(len(value)))
	record = append(record, value...)
	record = append(record, 0) // no headers
	b = append(binary.AppendVarint(b, int64(len(record))), record...)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// place writes into a batch where its leader put it.
func place(b []byte, base topic.Offset, epoch topic.Epoch) []byte {
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[12:], uint32(epoch))
	return b
}
