package cluster

import (
	"fmt"

	"outrigger/broker/topic"
)

// CommandBytesMax bounds an encoded command. Proposers with more items than fit make more commands.
const CommandBytesMax = 4 << 20

const (
	commandVersion = 1
	resultVersion  = 1
)

// Least encoded sizes of list elements, for believing counts.
const (
	memberBytesMin   = 9  // node, session
	partitionBytes   = 17 // topic id, index
	endpointBytesMin = 3
)

// Encode writes a command:
//
//	version u8 = 1 | level u16 | kind u8 | body
//
// Bodies, in the order of the fields of the command types; v is a zig-zag varint, u an unsigned one,
// s a string (u length, bytes), [x] a list (u count, elements), id 16 bytes, session 8 bytes:
//
//	SetClusterID         s
//	SetLevel             u16
//	SetDefaults          v min in sync | u8 unclean
//	RegisterBroker       broker | u8 clean stop | u8 flush always, and if it is not unconditional
//	                     (kind 15): session that it replaces | v message bytes max
//	FenceBroker          v node | session | s reason
//	ResignBroker         v node | session
//	AlterISR             [ id | v index | v leader epoch | v partition epoch | member | [member] ]
//	CreateTopics         [ id | s name | v partitions | v factor | assignments | configs
//	                       | u8 internal ]
//	DeleteTopics         [ id ]
//	CreatePartitions     [ id | v total | assignments ]
//	AllocateProducerIDs  v node | session
//	ElectUnclean         [ id | v index | v partition epoch | v node ]
//	QuarantineReplicas   member | [ id | v index | v leader epoch ]
//	ElectPreferred       [ id | v index ]
//	AlterConfigs         [ u8 resource kind | id | s name | v epoch | configs ]
//	ClaimLogs            member | [ id | v index | v leader epoch | v tail epoch | v end ]
//	Reassign             [ id | v index | v partition epoch | u8 0, or u8 1 | [ v node ] target ]
//	FinishReassignments  [ id | v index | v partition epoch ]
//	UnregisterBroker     v node
//	SetVoters            [ v node ] before | [ v node ] after
//
//	broker       v node | session | disk 16 | [ s listener | s host | v port ] | s rack | s version
//	member       v node | session
//	assignments  u8 0, or u8 1 | [ [ v node ] ]
//	configs      [ s key | s value ], keys sorted
func Encode(c Command) []byte {
	var w writer
	w.u8(commandVersion)
	w.u16(levelOf(c))
	w.u8(uint8(c.kind()))
	c.append(&w)
	return w.bytes
}

// levelOf is the level that a node must speak to read c. A level is finalized by a command of that level:
// versions that could not carry it out alike stop there.
func levelOf(c Command) uint16 {
	if set, ok := c.(SetLevel); ok {
		return max(topic.FirstLevel, set.Level)
	}
	return topic.FirstLevel
}

// Decode reads what Encode wrote. A kind or level that this build does not know is an error.
func Decode(b []byte) (Command, error) {
	if len(b) > CommandBytesMax {
		return nil, fmt.Errorf("decode command: %w: %d bytes, at most %d",
			ErrFormat, len(b), CommandBytesMax)
	}
	r := reader{bytes: b}
	version, level, k := r.u8(), r.u16(), kind(r.u8())
	if r.err == nil && version != commandVersion {
		r.fail("version %d", version)
	}
	switch {
	case r.err == nil && level == 0:
		r.fail("level 0")
	case r.err == nil && level > Level && k != kindSetLevel:
		return nil, fmt.Errorf("decode command: %w", unsupported(level))
	}
	c := r.command(k)
	if err := r.finish(); err != nil {
		return nil, fmt.Errorf("decode command: %w", err)
	}
	return c, nil
}

