package group

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// records sets how large a record may be.
func records(bytes int) func(*Config) { return func(c *Config) { c.RecordBytesMax = bytes } }

// largest is the largest record that was written.
func (s *script) largest() int {
	most := 0
	for _, r := range s.log {
		most = max(most, r.Bytes())
	}
	return most
}

// TestMemberOfTooManyPartitionsIsRefusedAndTheOthersGoOn: nobody writes a record that cannot be appended,
// and one more member is all it takes.
func TestMemberOfTooManyPartitionsIsRefusedAndTheOthersGoOn(t *testing.T) {
	const most = 1000
	s := riding(t, 40, records(most))
	s.placed(s.enter("a"), 1, of(sequence(40)...))
	s.topics(80) // 16 bytes each for what is given up and what is got are more than fit
	s.refused(s.ride("a", 1, nil), ErrRecordTooLarge)
	s.refused(s.enter("a"), ErrRecordTooLarge)
	s.fine(s.enter("b"))
	s.fine(s.ride("a", 1, nil))
	if got := s.m.consumers.targetEpoch; got != s.m.consumers.epoch {
		t.Errorf("division: got that of epoch %d, want of %d", got, s.m.consumers.epoch)
	}
	if got := s.largest(); got > most {
		t.Errorf("largest record: got %d bytes, want at most %d", got, most)
	}
}

func sequence(n int32) (all []int32) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// TestUndividedGroupIsNotDividedAtEveryBeat: it would come to the same end, at a price.
func TestUndividedGroupIsNotDividedAtEveryBeat(t *testing.T) {
	s := riding(t, 100, records(1000))
	s.refused(s.enter("a"), ErrRecordTooLarge)
	before := len(s.log)
	s.refused(s.enter("a"), ErrRecordTooLarge)
	if got := len(s.log); got != before {
		t.Errorf("records: got %d more, want none", got-before)
	}
	if g := s.m.consumers; g.refused != g.epoch || g.targetEpoch == g.epoch {
		t.Errorf("got epoch %d divided in %d, refused in %d", g.epoch, g.targetEpoch, g.refused)
	}
}

// TestMemberThatSaysTooMuchIsRefused, by either protocol, and leaves nothing behind.
func TestMemberThatSaysTooMuchIsRefused(t *testing.T) {
	s := riding(t, 1, records(1000))
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprint("topic-", i)
	}
	for _, edit := range []func(*ConsumerHeartbeat){
		func(e *ConsumerHeartbeat) { e.Names = many },
		func(e *ConsumerHeartbeat) { e.Pattern = &[]string{strings.Repeat("x", 1000)}[0] },
		func(e *ConsumerHeartbeat) { e.Rack = &[]string{strings.Repeat("x", 1000)}[0] },
		func(e *ConsumerHeartbeat) { e.MemberID = strings.Repeat("x", 1000) },
	} {
		s.refused(s.enter("a", edit), ErrRecordTooLarge)
	}
	if len(s.log) != 0 || s.m.consumers != nil {
		t.Errorf("records: got %d, want none", len(s.log))
	}
	s.placed(s.enter("a"), 1, of(0))
	j := s.join("", func(j *Join) {
		j.Protocols = []Protocol{{Name: "range", Metadata: append(consumes("t"), make([]byte, 1000)...)}}
	})
	s.refused(j, ErrRecordTooLarge)
	if got := s.largest(); got > 1000 {
		t.Errorf("largest record: got %d bytes, want at most 1000", got)
	}
}

// TestPatternOfTooManyTopicsIsKeptWithoutThem, and a coordinator that replays it finds them again.
func TestPatternOfTooManyTopicsIsKeptWithoutThem(t *testing.T) {
	s := riding(t, 1, records(300))
	names := make([]string, 0, 8)
	for i := range 8 {
		names = append(names, fmt.Sprintf("%s-%d", strings.Repeat("n", 60), i))
	}
	r := s.m.fittingPattern("n.*", names, s.now)
	if r.Bytes() > 300 {
		t.Errorf("record: got %d bytes, want at most 300", r.Bytes())
	}
	d, err := decodeConsumer(r)
	if err != nil || len(d.topics) != 0 {
		t.Errorf("got %v (%v), want no topics", d, err)
	}
	if r = s.m.fittingPattern("n.*", names[:2], s.now); !slices.Equal(must(decodeConsumer(r)).topics, names[:2]) {
		t.Errorf("a record that fits has lost its topics")
	}
}

func must(d *consumerDecoded, err error) *consumerDecoded {
	if err != nil {
		panic(err)
	}
	return d
}

// TestStaticMemberOfNobodyIsUnknown: an instance id that nobody bears is no member, whatever its epoch.
func TestStaticMemberOfNobodyIsUnknown(t *testing.T) {
	s := riding(t, 1)
	s.placed(s.enter("a"), 1, of(0))
	nobody := "nobody"
	s.refused(s.step(ConsumerHeartbeat{Token: s.token(), MemberID: "a", Epoch: 9, Instance: &nobody, RebalanceMillis: -1}), ErrUnknownMember)
}

// TestClassicMemberGetsItsIdBeforeItsMetadataIsRead, in a group of the other protocol, as in Kafka.
func TestClassicMemberGetsItsIdBeforeItsMetadataIsRead(t *testing.T) {
	s := riding(t, 1)
	s.placed(s.enter("a"), 1, of(0))
	bad := func(j *Join) { j.NamesFirst, j.Protocols = true, []Protocol{{Name: "range", Metadata: []byte{1}}} }
	s.refused(s.join("", bad), ErrMemberIDRequired)
	s.refused(s.join("b", bad), ErrInconsistentProtocol)
}
