package node

import (
	"bytes"
	"maps"
	"slices"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// claimsMax keeps a proposal well under the Raft's limit on commands. What does not fit is said next.
const claimsMax = 2000

// Claimant decides what this session says that it holds of the partitions that nobody leads and for which
// nobody clean is left: the longest log of all shall lead them. It has one owner.
type Claimant struct {
	Self topic.Member

	image *cluster.Image
	// waiting are the undecided partitions here.
	waiting map[topic.Partition]bool
}

// Sync follows the image, and reports whether any partition here is undecided.
func (c *Claimant) Sync(im *cluster.Image) bool {
	if c.image == nil {
		c.image, c.waiting = cluster.Empty(), map[topic.Partition]bool{}
	}
	for change := range cluster.Changes(c.image, im) {
		if p := change.After; p != nil && p.Hosts(c.Self.Node) && cluster.IsUndecided(p) {
			c.waiting[change.Partition] = true
		} else {
			delete(c.waiting, change.Partition)
		}
	}
	c.image = im
	return len(c.waiting) > 0
}

// Due is what there is to say now. state tells of a log here. One that does not follow the leaderless epoch
// yet may still take what the last leader sent, and one that is damaged will be cut: what they hold is not
// what they will hold, and they say nothing.
func (c *Claimant) Due(state func(topic.Partition) (partition.State, bool)) cluster.ClaimLogs {
	claims := cluster.ClaimLogs{Member: c.Self}
	for _, at := range slices.SortedFunc(maps.Keys(c.waiting), comparePartitions) {
		p, found := c.image.Partition(at)
		if !found || !c.image.ClaimDue(p, c.Self) || len(claims.Items) == claimsMax {
			continue
		}
		s, known := state(at)
		reset := s.DurableEnd < s.LogStart // and a crash would bring the old log back
		if !known || s.Role.Epoch != p.LeaderEpoch || s.Role.Leading || s.Damaged || reset {
			continue
		}
		claims.Items = append(claims.Items, cluster.LogClaim{
			Partition: at, LeaderEpoch: p.LeaderEpoch, TailEpoch: s.TailEpoch, End: s.LogEnd,
		})
	}
	return claims
}

func comparePartitions(a, b topic.Partition) int {
	if by := bytes.Compare(a.Topic[:], b.Topic[:]); by != 0 {
		return by
	}
	return int(a.Index) - int(b.Index)
}