func (r *reader) command(k kind) Command {
	switch k {
	case kindSetClusterID:
		return SetClusterID{ID: r.string()}
	case kindSetLevel:
		return SetLevel{Level: r.u16()}
	case kindSetDefaults:
		return SetDefaults{MinInSync: r.i32(), UncleanElection: r.bool()}
	case kindRegisterBroker:
		return RegisterBroker{Broker: r.broker(), CleanStop: r.bool(), FlushAlways: r.bool(), Unconditional: true}
	case kindReplaceSession:
		c := RegisterBroker{Broker: r.broker(), CleanStop: r.bool(), FlushAlways: r.bool(), Replaces: r.session()}
		c.Broker.MessageBytesMax = r.i32()
		return c
	case kindFenceBroker:
		return FenceBroker{Node: r.node(), Session: r.session(), Reason: r.string()}
	case kindResignBroker:
		return ResignBroker{Node: r.node(), Session: r.session()}
	case kindAlterISR:
		return AlterISR{Changes: list(r, partitionBytes+memberBytesMin+3, r.change)}
	case kindCreateTopics:
		return CreateTopics{Topics: list(r, 22, r.creation)}
	case kindDeleteTopics:
		return DeleteTopics{IDs: list(r, 16, r.topicID)}
	case kindCreatePartitions:
		return CreatePartitions{Growths: list(r, 18, r.growth)}
	case kindAllocateProducerIDs:
		return AllocateProducerIDs{Node: r.node(), Session: r.session()}
	case kindElectUnclean:
		return ElectUnclean{Elections: list(r, partitionBytes+2, r.election)}
	case kindQuarantineReplicas:
		return QuarantineReplicas{Member: r.member(), Items: list(r, partitionBytes+1, r.quarantine)}
	case kindElectPreferred:
		return ElectPreferred{Partitions: list(r, partitionBytes, r.partition)}
	case kindAlterConfigs:
		return AlterConfigs{Changes: list(r, configChangeBytesMin, r.configChange)}
	case kindClaimLogs:
		return ClaimLogs{Member: r.member(), Items: list(r, partitionBytes+3, r.logClaim)}
	}
	return r.move(k)
}

// move reads the commands that move replicas, brokers and voters.
func (r *reader) move(k kind) Command {
	switch k {
	case kindReassign:
		return Reassign{Items: list(r, partitionBytes+2, r.reassignment)}
	case kindFinishReassignments:
		return FinishReassignments{Items: list(r, partitionBytes+1, r.reassignmentEnd)}
	case kindUnregisterBroker:
		return UnregisterBroker{Node: r.node()}
	case kindSetVoters:
		return SetVoters{Before: r.nodes(), After: r.nodes()}
	}
	r.fail("command of kind %d", k)
	return nil
}

func (c SetClusterID) append(w *writer) { w.string(c.ID) }

func (c SetLevel) append(w *writer) { w.u16(c.Level) }

func (c SetDefaults) append(w *writer) {
	w.varint(int64(c.MinInSync))
	w.bool(c.UncleanElection)
}

func (c RegisterBroker) append(w *writer) {
	w.broker(&c.Broker)
	w.bool(c.CleanStop)
	w.bool(c.FlushAlways)
	if !c.Unconditional {
		w.u64(uint64(c.Replaces))
		w.varint(int64(c.Broker.MessageBytesMax))
	}
}

func (c FenceBroker) append(w *writer) {
	w.member(topic.Member{Node: c.Node, Session: c.Session})
	w.string(c.Reason)
}

func (c ResignBroker) append(w *writer) {
	w.member(topic.Member{Node: c.Node, Session: c.Session})
}

func (c AlterISR) append(w *writer) {
	w.uvarint(uint64(len(c.Changes)))
	for i := range c.Changes {
		change := &c.Changes[i]
		w.partition(change.Partition)
		w.varint(int64(change.LeaderEpoch))
		w.varint(int64(change.PartitionEpoch))
		w.member(change.Leader)
		w.members(change.ISR)
	}
}

