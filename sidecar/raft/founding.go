package raft

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"outrigger/broker/topic"
)

// Founding: how a group of stores that hold no log becomes a cluster, once.
//
// A wiped voter cannot tell itself from a new one, and two wiped voters of three must not found a
// second cluster over the third one's data. Hence:
//
//   - Every blank voter asks every configured voter again and again who it is (Hello). Its *view* is
//     complete once all have answered, all hold no log, and all have the same list of voters.
//   - Whoever has a complete view campaigns for the set of (node, disk) in it, and needs the vote of
//     *every* one of them.
//   - A blank node grants such a vote only if its own complete view is exactly that set, and it
//     starts its view anew after the vote.
//   - The winner writes the set as entry 1. From then on the set in the log is what counts, and the
//     ordinary rules hold: a voter of the set is a disk that has taken part.
//
// Why nothing less will do. (1) A asks C, C is blank and says so; C and B found the cluster and
// commit; B loses its disk; A still trusts C's old answer, and A with the new B would be a majority.
// So the vote of all is needed, and C's log refuses. (2) K's set holds B's first disk and L's set its
// second; C votes for L's set and then, in a higher term, for K's older one: both win, one after the
// other. So a voter's own view must agree, and a view gathered after the vote for L's set cannot hold
// the disk that B had before. With both rules the sets a node votes for only get newer, so when a set
// wins, every disk that ever took an entry of an earlier set is gone, and so is what it held.
type founding struct {
	// reports are the newest answers, one per configured voter.
	reports []report
	// asked numbers the rounds of Hello; answers up to since are too old to count.
	asked, since uint64
	// ready counts ticks since the view is complete.
	ready int
	// waits is what the last FoundingWaits event said.
	waits string
	// hint is a leader outside the configured voters that somebody told of; it must be asked too,
	// since only the leader admits.
	hint *topic.NodeID
	// belonged is the round in which a leader last spoke to the disk that was here before.
	belonged uint64
}

// report is a configured voter's answer to Hello.
type report struct {
	member Member
	round  uint64
	blank  bool
	agrees bool // its list of voters is ours
}

// helloRoundsMax is how many rounds an answer counts for: longer, and its sender is not reachable.
const helloRoundsMax = 5

// sayHello asks every configured voter who it is, and the leader that they told of.
func (m *Machine) sayHello() {
	m.founding.asked++
	for _, node := range m.cfg.Voters {
		m.sayHelloTo(node)
	}
	if hint := m.founding.hint; hint != nil {
		m.sayHelloTo(*hint)
		m.founding.hint = nil
	}
}

func (m *Machine) sayHelloTo(node topic.NodeID) {
	if node == m.cfg.Node {
		return
	}
	msg := m.request(Hello, Member{Node: node})
	msg.Round, msg.Blank, msg.Voters = m.founding.asked, m.blank(), m.cfg.Voters
	m.send(msg)
}

// stepHello answers who this node is. On the leader it is also a request to be admitted.
func (m *Machine) stepHello(msg Message) {
	if m.role == Leader && !m.membership().Contains(msg.Sender()) {
		m.leading.noteJoin(msg.Sender())
	}
	r := m.reply(msg)
	r.Round, r.Blank, r.Voters, r.Leader = msg.Round, m.blank(), m.cfg.Voters, m.leaderNode()
	m.promise(r)
}

func (m *Machine) stepHelloReply(msg Message) {
	if _, configured := slices.BinarySearch(m.cfg.Voters, msg.Leader); !configured &&
		msg.Leader != topic.NoNode {
		hint := msg.Leader
		m.founding.hint = &hint
	}
	at, found := slices.BinarySearch(m.cfg.Voters, msg.From)
	if !m.blank() || !found {
		return
	}
	if m.founding.reports == nil {
		m.founding.reports = make([]report, len(m.cfg.Voters))
	}
	if r := &m.founding.reports[at]; msg.Round >= r.round && msg.Round <= m.founding.asked {
		*r = report{member: msg.Sender(), round: msg.Round, blank: msg.Blank,
			agrees: slices.Equal(msg.Voters, m.cfg.Voters)}
	}
}

// noteCluster takes what a leader says to the disk that was here before: there is a cluster that this node
// belonged to, so nothing is founded while that is heard, and its sender may know whom to ask.
func (m *Machine) noteCluster(msg Message) {
	if !m.blank() || msg.To != m.cfg.Node || msg.Type != Append || msg.ToDisk == m.cfg.Disk {
		return
	}
	hint := msg.From
	m.founding.hint, m.founding.belonged = &hint, m.founding.asked
}

