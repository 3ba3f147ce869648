package main

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// TestGroupIsLookedForElsewhereWhereItsProtocolIsOff: brokers answer for every group then, whatever it is.
func TestGroupIsLookedForElsewhereWhereItsProtocolIsOff(t *testing.T) {
	for _, err := range []error{kerr.UnsupportedVersion, kerr.GroupIDNotFound} {
		if got := refusal("g", true, err); !errors.Is(got, errOtherProtocol) {
			t.Errorf("%v: got %v, want another protocol", err, got)
		}
	}
	if got := refusal("g", true, kerr.CoordinatorNotAvailable); got == nil || errors.Is(got, errOtherProtocol) {
		t.Errorf("no coordinator: got %v, want that told", got)
	}
}

// listed is one partition of topic t at an offset.
func listed(offset int64, err error) kadm.ListedOffsets {
	return kadm.ListedOffsets{"t": {0: {Topic: "t", Offset: offset, Err: err}}}
}

// TestLagWithoutACommitCountsFromTheStart: what was deleted before the group came is not before it.
func TestLagWithoutACommitCountsFromTheStart(t *testing.T) {
	committed := kadm.OffsetResponses{"t": {0: {Offset: kadm.Offset{Topic: "t", At: 25}}}}
	none := kadm.OffsetResponses{"t": {0: {Offset: kadm.Offset{Topic: "t", At: -1}}}}
	for _, c := range []struct {
		name string
		p    groupProgress
		want groupOffsetView
	}{
		{"committed", groupProgress{committed, listed(10, nil), listed(30, nil)}, groupOffsetView{Committed: 25, End: 30, Lag: 5}},
		{"no commit", groupProgress{nil, listed(10, nil), listed(30, nil)}, groupOffsetView{Committed: -1, End: 30, Lag: 20}},
		{"commit of -1", groupProgress{none, listed(10, nil), listed(30, nil)}, groupOffsetView{Committed: -1, End: 30, Lag: 20}},
		{"start unknown", groupProgress{nil, listed(-1, kerr.NotLeaderForPartition), listed(30, nil)},
			groupOffsetView{Committed: -1, End: 30, Lag: 30}},
		{"committed beyond the end", groupProgress{committed, listed(10, nil), listed(20, nil)}, groupOffsetView{Committed: 25, End: 20}},
		{"end unknown", groupProgress{committed, listed(10, nil), listed(-1, kerr.NotLeaderForPartition)},
			groupOffsetView{Committed: 25, End: -1, Lag: -1, Error: kerr.NotLeaderForPartition.Error()}},
		{"topic unknown", groupProgress{committed, nil, nil},
			groupOffsetView{Committed: 25, End: -1, Lag: -1, Error: kerr.UnknownTopicOrPartition.Message}},
	} {
		c.want.Topic, c.want.Member = "t", "m"
		if got := c.p.view("t", 0, "m"); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}
