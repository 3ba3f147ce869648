package election

import (
	"fmt"
	"slices"
	"sort"

	"outrigger/broker/topic"
)

// WatcherConfig tunes a Watcher. All times are in ticks.
type WatcherConfig struct {
	// Self is never suspected.
	Self topic.NodeID
	// TimeoutTicks of silence make a suspicion. Required.
	TimeoutTicks int
	// RepeatTicks is how often a suspicion is repeated while nothing changes. Default: a quarter of
	// the timeout, at least 1.
	RepeatTicks int
	// PauseTicks is how late a tick may be. One that stands for more ticks than that means that we
	// were stopped ourselves and know nothing: everybody gets a fresh wait. Default: half the
	// timeout, so that a late tick can never use up a whole wait by itself.
	PauseTicks int
	// HintPercent of the wait that is left remain after a hint. Default: 50.
	HintPercent int
	// HintTicksMin remain at least. It must span several heartbeats, or a hint would be proof.
	// Default: a quarter of the timeout, at least 1.
	HintTicksMin int

	// mutant is a bug put in on purpose; production has none.
	mutant Mutant
}

func (c WatcherConfig) withDefaults() WatcherConfig {
	if c.TimeoutTicks < 1 {
		panic(fmt.Sprintf("election: timeout of %d ticks", c.TimeoutTicks))
	}
	half, quarter := max(1, c.TimeoutTicks/2), max(1, c.TimeoutTicks/4)
	setDefault(&c.RepeatTicks, quarter)
	setDefault(&c.PauseTicks, half)
	setDefault(&c.HintPercent, 50)
	setDefault(&c.HintTicksMin, quarter)
	return c
}

func setDefault(field *int, value int) {
	if *field <= 0 {
		*field = value
	}
}

// Suspicion says that a session was silent for too long. It is a state, not an event: it comes again
// until the image no longer holds the session live, or the session speaks.
type Suspicion struct {
	Member      topic.Member
	SilentTicks int
}

// String is a log line.
func (s Suspicion) String() string {
	return fmt.Sprintf("broker %d in session %s silent for %d ticks",
		s.Member.Node, s.Member.Session, s.SilentTicks)
}

// Watcher is the table "last heard, per node". It belongs to one goroutine.
type Watcher struct {
	config WatcherConfig
	// watched is sorted by node.
	watched []watch
}

// watch is one row of the table.
type watch struct {
	member topic.Member
	silent int
	// patience is how many silent ticks make a suspicion: the timeout, or less after a hint.
	patience int
	// repeat counts down to the next time that a suspicion is told.
	repeat int
	// hinted and granted allow one hint and one grant per silence: a route that flaps must not eat
	// the wait, and elections of a dead node must not feed it.
	hinted, granted bool
}

// NewWatcher makes a watcher of nobody. It panics if the timeout is not positive.
func NewWatcher(config WatcherConfig) *Watcher {
	return &Watcher{config: config.withDefaults()}
}

// Sync makes the table that of the image's live brokers. Who is new, or in a new session, gets a
// fresh wait; who is gone or fenced is forgotten; all others keep their time.
func (w *Watcher) Sync(live []topic.Broker) {
	watched := make([]watch, 0, len(live))
	for i := range live {
		m := topic.Member{Node: live[i].ID, Session: live[i].Session}
		if m.Node == w.config.Self || live[i].Fenced {
			continue
		}
		row := w.fresh(m)
		if known := w.row(m); known != nil {
			row = *known
		}
		watched = append(watched, row)
	}
	sort.Slice(watched, func(i, j int) bool { return less(watched[i].member, watched[j].member) })
	w.watched = watched
}

// Heard takes a heartbeat: it refreshes everything that the node does, in this session. It reports
// false for a session that the image does not hold live, whose heart may beat without meaning
// anything. A heartbeat that disclaims its leaderships (the node's data path hangs) is not to be
// given to Heard: the silence goes on.
func (w *Watcher) Heard(m topic.Member) bool { return w.HeardAfter(m, 0) }

// HeardAfter is Heard for a heartbeat that came when so many of the ticks that the next Tick passes had
// gone by. They are no silence after it.
func (w *Watcher) HeardAfter(m topic.Member, ticks int) bool {
	row := w.row(m)
	if row == nil {
		return false
	}
	*row = w.fresh(m)
	row.silent = -ticks
	return true
}