func (c CreateTopics) append(w *writer) {
	w.uvarint(uint64(len(c.Topics)))
	for i := range c.Topics {
		t := &c.Topics[i]
		w.raw(t.ID[:])
		w.string(t.Name)
		w.varint(int64(t.Partitions))
		w.varint(int64(t.ReplicationFactor))
		w.assignments(t.Assignments)
		w.strings(t.Configs)
		w.bool(t.Internal)
	}
}

func (c DeleteTopics) append(w *writer) {
	w.uvarint(uint64(len(c.IDs)))
	for _, id := range c.IDs {
		w.raw(id[:])
	}
}

func (c CreatePartitions) append(w *writer) {
	w.uvarint(uint64(len(c.Growths)))
	for i := range c.Growths {
		w.raw(c.Growths[i].ID[:])
		w.varint(int64(c.Growths[i].Total))
		w.assignments(c.Growths[i].Assignments)
	}
}

func (c AllocateProducerIDs) append(w *writer) {
	w.member(topic.Member{Node: c.Node, Session: c.Session})
}

func (c ElectUnclean) append(w *writer) {
	w.uvarint(uint64(len(c.Elections)))
	for _, election := range c.Elections {
		w.partition(election.Partition)
		w.varint(int64(election.PartitionEpoch))
		w.varint(int64(election.Node))
	}
}

func (c ElectPreferred) append(w *writer) {
	w.uvarint(uint64(len(c.Partitions)))
	for _, p := range c.Partitions {
		w.partition(p)
	}
}

func (c QuarantineReplicas) append(w *writer) {
	w.member(c.Member)
	w.uvarint(uint64(len(c.Items)))
	for _, item := range c.Items {
		w.partition(item.Partition)
		w.varint(int64(item.LeaderEpoch))
	}
}

func (c ClaimLogs) append(w *writer) {
	w.member(c.Member)
	w.uvarint(uint64(len(c.Items)))
	for _, item := range c.Items {
		w.partition(item.Partition)
		w.varint(int64(item.LeaderEpoch))
		w.varint(int64(item.TailEpoch))
		w.varint(int64(item.End))
	}
}

func (r *reader) change() ISRChange {
	return ISRChange{
		Partition:      r.partition(),
		LeaderEpoch:    topic.Epoch(r.i32()),
		PartitionEpoch: r.i32(),
		Leader:         r.member(),
		ISR:            r.members(),
	}
}

func (r *reader) creation() topic.Creation {
	c := topic.Creation{ID: r.topicID(), Name: r.string(), Partitions: r.i32()}
	factor := r.i32()
	c.ReplicationFactor = int16(factor)
	if int32(c.ReplicationFactor) != factor {
		r.fail("replication factor %d", factor)
	}
	c.Assignments = r.assignments()
	c.Configs = r.strings()
	c.Internal = r.bool()
	return c
}

func (r *reader) growth() topic.Growth {
	return topic.Growth{ID: r.topicID(), Total: r.i32(), Assignments: r.assignments()}
}

func (r *reader) election() UncleanElection {
	return UncleanElection{Partition: r.partition(), PartitionEpoch: r.i32(), Node: r.node()}
}

func (r *reader) quarantine() ReplicaQuarantine {
	return ReplicaQuarantine{Partition: r.partition(), LeaderEpoch: topic.Epoch(r.i32())}
}

func (r *reader) logClaim() LogClaim {
	return LogClaim{Partition: r.partition(), LeaderEpoch: topic.Epoch(r.i32()), TailEpoch: topic.Epoch(r.i32()),
		End: topic.Offset(r.varint())}
}

// list reads a counted list whose elements take at least elementBytesMin each.
func list[T any](r *reader, elementBytesMin int, element func() T) []T {
	n := r.count(elementBytesMin)
	if n == 0 {
		return nil
	}
	elements := make([]T, 0, n)
	for range n {
		if r.err != nil {
			return nil
		}
		elements = append(elements, element())
	}
	return elements
}
