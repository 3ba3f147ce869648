package e2e

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// sharePartition is one partition of a ShareFetch or ShareAcknowledge, with what is said of its records.
type sharePartition struct {
	index int32
	said  []shareSaid
}

// shareSaid is what a member says of records, one after the other.
type shareSaid struct {
	first, last int64
	types       []int8
}

// What a member can say of a record.
const (
	sharesGap, sharesAccept, sharesRelease, sharesReject, sharesRenew = int8(0), int8(1), int8(2), int8(3), int8(4)
)

// shareRequest is a ShareFetch, or a ShareAcknowledge, of a member.
type shareRequest struct {
	step, group, member string
	epoch               int32
	// topic is another one than sharingTopic; stranger names one that is not there.
	topic      string
	stranger   bool
	partitions []sharePartition
	// forgets are partitions that the session no longer has.
	forgets []int32
	// most records are fetched; none are if it is 0.
	most int32
	// exactly: no more than those.
	exactly bool
	renews  bool
}

func sortedBy[T any, K cmp.Ordered](all []T, key func(T) K) []T {
	return slices.SortedFunc(slices.Values(all), func(a, b T) int { return cmp.Compare(key(a), key(b)) })
}

func (s *shareRequest) who() (group, member *string) {
	if s.group != "" {
		group = &s.group
	}
	if s.member != "" {
		member = &s.member
	}
	return group, member
}

func (d *dialogue) shareTopic(s *shareRequest) [16]byte {
	if s.stranger {
		return [16]byte{1, 2, 3}
	}
	if s.topic != "" {
		return d.topicID(s.topic)
	}
	return d.topicID(sharingTopic)
}

// shareFetch notes which records are given, how often they have been, and what became of what was said.
func (d *dialogue) shareFetch(s shareRequest) {
	d.Helper()
	q := kmsg.NewPtrShareFetchRequest()
	q.GroupID, q.MemberID = s.who()
	q.ShareSessionEpoch, q.MaxWaitMillis, q.MinBytes, q.MaxBytes, q.MaxRecords, q.BatchSize = s.epoch, 500, 1, 1<<20, s.most, s.most
	q.IsRenewAck = s.renews
	if s.exactly {
		q.ShareAcquireMode = 1
	}
	if len(s.partitions) > 0 {
		t := kmsg.NewShareFetchRequestTopic()
		t.TopicID = d.shareTopic(&s)
		for _, asked := range s.partitions {
			p := kmsg.NewShareFetchRequestTopicPartition()
			p.Partition = asked.index
			for _, said := range asked.said {
				p.AcknowledgementBatches = append(p.AcknowledgementBatches, kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch{
					FirstOffset: said.first, LastOffset: said.last, AcknowledgeTypes: said.types})
			}
			t.Partitions = append(t.Partitions, p)
		}
		q.Topics = append(q.Topics, t)
	}
	if len(s.forgets) > 0 {
		q.ForgottenTopicsData = []kmsg.ShareFetchRequestForgottenTopicsData{{TopicID: d.shareTopic(&s), Partitions: s.forgets}}
	}
	d.ask("share fetch "+s.step, q, showShared)
}

func showShared(r kmsg.Response) string {
	fetched := r.(*kmsg.ShareFetchResponse)
	said := codeName(fetched.ErrorCode)
	if fetched.ErrorCode == 0 {
		said += fmt.Sprint(" for ", fetched.AcquisitionLockTimeoutMillis)
	}
	for _, t := range fetched.Topics {
		for _, p := range sortedBy(t.Partitions, func(p kmsg.ShareFetchResponseTopicPartition) int32 { return p.Partition }) {
			if p.ErrorCode == 0 && p.AcknowledgeErrorCode == 0 && len(p.AcquiredRecords) == 0 {
				continue // Kafka tells of partitions of which there is nothing to tell
			}
			said += fmt.Sprintf(" %d:%s:%s records %v", p.Partition, codeName(p.ErrorCode), codeName(p.AcknowledgeErrorCode), len(p.Records) > 0)
			said += showAcquired(p.AcquiredRecords)
		}
	}
	return said
}

// showAcquired makes one of what lies beside each other.
func showAcquired(all []kmsg.ShareFetchResponseTopicPartitionAcquiredRecord) (said string) {
	var now kmsg.ShareFetchResponseTopicPartitionAcquiredRecord
	tell := func() string {
		if now.DeliveryCount == 0 {
			return ""
		}
		return fmt.Sprintf(" %d-%d x%d", now.FirstOffset, now.LastOffset, now.DeliveryCount)
	}
	for _, a := range all {
		if now.DeliveryCount == a.DeliveryCount && now.LastOffset+1 == a.FirstOffset {
			now.LastOffset = a.LastOffset
			continue
		}
		said += tell()
		now = a
	}
	return said + tell()
}

