package share

import (
	"encoding/base64"
	"fmt"
	"slices"
)

// Key names what one group makes of one partition.
type Key struct {
	Group     string
	Topic     [16]byte
	Partition int32
}

// String is what coordinators are found by: group, topic id and partition, with colons between.
func (k Key) String() string {
	return fmt.Sprintf("%s:%s:%d", k.Group, base64.RawURLEncoding.EncodeToString(k.Topic[:]), k.Partition)
}

// KeeperConfig is what all keepers of a node share.
type KeeperConfig struct {
	// UpdatesMax is `share.coordinator.snapshot.update.records.per.snapshot`.
	UpdatesMax int
	// RecordBytesMax is the largest record that can be appended.
	RecordBytesMax int
}

// State is the kept state of a share-partition.
type State struct {
	StateEpoch, LeaderEpoch int32
	// Start is -1 as long as no leader has chosen where to begin.
	Start int64
	// Complete is how many records at or above the start are done, -1 if it is not known.
	Complete int32
	Batches  []Batch
}

// Keeper keeps the state of one share-partition. It is for one goroutine.
type Keeper struct {
	cfg *KeeperConfig
	key Key
	// kept: there is a state; without one only Initialize is taken.
	kept bool
	State
	// snapshot is the epoch of the last snapshot, updates how many records have come since.
	snapshot int32
	updates  int
	// created is milliseconds since 1970.
	created int64
}

// NewKeeper returns a keeper of nothing.
func NewKeeper(cfg *KeeperConfig, key Key) *Keeper { return &Keeper{cfg: cfg, key: key} }

// Key is what the keeper keeps.
func (k *Keeper) Key() Key { return k.key }

// Exists reports whether there is anything to know.
func (k *Keeper) Exists() bool { return k.kept }

// Token names a request that waits for its reply; zero names none.
type Token uint64

// Event is a request to a Keeper.
type Event interface{ token() Token }

// Initialize makes a state, or, with a start, resets one. Without a start (-1) a state that is there stays
// as it is, so that it may be asked for again. The answer has no result.
type Initialize struct {
	Token      Token
	StateEpoch int32
	Start      int64
}

// Read asks for the state, and fences the leaders before. The answer is *State.
type Read struct {
	Token       Token
	LeaderEpoch int32
}

// Keep keeps what has changed. Start is -1 if it has not. The answer has no result.
type Keep struct {
	Token Token
	State
}

// Delete takes the state away; it is no error if there is none. The answer has no result.
type Delete struct{ Token Token }

// Summarize asks for the state without its batches, and fences nobody. The answer is *State.
type Summarize struct{ Token Token }

// Snapshot writes the state down whole, if there is one, and changes nothing. The answer has no result.
type Snapshot struct{ Token Token }

func (e Initialize) token() Token { return e.Token }
func (e Read) token() Token       { return e.Token }
func (e Keep) token() Token       { return e.Token }
func (e Delete) token() Token     { return e.Token }
func (e Summarize) token() Token  { return e.Token }
func (e Snapshot) token() Token   { return e.Token }

// Effects is what is to be done after a Step.
type Effects struct {
	// Records are to be appended, in this order and in one go. When that fails the Keeper must not be used
	// any more.
	Records []Record
	// Reply is the answer; there is one for each Step.
	Reply Reply
}

// Reply answers one request.
type Reply struct {
	Token Token
	// AfterRecords: the reply must not be sent before everything that this Keeper has ever put into
	// Effects.Records is committed.
	AfterRecords bool
	// Result is of the type that the event names.
	Result any
	Err    error
}

