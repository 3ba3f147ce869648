package partition

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// Verification is a look at the logs of a node that is stopped. Nothing is changed.
type Verification struct {
	// FS and Dir are those of the WAL; FS is wal.ReadOnly() unless set.
	FS  wal.FS
	Dir string
	// Catalog is only read. Without one nothing was drained.
	Catalog Catalog
	// Read is told how many bytes of the WAL and the packs were looked at, of the size that Sized tells.
	Read  func(bytes int64)
	Sized func(bytes int64)
}

// Place says what kind of place a finding is about, and with that what helps.
type Place string

// The places.
const (
	// InChain: the write-ahead log proper, all of which is set aside from there on.
	InChain Place = "wal"
	// InPack: batches that are repaired one by one.
	InPack Place = "pack"
	// InCatalog: where things lie is not known any more.
	InCatalog Place = "catalog"
	// InLog: every checksum holds, and what was written contradicts itself.
	InLog Place = "log"
)

// Finding is a place that is damaged.
type Finding struct {
	Place Place
	// File is the base name, Byte the position in it.
	File   string
	Byte   int64
	Reason string
	// Lost are the offsets that lie there, as far as that is known: none if nobody needs what lies there.
	Lost []Span
}

// Span is a range of a partition's offsets, from From and below To.
type Span struct {
	Partition topic.Partition
	From, To  topic.Offset
}

// Findings is what a Verification has found.
type Findings struct {
	Damage []Finding
	// Unneeded are files that nothing names; nothing is lost with them.
	Unneeded []string
	// What was looked at.
	Partitions, Files, Packs int
	Batches                  int64
	Groups                   uint64
}

// Verify checks everything that the broker would read at its start, and every pack: checksums, the order
// of each log, and that what the catalog names exists and is what it says. It restores and replays the
// logs with the code of Open. An error means that it could not look.
func Verify(c Verification) (_ Findings, err error) {
	cfg := Config{Catalog: c.Catalog, Now: func() time.Duration { return 0 }}.withDefaults()
	v := &verifier{store: newStore(cfg), torn: map[topic.Partition]bool{}, seen: map[wal.Position]bool{}}
	check := wal.Check{FS: c.FS, Dir: c.Dir, Replay: v.replay, Behind: v.behind,
		Packed: v.packed, Resume: v.resume, Read: c.Read}
	if c.Catalog != nil {
		check.Start, check.Packs, err = v.store.restore()
		defer func() { err = errors.Join(err, v.store.bodies.close()) }()
		if err == nil {
			err = v.heads()
		}
	}
	switch {
	case errors.Is(err, errCatalog): // Without it nobody can say what should lie in the files.
		v.found(Finding{Place: InCatalog, Reason: err.Error()})
		return v.findings, nil //nolint:nilerr // it was found, that is the answer
	case err != nil:
		return v.findings, err
	}
	if c.Sized != nil {
		bytes, err := wal.CheckBytes(check)
		if err != nil {
			return v.findings, err
		}
		c.Sized(bytes)
	}
	checked, err := wal.Verify(check)
	if err != nil {
		return v.findings, err
	}
	v.findings.Unneeded, v.findings.Files = checked.Unneeded, checked.Files
	v.findings.Packs, v.findings.Groups = checked.Packs, checked.Groups
	v.findings.Partitions = len(v.store.mu.logs)
	v.attribute(checked.Damage)
	v.dangling()
	if !checked.Broken {
		for _, l := range v.store.snapshot() {
			v.audit(l)
		}
	}
	return v.findings, nil
}

// heads compares what the catalog tells of many batches together with the batches.
func (v *verifier) heads() error {
	if err := v.store.readIndexes(context.Background()); err != nil {
		return err
	}
	for _, l := range v.store.snapshot() {
		if x := &l.mu.index; !slices.Equal(x.packed(0, x.len()), x.packs) {
			return fmt.Errorf("%w: heads of %v tell of other packs than its batches lie in", errCatalog, l.partition)
		}
	}
	return nil
}

// verifier is one call of Verify.
type verifier struct {
	store    *Store
	findings Findings
	// torn are the logs whose records contradict each other: what comes after that is no news.
	torn map[topic.Partition]bool
	// behindLost are offsets that are missing behind the place where the chain breaks, each at the place
	// of the record that shows it; ends is how far the logs go, with what is missing.
	behindLost []lostAt
	ends       map[topic.Partition]topic.Offset
	// needed are the batches that lie in packs, in their order, once somebody has asked; seen are those
	// that were met.
	needed []neededAt
	seen   map[wal.Position]bool
}

type lostAt struct {
	at   wal.Position
	span Span
}

type neededAt struct {
	partition topic.Partition
	extent
}

func (n neededAt) span() Span { return Span{Partition: n.partition, From: n.base, To: n.end()} }

func (v *verifier) found(f Finding) { v.findings.Damage = append(v.findings.Damage, f) }

