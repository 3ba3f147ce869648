package group

import (
	"errors"
	"maps"
	"slices"
)

// Offsets that are committed within a transaction are written down at once, in batches of the
// transaction, and count when its marker comes:
//
//	TxnCommit --> undecided, by producer --+-- marker: commit --> offsets of the group
//	                                       +-- marker: abort  --> forgotten
//
// What comes last in the log counts. So an offset that is committed without a transaction, or deleted,
// takes away what is undecided for its partition, and one that becomes decided takes away what older
// transactions wrote there: whatever becomes of them, they have lost.

// TxnCommit keeps offsets within a transaction. The answer is *Committed. Its records, the only ones of
// the step, belong into batches of the producer's transaction.
type TxnCommit struct {
	Token      Token
	ProducerID int64
	MemberID   string
	Instance   *string
	// Generation is negative for those who say nothing of themselves.
	Generation int32
	// KnowsEpochs: the request is of a version that tells member epochs (TxnOffsetCommit v6).
	KnowsEpochs bool
	Offsets     []CommitOffset
}

// Decide says what became of a producer's transaction. It has no answer.
type Decide struct {
	ProducerID int64
	Commit     bool
}

func (e TxnCommit) token() Token { return e.Token }
func (e Decide) token() Token    { return 0 }

// undecided are offsets whose transactions are open. Each has a number that grows in the order of the log.
type undecided struct {
	byProducer map[int64]map[Place]numberedOffset
	numbered   uint64
}

type numberedOffset struct {
	Offset
	number uint64
}

// put notes an offset of a transaction.
func (u *undecided) put(producer int64, at Place, o Offset) {
	if u.byProducer == nil {
		u.byProducer = map[int64]map[Place]numberedOffset{}
	}
	if u.byProducer[producer] == nil {
		u.byProducer[producer] = map[Place]numberedOffset{}
	}
	u.numbered++
	u.byProducer[producer][at] = numberedOffset{o, u.numbered}
}

// decide takes a producer's offsets out, and those that they overtake; the former are returned.
func (u *undecided) decide(producer int64, commit bool) map[Place]numberedOffset {
	decided := u.byProducer[producer]
	delete(u.byProducer, producer)
	if !commit {
		return nil
	}
	for at, o := range decided {
		u.drop(at, o.number)
	}
	return decided
}

// drop forgets what is undecided for a place and older than a number, and reports whether that was
// anything.
func (u *undecided) drop(at Place, before uint64) (dropped bool) {
	for producer, offsets := range u.byProducer {
		if o, ok := offsets[at]; ok && o.number < before {
			dropped = true
			delete(offsets, at)
			if len(offsets) == 0 {
				delete(u.byProducer, producer)
			}
		}
	}
	return dropped
}

const all = ^uint64(0)

// has reports whether something is undecided for a place.
func (u *undecided) has(at Place) bool {
	for _, offsets := range u.byProducer {
		if _, ok := offsets[at]; ok {
			return true
		}
	}
	return false
}

// places lists where something is undecided, sorted.
func (u *undecided) places() []Place {
	found := map[Place]bool{}
	for _, offsets := range u.byProducer {
		for at := range offsets {
			found[at] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), comparePlaces)
}

// Producers lists whose transactions the group has offsets of.
func (m *Machine) Producers() []int64 { return slices.Sorted(maps.Keys(m.undecided.byProducer)) }

// txnCommit keeps offsets until the transaction is decided. Who names a member must be one of the present
// generation (KIP-447), also while it waits for its assignment: what it has consumed before is its own.
func (m *Machine) txnCommit(e TxnCommit, now Time, fx *Effects) {
	if e.Generation >= 0 || e.MemberID != "" || e.Instance != nil {
		one, err := m.mayCommit(Commit{
			MemberID: e.MemberID, Instance: e.Instance, Generation: e.Generation, Offsets: e.Offsets,
			KnowsEpochs: e.KnowsEpochs || m.consumers != nil, // the generation is an epoch then
		})
		if errors.Is(err, ErrStaleEpoch) && !e.KnowsEpochs {
			err = ErrIllegalGeneration // TxnOffsetCommit has no other word for it before version 6
		}
		if err != nil && !errors.Is(err, ErrRebalancing) {
			fx.refuse(e.Token, err)
			return
		}
		if one != nil {
			m.alive(one, now)
		}
	}
	fx.reply(e.Token, m.keepOffsets(e.Offsets, now, fx, func(p Place, o Offset) {
		m.undecided.put(e.ProducerID, p, o)
	}))
}

// decide makes a transaction's offsets the group's, or forgets them.
func (m *Machine) decide(e Decide) {
	for at, o := range m.undecided.decide(e.ProducerID, e.Commit) {
		m.offsets[at] = o.Offset
	}
}

// overtake forgets what is undecided for a place: something newer has come. It reports whether there was
// anything.
func (m *Machine) overtake(at Place) bool { return m.undecided.drop(at, all) }

// forgetUndecided takes away everything that is undecided, in the log too.
func (m *Machine) forgetUndecided(fx *Effects) {
	for _, at := range m.undecided.places() {
		m.forget(at, fx)
	}
}

// unstable marks, in the answer to a Fetch, the places that an open transaction may change.
func (m *Machine) unstable(e Fetch, fx *Effects) {
	if !e.Stable || len(m.undecided.byProducer) == 0 || len(fx.Replies) == 0 {
		return
	}
	fetched, ok := fx.Replies[len(fx.Replies)-1].Result.(*Fetched)
	if !ok {
		return
	}
	fetched.Unstable = make([]bool, len(fetched.Offsets))
	for i, o := range fetched.Offsets {
		fetched.Unstable[i] = m.undecided.has(o.Place)
	}
}

// ApplyIn takes one record of a producer's transaction.
func (r *Replay) ApplyIn(producer int64, record Record) error {
	d, err := decode(record)
	if err != nil || !d.known || d.offset == nil {
		return err
	}
	if r.undecided[d.group] == nil {
		r.undecided[d.group] = &undecided{}
	}
	r.undecided[d.group].put(producer, d.place, *d.offset)
	return nil
}

// Decide takes the marker that ends a producer's transaction.
func (r *Replay) Decide(producer int64, commit bool) {
	for name, u := range r.undecided {
		for at, o := range u.decide(producer, commit) {
			g := r.group(name)
			g.offsets[at] = o.Offset
		}
		if len(u.byProducer) == 0 {
			delete(r.undecided, name)
		}
	}
}

// overtake is Machine.overtake for a record outside of transactions.
func (r *Replay) overtake(d *decoded) {
	if u := r.undecided[d.group]; u != nil && d.known && d.place != (Place{}) {
		u.drop(d.place, all)
	}
}

// restoreUndecided hands on what no marker has decided yet.
func (r *Replay) restoreUndecided(machines map[string]*Machine, cfg *Config) {
	for name, u := range r.undecided {
		if len(u.byProducer) == 0 {
			continue
		}
		if machines[name] == nil {
			machines[name] = New(cfg, name)
		}
		machines[name].undecided = *u
	}
}
