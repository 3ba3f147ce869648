package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

var header = frame.Header{From: 1, To: 2, FromSession: 0xa, ReceiverSession: 0xb}

func TestFramesOfEachKindAreShown(t *testing.T) {
	partition := topic.Partition{Index: 7}
	var builder frame.Builder
	builder.Add(header, &frame.Section{Kind: frame.Probe, Partition: partition, Epoch: 3, Base: 100, RecordEpoch: 2, PrevEpoch: 2, HighWatermark: 90})
	for _, c := range []struct {
		frame []byte
		want  []string
	}{
		{slices.Concat(builder.Take()...), []string{"data frame of 124 bytes, from broker 1 (session 000000000000000a) to 2",
			"  probe AAAAAAAAAAAAAAAAAAAAAA/7 epoch=3 base=100 count=0 record_epoch=2 prev_epoch=2 high_watermark=90 bytes=0\n"}},
		{frame.AppendAcks(nil, header, []frame.Ack{{Partition: partition, Epoch: 3, TailEpoch: 2, LogEnd: 9, DurableEnd: 8, Gap: true}}),
			[]string{"ack frame", "log_end=9 durable_end=8 high_watermark=0 gap=true\n"}},
		{frame.AppendHeartbeat(nil, header, frame.Heartbeat{Applied: 5, Peers: []frame.PeerEcho{{Node: 2, Session: 0xb, SentMicros: 40}}}),
			[]string{"heartbeat frame", "applied=5 sent_us=0 unsynced_age_ms=0 disclaims=false\n", "peer 2 (session 000000000000000b) heard_us=40\n"}},
	} {
		view, err := viewFrame(c.frame)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := view.write(&out); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("got\n%s, want %q in it", out.String(), want)
			}
		}
		if _, err := json.Marshal(view); err != nil {
			t.Error(err)
		}
	}
}

func TestDamagedFrameIsRefused(t *testing.T) {
	bytes := frame.AppendAcks(nil, header, []frame.Ack{{Epoch: 3}})
	bytes[len(bytes)-1] ^= 1
	got := run(t, strings.NewReader(string(bytes)), "frame")
	if got.code != exitFailure || !strings.Contains(got.lastLine(), "checksum") {
		t.Errorf("got %+v", got)
	}
	bytes[len(bytes)-1] ^= 1
	if got := run(t, strings.NewReader(string(bytes)), "frame", "--json"); got.code != 0 || !strings.Contains(got.stdout, `"kind":"ack"`) {
		t.Errorf("got %+v", got)
	}
}

// `nats sub --raw`, as the help says, ends each payload with a newline.
func TestFrameOutOfTheNATSCLIIsRead(t *testing.T) {
	bytes := frame.AppendAcks(nil, header, []frame.Ack{{Epoch: 3}})
	if got := run(t, strings.NewReader(string(bytes)+"\n"), "frame"); got.code != 0 || !strings.HasPrefix(got.stdout, "ack frame") {
		t.Errorf("got %+v, want an ack frame", got)
	}
	got := run(t, strings.NewReader(string(bytes)+"\n\n"), "frame")
	if got.code != exitFailure || !strings.Contains(got.lastLine(), "checksum") {
		t.Errorf("two newlines: got %+v, want a wrong checksum", got)
	}
}

func FuzzFramesNeverPanic(f *testing.F) {
	f.Add(frame.AppendAcks(nil, header, []frame.Ack{{Epoch: 3}}))
	f.Fuzz(func(t *testing.T, bytes []byte) {
		if view, err := viewFrame(bytes); err == nil {
			_ = view.write(&strings.Builder{})
		}
	})
}
