package broker

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupHandlers serve consumer groups.
func (b *Broker) groupHandlers() map[int16]handler {
	return map[int16]handler{
		kmsg.FindCoordinator.Int16(): {run: plain(b.findCoordinator), waits: true},
		kmsg.JoinGroup.Int16():       {run: plain(b.joinGroup), waits: true},
		kmsg.SyncGroup.Int16():       {run: plain(b.syncGroup), waits: true},
		kmsg.Heartbeat.Int16():       {run: plain(b.heartbeat), waits: true},
		kmsg.LeaveGroup.Int16():      {run: plain(b.leaveGroup), waits: true},
		kmsg.OffsetCommit.Int16():    {run: plain(b.offsetCommit), waits: true},
		kmsg.OffsetFetch.Int16():     {run: plain(b.offsetFetch), waits: true},
		kmsg.OffsetDelete.Int16():    {run: plain(b.offsetDelete), waits: true},
		kmsg.DescribeGroups.Int16():  {run: plain(b.describeGroups), waits: true},
		kmsg.ListGroups.Int16():      {run: plain(b.listGroups), waits: true},
		kmsg.DeleteGroups.Int16():    {run: plain(b.deleteGroups), waits: true},
		// KIP-848.
		kmsg.ConsumerGroupHeartbeat.Int16(): {run: plain(b.consumerGroupHeartbeat), waits: true},
		kmsg.ConsumerGroupDescribe.Int16():  {run: plain(b.consumerGroupDescribe), waits: true},
	}
}

const (
	// groupWait is the last resort of requests that a group answers at once, or when its record is on
	// the in-sync replicas, which has a shorter deadline of its own.
	groupWait = time.Minute
	// rebalanceGrace is how much longer than any member may take a rebalance is waited for.
	rebalanceGrace = 6 * time.Minute
)

// rebalanceWait is the last resort of requests that wait for other members. The machine has shorter
// deadlines: nobody waits for a member for longer than its rebalance timeout.
func (b *Broker) rebalanceWait() time.Duration { return b.config.Groups.SessionMax + rebalanceGrace }

// groupCode is what a client hears of a request that a group refused, and counts it.
func (b *Broker) groupCode(api string, err error) code {
	why := codeNone
	if err != nil {
		why = b.judge(api, err)
	}
	b.meters.failure(api, why)
	return why
}

// memberNameMax is how much of a client's name goes into the ids of its members. The whole could make
// an id that no string of the protocol, nor of a record, can hold.
const memberNameMax = 200

// memberID draws the id of a new member. It begins with what people know the member by.
func memberID(client string, instance *string) string {
	if instance != nil {
		client = *instance
	}
	if len(client) > memberNameMax {
		client = strings.ToValidUTF8(client[:memberNameMax], "")
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // it never fails; the program ends instead
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	id := hex.EncodeToString(raw[:])
	return client + "-" + id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}
