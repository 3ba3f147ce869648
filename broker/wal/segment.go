package wal

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"outrigger/broker/topic"
)

// segment is a file that the writer fills or will fill.
type segment struct {
	number   uint64
	file     File
	capacity int64
	// used counts from the start of the file to the end of the last sealed group. Log's mutex guards
	// it, since Reserve counts what is left.
	used int64
	// relief: it was made for what gives space back, and nothing else is promised room in it until there is
	// space for another. Log's mutex guards it.
	relief bool
	// seed of the records' checksums.
	seed uint32
}

// extent is what readers know of a file: everything from the header to end is durable.
type extent struct {
	number  uint64
	session topic.Session
	end     int64
	// last is the last group before end, of a file of the chain. born is when its first record was appended,
	// if that was in this session.
	last chain
	born time.Duration
}

func (e extent) pack() bool { return e.number&PackBit != 0 }

// grouped reports whether the records lie in groups: in the chain, and in what was adopted of it.
func (e extent) grouped() bool { return life(e.number)&PackBit == 0 }

// seed begins the checksums of its records.
func (e extent) seed() uint32 { return recordSeed(life(e.number), e.session) }

// The names in the directory. A file is made, or made anew, under a name that recovery ignores, and
// renamed when its header is synced. Numbers have no gaps, so that a missing file is noticed.
const (
	fileSuffix = ".wal"
	// spareSuffix: allocated and written once, ready to get a new header and a number.
	spareSuffix = ".spare"
	// packSuffix: records that were drained, sorted by partition; see Pack.
	packSuffix = ".pack"
	// orphanSuffix is added to a pack that nobody knows and nobody can have left: only people touch it.
	orphanSuffix = ".orphan"
	// unfinishedSuffix: being zero-filled; removed at Open.
	unfinishedSuffix = ".new"
	// mendedSuffix: takes the place of a damaged file once that is set aside; see Quarantine.
	mendedSuffix = ".mended"
	lockName     = "lock"
	scrubName    = "scrub"
	probeName    = "probe" + unfinishedSuffix
)

func fileName(dir string, number uint64, suffix string) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", number, suffix))
}

// parseName splits a base name; ok is false for names that are not the log's.
func parseName(name, suffix string) (number uint64, ok bool) {
	digits, found := strings.CutSuffix(name, suffix)
	if !found || len(digits) != 20 {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, err == nil && number > 0
}

func panicf(format string, args ...any) { panic(fmt.Sprintf("wal: "+format, args...)) }
