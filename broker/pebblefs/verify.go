package pebblefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// errReadOnly: a store that is only looked at was to be changed. A bug of the caller.
var errReadOnly = errors.New("store is only looked at")

// ReadOnly refuses every change of fs. Locks are granted without a file: whoever looks holds another one.
func ReadOnly(fs vfs.FS) vfs.FS { return readOnly{fs} }

type readOnly struct{ vfs.FS }

func (readOnly) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errReadOnly }
func (readOnly) Link(string, string) error                              { return errReadOnly }
func (readOnly) Remove(string) error                                    { return errReadOnly }
func (readOnly) RemoveAll(string) error                                 { return errReadOnly }
func (readOnly) Rename(string, string) error                            { return errReadOnly }
func (readOnly) MkdirAll(string, os.FileMode) error                     { return errReadOnly }
func (readOnly) Lock(string) (io.Closer, error)                         { return unlocked{}, nil }
func (r readOnly) Unwrap() vfs.FS                                       { return r.FS }

// OpenReadWrite implements vfs.FS.
func (readOnly) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errReadOnly
}

// ReuseForWrite implements vfs.FS.
func (readOnly) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errReadOnly
}

// Bad is a place in a store's files that is damaged.
type Bad struct {
	File   string
	Byte   int64
	Reason string
}

// Look opens the store in dir for reading and verifies all of it: its logs, every block of every table
// that it names, and the order of all keys. closed says that it was closed in good order, so that its logs
// must end as such logs do; otherwise they may be torn, but not before a later batch. What is damaged is no
// error; the store is nil then.
func Look(fs vfs.FS, dir string, closed bool, cacheBytes int64) (*pebble.DB, []Bad, error) {
	l := &look{fs: ReadOnly(fs), dir: dir}
	err := EachLog(l.fs, dir, func(path string, number uint32, b []byte) error {
		at := FollowLog(b, number, func([]byte) {})
		next, more := goesOn(b, at, number)
		switch {
		case more:
			l.found(path, int64(at), fmt.Sprintf("log is bad, and a later batch lies at byte %d", next))
		case closed && !endsWell(b, at, number):
			l.found(path, int64(at), "log does not end here as it was closed")
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	var db *pebble.DB
	err = guard("open", func() (err error) {
		db, err = pebble.Open(dir, &pebble.Options{FS: l.fs, Cache: cache, ReadOnly: true,
			ErrorIfNotExists: true, FormatMajorVersion: pebble.FormatNewest, Logger: panics{}})
		return err
	})
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, nil, fmt.Errorf("open %s: %w", dir, err)
	case err != nil:
		l.found(dir, 0, err.Error())
		return nil, l.bad, nil
	}
	l.tables(db)
	if len(l.bad) == 0 {
		if err := guard("read", func() error { return keys(db) }); err != nil {
			l.found(dir, 0, err.Error())
		}
	}
	if len(l.bad) == 0 {
		return db, nil, nil
	}
	// It may have lost count of what it has open when it came upon the damage: that does not matter now.
	_ = guard("close", db.Close)
	return nil, l.bad, nil
}

// look is one call of Look.
type look struct {
	fs  vfs.FS
	dir string
	bad []Bad
}

func (l *look) found(file string, at int64, reason string) {
	l.bad = append(l.bad, Bad{File: file, Byte: at, Reason: reason})
}

// tables verifies every block of every table.
func (l *look) tables(db *pebble.DB) {
	levels, err := db.SSTables()
	if err != nil {
		l.found(l.dir, 0, err.Error())
		return
	}
	for _, level := range levels {
		for _, t := range level {
			path := filepath.Join(l.dir, fmt.Sprintf("%06d.sst", uint64(t.FileNum)))
			if err := guard("read", func() error { return table(l.fs, path) }); err != nil {
				l.found(path, 0, err.Error())
			}
		}
	}
}

func table(fs vfs.FS, path string) error {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	options := &pebble.Options{}
	options.EnsureDefaults()
	r, err := sstable.NewReader(context.Background(), readable, options.MakeReaderOptions())
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// keys reads every key, and checks that each level is in order.
func keys(db *pebble.DB) error {
	if err := db.CheckLevels(nil); err != nil {
		return err
	}
	all, err := db.NewIter(nil)
	if err != nil {
		return err
	}
	for ok := all.First(); ok; ok = all.Next() {
		if _, err := all.ValueAndErr(); err != nil {
			return errors.Join(err, all.Close())
		}
	}
	return errors.Join(all.Error(), all.Close())
}

// guard makes an error of a panic: Pebble does not always expect what a damaged file says.
func guard(what string, fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: %v", what, r)
		}
	}()
	return fn()
}

// panics is the logger of a store that is looked at: what it dies of is caught, what it says otherwise
// comes as an error, too.
type panics struct{}

// Infof implements pebble.Logger.
func (panics) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (panics) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger.
func (panics) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// unlocked stands for a lock that nobody needs.
type unlocked struct{}

// Close implements io.Closer.
func (unlocked) Close() error { return nil }
