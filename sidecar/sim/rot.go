package sim

import (
	"path/filepath"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// provenBytes behind a place there is a group that says that it was synced. Damage nearer to the end
// cannot be told from a torn tail, by anybody.
const provenBytes = 24 << 10

// rot damages what a host has synced, within the budget of lost disks: a bit flips, a block holds what
// belongs elsewhere, or what was there before anything was written, or is not given back. Now and then the process ends over
// it.
func (w *World) rot(h *host) {
	if !h.up() || w.singly() || !w.dataSpares(h) {
		return
	}
	at, ok := w.oldBatch(h)
	if !ok {
		return
	}
	name := filepath.Join("wal", at.FileName())
	if !h.disk.fs.Exists(name) {
		// 1. A damaged log was cut, and the pack removed that it did not need any more. 2. The record of the cut
		// was set aside with what else was damaged. 3. The catalog names the pack again: that is damage, too.
		w.check.lacks(h, name)
		return
	}
	h.disk.rotten, h.disk.latent = true, true
	block := at.Offset / rotBlockBytes * rotBlockBytes
	switch w.rng.IntN(4) {
	case 0:
		w.count.flips++
		h.disk.fs.Flip(w.rng, name, at.Offset, at.Offset+60)
	case 1:
		w.count.misdirected++
		h.disk.fs.Damage(name, func(content []byte) []byte {
			from := w.between(0, int64(len(content))/rotBlockBytes) * rotBlockBytes
			copy(content[block:block+rotBlockBytes], content[from:from+rotBlockBytes])
			return content
		})
	case 2:
		w.count.staleBlocks++
		h.disk.fs.Damage(name, func(content []byte) []byte {
			clear(content[block : block+rotBlockBytes])
			return content
		})
	case 3:
		w.count.unreadable++
		h.disk.fs.Unread(name, block, rotBlockBytes)
	}
	if w.rng.IntN(2) == 0 {
		h.crash()
		w.restartLater(h)
	}
}

// lacks fails the run if a log points to a file that is not there, on a disk that nothing has damaged.
func (c *checker) lacks(h *host, name string) {
	if !h.disk.rotten {
		c.fail("%s has batches in %s, which is not there", h, name)
	}
}

// singly reports whether some topic takes writes with one replica in sync: that one must not be rotten
// without knowing it.
func (w *World) singly() bool {
	if w.check.image == nil {
		return true
	}
	for t := range w.check.image.All() {
		for _, p := range t.Partitions {
			if w.check.image.MinInSync(t, p) == 1 {
				return true
			}
		}
	}
	return false
}

// rotBlockBytes is what a device misplaces as a whole.
const rotBlockBytes = 4 << 10

// oldBatch is a batch of a host that is far enough from the end of its WAL.
func (w *World) oldBatch(h *host) (at wal.Position, ok bool) {
	var end wal.Position
	partitions := h.broker.store.Partitions()
	for _, p := range partitions {
		log := h.broker.store.Log(p)
		if last, found := log.Position(log.State().DurableEnd - 1); found && last.Compare(end) > 0 {
			end = last
		}
	}
	for range 4 {
		if len(partitions) == 0 {
			break
		}
		log := h.broker.store.Log(partitions[w.rng.IntN(len(partitions))])
		at, ok = log.Position(topic.Offset(w.between(0, int64(log.State().DurableEnd))))
		if ok && (at.File != end.File || end.Offset-at.Offset > provenBytes) {
			return at, true
		}
	}
	return at, false
}
