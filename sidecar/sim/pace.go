package sim

// pace is how the ticks of a host's Raft come: one by one, or several at the end of their time while
// nobody would notice, as sidecar's pace has them.
type pace struct {
	// from is when the last tick passed, due when the next event of kind tick is; planned ticks lie
	// between them.
	from, due int64
	planned   int
	// fired: a tick has come since the last turn, so the next one may be planned anew.
	fired bool
}

// period is a tick on this host's clock. Clocks run apart by some percent.
func (h *host) period() int64 { return tickMicros + int64(h.at%3-1)*tickMicros/20 }

// planTick puts the next event of kind tick behind so many ticks from the last one.
func (h *host) planTick(ticks int) {
	w := h.world
	if ticks == 1 {
		h.pace.from = w.now
	}
	h.pace.planned = ticks
	h.pace.due = max(w.now+1, h.pace.from+int64(ticks)*h.period()+w.between(0, tickMicros/20))
	w.queue.push(event{at: h.pace.due, kind: tick, host: h.at, run: h.run, planned: h.pace.due})
}

// pass feeds ticks.
func (h *host) pass(ticks int) {
	for range ticks {
		h.ticks++
		if h.broker != nil {
			h.broker.meta.Tick()
		} else {
			h.quorum.Tick()
		}
	}
}

// passGone feeds the ticks of a stride that have gone by: what comes now came after them.
func (h *host) passGone() {
	gone := min(int((h.world.now-h.pace.from)/h.period()), h.pace.planned-1)
	if gone <= 0 {
		return
	}
	h.pace.from += int64(gone) * h.period()
	h.pace.planned -= gone
	h.pass(gone)
}

// stride plans the next tick after a turn: together with those behind it while all is calm, and at its
// own time when it is not.
func (h *host) stride() {
	if !h.up() || !h.world.mix.strides {
		return
	}
	fired := h.pace.fired
	h.pace.fired = false
	switch calm := h.broker.meta.Calm(strideTicks); {
	case fired && calm && h.pace.planned == 1:
		h.world.count.strides++
		h.planTick(strideTicks)
	case !calm && h.pace.planned > 1:
		h.pace.planned = 1
		h.pace.due = max(h.world.now+1, h.pace.from+h.period())
		h.world.queue.push(event{at: h.pace.due, kind: tick, host: h.at, run: h.run, planned: h.pace.due})
	}
}
