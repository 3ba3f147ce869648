// Package catalog keeps a small table of keys and values on disk: where drained data lies, and what the
// logs were when it was drained. It owns a Pebble of its own, apart from the metadata's, so that its
// write stalls cannot silence the Raft. What the keys mean is the business of package partition.
package catalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"outrigger/broker/pebblefs"
)

// Edit puts a value under a key or, with Until, deletes all keys from Key on and below Until.
type Edit struct {
	Key, Value []byte
	Until      []byte
}

// Deletion deletes a key, which it copies.
func Deletion(key []byte) Edit {
	n := len(key)
	until := append(append(make([]byte, 0, n+1), key...), 0)
	return Edit{Key: until[:n:n], Until: until}
}

// ofOne reports whether an edit deletes one key.
func (e Edit) ofOne() bool {
	n := len(e.Key)
	return len(e.Until) == n+1 && e.Until[n] == 0 && bytes.Equal(e.Until[:n], e.Key)
}

// Ranger is a table that is looked into.
type Ranger interface {
	// Range calls fn with every pair from `from` on and below until, in the order of the keys. Key and
	// value hold only during the call.
	Range(from, until []byte, fn func(key, value []byte) error) error
}

// View is a table as it was at some moment. To look into it is cheap if that is done in the order of the keys. One goroutine
// uses it, and closes it before the table is closed; as long as it is open, it keeps files on the disk.
type View interface {
	Ranger
	Close() error
}

// Sizes. An edit describes files of the WAL that were drained: some hundred kilobytes at most times, megabytes of thousands of
// logs. What is more than half of a table in memory is written to files of its own at once. The log of a table takes as much of
// the disk, and a tenth more, from the start: small disks have no room for larger ones.
const (
	cacheBytes    = 8 << 20
	memTableBytes = 4 << 20
	openFilesMax  = 64
	// memTablesMost are those that Pebble takes the memory of off the cache: the one at hand, the one that is written, and one
	// that each of two views keeps: a drain's, and a start's, until all of that is read.
	memTablesMost = 4
	// editBytes is what an edit takes in a batch beside its key and value, at most.
	editBytes = 1 + 2*binary.MaxVarintLen32
)

// ErrDamaged: the table is not what was written. What was drained is not known any more.
var ErrDamaged = errors.New("catalog of drained data is damaged")

// Catalog is an open table. One goroutine edits it.
type Catalog struct{ db *pebble.DB }

// Open opens or makes the table in dir. died hears of a write that failed in a goroutine of Pebble's; it
// ends the process and does not return.
func Open(dir string, logger *slog.Logger, died func(error)) (*Catalog, error) {
	if err := pebblefs.MakeDir(vfs.Default, dir); err != nil {
		return nil, fmt.Errorf("make catalog: %w", err)
	}
	if err := pebblefs.CheckLogs(vfs.Default, dir); errors.Is(err, pebblefs.ErrLost) {
		return nil, fmt.Errorf("open catalog: %w: %w", ErrDamaged, err)
	} else if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	cache := pebble.NewCache(cacheBytes + memTablesMost*memTableBytes)
	defer cache.Unref()
	options := &pebble.Options{
		FS:    pebblefs.Wrap(vfs.Default, "catalog", pebblefs.FullDiskPause, logger),
		Cache: cache, MemTableSize: memTableBytes, MaxOpenFiles: openFilesMax,
		FormatMajorVersion: pebble.FormatNewest, Logger: quiet{logger, died},
	}
	// The usual scheduler wakes ten times a second.
	options.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	db, err := pebble.Open(dir, options)
	if pebble.IsCorruptionError(err) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", dir, err)
	}
	return &Catalog{db: db}, nil
}

// Look opens the table in dir for reading, and verifies all of it; closed says that it was closed in good
// order. The catalog is nil if there is damage.
func Look(dir string, closed bool) (*Catalog, []pebblefs.Bad, error) {
	db, bad, err := pebblefs.Look(vfs.Default, dir, closed, cacheBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("verify catalog: %w", err)
	}
	if db == nil {
		return nil, bad, nil
	}
	return &Catalog{db: db}, nil, nil
}

// Range implements Ranger.
func (c *Catalog) Range(from, until []byte, fn func(key, value []byte) error) error {
	all, err := c.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: until})
	if err != nil {
		return fmt.Errorf("read catalog: %w", err)
	}
	for ok := all.First(); ok && err == nil; ok = all.Next() {
		err = fn(all.Key(), all.Value())
	}
	if err := errors.Join(err, all.Error(), all.Close()); err != nil {
		return fmt.Errorf("read catalog: %w", err)
	}
	return nil
}

// View opens a view of the table as it is now.
func (c *Catalog) View() (View, error) {
	all, err := c.db.NewIter(nil)
	if err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	return view{all}, nil
}

type view struct{ all *pebble.Iterator }

// Range implements Ranger.
func (v view) Range(from, until []byte, fn func(key, value []byte) error) (err error) {
	ok := v.all.Valid() && bytes.Equal(v.all.Key(), from) // The look before ended where this one begins.
	if !ok {
		ok = v.all.SeekGE(from)
	}
	for ; ok && err == nil && bytes.Compare(v.all.Key(), until) < 0; ok = v.all.Next() {
		err = fn(v.all.Key(), v.all.Value())
	}
	if err := errors.Join(err, v.all.Error()); err != nil {
		return fmt.Errorf("read catalog: %w", err)
	}
	return nil
}

// Close implements View.
func (v view) Close() error {
	if err := v.all.Close(); err != nil {
		return fmt.Errorf("close view of catalog: %w", err)
	}
	return nil
}

// Apply makes all edits, in their order, durable together. After an error nothing is known, and the node
// has to stop.
func (c *Catalog) Apply(edits []Edit) (err error) {
	size := 0
	for _, e := range edits {
		size += len(e.Key) + len(e.Value) + len(e.Until) + editBytes
	}
	b := c.db.NewBatchWithSize(size)
	defer func() { err = errors.Join(err, b.Close()) }()
	for _, e := range edits {
		switch {
		case e.ofOne(): // Whoever reads a file has to take in all of its ranges.
			err = b.Delete(e.Key, nil)
		case e.Until != nil:
			err = b.DeleteRange(e.Key, e.Until, nil)
		default:
			err = b.Set(e.Key, e.Value, nil)
		}
		if err != nil {
			return fmt.Errorf("edit catalog: %w", err)
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("edit catalog: %w", err)
	}
	return nil
}

// Close closes the table.
func (c *Catalog) Close() error {
	if err := c.db.Close(); err != nil {
		return fmt.Errorf("close catalog: %w", err)
	}
	return nil
}

// quiet passes on Pebble's errors and what it dies of, not its progress.
type quiet struct {
	logger *slog.Logger
	died   func(error)
}

// Infof implements pebble.Logger.
func (quiet) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (q quiet) Errorf(format string, args ...any) {
	q.logger.Error("catalog: " + fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger.
func (q quiet) Fatalf(format string, args ...any) {
	q.died(fmt.Errorf("catalog has failed: "+format, args...))
}
