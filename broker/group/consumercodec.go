package group

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kbin"

	"outrigger/broker/group/assign"
)

// Keys of the records of consumer groups. The schemas are Kafka's (ConsumerGroup*Key.json and
// ConsumerGroup*Value.json of its group coordinator).
const (
	consumerGroupKey    = 3
	consumerTopicsKey   = 4 // Kafka 4.0's list of subscribed topics, which the group's hash has replaced
	consumerMemberKey   = 5
	targetGroupKey      = 6
	targetMemberKey     = 7
	consumerPlaceKey    = 8
	consumerRegexKey    = 16
	consumerValue       = 0 // the one version of all values
	firstTag            = 0
	epochBytes          = 4
	stampBytes          = 8
	consumerEntityBytes = 2 // the shortest element of any array
)

// consumerKey is the key of a record of a group, or, with a second part, of one of its members or
// patterns. All are made of old strings, with the length in 16 bits.
func consumerKey(kind int16, group string, part ...string) []byte {
	key := kbin.AppendString(kbin.AppendInt16(nil, kind), group)
	for _, p := range part {
		key = kbin.AppendString(key, p)
	}
	return key
}

func value() []byte { return kbin.AppendInt16(nil, consumerValue) }

// noTags ends a structure without optional fields.
func noTags(dst []byte) []byte { return append(dst, 0) }

// oneTag ends a structure that has one optional field.
func oneTag(dst, field []byte) []byte {
	dst = append(dst, 1, firstTag)
	return append(kbin.AppendUvarint(dst, uint32(len(field))), field...)
}

// epochRecord keeps the group's epoch and the hash of its topics.
func epochRecord(group string, epoch int32, hash int64) Record {
	v := kbin.AppendInt32(value(), epoch)
	return Record{consumerKey(consumerGroupKey, group), oneTag(v, kbin.AppendInt64(nil, hash))}
}

// targetEpochRecord keeps the epoch that the members' targets belong to.
func targetEpochRecord(group string, epoch int32) Record {
	return Record{consumerKey(targetGroupKey, group), noTags(kbin.AppendInt32(value(), epoch))}
}

// targetRecord keeps what a member is to have.
func targetRecord(group, member string, target assign.Slots) Record {
	v := value()
	runs := byTopic(target)
	v = kbin.AppendCompactArrayLen(v, len(runs))
	for _, run := range runs {
		v = noTags(appendRun(v, run))
	}
	return Record{consumerKey(targetMemberKey, group, member), noTags(v)}
}

// byTopic splits a set into one for each topic.
func byTopic(slots assign.Slots) []assign.Slots {
	var runs []assign.Slots
	for from := 0; from < len(slots); {
		to := from + 1
		for to < len(slots) && slots[to].Topic == slots[from].Topic {
			to++
		}
		runs = append(runs, slots[from:to])
		from = to
	}
	return runs
}

func appendRun(dst []byte, run assign.Slots) []byte {
	dst = kbin.AppendUuid(dst, run[0].Topic)
	dst = kbin.AppendCompactArrayLen(dst, len(run))
	for _, slot := range run {
		dst = kbin.AppendInt32(dst, slot.Partition)
	}
	return dst
}

// placeRecord keeps where a member is: its epoch, and what it holds.
func placeRecord(group, member string, p *place) Record {
	v := kbin.AppendInt32(kbin.AppendInt32(value(), p.epoch), p.previous)
	v = kbin.AppendInt8(v, int8(p.state))
	v = appendHoldings(appendHoldings(v, p.assigned), p.revoking)
	return Record{consumerKey(consumerPlaceKey, group, member), noTags(v)}
}

func appendHoldings(dst []byte, h holdings) []byte {
	runs := byTopic(h.slots)
	dst = kbin.AppendCompactArrayLen(dst, len(runs))
	at := 0
	for _, run := range runs {
		dst = appendRun(dst, run)
		since := kbin.AppendCompactArrayLen(nil, len(run))
		for range run {
			since = kbin.AppendInt32(since, h.since[at])
			at++
		}
		dst = oneTag(dst, since)
	}
	return dst
}

