package replica

import (
	"slices"
	"testing"

	"outrigger/broker/topic"
)

// pass is a compaction of one host's log, in the steps between which others may come.
type pass struct {
	// limit is up to where the log is compacted, gone are the offsets that go, dropping is one past the newest
	// tombstone among them.
	limit    int
	gone     []int
	dropping topic.Offset
	// pinned: it will be installed from here on, unless the host crashes before.
	pinned bool
}

// keysMax is how many keys there are: few, so that each is written and deleted again and again.
const keysMax = 12

func keyOf(value int) int { return value % keysMax }

// deletes reports whether a value is none, but the tombstone of its key: every second one of a key.
func deletes(value int) bool { return value/keysMax%2 == 1 }

func (h *host) pinned() bool { return h.pass != nil && h.pass.pinned }

// dropping is what will be dropped by the compaction that is being recorded.
func (h *host) dropping() topic.Offset {
	if !h.pinned() {
		return 0
	}
	return h.pass.dropping
}

// compact brings a host's compaction one step further: it looks at the log, it decides, it replaces batches.
// The host may know of a newer image than its machine, never of an older one.
func (w *world) compact(h *host) {
	if !w.compacts || h.published == nil {
		return
	}
	if w.r.IntN(2) == 0 {
		h.published = w.image
	}
	placement, _ := h.published.Partition(thePartition)
	hold := len(placement.ISR) < len(placement.Replicas)
	switch p := h.pass; {
	case p == nil:
		if int(h.id)%2 == 0 || w.r.IntN(10) == 0 { // some are lazy
			h.pass = h.plan(!hold && w.r.IntN(3) > 0)
		}
	case p.pinned:
		h.install()
		w.keepNewest()
	case p.limit > min(int(h.hw), h.durable) || p.dropping > 0 && hold:
		h.pass = nil // it was cut, or a replica has come or gone meanwhile
	default:
		p.pinned = true
		if p.dropping > 0 {
			w.dropped++
		}
	}
}

// plan says what can go of a log: whatever is superseded, and of tombstones those that are old.
func (h *host) plan(old bool) *pass {
	p := &pass{limit: min(int(h.hw), h.durable)}
	newest := map[int]int{}
	for i := h.start; i < p.limit; i++ {
		if !h.log[i].gone {
			newest[keyOf(h.log[i].value)] = i
		}
	}
	for i := h.start; i < p.limit; i++ {
		value := h.log[i].value
		superseded, expired := newest[keyOf(value)] != i, old && deletes(value)
		if h.log[i].gone || !superseded && !expired {
			continue
		}
		p.gone = append(p.gone, i)
		if !superseded {
			p.dropping = topic.Offset(i + 1)
		}
	}
	return p
}

// install makes the compaction under way count.
func (h *host) install() {
	for _, i := range h.pass.gone {
		if i >= h.start {
			h.log[i].gone = true
		}
	}
	h.dropped, h.pass = max(h.dropped, h.pass.dropping), nil
}

// take appends what a follower was sent. Of what is gone nobody can tell any more what it was.
func (h *host) take(records []record) {
	h.log = append(h.log, records...)
	if len(records) > 0 && records[len(records)-1].gone {
		h.dropped = topic.Offset(len(h.log))
	}
}

// keepNewest requires that who may lead, since its log has all that was committed, shows the newest value of each
// key, or its tombstone, or nothing of the key if that is deleted.
func (w *world) keepNewest() {
	p := w.placement()
	if !w.compacts || p == nil {
		return
	}
	for _, h := range w.hosts {
		if m := h.member(); p.InSync(m) || slices.Contains(p.Eligible, m) {
			w.keepsNewest(h)
		}
	}
}

func (w *world) keepsNewest(h *host) {
	end := len(w.committed)
	last, shown := map[int]int{}, map[int]int{}
	for i := range end {
		key := keyOf(w.committed[i].value)
		last[key] = i
		if i >= h.start && !h.log[i].gone {
			shown[key] = i
		}
	}
	for key, i := range last {
		at, shows := shown[key]
		switch value := w.committed[i].value; {
		case i < h.start, shows && at == i, !shows && deletes(value):
		case deletes(value):
			w.fail("node %d shows key %d with the value at %d, which was deleted at %d", h.id, key, at, i)
		default:
			w.fail("node %d does not show the newest value of key %d at %d", h.id, key, i)
		}
	}
}

// compacted plays a seed of a cluster whose hosts compact, and says what was wrong.
func compacted(t *testing.T, seed uint64, mutant Mutant) (w *world, wrong string) {
	w = newWorld(t, seed, 3+2*int(seed%2))
	w.compacts, w.mutant = true, mutant
	for _, h := range w.hosts {
		h.machine.cfg.mutant = mutant
	}
	w.caught = func(text string) { panic(violation(text)) }
	defer func() {
		if p := recover(); p != nil {
			text, ok := p.(violation)
			if !ok {
				panic(p)
			}
			wrong = string(text)
		}
	}()
	w.upkeep(2500)
	w.heal()
	return w, ""
}

// upkeep is chaos of which logs grow long enough to be worth a compaction.
func (w *world) upkeep(steps int) {
	for step := range steps {
		h := w.hosts[w.r.IntN(len(w.hosts))]
		if !slices.ContainsFunc(w.hosts, func(h *host) bool { return !w.placement().InSync(h.member()) }) {
			w.wiped = false // another disk may be lost
		}
		dice := w.r.IntN(1000)
		if step < steps/3 {
			dice = max(dice, 30) // at first nothing goes wrong, and there is something to compact
		}
		switch {
		case dice < 8:
			w.crash(h)
		case dice < 11:
			w.fence(h)
		case dice < 30:
			w.register(h)
		case dice < 70:
			w.arrive()
		case dice < 71:
			w.deleteTo(h, w.r.IntN(len(h.log)+1))
		case dice < 130:
			w.compact(h)
		case dice < 230:
			w.produce(h)
		case dice < 350:
			w.sync(h)
		case dice < 410:
			w.tick()
		case dice < 500:
			w.refresh(h)
		case dice < 600:
			w.feed(h)
		default:
			w.deliver(step > steps/3)
		}
	}
}

// violation is what a world panics with.
type violation string

// Each replica compacts by itself, goes by the image that it knows, and may lead, follow, crash and lose its
// disk at any time: whoever may lead shows what the newest committed records say.
func TestLogsCompactedApartShowTheSameValues(t *testing.T) {
	seeds, dropped, resets := uint64(800), 0, 0
	if testing.Short() {
		seeds = 100
	}
	for seed := range seeds {
		w, wrong := compacted(t, seed, Sound)
		if wrong != "" {
			t.Fatalf("seed %d: %s", seed, wrong)
		}
		dropped, resets = dropped+w.dropped, resets+w.resets
	}
	if dropped < int(seeds) || resets < int(seeds)/4 {
		t.Errorf("tombstones were dropped in %d compactions, and %d logs began anew over %d seeds: the schedules prove nothing",
			dropped, resets, seeds)
	}
}

// The test above would find it if logs were mixed.
func TestMixedLogsAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("needs many seeds")
	}
	for seed := range uint64(2000) {
		if _, wrong := compacted(t, seed, MixesLogs); wrong != "" {
			t.Logf("seed %d: %s", seed, wrong)
			return
		}
	}
	t.Error("nothing was found in 2000 seeds")
}
