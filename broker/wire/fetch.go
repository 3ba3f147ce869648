package wire

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Versions at which the Fetch response changed.
const (
	fetchLogStart  = 5
	fetchSessions  = 7
	fetchPreferred = 11
	fetchFlexible  = 12
	fetchTopicIDs  = 13
)

// FetchFrame encodes resp, of version 4 or higher, as one frame in pieces for a vectored write. The
// pieces together are what AppendResponse would yield, but the record batches are the slices that
// batches returned for resp.Topics[topic].Partitions[partition], not copies. RecordBatches in resp
// is ignored. A partition without batches gets records of length 0, never null: null trips clients.
func FetchFrame(
	correlationID int32, resp *kmsg.FetchResponse, batches func(topic, partition int) [][]byte,
) [][]byte {
	if resp.Version < 4 || resp.Version > resp.MaxVersion() {
		panic("encode Fetch response: no such version")
	}
	e := fetchEncoder{version: resp.Version, flexible: resp.Version >= fetchFlexible}
	e.dst = appendHeader(make([]byte, 0, fetchBytes(resp)), correlationID, resp)
	e.int32(resp.ThrottleMillis)
	if e.version >= fetchSessions {
		e.int16(resp.ErrorCode)
		e.int32(resp.SessionID)
	}
	e.count(len(resp.Topics))
	for t := range resp.Topics {
		topic := &resp.Topics[t]
		if e.version >= fetchTopicIDs {
			e.dst = append(e.dst, topic.TopicID[:]...)
		} else {
			e.string(topic.Topic)
		}
		e.count(len(topic.Partitions))
		for p := range topic.Partitions {
			e.partition(&topic.Partitions[p], batches(t, p))
		}
		e.tags(0, &topic.UnknownTags, nil)
	}
	e.nodes(resp)
	return e.pieces()
}

// fetchBytes estimates the frame without its batches.
func fetchBytes(resp *kmsg.FetchResponse) int {
	n := 64 + 64*len(resp.Brokers)
	for t := range resp.Topics {
		topic := &resp.Topics[t]
		n += 24 + len(topic.Topic) + 80*len(topic.Partitions)
	}
	return n
}

// fetchEncoder appends to dst and remembers where batches belong between its bytes.
type fetchEncoder struct {
	dst          []byte
	version      int16
	flexible     bool
	cuts         []fetchCut
	batchesBytes int
}

// fetchCut says that batches follow dst[:at].
type fetchCut struct {
	at      int
	batches [][]byte
}

func (e *fetchEncoder) partition(p *kmsg.FetchResponseTopicPartition, batches [][]byte) {
	e.int32(p.Partition)
	e.int16(p.ErrorCode)
	e.int64(p.HighWatermark)
	e.int64(p.LastStableOffset)
	if e.version >= fetchLogStart {
		e.int64(p.LogStartOffset)
	}
	e.aborted(p.AbortedTransactions)
	if e.version >= fetchPreferred {
		e.int32(p.PreferredReadReplica)
	}
	e.records(batches)
	e.partitionTags(p)
}

// aborted writes the aborted transactions; nil is null, which a read_uncommitted reader gets.
func (e *fetchEncoder) aborted(list []kmsg.FetchResponseTopicPartitionAbortedTransaction) {
	if list == nil {
		e.count(-1)
		return
	}
	e.count(len(list))
	for i := range list {
		e.int64(list[i].ProducerID)
		e.int64(list[i].FirstOffset)
		e.tags(0, &list[i].UnknownTags, nil)
	}
}

// records writes the length of the batches and leaves a cut for them.
func (e *fetchEncoder) records(batches [][]byte) {
	n := 0
	for _, b := range batches {
		n += len(b)
	}
	e.count(n)
	if n > 0 {
		e.batchesBytes += n
		e.cuts = append(e.cuts, fetchCut{at: len(e.dst), batches: batches})
	}
}

