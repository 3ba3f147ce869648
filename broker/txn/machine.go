package txn

import (
	"math"
	"slices"
)

// Config is what all transactional ids of a node share.
type Config struct {
	// TimeoutMaxMillis is `transaction.max.timeout.ms`.
	TimeoutMaxMillis int64
	// ExpirationMillis is `transactional.id.expiration.ms`.
	ExpirationMillis int64
	// RecordBytesMax is the largest record that can be appended.
	RecordBytesMax int
}

// State is what a transactional id is doing. The numbers are Kafka's, which records hold.
type State uint8

// The states of a transactional id.
const (
	Empty State = iota
	Ongoing
	PrepareCommit
	PrepareAbort
	CompleteCommit
	CompleteAbort
	// Dead is not a state of a Machine: it is what those hear who ask for an id that is not known.
	Dead
)

// String is Kafka's name of the state.
func (s State) String() string {
	return [...]string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead"}[s]
}

// preparing: decided, and markers are on their way.
func (s State) preparing() bool { return s == PrepareCommit || s == PrepareAbort }

// commits: the last transaction was committed, or is being.
func (s State) commits() bool { return s == PrepareCommit || s == CompleteCommit }

const (
	// never is a time that does not come.
	never = math.MaxInt64
	// epochLast is the last epoch that a producer may write with; the one after it is for markers alone.
	epochLast = math.MaxInt16 - 1
)

// Machine is one transactional id. It is for one goroutine.
type Machine struct {
	cfg  *Config
	name string
	// kept: the log holds a record of the id. Without one nothing is known of it.
	kept  bool
	state State
	// id and epoch are what the present producer writes with, or, while markers are sent, what those bear.
	id    int64
	epoch int16
	// last is the epoch that a producer named to go on from when its epoch was changed, NoEpoch if there
	// is none. It is not in the log: the answer may be lost, but not across a change of the coordinator.
	last int16
	// previous is the producer id before this one, next the one that the producer has after the markers;
	// NoProducer if it keeps its own.
	previous, next int64
	// version is the client's transaction version in the last transaction.
	version    int16
	timeout    int32
	partitions []Partition // sorted
	// started is when the transaction began, -1 without one, updated when the state did; wall clock.
	started, updated int64
	// expires is when an ongoing transaction times out, on the monotonic clock.
	expires int64
}

// New returns a transactional id of which nothing is known.
func New(cfg *Config, name string) *Machine {
	return &Machine{
		cfg: cfg, name: name, id: NoProducer, epoch: NoEpoch, last: NoEpoch, previous: NoProducer, next: NoProducer,
		started: -1, updated: -1, expires: never,
	}
}

// Name is the transactional id.
func (m *Machine) Name() string { return m.name }

// Exists reports whether anything is known of the id.
func (m *Machine) Exists() bool { return m.kept }

// Wake is the time, on the monotonic clock, before which Tick does nothing.
func (m *Machine) Wake() int64 { return m.expires }

// Step takes one event.
func (m *Machine) Step(e Event, now Time, fx *Effects) {
	var result any
	var err error
	switch e := e.(type) {
	case Init:
		result, err = m.init(e, now, fx)
	case Add:
		err = m.add(e, now, fx)
	case Verify:
		result, err = m.verify(e)
	case End:
		result, err = m.end(e, now, fx)
	case Marked:
		m.marked(e, now, fx)
	}
	if err != nil {
		fx.refuse(e.token(), err)
	} else {
		fx.reply(e.token(), result)
	}
}

// Tick aborts a transaction whose time is up. Its producer is fenced: it may think that it still writes.
func (m *Machine) Tick(now Time, fx *Effects) {
	if m.state == Ongoing && m.expires <= now.Mono {
		m.fence(NoEpoch, now, fx)
	}
}

// Sweep takes the id away when its producer has not been heard of for long enough.
func (m *Machine) Sweep(now Time, fx *Effects) {
	if !m.kept || m.state == Ongoing || m.state.preparing() || now.Wall-m.updated < m.cfg.ExpirationMillis {
		return
	}
	fx.Records = append(fx.Records, Record{Key: keyOf(m.name)})
	*m = *New(m.cfg, m.name)
}

// Resume asks for the markers of a transaction that was decided before: by a coordinator that may have
// sent none, some or all of them.
func (m *Machine) Resume(now Time, fx *Effects) {
	switch {
	case !m.state.preparing():
	case len(m.partitions) == 0:
		m.complete(now, fx)
	default:
		m.sendMarkers(m.version >= BumpsEpochs, fx)
	}
}