// shareSays acknowledges.
func (d *dialogue) shareSays(s shareRequest) {
	d.Helper()
	q := kmsg.NewPtrShareAcknowledgeRequest()
	q.GroupID, q.MemberID = s.who()
	q.ShareSessionEpoch, q.IsRenewAck = s.epoch, s.renews
	if len(s.partitions) > 0 {
		t := kmsg.NewShareAcknowledgeRequestTopic()
		t.TopicID = d.shareTopic(&s)
		for _, asked := range s.partitions {
			p := kmsg.NewShareAcknowledgeRequestTopicPartition()
			p.Partition = asked.index
			for _, said := range asked.said {
				p.AcknowledgementBatches = append(p.AcknowledgementBatches, kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{
					FirstOffset: said.first, LastOffset: said.last, AcknowledgeTypes: said.types})
			}
			t.Partitions = append(t.Partitions, p)
		}
		q.Topics = append(q.Topics, t)
	}
	d.ask("share acknowledge "+s.step, q, func(r kmsg.Response) string {
		a := r.(*kmsg.ShareAcknowledgeResponse)
		said := codeName(a.ErrorCode)
		for _, t := range a.Topics {
			for _, p := range sortedBy(t.Partitions, func(p kmsg.ShareAcknowledgeResponseTopicPartition) int32 { return p.Partition }) {
				said += fmt.Sprintf(" %d:%s", p.Partition, codeName(p.ErrorCode))
			}
		}
		return said
	})
}

// shareSession counts the epochs of one member's session.
type shareSession struct {
	*dialogue
	member string
	epoch  int32
}

// next is the member's next request.
func (s *shareSession) next(step string, partitions ...sharePartition) shareRequest {
	q := shareRequest{step: step, group: sharingGroup, member: s.member, epoch: s.epoch, partitions: partitions, most: 100}
	s.epoch++
	return q
}

func of(index int32, said ...shareSaid) sharePartition { return sharePartition{index, said} }

func says(first, last int64, types ...int8) shareSaid { return shareSaid{first, last, types} }

// shareFetches is what members do with records, and what is refused of them.
func (d *dialogue) shareFetches() {
	for _, s := range []shareRequest{
		{step: "without a group", member: sharingFirst, partitions: []sharePartition{of(0)}, most: 10},
		{step: "without a member", group: sharingGroup, partitions: []sharePartition{of(0)}, most: 10},
		{step: "of a member that is no UUID", group: sharingGroup, member: "somebody", partitions: []sharePartition{of(2)}, most: 10},
		{step: "without a session", group: sharingGroup, member: sharingSecond, epoch: 4, partitions: []sharePartition{of(0)}, most: 10},
		{step: "that opens and acknowledges", group: sharingGroup, member: sharingSecond, partitions: []sharePartition{of(0, says(0, 0, sharesAccept))}, most: 10},
		{step: "that closes what is not open", group: sharingGroup, member: sharingSecond, epoch: -1},
		{step: "that opens with a strange topic", group: sharingGroup, member: sharingSecond, stranger: true, partitions: []sharePartition{of(0)}, most: 10},
		{step: "that opens with an unknown partition", group: sharingGroup, member: sharingSecond, partitions: []sharePartition{of(9)}, most: 10},
		{step: "that closes", group: sharingGroup, member: sharingSecond, epoch: -1},
	} {
		d.shareFetch(s)
	}
	for _, s := range []shareRequest{
		{step: "without a group", member: sharingFirst, epoch: 1, partitions: []sharePartition{of(0, says(0, 0, sharesAccept))}},
		{step: "without a member", group: sharingGroup, epoch: 1, partitions: []sharePartition{of(0, says(0, 0, sharesAccept))}},
		{step: "without a session", group: sharingGroup, member: sharingSecond, epoch: 4, partitions: []sharePartition{of(0, says(0, 0, sharesAccept))}},
		{step: "in the first epoch", group: sharingGroup, member: sharingSecond, partitions: []sharePartition{of(0, says(0, 0, sharesAccept))}},
	} {
		d.shareSays(s)
	}
	first := &shareSession{dialogue: d, member: sharingFirst}
	first.acquires()
	first.acknowledges()
	first.renews()
	first.sharesWith(&shareSession{dialogue: d, member: sharingSecond})
}

// acquires opens a session, and is given what it asked for.
func (s *shareSession) acquires() {
	open := s.next("that opens", of(0), of(1), of(2))
	open.most, open.exactly = 6, true
	s.shareFetch(open)
	future := s.next("of an epoch to come")
	future.epoch += 5
	s.shareFetch(future)
	s.epoch--
	none := s.next("of no records")
	none.most = 0
	s.shareFetch(none)
	more := s.next("of two more")
	more.most, more.exactly = 2, true
	s.shareFetch(more)
	again := s.next("of the epoch before")
	again.epoch--
	s.shareFetch(again)
	s.epoch--
	s.shareOffsetsOf("with records in hand", []string{sharingTopic}, 0, 1, 2)
}

