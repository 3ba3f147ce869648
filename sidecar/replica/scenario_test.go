package replica

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// TestScenarios plays testdata: one file per behaviour, one partition, the real rules of the controller.
// Node 1 leads first; a prime on a node means a later session of it. Commands:
//
//	cluster nodes=N min=M               makes the nodes and the partition
//	append N name... [acks=1]           a producer writes one batch to node N
//	settle | tick T                     everything happens that nothing prevents; T times, with a tick
//	slow N... | fast N...               a slow node syncs nothing by itself
//	sync N...                           a node syncs
//	pause N... | resume N...            a paused node does nothing and hears nothing, its mail waits
//	blind N... | see N...               a blind node hears nothing from the controller
//	hears N all|none                    whom of the in-sync set N has heard lately
//	full N... | room N...               a full node refuses to append
//	crash N... [keep=K] [lose=K]        loses what it had not synced, but for K records; under the interval
//	                                    policy also K records that it had acknowledged
//	restart N... [unregistered]         a new session
//	wipe N...                           a crash that takes the disk
//	register N... [interval]            the session is registered, and live again if it was fenced;
//	                                    interval: the node may have acknowledged what it had not synced
//	fence N... | elect-unclean N | minimum M     the controller's
//	delete N to=O                       node N deletes what lies below an offset, as far as it is committed
//	drop N to=O                         node N compacts tombstones away that lie below an offset
//	claim N...                          what a node holds, where nobody leads and nobody clean is left
//	cut|join A-B...                     a link; join alone: all links
//	hold FILTER... | release FILTER...  messages stay on the way. FILTER is KIND[:A>B], KIND is data, probe,
//	                                    cut, commit, start, reset, ack, any, alter (a proposal) or verdict (its answer is
//	                                    lost); A and B may be *; release alone: all
//	deliver FILTER | lose FILTER        what is on the way now, held or not, and nothing else
//	replay FILTER [epoch=E]             copies of all such messages that were ever sent arrive
//	copy alter | deliver alter | lose alter      the same for proposals
//	decide N                            the controller gets the Nth proposal on the way
//	timeout N                           nobody answered N's proposals
//	forge N name... epoch=E             records that nobody sent appear on a node's disk
//	read N from=O epoch=E               a consumer with that position asks where its epoch ends, and reads
//	wire                                what is on the way
//	status [N...]                       one line per node, and one for the image
//	quiet | loud                        hides what operators read, or shows it
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		var s *stage
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "cluster" {
				s = openStage(t, d)
				return s.status(nil)
			}
			s.t = t
			s.out.Reset()
			s.command(d)
			s.inspect()
			if s.broken {
				t.Errorf("%s: an invariant broke:\n%s", d.Pos, s.out.String())
			}
			if s.out.Len() == 0 {
				return "ok"
			}
			return s.out.String()
		})
	})
}

func openStage(t *testing.T, d *datadriven.TestData) *stage {
	var nodes, least int
	d.ScanArgs(t, "nodes", &nodes)
	d.ScanArgs(t, "min", &least)
	return newStage(t, nodes, cluster.SetDefaults{MinInSync: int32(least)})
}

// line is a command of a script.
type line struct {
	*datadriven.TestData
	t *testing.T
}

// words are the arguments without a value.
func (l line) words() []string {
	var keys []string
	for _, arg := range l.CmdArgs {
		if len(arg.Vals) == 0 {
			keys = append(keys, arg.Key)
		}
	}
	return keys
}

func (l line) number(key string, otherwise int) int {
	if l.HasArg(key) {
		l.ScanArgs(l.t, key, &otherwise)
	}
	return otherwise
}

// hosts are the nodes that the words name; other words are left out.
func (s *stage) named(l line) []*host {
	var hosts []*host
	for _, word := range l.words() {
		if id, err := strconv.Atoi(word); err == nil {
			hosts = append(hosts, s.host(topic.NodeID(id)))
		}
	}
	return hosts
}

// names are the words after the node.
func (l line) names() []string { return l.words()[1:] }