// init begins a producer.
func (m *Machine) init(e Init, now Time, fx *Effects) (any, error) {
	if e.TimeoutMillis <= 0 || int64(e.TimeoutMillis) > m.cfg.TimeoutMaxMillis {
		return nil, ErrInvalidTimeout
	}
	if !m.kept {
		if e.NewID == NoProducer {
			return nil, ErrNeedsProducerID
		}
		m.id, m.epoch = e.NewID, 0
		return m.begin(e, now, fx), nil
	}
	if err := m.goesOn(e); err != nil {
		return nil, err
	}
	switch {
	case m.state.preparing():
		return nil, ErrConcurrent
	case m.state == Ongoing && e.ID != NoProducer && e.Epoch != m.epoch:
		return nil, ErrFenced // a late request: the producer has gone on since
	case m.state == Ongoing:
		// The epoch of this fence is told to nobody: whoever asks again gets a newer one, except for a
		// producer that fences itself, which may go on with it.
		m.fence(e.Epoch, now, fx)
		return nil, ErrConcurrent
	case e.ID != NoProducer && (e.ID != m.id || e.Epoch == m.last) && m.epoch <= epochLast:
		// The answer to the same request got lost.
		return &Identity{m.id, m.epoch}, nil
	case m.epoch < epochLast:
		m.last = NoEpoch
		if e.ID != NoProducer {
			m.last = m.epoch
		}
		m.epoch++
	case e.NewID == NoProducer:
		return nil, ErrNeedsProducerID
	default:
		m.previous, m.id, m.epoch, m.last = m.id, e.NewID, 0, NoEpoch
	}
	return m.begin(e, now, fx), nil
}

// goesOn judges a producer that wants to go on: it must be the present one, or have just been given
// another identity.
func (m *Machine) goesOn(e Init) error {
	switch {
	case e.ID == NoProducer:
		return nil
	case e.ID == m.id && (e.Epoch == m.epoch || e.Epoch == m.last && m.last != NoEpoch):
		return nil
	case e.ID == m.previous && e.Epoch >= epochLast && m.epoch == 0:
		return nil
	default:
		return ErrFenced
	}
}

// begin makes the id that of a producer without a transaction.
func (m *Machine) begin(e Init, now Time, fx *Effects) *Identity {
	m.kept, m.state, m.timeout, m.started = true, Empty, e.TimeoutMillis, -1
	m.keep(now, fx)
	return &Identity{m.id, m.epoch}
}

// fence aborts the ongoing transaction under a newer epoch. last is the epoch of a producer that may go
// on, NoEpoch if none may.
func (m *Machine) fence(last int16, now Time, fx *Effects) {
	m.epoch++
	m.last = last
	m.decide(false, true, now, fx)
}

// writes judges a producer that wants to write in its transaction.
func (m *Machine) writes(id int64, epoch int16) error {
	switch {
	case !m.kept || id != m.id:
		return ErrUnknownProducer
	case epoch != m.epoch:
		return ErrFenced
	case m.state.preparing():
		return ErrConcurrent
	default:
		return nil
	}
}

// add makes partitions part of the transaction.
func (m *Machine) add(e Add, now Time, fx *Effects) error {
	if err := m.writes(e.ID, e.Epoch); err != nil {
		return err
	}
	grown := m.partitions
	if m.state != Ongoing {
		grown = nil
	}
	fresh := false
	for _, p := range e.Partitions {
		if at, there := slices.BinarySearchFunc(grown, p, compare); !there {
			grown = slices.Insert(slices.Clone(grown), at, p)
			fresh = true
		}
	}
	if !fresh {
		return nil
	}
	if recordBytes(m.name, grown) > m.cfg.RecordBytesMax {
		return ErrTooLarge
	}
	if m.state != Ongoing {
		m.state, m.started = Ongoing, now.Wall
		m.expires = now.Mono + int64(m.timeout)
	}
	m.partitions, m.version = grown, e.Version
	m.keep(now, fx)
	return nil
}

// verify tells which partitions are part of the ongoing transaction.
func (m *Machine) verify(e Verify) (any, error) {
	if err := m.writes(e.ID, e.Epoch); err != nil {
		return nil, err
	}
	v := &Verified{Errs: make([]error, len(e.Partitions))}
	for i, p := range e.Partitions {
		if _, there := slices.BinarySearchFunc(m.partitions, p, compare); !there || m.state != Ongoing {
			v.Errs[i] = ErrNotAdded
		}
	}
	return v, nil
}

