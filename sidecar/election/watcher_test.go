package election

import (
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/topic"
)

// member is the n-th session of a node.
func member(node topic.NodeID, n int) topic.Member {
	return topic.Member{Node: node, Session: topic.Session(uint64(node)<<32 | uint64(n))}
}

// brokers makes live brokers of members.
func brokers(members ...topic.Member) []topic.Broker {
	var live []topic.Broker
	for _, m := range members {
		live = append(live, topic.Broker{ID: m.Node, Session: m.Session})
	}
	return live
}

// watching is a watcher of nodes 2 and 3 on node 1, with a timeout of 20 ticks and repeats of 5.
func watching() *Watcher {
	w := NewWatcher(WatcherConfig{Self: 1, TimeoutTicks: 20})
	w.Sync(brokers(member(1, 1), member(3, 1), member(2, 1)))
	return w
}

// silentFor ticks n times, one by one, with heartbeats of the given members before each, and returns
// all suspicions with the tick they came at.
func silentFor(w *Watcher, n int, heard ...topic.Member) (suspicions []Suspicion, at []int) {
	for i := range n {
		for _, m := range heard {
			w.Heard(m)
		}
		for _, s := range w.Tick(1) {
			suspicions, at = append(suspicions, s), append(at, i+1)
		}
	}
	return suspicions, at
}

func TestIdleForTenThousandTicksSuspectsNobody(t *testing.T) {
	// Failure mode 8: a heartbeat was consumed but refreshed nothing, and an idle system elected.
	w := watching()
	for tick := range 10000 {
		if tick%15 == 0 { // Well within the timeout, but far from every tick.
			w.Heard(member(2, 1))
			w.Heard(member(3, 1))
		}
		if got := w.Tick(1); len(got) > 0 {
			t.Fatalf("tick %d: got %v, want nobody", tick, got)
		}
	}
}

func TestSuspicionIsRepeatedUntilTheImageChanges(t *testing.T) {
	// Failure mode 10: the trigger fired once, was lost, and nobody ever elected.
	w := watching()
	got, at := silentFor(w, 41, member(3, 1))
	if !slices.Equal(at, []int{20, 25, 30, 35, 40}) {
		t.Fatalf("suspicions at ticks %v, want 20, 25, 30, 35, 40", at)
	}
	for i, s := range got {
		if s.Member != member(2, 1) || s.SilentTicks != at[i] {
			t.Errorf("suspicion %d: got %v", i, s)
		}
	}
	w.Sync(brokers(member(1, 1), member(3, 1)))
	if got, _ := silentFor(w, 100, member(3, 1)); len(got) > 0 {
		t.Errorf("after the fence: got %v, want nobody", got)
	}
}

func TestHeartbeatEndsASuspicion(t *testing.T) {
	w := watching()
	silentFor(w, 22, member(3, 1))
	if !w.Suspects(member(2, 1)) || w.Suspects(member(3, 1)) {
		t.Fatal("want 2 suspected and 3 not")
	}
	if !w.Heard(member(2, 1)) || w.Suspects(member(2, 1)) {
		t.Error("a heartbeat did not end the suspicion")
	}
	if _, at := silentFor(w, 20, member(3, 1)); !slices.Equal(at, []int{20}) {
		t.Errorf("next suspicion at ticks %v, want 20", at)
	}
}

func TestHeartbeatOfAnotherSessionMeansNothing(t *testing.T) {
	w := watching()
	if w.Heard(member(2, 2)) || w.Heard(member(9, 1)) || w.Heard(member(1, 1)) {
		t.Error("a stranger was heard")
	}
	if _, at := silentFor(w, 20, member(3, 1), member(2, 2)); !slices.Equal(at, []int{20}) {
		t.Errorf("suspicions at ticks %v, want 20", at)
	}
	w.Sync(brokers(member(2, 2), member(3, 1)))
	if ticks, known := w.Silent(member(2, 2)); !known || ticks != 0 {
		t.Errorf("new session: silent for %d ticks, known %v, want a fresh wait", ticks, known)
	}
	if _, known := w.Silent(member(2, 1)); known {
		t.Error("the old session is still watched")
	}
	if ticks, _ := w.Silent(member(3, 1)); ticks != 1 {
		t.Errorf("untouched session: silent for %d ticks, want 1", ticks)
	}
}

func TestHintShortensTheWaitOnceAndIsNoProof(t *testing.T) {
	w := watching()
	w.Hint(2)
	w.Hint(2)
	w.Hint(9)
	if _, at := silentFor(w, 12, member(3, 1)); !slices.Equal(at, []int{10}) {
		t.Errorf("suspicions after a hint at ticks %v, want 10", at)
	}
	w = watching()
	for range 200 { // The route flaps; the heart beats.
		w.Hint(2)
		if got, _ := silentFor(w, 4, member(2, 1), member(3, 1)); len(got) > 0 {
			t.Fatalf("got %v, want nobody", got)
		}
	}
	w = watching()
	silentFor(w, 18, member(3, 1))
	w.Hint(2)
	if _, at := silentFor(w, 3, member(3, 1)); !slices.Equal(at, []int{2}) {
		t.Errorf("suspicions after a late hint at ticks %v, want 2: it never lengthens", at)
	}
}

func TestLateTickGivesEverybodyAFreshWait(t *testing.T) {
	w := watching()
	silentFor(w, 19)
	if got := w.Tick(300); len(got) > 0 {
		t.Fatalf("after a pause of our own: got %v, want nobody", got)
	}
	if _, at := silentFor(w, 20, member(3, 1)); !slices.Equal(at, []int{20}) {
		t.Errorf("suspicions at ticks %v, want 20", at)
	}
	w = watching()
	if w.Tick(10); w.Suspects(member(2, 1)) {
		t.Error("one late tick used up a whole wait")
	}
	if ticks, _ := w.Silent(member(2, 1)); ticks != 10 {
		t.Errorf("a tick that is a little late: silent for %d, want 10", ticks)
	}
}

