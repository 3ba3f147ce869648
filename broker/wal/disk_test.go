package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// On the real file system: write over several files, stop, open again, read by every way.
func TestRealDisk(t *testing.T) {
	for _, mode := range []wal.DirectMode{wal.DirectAuto, wal.DirectOff} {
		cfg := wal.Config{Dir: t.TempDir(), FileBytes: 1 << 20, GroupBytesMax: 256 << 10, Direct: mode}
		cfg.Session = nextSession()
		n := start(t, cfg)
		t.Logf("direct I/O: %v", n.Direct())
		var want []wal.Record
		for i := range uint64(30) {
			want = append(want, data(i, int(i*7919%200_000)))
		}
		n.put(wal.Leader, want...)
		n.sink.awaitDurable(t, len(want))
		durable := n.sink.durables()
		checkReads(t, n.Log, durable, want)

		_, err := wal.Open(cfg)
		var locked *wal.LockedError
		if !errors.As(err, &locked) || locked.PID != os.Getpid() {
			t.Fatalf("second open: %v", err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		cfg.Session = nextSession()
		n = start(t, cfg)
		same(t, "recovered", n.found, want)
		checkReads(t, n.Log, durable, want)
		n.putDurable(data(100, 10))
		damage, err := wal.Dump(wal.OS(), cfg.Dir, func(wal.DumpRecord) {})
		if err != nil || len(damage) > 0 {
			t.Fatalf("dump: %v, %v", damage, err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that was cut anywhere, also inside of a block, is named.
func TestCutFileOnRealDiskIsDamage(t *testing.T) {
	cfg := wal.Config{Dir: t.TempDir(), FileBytes: 64 << 10, GroupBytesMax: 16 << 10}
	cfg.Session = nextSession()
	n := start(t, cfg)
	n.putDurable(series(1, 5, 1000)...)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{30_001, 4096, 777, 0} {
		if err := os.Truncate(wal.FileName(cfg.Dir, 1), size); err != nil {
			t.Fatal(err)
		}
		cfg.Session = nextSession()
		_, err := wal.Open(cfg)
		var damage *wal.Damage
		if !errors.As(err, &damage) || damage.At.File != 1 || damage.At.Offset > size {
			t.Fatalf("cut to %d bytes: %v", size, err)
		}
	}
}

const (
	benchFile  = 64 << 20
	benchGroup = 1 << 20
	// benchRecord is the encoded length of the records: what fills a group has to be asked for in
	// several pieces, as from several clients.
	benchRecord = 64 << 10
)

// BenchmarkAppend keeps the queue full of 64 KiB records, so that groups are as large as allowed. An
// operation is 1 MiB.
func BenchmarkAppend(b *testing.B) {
	a := newAppender(b, benchFile)
	b.SetBytes(benchGroup)
	b.ReportAllocs()
	b.ResetTimer()
	a.append(b.N * benchGroup / benchRecord)
	b.ReportMetric(float64(a.sink.groups.Load())/float64(b.N), "groups/op")
}

// BenchmarkPlain is what BenchmarkAppend is measured against: a loop of direct pwrite and fdatasync of
// the same size, into files that were allocated only, or written before.
func BenchmarkPlain(b *testing.B) {
	for name, written := range map[string]bool{"allocated": false, "written": true} {
		b.Run(name, func(b *testing.B) {
			p := newPlain(b, int64(b.N)*benchGroup, written)
			b.SetBytes(benchGroup)
			b.ResetTimer()
			p.write(b.N)
		})
	}
}

// BenchmarkShareOfPlain alternates the two, into files that were written before, so that whatever
// else the machine does hits both, and reports the medians' ratio in percent. An operation is 32 MiB.
func BenchmarkShareOfPlain(b *testing.B) {
	const groups = 32
	a := newAppender(b, 1<<30)
	p := newPlain(b, 512<<20, true)
	var plain, log []time.Duration
	for b.Loop() {
		begin := time.Now()
		p.write(groups)
		middle := time.Now()
		a.append(groups * benchGroup / benchRecord)
		plain = append(plain, middle.Sub(begin))
		log = append(log, time.Since(middle))
	}
	slices.Sort(plain)
	slices.Sort(log)
	share := float64(plain[len(plain)/2]) / float64(log[len(log)/2])
	b.ReportMetric(100*share, "%")
}

// appender drives a log.
type appender struct {
	b    *testing.B
	node *node
	sink *counter
	sent int64
}

// counter is a Sink that counts and lets one wait for a count.
type counter struct {
	groups, records atomic.Int64
	target          atomic.Int64
	reached         chan struct{}
}

func (c *counter) Sealed(*wal.Group) { c.groups.Add(1) }

func (c *counter) Durable(g *wal.Group) {
	if c.records.Add(int64(len(g.Records))) == c.target.Load() {
		c.reached <- struct{}{}
	}
}

func newAppender(b *testing.B, fileBytes int64) *appender {
	a := &appender{b: b, sink: &counter{reached: make(chan struct{}, 1)}}
	a.node = start(b, wal.Config{Dir: b.TempDir(), FileBytes: fileBytes,
		GroupBytesMax: benchGroup + wal.BlockBytes, RecordBytesMax: 1 << 20,
		Session: nextSession(), Sink: a.sink})
	if !a.node.Direct() {
		b.Skip("no direct I/O here")
	}
	for a.node.Ready() < 3 {
		// The files ahead are filled first, so that the rounds do not pay for them.
		<-time.After(time.Millisecond)
	}
	return a
}

// append appends records and waits until all are durable.
func (a *appender) append(records int) {
	r := wal.Record{Kind: wal.Data, Partition: topic.Partition{Topic: topic.ID{1}},
		Payload: make([]byte, benchRecord-wal.RecordHeaderBytes)}
	a.sink.target.Store(a.sent + int64(records))
	for range records {
		if err := a.node.Reserve(a.b.Context(), wal.Leader, benchRecord); err != nil {
			a.b.Fatal(err)
		}
		r.Base = topic.Offset(a.sent)
		a.node.Append(wal.Leader, r)
		a.sent++
	}
	<-a.sink.reached
}

// plain is the loop that the log is measured against.
type plain struct {
	b      *testing.B
	file   wal.File
	size   int64
	at     int64
	buffer []byte
}

func newPlain(b *testing.B, size int64, written bool) *plain {
	raw := make([]byte, benchGroup+wal.BlockBytes)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))) & (wal.BlockBytes - 1)
	p := &plain{b: b, size: size, buffer: raw[skip:][:benchGroup]}
	var err error
	if p.file, err = wal.OS().Create(filepath.Join(b.TempDir(), "plain"), true); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.file.Close() })
	if !p.file.Direct() {
		b.Skip("no direct I/O here")
	}
	if _, err := p.file.Allocate(size); err != nil {
		b.Fatal(err)
	}
	for at := int64(0); written && at < size; at += benchGroup {
		if _, err := p.file.WriteAt(p.buffer, at); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.file.Sync(); err != nil {
		b.Fatal(err)
	}
	return p
}

func (p *plain) write(groups int) {
	for range groups {
		if _, err := p.file.WriteAt(p.buffer, p.at); err != nil {
			p.b.Fatal(err)
		}
		if err := p.file.Sync(); err != nil {
			p.b.Fatal(err)
		}
		p.at = (p.at + benchGroup) % p.size
	}
}
