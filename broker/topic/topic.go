package topic

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// NameLengthMax is the longest topic name that Kafka allows, in bytes.
const NameLengthMax = 249

// Topic is one topic of the cluster image.
type Topic struct {
	ID   ID
	Name string
	// Configs holds only what was set for this topic; everything else has its default.
	Configs map[string]string
	// ConfigEpoch grows with every change of Configs.
	ConfigEpoch int32
	// Partitions is indexed by partition number and is never empty.
	Partitions []*Placement
	// Internal topics belong to the broker (`__consumer_offsets`).
	Internal bool
}

// Placement says where a partition lives and who leads it.
type Placement struct {
	// Replicas in order of preference; the first is the preferred leader.
	Replicas []NodeID
	// Origin and Target are the replicas before and after a reassignment that is under way (KIP-455), in
	// order of preference; both nil without one. Replicas then holds the targets, then the other origins.
	Origin, Target []NodeID
	// Evicted nodes held a replica once and hold none now, the latest last: the committed word by which
	// they drop its log. It is bounded; who is not named keeps what it has.
	Evicted []NodeID
	// ISR is the in-sync set. A member counts only under the session that it was admitted with.
	ISR []Member
	// Eligible holds the eligible leader replicas (KIP-966): out of the in-sync set, but known to
	// hold everything below the high watermark.
	Eligible []Member
	// LastKnown is the last in-sync set before the partition ran out of clean candidates, less those
	// whose disk is another one since. An operator, or all of its members coming back, must decide who
	// leads then.
	LastKnown []NodeID
	// Claims tell what live replicas say that they hold, while nobody leads, in replica order.
	Claims []Claim
	// Leader is NoNode while nobody leads.
	Leader NodeID
	// LeaderSession is the session that LeaderEpoch was granted to: no other may append under it.
	LeaderSession Session
	LeaderEpoch   Epoch
	// Unclean says that LeaderEpoch began with an unclean election.
	Unclean bool
	// UncleanEpoch is the last leader epoch that did, 0 if none has. A replica whose log ends in an
	// older epoch was away since, and may have to cut below its high watermark.
	UncleanEpoch Epoch
	// PartitionEpoch grows with every change of this placement; proposals compare and set it.
	PartitionEpoch int32
}

// Member is a replica in one session.
type Member struct {
	Node    NodeID
	Session Session
}

// Claim is what a replica says that it holds. It counts in that session alone.
type Claim struct {
	Member Member
	// TailEpoch is the leader epoch of its last record, NoEpoch in an empty log; End is its log end.
	TailEpoch Epoch
	End       Offset
}

// Exceeds reports whether a log that ends like c holds all that one that ends like o can hold of what
// was ever committed.
func (c Claim) Exceeds(o Claim) bool {
	return c.TailEpoch > o.TailEpoch || c.TailEpoch == o.TailEpoch && c.End > o.End
}

// InSync reports whether m is in the in-sync set, in its very session.
func (p *Placement) InSync(m Member) bool {
	for _, member := range p.ISR {
		if member == m {
			return true
		}
	}
	return false
}

// Hosts reports whether node holds a replica.
func (p *Placement) Hosts(node NodeID) bool {
	for _, replica := range p.Replicas {
		if replica == node {
			return true
		}
	}
	return false
}

// Moving reports whether a reassignment is under way.
func (p *Placement) Moving() bool { return p.Target != nil }

// Adding are the replicas that a reassignment brings, nil without one.
func (p *Placement) Adding() []NodeID { return lacking(p.Target, p.Origin) }

// Removing are the replicas that a reassignment takes away, nil without one.
func (p *Placement) Removing() []NodeID { return lacking(p.Origin, p.Target) }

// IsAdding reports whether a reassignment brings node.
func (p *Placement) IsAdding(node NodeID) bool {
	return slices.Contains(p.Target, node) && !slices.Contains(p.Origin, node)
}

// UnderReplicated reports whether a replica is out of sync, not counting those that a reassignment brings.
func (p *Placement) UnderReplicated() bool {
	missing := len(p.Replicas) - len(p.ISR)
	for _, node := range p.Adding() {
		if !slices.ContainsFunc(p.ISR, func(m Member) bool { return m.Node == node }) {
			missing--
		}
	}
	return missing > 0
}

// Final are the replicas that the partition has in the end, when what is under way has ended.
func (p *Placement) Final() []NodeID {
	if p.Moving() {
		return p.Target
	}
	return p.Replicas
}

// Factor is the replication factor that promises are made by: during a reassignment the smaller one of
// those before and after it. (A partition of one replica that is to have three would otherwise refuse
// acks=all until the second one has copied everything.)
func (p *Placement) Factor() int {
	if p.Moving() {
		return min(len(p.Origin), len(p.Target))
	}
	return len(p.Replicas)
}

// lacking are the nodes of list that other lacks.
func lacking(list, other []NodeID) []NodeID {
	var rest []NodeID
	for _, node := range list {
		if !slices.Contains(other, node) {
			rest = append(rest, node)
		}
	}
	return rest
}

// Endpoint is an address that clients may be told.
type Endpoint struct {
	// Listener is the listener's name, "PLAINTEXT" unless configured.
	Listener string
	Host     string
	Port     int32
}

// BatchBytesMost is the largest batch that any broker can carry: it goes in one message of NATS, which has 64 MiB at
// the most, beside our frame's own prefix.
const BatchBytesMost = 60 << 20

// Carries is the largest batch that the broker can carry, 0 if it never said anything of it.
func (b *Broker) Carries() int32 {
	if b.BatchBytesMax == 0 {
		return b.MessageBytesMax // of a version whose messages are made for no more
	}
	return b.BatchBytesMax
}

