package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"outrigger/cmd/outrigger/internal/datadir"
)

// Attribute keys of lines about the disk.
const (
	attrFree    = "free_bytes"
	attrFreeMin = "free_min_bytes"
)

// guardSpace begins to watch the space of the disk, before anything is written.
func (n *node) guardSpace() error {
	n.guard = datadir.NewGuard(n.dir.Space, n.Config.WAL.DiskFreeMin, fileBytes(n.Config))
	gauge := func(name, help string, value func() float64) {
		n.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("outrigger_disk_free_bytes", "What this process may still use of its disk.", func() float64 {
		free, _, _ := n.guard.State()
		return float64(free)
	})
	gauge("outrigger_disk_free_min_bytes", "What producers leave free (log.disk.free.min).", func() float64 {
		_, floor, _ := n.guard.State()
		return float64(floor)
	})
	gauge("outrigger_disk_low", "1 while producers wait for space on the disk.", func() float64 {
		if n.guard.Low() != "" {
			return 1
		}
		return 0
	})
	return n.guard.Look()
}

// watchSpace looks at the disk, and tells when producers have to wait and when they go on. A disk that
// cannot be asked is left as it was: what it is asked for next tells.
func (n *node) watchSpace() {
	if err := n.guard.Look(); err != nil {
		n.Logger.Debug("free space is not known", attrError, err)
		return
	}
	free, floor, low := n.guard.State()
	if low == n.low {
		return
	}
	n.low = low
	fields := map[string]any{"node": n.Config.Node.ID, attrFree: free, attrFreeMin: floor}
	if low {
		n.Logger.Warn("disk is low, producers wait until there is space", attrFree, free, attrFreeMin, floor)
		n.sidecar.Event("disk.low", fields)
		return
	}
	n.Logger.Info("disk has space again, producers go on", attrFree, free, attrFreeMin, floor)
	n.sidecar.Event("disk.recovered", fields)
}
