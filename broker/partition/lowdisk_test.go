package partition

import (
	"errors"
	"fmt"
	"testing"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// tight is a store on a disk of which some is to stay free, and that its producers leave alone meanwhile.
type tight struct {
	*crammed
	// low: producers wait. large: the disk is ten times as large.
	low, large bool
}

const (
	tightBytes = 4 << 20
	tightFloor = 512 << 10
)

func openTight(t *testing.T, adjust ...func(*Config)) *tight {
	t.Helper()
	fs := waltest.New()
	fs.SetCapacity(tightBytes)
	d := &tight{}
	look := func() int64 {
		free := int64(tightBytes) - fs.Used()
		if d.large {
			free += 9 * tightBytes
		}
		d.low = free < tightFloor || d.low && free < tightFloor*5/4
		return free
	}
	h, err := openDraining(t, fs, 1, &catalogtest.Catalog{}, append([]func(*Config){func(cfg *Config) {
		cfg.WAL.FilesMax, cfg.WAL.SparesMax = 32, 8
		cfg.WAL.Room = func(bytes int64) error {
			if free := look(); d.low || bytes > 0 && free-bytes < tightFloor {
				return fmt.Errorf("%w: kept free", wal.ErrNoSpace)
			}
			return nil
		}
		cfg.WAL.ReliefRoom = func(bytes int64) error {
			if look()-bytes < tightFloor/4 {
				return fmt.Errorf("%w: kept for the metadata", wal.ErrNoSpace)
			}
			return nil
		}
		cfg.WAL.Space = func() (int64, bool) {
			free := look()
			return max(0, free-tightFloor/4), free < tightFloor*5/4
		}
	}}, adjust...)...)
	if err != nil {
		t.Fatal(err)
	}
	d.crammed = &crammed{hand: h}
	for i := range h.logs {
		h.logs[i].Assume(Role{Leading: i < handPartitions/2, Epoch: 1, AcceptAll: true, AcceptOne: true, Ready: true})
	}
	return d
}

// pump makes files where there is room, and durable and committed what is queued.
func (d *tight) pump() {
	d.t.Helper()
	for d.driver.Wanted() {
		if err := d.driver.Prepare(); errors.Is(err, wal.ErrNoSpace) && !errors.Is(err, wal.ErrFailed) {
			break
		} else if err != nil {
			d.t.Fatal(err)
		}
	}
	d.tolerate("turn", d.driver.Turn())
	for d.driver.Writing() {
		d.driver.Disk()
		d.tolerate("complete", d.driver.Complete())
	}
	for _, l := range d.logs {
		l.SetHighWatermark(l.State().DurableEnd)
	}
}

// load has producers write to logs that are led here until the disk is low, and leaders elsewhere to the
// others until nothing fits any more.
func (d *tight) load() {
	d.t.Helper()
	for i := 0; !d.low; i++ {
		if i == 1<<14 {
			d.t.Fatalf("the disk does not become low: %d bytes are used", d.fs.Used())
		}
		d.append(d.logs[i%len(d.logs)])
		d.pump()
		if i%16 == 0 {
			d.second()
		}
	}
	d.trace = nil
	for i := 0; len(d.trace) < 100; i++ { // refusals are noted
		d.append(d.logs[handPartitions/2+i%(handPartitions/2)])
		d.pump()
		if i == 1<<14 {
			d.t.Fatal("there is always room: the test proves nothing")
		}
	}
}

// recovers wants producers to go on within a minute.
func (d *tight) recovers() {
	d.t.Helper()
	for range 60 {
		d.second()
		if d.pump(); d.low {
			continue
		}
		if _, err := d.logs[0].Append(expired(), build(spec{}), AppendOptions{Acks: 1}); err != nil {
			d.t.Fatalf("append on a disk that has space again: got %v, want nil", err)
		}
		return
	}
	d.t.Fatalf("the disk is low after a minute: %d of %d bytes are used, %+v", d.fs.Used(), tightBytes, d.store.Stats().Drain)
}

// relief is what an operator does about a low disk, to the logs that are led here and to those that follow.
var relief = []struct {
	name string
	do   func(*tight, *Log) error
}{
	{"retention", func(d *tight, l *Log) error {
		to := l.State().HighWatermark * 3 / 4
		if !l.State().Role.Leading {
			return l.MoveStart(to)
		}
		_, _, err := l.DeleteRecords(expired(), to)
		return err
	}},
	{"deletion of topics", func(d *tight, l *Log) error {
		if l == d.logs[0] || l == d.logs[1] || l == d.logs[handPartitions-1] {
			return nil
		}
		return d.store.Remove(l.partition)
	}},
	{"cuts", func(d *tight, l *Log) error {
		if l == d.logs[0] {
			return nil
		}
		l.Assume(Role{Epoch: d.epoch})
		return l.Truncate(l.State().LogEnd / 4)
	}},
}

// A low disk whose files are full to the last byte that data may have recovers by what operators do, again and
// again, and without a start in between.
func TestLowDiskRecoversByWhatGivesSpaceBack(t *testing.T) {
	for _, by := range relief {
		t.Run(by.name, func(t *testing.T) {
			d := openTight(t)
			for range 2 {
				d.load()
				d.epoch++
				for _, l := range d.logs {
					if err := by.do(d, l); err != nil {
						t.Fatalf("%v: got %v, want nil", l.partition, err)
					}
					d.pump()
				}
				d.recovers()
				for i, l := range d.logs {
					d.logs[i] = d.store.Create(l.partition)
					d.logs[i].Assume(Role{Leading: i < handPartitions/2, Epoch: d.epoch, AcceptAll: true, AcceptOne: true, Ready: true})
				}
			}
			d.close()
		})
	}
}

// Before producers have to wait the spare files go, and no new ones are kept.
func TestSparesGoBeforeProducersWait(t *testing.T) {
	d := openTight(t)
	write := func() (spares int64) {
		for _, l := range d.logs[:handPartitions/2] {
			d.append(l)
		}
		d.pump()
		return d.store.Stats().Drain.SpareBytes
	}
	for d.store.walLog.End().File < 10 {
		write()
	}
	for _, l := range d.logs[:handPartitions/2] {
		_, _, err := l.DeleteRecords(expired(), l.State().HighWatermark)
		d.tolerate("delete records", err)
	}
	d.pump()
	for range 10 {
		d.second()
	}
	if held := write(); held < 4<<16 {
		t.Fatalf("%d bytes of spares are kept: the test proves nothing", held)
	}
	ballast, err := d.fs.Create("ballast", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ballast.Allocate(tightBytes - d.fs.Used() - tightFloor - 1); err != nil {
		t.Fatal(err)
	}
	if d.second(); d.low || d.store.Stats().Drain.SpareBytes > 0 {
		t.Fatalf("producers wait: %t, and %d bytes of spares are held", d.low, d.store.Stats().Drain.SpareBytes)
	}
	if err := ballast.Close(); err != nil {
		t.Fatal(err)
	}
	for i := 0; !d.low; i++ {
		if d.second(); write() > 0 || i == 1<<12 {
			t.Fatalf("%d bytes of spares are kept while space is scarce", d.store.Stats().Drain.SpareBytes)
		}
	}
	d.close()
}

// What is dead in packs of which most is needed comes back on a low disk, and stays where it lies on another.
func TestLowDiskRecoversByTheDeletionOfALittle(t *testing.T) {
	d := openTight(t)
	for _, l := range d.logs {
		l.Assume(Role{Leading: true, Epoch: 1, AcceptAll: true, AcceptOne: true, Ready: true})
	}
	for !d.low {
		for _, l := range d.logs {
			_, err := l.Append(expired(), build(spec{value: make([]byte, 1400)}), AppendOptions{Acks: 1})
			d.tolerate("append", err)
		}
		d.pump()
		for d.second(); d.low && d.store.Stats().Drain.WaitingBytes > 0; {
			d.second()
		}
	}
	before := d.store.Stats().Drain.Repacked
	remove := func(i int) {
		if err := d.store.Remove(d.logs[i].partition); err != nil {
			t.Fatal(err)
		}
		d.pump()
		d.logs[i] = d.store.Create(d.logs[i].partition)
	}
	for i := range 4 {
		remove(2 + i)
	}
	d.recovers()
	if got := d.store.Stats().Drain.Repacked; got == before {
		t.Fatalf("the disk recovers without a pack being written anew: the test proves nothing, %+v", d.store.Stats().Drain)
	}
	d.fs.SetCapacity(0)
	d.large = true
	for range 5 {
		d.second()
	}
	before = d.store.Stats().Drain.Repacked
	remove(handPartitions - 2)
	for range 5 {
		d.second()
	}
	if got := d.store.Stats().Drain.Repacked; got != before {
		t.Errorf("%d packs were written anew for little, where nobody wants for space", got-before)
	}
	d.close()
}