// Broker is one registered broker of the cluster image.
type Broker struct {
	ID        NodeID
	Session   Session
	Disk      DiskID
	Endpoints []Endpoint
	Rack      string
	Version   string
	// Levels are the format levels that the broker speaks.
	Levels Levels
	// MessageBytesMax is the largest batch that the broker takes, 0 if it never said. All live brokers that
	// said so have the same.
	MessageBytesMax int32
	// BatchBytesMax is the largest batch that the broker can carry if a topic allows it: what its log, its
	// requests and its messages hold. 0 if it never said: then it is MessageBytesMax.
	BatchBytesMax int32
	// Fenced brokers lead nothing, are in no in-sync set and are not told to clients.
	Fenced bool
}

// Creation asks for a topic. The proposer draws the ID, so that a proposal whose outcome is unknown
// can be made again: the same ID once more is success.
type Creation struct {
	ID         ID
	Name       string
	Partitions int32
	// ReplicationFactor is ignored when Assignments is set.
	ReplicationFactor int16
	// Assignments, when not nil, gives the replicas of each partition, preferred leader first.
	Assignments [][]NodeID
	Configs     map[string]string
	Internal    bool
}

// Growth asks for more partitions.
type Growth struct {
	ID ID
	// Total is the number of partitions wanted in the end.
	Total int32
	// Assignments, when not nil, gives the replicas of each added partition.
	Assignments [][]NodeID
}

// What can become of a change to the cluster image. The broker's error table turns each into a Kafka
// error code; ErrOutcomeUnknown and ErrNoController must become retriable ones.
var (
	// ErrNameTaken: a topic of that name and another ID exists.
	ErrNameTaken = errors.New("topic name is taken")
	// ErrUnknown: no such topic or partition.
	ErrUnknown = errors.New("topic is unknown")
	// ErrInvalidName: the name breaks Kafka's rules.
	ErrInvalidName = errors.New("topic name is invalid")
	// ErrInvalidPartitions: the number of partitions is zero, negative or shrinks.
	ErrInvalidPartitions = errors.New("number of partitions is invalid")
	// ErrInvalidReplicationFactor: zero, negative, or more than there are registered brokers.
	ErrInvalidReplicationFactor = errors.New("replication factor is invalid")
	// ErrInvalidAssignment: unknown brokers, duplicates or uneven lists.
	ErrInvalidAssignment = errors.New("replica assignment is invalid")
	// ErrInvalidConfig: a config key or value that is not honoured.
	ErrInvalidConfig = errors.New("config is invalid")
	// ErrNoController: no controller was reached before the deadline, nothing was proposed.
	ErrNoController = errors.New("no controller is reachable")
	// ErrOutcomeUnknown: the proposal was handed on and no answer came; it may yet happen.
	ErrOutcomeUnknown = errors.New("outcome is unknown")
	// ErrTooLarge: the change is larger than the metadata log takes at once. Nothing happened, and nothing
	// will if it is asked for again: it wants to be split.
	ErrTooLarge = errors.New("change of the metadata is too large")
	// ErrUnsafe: the replicas that would remain may lack something that is committed.
	ErrUnsafe = errors.New("remaining replicas may lack committed records")
	// ErrInUse: a broker that is live, votes, or holds replicas cannot be taken out.
	ErrInUse = errors.New("broker is in use")
	// ErrInvalidVoters: nobody, too many, or nodes that are not registered.
	ErrInvalidVoters = errors.New("voters are invalid")
	// ErrLevelLacking: a registered broker does not speak the format level.
	ErrLevelLacking = errors.New("not every registered broker speaks that format level")
	// ErrStale: a compare-and-set lost against another change.
	ErrStale = errors.New("state has changed")
)

// ValidateName applies Kafka's rules for topic names; its error wraps ErrInvalidName.
func ValidateName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidName)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q is not allowed", ErrInvalidName, name)
	case len(name) > NameLengthMax:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidName, len(name), NameLengthMax)
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return fmt.Errorf("%w: %q holds a character other than a-z, A-Z, 0-9, '.', '_' and '-'",
				ErrInvalidName, name)
		}
	}
	return nil
}

func nameByte(b byte) bool {
	switch {
	case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		return true
	default:
		return b == '.' || b == '_' || b == '-'
	}
}

// Levels is a range of format levels: of what brokers write to disks and send each other. The cluster
// finalizes one level, which every broker speaks, and never a lower one later.
type Levels struct{ Min, Max uint16 }

const (
	// FirstLevel is the level of all that was written before there were levels.
	FirstLevel = 1
	// AdoptionLevel is the first at which a file of the write-ahead log may become a pack as it is: versions
	// that do not speak it take a catalog which names such a pack for a damaged one.
	AdoptionLevel = 2
	// TerseLevel is the first at which a catalog may tell the producers of a log by how their batches differ: versions that
	// do not speak it take such a log for a damaged one.
	TerseLevel = 3
	// HeadLevel is the first at which a catalog may tell of many batches of a log together, so that a start need not read each:
	// versions that do not speak it take such a catalog for a damaged one.
	HeadLevel = 4
)

// Hold reports whether the level is in the range. One that was never told holds the first level.
func (l Levels) Hold(level uint16) bool {
	if l == (Levels{}) {
		return level == FirstLevel
	}
	return l.Min <= level && level <= l.Max
}

// String is "min-max".
func (l Levels) String() string {
	if l == (Levels{}) {
		l = Levels{FirstLevel, FirstLevel}
	}
	return strconv.Itoa(int(l.Min)) + "-" + strconv.Itoa(int(l.Max))
}
