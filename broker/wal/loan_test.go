package wal_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// openLending is openDrainable with a small cache: chunks of 4 KiB, so that most records lie in two.
func openLending(t *testing.T, fs *waltest.FS, cache wal.Cache) *drainable {
	t.Helper()
	log, err := wal.Open(wal.Config{FS: fs, Dir: dir, Session: 7, FileBytes: 64 << 10, GroupBytesMax: 16 << 10,
		SparesMax: 1, Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	driver, err := log.Drive()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if stats := log.CacheStats(); stats.Lent != 0 {
			t.Errorf("%d bytes are lent at the end", stats.Lent)
		}
		if err := errors.Join(driver.Close(), log.Close()); err != nil {
			t.Errorf("close: %v", err)
		}
		if stats := log.CacheStats(); stats.Bytes != 0 {
			t.Errorf("%d bytes are left after Close", stats.Bytes)
		}
	})
	return &drainable{t: t, log: log, driver: driver}
}

// positions is where the records lie, in the order in which they were appended.
func (d *drainable) positions() []wal.Position {
	var all []wal.Position
	for _, p := range scanAll(d.t, d.log, wal.Position{}, 1<<20) {
		all = append(all, p.At)
	}
	return all
}

// borrow reads a record by loan and compares it.
func (d *drainable) borrow(o *wal.Loan, at wal.Position, want wal.Record, fill bool) ([]byte, error) {
	d.t.Helper()
	got, rest, err := o.Record(at, wal.EncodedLen(want), fill)
	if err != nil {
		return nil, err
	}
	payload := got.Payload
	for _, piece := range rest {
		payload = append(slices.Clip(payload), piece...)
	}
	if got.Payload = payload; !equal(got, want) {
		d.t.Fatalf("at %v lies %s base %d with %d bytes, want %s base %d with %d bytes",
			at, got.Kind, got.Base, len(payload), want.Kind, want.Base, len(want.Payload))
	}
	return payload, nil
}

// Records of every length are lent as they were appended, wherever the borders of the chunks fall.
func TestLentRecordsAreThoseThatWereAppended(t *testing.T) {
	for _, chunk := range []int64{4 << 10, 8 << 10, 32 << 10} {
		d := openLending(t, waltest.New(), wal.Cache{BytesMax: 64 * chunk, ChunkBytes: chunk})
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		for i := range uint64(120) {
			r := data(i, int(i*i*37%9000))
			if i%7 == 0 {
				r.Payload = nil
			}
			for d.driver.Wanted() {
				if err := d.driver.Prepare(); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.log.Reserve(ended, wal.Leader, wal.EncodedLen(r)); err != nil {
				t.Fatal(err)
			}
			d.log.Append(wal.Leader, r)
			d.records = append(d.records, r)
			if err := d.driver.Turn(); err != nil {
				t.Fatal(err)
			}
			d.driver.Disk()
			if err := d.driver.Complete(); err != nil {
				t.Fatal(err)
			}
		}
		for i, at := range d.positions() {
			o := d.log.Lend()
			if _, err := d.borrow(o, at, d.records[i], true); err != nil {
				t.Errorf("chunks of %d: record %d at %v: %v", chunk, i, at, err)
			}
			o.Release()
		}
	}
}

// What is lent stays what it was while its file is drained, written again under another number, and its
// pack removed.
func TestLentBytesOutliveTheirFile(t *testing.T) {
	d := openLending(t, waltest.New(), wal.Cache{BytesMax: 512 << 10, ChunkBytes: 4 << 10})
	d.append(80)
	from, to, pack, next := d.drain(1)
	o := d.log.Lend()
	defer o.Release()
	keep := func(places []wal.Position) (lent [][]byte) {
		t.Helper()
		for i := range 8 {
			b, err := d.borrow(o, places[i], d.records[i], true)
			if err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
			lent = append(lent, b)
		}
		return lent
	}
	lent := keep(from)
	d.log.Adopt(pack)
	if err := d.log.Retire(next); err != nil {
		t.Fatal(err)
	}
	lent = append(lent, keep(to)...)
	if err := d.log.RemovePack(pack.Number); err != nil {
		t.Fatal(err)
	}
	d.append(60) // It takes the spare.
	for i, b := range lent {
		if want := d.records[i%8].Payload; !bytes.Equal(b, want) {
			t.Errorf("lent record %d has changed", i)
		}
	}
	fresh := d.log.Lend()
	defer fresh.Release()
	for _, at := range []wal.Position{from[0], to[0]} {
		if _, err := d.borrow(fresh, at, d.records[0], true); err == nil {
			t.Errorf("the record at %v is lent though its file is gone", at)
		}
		if err := d.read(at, d.records[0]); !errors.Is(err, wal.ErrMoved) {
			t.Errorf("read at %v by itself: got %v, want ErrMoved", at, err)
		}
	}
}

// A reader finds a file, and while it reads the file is drained and written again:
//
//  1. The reader asks where file 1 ends, and begins to read a chunk.
//  2. File 1 is retired and becomes file 5, with other records at the same place.
//  3. The read returns those. They are of another life, and their checksums say so.
func TestReaderThatRacesWithARecyclingGetsNoForeignBytes(t *testing.T) {
	fs := waltest.New()
	d := openLending(t, fs, wal.Cache{BytesMax: 512 << 10, ChunkBytes: 4 << 10})
	d.append(80)
	from, to, pack, next := d.drain(1)
	var once sync.Once
	fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Read {
			once.Do(func() {
				d.log.Adopt(pack)
				if err := d.log.Retire(next); err != nil {
					t.Error(err)
				}
				d.append(60)
			})
		}
		return nil
	})
	o := d.log.Lend()
	defer o.Release()
	if _, err := d.borrow(o, from[1], d.records[1], true); err == nil {
		t.Error("a record of a recycled file is lent")
	}
	if err := d.read(from[1], d.records[1]); !errors.Is(err, wal.ErrMoved) {
		t.Errorf("read by itself: got %v, want ErrMoved", err)
	}
	if _, err := d.borrow(o, to[1], d.records[1], true); err != nil {
		t.Errorf("at its new place: %v", err)
	}
}

