package election

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

var _ Image = (*cluster.Image)(nil)

// fakeImage says who is live and who shares partitions with whom.
type fakeImage struct {
	live  []topic.Member
	peers map[topic.NodeID][]topic.NodeID
}

func (f *fakeImage) Live(m topic.Member) bool { return slices.Contains(f.live, m) }

func (f *fakeImage) Peers(node topic.NodeID) []topic.NodeID {
	var peers []topic.NodeID
	for _, m := range f.live {
		if m.Node != node && (f.peers == nil || slices.Contains(f.peers[node], m.Node)) {
			peers = append(peers, m.Node)
		}
	}
	return peers
}

// image has n live nodes in their first sessions, all sharing partitions.
func image(n int) *fakeImage {
	f := &fakeImage{}
	for node := range n {
		f.live = append(f.live, member(topic.NodeID(node+1), 1))
	}
	return f
}

// controller is the evidence on node 1 with a timeout of 20 ticks; asks wait 5, verdicts repeat
// after 20.
func controller(f *fakeImage) *Evidence {
	return NewEvidence(EvidenceConfig{Watcher: WatcherConfig{Self: 1, TimeoutTicks: 20}}, brokers(f.live...))
}

func word(from, suspect topic.Member) Request {
	return Request{Reporter: from, Suspect: suspect, SilentTicks: 20}
}

// pass ticks n times with heartbeats to the controller and collects verdicts.
func pass(e *Evidence, f *fakeImage, n int, heard ...topic.Member) []Verdict {
	var verdicts []Verdict
	for range n {
		for _, m := range heard {
			e.Heard(m, 0)
		}
		verdicts = append(verdicts, e.Tick(1, f)...)
	}
	return verdicts
}

// wants compares verdicts by kind and ground.
func wants(t *testing.T, got []Verdict, kind VerdictKind, ground Ground) {
	t.Helper()
	if len(got) != 1 || got[0].Kind != kind || got[0].Ground != ground {
		t.Fatalf("got %v, want one to %v: %v", got, kind, ground)
	}
}

func none(t *testing.T, got []Verdict) {
	t.Helper()
	if len(got) > 0 {
		t.Fatalf("got %v, want no verdict", got)
	}
}

func TestMajorityOfPeersFencesAtOnce(t *testing.T) {
	f := image(3)
	e := controller(f)
	none(t, e.Report(word(member(1, 1), member(3, 1)), f))
	none(t, e.Report(word(member(1, 1), member(3, 1)), f))
	got := e.Report(word(member(2, 1), member(3, 1)), f)
	wants(t, got, Fence, LostByMajority)
	if got[0].Suspect != member(3, 1) || !slices.Equal(got[0].Reporters, []topic.NodeID{1, 2}) {
		t.Errorf("got %v", got[0])
	}
}

func TestNewControllerCountsReportsAtOnceButItsOwnTimersAnew(t *testing.T) {
	// Controller and partition leader die together in a third of kills.
	f := image(3)
	e := NewEvidence(EvidenceConfig{Watcher: WatcherConfig{Self: 2, TimeoutTicks: 20}}, brokers(f.live...))
	none(t, pass(e, f, 19))
	e = NewEvidence(EvidenceConfig{Watcher: WatcherConfig{Self: 2, TimeoutTicks: 20}}, brokers(f.live...))
	none(t, pass(e, f, 1))
	none(t, e.Report(word(member(2, 1), member(1, 1)), f))
	wants(t, e.Report(word(member(3, 1), member(1, 1)), f), Fence, LostByMajority)
}

func TestOwnTableFencesAndRepeatsUntilTheImageChanges(t *testing.T) {
	f := image(3)
	e := controller(f)
	none(t, pass(e, f, 19, member(2, 1)))
	wants(t, pass(e, f, 20, member(2, 1)), Fence, LostByController)
	wants(t, pass(e, f, 20, member(2, 1)), Fence, LostByController)
	f.live = f.live[:2]
	e.Sync(brokers(f.live...), f)
	none(t, pass(e, f, 100, member(2, 1)))
}

func TestIdleControllerFencesNobody(t *testing.T) {
	f := image(3)
	e := controller(f)
	none(t, pass(e, f, 10000, member(2, 1), member(3, 1)))
}

func TestSingleReporterMakesTheControllerAskFirst(t *testing.T) {
	f := image(2)
	e := controller(f)
	silent := word(member(1, 1), member(2, 1))
	wants(t, e.Report(silent, f), Ask, SingleReporter)
	none(t, e.Report(silent, f))
	none(t, pass(e, f, 4, member(2, 1)))
	wants(t, pass(e, f, 1, member(2, 1)), Fence, NoAnswer)
	none(t, e.Report(silent, f))
}

