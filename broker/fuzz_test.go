package broker

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"math"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/wire"
)

const (
	// fuzzWait is how long a request that waits is waited with.
	fuzzWait = 20 * time.Millisecond
	// fuzzAnswers is how long after that its answer may take.
	fuzzAnswers = 10 * time.Second
)

// Each request has a target of its own, named as the table of APIs names it.
func FuzzProduce(f *testing.F)                      { fuzzRequest(f) }
func FuzzFetch(f *testing.F)                        { fuzzRequest(f) }
func FuzzListOffsets(f *testing.F)                  { fuzzRequest(f) }
func FuzzMetadata(f *testing.F)                     { fuzzRequest(f) }
func FuzzOffsetCommit(f *testing.F)                 { fuzzRequest(f) }
func FuzzOffsetFetch(f *testing.F)                  { fuzzRequest(f) }
func FuzzFindCoordinator(f *testing.F)              { fuzzRequest(f) }
func FuzzJoinGroup(f *testing.F)                    { fuzzRequest(f) }
func FuzzHeartbeat(f *testing.F)                    { fuzzRequest(f) }
func FuzzLeaveGroup(f *testing.F)                   { fuzzRequest(f) }
func FuzzSyncGroup(f *testing.F)                    { fuzzRequest(f) }
func FuzzDescribeGroups(f *testing.F)               { fuzzRequest(f) }
func FuzzListGroups(f *testing.F)                   { fuzzRequest(f) }
func FuzzApiVersions(f *testing.F)                  { fuzzRequest(f) }
func FuzzCreateTopics(f *testing.F)                 { fuzzRequest(f) }
func FuzzDeleteTopics(f *testing.F)                 { fuzzRequest(f) }
func FuzzDeleteRecords(f *testing.F)                { fuzzRequest(f) }
func FuzzInitProducerId(f *testing.F)               { fuzzRequest(f) }
func FuzzOffsetForLeaderEpoch(f *testing.F)         { fuzzRequest(f) }
func FuzzAddPartitionsToTxn(f *testing.F)           { fuzzRequest(f) }
func FuzzAddOffsetsToTxn(f *testing.F)              { fuzzRequest(f) }
func FuzzEndTxn(f *testing.F)                       { fuzzRequest(f) }
func FuzzWriteTxnMarkers(f *testing.F)              { fuzzRequest(f) }
func FuzzTxnOffsetCommit(f *testing.F)              { fuzzRequest(f) }
func FuzzDescribeAcls(f *testing.F)                 { fuzzRequest(f) }
func FuzzCreateAcls(f *testing.F)                   { fuzzRequest(f) }
func FuzzDeleteAcls(f *testing.F)                   { fuzzRequest(f) }
func FuzzDescribeConfigs(f *testing.F)              { fuzzRequest(f) }
func FuzzAlterConfigs(f *testing.F)                 { fuzzRequest(f) }
func FuzzDescribeLogDirs(f *testing.F)              { fuzzRequest(f) }
func FuzzCreatePartitions(f *testing.F)             { fuzzRequest(f) }
func FuzzDeleteGroups(f *testing.F)                 { fuzzRequest(f) }
func FuzzElectLeaders(f *testing.F)                 { fuzzRequest(f) }
func FuzzIncrementalAlterConfigs(f *testing.F)      { fuzzRequest(f) }
func FuzzAlterPartitionReassignments(f *testing.F)  { fuzzRequest(f) }
func FuzzListPartitionReassignments(f *testing.F)   { fuzzRequest(f) }
func FuzzOffsetDelete(f *testing.F)                 { fuzzRequest(f) }
func FuzzDescribeClientQuotas(f *testing.F)         { fuzzRequest(f) }
func FuzzDescribeUserScramCredentials(f *testing.F) { fuzzRequest(f) }
func FuzzDescribeQuorum(f *testing.F)               { fuzzRequest(f) }
func FuzzUpdateFeatures(f *testing.F)               { fuzzRequest(f) }
func FuzzDescribeCluster(f *testing.F)              { fuzzRequest(f) }
func FuzzDescribeProducers(f *testing.F)            { fuzzRequest(f) }
func FuzzUnregisterBroker(f *testing.F)             { fuzzRequest(f) }
func FuzzDescribeTransactions(f *testing.F)         { fuzzRequest(f) }
func FuzzListTransactions(f *testing.F)             { fuzzRequest(f) }
func FuzzConsumerGroupHeartbeat(f *testing.F)       { fuzzRequest(f) }
func FuzzConsumerGroupDescribe(f *testing.F)        { fuzzRequest(f) }
func FuzzListConfigResources(f *testing.F)          { fuzzRequest(f) }
func FuzzDescribeTopicPartitions(f *testing.F)      { fuzzRequest(f) }
func FuzzShareGroupHeartbeat(f *testing.F)          { fuzzRequest(f) }
func FuzzShareGroupDescribe(f *testing.F)           { fuzzRequest(f) }
func FuzzShareFetch(f *testing.F)                   { fuzzRequest(f) }
func FuzzShareAcknowledge(f *testing.F)             { fuzzRequest(f) }
func FuzzAddRaftVoter(f *testing.F)                 { fuzzRequest(f) }
func FuzzRemoveRaftVoter(f *testing.F)              { fuzzRequest(f) }
func FuzzInitializeShareGroupState(f *testing.F)    { fuzzRequest(f) }
func FuzzReadShareGroupState(f *testing.F)          { fuzzRequest(f) }
func FuzzWriteShareGroupState(f *testing.F)         { fuzzRequest(f) }
func FuzzDeleteShareGroupState(f *testing.F)        { fuzzRequest(f) }
func FuzzReadShareGroupStateSummary(f *testing.F)   { fuzzRequest(f) }
func FuzzDescribeShareGroupOffsets(f *testing.F)    { fuzzRequest(f) }
func FuzzAlterShareGroupOffsets(f *testing.F)       { fuzzRequest(f) }
func FuzzDeleteShareGroupOffsets(f *testing.F)      { fuzzRequest(f) }

