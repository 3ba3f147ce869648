package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Replay gathers what the records of one partition say, in their order.
type Replay struct {
	groups    map[string]*replayed
	undecided map[string]*undecided
	// Unknown counts records of kinds that this package does not know.
	Unknown int
}

type replayed struct {
	meta      *kmsg.GroupMetadataValue
	offsets   map[Place]Offset
	consumers *replayedConsumers
	shares    *replayedShares
}

// group is what is known of a group, perhaps nothing yet.
func (r *Replay) group(name string) *replayed {
	g := r.groups[name]
	if g == nil {
		g = &replayed{offsets: map[Place]Offset{}, consumers: newReplayedConsumers(), shares: newReplayedShares()}
		r.groups[name] = g
	}
	return g
}

// drop forgets a group of which nothing is left.
func (r *Replay) drop(name string) {
	if g := r.groups[name]; g.meta == nil && len(g.offsets) == 0 && g.consumers.nothing() && g.shares.nothing() {
		delete(r.groups, name)
	}
}

// NewReplay returns the replay of a partition that holds nothing yet.
func NewReplay() *Replay {
	return &Replay{groups: map[string]*replayed{}, undecided: map[string]*undecided{}}
}

// Apply takes one record. It keeps no slice of it. An error wraps ErrMalformed.
func (r *Replay) Apply(record Record) error {
	d, err := decode(record)
	switch {
	case err != nil:
		return err
	case !d.known:
		r.Unknown++
		return nil
	case d.isConsumer:
		return r.applyConsumer(record)
	case d.isShare:
		return r.applyShare(record)
	}
	r.overtake(&d)
	g := r.group(d.group)
	switch {
	case d.isGroup:
		g.meta = d.meta
		g.own()
	case d.offset != nil:
		g.offsets[d.place] = *d.offset
	default:
		delete(g.offsets, d.place)
	}
	r.drop(d.group)
	return nil
}

// own copies the byte fields, which alias the record.
func (g *replayed) own() {
	if g.meta == nil {
		return
	}
	for i := range g.meta.Members {
		m := &g.meta.Members[i]
		m.Subscription = append([]byte{}, m.Subscription...)
		m.Assignment = append([]byte{}, m.Assignment...)
	}
}

// Machines makes the groups that there are. The sessions of their members begin now.
func (r *Replay) Machines(cfg *Config, now Time) map[string]*Machine {
	machines := make(map[string]*Machine, len(r.groups))
	for name, g := range r.groups {
		m := New(cfg, name)
		m.restore(g.meta, now)
		m.restoreConsumers(g.consumers, now)
		m.restoreShares(g.shares, now)
		m.offsets = g.offsets
		m.rewind()
		machines[name] = m
	}
	r.restoreUndecided(machines, cfg)
	return machines
}