// inLog notes that the record r is not what should be there.
func (v *verifier) inLog(place Place, r wal.Placed, err error) {
	v.found(Finding{Place: place, File: r.At.FileName(), Byte: r.At.Offset, Reason: err.Error(),
		Lost: []Span{{Partition: r.Partition, From: r.Base, To: recordEnd(&r)}}})
}

// replay takes in a record of the chain, as a start does.
func (v *verifier) replay(r wal.Placed) error {
	if r.Kind == wal.Remove || r.Kind == wal.Reset {
		delete(v.torn, r.Partition)
	}
	if v.torn[r.Partition] {
		return nil
	}
	err := v.batch(r)
	if err == nil {
		err = v.store.replay(r)
	}
	if err != nil {
		v.torn[r.Partition] = true
		v.inLog(InLog, r, err)
	}
	return nil
}

// batch verifies the batch in a record by its own checksum.
func (v *verifier) batch(r wal.Placed) error {
	if r.Kind != wal.Data {
		return nil
	}
	v.findings.Batches++
	h, err := batch.ParseHeader(r.Payload)
	switch {
	case err != nil:
		return err
	case h.Size() != len(r.Payload):
		return fmt.Errorf("batch says that it has %d bytes, and there are %d", h.Size(), len(r.Payload))
	case batch.Checksum(r.Payload) != h.CRC:
		return errors.New("batch does not match its own checksum")
	case h.BaseOffset != int64(r.Base):
		return fmt.Errorf("batch begins at offset %d, its record at %d", h.BaseOffset, r.Base)
	}
	return nil
}

// behind takes in a record where the chain is broken or behind that: what a log lacks between its end and
// the record is missing.
func (v *verifier) behind(r wal.Placed) {
	if v.ends == nil {
		v.ends = map[topic.Partition]topic.Offset{}
		for _, l := range v.store.snapshot() {
			v.ends[l.partition] = l.mu.end
		}
	}
	end, known := v.ends[r.Partition]
	switch {
	case !known:
		v.ends[r.Partition] = recordEnd(&r) // A log that begins here, or one of another life of the file.
		if r.Kind == wal.Data && r.Base == 0 && r.Payload == nil {
			v.lost(r, Span{Partition: r.Partition, To: recordEnd(&r)})
		}
		return
	case r.Kind == wal.Remove:
		delete(v.ends, r.Partition)
		return
	case r.Kind != wal.Data && r.Kind != wal.HighWatermark:
		v.ends[r.Partition] = r.Base
		return
	case r.Kind != wal.Data:
		return
	}
	switch {
	case r.Payload == nil && r.Base == end:
		v.lost(r, Span{Partition: r.Partition, From: end, To: recordEnd(&r)})
	case r.Payload != nil && r.Base > end:
		v.lost(r, Span{Partition: r.Partition, From: end, To: r.Base})
	case r.Payload == nil:
		return // What it says of itself is wrong.
	}
	v.ends[r.Partition] = max(end, recordEnd(&r))
}

func (v *verifier) lost(r wal.Placed, s Span) {
	v.behindLost = append(v.behindLost, lostAt{at: r.At, span: s})
}

// prepare lists what is needed of the packs, now that the chain has been replayed on top of them.
func (v *verifier) prepare() {
	if v.needed != nil {
		return
	}
	v.needed = []neededAt{}
	for _, l := range v.store.snapshot() {
		for i := range l.mu.index.len() {
			if e := l.mu.index.at(i); e.at.File&wal.PackBit != 0 && e.at != nowhere {
				v.needed = append(v.needed, neededAt{l.partition, e})
			}
		}
	}
	slices.SortFunc(v.needed, func(a, b neededAt) int { return a.at.Compare(b.at) })
}

// place is the first needed batch at or behind a place.
func (v *verifier) place(at wal.Position) int {
	v.prepare()
	i, _ := slices.BinarySearchFunc(v.needed, at, func(n neededAt, at wal.Position) int { return n.at.Compare(at) })
	return i
}

// packed compares a record of a pack with what the catalog says lies there.
func (v *verifier) packed(r wal.Placed) {
	i := v.place(r.At)
	if err := v.batch(r); err != nil {
		v.inLog(InPack, r, err)
	}
	if i == len(v.needed) || v.needed[i].at != r.At {
		return
	}
	v.seen[r.At] = true
	n := v.needed[i]
	if r.Kind != wal.Data || r.Partition != n.partition || r.Base != n.base || r.Count != n.count ||
		r.Epoch != n.epoch || len(r.Payload) != int(n.bytes) {
		v.found(Finding{Place: InPack, File: r.At.FileName(), Byte: r.At.Offset, Lost: []Span{n.span()},
			Reason: fmt.Sprintf("%s of %v at %d lies where the catalog names the batch of %v at %d",
				r.Kind, r.Partition, r.Base, n.partition, n.base)})
	}
}

// resume is where a pack can be read on.
func (v *verifier) resume(at wal.Position) (wal.Position, bool) {
	at.Offset++
	i := v.place(at)
	if i == len(v.needed) {
		return wal.Position{}, false
	}
	return v.needed[i].at, true
}

