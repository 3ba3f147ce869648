package fetchsession

import (
	"container/list"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// EpochLast ends a session, or says that none is wanted; EpochFirst asks for one.
const (
	EpochLast  int32 = -1
	EpochFirst int32 = 0
)

// Session is what one client fetches.
type Session struct {
	// ID is never zero.
	ID int32
	// ByID says that topics are named by id.
	ByID bool
	// epoch is what the next request must carry.
	epoch int32
	// byKey finds the elements of order, each a *Partition. Who was served goes to the end, so that
	// everybody's turn comes in an answer that has room for few.
	byKey map[key]*list.Element
	order *list.List
	// counted is the size that the cache has counted, created and used are times in milliseconds.
	counted       int
	created, used int64
}

type key struct {
	topic string
	id    [16]byte
	index int32
}

// Partition is one partition of a session.
type Partition struct {
	// Topic or ID name the topic, as the client did.
	Topic string
	ID    [16]byte
	// Asked is what the client wants of it.
	Asked kmsg.FetchRequestTopicPartition
	told  told
}

// told is what the client knows of a partition.
type told struct{ highWatermark, lastStable, logStart int64 }

// nobody is what a client knows that was told nothing, or only of an error.
var nobody = told{-1, -1, -1}

func newSession(byID bool, asked []kmsg.FetchRequestTopic) *Session {
	s := &Session{ByID: byID, epoch: 1, byKey: map[key]*list.Element{}, order: list.New()}
	s.add(asked)
	return s
}

// Len is the number of partitions.
func (s *Session) Len() int { return s.order.Len() }

// Begin takes an incremental request: it checks the epoch, which it moves on, and adds, changes and
// forgets partitions. It changes nothing if the epoch is wrong.
func (s *Session) Begin(
	epoch int32, asked []kmsg.FetchRequestTopic, forgotten []kmsg.FetchRequestForgottenTopic,
) bool {
	if epoch != s.epoch {
		return false
	}
	if s.epoch == math.MaxInt32 {
		s.epoch = 0
	}
	s.epoch++
	s.add(asked)
	for i := range forgotten {
		t := &forgotten[i]
		for _, index := range t.Partitions {
			k := s.key(t.Topic, t.TopicID, index)
			if at := s.byKey[k]; at != nil {
				s.order.Remove(at)
				delete(s.byKey, k)
			}
		}
	}
	return true
}

func (s *Session) key(topic string, id [16]byte, index int32) key {
	if s.ByID {
		return key{id: id, index: index}
	}
	return key{topic: topic, index: index}
}

func (s *Session) add(asked []kmsg.FetchRequestTopic) {
	for i := range asked {
		t := &asked[i]
		for _, p := range t.Partitions {
			k := s.key(t.Topic, t.TopicID, p.Partition)
			if at := s.byKey[k]; at != nil {
				at.Value.(*Partition).Asked = p
				continue
			}
			s.byKey[k] = s.order.PushBack(&Partition{Topic: t.Topic, ID: t.TopicID, Asked: p, told: nobody})
		}
	}
}

// Partitions are those to fetch, in order. What they ask for may be read until the next Begin; the
// slice is the caller's.
func (s *Session) Partitions() []*Partition {
	all := make([]*Partition, 0, s.order.Len())
	for at := s.order.Front(); at != nil; at = at.Next() {
		all = append(all, at.Value.(*Partition))
	}
	return all
}

// Find returns a partition that the session has, by the names of a request.
func (s *Session) Find(topic string, id [16]byte, index int32) *Partition {
	if at := s.byKey[s.key(topic, id, index)]; at != nil {
		return at.Value.(*Partition)
	}
	return nil
}

// Settle reports whether the client must be told of a partition: of records, of an error, of
// anything else that it does not know. It notes what is told. bytes is the length of the records.
func (s *Session) Settle(p *Partition, answer *kmsg.FetchResponseTopicPartition, bytes int) bool {
	now := told{answer.HighWatermark, answer.LastStableOffset, answer.LogStartOffset}
	if answer.ErrorCode != 0 {
		// The end of the error is news, too.
		p.told = nobody
		return true
	}
	news := bytes > 0 || now != p.told || answer.PreferredReadReplica >= 0 ||
		answer.DivergingEpoch.EndOffset >= 0
	p.told = now
	if bytes > 0 {
		if at := s.byKey[s.key(p.Topic, p.ID, p.Asked.Partition)]; at != nil && at.Value == p {
			s.order.MoveToBack(at)
		}
	}
	return news
}
