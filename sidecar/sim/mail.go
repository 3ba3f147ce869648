package sim

import (
	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/frame"
	"outrigger/sidecar/node"
)

// mailKind tells what travels beside the Raft's messages; each kind keeps its order on a link or not,
// by itself, as subjects on connections of their own do.
type mailKind uint8

const (
	mailBeat mailKind = iota
	mailData
	mailAck
	mailPropose
	mailAnswer
	mailReport
	mailPing
	mailPong
	mailKinds
)

// mail is one message between two hosts. Its bytes are those that production puts on NATS.
type mail struct {
	kind     mailKind
	from, to int
	bytes    []byte
	// id and run match an answer with the question of one run of the asker.
	id, run uint64
	session topic.Session
}

// post puts mail on its way, or not.
func (w *World) post(h *host, to int, m *mail) {
	if !h.spark() {
		return
	}
	m.from, m.to = h.at, to
	w.count.messages++
	if w.mix.replayPercent > 0 {
		if len(w.net.mail) < replaysKept {
			w.net.mail = append(w.net.mail, m)
		} else if w.rng.IntN(8) == 0 {
			w.net.mail[w.rng.IntN(replaysKept)] = m
		}
	}
	if w.net.cut[h.at][to] || w.chance(w.mix.lossPercent) {
		return
	}
	w.carry(m)
	if w.chance(w.mix.dupPercent) {
		w.carry(m)
	}
	if w.chance(w.mix.replayPercent) {
		w.count.replays++
		w.carry(w.net.mail[w.rng.IntN(len(w.net.mail))])
	}
}

func (w *World) carry(m *mail) {
	at := w.now + 200 + w.between(0, w.mix.delayMicros)
	if w.chance(w.mix.slowPercent) {
		at += w.between(0, w.mix.slowMicros)
	}
	if w.mix.fifo {
		last := &w.net.lanes[m.kind][m.from][m.to]
		at = max(at, *last+1)
		*last = at
	}
	w.queue.push(event{at: at, kind: letter, host: m.to, mail: m})
}

// take is what a host's subscriptions do: they only enqueue.
func (b *broker) take(m *mail) {
	switch m.kind {
	case mailBeat:
		b.takeBeat(m)
	case mailData, mailAck:
		b.in.Frames = append(b.in.Frames, m.bytes)
		b.want(partData)
	case mailPropose:
		b.takeProposal(m)
	case mailAnswer:
		if m.run == b.h.run {
			b.proposer.Answer(m.id, node.DecodeAnswer(m.bytes), b.now())
			b.want(partPropose)
		}
	case mailReport:
		if r, err := election.DecodeRequest(m.bytes); err == nil {
			b.meta.Report(node.Report{Kind: node.ReportRequest, Request: r})
			b.h.wantTurn()
		}
	case mailPing:
		if !b.hangs() {
			b.w.post(b.h, m.from, &mail{kind: mailPong, id: m.id, run: m.run, session: b.session})
		}
	case mailPong:
		if asked, ok := b.asked[m.id]; ok && m.run == b.h.run && asked.Session == m.session {
			b.meta.Report(node.Report{Kind: node.ReportAnswered, Member: asked})
			b.h.wantTurn()
		}
	}
}

func (b *broker) takeBeat(m *mail) {
	h, sections, body, err := frame.ParseHeader(m.bytes)
	if err != nil || h.From == b.h.id || h.Cluster != frame.ClusterOf(b.view.Image.ClusterID()) {
		return
	}
	hb, err := frame.ParseHeartbeat(body, sections)
	if err != nil {
		b.w.check.fail("%s sends a heartbeat that does not parse: %v", b.w.hosts[m.from], err)
		return
	}
	from := topic.Member{Node: h.From, Session: h.FromSession}
	if heard := node.HeardAt(b.now(), from, hb); heard.Newer(b.beatAt[h.From]) {
		b.beatAt[h.From] = heard
	}
	b.beats = append(b.beats, node.Beat{From: from, Heartbeat: hb})
	b.want(partWatch)
}

func (b *broker) takeProposal(m *mail) {
	if _, err := cluster.Decode(m.bytes); err != nil {
		b.w.check.fail("%s proposes what does not decode: %v", b.w.hosts[m.from], err)
		return
	}
	b.meta.Propose(m.bytes, func(result []byte, err error) {
		b.w.post(b.h, m.from, &mail{kind: mailAnswer, id: m.id, run: m.run, bytes: node.AnswerOf(result, err).Encode()})
	})
	b.h.wantTurn()
}