// view is the founding set that this node sees, and for whom it waits if there is none.
func (m *Machine) view() (set Membership, waits string) {
	var missing []string
	for i, node := range m.cfg.Voters {
		if node == m.cfg.Node {
			set.Voters = append(set.Voters, m.self)
			continue
		}
		var r report
		if m.founding.reports != nil {
			r = m.founding.reports[i]
		}
		switch {
		case r.round <= m.founding.since || r.round+helloRoundsMax < m.founding.asked:
			missing = append(missing, fmt.Sprintf("node %d does not answer", node))
		case !r.blank:
			missing = append(missing, fmt.Sprintf("node %d belongs to a cluster already", node))
		case !r.agrees:
			missing = append(missing, fmt.Sprintf("node %d has other voters configured", node))
		default:
			set.Voters = append(set.Voters, r.member)
		}
	}
	if b := m.founding.belonged; len(missing) == 0 && b > 0 && b+helloRoundsMax >= m.founding.asked {
		missing = append(missing, "a leader counts on the disk that was here before")
	}
	return set, strings.Join(missing, ", ")
}

// viewSuffices reports whether nobody is waited for.
func (m *Machine) viewSuffices(set Membership, waits string) bool {
	if m.cfg.mutant == FoundsByMajority {
		return len(set.Voters) > len(m.cfg.Voters)/2
	}
	return waits == ""
}

// tickBlank is the life of a node without a log: it asks around, and founds or waits to be admitted.
func (m *Machine) tickBlank() {
	if !m.leader.IsZero() {
		if m.elapsed < m.timeout {
			return // admitted; the log or a snapshot is on its way
		}
		m.forgetLeader()
	}
	if m.elapsed%m.cfg.HeartbeatTicks == 0 {
		m.sayHello()
		if m.role == Candidate {
			m.askForVotes(m.electorate())
		}
	}
	rank, configured := slices.BinarySearch(m.cfg.Voters, m.cfg.Node)
	switch {
	case !configured:
		m.noteWaiting(JoinWaits, fmt.Sprintf("asking voters %v", m.cfg.Voters))
	case m.role != Candidate:
		m.tickFounding(rank)
	case m.elapsed >= m.timeout:
		m.become(Follower, Member{})
	}
}

// tickFounding campaigns when the view is complete. The first of the configured voters goes ahead
// and the others wait for it, each a timeout more than the one before: a vote of all is not won by
// several at once.
func (m *Machine) tickFounding(rank int) {
	set, waits := m.view()
	if !m.viewSuffices(set, waits) {
		m.founding.ready = 0
		m.noteWaiting(FoundingWaits, waits)
		return
	}
	m.founding.waits = ""
	m.founding.ready++
	if len(set.Voters) == 1 || m.founding.ready > rank*m.cfg.ElectionTicks+m.timeout%3 {
		m.campaignFounding(set)
	}
}

// noteWaiting says once for whom this node waits, and again when that changes. The first rounds are
// silent: nobody has had the time to answer yet.
func (m *Machine) noteWaiting(kind EventKind, waits string) {
	if waits != m.founding.waits && m.founding.asked > helloRoundsMax {
		m.founding.waits = waits
		m.note(kind, topic.NoNode, waits)
	}
}

func (m *Machine) campaignFounding(set Membership) {
	m.founding.ready = 0
	m.setTerm(m.hard.Term+1, m.self)
	m.become(Candidate, Member{})
	m.counts.campaigns++
	m.ballot.founding = &set
	m.askForVotes(set)
}

// stepFoundingVote answers a founding candidate. A vote already given is repeated: the first answer
// may be lost, and the term binds it to the same set.
func (m *Machine) stepFoundingVote(msg Message) {
	repeated := m.blank() && msg.Term == m.hard.Term && m.hard.Vote == msg.Sender()
	set, waits := m.view()
	granted := repeated || m.blank() && msg.Term > m.hard.Term && m.viewSuffices(set, waits) &&
		(set.Equal(msg.Membership) || m.cfg.mutant == FoundsByMajority)
	if granted && !repeated {
		m.setTerm(msg.Term, msg.Sender())
		m.become(Follower, Member{})
		m.founding.since, m.founding.ready = m.founding.asked, 0
	}
	r := m.reply(msg)
	r.Reject = !granted
	m.promise(r)
}

// found writes the founding set as entry 1 and draws the cluster's id unless one is configured. A
// crash before these are durable leaves a term that nobody leads, and the founding starts again.
func (m *Machine) found(set Membership) {
	if m.hard.Cluster == "" {
		m.hard.Cluster = m.drawClusterID()
	}
	m.appendOwn(EntryMembership, encodeMembership(nil, set))
	m.founding = founding{}
	m.note(Founded, topic.NoNode, "cluster "+m.hard.Cluster+", "+set.String())
}

func (m *Machine) drawClusterID() string {
	seed := binary.BigEndian.AppendUint64(nil, m.cfg.Seed)
	seed = binary.BigEndian.AppendUint64(seed, uint64(m.cfg.Session))
	sum := sha256.Sum256(append(seed, m.cfg.Disk[:]...))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
