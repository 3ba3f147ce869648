package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"outrigger/sidecar/frame"
)

// frameBytesMax is more than NATS can carry in one message.
const frameBytesMax = 65 << 20

func newFrame() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "frame",
		Short: "Decode a replication frame from stdin",
		Long: `Decode one replication frame from stdin: the payload of a message on wal.>, ack.> or
hb.>, as it is. Operators may read those with nats.debug.tap=payload:

  nats sub 'wal.2' --count 1 --raw | outrigger frame`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			bytes, err := io.ReadAll(io.LimitReader(c.InOrStdin(), frameBytesMax))
			if err != nil {
				return fmt.Errorf("read frame: %w", err)
			}
			view, err := viewLine(bytes)
			if err != nil {
				return fmt.Errorf("decode frame of %d bytes: %w", len(bytes), err)
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(view)
			}
			return view.write(c.OutOrStdout())
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

// frameView is a frame as it is shown. One of the lists, or Heartbeat, is set by its kind.
type frameView struct {
	Kind            string         `json:"kind"`
	Bytes           int            `json:"bytes"`
	Cluster         string         `json:"cluster"`
	From            int32          `json:"from"`
	To              int32          `json:"to"`
	FromSession     string         `json:"from_session"`
	ReceiverSession string         `json:"receiver_session"`
	Also            *receiverView  `json:"also_to,omitempty"`
	Sections        []sectionView  `json:"sections,omitempty"`
	Acks            []ackView      `json:"acks,omitempty"`
	Heartbeat       *heartbeatView `json:"heartbeat,omitempty"`
}

// receiverView is the second receiver of a frame that has two.
type receiverView struct {
	Node    int32  `json:"node"`
	Session string `json:"session"`
}

type sectionView struct {
	Kind          string     `json:"kind"`
	Topic         string     `json:"topic_id"`
	Partition     int32      `json:"partition"`
	Epoch         int32      `json:"epoch"`
	Base          int64      `json:"base"`
	Count         int32      `json:"count"`
	RecordEpoch   int32      `json:"record_epoch"`
	PrevEpoch     int32      `json:"prev_epoch"`
	HighWatermark int64      `json:"high_watermark"`
	Bytes         int        `json:"bytes"`
	Batch         *batchLine `json:"batch,omitempty"`
}

type ackView struct {
	Topic         string `json:"topic_id"`
	Partition     int32  `json:"partition"`
	Epoch         int32  `json:"epoch"`
	TailEpoch     int32  `json:"tail_epoch"`
	LogEnd        int64  `json:"log_end"`
	DurableEnd    int64  `json:"durable_end"`
	HighWatermark int64  `json:"high_watermark"`
	LogStart      int64  `json:"log_start"`
	Gap           bool   `json:"gap"`
}

type heartbeatView struct {
	Applied     uint64     `json:"applied"`
	Sent        uint64     `json:"sent_us"`
	UnsyncedAge uint32     `json:"unsynced_age_ms"`
	Disclaims   bool       `json:"disclaims"`
	Peers       []peerView `json:"peers"`
}

type peerView struct {
	Node    int32  `json:"node"`
	Session string `json:"session"`
	Heard   uint64 `json:"heard_us"`
}

// viewFrame decodes a frame and verifies its checksum.
// viewLine also takes a frame with the newline that the nats CLI puts behind each payload. It cannot be
// told from a frame's own last byte but by the checksum.
func viewLine(bytes []byte) (frameView, error) {
	view, err := viewFrame(bytes)
	if last := len(bytes) - 1; err != nil && last >= 0 && bytes[last] == '\n' {
		if shorter, shorterErr := viewFrame(bytes[:last]); shorterErr == nil {
			return shorter, nil
		}
	}
	return view, err
}

