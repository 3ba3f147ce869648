package group

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Record is one record of `__consumer_offsets`. A nil Value takes the key away.
type Record struct{ Key, Value []byte }

// Bytes is about what the record takes in a batch.
func (r Record) Bytes() int { return len(r.Key) + len(r.Value) + recordOverhead }

// recordOverhead is the most that a record takes beside key and value.
const recordOverhead = 32

// Versions of keys and values.
const (
	offsetKey          = 1
	groupKey           = 2
	offsetExpires      = 1 // the one version with an expiry time
	offsetPlain        = 3
	offsetTagged       = 4
	offsetFixedBytes   = 2 + 8 + 4
	groupValue         = 3
	tagsBytesEachLeast = 2
)

// offsetRecord keeps an offset.
func offsetRecord(group string, at Place, o Offset) Record {
	v := kmsg.NewOffsetCommitValue()
	v.Version = offsetPlain
	switch {
	case o.ExpiresAt >= 0:
		v.Version = offsetExpires
	case o.TopicID != [16]byte{}:
		v.Version = offsetTagged
	}
	v.Offset, v.LeaderEpoch, v.Metadata = o.Offset, o.LeaderEpoch, o.Metadata
	v.CommitTimestamp, v.ExpireTimestamp, v.TopicID = o.CommittedAt, o.ExpiresAt, o.TopicID
	return Record{Key: keyOfOffset(group, at), Value: v.AppendTo(nil)}
}

func keyOfOffset(group string, at Place) []byte {
	k := kmsg.NewOffsetCommitKey()
	k.Version, k.Group, k.Topic, k.Partition = offsetKey, group, at.Topic, at.Partition
	return k.AppendTo(nil)
}

func keyOfGroup(group string) []byte {
	k := kmsg.NewGroupMetadataKey()
	k.Version, k.Group = groupKey, group
	return k.AppendTo(nil)
}

// decoded is a record as it was read: exactly one of offset and group is set, unless the value was
// null or the key is of a kind that this package does not know.
type decoded struct {
	known  bool
	group  string
	place  Place
	offset *Offset
	meta   *kmsg.GroupMetadataValue
	// isGroup: the key is that of a group; isConsumer: it is one of a consumer group's,
	// or of a share group's.
	isGroup, isConsumer, isShare bool
}

// decode reads a record. A key of a later kind is no error: it is not known.
func decode(r Record) (d decoded, err error) {
	if len(r.Key) < 2 {
		return d, fmt.Errorf("%w: key of %d bytes", ErrMalformed, len(r.Key))
	}
	switch version := int16(binary.BigEndian.Uint16(r.Key)); version {
	case 0, offsetKey:
		return decodeOffset(r)
	case groupKey:
		return decodeGroup(r)
	case consumerGroupKey, consumerTopicsKey, consumerMemberKey, targetGroupKey, targetMemberKey,
		consumerPlaceKey, consumerRegexKey:
		return decoded{known: true, isConsumer: true}, nil
	case shareMemberKey, shareGroupKey, shareTargetKey, shareTargetMemberKey, sharePlaceKey, shareStatesKey:
		return decoded{known: true, isShare: true}, nil
	default:
		return d, nil
	}
}

func decodeOffset(r Record) (d decoded, err error) {
	var k kmsg.OffsetCommitKey
	if err := k.ReadFrom(r.Key); err != nil {
		return d, fmt.Errorf("%w: key of an offset: %w", ErrMalformed, err)
	}
	d = decoded{known: true, group: k.Group, place: Place{k.Topic, k.Partition}}
	if r.Value == nil {
		return d, nil
	}
	if err := guardOffset(r.Value); err != nil {
		return d, err
	}
	var v kmsg.OffsetCommitValue
	if err := v.ReadFrom(r.Value); err != nil {
		return d, fmt.Errorf("%w: offset of group %s: %w", ErrMalformed, k.Group, err)
	}
	d.offset = &Offset{
		Offset: v.Offset, LeaderEpoch: -1, Metadata: v.Metadata, CommittedAt: v.CommitTimestamp,
		ExpiresAt: -1, TopicID: v.TopicID,
	}
	if v.Version >= offsetPlain {
		d.offset.LeaderEpoch = v.LeaderEpoch
	}
	if v.Version == offsetExpires {
		d.offset.ExpiresAt = v.ExpireTimestamp
	}
	return d, nil
}

// guardOffset refuses a value that would keep the decoder busy: it goes by the number of tags that
// a value claims, also when there are no bytes for them.
func guardOffset(value []byte) error {
	if len(value) < 2 {
		return fmt.Errorf("%w: value of %d bytes", ErrMalformed, len(value))
	}
	version := int16(binary.BigEndian.Uint16(value))
	if version < 0 || version > offsetTagged {
		return fmt.Errorf("%w: offset of version %d", ErrMalformed, version)
	}
	if version < offsetTagged {
		return nil
	}
	rest := value[min(offsetFixedBytes, len(value)):]
	length, n := binary.Uvarint(rest)
	if n <= 0 || length == 0 || length-1 > uint64(len(rest)-n) || uint64(len(rest)-n)-(length-1) < 8 {
		return fmt.Errorf("%w: offset of %d bytes", ErrMalformed, len(value))
	}
	rest = rest[n+int(length-1)+8:]
	tags, n := binary.Uvarint(rest)
	if n <= 0 || tags > uint64(len(rest)-n)/tagsBytesEachLeast {
		return fmt.Errorf("%w: offset with %d tags in %d bytes", ErrMalformed, tags, len(rest))
	}
	return nil
}

func decodeGroup(r Record) (d decoded, err error) {
	var k kmsg.GroupMetadataKey
	if err := k.ReadFrom(r.Key); err != nil {
		return d, fmt.Errorf("%w: key of a group: %w", ErrMalformed, err)
	}
	d = decoded{known: true, group: k.Group, isGroup: true}
	if r.Value == nil {
		return d, nil
	}
	if len(r.Value) < 2 {
		return d, fmt.Errorf("%w: value of %d bytes", ErrMalformed, len(r.Value))
	}
	if version := int16(binary.BigEndian.Uint16(r.Value)); version < 0 || version > groupValue {
		return d, fmt.Errorf("%w: group %s of version %d", ErrMalformed, k.Group, version)
	}
	d.meta = new(kmsg.GroupMetadataValue)
	if err := d.meta.ReadFrom(r.Value); err != nil {
		return d, fmt.Errorf("%w: group %s: %w", ErrMalformed, k.Group, err)
	}
	return d, nil
}
