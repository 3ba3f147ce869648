package partition

import (
	"slices"
	"sort"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// extent is one batch in the index. It is 56 bytes; a log holds one per batch, so every field counts.
type extent struct {
	base topic.Offset
	// latest is the largest timestamp of this batch and of all before it: a running maximum, so
	// that it can be searched although timestamps themselves may jump.
	latest int64
	// newest is the largest timestamp of this batch alone: when the front is dropped, the running
	// maximum is made anew from it.
	newest int64
	// at is where the record lies in the WAL; it is known only once the record is durable.
	at    wal.Position
	count int32
	epoch topic.Epoch
	bytes int32 // of the batch
	// encoded is the bytes of the whole record in the WAL.
	encoded int32
}

// end is the offset after the last record of the batch.
func (e extent) end() topic.Offset { return e.base + topic.Offset(e.count) }

// chunkLength bounds what one push may have to copy: a log of a million batches must not pause for
// the copy of 48 MB.
const chunkLength = 512

// index is the list of a log's extents in offset order. Every extent is one batch, in a pack or in the
// WAL; what is drained comes first.
type index struct {
	// chunks are all full but the last. gone counts the extents dropped from the front of the first.
	chunks [][]extent
	gone   int
	length int
}

func (x *index) len() int { return x.length }

func (x *index) at(i int) *extent {
	i += x.gone
	return &x.chunks[i/chunkLength][i%chunkLength]
}

func (x *index) push(e extent) {
	if x.length > 0 {
		e.latest = max(e.latest, x.at(x.length-1).latest)
	}
	last := (x.gone + x.length) / chunkLength
	if last == len(x.chunks) {
		x.chunks = append(x.chunks, nil)
	}
	x.chunks[last] = append(x.chunks[last], e)
	x.length++
}

// cut keeps the first n extents.
func (x *index) cut(n int) {
	if n == 0 {
		*x = index{}
		return
	}
	last := (x.gone + n - 1) / chunkLength
	clear(x.chunks[last+1:])
	x.chunks = x.chunks[:last+1]
	x.chunks[last] = x.chunks[last][:(x.gone+n-1)%chunkLength+1]
	x.length = n
}

// drop removes the first n extents, and with them their part in the running maximum. What it copies is
// bounded by a chunk; it walks as far as a dropped timestamp was the largest, which is nearly always
// nowhere.
func (x *index) drop(n int) {
	if n >= x.length {
		*x = index{}
		return
	}
	x.gone += n
	x.length -= n
	x.chunks = slices.Delete(x.chunks, 0, x.gone/chunkLength)
	x.gone %= chunkLength
	latest := x.at(0).newest
	for i := range x.length {
		e := x.at(i)
		if latest = max(latest, e.newest); latest == e.latest {
			return
		}
		e.latest = latest
	}
}

// covering finds the extent that holds offset: the first that ends above it. It is len() if offset
// is at or beyond the end of the last.
func (x *index) covering(offset topic.Offset) int {
	return sort.Search(x.length, func(i int) bool { return x.at(i).end() > offset })
}

// reaching finds the first of the first n extents that holds a timestamp of at least ts, or n.
func (x *index) reaching(ts int64, n int) int {
	return sort.Search(n, func(i int) bool { return x.at(i).latest >= ts })
}
