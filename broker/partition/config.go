package partition

import (
	"errors"
	"log/slog"
	"math"
	"runtime"
	"time"

	"outrigger/broker/wal"
)

// Config is what a Store needs. Open fills in the defaults.
type Config struct {
	// WAL configures the node's log, which the Store opens. Its Sink and Replay must be nil: the
	// Store is both. Its clock is Now unless it has one.
	WAL wal.Config
	// TailBytesMax bounds the durable batches that all partitions together keep in memory, 64 MiB
	// unless set. What is not durable yet comes on top and is bounded by the queues of the WAL.
	TailBytesMax int64
	// UnackedBytesMax bounds what one partition holds above its high watermark, 32 MiB unless set.
	// Append waits for room below it. One batch is always let through, however large.
	UnackedBytesMax int64
	// ProducersMax bounds the producer ids that one partition remembers, 5,000 unless set. At the
	// bound those that wrote longest ago are forgotten.
	ProducersMax int
	// ProducerIDExpiration is how long after its last batch an idempotent producer is forgotten,
	// 24 h unless set (`producer.id.expiration.ms`).
	ProducerIDExpiration time.Duration
	// HighWatermarkCheckpoint is the least time between two checkpoints of the high watermarks, 5 s
	// unless set. A longer one costs nothing but a lower high watermark after a crash, until the
	// leader tells the present one.
	HighWatermarkCheckpoint time.Duration
	// CompactBytesMax bounds the memory of keys in a compaction, 128 MiB unless set
	// (log.cleaner.dedupe.buffer.size). With more keys than fit, it takes several turns.
	CompactBytesMax int64
	// CompactBackoff is how long after a look for logs to compact the next one comes, 15 s unless set
	// (log.cleaner.backoff.ms).
	CompactBackoff time.Duration
	// CompactBytesPerSecond bounds what compactions read and write together; no bound unless set
	// (log.cleaner.io.max.bytes.per.second).
	CompactBytesPerSecond float64
	// RollBackoff is how long after a look for files of the WAL that logs to compact wait in the next one comes,
	// 10 s unless set. At most one file is sealed early in that time.
	RollBackoff time.Duration
	// ChunkBatches is how many batches of a log are told together in memory and by a head, 512 unless set: fewer are for
	// simulations.
	ChunkBatches int
	// Processors is how many the machine has, as many as Go uses unless set: where they are few, what is done beside appends
	// and reads waits more.
	Processors int
	// Catalog keeps where drained data lies. Without one nothing is drained, and the WAL grows for ever.
	Catalog Catalog
	// Spill takes what the logs know of drained batches; nil keeps that in memory.
	Spill *Spill
	// MayAdopt reports whether every version that may come to open the directory knows files of the WAL that
	// were adopted (format level 2). It is asked by the drainer; nil says yes.
	MayAdopt func() bool
	// MayBeTerse reports the same of logs whose producers the catalog tells by how their batches differ (format level 3).
	MayBeTerse func() bool
	// MayHead reports the same of heads (format level 4).
	MayHead func() bool
	// Observer is told what is sealed and what is durable. It may be nil, or be set later.
	Observer Observer
	// Now is a monotonic clock, the one that leases are counted on. It must be set.
	Now func() time.Duration
	// Logger hears what was rebuilt at Open, and of truncations of committed records. Nothing is
	// logged unless it is set.
	Logger *slog.Logger

	mutant Mutant
	// portionBytes is how much of a log is compacted at once, portionBatches how many of its batches; only tests set them.
	portionBytes   int64
	portionBatches int
	// dueBatch is how large the batches of a log are at least of which files wait for a compaction; only tests set it.
	dueBatch int64
}

// Keys of log attributes.
const (
	keyPartition     = "partition"
	keyPartitions    = "partitions"
	keyBytes         = "bytes"
	keyBatches       = "batches"
	keyFile          = "file"
	keyOffset        = "offset"
	keyReason        = "reason"
	keyLogEnd        = "log_end"
	keyHighWatermark = "high_watermark"
	keySaved         = "saved_bytes"
	keyFree          = "free_bytes"
)

// Forever is a lease that does not end.
const Forever time.Duration = math.MaxInt64

func (c Config) withDefaults() Config {
	setDefault(&c.TailBytesMax, 64<<20)
	setDefault(&c.UnackedBytesMax, 32<<20)
	setDefault(&c.ProducersMax, 5000)
	setDefault(&c.ProducerIDExpiration, 24*time.Hour)
	setDefault(&c.HighWatermarkCheckpoint, 5*time.Second)
	setDefault(&c.CompactBytesMax, 128<<20)
	setDefault(&c.CompactBackoff, 15*time.Second)
	setDefault(&c.RollBackoff, 10*time.Second)
	setDefault(&c.ChunkBatches, chunkLength)
	setDefault(&c.Processors, runtime.GOMAXPROCS(0))
	setDefault(&c.portionBytes, portionBytes)
	setDefault(&c.portionBatches, portionBatches)
	setDefault(&c.dueBatch, dueBatch)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}

func (c Config) validate() error {
	switch {
	case c.Now == nil:
		return errors.New("partition store needs a clock")
	case c.WAL.Sink != nil || c.WAL.Replay != nil:
		return errors.New("partition store is sink and replay of its WAL: leave them unset")
	case c.CompactBytesPerSecond < 0:
		return errors.New("rate of compactions must not be negative")
	case c.ChunkBatches < 0:
		return errors.New("number of batches of a chunk must not be negative")
	case c.Processors < 0:
		return errors.New("number of processors must not be negative")
	case c.TailBytesMax < 0 || c.UnackedBytesMax < 0 || c.ProducersMax < 0:
		return errors.New("partition store bounds must not be negative")
	}
	return nil
}