// attribute says of each damaged place what is lost there: in a pack the batches that were not met from
// there on up to the next such place, in the chain what is missing before what lies behind it.
func (v *verifier) attribute(all []wal.Damage) {
	for i, d := range all {
		f := Finding{Place: InChain, File: d.At.FileName(), Byte: d.At.Offset, Reason: d.Reason}
		until := wal.Position{File: d.At.File + 1}
		if d.At.File == 0 {
			f.File = ""
		}
		if d.At.File&wal.PackBit != 0 {
			f.Place = InPack
		} else {
			until = wal.Position{File: wal.PackBit - 1}
		}
		if i+1 < len(all) && (all[i+1].At.File&wal.PackBit == d.At.File&wal.PackBit) && all[i+1].At.Compare(until) < 0 {
			until = all[i+1].At
		}
		if f.Place == InPack {
			f.Lost = v.missing(d.At, until)
		}
		for _, l := range v.behindLost {
			if f.Place == InChain && l.at.Compare(d.At) >= 0 && l.at.Compare(until) < 0 {
				f.Lost = append(f.Lost, l.span)
			}
		}
		f.Lost = joined(f.Lost)
		v.found(f)
	}
}

// missing lists the needed batches that were not met from a place on.
func (v *verifier) missing(from, until wal.Position) (lost []Span) {
	for i := v.place(from); i < len(v.needed) && v.needed[i].at.Compare(until) < 0; i++ {
		if n := v.needed[i]; !v.seen[n.at] {
			v.seen[n.at] = true // It is told once.
			lost = append(lost, n.span())
		}
	}
	return lost
}

// joined sorts spans and joins those that touch.
func joined(spans []Span) []Span {
	slices.SortFunc(spans, func(a, b Span) int {
		return cmp.Or(comparePartitions(a.Partition, b.Partition), cmp.Compare(a.From, b.From))
	})
	var out []Span
	for _, s := range spans {
		if n := len(out) - 1; n >= 0 && out[n].Partition == s.Partition && s.From <= out[n].To {
			out[n].To = max(out[n].To, s.To)
			continue
		}
		out = append(out, s)
	}
	return out
}

// dangling finds the batches that the catalog names and that no pack holds there.
func (v *verifier) dangling() {
	v.prepare()
	for _, n := range v.needed {
		if !v.seen[n.at] {
			v.found(Finding{Place: InCatalog, File: n.at.FileName(), Byte: n.at.Offset, Lost: []Span{n.span()},
				Reason: "the catalog names a batch where no record begins"})
		}
	}
}

// audit checks that a log is in order by itself.
func (v *verifier) audit(l *Log) {
	if v.torn[l.partition] {
		return
	}
	m := &l.mu
	reason := ""
	expect := m.end
	if m.index.len() > 0 {
		expect = m.index.at(0).base
	}
	switch {
	case m.start < 0 || m.start > m.highWatermark || m.highWatermark > m.end:
		reason = fmt.Sprintf("log start %d, high watermark %d and log end %d are out of order", m.start, m.highWatermark, m.end)
	case expect > m.start:
		reason = fmt.Sprintf("log starts at %d, its first batch at %d", m.start, expect)
	}
	last, span := nowhere, Span{Partition: l.partition, From: m.start, To: max(expect, m.start)}
	for i := 0; i < m.index.len() && reason == ""; i++ {
		e := m.index.at(i)
		there := lies(e.at, v.store.drainer.packs)
		span = Span{Partition: l.partition, From: min(expect, e.base), To: max(expect, e.base, e.end())}
		switch {
		case e.base != expect:
			reason = fmt.Sprintf("a batch begins at %d, the one before it ends at %d", e.base, expect)
		case e.at == nowhere || e.at == wal.Position{}:
			reason = fmt.Sprintf("the batch at %d lies nowhere", e.base)
		case i > 0 && e.epoch < m.index.at(i-1).epoch:
			reason = fmt.Sprintf("the batch at %d is of epoch %d, the one before it of %d", e.base, e.epoch, m.index.at(i-1).epoch)
		case there && e.at.Compare(last) <= 0: // One that is in no pack was told.
			reason = fmt.Sprintf("the batch at %d lies at %s, the one before it behind that", e.base, e.at)
		case m.epochs.of(e.base) != e.epoch:
			reason = fmt.Sprintf("the batch at %d is of epoch %d, the log has %d there", e.base, e.epoch, m.epochs.of(e.base))
		}
		if expect = e.end(); there {
			last = e.at
		}
	}
	if reason == "" && expect != m.end {
		span = Span{Partition: l.partition, From: min(expect, m.end), To: max(expect, m.end)}
		reason = fmt.Sprintf("the last batch ends at %d, the log at %d", expect, m.end)
	}
	if reason != "" {
		v.found(Finding{Place: InLog, Reason: reason, Lost: []Span{span}})
	}
}