// TestEveryRequestHasItsFuzzTarget of its name.
func TestEveryRequestHasItsFuzzTarget(t *testing.T) {
	source, err := os.ReadFile("fuzz_test.go")
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllSubmatch(source, -1) {
		targets[string(found[1])] = true
	}
	for _, api := range wire.Supported() {
		if !targets["Fuzz"+api.Name] {
			t.Errorf("%s: got no target, want one", api.Name)
		}
	}
}

// fuzzRequest requires of any body of the request that f is named for, in any version that is served, that it is
// refused as malformed, or decodes, encodes and decodes again as the same; and that a broker answers it, within
// the time that it is given, by something that a client can decode. Seeds are what Java's client asks, and what
// the broker says yes to.
func fuzzRequest(f *testing.F) {
	api := served(f, strings.TrimPrefix(f.Name(), "Fuzz"))
	h := startGroups(f, func(c *Config) { c.Requests.TopicPartitionsMax = 20 })
	h.coordinates("g")
	v := &versions{harness: h, id: h.create("known", 2)}
	onlyCode(f, "seed", onlyProduced(h.dial().ask(produceOf(9, "known", 0, -1, plainBatch("a", "b")))).ErrorCode)
	for version := api.Min; version <= api.Max; version++ {
		v.serial++
		q := kmsg.RequestForKey(api.Key)
		q.SetVersion(version)
		v.fill(q, version)
		f.Add(version, q.AppendTo(nil))
	}
	for _, file := range []string{"wire/testdata/java.requests", "wire/testdata/java.encoded"} {
		for _, frame := range framesOf(f, file) {
			if header, body, err := wire.ParseHeader(frame); err == nil && header.Key == api.Key {
				f.Add(header.Version, body)
			}
		}
	}
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		if !api.Advertises(version) {
			return
		}
		header := wire.Header{Key: api.Key, Version: version, CorrelationID: 7}
		q, err := wire.Decode(header, bytes.Clone(body))
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("%x: got %v, want a request or that it is malformed", body, err)
			}
			return
		}
		encoded := q.AppendTo(nil)
		again, err := wire.Decode(header, bytes.Clone(encoded))
		if err != nil {
			t.Fatalf("%x: encoded as %x: %v", body, encoded, err)
		}
		if got := again.AppendTo(nil); !bytes.Equal(got, encoded) {
			t.Fatalf("%x: encoded again\ngot  %x\nwant %x", body, got, encoded)
		}
		h.answers(t, header, q, len(body))
	})
}

func served(tb testing.TB, name string) wire.API {
	tb.Helper()
	for _, api := range wire.Supported() {
		if api.Name == name {
			return api
		}
	}
	tb.Fatalf("no API is named %s", name)
	return wire.API{}
}

// framesOf are the frames of a file of hexadecimal lines.
func framesOf(tb testing.TB, file string) (frames [][]byte) {
	tb.Helper()
	text, err := os.ReadFile(file)
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

// answers has the broker carry out a request as a connection's writer does, and decodes the answer.
func (h *harness) answers(t *testing.T, header wire.Header, q kmsg.Request, frameBytes int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fuzzWait)
	defer cancel()
	id := "fuzz"
	header.ClientID = &id
	r := &request{Header: header, body: q, listener: "PLAINTEXT", client: "10.0.0.1", connection: math.MaxUint64,
		arrived: time.Now(), frameBytes: frameBytes}
	late := time.AfterFunc(fuzzWait+fuzzAnswers, func() { panic("no answer to " + hex.EncodeToString(q.AppendTo(nil))) })
	defer late.Stop()
	var a answer
	if p, ok := q.(*kmsg.ProduceRequest); ok {
		timer := time.NewTimer(time.Hour)
		defer timer.Stop()
		a.response = h.produce(ctx, r, p).await(ctx, timer)
	} else {
		a = h.handlers[header.Key].run(ctx, r)
	}
	if a.release != nil {
		defer a.release()
	}
	if a.response == nil {
		t.Fatal("got no answer, want one")
	}
	expectDecodes(t, header, q, a)
}

// expectDecodes fails unless the answer can be read by whoever asked.
func expectDecodes(t *testing.T, header wire.Header, q kmsg.Request, a answer) {
	t.Helper()
	frame := net.Buffers{}
	a.response.SetVersion(header.Version)
	if fetched, ok := a.response.(*kmsg.FetchResponse); ok {
		frame = wire.FetchFrame(header.CorrelationID, fetched, a.batches)
	} else {
		frame = append(frame, wire.AppendResponse(nil, header.CorrelationID, a.response))
	}
	body := bytes.Join(frame, nil)[8:] // without size and correlation id
	response := q.ResponseKind()
	response.SetVersion(header.Version)
	if response.IsFlexible() && q.Key() != kmsg.ApiVersions.Int16() {
		body = body[1:]
	}
	if err := response.ReadFrom(body); err != nil {
		t.Fatalf("decode %T version %d: %v", response, header.Version, err)
	}
}