// partitionTags writes the tagged fields of a partition that differ from their defaults. All three
// are a few fixed fields and an empty or tiny tag section of their own.
func (e *fetchEncoder) partitionTags(p *kmsg.FetchResponseTopicPartition) {
	if !e.flexible {
		return
	}
	var set [3]bool
	set[0] = p.DivergingEpoch.Epoch != -1 || p.DivergingEpoch.EndOffset != -1 ||
		p.DivergingEpoch.UnknownTags.Len() > 0
	set[1] = p.CurrentLeader.LeaderID != -1 || p.CurrentLeader.LeaderEpoch != -1 ||
		p.CurrentLeader.UnknownTags.Len() > 0
	set[2] = p.SnapshotID.EndOffset != -1 || p.SnapshotID.Epoch != -1 ||
		p.SnapshotID.UnknownTags.Len() > 0
	known := 0
	for _, s := range set {
		if s {
			known++
		}
	}
	e.tags(known, &p.UnknownTags, func() {
		if set[0] {
			e.tagged(0, func(e *fetchEncoder) {
				e.int32(p.DivergingEpoch.Epoch)
				e.int64(p.DivergingEpoch.EndOffset)
				e.tags(0, &p.DivergingEpoch.UnknownTags, nil)
			})
		}
		if set[1] {
			e.tagged(1, func(e *fetchEncoder) {
				e.int32(p.CurrentLeader.LeaderID)
				e.int32(p.CurrentLeader.LeaderEpoch)
				e.tags(0, &p.CurrentLeader.UnknownTags, nil)
			})
		}
		if set[2] {
			e.tagged(2, func(e *fetchEncoder) {
				e.int64(p.SnapshotID.EndOffset)
				e.int32(p.SnapshotID.Epoch)
				e.tags(0, &p.SnapshotID.UnknownTags, nil)
			})
		}
	})
}

// nodes writes the response's own tags: where the leaders named in CurrentLeader are (KIP-951).
func (e *fetchEncoder) nodes(resp *kmsg.FetchResponse) {
	if len(resp.Brokers) == 0 {
		e.tags(0, &resp.UnknownTags, nil)
		return
	}
	e.tags(1, &resp.UnknownTags, func() {
		e.tagged(0, func(e *fetchEncoder) {
			e.count(len(resp.Brokers))
			for i := range resp.Brokers {
				b := &resp.Brokers[i]
				e.int32(b.NodeID)
				e.string(b.Host)
				e.int32(b.Port)
				e.nullableString(b.Rack)
				e.tags(0, &b.UnknownTags, nil)
			}
		})
	})
}

// tags writes a tag section in flexible versions: known tagged fields by body, then the unknown.
func (e *fetchEncoder) tags(known int, unknown *kmsg.Tags, body func()) {
	if !e.flexible {
		return
	}
	e.dst = binary.AppendUvarint(e.dst, uint64(known+unknown.Len()))
	if body != nil {
		body()
	}
	e.dst = unknown.AppendEach(e.dst)
}

// tagged writes one tagged field: number, size, value.
func (e *fetchEncoder) tagged(number uint64, value func(*fetchEncoder)) {
	inner := fetchEncoder{version: e.version, flexible: e.flexible}
	value(&inner)
	e.dst = binary.AppendUvarint(e.dst, number)
	e.dst = binary.AppendUvarint(e.dst, uint64(len(inner.dst)))
	e.dst = append(e.dst, inner.dst...)
}

func (e *fetchEncoder) int16(v int16) { e.dst = binary.BigEndian.AppendUint16(e.dst, uint16(v)) }
func (e *fetchEncoder) int32(v int32) { e.dst = binary.BigEndian.AppendUint32(e.dst, uint32(v)) }
func (e *fetchEncoder) int64(v int64) { e.dst = binary.BigEndian.AppendUint64(e.dst, uint64(v)) }

// count writes the count of an array or the length of bytes; -1 is null.
func (e *fetchEncoder) count(n int) {
	if e.flexible {
		e.dst = binary.AppendUvarint(e.dst, uint64(n+1))
		return
	}
	e.int32(int32(n))
}

func (e *fetchEncoder) string(s string) {
	if e.flexible {
		e.dst = binary.AppendUvarint(e.dst, uint64(len(s)+1))
	} else {
		e.int16(int16(len(s)))
	}
	e.dst = append(e.dst, s...)
}

func (e *fetchEncoder) nullableString(s *string) {
	if s != nil {
		e.string(*s)
		return
	}
	if e.flexible {
		e.dst = append(e.dst, 0)
		return
	}
	e.int16(-1)
}

// pieces cuts dst where batches belong and puts them there.
func (e *fetchEncoder) pieces() [][]byte {
	putSize(e.dst, len(e.dst)-4+e.batchesBytes)
	n := 1
	for _, c := range e.cuts {
		n += 1 + len(c.batches)
	}
	out := make([][]byte, 0, n)
	from := 0
	for _, c := range e.cuts {
		out = append(out, e.dst[from:c.at:c.at])
		out = append(out, c.batches...)
		from = c.at
	}
	if from < len(e.dst) {
		out = append(out, e.dst[from:])
	}
	return out
}
