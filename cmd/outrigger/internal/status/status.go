// Package status joins what every sidecar says of itself to one picture of the cluster. It is pure:
// answers in, a Report out, and the Report knows how to be shown and whether it is a healthy one.
//
// A sidecar answers with itself, the partitions that it leads and, on the controller, those that
// nobody leads. Two answers may both claim a partition, since they were not given at the same moment:
// the higher leader epoch is right.
package status

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"outrigger/broker/topic"
	"outrigger/sidecar"
)

// Report is what `outrigger status --json` prints.
type Report struct {
	Brokers    []Broker                  `json:"brokers"`
	Partitions []sidecar.PartitionStatus `json:"partitions"`

	RaftElections      uint64 `json:"raft_elections"`
	PartitionElections uint64 `json:"partition_elections"`
	WatcherTriggers    uint64 `json:"watcher_triggers"`
	ISRShrinks         uint64 `json:"isr_shrinks"`
	Gaps               uint64 `json:"gaps"`
	Faults             uint64 `json:"faults"`

	// ScrubDamage counts the damaged places that running brokers have found in their logs.
	ScrubDamage int64 `json:"scrub_damage"`

	// Compacting are the logs that are compacted now, at most one of each broker.
	Compacting []Compacting `json:"compacting"`

	// Problems say why the cluster is not healthy, one sentence each; none if it is.
	Problems []string `json:"problems"`
	// Notes are for operators to plan by; a cluster with notes can be healthy.
	Notes []string `json:"notes"`
}

// Broker is one broker that answered.
type Broker struct {
	Node    topic.NodeID `json:"node"`
	Session string       `json:"session"`
	Role    string       `json:"role"`
	Term    uint64       `json:"term"`
	Commit  uint64       `json:"commit"`
	Applied uint64       `json:"applied"`
	Version string       `json:"version"`
}

// Compacting is a log of a broker that is compacted now.
type Compacting struct {
	Node topic.NodeID `json:"node"`
	sidecar.CompactingStatus
}

// Expected is how many answers the cluster of this answer would give.
func Expected(answer []byte) int {
	var s sidecar.Status
	if err := json.Unmarshal(answer, &s); err != nil {
		return 1
	}
	return max(1, len(s.Brokers))
}

// Join builds the report. An answer that cannot be read is an error: it is not from a sidecar.
func Join(answers [][]byte) (Report, error) {
	r := Report{Brokers: []Broker{}, Partitions: []sidecar.PartitionStatus{}, Compacting: []Compacting{}, Problems: []string{}, Notes: []string{}}
	partitions := make(map[string]sidecar.PartitionStatus)
	live := make(map[topic.NodeID]bool)
	var newest sidecar.Status
	controller := topic.NoNode
	for _, answer := range answers {
		var s sidecar.Status
		if err := json.Unmarshal(answer, &s); err != nil {
			return r, fmt.Errorf("read an answer: %w", err)
		}
		r.add(s)
		if s.Applied >= newest.Applied {
			newest = s
		}
		for _, node := range s.Brokers {
			live[node] = true
		}
		if s.Role == "leader" {
			controller = s.Node
		}
		for _, p := range s.Partitions {
			key := name(p)
			if old, twice := partitions[key]; !twice || newer(p, old) {
				partitions[key] = p
			}
		}
	}
	for _, p := range partitions {
		r.Partitions = append(r.Partitions, withoutNulls(p))
	}
	r.sort()
	r.judge(live, controller)
	r.drains(newest)
	return r, nil
}

// newer reports whether p is a later state of its partition than q.
func newer(p, q sidecar.PartitionStatus) bool {
	if p.Epoch != q.Epoch {
		return p.Epoch > q.Epoch
	}
	return q.Leader == topic.NoNode
}

func (r *Report) add(s sidecar.Status) {
	r.Brokers = append(r.Brokers, Broker{Node: s.Node, Session: s.Session, Role: s.Role, Term: s.Term,
		Commit: s.Commit, Applied: s.Applied, Version: s.Version})
	r.RaftElections += s.RaftElections
	r.PartitionElections += s.PartitionElections
	r.WatcherTriggers += s.WatcherTriggers
	r.ISRShrinks += s.ISRShrinks
	r.Gaps += s.Gaps
	r.Faults += s.Faults
	if s.Compacting != nil {
		r.Compacting = append(r.Compacting, Compacting{s.Node, *s.Compacting})
	}
	r.damage(s)
}

// damage tells of a broker's damaged disk: what is not repaired is a problem, what was repaired is left
// to plan by.
func (r *Report) damage(s sidecar.Status) {
	for _, d := range s.Damaged {
		r.problem("broker %d has a damaged batch of partition %s-%d at offset %d", s.Node, d.Topic, d.Partition, d.Offset)
	}
	r.ScrubDamage += s.ScrubDamage
	if s.ScrubDamage > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("broker %d found %d damaged places in its log: "+
			"its next start sets its write-ahead log aside from there on, and leaders send again "+
			"what lay in packs", s.Node, s.ScrubDamage))
	}
}

