package wal

import (
	"sync"
	"unsafe"
)

// alignedBytes returns n bytes whose address is a multiple of the block size, as direct I/O wants.
// The heap does not move, so they stay aligned.
func alignedBytes(n int64) []byte {
	raw := make([]byte, n+blockBytes)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))) & (blockBytes - 1)
	return raw[skip : skip+int(n) : skip+int(n)]
}

// blockPool holds small aligned buffers for reads of single records.
type blockPool struct{ pool sync.Pool }

// smallReadBytes is the largest read that goes through the pool; larger ones get memory of their own
// and hand it to the caller without a copy.
const smallReadBytes = 64 << 10

func (p *blockPool) take() *[smallReadBytes]byte {
	if b, ok := p.pool.Get().(*[smallReadBytes]byte); ok {
		return b
	}
	return (*[smallReadBytes]byte)(alignedBytes(smallReadBytes))
}

func (p *blockPool) giveBack(b *[smallReadBytes]byte) { p.pool.Put(b) }
