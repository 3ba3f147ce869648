package raftstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"outrigger/broker/pebblefs"
	"outrigger/sidecar/raft"
)

// Format names the layout of keys and values; a store that says something else is refused.
const Format = "outrigger raft store 1"

// Sizes. The metadata of a cluster is small, and its log is held in memory by the Raft anyway: the
// cache serves starts and snapshot pulls only.
const (
	cacheBytes    = 1 << 20
	memTableBytes = 1 << 20
	openFilesMax  = 64
	// pieceBytes is the size of the pieces that a snapshot of our own is written in.
	pieceBytes = 256 << 10
)

// Errors of Open and Load.
var (
	// ErrFormat: the directory holds something else, or a format that this program does not know;
	// the operator must say what it is. Nothing was changed.
	ErrFormat = errors.New("not a raft store of this format")
	// ErrFailed: a write has failed; what it left behind is unknown, so nothing works any more.
	ErrFailed = errors.New("raft store has failed")
)

// Store is an open metadata store. One goroutine uses it.
type Store struct {
	db   *pebble.DB
	dir  string
	last uint64 // the last log entry
	// first is the first log entry that may exist: deletions begin here and not at 0, so that they
	// do not pile up tombstones over the same keys.
	first    uint64
	current  slot
	staged   slot
	have     uint64 // staged bytes
	nextSlot uint64
	failed   bool
	// looking: the store is open for reading.
	looking bool
	// written counts the batches, synced is the last that was on stable storage: see checkLogs.
	written, synced uint64
}

// slot is where a snapshot's data lies; number 0 is none.
type slot struct {
	number   uint64
	snapshot raft.Snapshot
}

// Open opens or makes the store in dir. died hears of a write that failed in a goroutine of Pebble's,
// an ErrFailed; it ends the process and does not return.
func Open(dir string, logger *slog.Logger, died func(error)) (*Store, error) {
	return OpenFS(vfs.Default, dir, logger, died)
}

// OpenFS is Open on another file system.
func OpenFS(fs vfs.FS, dir string, logger *slog.Logger, died func(error)) (*Store, error) {
	if err := prepareDir(fs, dir); err != nil {
		return nil, err
	}
	if err := checkLogs(fs, dir); err != nil {
		return nil, fmt.Errorf("open raft store: %w", err)
	}
	fs = pebblefs.Wrap(fs, "metadata", pebblefs.FullDiskPause, logger)
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	options := &pebble.Options{
		FS: fs, Cache: cache, MemTableSize: memTableBytes, MaxOpenFiles: openFilesMax,
		FormatMajorVersion: pebble.FormatNewest, Logger: quietLogger{logger, died},
	}
	// The usual scheduler wakes ten times a second to see whether more compactions may run at once.
	// Here that number never changes, so the end of one is the time to start the next.
	options.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	db, err := pebble.Open(dir, options)
	if pebble.IsCorruptionError(err) {
		err = fmt.Errorf("%w: %w", raft.ErrDamaged, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open raft store %s: %w", dir, err)
	}
	s := &Store{db: db, dir: dir}
	if err := s.checkFormat(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// prepareDir makes the directory, and refuses one that holds files but no Pebble: opening would
// scatter a database among them.
func prepareDir(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil || len(names) == 0 {
		if err := pebblefs.MakeDir(fs, dir); err != nil {
			return fmt.Errorf("make raft store directory: %w", err)
		}
		return nil
	}
	desc, err := pebble.Peek(dir, fs)
	if err != nil {
		return fmt.Errorf("look into raft store %s: %w", dir, err)
	}
	if !desc.Exists && !onlyPebbleLeftovers(names) {
		return fmt.Errorf("%w: %s holds other files", ErrFormat, dir)
	}
	return nil
}

// onlyPebbleLeftovers reports whether the files can be those of a store whose making was cut short.
func onlyPebbleLeftovers(names []string) bool {
	for _, name := range names {
		known := name == "LOCK"
		for _, pattern := range []string{"MANIFEST-*", "OPTIONS-*", "marker.*", "*.log", "*.dbtmp"} {
			if ok, _ := filepath.Match(pattern, name); ok {
				known = true
			}
		}
		if !known {
			return false
		}
	}
	return true
}

// checkFormat reads the format record, or writes it into a store without any key. A crash before it
// is durable leaves a store without keys.
func (s *Store) checkFormat() error {
	found, ok, err := s.read([]byte{'f'})
	switch {
	case err != nil:
		return fmt.Errorf("read format: %w", err)
	case ok && string(found) != Format:
		return fmt.Errorf("%w: %s says %q, known is %q", ErrFormat, s.dir, found, Format)
	case ok:
		return nil
	}
	it, err := s.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("look for keys: %w", err)
	}
	empty := !it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return fmt.Errorf("look for keys: %w", err)
	}
	if !empty {
		return fmt.Errorf("%w: %s holds keys without a format", ErrFormat, s.dir)
	}
	if err := s.db.Set([]byte{'f'}, []byte(Format), pebble.Sync); err != nil {
		return fmt.Errorf("write format: %w", err)
	}
	return nil
}

// Close closes the store. After a failed write there is nothing left to close in good order.
func (s *Store) Close() error {
	if s.failed {
		return ErrFailed
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close raft store: %w", err)
	}
	return nil
}

// read returns a copy of a value.
func (s *Store) read(key []byte) (value []byte, ok bool, err error) {
	found, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return bytes.Clone(found), true, closer.Close()
}

func entryKey(index uint64) []byte { return binary.BigEndian.AppendUint64([]byte{'e'}, index) }

func pieceKey(slotNumber, offset uint64) []byte {
	key := binary.BigEndian.AppendUint64([]byte{'c'}, slotNumber)
	return binary.BigEndian.AppendUint64(key, offset)
}

// quietLogger passes Pebble's own words on. Its Infof tells of every flush and compaction, which is
// nobody's news.
type quietLogger struct {
	logger *slog.Logger
	died   func(error)
}

// Infof implements pebble.Logger.
func (l quietLogger) Infof(format string, args ...any) {
	if l.logger.Enabled(context.Background(), slog.LevelDebug) {
		l.logger.Debug("pebble", "detail", fmt.Sprintf(format, args...))
	}
}

// Errorf implements pebble.Logger.
func (l quietLogger) Errorf(format string, args ...any) {
	l.logger.Error("pebble", "detail", fmt.Sprintf(format, args...))
}

// fatal is what a panic out of Pebble carries.
type fatal struct{ detail string }

// Fatalf implements pebble.Logger, which must not return: Pebble calls it when a write to its log or
// its list of files fails. In a commit of ours the panic becomes the write's error. Anywhere else
// nobody could catch it, and Go would end the process with the code of a refused configuration, which
// nobody starts again: so the process ends itself. Nothing was promised that is not on disk.
func (l quietLogger) Fatalf(format string, args ...any) {
	detail := fmt.Sprintf(format, args...)
	l.logger.Error("metadata store fails", "detail", detail)
	if !inCommit() {
		l.died(fmt.Errorf("%w: %s", ErrFailed, detail))
	}
	panic(fatal{detail})
}

// inCommit reports whether Store.commit is below its caller on this goroutine's stack.
func inCommit() bool {
	const deepest = 64
	callers := make([]uintptr, deepest)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "raftstore.(*Store).commit") {
			return true
		}
		if !more {
			return false
		}
	}
}
