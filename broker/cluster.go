package broker

import (
	"context"
	"fmt"

	"outrigger/broker/topic"
)

// Cluster is what the broker wants from the replication side: who leads what, and a way to change
// it. All methods may be called by many goroutines at once.
type Cluster interface {
	// View is the newest published image. It never blocks.
	View() View
	// Changed is closed when a newer View than the one current at the call has been published.
	Changed() <-chan struct{}
	// Fresh returns when View holds every change of which anybody may have been told before the call:
	// until then View may be old, and a refusal that follows from it false. The errors are those of
	// a change that was not made.
	Fresh(context.Context) error
	// CreateTopics proposes topics and returns one error per creation. Nil means committed, and
	// applied in this node's View. A creation with the same ID may be proposed again. The errors
	// wrap those of package topic.
	CreateTopics(context.Context, []topic.Creation) []error
	// DeleteTopics removes topics; one error per id, nil as for CreateTopics.
	DeleteTopics(context.Context, []topic.ID) []error
	// CreatePartitions grows topics; one error per growth, nil as for CreateTopics.
	CreatePartitions(context.Context, []topic.Growth) []error
	// AlterConfigs replaces configs by compare-and-set; one error per change, nil as for CreateTopics.
	// An error that wraps topic.ErrStale says that another change came first.
	AlterConfigs(context.Context, []topic.ConfigChange) []error
	// ElectLeaders gives partitions to their preferred leaders, or (unclean) to anybody live where
	// nobody leads; one error per election, nil as for CreateTopics.
	ElectLeaders(ctx context.Context, unclean bool, elections []topic.Election) []error
	// Reassign begins, alters or takes back reassignments by compare-and-set; one error per item, nil as for
	// CreateTopics.
	Reassign(context.Context, []topic.Reassignment) []error
	// UnregisterBroker takes a broker out of the cluster. The errors wrap topic.ErrInUse, if it may not be
	// taken out, and those of a change that was not made.
	UnregisterBroker(context.Context, topic.NodeID) error
	// SetVoters says who shall vote in the metadata Raft, by compare-and-set: topic.ErrStale,
	// topic.ErrInvalidVoters.
	SetVoters(context.Context, topic.VoterChange) error
	// FinalizeLevel raises the format level that all brokers write: topic.ErrLevelLacking if a registered one
	// does not speak it. A level that is not above the present one changes nothing.
	FinalizeLevel(ctx context.Context, level uint16) error
	// Quorum asks the controller for the state of the metadata Raft.
	Quorum(context.Context) (topic.Quorum, error)
	// ProducerIDs hands out a block of producer ids that nobody else ever gets.
	ProducerIDs(context.Context) (first int64, count int32, err error)
}

// View is one published image of the cluster. It is immutable and free to read for ever.
type View interface {
	ClusterID() string
	// Level is the finalized format level.
	Level() uint16
	// Controller is topic.NoNode while unknown.
	Controller() topic.NodeID
	// Broker finds a registered broker, fenced or not.
	Broker(topic.NodeID) (topic.Broker, bool)
	// Brokers are the live (unfenced) ones, sorted by id.
	Brokers() []topic.Broker
	// Registered are all of them, fenced or not, sorted by id.
	Registered() []topic.Broker
	TopicByName(string) (*topic.Topic, bool)
	TopicByID(topic.ID) (*topic.Topic, bool)
	// Configs is what was set for a resource that is no topic. Its values must not be changed.
	Configs(kind topic.ConfigKind, name string) topic.ConfigSet
	// Configured names the resources of a kind for which something is, or was, set, sorted.
	Configured(kind topic.ConfigKind) []string
	// Voters are the nodes that shall vote in the metadata Raft, sorted; none until somebody has said so.
	Voters() []topic.NodeID
	// Topics are sorted by name.
	Topics() []*topic.Topic
}

// oneEach panics unless a Cluster answered for each of the changes that it was asked for: a change
// without an answer would be told as success.
func oneEach(errs []error, changes int) []error {
	if len(errs) != changes {
		panic(fmt.Sprintf("cluster answered %d of %d changes", len(errs), changes))
	}
	return errs
}
