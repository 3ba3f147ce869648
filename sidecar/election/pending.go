package election

import (
	"sort"

	"outrigger/broker/topic"
)

// PendingMax bounds the suspects that a worker remembers; clusters have fewer brokers. Beyond it a
// request is dropped, and comes again.
const PendingMax = 1024

// Image is what this package asks of the cluster image.
type Image interface {
	// Live reports whether m is registered, unfenced and in its present session.
	Live(m topic.Member) bool
	// Peers returns the live brokers, by id, that host a replica together with node, without node.
	Peers(node topic.NodeID) []topic.NodeID
}

// Pending is what the election worker has yet to report: one request per suspected session, however
// often the watcher repeated it and however many partitions the suspect leads.
type Pending struct {
	// requests is sorted by suspect.
	requests []Request
}

// Add takes a request; a later one about the same session replaces the earlier.
func (p *Pending) Add(r Request) {
	i := sort.Search(len(p.requests), func(i int) bool {
		return !less(p.requests[i].Suspect, r.Suspect)
	})
	if i < len(p.requests) && p.requests[i].Suspect == r.Suspect {
		p.requests[i] = r
		return
	}
	if len(p.requests) >= PendingMax {
		return
	}
	p.requests = append(p.requests, Request{})
	copy(p.requests[i+1:], p.requests[i:])
	p.requests[i] = r
}

// Len is the number of requests that wait.
func (p *Pending) Len() int { return len(p.requests) }

// Take empties the pending requests and returns those that still hold, by suspect: the table still
// suspects the session, and the image still has it live.
func (p *Pending) Take(table Table, image Image) []Request {
	var holding []Request
	for _, r := range p.requests {
		if table.Suspects(r.Suspect) && image.Live(r.Suspect) {
			holding = append(holding, r)
		}
	}
	p.requests = nil
	return holding
}

func less(a, b topic.Member) bool {
	if a.Node != b.Node {
		return a.Node < b.Node
	}
	return a.Session < b.Session
}
