package broker

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestConsumerProtocolCanBeTurnedOff: its members and tools hear what has clients fall back to the classic
// protocol, and groups of the others are as they were.
func TestConsumerProtocolCanBeTurnedOff(t *testing.T) {
	h := startShares(t, func(c *Config) { c.Groups.ConsumersOff = true })
	id := h.create("t", 1)
	h.produceTo("t", "a")
	c := h.dial()
	beat := c.ask(consumerJoin("modern", "member")).(*kmsg.ConsumerGroupHeartbeatResponse)
	expectCode(t, "beat", beat.ErrorCode, codeUnsupportedVersion)
	if beat.ErrorMessage == nil || !strings.Contains(*beat.ErrorMessage, "group.coordinator.rebalance.protocols") {
		t.Errorf("beat: got message %v, want one that names the key", beat.ErrorMessage)
	}
	describe := kmsg.NewPtrConsumerGroupDescribeRequest()
	describe.Version, describe.Groups = 1, []string{"modern"}
	expectCode(t, "describe", c.ask(describe).(*kmsg.ConsumerGroupDescribeResponse).Groups[0].ErrorCode, codeUnsupportedVersion)
	if got := poll(t, h.member("old", "t"), 1); len(got) != 1 {
		t.Errorf("classic group: got %d records, want 1", len(got))
	}
	h.sharer("g", "m", "t", id).leave()
}
