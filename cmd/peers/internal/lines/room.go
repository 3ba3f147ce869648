package lines

import (
	"context"
	"fmt"
	"time"

	"outrigger/cmd/peers/internal/system"
)

const (
	// roomWithin is how long a cluster may take to give back what deleted topics held.
	roomWithin = time.Minute
	roomEvery  = 500 * time.Millisecond
	// roomRate is the rate that a window needs room for while none is known, in MB/s.
	roomRate = 300
)

// room is what one window of a line may write, in bytes: a half more than at its last rate.
func (r *Runner) room(line string, name system.Name, t timing) int64 {
	mbps := r.rates[string(name)+"/"+line+".mbps"]
	if mbps == 0 {
		mbps = roomRate
	}
	return int64(mbps * 1.5e6 * replicas * t.whole())
}

// awaitRoom waits until the disk takes another window. A cluster that runs gives back what its deleted
// topics held; one that waits for its turn cannot.
func (r *Runner) awaitRoom(ctx context.Context, wanted int64, free func() (int64, error)) error {
	deadline := time.Now().Add(r.roomWithin)
	for {
		have, err := free()
		if err != nil || have >= wanted {
			return err
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("the disk has %.1f GB left and a window may write %.1f GB: choose fewer --seconds or another --data",
				float64(have)/1e9, float64(wanted)/1e9)
		}
		if !system.Pause(ctx, roomEvery) {
			return ctx.Err()
		}
	}
}
