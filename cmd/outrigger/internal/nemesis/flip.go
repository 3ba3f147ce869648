package nemesis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"outrigger/broker/wal"
)

var errNothingToFlip = errors.New("the log is empty")

// extent is a stretch of a file that holds something valid.
type extent struct {
	file  string
	from  int64
	bytes int64
}

// flipBits turns bits of a stopped broker's log, each where a fraction of its valid bytes says, and
// returns the places.
func flipBits(dir string, flips []Flip) ([]string, error) {
	walDir := filepath.Join(dir, "wal")
	var extents []extent
	_, err := wal.Dump(wal.OS(), walDir, func(r wal.DumpRecord) {
		extents = append(extents, extent{file: r.Name, from: r.At.Offset, bytes: r.Bytes})
	})
	if err != nil {
		return nil, err
	}
	var places []string
	for _, f := range flips {
		file, at, err := place(extents, f.At)
		if err != nil {
			return nil, err
		}
		if err := flipBit(filepath.Join(walDir, filepath.Base(file)), at, f.Bit); err != nil {
			return nil, err
		}
		places = append(places, fmt.Sprintf("%s:%d.%d", filepath.Base(file), at, f.Bit))
	}
	return places, nil
}

// place finds the byte at a fraction of all.
func place(extents []extent, fraction float64) (file string, at int64, err error) {
	var total int64
	for _, e := range extents {
		total += e.bytes
	}
	if total == 0 {
		return "", 0, errNothingToFlip
	}
	left := min(int64(fraction*float64(total)), total-1)
	for _, e := range extents {
		if left < e.bytes {
			return e.file, e.from + left, nil
		}
		left -= e.bytes
	}
	panic("nemesis: a byte below the total lies in no extent")
}

func flipBit(path string, at int64, bit int) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("flip a bit: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var one [1]byte
	if _, err := file.ReadAt(one[:], at); err != nil {
		return fmt.Errorf("flip a bit: %w", err)
	}
	one[0] ^= 1 << bit
	if _, err := file.WriteAt(one[:], at); err != nil {
		return fmt.Errorf("flip a bit: %w", err)
	}
	return file.Sync()
}