func TestAnswerOutweighsASingleReporterForAWhile(t *testing.T) {
	f := image(2)
	e := controller(f)
	silent := word(member(1, 1), member(2, 1))
	wants(t, e.Report(silent, f), Ask, SingleReporter)
	e.Answered(member(2, 1))
	e.Answered(member(9, 1))
	for range 19 {
		none(t, e.Report(silent, f))
		none(t, pass(e, f, 1, member(2, 1)))
	}
	e.Report(silent, f)
	wants(t, pass(e, f, 1, member(2, 1)), Ask, SingleReporter)
}

func TestAnswerAfterTheDeadlineStillCounts(t *testing.T) {
	f := image(2)
	e := controller(f)
	e.Report(word(member(1, 1), member(2, 1)), f)
	wants(t, pass(e, f, 5, member(2, 1)), Fence, NoAnswer)
	e.Answered(member(2, 1))
	none(t, e.Report(word(member(1, 1), member(2, 1)), f))
	none(t, pass(e, f, 10, member(2, 1)))
}

func TestPartialMeshFencesNobody(t *testing.T) {
	// Failure mode 13: 2 and 3 cannot hear each other, both reach the controller.
	f := image(3)
	e := controller(f)
	for range 1000 {
		none(t, e.Report(word(member(2, 1), member(3, 1)), f))
		none(t, e.Report(word(member(3, 1), member(2, 1)), f))
		none(t, pass(e, f, 1, member(2, 1), member(3, 1)))
	}
}

func TestReportsExpire(t *testing.T) {
	f := image(3)
	e := controller(f)
	none(t, e.Report(word(member(1, 1), member(3, 1)), f))
	none(t, pass(e, f, 20, member(2, 1), member(3, 1)))
	none(t, e.Report(word(member(2, 1), member(3, 1)), f))
	if len(e.cases) != 1 {
		t.Errorf("cases: got %d, want 1", len(e.cases))
	}
	none(t, pass(e, f, 20, member(2, 1), member(3, 1)))
	if len(e.cases) != 0 {
		t.Errorf("cases when all reports are old: got %d, want 0", len(e.cases))
	}
}

func TestOnlyLivePeersInTheirSessionCount(t *testing.T) {
	f := image(5)
	f.peers = map[topic.NodeID][]topic.NodeID{5: {2, 3, 4}}
	e := controller(f)
	suspect := member(5, 1)
	none(t, e.Report(word(suspect, suspect), f))
	none(t, e.Report(word(member(2, 9), suspect), f))
	none(t, e.Report(word(member(2, 1), member(5, 9)), f))
	none(t, e.Report(word(member(1, 1), suspect), f)) // No peer: shares no partition.
	none(t, e.Report(word(member(2, 1), suspect), f))
	f.live = slices.DeleteFunc(f.live, func(m topic.Member) bool { return m.Node == 2 })
	none(t, e.Report(word(member(3, 1), suspect), f)) // 2 was fenced; 3 alone of 3 and 4.
	wants(t, e.Report(word(member(4, 1), suspect), f), Fence, LostByMajority)
}

func TestPauseOfTheControllerDropsAllEvidence(t *testing.T) {
	f := image(3)
	e := controller(f)
	e.Report(word(member(1, 1), member(3, 1)), f)
	pass(e, f, 19)
	none(t, e.Tick(500, f))
	none(t, e.Report(word(member(2, 1), member(3, 1)), f))
	none(t, pass(e, f, 19))
}

func TestHintAndGrantReachTheControllersTable(t *testing.T) {
	f := image(3)
	e := controller(f)
	e.Hint(3)
	wants(t, pass(e, f, 10, member(2, 1)), Fence, LostByController)
	e = controller(f)
	pass(e, f, 19, member(2, 1))
	e.Grant(3)
	none(t, pass(e, f, 19, member(2, 1)))
}

