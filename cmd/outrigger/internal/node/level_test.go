package node

import (
	"testing"

	"outrigger/broker/topic"
)

// The logs are opened, and run, before it is known what the cluster has finalized: no file is adopted and nothing is written
// tersely until an image says that all versions know of it.
func TestLogsWriteInANewWayOnceTheLevelIsFinalized(t *testing.T) {
	n := newNode(t)
	cfg := n.logConfig(monotonic())
	if cfg.MayAdopt() || cfg.MayBeTerse() || cfg.MayHead() {
		t.Error("something is written in a new way before anything is known of the cluster")
	}
	level := uint16(topic.FirstLevel)
	tell := func() uint16 { return level }
	n.level.Store(&tell)
	for ; level <= topic.HeadLevel+1; level++ {
		if got, want := cfg.MayAdopt(), level >= 2; got != want {
			t.Errorf("level %d: files may be adopted %t, want %t", level, got, want)
		}
		if got, want := cfg.MayBeTerse(), level >= 3; got != want {
			t.Errorf("level %d: catalogs may be terse %t, want %t", level, got, want)
		}
		if got, want := cfg.MayHead(), level >= 4; got != want {
			t.Errorf("level %d: catalogs may have heads %t, want %t", level, got, want)
		}
	}
}