func (r *Report) sort() {
	slices.SortFunc(r.Brokers, func(a, b Broker) int { return cmp.Compare(a.Node, b.Node) })
	slices.SortFunc(r.Compacting, func(a, b Compacting) int { return cmp.Compare(a.Node, b.Node) })
	slices.SortFunc(r.Partitions, func(a, b sidecar.PartitionStatus) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

// judge finds what an operator should worry about.
func (r *Report) judge(live map[topic.NodeID]bool, controller topic.NodeID) {
	for _, p := range r.Partitions {
		switch {
		case p.Leader == topic.NoNode:
			r.problem("partition %s has no leader", name(p))
		case underReplicated(p):
			r.problem("partition %s is under-replicated: %d of %d replicas are in sync", name(p), len(p.ISR), len(p.Replicas))
		}
		if len(p.Adding)+len(p.Removing) > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("partition %s is being reassigned: adds %s, removes %s",
				name(p), nodes(p.Adding), nodes(p.Removing)))
		}
	}
	for _, b := range r.Brokers {
		delete(live, b.Node)
	}
	for node := range live {
		r.problem("broker %d is a live member and does not answer", node)
	}
	if controller == topic.NoNode {
		r.problem("no broker that answered is the controller, so partitions without a leader are not known")
	}
	slices.Sort(r.Problems)
}

// drains tells which brokers shall hold no replicas any more, by what the newest answer knows.
func (r *Report) drains(newest sidecar.Status) {
	for _, node := range newest.Draining {
		note := "broker %d is draining"
		if !slices.Contains(newest.Brokers, node) {
			note = "broker %d is draining, and is fenced"
		}
		r.Notes = append(r.Notes, fmt.Sprintf(note, node))
	}
}

// underReplicated does not count the replicas that a reassignment brings.
func underReplicated(p sidecar.PartitionStatus) bool {
	missing := len(p.Replicas) - len(p.ISR)
	for _, node := range p.Adding {
		if !slices.Contains(p.ISR, node) {
			missing--
		}
	}
	return missing > 0
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Healthy reports whether every partition has a leader and all its replicas in sync.
func (r *Report) Healthy() bool { return len(r.Problems) == 0 }

func name(p sidecar.PartitionStatus) string { return p.Topic + "-" + strconv.Itoa(int(p.Partition)) }

// withoutNulls makes every list a list, for whoever reads the JSON.
func withoutNulls(p sidecar.PartitionStatus) sidecar.PartitionStatus {
	for _, list := range []*[]topic.NodeID{&p.Replicas, &p.ISR} {
		if *list == nil {
			*list = []topic.NodeID{}
		}
	}
	if p.Followers == nil {
		p.Followers = []sidecar.FollowerStatus{}
	}
	return p
}

// WriteJSON writes the report as one object.
func (r *Report) WriteJSON(out io.Writer) error { return json.NewEncoder(out).Encode(r) }

// WriteTable writes the report for people.
func (r *Report) WriteTable(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BROKER\tSESSION\tROLE\tTERM\tCOMMIT\tAPPLIED\tVERSION")
	for _, b := range r.Brokers {
		fmt.Fprintf(table, "%d\t%s\t%s\t%d\t%d\t%d\t%s\n", b.Node, b.Session, b.Role, b.Term, b.Commit, b.Applied, b.Version)
	}
	fmt.Fprintln(table)
	fmt.Fprintln(table, "PARTITION\tLEADER\tEPOCH\tREPLICAS\tISR\tLOG END\tHIGH WATERMARK\tFOLLOWER LAG")
	for _, p := range r.Partitions {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%d\t%d\t%s\n", name(p), node(p.Leader), p.Epoch, nodes(p.Replicas),
			nodes(p.ISR), p.LogEnd, p.HighWatermark, lags(p.Followers))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d brokers, %d partitions, %d Raft elections, %d partition elections, "+
		"%d watcher triggers, %d ISR shrinks, %d gaps, %d faults\n", len(r.Brokers), len(r.Partitions),
		r.RaftElections, r.PartitionElections, r.WatcherTriggers, r.ISRShrinks, r.Gaps, r.Faults)
	if err != nil {
		return err
	}
	for _, c := range r.Compacting {
		_, err := fmt.Fprintf(out, "broker %d compacts %s-%d: %.0f %% of %d bytes, %d logs come after it\n",
			c.Node, c.Topic, c.Partition, 100*c.Progress, c.Bytes, c.Waiting)
		if err != nil {
			return err
		}
	}
	for _, problem := range slices.Concat(r.Problems, r.Notes) {
		if _, err := fmt.Fprintln(out, problem); err != nil {
			return err
		}
	}
	return nil
}

func node(id topic.NodeID) string {
	if id == topic.NoNode {
		return "none"
	}
	return strconv.Itoa(int(id))
}

func nodes(ids []topic.NodeID) string {
	var all []string
	for _, id := range ids {
		all = append(all, node(id))
	}
	return strings.Join(all, ",")
}

// lags shows "node:lag", with the mode of a follower that is not simply streaming.
func lags(followers []sidecar.FollowerStatus) string {
	var all []string
	for _, f := range followers {
		lag := "?"
		if f.Lag >= 0 {
			lag = strconv.FormatInt(int64(f.Lag), 10)
		}
		one := node(f.Node) + ":" + lag
		if f.Mode != "" && f.Mode != "stream" {
			one += " (" + f.Mode + ")"
		}
		all = append(all, one)
	}
	return strings.Join(all, " ")
}
