package nemesis

import (
	"fmt"
	"strings"
	"time"
)

// Kind is one way to break a cluster.
type Kind string

// The kinds of faults.
const (
	// Kill is kill -9 of one broker, started again at the end.
	Kill Kind = "kill"
	// KillAll is kill -9 of all at once; they return in a drawn order.
	KillAll Kind = "kill-all"
	// Pause is SIGSTOP, then SIGCONT.
	Pause Kind = "pause"
	// Isolate cuts one broker from all others, in both directions.
	Isolate Kind = "isolate"
	// OneWay cuts one direction between one broker and all others.
	OneWay Kind = "one-way"
	// Partial cuts a pair, or leaves two halves with one broker in common; both still reach somebody.
	Partial Kind = "partial"
	// DiskFull leaves the broker whose directory is on the small file system without room.
	DiskFull Kind = "disk-full"
	// SyncError makes every sync fail with EIO.
	SyncError Kind = "sync-error"
	// SyncDelay makes every sync slow.
	SyncDelay Kind = "sync-delay"
	// BitFlip kills a broker and flips bits in its log before it is started again.
	BitFlip Kind = "bit-flip"
	// Wipe kills a broker and removes its directory before it is started again.
	Wipe Kind = "wipe"
)

// Kinds are all of them, in the order of the report.
var Kinds = []Kind{Kill, KillAll, Pause, Isolate, OneWay, Partial, DiskFull, SyncError, SyncDelay, BitFlip, Wipe}

// Lossy reports whether what a broker had on its disk may be gone afterwards.
func (k Kind) Lossy() bool { return k == BitFlip || k == Wipe }

// mayEnd reports whether the broker may end by itself, for its storage.
func (k Kind) mayEnd() bool { return k == DiskFull || k == SyncError }

// ofNetwork reports whether the fault lies between brokers and leaves their processes alone.
func (k Kind) ofNetwork() bool { return k == Isolate || k == OneWay || k == Partial }

// Fault is one fault as it was drawn. Fields beyond Kind and Hold matter to some kinds only.
type Fault struct {
	Kind Kind
	// Node is the broker that suffers, from 1.
	Node int
	// Hold is how long it lasts; bounded below by what the fault itself takes.
	Hold time.Duration
	// Cuts are the directions that carry nothing.
	Cuts []Cut
	// Order is the order of return of KillAll.
	Order []int
	// Delay is what every sync waits, or the time between two returns of KillAll.
	Delay time.Duration
	// RoomBytes is what DiskFull leaves.
	RoomBytes int64
	// Restart: DiskFull kills the broker first and starts it on the full disk, where it finds no room
	// for the file that every start begins.
	Restart bool
	// Flips are the places of BitFlip, each as a fraction of the log's bytes, and the bit.
	Flips []Flip
}

// Flip is a bit of a log: At is in [0, 1).
type Flip struct {
	At  float64
	Bit int
}

// String is the fault for a log line.
func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", f.Kind)
	if f.Node > 0 && !f.Kind.ofNetwork() {
		fmt.Fprintf(&b, " of broker %d", f.Node)
	}
	switch f.Kind {
	case KillAll:
		fmt.Fprintf(&b, ", back in order %v %v apart", f.Order, f.Delay)
	case SyncDelay:
		fmt.Fprintf(&b, " by %v", f.Delay)
	case DiskFull:
		fmt.Fprintf(&b, " but for %d KiB", f.RoomBytes>>10)
		if f.Restart {
			fmt.Fprintf(&b, ", killed and started on it")
		}
	case BitFlip:
		fmt.Fprintf(&b, ", %d bits", len(f.Flips))
	}
	if len(f.Cuts) > 0 {
		fmt.Fprintf(&b, " %s", describeCuts(f.Cuts))
	}
	fmt.Fprintf(&b, " for %v", f.Hold)
	return b.String()
}