func TestElectedLeaderGetsAFreshWaitOncePerSilence(t *testing.T) {
	w := watching()
	silentFor(w, 15, member(3, 1))
	w.Grant(2)
	w.Grant(9)
	if _, at := silentFor(w, 19, member(3, 1)); len(at) > 0 {
		t.Fatalf("suspicions at ticks %v, want none in the fresh wait", at)
	}
	w.Grant(2)
	if _, at := silentFor(w, 1, member(3, 1)); len(at) != 1 {
		t.Error("granting again and again keeps a dead leader alive")
	}
}

func TestSuspicionsMayBeActedOnWhileWalked(t *testing.T) {
	// Failure mode 2: entries were removed from the map that was walked.
	w := watching()
	silentFor(w, 19)
	walked := 0
	for _, s := range w.Tick(1) {
		w.Sync(nil)
		w.Heard(s.Member)
		w.Tick(1)
		walked++
	}
	if walked != 2 {
		t.Errorf("walked %d suspicions, want 2", walked)
	}
}

func TestFencedAndSelfAreNotWatched(t *testing.T) {
	w := NewWatcher(WatcherConfig{Self: 1, TimeoutTicks: 1})
	live := brokers(member(1, 1), member(2, 1))
	live[1].Fenced = true
	w.Sync(live)
	if got, _ := silentFor(w, 10); len(got) > 0 {
		t.Errorf("got %v, want nobody", got)
	}
}

func TestSnapshotIsTheTableOfItsMoment(t *testing.T) {
	w := watching()
	silentFor(w, 20, member(3, 1))
	table := w.Snapshot()
	w.Heard(member(2, 1))
	if !table.Suspects(member(2, 1)) || table.Suspects(member(2, 2)) || table.Suspects(member(3, 1)) || table.Suspects(member(9, 1)) {
		t.Errorf("table: got %+v", table.Rows())
	}
}

// TestWatcherAgreesWithADumberOne compares the table with a map of times, under random events.
func TestWatcherAgreesWithADumberOne(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 1))
	w := NewWatcher(WatcherConfig{Self: 0, TimeoutTicks: 8, PauseTicks: 4})
	sessions, last, now := map[topic.NodeID]int{}, map[topic.Member]int{}, 0
	for range 20000 {
		node := topic.NodeID(dice.IntN(5) + 1)
		m := member(node, sessions[node])
		switch dice.IntN(10) {
		case 0:
			sessions[node]++
			delete(last, m)
			last[member(node, sessions[node])] = now
			w.Sync(liveOf(last))
		case 1:
			delete(last, m)
			w.Sync(liveOf(last))
		case 2, 3:
			if _, known := last[m]; known != w.Heard(m) {
				t.Fatalf("heard %v: known %v", m, known)
			} else if known {
				last[m] = now
			}
		case 4, 5, 6:
			elapsed := dice.IntN(6)
			now += elapsed
			if w.Tick(elapsed); elapsed > 4 {
				for m := range last {
					last[m] = now
				}
			}
		}
		for m, since := range last {
			if got, want := w.Suspects(m), now-since >= 8; got != want {
				t.Fatalf("%v silent for %d: suspected %v, want %v", m, now-since, got, want)
			}
		}
	}
}

func liveOf(last map[topic.Member]int) []topic.Broker {
	var live []topic.Broker
	for m := range last {
		live = append(live, brokers(m)...)
	}
	return live
}

// Whoever is calm passes its ticks two together; it finds who falls silent at the same tick as one that
// passes each by itself.
func TestTicksThatPassTogetherWhileCalmFindTheSameSuspects(t *testing.T) {
	const stride = 2
	config := WatcherConfig{Self: 1, TimeoutTicks: 9, HintTicksMin: 5}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 2))
		fine, coarse := NewWatcher(config), NewWatcher(config)
		for _, w := range []*Watcher{fine, coarse} {
			w.Sync(brokers(member(2, 1), member(3, 1)))
		}
		owed, slept, up := 0, 0, []bool{true, true}
		for tick := range 400 {
			for i, heard := range up {
				if rng.IntN(30) == 0 {
					up[i] = !heard
				}
				if heard && tick%stride == 0 {
					fine.Heard(member(topic.NodeID(2+i), 1))
					coarse.Heard(member(topic.NodeID(2+i), 1))
				}
			}
			if owed == 0 && tick%stride == 0 && coarse.Calm(stride) {
				owed++
				slept++
				if got := fine.Tick(1); len(got) > 0 {
					t.Fatalf("seed %d tick %d: slept through %v", seed, tick, got)
				}
				continue
			}
			got, want := coarse.Tick(owed+1), fine.Tick(1)
			owed = 0
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d tick %d: got %v, want %v", seed, tick, got, want)
			}
		}
		if slept < 20 {
			t.Fatalf("seed %d: slept through %d ticks, want many", seed, slept)
		}
	}
}

func TestTooLongAStrideIsNeverCalm(t *testing.T) {
	w := NewWatcher(WatcherConfig{Self: 1, TimeoutTicks: 20, PauseTicks: 4})
	w.Sync(brokers(member(2, 1)))
	if !w.Calm(3) {
		t.Error("three ticks and one late one: got not calm, want calm")
	}
	if w.Calm(4) {
		t.Error("a late tick more would pass for a pause: got calm, want not")
	}
}
