package config

import (
	"math"
	"strconv"
)

// Keys that more than one place here names.
const (
	keyRetentionMillis  = "log.retention.ms"
	keyRetentionMinutes = "log.retention.minutes"
	keyRetentionHours   = "log.retention.hours"
	keyRetentionCheck   = "log.retention.check.interval.ms"
	keyRollMillis       = "log.roll.ms"
	keyRollHours        = "log.roll.hours"
	keyJitterMillis     = "log.roll.jitter.ms"
	keyJitterHours      = "log.roll.jitter.hours"
)

const (
	everMillis   = "9223372036854775807"
	weekMillis   = "604800000"
	minuteMillis = 60_000
	hourMillis   = 60 * minuteMillis
)

// topicKeys are Kafka's own that topics inherit.
func topicKeys() []Key {
	return []Key{
		{Name: keyRetentionMillis, Kind: Integer, Unit: "ms", Min: -1, Max: math.MaxInt64,
			Doc: "How long records are kept, where a topic does not say; -1 for ever. Goes before the minutes, and they before the hours."},
		{Name: keyRetentionMinutes, Kind: Integer, Unit: "minutes", Min: -1, Max: math.MaxInt32, Doc: "As " + keyRetentionMillis + "."},
		{Name: keyRetentionHours, Kind: Integer, Default: "168", Unit: "hours", Min: -1, Max: math.MaxInt32,
			Doc: "As " + keyRetentionMillis + "."},
		{Name: "log.retention.bytes", Kind: Integer, Default: "-1", Unit: "bytes", Min: math.MinInt64, Max: math.MaxInt64,
			Doc: "How many bytes of a partition are kept, where a topic does not say; below 0 all."},
		{Name: keyRetentionCheck, Kind: Integer, Default: "300000", Unit: "ms", Min: 1, Max: math.MaxInt64 / 1_000_000,
			Doc: "How often leaders look for records whose time is over."},
		{Name: "log.cleanup.policy", Kind: List, Default: "delete", OneOf: []string{"delete", "compact"},
			Doc: "What happens to old records, where a topic does not say."},
		{Name: "log.segment.bytes", Kind: Integer, Default: "1073741824", Unit: "bytes", Min: 1 << 20, Max: math.MaxInt32,
			Doc: "Inherited by topics as segment.bytes, which steers nothing: the files of the log are those of all topics (wal.file.bytes)."},
		{Name: keyRollMillis, Kind: Integer, Unit: "ms", Min: 1, Max: math.MaxInt64,
			Doc: "How long a batch of a compacted topic may wait in the write-ahead log, where it cannot be compacted, where a topic does not say."},
		{Name: keyRollHours, Kind: Integer, Default: "168", Unit: "hours", Min: 1, Max: math.MaxInt32, Doc: "As " + keyRollMillis + "."},
		{Name: keyJitterMillis, Kind: Integer, Unit: "ms", Max: math.MaxInt64, Doc: "Inherited by topics as segment.jitter.ms, which steers nothing."},
		{Name: keyJitterHours, Kind: Integer, Default: "0", Unit: "hours", Max: math.MaxInt32, Doc: "As " + keyJitterMillis + "."},
		{Name: "log.message.timestamp.type", Kind: Choice, Default: "CreateTime", OneOf: []string{"CreateTime", "LogAppendTime"},
			Doc: "Whose time records bear, where a topic does not say: the producer's, or that of the append."},
		{Name: "log.message.timestamp.before.max.ms", Kind: Integer, Default: everMillis, Unit: "ms", Max: math.MaxInt64,
			Doc: "How far behind the broker's clock a record's timestamp may be, where a topic does not say."},
		{Name: "log.message.timestamp.after.max.ms", Kind: Integer, Default: "3600000", Unit: "ms", Max: math.MaxInt64,
			Doc: "How far ahead of the broker's clock a record's timestamp may be, where a topic does not say."},
		{Name: "compression.type", Kind: Choice, Default: "producer",
			OneOf: []string{"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"},
			Doc:   "How batches are compressed, where a topic does not say; producer leaves them as they come."},
		{Name: "compression.gzip.level", Kind: Integer, Default: "-1", Min: -1, Max: 9, Doc: "How hard gzip works; -1 for its default."},
		{Name: "compression.lz4.level", Kind: Integer, Default: "9", Min: 1, Max: 17, Doc: "How hard lz4 works."},
		{Name: "compression.zstd.level", Kind: Integer, Default: "3", Min: -131072, Max: 22, Doc: "How hard zstd works."},
		{Name: "max.decompressed.message.bytes", Kind: Integer, Default: "2147483639", Unit: "bytes", Min: 1, Max: math.MaxInt32,
			Doc: "The largest record that is taken in a compressed batch, decompressed, where a topic does not say."},
		{Name: "log.cleaner.delete.retention.ms", Kind: Integer, Default: "86400000", Unit: "ms", Max: math.MaxInt64,
			Doc: "How long compaction keeps the tombstone of a key, where a topic does not say."},
		{Name: "log.cleaner.min.compaction.lag.ms", Kind: Integer, Default: "0", Unit: "ms", Max: math.MaxInt64,
			Doc: "How long a record is safe from compaction, where a topic does not say."},
		{Name: "log.cleaner.max.compaction.lag.ms", Kind: Integer, Default: everMillis, Unit: "ms", Min: 1, Max: math.MaxInt64,
			Doc: "How long a record may wait for compaction, where a topic does not say."},
		{Name: "log.cleaner.min.cleanable.ratio", Kind: Fraction, Default: "0.5",
			Doc: "A log is compacted once more than this share of it was not yet, where a topic does not say."},
	}
}

