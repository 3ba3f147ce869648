package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"outrigger/broker/topic"
)

// Defaults and limits of a Config.
const (
	defaultFileBytes     = 64 << 20
	defaultGroupBytes    = 2 << 20
	defaultQueueBytes    = 64 << 20
	defaultFilesAhead    = 2
	defaultSpaceRetry    = time.Second
	defaultDiscardBytes  = 4 << 20
	fileBytesMin         = 64 << 10
	fileBytesMax         = 4 << 30
	recordShareOfFileMax = 4
)

// Policy says when a group counts as durable.
type Policy struct {
	// Interval, when not zero, is the time between syncs: a group is reported Durable as soon as its
	// write has completed. A crash of the process loses nothing then, but a crash of the machine or a
	// loss of power takes what was written since the last sync, acknowledged or not. Zero syncs every
	// group before it is reported.
	Interval time.Duration
}

// Always syncs every group before it is reported Durable.
var Always = Policy{}

// DirectMode says whether to bypass the page cache.
type DirectMode int

// Direct I/O: where the file system grants it (the default), or never.
const (
	DirectAuto DirectMode = iota
	DirectOff
)

// Config configures a Log. Everything without "required" has a default.
type Config struct {
	// FS holds the files, OS() unless given; Dir (required) is made when missing.
	FS  FS
	Dir string
	// Session (required) of this process start. It must be new at every Open.
	Session topic.Session
	// Sink hears of sealed and durable groups; nil for nobody.
	Sink Sink
	// Replay, when not nil, is called by Open with every surviving record, as Log.Replay would, but
	// without reading the files a second time. What it built must be thrown away if Open fails.
	Replay func(Placed) error
	// Logger hears of changes of state only. Nothing is logged unless given.
	Logger *slog.Logger

	// FileBytes is the size of a file, 64 MiB by default, a multiple of 4 KiB.
	FileBytes int64
	// FilesAhead is how many files wait ready behind the one in use, 2 by default. Each is room that
	// Reserve can promise.
	FilesAhead int
	// GroupBytesMax bounds a group, 2 MiB by default; a larger record makes a group of its own.
	GroupBytesMax int64
	// RecordBytesMax bounds EncodedLen of one record, by default a quarter of FileBytes, which it must
	// not exceed: what is left at the end of a file when a record does not fit is lost to Reserve.
	RecordBytesMax int64
	// QueueBytesMax bounds, for Leader and Follower apart, the bytes between Reserve and Durable. 64
	// MiB each by default; at least RecordBytesMax.
	QueueBytesMax [2]int64
	// Direct I/O is used where it works unless this is DirectOff.
	Direct DirectMode
	// Sync is Always by default.
	Sync Policy
	// SpaceRetry is how long to wait before asking a full disk for a new file again, 1 s by default.
	SpaceRetry time.Duration
	// Scrub reads the log in search of damage while it runs; by default it does not.
	Scrub Scrub
	// Cache bounds the memory of reads by Loan.
	Cache Cache
	// Now is a monotonic clock, for the ages of records and for Sync.Interval; it may be called from
	// any goroutine. By default it is the process's own, counted from Open.
	Now func() time.Duration

	// Start is where the chain begins, if files were drained: what Retire was told last.
	Start Start
	// Packs are the packs that hold what was drained. Others in the directory are removed if a drain or
	// a removal that a crash cut short can have left them; any other is an orphan and set aside.
	Packs []Pack
	// FilesMax bounds the files of the chain, those ahead included: at the bound Reserve waits for a
	// Retire. 0, the default, is no bound; else it is at least FilesAhead+2.
	FilesMax int
	// SparesMax is how many drained files are kept to be written again, 0 by default. The others are
	// removed.
	SparesMax int
	// DiscardBytes is how much of a file is removed at once, 4 MiB by default: a device that is told which blocks are free
	// may let all who write wait meanwhile.
	DiscardBytes int64
	// Room, if set, is asked before a file is made ahead of the writer, with the new space that it takes:
	// none for a spare. An error that wraps ErrNoSpace puts it off, as a full disk does. The one in use is
	// made in any case, and one for Relief alone once that has little left. It is called from the preparer's goroutine.
	Room func(bytes int64) error
	// ReliefRoom, if set, is asked in place of Room for a file for Relief alone, in the same way. So much room as two of
	// them take is no compaction's then, see Lasting.
	ReliefRoom func(bytes int64) error
	// Space, if set, tells how many bytes copies may take that give space back later, and whether the disk is
	// low, or nearly so: then no spares are kept. It may be called from any goroutine and does no I/O.
	Space func() (free int64, low bool)

	// mutant is a bug put in on purpose; production has none.
	mutant Mutant
}

