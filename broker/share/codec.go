package share

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kbin"
)

// Record is one record of `__share_group_state`. A nil Value takes the key away.
type Record struct{ Key, Value []byte }

// The schemas are Kafka's: ShareSnapshot*.json and ShareUpdate*.json of its share coordinator.
const (
	snapshotKey int16 = 0
	updateKey   int16 = 1
	valueOnly   int16 = 0
	completeTag       = 0
	// fixedBytes is more than a record takes beside the group's name and the batches, batchBytes what a
	// batch takes at most.
	fixedBytes = 160
	batchBytes = 8 + 8 + 1 + 2 + 1
)

func keyOf(kind int16, k Key) []byte {
	b := kbin.AppendString(kbin.AppendInt16(nil, kind), k.Group)
	return kbin.AppendInt32(kbin.AppendUuid(b, k.Topic), k.Partition)
}

// record is the state as a snapshot.
func (k *Keeper) record(wall int64) Record {
	v := kbin.AppendInt32(kbin.AppendInt16(nil, valueOnly), k.snapshot)
	v = kbin.AppendInt32(kbin.AppendInt32(v, k.StateEpoch), k.LeaderEpoch)
	v = kbin.AppendInt64(kbin.AppendInt64(kbin.AppendInt64(v, k.Start), k.created), wall)
	return Record{keyOf(snapshotKey, k.key), appendTail(v, &k.State)}
}

// updateRecord keeps a change of the last snapshot.
func (k *Keeper) updateRecord(change *State) Record {
	v := kbin.AppendInt32(kbin.AppendInt16(nil, valueOnly), k.snapshot)
	v = kbin.AppendInt64(kbin.AppendInt32(v, change.LeaderEpoch), change.Start)
	return Record{keyOf(updateKey, k.key), appendTail(v, change)}
}

// appendTail appends the batches and the tags, with which both kinds of values end.
func appendTail(v []byte, s *State) []byte {
	v = kbin.AppendCompactArrayLen(v, len(s.Batches))
	for _, b := range s.Batches {
		v = kbin.AppendInt64(kbin.AppendInt64(v, b.First), b.Last)
		v = append(kbin.AppendInt16(kbin.AppendInt8(v, int8(b.State)), b.Count), 0)
	}
	if s.Complete < 0 {
		return append(v, 0)
	}
	const tags, bytes = 1, 4
	return kbin.AppendInt32(append(v, tags, completeTag, bytes), s.Complete)
}

// decoded is a record as it was read.
type decoded struct {
	kind     int16
	key      Key
	gone     bool
	snapshot int32
	created  int64
	State
}

// decode reads a record; known is false for kinds that come with a later version.
func decode(r Record) (d decoded, known bool, err error) {
	key := kbin.Reader{Src: r.Key}
	if d.kind = key.Int16(); d.kind != snapshotKey && d.kind != updateKey && key.Ok() {
		return d, false, nil
	}
	d.key.Group, d.key.Topic, d.key.Partition = key.String(), key.Uuid(), key.Int32()
	if err := key.Complete(); err != nil || len(key.Src) > 0 {
		return d, false, fmt.Errorf("%w: key of %d bytes", ErrMalformed, len(r.Key))
	}
	if d.gone = r.Value == nil; d.gone {
		return d, true, nil
	}
	b := &kbin.Reader{Src: r.Value}
	if version := b.Int16(); version != valueOnly {
		return d, false, fmt.Errorf("%w: %v: value of version %d in %d bytes", ErrMalformed, d.key, version, len(r.Value))
	}
	d.snapshot = b.Int32()
	if d.kind == snapshotKey {
		d.StateEpoch = b.Int32()
	}
	d.LeaderEpoch, d.Start = b.Int32(), b.Int64()
	if d.kind == snapshotKey {
		d.created = b.Int64()
		b.Int64() // when it was written
	}
	if err := d.readTail(b); err != nil {
		return d, false, fmt.Errorf("%w: %v", err, d.key)
	}
	return d, true, nil
}

func (d *decoded) readTail(b *kbin.Reader) error {
	count := int(b.CompactArrayLen())
	if count > len(b.Src)/batchBytes {
		return fmt.Errorf("%w: %d batches in %d bytes", ErrMalformed, count, len(b.Src))
	}
	for range max(count, 0) {
		batch := Batch{First: b.Int64(), Last: b.Int64(), State: DeliveryState(b.Int8()), Count: b.Int16()}
		readTags(b)
		if batch.First < 0 || batch.Last < batch.First || batch.Last == never ||
			batch.State != Available && batch.State != Archiving && !batch.State.done() {
			return fmt.Errorf("%w: %d to %d in state %d", ErrMalformed, batch.First, batch.Last, batch.State)
		}
		d.Batches = append(d.Batches, batch)
	}
	d.Complete = -1
	if tag := readTags(b); len(tag) == 4 {
		d.Complete = int32(binary.BigEndian.Uint32(tag))
	}
	if err := b.Complete(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// readTags reads the optional fields at the end of a structure, and returns the bytes of the one that we
// know.
func readTags(b *kbin.Reader) (complete []byte) {
	for n := b.Uvarint(); n > 0 && b.Ok(); n-- {
		tag, size := b.Uvarint(), b.Uvarint()
		if int64(size) > int64(len(b.Src)) {
			b.Span(len(b.Src) + 1) // marks the reader
			return nil
		}
		if field := b.Span(int(size)); tag == completeTag {
			complete = field
		}
	}
	return complete
}

// Replay gathers what the records of one partition say, in their order.
type Replay struct{ keepers map[Key]*Keeper }

// NewReplay returns the replay of a partition that holds nothing yet.
func NewReplay() *Replay { return &Replay{keepers: map[Key]*Keeper{}} }

// Apply takes one record. It keeps no slice of it. An error wraps ErrMalformed.
func (r *Replay) Apply(record Record) error {
	d, known, err := decode(record)
	if err != nil || !known {
		return err
	}
	k := r.keepers[d.key]
	switch {
	case d.kind == snapshotKey && d.gone:
		delete(r.keepers, d.key)
	case d.kind == snapshotKey:
		d.Batches = overlay(nil, d.Start, d.Batches)
		r.keepers[d.key] = &Keeper{key: d.key, kept: true, State: d.State, snapshot: d.snapshot, created: d.created}
	case !d.gone && k != nil && k.snapshot == d.snapshot:
		k.updates++
		k.apply(&d.State)
	}
	return nil
}

// Keepers makes the keepers of the states that there are.
func (r *Replay) Keepers(cfg *KeeperConfig) map[Key]*Keeper {
	for _, k := range r.keepers {
		k.cfg = cfg
		k.Batches = slices.Clip(k.Batches)
	}
	return r.keepers
}