// memberRecord keeps what a member says of itself.
func memberRecord(group string, one *consumer) Record {
	v := kbin.AppendCompactNullableString(value(), one.instance)
	v = kbin.AppendCompactNullableString(v, one.rack)
	v = kbin.AppendCompactString(kbin.AppendCompactString(v, one.clientID), one.host)
	v = kbin.AppendCompactArrayLen(v, len(one.names))
	for _, name := range one.names {
		v = kbin.AppendCompactString(v, name)
	}
	v = kbin.AppendCompactNullableString(v, nonEmpty(one.pattern))
	v = kbin.AppendInt32(v, int32(one.rebalance))
	v = kbin.AppendCompactNullableString(v, nonEmpty(one.assignor))
	return Record{consumerKey(consumerMemberKey, group, one.id), oneTag(v, classicPart(one.classic))}
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// classicPart is what is kept of a member of the classic protocol. A byte says whether there is any: to
// Kafka, a record without this part tells of a classic member of which nothing is known.
func classicPart(c *classicMember) []byte {
	if c == nil {
		return []byte{0}
	}
	part := kbin.AppendInt32([]byte{1}, int32(c.session))
	part = kbin.AppendCompactArrayLen(part, len(c.protocols))
	for _, p := range c.protocols {
		part = noTags(kbin.AppendCompactBytes(kbin.AppendCompactString(part, p.Name), p.Metadata))
	}
	return noTags(part)
}

// patternRecord keeps which topics a pattern matches.
func patternRecord(group, pattern string, topics []string, wall int64) Record {
	v := kbin.AppendCompactArrayLen(value(), len(topics))
	for _, t := range topics {
		v = kbin.AppendCompactString(v, t)
	}
	v = kbin.AppendInt64(kbin.AppendInt64(v, 0), wall)
	return Record{consumerKey(consumerRegexKey, group, pattern), noTags(v)}
}

// consumerDecoded is a record of a consumer group as it was read. A nil value field of the kind means
// that the key was taken away.
type consumerDecoded struct {
	kind        int16
	group, part string
	gone        bool
	epoch       int32
	hash        int64
	target      assign.Slots
	place       *place
	member      *consumer
	topics      []string
}

// decodeConsumer reads a record of a consumer group.
func decodeConsumer(r Record) (*consumerDecoded, error) {
	key := kbin.Reader{Src: r.Key}
	d := &consumerDecoded{kind: key.Int16(), group: key.String(), gone: r.Value == nil}
	switch d.kind {
	case consumerMemberKey, targetMemberKey, consumerPlaceKey, consumerRegexKey:
		d.part = key.String()
	}
	if err := key.Complete(); err != nil || len(key.Src) > 0 {
		return nil, fmt.Errorf("%w: key of kind %d", ErrMalformed, d.kind)
	}
	if d.gone || d.kind == consumerTopicsKey {
		return d, nil
	}
	b := &kbin.Reader{Src: r.Value}
	if version := b.Int16(); version != consumerValue {
		return nil, fmt.Errorf("%w: record of group %s of kind %d and version %d", ErrMalformed, d.group, d.kind, version)
	}
	d.read(b)
	if err := b.Complete(); err != nil {
		return nil, fmt.Errorf("%w: record of group %s of kind %d: %w", ErrMalformed, d.group, d.kind, err)
	}
	return d, nil
}

func (d *consumerDecoded) read(b *kbin.Reader) {
	switch d.kind {
	case consumerGroupKey:
		d.epoch = b.Int32()
		if tag := readTags(b); len(tag) == stampBytes {
			d.hash = int64(binary.BigEndian.Uint64(tag))
		}
	case targetGroupKey:
		d.epoch = b.Int32()
		readTags(b)
	case targetMemberKey:
		d.target = readHoldings(b, false).slots
		readTags(b)
	case consumerPlaceKey:
		d.place = &place{epoch: b.Int32(), previous: b.Int32(), state: memberState(b.Int8())}
		d.place.assigned, d.place.revoking = readHoldings(b, true), readHoldings(b, true)
		readTags(b)
	case consumerMemberKey:
		d.member = readMember(b)
		d.member.id = d.part
	case consumerRegexKey:
		d.topics = readStrings(b)
		_, _ = b.Int64(), b.Int64()
		readTags(b)
	}
}

// count reads the length of an array, of which no element is shorter than two bytes: a count that the
// bytes cannot hold would cost memory.
func count(b *kbin.Reader) int {
	n := int(b.CompactArrayLen())
	if n > len(b.Src)/consumerEntityBytes {
		b.Span(len(b.Src) + 1) // marks the reader
		return 0
	}
	return max(n, 0)
}

func readStrings(b *kbin.Reader) []string {
	all := make([]string, 0, count(b))
	for range cap(all) {
		all = append(all, b.CompactString())
	}
	return all
}

// readTags reads the optional fields at the end of a structure, and returns the first tag's bytes.
func readTags(b *kbin.Reader) (first []byte) {
	for n := b.Uvarint(); n > 0 && b.Ok(); n-- {
		tag, size := b.Uvarint(), b.Uvarint()
		if int64(size) > int64(len(b.Src)) {
			b.Span(len(b.Src) + 1)
			return nil
		}
		if field := b.Span(int(size)); tag == firstTag {
			first = field
		}
	}
	return first
}

// readHoldings reads partitions, by topic. Where the schema allows for it the epochs since when they are
// held come as tags; Kafka before 4.2 has none, which counts as long ago.
func readHoldings(b *kbin.Reader, epochs bool) holdings {
	held := map[assign.Slot]int32{}
	for range count(b) {
		id := b.Uuid()
		n := count(b)
		parts := make([]int32, 0, n)
		for range n {
			parts = append(parts, b.Int32())
		}
		tag := readTags(b)
		since := kbin.Reader{Src: tag}
		if epochs && len(tag) > 0 && int(since.CompactArrayLen()) != n {
			since.Src = nil
		}
		for _, p := range parts {
			var from int32
			if epochs && len(since.Src) >= epochBytes {
				from = since.Int32()
			}
			held[assign.Slot{Topic: id, Partition: p}] = from
		}
	}
	return holdingsOf(held)
}

func readMember(b *kbin.Reader) *consumer {
	one := &consumer{
		instance: b.CompactNullableString(), rack: b.CompactNullableString(),
		clientID: b.CompactString(), host: b.CompactString(), names: readStrings(b),
	}
	if pattern := b.CompactNullableString(); pattern != nil {
		one.pattern = *pattern
	}
	one.rebalance = int64(b.Int32())
	if assignor := b.CompactNullableString(); assignor != nil {
		one.assignor = *assignor
	}
	if part := readTags(b); len(part) > 1 && part[0] == 1 {
		one.classic = readClassic(b, part[1:])
	}
	return one
}

func readClassic(b *kbin.Reader, part []byte) *classicMember {
	in := &kbin.Reader{Src: part}
	c := &classicMember{session: int64(in.Int32())}
	for range count(in) {
		p := Protocol{Name: in.CompactString(), Metadata: append([]byte{}, in.CompactBytes()...)}
		readTags(in)
		c.protocols = append(c.protocols, p)
	}
	if readTags(in); !in.Ok() {
		b.Span(len(b.Src) + 1)
	}
	return c
}