// inherited are the topic configs by the broker's keys that topics inherit them from.
var inherited = map[string]string{
	keyRetentionMillis: "retention.ms", "log.retention.bytes": "retention.bytes",
	"log.cleanup.policy": "cleanup.policy", "log.segment.bytes": "segment.bytes", keyRollMillis: "segment.ms",
	keyJitterMillis: "segment.jitter.ms", "log.message.timestamp.type": "message.timestamp.type",
	"log.message.timestamp.before.max.ms": "message.timestamp.before.max.ms",
	"log.message.timestamp.after.max.ms":  "message.timestamp.after.max.ms",
	"compression.type":                    "compression.type", "compression.gzip.level": "compression.gzip.level",
	"compression.lz4.level": "compression.lz4.level", "compression.zstd.level": "compression.zstd.level",
	"max.decompressed.message.bytes":    "max.decompressed.message.bytes",
	"log.cleaner.delete.retention.ms":   "delete.retention.ms",
	"log.cleaner.min.compaction.lag.ms": "min.compaction.lag.ms",
	"log.cleaner.max.compaction.lag.ms": "max.compaction.lag.ms",
	"log.cleaner.min.cleanable.ratio":   "min.cleanable.dirty.ratio",
}

// topicConfigs are the defaults of topics that the operator has set otherwise than Kafka, by the names of
// topic configs. The finer unit goes before the coarser one.
func (b *builder) topicConfigs() map[string]string {
	b.refine(keyRetentionMillis, keyRetentionMinutes, minuteMillis)
	b.refine(keyRetentionMillis, keyRetentionHours, hourMillis)
	b.refine(keyRollMillis, keyRollHours, hourMillis)
	b.refine(keyJitterMillis, keyJitterHours, hourMillis)
	if level := b.text("compression.gzip.level"); level == "0" {
		b.refuse(&Refusal{"compression.gzip.level", level, "want -1 or 1 to 9"})
	}
	defaults := map[string]string{keyRetentionMillis: weekMillis, keyRollMillis: weekMillis, keyJitterMillis: "0"}
	for _, key := range topicKeys() {
		if key.Default != "" {
			defaults[key.Name] = key.Default
		}
	}
	set := map[string]string{}
	for key, name := range inherited {
		if value := b.text(key); value != "" && value != defaults[key] {
			set[name] = value
		}
	}
	if len(set) == 0 {
		return nil
	}
	return set
}

// refine sets a key in milliseconds from one in a coarser unit, if that alone was set.
func (b *builder) refine(millis, coarse string, unit int64) {
	s := b.settings[coarse]
	if s.Value == "" || s.Source == sourceDefault {
		return
	}
	n := b.number(coarse)
	if n >= 0 {
		n *= unit
	}
	b.derive(millis, strconv.FormatInt(n, 10), "from "+coarse)
}