func (s *stage) command(d *datadriven.TestData) {
	l := line{d, s.t}
	switch d.Cmd {
	case "append":
		s.append(s.named(l)[0], l.names(), l.number("acks", -1))
	case "settle":
		s.settle()
	case "tick":
		s.passTime(int(s.named1(l)))
	case "sync", "pause", "resume", "slow", "fast", "blind", "see", "full", "room", "crash", "wipe", "restart",
		"register", "fence", "timeout", "claim":
		for _, h := range s.named(l) {
			s.toNode(h, l)
		}
	case "delete":
		s.deleteTo(s.named(l)[0], l.number("to", 0))
	case "drop":
		s.named(l)[0].dropped = topic.Offset(l.number("to", 0))
	case "hears":
		s.hears(s.named(l)[0], slices.Contains(l.words(), "all"))
	case "minimum":
		s.apply(cluster.AlterConfigs{Changes: []topic.ConfigChange{{
			Kind: topic.TopicConfigs, ID: thePartition.Topic, Epoch: topic.AnyEpoch,
			Values: map[string]string{cluster.ConfigMinInSync: l.words()[0]},
		}}})
	case "elect-unclean":
		s.electUnclean(s.named(l)[0])
	case "forge":
		s.forge(s.named(l)[0], l)
	case "read":
		s.read(s.named(l)[0], l)
	case "status":
		s.out.WriteString(s.status(s.named(l)))
	case "quiet", "loud":
		s.quiet = d.Cmd == "quiet"
	default:
		s.onTheWay(l)
	}
}

func (s *stage) named1(l line) topic.NodeID { // the first word as a number
	n, err := strconv.Atoi(l.words()[0])
	if err != nil {
		l.t.Fatalf("%s: %v", l.Pos, err)
	}
	return topic.NodeID(n)
}

// toNode does something to one node.
func (s *stage) toNode(h *host, l line) {
	switch l.Cmd {
	case "sync":
		s.sync(h)
	case "pause", "resume":
		s.paused[h.id] = l.Cmd == "pause"
	case "slow", "fast":
		s.slow[h.id] = l.Cmd == "slow"
	case "blind", "see":
		s.blind[h.id] = l.Cmd == "blind"
		if l.Cmd == "see" && s.awake(h) {
			s.refresh(h)
		}
	case "full", "room":
		h.full = l.Cmd == "full"
	case "crash":
		s.crash(h, l.number("keep", 0))
		if n := l.number("lose", 0); n > 0 {
			h.session, h.log, h.durable = 0, h.log[:len(h.log)-n], h.durable-n // as for a wipe
		}
	case "wipe":
		s.crash(h, 0)
		// Its session is over for good, whatever the image still says of it.
		h.disk, h.session, h.log, h.durable, h.hw, h.start, h.startDurable = h.disk+1, 0, nil, 0, 0, 0, 0
	case "restart":
		s.restart(h)
		if !slices.Contains(l.words(), "unregistered") {
			s.register(h)
		}
	case "register":
		before, _ := s.image.Broker(h.id)
		s.apply(cluster.RegisterBroker{Replaces: before.Session, FlushAlways: !slices.Contains(l.words(), "interval"), Broker: topic.Broker{
			ID: h.id, Session: h.session, Disk: topic.DiskID{byte(h.id), h.disk},
		}})
	case "fence":
		s.fence(h)
	case "timeout":
		s.timeout(h)
	case "claim":
		s.claim(h)
	}
}

// append is what a producer gets to hear at once, and later through committed or unanswered.
func (s *stage) append(h *host, names []string, acks int) {
	switch {
	case !s.awake(h), !h.role.Leading:
		s.say("producer: %s refused, node %d does not lead", strings.Join(names, " "), h.id)
		return
	case acks == 1 && !h.role.AcceptOne, acks != 1 && !h.role.AcceptAll:
		s.say("producer: %s refused, not enough replicas", strings.Join(names, " "))
		return
	}
	for i, name := range names {
		s.names[s.values+1+i] = name
	}
	if acks != 1 {
		s.waiting = append(s.waiting, produced{h, h.role.Epoch, topic.Offset(len(h.log) + len(names)), names})
	}
	s.write(h, len(names))
}

func (s *stage) hears(h *host, all bool) {
	s.step(h, func(out *Effects) { h.machine.SetHeard(func(topic.Member) bool { return all }, out) })
}

// electUnclean is the operator's word: what the new leader lacks is lost, and said to be.
func (s *stage) electUnclean(h *host) {
	s.perhapsUnclean(cluster.ElectUnclean{Elections: []cluster.UncleanElection{{
		Partition: thePartition, PartitionEpoch: s.placement().PartitionEpoch, Node: h.id,
	}}})
}

