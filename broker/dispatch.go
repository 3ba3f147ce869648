package broker

import (
	"context"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/wire"
)

// request is one decoded request.
type request struct {
	wire.Header
	body     kmsg.Request
	listener string // the listener it came in on, by name
	client   string // address of the client, without port
	// connection is the number of the one that it came in on.
	connection uint64
	arrived    time.Time
	// frameBytes is the length of the frame that body lies in.
	frameBytes int
	// refusals are those of the connection that it came in on.
	refusals *refusals
}

// clientID is what the client calls itself, perhaps nothing.
func (r *request) clientID() string {
	if r.ClientID == nil {
		return ""
	}
	return *r.ClientID
}

// answer is the response to one request.
type answer struct {
	response kmsg.Response
	// batches are the record batches of a fetch, by topic and partition of the response, held by
	// reference.
	batches func(topic, partition int) [][]byte
	// release, if set, is called once the answer is written or given up: the batches may be lent.
	release func()
}

// work carries out a request. It runs on the connection's writer when the request has reached the
// head of the queue, may wait, and gives up waiting when ctx ends: the client is gone, or the broker
// stops.
type work func(ctx context.Context, r *request) answer

// handler is how one API is served.
type handler struct {
	run work
	// waits: the work may take longer than writing out the answers before it should be put off.
	waits bool
}

// handlerTable joins the keys of wire.Supported to the code that serves them. Produce is not in it:
// the reader appends what is produced.
func (b *Broker) handlerTable() map[int16]handler {
	table := map[int16]handler{
		kmsg.Fetch.Int16():                {run: b.fetch, waits: true},
		kmsg.ListOffsets.Int16():          {run: plain(b.listOffsets), waits: true},
		kmsg.Metadata.Int16():             {run: plain(b.metadata), waits: true},
		kmsg.ApiVersions.Int16():          {run: plain(b.apiVersions)},
		kmsg.CreateTopics.Int16():         {run: plain(b.createTopics), waits: true},
		kmsg.DeleteTopics.Int16():         {run: plain(b.deleteTopics), waits: true},
		kmsg.DeleteRecords.Int16():        {run: plain(b.deleteRecords), waits: true},
		kmsg.InitProducerID.Int16():       {run: plain(b.initProducerID), waits: true},
		kmsg.OffsetForLeaderEpoch.Int16(): {run: plain(b.offsetForLeaderEpoch)},
		kmsg.DescribeConfigs.Int16():      {run: plain(b.describeConfigs)},
		kmsg.CreatePartitions.Int16():     {run: plain(b.createPartitions), waits: true},
		kmsg.DescribeCluster.Int16():      {run: plain(b.describeCluster)},
		// Configs that are set while brokers run.
		kmsg.AlterConfigs.Int16():            {run: plain(b.alterConfigs), waits: true},
		kmsg.IncrementalAlterConfigs.Int16(): {run: plain(b.incrementalAlterConfigs), waits: true},
		kmsg.ListConfigResources.Int16():     {run: plain(b.listConfigResources)},
		kmsg.ElectLeaders.Int16():            {run: plain(b.electLeaders), waits: true},
		// What tools and user interfaces ask when they start.
		kmsg.ListPartitionReassignments.Int16():   {run: plain(b.listPartitionReassignments), waits: true},
		kmsg.DescribeACLs.Int16():                 {run: plain(b.describeACLs)},
		kmsg.CreateACLs.Int16():                   {run: plain(b.createACLs)},
		kmsg.DeleteACLs.Int16():                   {run: plain(b.deleteACLs)},
		kmsg.DescribeLogDirs.Int16():              {run: plain(b.describeLogDirs)},
		kmsg.DescribeClientQuotas.Int16():         {run: plain(b.describeClientQuotas)},
		kmsg.DescribeUserSCRAMCredentials.Int16(): {run: plain(b.describeUserSCRAMCredentials)},
		kmsg.DescribeQuorum.Int16():               {run: plain(b.describeQuorum), waits: true},
		kmsg.UpdateFeatures.Int16():               {run: plain(b.updateFeatures), waits: true},
		kmsg.DescribeProducers.Int16():            {run: plain(b.describeProducers)},
		kmsg.DescribeTopicPartitions.Int16():      {run: plain(b.describeTopicPartitions)},
	}
	maps.Copy(table, b.moveHandlers())
	maps.Copy(table, b.groupHandlers())
	maps.Copy(table, b.txnHandlers())
	maps.Copy(table, b.shareHandlers())
	maps.Copy(table, b.shareStateHandlers())
	return table
}

// moveHandlers serve what moves replicas, brokers and voters.
func (b *Broker) moveHandlers() map[int16]handler {
	return map[int16]handler{
		kmsg.AlterPartitionAssignments.Int16(): {run: plain(b.alterPartitionReassignments), waits: true},
		kmsg.UnregisterBroker.Int16():          {run: plain(b.unregisterBroker), waits: true},
		kmsg.AddRaftVoter.Int16():              {run: plain(b.addRaftVoter), waits: true},
		kmsg.RemoveRaftVoter.Int16():           {run: plain(b.removeRaftVoter), waits: true},
	}
}

// plain adapts the code of one API, which knows its request's type, to work.
func plain[Q kmsg.Request](
	serve func(ctx context.Context, r *request, q Q) kmsg.Response,
) work {
	return func(ctx context.Context, r *request) answer {
		return answer{response: serve(ctx, r, r.body.(Q))}
	}
}

// within bounds ctx by a timeout that the client asked for; none, or an absurd one, becomes ours.
func (b *Broker) within(ctx context.Context, millis int32) (context.Context, context.CancelFunc) {
	timeout := time.Duration(millis) * time.Millisecond
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	return context.WithTimeout(ctx, min(timeout, b.config.Requests.TimeoutMax))
}
