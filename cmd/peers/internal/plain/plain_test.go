package plain

import (
	"testing"
	"time"
)

// The page cache of the machine is not a test's to drop: this is Copy without that.
func TestCopySendsEveryByte(t *testing.T) {
	const bytes = 3<<20 + 17
	file, err := filled(t.Context(), t.TempDir(), bytes)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rate, err := send(file)
	if err != nil || rate.Bytes != bytes || rate.Took <= 0 {
		t.Errorf("got %+v %v, want %d bytes", rate, err, bytes)
	}
}

// The plain program writes what the log has written, so that both pay for the same syncs.
func TestPlainProgramWritesTheGroupsOfTheLog(t *testing.T) {
	const window = 200 * time.Millisecond
	ours, groups, err := WAL(t.Context(), t.TempDir(), window)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, size := range groups {
		sum += size
	}
	if ours.Bytes == 0 || sum != ours.Bytes {
		t.Fatalf("got groups of %d bytes and a rate of %d, want the same and more than 0", sum, ours.Bytes)
	}
	theirs, err := Groups(t.Context(), t.TempDir(), groups, window)
	if err != nil || theirs.Bytes == 0 {
		t.Errorf("got %+v %v, want a rate", theirs, err)
	}
}

func TestNoGroupsAreRefused(t *testing.T) {
	if rate, err := Groups(t.Context(), t.TempDir(), nil, time.Second); err == nil {
		t.Errorf("got %+v, want an error", rate)
	}
}