// claim says what a node holds. Once all who are waited for have said it, the longest log leads.
func (s *stage) claim(h *host) {
	tail := topic.NoEpoch
	if len(h.log) > 0 {
		tail = h.log[len(h.log)-1].epoch
	}
	s.say("%s claims epoch %d, end %d", s.memberText(h.member()), tail, len(h.log))
	s.perhapsUnclean(cluster.ClaimLogs{Member: h.member(), Items: []cluster.LogClaim{{
		Partition: thePartition, LeaderEpoch: s.placement().LeaderEpoch, TailEpoch: tail, End: topic.Offset(len(h.log)),
	}}})
}

// perhapsUnclean applies a command that may elect who lacks what was committed.
func (s *stage) perhapsUnclean(c cluster.Command) {
	committed, before := s.world.committed, s.placement().UncleanEpoch
	s.world.committed, s.acked = nil, 0 // judged below
	result := s.apply(c)
	s.world.committed, s.acked = committed, len(committed)
	switch p := s.placement(); {
	case result.Items[0] != cluster.OK:
		s.say("controller: %s", result.Items[0])
	case p.UncleanEpoch != before:
		s.say("controller: %d leads, by an unclean election", p.Leader)
		s.giveUp(s.host(p.Leader))
	}
}

// giveUp makes the log of an unclean leader the truth.
func (s *stage) giveUp(h *host) {
	same := 0
	for same < min(len(h.log), s.acked) && h.log[same] == s.world.committed[same] {
		same++
	}
	if same < len(s.world.committed) {
		s.say("LOST by unclean election: %s", s.records(s.world.committed[same:]))
	}
	s.world.committed, s.acked, s.seen = s.world.committed[:same], same, min(s.seen, topic.Offset(same))
	h.hw = min(h.hw, topic.Offset(same))
	clear(s.marks)
}

func (s *stage) forge(h *host, l line) {
	s.forged = true
	for _, name := range l.names() {
		s.values++
		s.names[s.values] = name
		h.log = append(h.log, record{epoch: topic.Epoch(l.number("epoch", 0)), value: s.values})
	}
	h.durable = len(h.log)
	h.machine.Reload(h.state())
}

// read is a consumer that was at an offset under an epoch (KIP-320): it asks where that epoch ends, as
// OffsetForLeaderEpoch answers, before it reads on.
func (s *stage) read(h *host, l line) {
	epoch, from := topic.Epoch(l.number("epoch", 0)), topic.Offset(l.number("from", 0))
	m := h.machine
	switch {
	case !h.role.Leading:
		s.say("consumer: not the leader")
		return
	case epoch > h.role.Epoch:
		s.say("consumer: unknown leader epoch, ask again")
		return
	case !h.role.Ready:
		s.say("consumer: the leader is not ready, ask again")
		return
	}
	if found, end := m.epochs.floor(epoch, m.first, m.end); end < from {
		s.say("consumer: truncated: epoch %d ends at %d, position was %d", found, end, from)
		return
	}
	text := "consumer: reads nothing"
	if from < h.hw {
		text = "consumer: reads"
	}
	if int(from) < h.start {
		s.say("consumer: out of range, the log starts at %d", h.start)
		return
	}
	for _, rec := range h.log[min(from, h.hw):h.hw] {
		text += " " + s.names[rec.value]
	}
	s.say("%s", text)
}

// onTheWay is what can be done to messages.
func (s *stage) onTheWay(l line) {
	switch l.Cmd {
	case "cut", "join":
		s.links(l)
	case "hold":
		for _, word := range l.words() {
			s.held = append(s.held, s.filter(word))
		}
	case "release":
		s.held = slices.DeleteFunc(s.held, func(f filter) bool {
			return len(l.words()) == 0 || slices.ContainsFunc(l.words(), func(w string) bool { return s.filter(w) == f })
		})
	case "deliver", "lose", "copy":
		for _, word := range l.words() {
			s.move(l.Cmd, s.filter(word))
		}
	case "decide":
		n := int(s.named1(l)) - 1
		if n >= len(s.late) {
			s.say("no such proposal")
			return
		}
		p := s.late[n]
		s.late = slices.Delete(s.late, n, n+1)
		s.decide(p)
	case "replay":
		s.replay(s.filter(l.words()[0]), topic.Epoch(l.number("epoch", -1)))
	case "wire":
		for _, e := range s.net {
			s.say("%s", s.envelopeText(e))
		}
	default:
		l.t.Fatalf("%s: unknown command %s", l.Pos, l.Cmd)
	}
}

