package cluster

import "outrigger/broker/topic"

// The shared words of package topic in bytes; see Encode for the drawings.

func (w *writer) member(m topic.Member) {
	w.varint(int64(m.Node))
	w.u64(uint64(m.Session))
}

func (w *writer) members(members []topic.Member) {
	w.uvarint(uint64(len(members)))
	for _, m := range members {
		w.member(m)
	}
}

func (w *writer) nodes(nodes []topic.NodeID) {
	w.uvarint(uint64(len(nodes)))
	for _, node := range nodes {
		w.varint(int64(node))
	}
}

func (w *writer) partition(p topic.Partition) {
	w.raw(p.Topic[:])
	w.varint(int64(p.Index))
}

func (w *writer) assignments(assignments [][]topic.NodeID) {
	w.bool(assignments != nil)
	if assignments == nil {
		return
	}
	w.uvarint(uint64(len(assignments)))
	for _, replicas := range assignments {
		w.nodes(replicas)
	}
}

func (w *writer) broker(b *topic.Broker) {
	w.varint(int64(b.ID))
	w.u64(uint64(b.Session))
	w.raw(b.Disk[:])
	w.uvarint(uint64(len(b.Endpoints)))
	for _, endpoint := range b.Endpoints {
		w.string(endpoint.Listener)
		w.string(endpoint.Host)
		w.varint(int64(endpoint.Port))
	}
	w.string(b.Rack)
	w.string(joinLevels(joinBatchBytes(b.Version, b.BatchBytesMax), b.Levels))
}

func (r *reader) node() topic.NodeID { return topic.NodeID(r.i32()) }

func (r *reader) session() topic.Session { return topic.Session(r.u64()) }

func (r *reader) topicID() topic.ID {
	var id topic.ID
	copy(id[:], r.take(len(id)))
	return id
}

func (r *reader) member() topic.Member {
	return topic.Member{Node: r.node(), Session: r.session()}
}

func (r *reader) members() []topic.Member { return list(r, memberBytesMin, r.member) }

func (r *reader) nodes() []topic.NodeID { return list(r, 1, r.node) }

func (r *reader) partition() topic.Partition {
	return topic.Partition{Topic: r.topicID(), Index: r.i32()}
}

// assignments keeps "none given" (nil) apart from "an empty list".
func (r *reader) assignments() [][]topic.NodeID {
	if !r.bool() {
		return nil
	}
	if given := list(r, 1, r.nodes); given != nil {
		return given
	}
	return [][]topic.NodeID{}
}

func (r *reader) broker() topic.Broker {
	b := topic.Broker{ID: r.node(), Session: r.session()}
	copy(b.Disk[:], r.take(len(b.Disk)))
	b.Endpoints = list(r, endpointBytesMin, r.endpoint)
	b.Rack = r.string()
	b.Version, b.Levels = splitLevels(r.string())
	b.Version, b.BatchBytesMax = splitBatchBytes(b.Version)
	return b
}

func (r *reader) endpoint() topic.Endpoint {
	return topic.Endpoint{Listener: r.string(), Host: r.string(), Port: r.i32()}
}