func viewFrame(bytes []byte) (frameView, error) {
	h, sections, body, err := frame.ParseHeader(bytes)
	if err != nil {
		return frameView{}, err
	}
	view := frameView{Bytes: len(bytes), Cluster: fmt.Sprintf("%x", h.Cluster), From: int32(h.From), To: int32(h.To),
		FromSession: h.FromSession.String(), ReceiverSession: h.ReceiverSession.String()}
	if h.Also.Session != 0 {
		view.Also = &receiverView{Node: int32(h.Also.Node), Session: h.Also.Session.String()}
	}
	switch h.Kind {
	case frame.KindData:
		view.Kind = "data"
		err = frame.ParseData(body, sections, func(s frame.Section) { view.Sections = append(view.Sections, viewSection(s)) })
	case frame.KindAck:
		view.Kind = "ack"
		err = frame.ParseAcks(body, sections, func(a frame.Ack) { view.Acks = append(view.Acks, viewAck(a)) })
	case frame.KindHeartbeat:
		view.Kind = "heartbeat"
		var beat frame.Heartbeat
		beat, err = frame.ParseHeartbeat(body, sections)
		view.Heartbeat = viewHeartbeat(beat)
	}
	return view, err
}

func viewSection(s frame.Section) sectionView {
	view := sectionView{Topic: s.Partition.Topic.String(), Partition: s.Partition.Index, Epoch: int32(s.Epoch),
		Base: int64(s.Base), Count: s.Count, RecordEpoch: int32(s.RecordEpoch), PrevEpoch: int32(s.PrevEpoch),
		HighWatermark: int64(s.HighWatermark), Bytes: len(s.Payload)}
	switch s.Kind {
	case frame.Data:
		view.Kind = "data"
	case frame.Probe:
		view.Kind = "probe"
	case frame.Cut:
		view.Kind = "cut"
	case frame.Commit:
		view.Kind = "commit"
	case frame.Start:
		view.Kind = "start"
	case frame.Reset:
		view.Kind = "reset"
	default:
		view.Kind = fmt.Sprintf("kind-%d", s.Kind)
	}
	if len(s.Payload) > 0 {
		view.Batch = describeBatch(s.Payload)
	}
	return view
}

func viewAck(a frame.Ack) ackView {
	return ackView{Topic: a.Partition.Topic.String(), Partition: a.Partition.Index, Epoch: int32(a.Epoch),
		TailEpoch: int32(a.TailEpoch), LogEnd: int64(a.LogEnd), DurableEnd: int64(a.DurableEnd),
		HighWatermark: int64(a.HighWatermark), LogStart: int64(a.LogStart), Gap: a.Gap}
}

func viewHeartbeat(beat frame.Heartbeat) *heartbeatView {
	view := &heartbeatView{Applied: beat.Applied, Sent: beat.SentMicros, UnsyncedAge: beat.UnsyncedAgeMillis, Disclaims: beat.Disclaims, Peers: []peerView{}}
	for _, p := range beat.Peers {
		view.Peers = append(view.Peers, peerView{int32(p.Node), p.Session.String(), p.SentMicros})
	}
	return view
}

func (v frameView) write(out io.Writer) error {
	var err error
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(out, format+"\n", args...)
		}
	}
	also := ""
	if v.Also != nil {
		also = fmt.Sprintf(" and to %d (session %s)", v.Also.Node, v.Also.Session)
	}
	line("%s frame of %d bytes, from broker %d (session %s) to %d (session %s)%s, cluster %s",
		v.Kind, v.Bytes, v.From, v.FromSession, v.To, v.ReceiverSession, also, v.Cluster)
	for _, s := range v.Sections {
		detail := ""
		if s.Batch != nil {
			detail = s.Batch.text()
			if s.Batch.Damage != "" {
				detail += " damage: " + s.Batch.Damage
			}
		}
		line("  %s %s/%d epoch=%d base=%d count=%d record_epoch=%d prev_epoch=%d high_watermark=%d bytes=%d%s", s.Kind,
			s.Topic, s.Partition, s.Epoch, s.Base, s.Count, s.RecordEpoch, s.PrevEpoch, s.HighWatermark, s.Bytes, detail)
	}
	for _, a := range v.Acks {
		line("  ack %s/%d epoch=%d tail_epoch=%d log_end=%d durable_end=%d high_watermark=%d gap=%t", a.Topic,
			a.Partition, a.Epoch, a.TailEpoch, a.LogEnd, a.DurableEnd, a.HighWatermark, a.Gap)
	}
	if b := v.Heartbeat; b != nil {
		line("  applied=%d sent_us=%d unsynced_age_ms=%d disclaims=%t", b.Applied, b.Sent, b.UnsyncedAge, b.Disclaims)
		for _, p := range b.Peers {
			line("  peer %d (session %s) heard_us=%d", p.Node, p.Session, p.Heard)
		}
	}
	return err
}
