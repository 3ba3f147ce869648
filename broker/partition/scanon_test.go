package partition

import (
	"testing"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// failure mode: a block that cannot be read lies in the midst of records. A scan for a follower that is far behind goes
// on behind it, wherever it lies, and never back.
func TestScanGoesOnBehindAnyBlockThatCannotBeRead(t *testing.T) {
	const fileBytes = 64 << 10
	for block := int64(1); block < fileBytes/4096; block++ {
		fs := waltest.New()
		h, err := openDraining(t, fs, 1, &catalogtest.Catalog{}, func(cfg *Config) { cfg.TailBytesMax = 1 })
		if err != nil {
			t.Fatal(err)
		}
		for h.store.walLog.End().File <= 1 { // with much in each group, so that records begin in the midst of blocks
			for k := range 60 {
				h.append(h.logs[k%len(h.logs)])
			}
			h.settle()
		}
		fs.Unread("wal/"+wal.Position{File: 1}.FileName(), block*4096, 4096)
		read := 0
		for at, end := (wal.Position{}), false; !end; {
			var next wal.Position
			var entries []Entry
			if entries, next, end, err = h.store.Scan(at, 4096); err != nil {
				t.Fatal(err)
			}
			if !end && next.Compare(at) <= 0 {
				t.Fatalf("block %d: the scan went from %v to %v", block, at, next)
			}
			at, read = next, read+len(entries)
		}
		var all topic.Offset
		for _, l := range h.logs {
			all += l.State().LogEnd
		}
		if read == 0 || all == 0 {
			t.Fatalf("block %d: got %d batches read, %d records: the test proves nothing", block, read, all)
		}
	}
}