// A flipped bit costs the record that it lies in; and once the disk gives the right bytes again, the cache
// does not go on with the wrong ones.
func TestDamagedRecordIsNotLentAndHidesNoOther(t *testing.T) {
	fs := waltest.New()
	d := openLending(t, fs, wal.Cache{BytesMax: 512 << 10, ChunkBytes: 8 << 10})
	d.append(12)
	places := d.positions()
	flip := func() {
		fs.Damage(wal.FileName(dir, places[5].File), func(b []byte) []byte {
			b[places[5].Offset+1000] ^= 4
			return b
		})
	}
	check := func(bad int) {
		t.Helper()
		o := d.log.Lend()
		defer o.Release()
		for i, at := range places {
			if _, err := d.borrow(o, at, d.records[i], true); (err != nil) != (i == bad) {
				t.Errorf("record %d: %v", i, err)
			}
		}
	}
	flip()
	check(5)
	flip()
	check(-1)
}

// With all memory lent nothing more is, and nothing of it is taken away; with the loan given back there is
// room again. One loan has its share at most.
func TestFullCacheLendsNothingMore(t *testing.T) {
	const chunks = 8
	d := openLending(t, waltest.New(), wal.Cache{BytesMax: chunks * 4096, ChunkBytes: 4096})
	d.append(60)
	places := d.positions()
	var loans []*wal.Loan
	var lent [][]byte
	var whose []int
	next := 0
	for range chunks { // more than enough
		o := d.log.Lend()
		loans = append(loans, o)
		for ; next < len(places); next++ {
			b, err := d.borrow(o, places[next], d.records[next], true)
			if errors.Is(err, wal.ErrNotLent) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			lent, whose = append(lent, b), append(whose, next)
		}
		if stats := d.log.CacheStats(); stats.Bytes > chunks*4096 || stats.Lent > int64(len(loans))*chunks/4*4096 {
			t.Errorf("%d loans: %d bytes are taken and %d lent", len(loans), stats.Bytes, stats.Lent)
		}
	}
	if len(lent) == 0 || next == len(places) {
		t.Fatalf("%d of %d records are lent at a time", next, len(places))
	}
	if refused := d.log.CacheStats().Refused; refused == 0 {
		t.Error("nobody was refused for want of memory")
	}
	for i, b := range lent {
		if !bytes.Equal(b, d.records[whose[i]].Payload) {
			t.Errorf("lent record %d has changed", whose[i])
		}
	}
	for _, o := range loans {
		o.Release()
	}
	if _, err := d.borrow(loans[0], places[next], d.records[next], true); err != nil {
		t.Errorf("after all was given back: %v", err)
	}
	loans[0].Release()
}

// A chunk at the durable end holds less than it will: what is appended later is read, too.
func TestChunkAtTheDurableEndGrows(t *testing.T) {
	d := openLending(t, waltest.New(), wal.Cache{BytesMax: 4 << 20, ChunkBytes: 64 << 10})
	d.append(1)
	o := d.log.Lend()
	defer o.Release()
	for range 10 {
		places := d.positions()
		for i, at := range places {
			if _, err := d.borrow(o, at, d.records[i], true); err != nil {
				t.Fatalf("record %d of %d: %v", i, len(places), err)
			}
		}
		d.append(1)
	}
	if _, _, err := o.Record(d.log.End(), 3048, true); !errors.Is(err, wal.ErrNotLent) {
		t.Errorf("beyond the durable end: got %v, want ErrNotLent", err)
	}
}