func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = OS()
	}
	if c.Sink == nil {
		c.Sink = nobody{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		begin := time.Now()
		c.Now = func() time.Duration { return time.Since(begin) }
	}
	setDefault(&c.FileBytes, defaultFileBytes)
	setDefault(&c.GroupBytesMax, min(defaultGroupBytes, c.FileBytes-blockBytes))
	setDefault(&c.RecordBytesMax, c.FileBytes/recordShareOfFileMax)
	setDefault(&c.QueueBytesMax[Leader], max(defaultQueueBytes, c.RecordBytesMax))
	setDefault(&c.QueueBytesMax[Follower], max(defaultQueueBytes, c.RecordBytesMax))
	setDefault(&c.FilesAhead, defaultFilesAhead)
	setDefault(&c.SpaceRetry, defaultSpaceRetry)
	setDefault(&c.Scrub.BytesPerSecond, defaultScrubRate)
	if c.Scrub.Wall == nil {
		c.Scrub.Wall = time.Now
	}
	setDefault(&c.Cache.BytesMax, defaultCacheBytes)
	setDefault(&c.Cache.ChunkBytes, defaultChunkBytes)
	setDefault(&c.DiscardBytes, defaultDiscardBytes)
	setDefault(&c.Start.File, 1)
	setDefault(&c.Start.NextPack, firstPack)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) validate() error {
	switch {
	case c.Dir == "":
		return errors.New("no directory is given")
	case c.Session == 0:
		return errors.New("no session is given")
	case c.FileBytes < fileBytesMin || c.FileBytes > fileBytesMax || c.FileBytes%blockBytes != 0:
		return fmt.Errorf("file size %d is not a multiple of %d between %d and %d",
			c.FileBytes, blockBytes, fileBytesMin, int64(fileBytesMax))
	case c.GroupBytesMax < blockBytes || c.GroupBytesMax > c.FileBytes-blockBytes ||
		c.GroupBytesMax%blockBytes != 0:
		return fmt.Errorf("group size %d is not a multiple of %d that fits a file of %d",
			c.GroupBytesMax, blockBytes, c.FileBytes)
	case c.RecordBytesMax < recordHeaderBytes || c.RecordBytesMax > c.FileBytes/recordShareOfFileMax:
		return fmt.Errorf("record size %d is more than a quarter of the file size %d",
			c.RecordBytesMax, c.FileBytes)
	case c.QueueBytesMax[Leader] < c.RecordBytesMax || c.QueueBytesMax[Follower] < c.RecordBytesMax:
		return fmt.Errorf("queue sizes %v are below the record size %d",
			c.QueueBytesMax, c.RecordBytesMax)
	case c.FilesMax != 0 && c.FilesMax < c.FilesAhead+2 || c.SparesMax < 0:
		return fmt.Errorf("%d files and %d spares are too few, %d files are the least",
			c.FilesMax, c.SparesMax, c.FilesAhead+2)
	case c.DiscardBytes < blockBytes || c.DiscardBytes%blockBytes != 0:
		return fmt.Errorf("%d bytes to remove at once are not a multiple of %d", c.DiscardBytes, blockBytes)
	case c.FilesAhead < 2:
		return fmt.Errorf("%d files ahead are too few, 2 is the least", c.FilesAhead)
	case c.Cache.ChunkBytes%blockBytes != 0 || c.Cache.ChunkBytes < blockBytes || c.Cache.BytesMax < c.Cache.ChunkBytes:
		return fmt.Errorf("a cache of %d bytes does not hold chunks of %d, a multiple of %d",
			c.Cache.BytesMax, c.Cache.ChunkBytes, blockBytes)
	case c.Sync.Interval < 0 || c.SpaceRetry < 0 || c.Scrub.Interval < 0 || c.Scrub.BytesPerSecond < 0:
		return errors.New("a duration or a rate is negative")
	}
	return nil
}

// nobody is the Sink of a log that nobody listens to.
type nobody struct{}

func (nobody) Sealed(*Group)  {}
func (nobody) Durable(*Group) {}
