package broker

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/fetchsession"
)

const (
	fetchInSession = 7
	// fetchSessionPartitionsMax bounds the partitions of all sessions, about 250 bytes each.
	fetchSessionPartitionsMax = 1_000_000
	// fetchSessionEviction is Kafka's: how long a session is safe from others.
	fetchSessionEviction = 2 * time.Minute
)

// fetchSessions are the incremental fetch sessions of this broker (KIP-227). They end with it.
type fetchSessions struct {
	began time.Time
	mu    sync.Mutex
	cache *fetchsession.Cache
}

func newFetchSessions(slots int, seed uint64) *fetchSessions {
	return &fetchSessions{began: time.Now(), cache: fetchsession.NewCache(fetchsession.Config{
		Slots: slots, Partitions: fetchSessionPartitionsMax,
		EvictionMillis: fetchSessionEviction.Milliseconds(), Seed: seed,
	})}
}

// sessionUse is what one fetch has to do with sessions.
type sessionUse struct {
	// open: the client asks for one.
	open bool
	// session is the one that the fetch goes on with, parts its partitions in the order of the
	// request that was made of them.
	session *fetchsession.Session
	parts   []*fetchsession.Partition
}

// begin finds the session of a fetch. In a session the request names only what is new; begin then
// replaces its topics by all that the session holds.
func (s *fetchSessions) begin(version int16, q *kmsg.FetchRequest) (sessionUse, code) {
	if version < fetchInSession {
		return sessionUse{}, codeNone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.SessionEpoch == fetchsession.EpochFirst || q.SessionEpoch == fetchsession.EpochLast {
		s.cache.Close(q.SessionID)
		return sessionUse{open: q.SessionEpoch == fetchsession.EpochFirst}, codeNone
	}
	session := s.cache.Find(q.SessionID)
	switch {
	case session == nil:
		return sessionUse{}, codeFetchSessionIDNotFound
	case session.ByID != (version >= fetchByID):
		return sessionUse{}, codeFetchSessionTopicID
	case !session.Begin(q.SessionEpoch, q.Topics, q.ForgottenTopics):
		return sessionUse{}, codeInvalidFetchSessionEpoch
	}
	use := sessionUse{session: session, parts: session.Partitions()}
	q.Topics = topicsOf(use.parts)
	if !s.cache.Used(session, s.now()) {
		return sessionUse{}, codeNone // it has ended: this answer tells all, and the next request must ask for all
	}
	return use, codeNone
}

func (s *fetchSessions) now() int64 { return time.Since(s.began).Milliseconds() }

// topicsOf names partitions as a request without a session would, in their order. What they ask for
// is copied: the next request may change it.
func topicsOf(parts []*fetchsession.Partition) []kmsg.FetchRequestTopic {
	var topics []kmsg.FetchRequestTopic
	asked := make([]kmsg.FetchRequestTopicPartition, 0, len(parts))
	from := 0
	for i, p := range parts {
		asked = append(asked, p.Asked)
		if i+1 < len(parts) && parts[i+1].Topic == p.Topic && parts[i+1].ID == p.ID {
			continue
		}
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID, t.Partitions = p.Topic, p.ID, asked[from:len(asked):len(asked)]
		topics = append(topics, t)
		from = len(asked)
	}
	return topics
}

// settle leaves out of a complete answer what the client of the session knows already, or opens the
// session that it asks for. bytes are the lengths of the records of every partition. It returns which
// partitions stay, by topic of the answer, as numbers in the order of the request; nil for all.
func (s *fetchSessions) settle(
	version int16, use sessionUse, q *kmsg.FetchRequest, response *kmsg.FetchResponse, bytes func(int) int,
) [][]int {
	if !use.open && use.session == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if use.open {
		s.open(version, q, response, bytes)
		return nil
	}
	response.SessionID = use.session.ID
	kept := [][]int{}
	topics := response.Topics[:0]
	number := 0
	for _, t := range response.Topics {
		var stay []int
		partitions := t.Partitions[:0]
		for _, p := range t.Partitions {
			if use.session.Settle(use.parts[number], &p, bytes(number)) {
				partitions, stay = append(partitions, p), append(stay, number)
			}
			number++
		}
		if t.Partitions = partitions; len(partitions) > 0 {
			topics, kept = append(topics, t), append(kept, stay)
		}
	}
	response.Topics = topics
	return kept
}

// open makes the session that a full request asks for, if there is room.
func (s *fetchSessions) open(
	version int16, q *kmsg.FetchRequest, response *kmsg.FetchResponse, bytes func(int) int,
) {
	session := s.cache.Open(s.now(), version >= fetchByID, q.Topics)
	if session == nil {
		return
	}
	response.SessionID = session.ID
	number := 0
	for i := range response.Topics {
		t := &response.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			session.Settle(session.Find(t.Topic, t.TopicID, p.Partition), p, bytes(number))
			number++
		}
	}
}

// collectors are the gauges that Kafka has of its cache.
func (s *fetchSessions) collectors() []prometheus.Collector {
	const cache = "kafka_server_fetchsessioncache_"
	read := func(of func(*fetchsession.Cache) int) func() float64 {
		return func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(of(s.cache))
		}
	}
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: cache + "numincrementalfetchsessions", Help: "Incremental fetch sessions.",
		}, read((*fetchsession.Cache).Len)),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: cache + "numincrementalfetchpartitionscached", Help: "Partitions of fetch sessions.",
		}, read((*fetchsession.Cache).Partitions)),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: cache + "incrementalfetchsessionevictions_total", Help: "Fetch sessions ended for others.",
		}, read((*fetchsession.Cache).Evictions)),
	}
}