// Step takes one request. wall is milliseconds since 1970.
func (k *Keeper) Step(e Event, wall int64) Effects {
	fx := Effects{Reply: Reply{Token: e.token(), AfterRecords: true}}
	switch e := e.(type) {
	case Initialize:
		fx.Reply.Err = k.initialize(e, wall, &fx)
	case Read:
		fx.Reply.Result, fx.Reply.Err = k.read(e, wall, &fx)
	case Keep:
		fx.Reply.Err = k.keep(e, wall, &fx)
	case Summarize:
		if fx.Reply.Err = ErrUninitialized; k.kept {
			s := k.State
			s.Batches = nil
			fx.Reply.Result, fx.Reply.Err = &s, nil
		}
	case Snapshot:
		if k.kept {
			k.shoot(wall, &fx)
		}
	case Delete:
		if k.kept {
			fx.Records = append(fx.Records, Record{Key: keyOf(snapshotKey, k.key)})
			*k = Keeper{cfg: k.cfg, key: k.key, snapshot: k.snapshot}
		}
	}
	return fx
}

func (k *Keeper) initialize(e Initialize, wall int64, fx *Effects) error {
	switch {
	case k.kept && e.Start < 0:
		return nil
	case k.kept && e.StateEpoch == k.StateEpoch && e.Start == k.Start && len(k.Batches) == 0:
		return nil // the answer to the same request got lost
	case k.kept && e.StateEpoch <= k.StateEpoch:
		return fmt.Errorf("%w: %d, the present one is %d", ErrFencedState, e.StateEpoch, k.StateEpoch)
	}
	if !k.kept {
		k.created = wall
	}
	// No leader has read this state yet; those of the one before are fenced by the state's epoch.
	k.kept = true
	k.State = State{StateEpoch: e.StateEpoch, LeaderEpoch: k.LeaderEpoch, Start: max(e.Start, -1), Complete: -1}
	k.shoot(wall, fx)
	return nil
}

// shoot writes a snapshot.
func (k *Keeper) shoot(wall int64, fx *Effects) {
	k.snapshot++
	k.updates = 0
	fx.Records = append(fx.Records, k.record(wall))
}

func (k *Keeper) read(e Read, wall int64, fx *Effects) (any, error) {
	switch {
	case !k.kept:
		return nil, ErrUninitialized
	case e.LeaderEpoch < k.LeaderEpoch:
		return nil, fmt.Errorf("%w: %d, the present one is %d", ErrFencedLeader, e.LeaderEpoch, k.LeaderEpoch)
	case e.LeaderEpoch > k.LeaderEpoch:
		k.LeaderEpoch = e.LeaderEpoch
		k.note(State{Start: -1, Complete: -1, LeaderEpoch: e.LeaderEpoch}, wall, fx)
	}
	s := k.State
	s.Batches = slices.Clone(s.Batches)
	return &s, nil
}

func (k *Keeper) keep(e Keep, wall int64, fx *Effects) error {
	switch {
	case !k.kept:
		return ErrUninitialized
	case e.StateEpoch != k.StateEpoch:
		return fmt.Errorf("%w: %d, the present one is %d", ErrFencedState, e.StateEpoch, k.StateEpoch)
	case e.LeaderEpoch < k.LeaderEpoch:
		return fmt.Errorf("%w: %d, the present one is %d", ErrFencedLeader, e.LeaderEpoch, k.LeaderEpoch)
	}
	next := k.State
	next.apply(&e.State)
	if fixedBytes+len(k.key.Group)+batchBytes*max(len(next.Batches), len(e.Batches)) > k.cfg.RecordBytesMax {
		return ErrTooLarge
	}
	k.State = next
	k.note(e.State, wall, fx)
	return nil
}

// apply puts a change over the state.
func (s *State) apply(change *State) {
	s.LeaderEpoch = max(s.LeaderEpoch, change.LeaderEpoch)
	s.Start = max(s.Start, change.Start)
	if change.Complete >= 0 {
		s.Complete = change.Complete
	}
	s.Batches = overlay(s.Batches, s.Start, change.Batches)
}

// note writes an update, or a snapshot when there are many updates.
func (k *Keeper) note(change State, wall int64, fx *Effects) {
	if k.updates >= k.cfg.UpdatesMax {
		k.shoot(wall, fx)
		return
	}
	k.updates++
	fx.Records = append(fx.Records, k.updateRecord(&change))
}