// acknowledges says things of the records 0 to 7 which it holds, and of others.
func (s *shareSession) acknowledges() {
	for _, one := range []struct {
		step       string
		partitions []sharePartition
	}{
		{"two", []sharePartition{of(0, says(0, 1, sharesAccept))}},
		{"the same two again", []sharePartition{of(0, says(0, 1, sharesAccept))}},
		{"each by itself", []sharePartition{of(0, says(2, 4, sharesAccept, sharesRelease, sharesReject))}},
		{"too many types", []sharePartition{of(0, says(5, 6, sharesAccept, sharesAccept, sharesAccept))}},
		{"a strange type", []sharePartition{of(0, says(5, 5, 9))}},
		{"a negative type", []sharePartition{of(0, says(5, 5, -1))}},
		{"no type", []sharePartition{of(0, says(5, 5))}},
		{"the last before the first", []sharePartition{of(0, says(6, 5, sharesAccept))}},
		{"one twice", []sharePartition{of(0, says(5, 6, sharesAccept), says(6, 7, sharesAccept))}},
		{"in another order", []sharePartition{of(0, says(6, 6, sharesAccept), says(5, 5, sharesAccept))}},
		{"what it has not", []sharePartition{of(0, says(9, 9, sharesAccept))}},
		{"behind the end", []sharePartition{of(0, says(100, 100, sharesAccept))}},
		{"of another partition", []sharePartition{of(1, says(0, 0, sharesAccept))}},
		{"of an unknown partition", []sharePartition{of(9, says(0, 0, sharesAccept))}},
		{"nothing", nil},
	} {
		s.shareSays(s.next(one.step, one.partitions...))
	}
	stranger := s.next("of a strange topic", of(0, says(0, 0, sharesAccept)))
	stranger.stranger = true
	s.shareSays(stranger)
	old := s.next("in an old epoch", of(0, says(5, 5, sharesAccept)))
	old.epoch = 1
	s.shareSays(old)
	s.epoch--
	s.shareOffsetsOf("after acknowledgements", []string{sharingTopic}, 0)
	released := s.next("of what was released")
	released.most, released.exactly = 1, true
	s.shareFetch(released)
	both := s.next("that acknowledges", of(0, says(3, 3, sharesRelease)))
	both.most, both.exactly = 1, true
	s.shareFetch(both)
	wrong := s.next("that acknowledges what it has not", of(0, says(0, 0, sharesAccept)))
	wrong.most, wrong.exactly = 1, true
	s.shareFetch(wrong)
	bad := s.next("that acknowledges with a strange type", of(0, says(3, 3, 9)))
	bad.most = 0
	s.shareFetch(bad)
	gap := s.next("a gap", of(0, says(3, 3, sharesGap)))
	s.shareSays(gap)
	s.shareOffsetsOf("after a gap", []string{sharingTopic}, 0)
}

// renews keeps what it has for longer.
func (s *shareSession) renews() {
	for _, flagged := range []bool{false, true} {
		q := s.next(fmt.Sprint("a renewal, said to be one ", flagged), of(0, says(5, 5, sharesRenew)))
		q.renews = flagged
		s.shareSays(q)
	}
	q := s.next("with a renewal, not said to be one", of(0, says(5, 5, sharesRenew)))
	q.most = 0
	s.shareFetch(q)
}

// sharesWith has another member come, and either leave in its way.
func (s *shareSession) sharesWith(other *shareSession) {
	two := s.next("of two more again")
	two.most, two.exactly = 2, true
	s.shareFetch(two)
	theirs := other.next("of another", of(0))
	theirs.most, theirs.exactly = 2, true
	other.shareFetch(theirs)
	forgets := s.next("that forgets")
	forgets.forgets, forgets.most = []int32{1, 2, 9}, 0
	s.shareFetch(forgets)
	stolen := other.next("what the other has", of(0, says(5, 5, sharesAccept)))
	other.shareSays(stolen)
	closing := shareRequest{step: "that closes and accepts", group: sharingGroup, member: other.member, epoch: -1,
		partitions: []sharePartition{of(0, says(11, 11, sharesAccept))}}
	other.shareFetch(closing)
	s.shareFetch(s.next("of all"))
	s.shareSays(s.next("all but the last", of(0, says(8, 10, sharesAccept))))
	s.shareOffsetsOf("with some in hand", []string{sharingTopic}, 0)
	end := shareRequest{step: "and close", group: sharingGroup, member: s.member, epoch: -1}
	s.shareSays(end)
	s.shareSays(shareRequest{step: "and close again", group: sharingGroup, member: s.member, epoch: -1})
	s.shareOffsetsOf("after the session", []string{sharingTopic}, 0)
}