// Without fill only what is there is lent; what was read ahead is there; and memory that nobody has used
// for two rounds goes back.
func TestReadAheadFillsTheCacheAndIdleMemoryGoesBack(t *testing.T) {
	d := openLending(t, waltest.New(), wal.Cache{BytesMax: 1 << 20, ChunkBytes: 8 << 10})
	d.append(30)
	at := d.positions()[20]
	o := d.log.Lend()
	if _, err := d.borrow(o, at, d.records[20], false); !errors.Is(err, wal.ErrNotLent) {
		t.Errorf("before it was read: got %v, want ErrNotLent", err)
	}
	d.log.Prefetch(at)
	d.log.Prefetch(wal.Position{File: at.File, Offset: at.Offset + 3048})
	for d.log.ReadAheadOne() {
	}
	if _, err := d.borrow(o, at, d.records[20], false); err != nil {
		t.Errorf("after it was read ahead: %v", err)
	}
	d.log.ShrinkCache()
	d.log.ShrinkCache()
	if stats := d.log.CacheStats(); stats.Lent == 0 || stats.Bytes < stats.Lent {
		t.Errorf("what is lent was taken away: %+v", stats)
	}
	o.Release()
	d.log.ShrinkCache()
	if stats := d.log.CacheStats(); stats.Bytes == 0 {
		t.Error("memory went back that was used a moment ago")
	}
	d.log.ShrinkCache()
	if stats := d.log.CacheStats(); stats.Bytes != 0 {
		t.Errorf("%d bytes are kept that nobody uses", stats.Bytes)
	}
}

// Many readers of little memory, while it is read ahead and given back: whoever is lent something has the
// right bytes for as long as the loan lasts.
func TestReadersShareTheCache(t *testing.T) {
	d := openLending(t, waltest.New(), wal.Cache{BytesMax: 24 * 4096, ChunkBytes: 4096})
	d.append(80)
	places := d.positions()
	var group sync.WaitGroup
	lent := make([]int, 6)
	for reader := range lent {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(reader), 5))
			for range 300 {
				o := d.log.Lend()
				var bytesLent [][]byte
				at := random.IntN(len(places) - 4)
				for i := at; i < at+4; i++ {
					r, rest, err := o.Record(places[i], wal.EncodedLen(d.records[i]), true)
					if errors.Is(err, wal.ErrNotLent) {
						break
					}
					if err != nil {
						t.Errorf("record %d: %v", i, err)
						break
					}
					bytesLent = append(bytesLent, bytes.Join(append([][]byte{r.Payload}, rest...), nil))
				}
				d.log.Prefetch(places[random.IntN(len(places))])
				d.log.ReadAheadOne()
				if reader == 0 {
					d.log.ShrinkCache()
				}
				for i, b := range bytesLent {
					if lent[reader]++; !bytes.Equal(b, d.records[at+i].Payload) {
						t.Errorf("lent record %d is another", at+i)
					}
				}
				o.Release()
			}
		})
	}
	group.Wait()
	if slices.Min(lent) == 0 {
		t.Errorf("somebody was lent nothing: %v", lent)
	}
}

// A file that vanishes or a device that gives nothing back: the reader is told, and nothing stays lent.
func TestUnreadableChunkIsNotLent(t *testing.T) {
	fs := waltest.New()
	d := openLending(t, fs, wal.Cache{BytesMax: 1 << 20, ChunkBytes: 8 << 10})
	d.append(4)
	places := d.positions()
	broken := errors.New("broken")
	fail := true
	fs.Intercept(func(op waltest.Op) error {
		if fail && op.Verb == waltest.Read {
			return broken
		}
		return nil
	})
	o := d.log.Lend()
	defer o.Release()
	if _, err := d.borrow(o, places[2], d.records[2], true); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the device", err)
	}
	if stats := d.log.CacheStats(); stats.Lent != 0 {
		t.Errorf("%d bytes are lent of a read that failed", stats.Lent)
	}
	fail = false
	if _, err := d.borrow(o, places[2], d.records[2], true); err != nil {
		t.Errorf("once the device is well: %v", err)
	}
	var none *wal.Loan
	none.Release()
	if _, _, err := none.Record(places[0], 3048, true); !errors.Is(err, wal.ErrNotLent) {
		t.Errorf("no loan: got %v, want ErrNotLent", err)
	}
}
