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

func TestThrottleOfMovesCountsForEveryTopic(t *testing.T) {
	for _, node := range []topic.NodeID{1, 3} {
		rounds := movedFor(t, nil, map[string]string{cluster.ConfigMoveThrottle: "4000"}, node, nil)
		if rounds < 160 || rounds > 260 {
			t.Errorf("rate of broker %d: got %d rounds, want about 200", node, rounds)
		}
	}
}

// refilledFor has node 2 come back without the 40 KB that node 1 leads, and counts the rounds until it is
// in sync again; 20 rounds are a second. away takes it out of the in-sync set.
func refilledFor(t *testing.T, throttled string, brokerConfigs map[string]string, away func(*memWorld, topic.Partition)) int {
	t.Helper()
	// With one replica in sync everything is committed, so whoever comes back must have all of it.
	topicConfigs := map[string]string{cluster.ConfigMinInSync: "1", cluster.ConfigThrottledFollowers: throttled}
	w := newMemWorld(t, 1, 1)
	w.apply(cluster.DeleteTopics{IDs: []topic.ID{{1}}})
	p := topic.Partition{Topic: topic.ID{2}}
	w.apply(cluster.CreateTopics{Topics: []topic.Creation{{
		ID: p.Topic, Name: "kept", Assignments: [][]topic.NodeID{{1, 2}}, Configs: topicConfigs,
	}}})
	w.apply(cluster.AlterConfigs{Changes: []topic.ConfigChange{{
		Kind: topic.BrokerConfigs, Name: "2", Epoch: topic.AnyEpoch, Values: brokerConfigs,
	}}})
	w.round()
	away(w, p)
	if placement, _ := w.image.Partition(p); len(placement.ISR) != 1 {
		t.Fatalf("in sync are %v, want node 1 alone", placement.ISR)
	}
	for round := range 4000 {
		w.round()
		if placement, _ := w.image.Partition(p); len(placement.ISR) == 2 {
			return round
		}
	}
	t.Fatal("the replica never came into sync")
	return 0
}

// A broker that was away for long, and one whose disk was lost, are filled as slowly as a new replica, if
// they are listed; the rate of moves is nothing to them.
func TestThrottleSlowsEveryRefillOfAListedReplica(t *testing.T) {
	absent := func(w *memWorld, p topic.Partition) {
		h := w.hosts[1]
		h.down = true
		w.apply(cluster.FenceBroker{Node: 2, Session: h.self.Session})
		w.round()
		append1K(w, p, 40)
		w.round()
		w.start(h)
	}
	wiped := func(w *memWorld, p topic.Partition) {
		append1K(w, p, 40)
		for range 20 {
			w.round()
		}
		h := w.hosts[1]
		h.logs, h.order, h.wal = nil, nil, nil
		h.disk++
		w.start(h)
	}
	const listed, unlisted = "0:2", "0:1,1:2"
	slow := map[string]string{cluster.ConfigFollowerThrottle: "4000"}
	for name, away := range map[string]func(*memWorld, topic.Partition){"long absence": absent, "wiped disk": wiped} {
		if rounds := refilledFor(t, listed, slow, away); rounds < 160 || rounds > 260 {
			t.Errorf("%s, listed: got %d rounds, want about 200", name, rounds)
		}
		if rounds := refilledFor(t, unlisted, slow, away); rounds > 40 {
			t.Errorf("%s, not listed: got %d rounds, want a few", name, rounds)
		}
		if rounds := refilledFor(t, listed, map[string]string{cluster.ConfigMoveThrottle: "4000"}, away); rounds > 40 {
			t.Errorf("%s, the rate of moves: got %d rounds, want a few", name, rounds)
		}
	}
}

// What is not bounded is not charged to a throttle that others go by, or that comes later.
func TestThrottleTakesNothingForWhatItDoesNotBound(t *testing.T) {
	w := newMemWorld(t, 1, 1)
	r := w.hosts[0].rep
	w.round()
	p := topic.Partition{Topic: topic.ID{1}}
	s, peer := r.slots[p], r.peer(2)
	w.apply(cluster.FenceBroker{Node: 2, Session: w.hosts[1].self.Session})
	r.SetImage(w.image)
	r.spend(peer, s, 1<<40)
	w.apply(cluster.AlterConfigs{Changes: []topic.ConfigChange{
		{Kind: topic.BrokerConfigs, Name: "1", Epoch: topic.AnyEpoch, Values: map[string]string{cluster.ConfigLeaderThrottle: "4000"}},
		{Kind: topic.TopicConfigs, ID: p.Topic, Epoch: topic.AnyEpoch, Values: map[string]string{cluster.ConfigThrottledLeaders: "*"}},
	}})
	r.SetImage(w.image)
	r.Tick(20)
	if r.throttled(peer, s, false) {
		t.Error("a second after a rate was set, what was sent before it holds the replica back")
	}
	r.spend(peer, s, 5000)
	if !r.throttled(peer, s, false) {
		t.Error("5000 bytes are sent at 4000 a second, and nothing waits")
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
