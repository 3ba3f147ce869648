package node

import (
	"testing"

	"outrigger/broker/topic"
)

// The logs are opened, and run, before it is known what the cluster has finalized: no file is adopted until
// an image says that all versions know of it.
func TestLogsMayAdoptOnceTheLevelIsFinalized(t *testing.T) {
	n := newNode(t)
	may := n.logConfig(monotonic()).MayAdopt
	if may() {
		t.Error("files may be adopted before anything is known of the cluster")
	}
	level := uint16(topic.FirstLevel)
	tell := func() uint16 { return level }
	n.level.Store(&tell)
	for _, want := range []bool{false, true, true} {
		if got := may(); got != want {
			t.Errorf("level %d: got %t, want %t", level, got, want)
		}
		level++
	}
}
