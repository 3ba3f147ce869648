package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// javaRequests are what the Java client and tools of Apache Kafka asked, each without its size.
func javaRequests(tb testing.TB) (frames [][]byte) {
	tb.Helper()
	text, err := os.ReadFile("testdata/java.requests")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		frame, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			tb.Fatal(err)
		}
		frames = append(frames, frame)
	}
	return frames
}

// headerOf is ParseHeader for what we do not serve, too.
func headerOf(tb testing.TB, frame []byte) (Header, []byte) {
	tb.Helper()
	h := Header{
		Key: int16(binary.BigEndian.Uint16(frame)), Version: int16(binary.BigEndian.Uint16(frame[2:])),
		CorrelationID: int32(binary.BigEndian.Uint32(frame[4:])),
	}
	id, rest, err := clientID(frame[headerFixedBytes:])
	if err != nil {
		tb.Fatalf("client id of %x: %v", frame, err)
	}
	h.ClientID = id
	if s := shapeOf(h.Key); s != nil && h.Version >= s.flexible {
		if rest[0] != 0 {
			tb.Fatalf("header of %x has tags", frame)
		}
		rest = rest[1:]
	}
	return h, rest
}

// TestRequestsOfJavaAreEncodedAsTheyWere: header and body, byte for byte, so no field is missed, dropped
// or read as another.
func TestRequestsOfJavaAreEncodedAsTheyWere(t *testing.T) {
	asked := map[int16]bool{}
	for _, frame := range javaRequests(t) {
		h, body := headerOf(t, frame)
		if newer := h.Key == 28 && h.Version == 6; newer {
			continue // TxnOffsetCommit of KIP-1319, of which kmsg does not know yet; nor do we say that we do
		}
		req, err := Decode(h, body)
		if err != nil {
			t.Errorf("key %d version %d: %v for %x", h.Key, h.Version, err, frame)
			continue
		}
		asked[h.Key] = true
		again := kmsg.NewRequestFormatter(kmsg.FormatterClientID(*h.ClientID)).AppendRequest(nil, req, h.CorrelationID)
		if got := again[4:]; !bytes.Equal(got, frame) {
			t.Errorf("%s version %d\ngot  %x\nwant %x", kmsg.NameForKey(h.Key), h.Version, got, frame)
		}
	}
	// what every producer, member and admin asks must be among them
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.Fetch, kmsg.ListOffsets, kmsg.Metadata, kmsg.OffsetCommit, kmsg.OffsetFetch,
		kmsg.FindCoordinator, kmsg.JoinGroup, kmsg.Heartbeat, kmsg.LeaveGroup, kmsg.SyncGroup, kmsg.DescribeGroups, kmsg.ListGroups,
		kmsg.ApiVersions, kmsg.CreateTopics, kmsg.DeleteRecords, kmsg.InitProducerID,
		kmsg.EndTxn, kmsg.DescribeConfigs, kmsg.ConsumerGroupHeartbeat, kmsg.DescribeCluster,
		kmsg.ShareGroupHeartbeat, kmsg.ShareGroupDescribe, kmsg.ShareFetch, kmsg.ShareAcknowledge,
		kmsg.DescribeShareGroupOffsets, kmsg.AlterShareGroupOffsets, kmsg.DeleteShareGroupOffsets} {
		if !asked[key.Int16()] {
			t.Errorf("no %s was recorded", key.Name())
		}
	}
	t.Logf("%d keys", len(asked))
}