func (s *stage) links(l line) {
	if len(l.words()) == 0 {
		clear(s.cut)
	}
	for _, word := range l.words() {
		var a, b topic.NodeID
		if _, err := fmt.Sscanf(word, "%d-%d", &a, &b); err != nil {
			l.t.Fatalf("%s: %v", l.Pos, err)
		}
		s.cut[[2]topic.NodeID{a, b}], s.cut[[2]topic.NodeID{b, a}] = l.Cmd == "cut", l.Cmd == "cut"
	}
}

func (s *stage) filter(word string) filter {
	kind, link, found := strings.Cut(word, ":")
	f := filter{kind, anyNode, anyNode}
	if !slices.Contains([]string{"any", "data", "probe", "cut", "commit", "start", "reset", "ack", "alter", "verdict"}, kind) {
		s.t.Fatalf("no kind of message: %s", word)
	}
	if !found {
		return f
	}
	from, to, _ := strings.Cut(link, ">")
	for text, node := range map[string]*topic.NodeID{from: &f.from, to: &f.to} {
		if n, err := strconv.Atoi(text); err == nil {
			*node = topic.NodeID(n)
		}
	}
	return f
}

// move delivers, loses or copies what is on the way now.
func (s *stage) move(verb string, f filter) {
	if f.kind == "alter" {
		s.moveProposals(verb)
		return
	}
	last := ""
	for _, e := range s.take(f) {
		text := map[string]string{"lose": "lost: ", "deliver": "arrives: "}[verb] + s.envelopeText(e)
		if text != last { // copies are told once
			s.say("%s", text)
		}
		if last = text; verb == "deliver" {
			s.arriveAt(e)
		}
	}
}

func (s *stage) moveProposals(verb string) {
	late := s.late
	s.late = nil
	for _, p := range late {
		switch verb {
		case "deliver":
			s.decide(p)
		case "lose":
			s.say("lost: in sync %s on partition epoch %d", s.members(p.change().ISR), p.change().PartitionEpoch)
			if p.answered {
				s.say("%d: outcome unknown", p.host.id)
				p.decided(s.world, Unknown)
			}
		case "copy":
			s.late = append(s.late, p)
			p.answered = false
			s.late = append(s.late, p)
		}
	}
}

// replay brings copies of old messages.
func (s *stage) replay(f filter, epoch topic.Epoch) {
	for _, e := range slices.Clone(s.sent) {
		if !f.picks(kindOf(e), e.from.Node, e.to.Node) || epoch >= 0 && e.epoch() != epoch {
			continue
		}
		s.say("arrives again: %s", s.envelopeText(e))
		if s.host(e.to.Node).up { // out of some buffer, whatever the link is like now
			s.receive(e)
		}
	}
}

func (e envelope) epoch() topic.Epoch {
	if e.ack != nil {
		return e.ack.Epoch
	}
	return e.section.Epoch
}

// status shows all nodes and the image, or only some nodes.
func (s *stage) status(hosts []*host) string {
	var out strings.Builder
	all := len(hosts) == 0
	if all {
		hosts = s.hosts
	}
	for _, h := range hosts {
		start := ""
		if h.start > 0 {
			start = fmt.Sprintf("start %d, ", h.start)
		}
		fmt.Fprintf(&out, "%s: %s, log %s, %send %d, durable %d, high watermark %d\n", s.memberText(h.member()),
			s.roleText(h), s.recordsFrom(h.log, h.start), start, len(h.log), h.durable, h.hw)
	}
	if !all {
		return out.String()
	}
	p := s.placement()
	leader := "nobody leads"
	if p.Leader != topic.NoNode {
		leader = s.memberText(topic.Member{Node: p.Leader, Session: p.LeaderSession}) + " leads"
	}
	if p.Unclean {
		leader += " (unclean)"
	}
	fmt.Fprintf(&out, "image: %s in epoch %d, in sync %s, eligible %s, ", leader, p.LeaderEpoch, s.members(p.ISR), s.members(p.Eligible))
	if len(p.LastKnown) > 0 {
		fmt.Fprintf(&out, "last known %v, ", p.LastKnown)
	}
	fmt.Fprintf(&out, "partition epoch %d\n", p.PartitionEpoch)
	return out.String()
}

func (s *stage) roleText(h *host) string {
	text := fmt.Sprintf("follower in epoch %d", h.role.Epoch)
	if h.role.Leading {
		text = fmt.Sprintf("leader in epoch %d", h.role.Epoch)
		if !h.role.Ready {
			text += ", not ready"
		}
		if !h.role.AcceptAll {
			text += ", refuses acks=all"
		}
	}
	switch {
	case !h.up:
		return "down"
	case s.paused[h.id]:
		return "paused " + text
	}
	return text
}
