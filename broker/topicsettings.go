package broker

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// topicSettings are the configs of a topic as the data path goes by them: worked out once per change of
// the topic's or the brokers' configs, not once per batch. They are never changed.
type topicSettings struct {
	messageBytesMax int
	// recordBytesMax bounds a record of a compressed batch.
	recordBytesMax int64
	cleanup        cleanupPolicy
	// letters: share groups may write dead letters here.
	letters   bool
	retention partition.Retention
	// compaction says how, if cleanup says that.
	compaction partition.Compaction
	// appendTime: batches bear the time of their append.
	appendTime bool
	// before and after bound timestamps, as distances from now; anyTime is no bound.
	before, after time.Duration
	// recompresses: batches of another codec than this one are compressed anew.
	recompresses bool
	codec        batch.Codec
	levels       batch.Levels
}

// anyTime is a distance in time that bounds nothing.
const anyTime = time.Duration(math.MaxInt64)

// cleanupPolicy is what happens to old records.
type cleanupPolicy struct{ delete, compact bool }

// limits are what a batch that has arrived at a time is judged by.
func (s *topicSettings) limits(arrived time.Time, zstd bool) batch.Limits {
	l := batch.Limits{BytesMax: s.messageBytesMax, Zstd: zstd, Keyed: s.cleanup.compact, RecordBytesMax: s.recordBytesMax}
	if s.appendTime {
		return l // what producers say of the time does not matter
	}
	if s.before != anyTime {
		l.TimestampMin = max(1, arrived.Add(-s.before).UnixMilli())
	}
	return l
}

// tooNew reports whether a batch claims a time too far ahead.
func (s *topicSettings) tooNew(h batch.Header, arrived time.Time) bool {
	return !s.appendTime && s.after != anyTime && h.MaxTimestamp > arrived.Add(s.after).UnixMilli()
}

// judge validates a batch by what the topic asks of it. For nearly all the header tells that no record is too
// far ahead; the others are looked at once more, to name the records.
func (s *topicSettings) judge(b []byte, arrived time.Time, zstd bool) (batch.Header, error) {
	limits := s.limits(arrived, zstd)
	h, err := batch.Validate(b, limits)
	if err != nil && !ofSomeRecords(err) || !s.tooNew(h, arrived) {
		return h, err
	}
	limits.TimestampMax = max(1, arrived.Add(s.after).UnixMilli())
	if h, err = batch.Validate(b, limits); err == nil {
		err = fmt.Errorf("the batch's largest timestamp is that of no record: %w", batch.ErrInvalidTimestamp)
	}
	return h, err
}

// ofSomeRecords reports whether a batch is refused for some of its records.
func ofSomeRecords(err error) bool {
	var refused *batch.RefusedRecords
	return errors.As(err, &refused)
}

// shape brings a valid batch into the form that the topic wants: its codec, and its time. Batches of
// nearly all topics pass as they are. It returns the time that the records bear if it is the broker's,
// else -1. Errors: batch.ErrTooLarge.
func (s *topicSettings) shape(b []byte, h batch.Header, arrived time.Time) (shaped []byte, appendTime int64, err error) {
	if s.recompresses && h.Codec() != s.codec {
		if b, err = batch.Recompress(b, s.codec, s.levels); err != nil {
			return nil, -1, err
		}
		if len(b) > s.messageBytesMax {
			return nil, -1, batch.ErrTooLarge
		}
	}
	if !s.appendTime {
		return b, -1, nil
	}
	now := arrived.UnixMilli()
	batch.Stamp(b, now)
	return b, now, nil
}

// settings holds what was worked out, by topic; the topics that set nothing share the zero id.
type settings struct {
	mu      sync.RWMutex
	byTopic map[topic.ID]settled
}

// settled are settings with what they follow from: the epochs of both sets of configs.
type settled struct {
	epoch, told int32
	*topicSettings
}

// settingsMax bounds the topics that are remembered; beyond it all are worked out anew.
const settingsMax = 20_000

// settingsOf are the settings of a topic in a view.
func (b *Broker) settingsOf(view View, t *topic.Topic) *topicSettings {
	var id topic.ID
	var epoch int32
	var own map[string]string
	if t != nil && len(t.Configs) > 0 {
		id, epoch, own = t.ID, t.ConfigEpoch, t.Configs
	}
	told := view.Configs(topic.BrokerConfigs, "").Epoch
	b.settings.mu.RLock()
	known, ok := b.settings.byTopic[id]
	b.settings.mu.RUnlock()
	if ok && known.epoch == epoch && known.told == told {
		return known.topicSettings
	}
	made := settled{epoch, told, newTopicSettings(own, b.topicDefaults(view), int(b.config.Topics.BatchBytesMax))}
	b.settings.mu.Lock()
	defer b.settings.mu.Unlock()
	if b.settings.byTopic == nil || len(b.settings.byTopic) >= settingsMax {
		b.settings.byTopic = map[topic.ID]settled{}
	}
	b.settings.byTopic[id] = made
	return made.topicSettings
}

// newTopicSettings works out settings. A batch may not be larger than what this broker carries, whatever the
// topic says: the brokers may have been configured otherwise when it was made.
func newTopicSettings(own map[string]string, d defaults, bytesMax int) *topicSettings {
	s := &topicSettings{
		messageBytesMax: min(int(d.long(own, configMessageBytes)), bytesMax),
		recordBytesMax:  d.long(own, configRecordBytes),
		appendTime:      d.text(own, configTimestampType) == timestampLogAppendTime,
		before:          millis(d.long(own, configTimestampBefore)),
		after:           millis(d.long(own, configTimestampAfter)),
		levels: batch.Levels{
			Gzip: int(d.long(own, configGzipLevel)), Lz4: int(d.long(own, configLz4Level)),
			Zstd: int(d.long(own, configZstdLevel)),
		},
	}
	s.letters = d.text(own, configLetterTopic) == "true"
	policies := partsOf(d.text(own, configCleanupPolicy))
	s.cleanup = cleanupPolicy{
		delete: slices.Contains(policies, "delete"), compact: slices.Contains(policies, "compact"),
	}
	s.retention = partition.Retention{BytesMax: d.long(own, configRetentionBytes), AgeMax: anyTime}
	if age := d.long(own, configRetentionMillis); age >= 0 {
		s.retention.AgeMax = millis(age)
	}
	s.compaction = partition.Compaction{
		DirtyRatio: d.real(own, configDirtyRatio), DeleteRetention: millis(d.long(own, configDeleteRetention)),
		LagMin: millis(d.long(own, configMinLag)), LagMax: millis(d.long(own, configMaxLag)),
		Roll: millis(d.long(own, configSegmentMillis)),
	}
	kind := d.text(own, configCompression)
	s.recompresses = kind != "producer"
	for codec := range batch.CodecZstd + 1 {
		if codec.String() == kind {
			s.codec = codec // "uncompressed" is none, which is the zero
		}
	}
	return s
}

// millis is a distance in milliseconds, anyTime if it is longer than 292 years.
func millis(n int64) time.Duration {
	if n > int64(anyTime/time.Millisecond) {
		return anyTime
	}
	return time.Duration(n) * time.Millisecond
}
