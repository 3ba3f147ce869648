package group

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kbin"

	"outrigger/broker/group/assign"
)

// Keys of the records of share groups. The schemas are Kafka's (ShareGroup*Key.json and
// ShareGroup*Value.json of its group coordinator).
const (
	shareMemberKey       = 10
	shareGroupKey        = 11
	shareTargetKey       = 12
	shareTargetMemberKey = 13
	sharePlaceKey        = 14
	shareStatesKey       = 15
)

func shareEpochRecord(group string, epoch int32, hash int64) Record {
	v := kbin.AppendInt64(kbin.AppendInt32(value(), epoch), hash)
	return Record{consumerKey(shareGroupKey, group), noTags(v)}
}

func shareTargetEpochRecord(group string, epoch int32, wall int64) Record {
	v := kbin.AppendInt32(value(), epoch)
	return Record{consumerKey(shareTargetKey, group), oneTag(v, kbin.AppendInt64(nil, wall))}
}

func shareMemberRecord(group string, one *shareMember) Record {
	v := kbin.AppendCompactNullableString(value(), one.rack)
	v = kbin.AppendCompactString(kbin.AppendCompactString(v, one.clientID), one.host)
	v = kbin.AppendCompactArrayLen(v, len(one.names))
	for _, name := range one.names {
		v = kbin.AppendCompactString(v, name)
	}
	return Record{consumerKey(shareMemberKey, group, one.id), noTags(v)}
}

func shareTargetRecord(group string, one *shareMember) Record {
	return Record{consumerKey(shareTargetMemberKey, group, one.id), noTags(appendRuns(value(), one.target))}
}

func appendRuns(dst []byte, slots assign.Slots) []byte {
	runs := byTopic(slots)
	dst = kbin.AppendCompactArrayLen(dst, len(runs))
	for _, run := range runs {
		dst = noTags(appendRun(dst, run))
	}
	return dst
}

// sharePlaceRecord keeps a member's epoch and what it was assigned in it. Kafka knows one state of members.
func sharePlaceRecord(group string, one *shareMember) Record {
	v := kbin.AppendInt32(kbin.AppendInt32(value(), one.epoch), one.previous)
	v = kbin.AppendInt8(v, int8(settled))
	return Record{consumerKey(sharePlaceKey, group, one.id), noTags(appendRuns(v, one.assigned))}
}

// shareStatesRecord keeps which partitions have a state. Of topics that are being forgotten Kafka keeps the
// names alone; ours come as initializing ones, which it takes up again, too.
func shareStatesRecord(group string, g *shares) Record {
	v := appendNamed(value(), g.names, g.forgetting)
	v = appendNamed(v, g.names, g.initialized)
	return Record{consumerKey(shareStatesKey, group), noTags(kbin.AppendCompactArrayLen(v, 0))}
}

func appendNamed(dst []byte, names map[assign.TopicID]string, slots assign.Slots) []byte {
	runs := byTopic(slots)
	dst = kbin.AppendCompactArrayLen(dst, len(runs))
	for _, run := range runs {
		dst = kbin.AppendCompactString(kbin.AppendUuid(dst, run[0].Topic), names[run[0].Topic])
		dst = kbin.AppendCompactArrayLen(dst, len(run))
		for _, slot := range run {
			dst = kbin.AppendInt32(dst, slot.Partition)
		}
		dst = noTags(dst)
	}
	return dst
}

// shareDebris are the deletions of all that is kept of a member.
func shareDebris(group, member string) []Record {
	return []Record{
		{Key: consumerKey(sharePlaceKey, group, member)},
		{Key: consumerKey(shareTargetMemberKey, group, member)},
		{Key: consumerKey(shareMemberKey, group, member)},
	}
}

// shareDecoded is a record of a share group as it was read.
type shareDecoded struct {
	kind        int16
	group, part string
	gone        bool
	epoch       int32
	hash        int64
	previous    int32
	slots       assign.Slots
	member      *shareMember
	states      *shares
}

func decodeShare(r Record) (*shareDecoded, error) {
	key := kbin.Reader{Src: r.Key}
	d := &shareDecoded{kind: key.Int16(), group: key.String(), gone: r.Value == nil}
	switch d.kind {
	case shareMemberKey, shareTargetMemberKey, sharePlaceKey:
		d.part = key.String()
	}
	if err := key.Complete(); err != nil || len(key.Src) > 0 {
		return nil, fmt.Errorf("%w: key of kind %d", ErrMalformed, d.kind)
	}
	if d.gone {
		return d, nil
	}
	b := &kbin.Reader{Src: r.Value}
	if version := b.Int16(); version != consumerValue {
		return nil, fmt.Errorf("%w: record of group %s of kind %d and version %d", ErrMalformed, d.group, d.kind, version)
	}
	d.read(b)
	readTags(b)
	if err := b.Complete(); err != nil {
		return nil, fmt.Errorf("%w: record of group %s of kind %d: %w", ErrMalformed, d.group, d.kind, err)
	}
	return d, nil
}

func (d *shareDecoded) read(b *kbin.Reader) {
	switch d.kind {
	case shareGroupKey:
		d.epoch, d.hash = b.Int32(), b.Int64()
	case shareTargetKey:
		d.epoch = b.Int32()
	case shareTargetMemberKey:
		d.slots = readHoldings(b, false).slots
	case sharePlaceKey:
		d.epoch, d.previous = b.Int32(), b.Int32()
		b.Int8()
		d.slots = readHoldings(b, false).slots
	case shareMemberKey:
		d.member = &shareMember{
			id: d.part, rack: b.CompactNullableString(), clientID: b.CompactString(), host: b.CompactString(),
			names: readStrings(b),
		}
	case shareStatesKey:
		d.states = newShares()
		d.states.forgetting, d.states.initialized = d.states.readNamed(b), d.states.readNamed(b)
		for range count(b) { // topics without partitions: nothing of theirs is known here
			_, _ = b.Uuid(), b.CompactString()
			readTags(b)
		}
	}
}

func (g *shares) readNamed(b *kbin.Reader) assign.Slots {
	var slots []assign.Slot
	for range count(b) {
		id, name := b.Uuid(), b.CompactString()
		g.names[id] = name
		for range count(b) {
			slots = append(slots, assign.Slot{Topic: id, Partition: b.Int32()})
		}
		readTags(b)
	}
	return assign.SlotsOf(slots)
}