// end decides the transaction.
func (m *Machine) end(e End, now Time, fx *Effects) (any, error) {
	again := m.endsAgain(e)
	bumps := e.Version >= BumpsEpochs
	switch {
	case !m.kept || e.ID != m.id && !again:
		return nil, ErrUnknownProducer
	case e.Epoch != m.epoch && !again:
		return nil, ErrFenced
	case m.state.preparing() && (again || !bumps) && m.state.commits() != e.Commit:
		return nil, ErrInvalidState
	case m.state.preparing():
		return nil, ErrConcurrent
	case again || m.state != Ongoing && m.state != Empty && !bumps:
		if m.state.commits() != e.Commit {
			return nil, ErrInvalidState
		}
		return &Identity{m.id, m.epoch}, nil
	case m.state != Ongoing && (e.Commit || !bumps):
		return nil, ErrInvalidState
	case bumps && m.epoch >= epochLast && e.NewID == NoProducer:
		return nil, ErrNeedsProducerID
	}
	if bumps {
		if m.epoch >= epochLast {
			m.next = e.NewID
		}
		m.last = m.epoch
		m.epoch++
	}
	// Without a transaction the client may still want a new epoch: it does not know what has come through.
	if m.state != Ongoing {
		m.partitions = nil
	}
	m.version = e.Version
	identity := &Identity{m.id, m.epoch}
	if m.next != NoProducer {
		identity = &Identity{m.next, 0}
	}
	m.decide(e.Commit, bumps, now, fx)
	return identity, nil
}

// endsAgain: the request was carried out already and its answer got lost, so the epoch is a newer one.
func (m *Machine) endsAgain(e End) bool {
	if e.Version < BumpsEpochs || m.version < BumpsEpochs || m.state == Empty || m.state == Ongoing {
		return false
	}
	return e.ID == m.id && e.Epoch == m.epoch-1 ||
		e.ID == m.previous && e.Epoch == epochLast && m.epoch == 0 && !m.state.preparing()
}

// decide ends the transaction: the record of it is the commit point.
func (m *Machine) decide(commit, bumped bool, now Time, fx *Effects) {
	m.expires = never
	m.state = PrepareAbort
	if commit {
		m.state = PrepareCommit
	}
	if len(m.partitions) == 0 {
		m.complete(now, fx)
		return
	}
	m.keep(now, fx)
	m.sendMarkers(bumped, fx)
}

func (m *Machine) sendMarkers(strict bool, fx *Effects) {
	fx.Markers = append(fx.Markers, Markers{
		ID: m.id, Epoch: m.epoch, Commit: m.state == PrepareCommit, Strict: strict, Partitions: slices.Clone(m.partitions),
	})
}

// marked takes in which partitions have their marker.
func (m *Machine) marked(e Marked, now Time, fx *Effects) {
	if !m.state.preparing() || e.ID != m.id || e.Epoch != m.epoch {
		return
	}
	m.partitions = slices.DeleteFunc(m.partitions, func(p Partition) bool { return slices.Contains(e.Partitions, p) })
	if len(m.partitions) == 0 {
		m.complete(now, fx)
	}
}

// complete is after the last marker. A crash before its record has all markers sent again.
func (m *Machine) complete(now Time, fx *Effects) {
	if m.state == PrepareCommit {
		m.state = CompleteCommit
	} else {
		m.state = CompleteAbort
	}
	if m.next != NoProducer {
		m.previous, m.id, m.epoch, m.next, m.last = m.id, m.next, 0, NoProducer, NoEpoch
	}
	m.partitions = nil
	m.keep(now, fx)
}

// keep writes the state down.
func (m *Machine) keep(now Time, fx *Effects) {
	m.updated = now.Wall
	fx.Records = append(fx.Records, m.record())
}

// Description is a transactional id as tools show it.
type Description struct {
	State State
	Identity
	TimeoutMillis int32
	// Started is milliseconds since 1970, -1 while there is no transaction.
	Started    int64
	Partitions []Partition
}

// Describe tells what the id is doing at the moment.
func (m *Machine) Describe() Description {
	d := Description{State: Dead, Started: -1}
	if !m.kept {
		return d
	}
	d.State, d.Identity, d.TimeoutMillis = m.state, Identity{m.id, m.epoch}, m.timeout
	if m.state == Ongoing || m.state.preparing() {
		d.Started, d.Partitions = m.started, slices.Clone(m.partitions)
	}
	return d
}

// Progress is the state, and when the transaction began on the wall clock, -1 if there is none.
func (m *Machine) Progress() (State, int64) {
	switch {
	case !m.kept:
		return Dead, -1
	case m.state == Ongoing || m.state.preparing():
		return m.state, m.started
	}
	return m.state, -1
}

func (m *Machine) sortPartitions() { slices.SortFunc(m.partitions, compare) }