// Hint says that a route to the node was lost. It shortens the wait that is left, once per silence.
func (w *Watcher) Hint(node topic.NodeID) {
	row := w.rowOf(node)
	if row == nil || row.hinted {
		return
	}
	left := row.patience - row.silent
	shortened := max(left*w.config.HintPercent/100, w.config.HintTicksMin)
	row.patience, row.hinted = row.silent+min(left, shortened), true
}

// Grant says that an applied election made the node a leader: it gets a fresh wait, once per silence.
func (w *Watcher) Grant(node topic.NodeID) {
	row := w.rowOf(node)
	if row == nil || row.granted {
		return
	}
	*row = w.fresh(row.member)
	row.granted = true
}

// Tick passes elapsed ticks, the number that really went by since the last call, and returns who is
// silent for too long, by node. Heartbeats that wait in a queue must be taken out of it first: they
// are not silence.
func (w *Watcher) Tick(elapsed int) []Suspicion {
	if elapsed > w.config.PauseTicks {
		w.refresh()
		return nil
	}
	var suspicions []Suspicion
	for i := range w.watched {
		row := &w.watched[i]
		row.silent += elapsed
		if row.silent < row.patience {
			continue
		}
		if row.repeat -= elapsed; row.repeat <= 0 {
			row.repeat = w.config.RepeatTicks
			suspicions = append(suspicions, Suspicion{Member: row.member, SilentTicks: row.silent})
		}
	}
	if w.config.mutant == WatcherFiresOnce {
		w.watched = slices.DeleteFunc(w.watched, func(row watch) bool { return row.silent >= row.patience })
	}
	return suspicions
}

// Calm reports whether the next n ticks may pass in one call of Tick, at the end of their time: nobody
// is suspected, and whoever falls silent now is found at the same tick as by single ones.
func (w *Watcher) Calm(n int) bool {
	// One more may come with them, if the owner is late.
	if n+1 > w.config.PauseTicks {
		return false
	}
	for i := range w.watched {
		if w.watched[i].silent+n >= w.watched[i].patience {
			return false
		}
	}
	return true
}

// Suspects reports whether the session is in the table and silent for too long now.
func (w *Watcher) Suspects(m topic.Member) bool {
	row := w.row(m)
	return row != nil && row.silent >= row.patience
}

// Silent is for how many ticks the session has not been heard; false if it is not in the table.
func (w *Watcher) Silent(m topic.Member) (int, bool) {
	row := w.row(m)
	if row == nil {
		return 0, false
	}
	return max(0, row.silent), true
}

// Snapshot is a copy of the table, by node, for status pages and for the election worker, which runs
// in another goroutine.
func (w *Watcher) Snapshot() Table {
	rows := make([]Row, len(w.watched))
	for i, row := range w.watched {
		rows[i] = Row{Member: row.member, SilentTicks: max(0, row.silent), Suspected: row.silent >= row.patience}
	}
	return Table{rows: rows}
}

// refresh gives everybody a fresh wait.
func (w *Watcher) refresh() {
	for i := range w.watched {
		w.watched[i] = w.fresh(w.watched[i].member)
	}
}

func (w *Watcher) fresh(m topic.Member) watch {
	return watch{member: m, patience: w.config.TimeoutTicks}
}

func (w *Watcher) row(m topic.Member) *watch {
	if row := w.rowOf(m.Node); row != nil && row.member == m {
		return row
	}
	return nil
}

func (w *Watcher) rowOf(node topic.NodeID) *watch {
	i := sort.Search(len(w.watched), func(i int) bool {
		return w.watched[i].member.Node >= node
	})
	if i == len(w.watched) || w.watched[i].member.Node != node {
		return nil
	}
	return &w.watched[i]
}

// Table is what a Watcher knew at one moment. It is immutable.
type Table struct{ rows []Row }

// Row is one watched session.
type Row struct {
	Member      topic.Member
	SilentTicks int
	Suspected   bool
}

// Rows returns the rows by node; they must not be changed.
func (t Table) Rows() []Row { return t.rows }

// Suspects reports whether the session is in the table and was silent for too long.
func (t Table) Suspects(m topic.Member) bool {
	i := sort.Search(len(t.rows), func(i int) bool { return t.rows[i].Member.Node >= m.Node })
	return i < len(t.rows) && t.rows[i].Member == m && t.rows[i].Suspected
}