// TestDeadBrokerIsFencedHoweverManyTriggersGetLost runs watcher, worker and controller of three nodes
// together while nine of ten messages between them are lost.
func TestDeadBrokerIsFencedHoweverManyTriggersGetLost(t *testing.T) {
	for seed := range uint64(20) {
		dice := rand.New(rand.NewPCG(seed, 3))
		f := image(3)
		e := NewEvidence(EvidenceConfig{Watcher: WatcherConfig{Self: 2, TimeoutTicks: 1 << 20, PauseTicks: 1},
			ReportTicks: 100}, brokers(f.live...))
		watchers := map[topic.NodeID]*Watcher{}
		pending := map[topic.NodeID]*Pending{2: {}, 3: {}}
		for node := range pending {
			watchers[node] = NewWatcher(WatcherConfig{Self: node, TimeoutTicks: 20})
			watchers[node].Sync(brokers(f.live...))
		}
		fenced := 0
		for tick := 0; tick < 2000 && fenced == 0; tick++ {
			for _, node := range []topic.NodeID{2, 3} {
				watchers[node].Heard(member(5-node, 1))
				for _, s := range watchers[node].Tick(1) {
					if dice.IntN(10) > 0 {
						continue
					}
					r := Request{Reporter: member(node, 1), Suspect: s.Member, SilentTicks: s.SilentTicks}
					pending[node].Add(r)
				}
				for _, r := range pending[node].Take(watchers[node].Snapshot(), f) {
					if r.Suspect != member(1, 1) {
						t.Fatalf("suspect %v", r.Suspect)
					}
					fenced += len(e.Report(r, f))
				}
			}
			fenced += len(e.Tick(1, f))
		}
		if fenced != 1 {
			t.Errorf("seed %d: got %d verdicts, want 1", seed, fenced)
		}
	}
}

func TestPendingIsOneRequestPerSuspect(t *testing.T) {
	// A dead node that leads 5,000 partitions is one proposal.
	f := image(3)
	w := watching()
	silentFor(w, 25)
	var p Pending
	for i := range 5000 {
		p.Add(Request{Reporter: member(1, 1), Suspect: member(3, 1), SilentTicks: i})
		p.Add(Request{Reporter: member(1, 1), Suspect: member(2, 1), SilentTicks: i})
	}
	got := p.Take(w.Snapshot(), f)
	if len(got) != 2 || got[0].Suspect.Node != 2 || got[1].Suspect.Node != 3 || got[0].SilentTicks != 4999 {
		t.Errorf("got %+v, want the latest about 2 and 3", got)
	}
	if p.Len() != 0 {
		t.Errorf("left over: %d", p.Len())
	}
}

func TestPendingDropsWhatNoLongerHolds(t *testing.T) {
	f := image(3)
	w := watching()
	silentFor(w, 25)
	var p Pending
	p.Add(word(member(1, 1), member(2, 1)))
	p.Add(word(member(1, 1), member(2, 7)))
	p.Add(word(member(1, 1), member(3, 1)))
	w.Heard(member(2, 1))
	f.live = f.live[:2]
	if got := p.Take(w.Snapshot(), f); len(got) > 0 {
		t.Errorf("got %+v: 2 spoke and 3 was fenced", got)
	}
}

func TestPendingIsBounded(t *testing.T) {
	var p Pending
	for i := range PendingMax + 10 {
		p.Add(word(member(1, 1), member(topic.NodeID(i), 1)))
	}
	if p.Len() != PendingMax {
		t.Errorf("got %d requests, want %d", p.Len(), PendingMax)
	}
}

func TestRequestSurvivesItsBytes(t *testing.T) {
	want := Request{Reporter: member(1, 2), Suspect: member(3, 4), SilentTicks: 77}
	b := want.Encode()
	got, err := DecodeRequest(b)
	if err != nil || got != want || len(b) != requestBytes {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for name, bad := range map[string][]byte{
		"nothing": nil, "cut": b[:len(b)-1], "tail": append(slices.Clone(b), 0),
		"version":    append([]byte{2}, b[1:]...),
		"no session": Request{Reporter: topic.Member{Node: 1}, Suspect: member(3, 4)}.Encode(),
		"no node":    Request{Reporter: member(-1, 1), Suspect: member(3, 4)}.Encode(),
	} {
		if got, err := DecodeRequest(bad); !errors.Is(err, ErrFormat) || got != (Request{}) {
			t.Errorf("%s: got %+v, %v, want %v", name, got, err, ErrFormat)
		}
	}
}

func TestVerdictIsALogLine(t *testing.T) {
	v := Verdict{Kind: Fence, Ground: NoAnswer, Suspect: member(2, 1), SilentTicks: 20, Reporters: []topic.NodeID{1}}
	want := "fence broker 2 in session 0000000200000001: lost by its only peer and silent when asked, " +
		"silent for 20 ticks, reported by [1]"
	if got := v.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add(word(member(1, 1), member(2, 1)).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err != nil {
			return
		}
		if again, err := DecodeRequest(r.Encode()); err != nil || again != r {
			t.Fatalf("again: got %+v, %v, want %+v", again, err, r)
		}
	})
}
