package node

import (
	"encoding/binary"
	"hash/crc32"
	"strconv"
	"testing"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// movedFor reassigns a partition of 40 KB from node 2 to node 3 and counts the rounds until node 3 is in
// sync; 20 rounds are a second. meanwhile is called in each of them.
func movedFor(t *testing.T, topicConfigs, brokerConfigs map[string]string, broker topic.NodeID, meanwhile func(*memWorld)) int {
	t.Helper()
	w := newMemWorld(t, 1, 1)
	w.apply(cluster.DeleteTopics{IDs: []topic.ID{{1}}})
	p := topic.Partition{Topic: topic.ID{2}}
	w.apply(cluster.CreateTopics{Topics: []topic.Creation{{
		ID: p.Topic, Name: "moved", Assignments: [][]topic.NodeID{{1, 2}}, Configs: topicConfigs,
	}}})
	w.apply(cluster.AlterConfigs{Changes: []topic.ConfigChange{{
		Kind: topic.BrokerConfigs, Name: strconv.Itoa(int(broker)), Epoch: topic.AnyEpoch, Values: brokerConfigs,
	}}})
	w.round()
	append1K(w, p, 40)
	for range 20 {
		w.round()
	}
	placement, _ := w.image.Partition(p)
	w.apply(cluster.Reassign{Items: []topic.Reassignment{{
		Partition: p, PartitionEpoch: placement.PartitionEpoch, Target: []topic.NodeID{1, 3},
	}}})
	for round := range 4000 {
		if meanwhile != nil {
			meanwhile(w)
		}
		w.round()
		if placement, _ = w.image.Partition(p); len(placement.ISR) == 3 {
			return round
		}
	}
	t.Fatal("the new replica never came into sync")
	return 0
}

func append1K(w *memWorld, p topic.Partition, n int) {
	log := w.hosts[0].logs[p]
	payload := make([]byte, 1000)
	// Frames rely on the checksum that a batch has over itself.
	binary.BigEndian.PutUint32(payload[17:], crc32.Checksum(payload[21:], crc32.MakeTable(crc32.Castagnoli)))
	for range n {
		log.append(partition.Entry{
			Partition: p, Epoch: log.role.Epoch, PrevEpoch: log.tailEpoch(), Base: log.end(), Count: 1, Payload: payload,
		})
	}
}

func TestThrottleSlowsTheFillingOfNewReplicas(t *testing.T) {
	both := map[string]string{cluster.ConfigThrottledLeaders: "*", cluster.ConfigThrottledFollowers: "0:3"}
	free := movedFor(t, both, nil, 1, nil)
	if free > 40 {
		t.Errorf("without a rate: got %d rounds, want a few", free)
	}
	for name, rounds := range map[string]int{
		"of the leader":   movedFor(t, both, map[string]string{cluster.ConfigLeaderThrottle: "4000"}, 1, nil),
		"of the follower": movedFor(t, both, map[string]string{cluster.ConfigFollowerThrottle: "4000"}, 3, nil),
	} {
		// 40 KB at 4 KB/s are ten seconds, less what a bucket holds.
		if rounds < 160 || rounds > 260 {
			t.Errorf("rate %s: got %d rounds, want about 200", name, rounds)
		}
	}
	if rounds := movedFor(t, nil, map[string]string{cluster.ConfigLeaderThrottle: "4000"}, 1, nil); rounds > 40 {
		t.Errorf("a rate for other topics: got %d rounds, want a few", rounds)
	}
}

// What is committed by the replicas that are there does not wait for a throttled one.
func TestThrottleDelaysNoAcknowledgement(t *testing.T) {
	p := topic.Partition{Topic: topic.ID{2}}
	lag := topic.Offset(0)
	movedFor(t, map[string]string{cluster.ConfigThrottledLeaders: "*"},
		map[string]string{cluster.ConfigLeaderThrottle: "8000"}, 1, func(w *memWorld) {
			log := w.hosts[0].logs[p]
			lag = max(lag, log.end()-log.hw)
			if w.r.IntN(10) == 0 {
				append1K(w, p, 1)
			}
		})
	if lag > 8 {
		t.Errorf("the high watermark was %d behind the log end while a replica was filled, want at most 8", lag)
	}
}
