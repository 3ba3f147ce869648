package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"outrigger/broker/batch"
	"outrigger/broker/wal"
)

func newWAL() *cobra.Command {
	command := asGroup(&cobra.Command{Use: "wal", Short: "Look into a node's write-ahead log"})
	var asJSON bool
	dump := &cobra.Command{
		Use:   "dump DIR",
		Short: "Print every record, and verify every checksum",
		Long: `Print every record of the write-ahead log in DIR, which may also be a broker's data
directory, and verify every checksum. Nothing is locked or changed.

Damage is named with file and position; the exit code is then 1.`,
		Args: exactlyArguments(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := walDir(args[0])
			if err != nil {
				return err
			}
			return dumpWAL(c.OutOrStdout(), dir, asJSON)
		},
	}
	dump.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	command.AddCommand(dump)
	return command
}

// walDir finds the log below a data directory.
func walDir(dir string) (string, error) {
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("dump write-ahead log: %w", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "wal")); err == nil && info.IsDir() {
		return filepath.Join(dir, "wal"), nil
	}
	if _, err := os.Stat(filepath.Join(dir, "dev.json")); err == nil {
		return "", fmt.Errorf("%s holds several brokers: name one, as in %s", dir, filepath.Join(dir, "broker-1"))
	}
	return dir, nil
}

// dumpLine is one line of --json.
type dumpLine struct {
	Type    string `json:"type"`
	File    string `json:"file"`
	Offset  int64  `json:"offset"`
	Bytes   int64  `json:"bytes,omitempty"`
	Session string `json:"session,omitempty"`

	Sequence *uint64 `json:"sequence,omitempty"`
	Records  *uint32 `json:"records,omitempty"`
	Synced   *uint64 `json:"synced,omitempty"`

	Topic     string     `json:"topic_id,omitempty"`
	Partition *int32     `json:"partition,omitempty"`
	Epoch     *int32     `json:"epoch,omitempty"`
	Base      *int64     `json:"base,omitempty"`
	Count     *int32     `json:"count,omitempty"`
	Batch     *batchLine `json:"batch,omitempty"`

	Reason string `json:"reason,omitempty"`
}

// batchLine is what the header of a record batch says.
type batchLine struct {
	Codec         string `json:"codec"`
	Records       int32  `json:"records"`
	BaseTimestamp int64  `json:"base_timestamp"`
	MaxTimestamp  int64  `json:"max_timestamp"`
	ProducerID    int64  `json:"producer_id"`
	ProducerEpoch int16  `json:"producer_epoch"`
	BaseSequence  int32  `json:"base_sequence"`
	Transactional bool   `json:"transactional,omitempty"`
	Control       bool   `json:"control,omitempty"`
	// Damage says that the batch does not match its own checksum although the log's record does:
	// then it was damaged before it came here.
	Damage string `json:"damage,omitempty"`
}

// dumpWAL prints everything, then the damage. A batch that is damaged in itself counts as damage.
func dumpWAL(to io.Writer, dir string, asJSON bool) error {
	out := bufio.NewWriter(to)
	var writeErr error
	var found int
	var bad []dumpLine
	write := func(line dumpLine) {
		if writeErr == nil {
			writeErr = line.write(out, asJSON)
		}
	}
	damage, err := wal.Dump(wal.ReadOnly(), dir, func(r wal.DumpRecord) {
		found++
		line := lineOf(r)
		write(line)
		if line.Batch != nil && line.Batch.Damage != "" {
			bad = append(bad, dumpLine{Type: "damage", File: line.File, Offset: line.Offset, Reason: line.Batch.Damage})
		}
	})
	if err != nil {
		return err
	}
	for _, d := range damage {
		bad = append(bad, dumpLine{Type: "damage", File: d.File, Offset: d.At.Offset, Reason: d.Reason})
	}
	for _, line := range bad {
		write(line)
	}
	if writeErr == nil {
		writeErr = out.Flush()
	}
	switch {
	case writeErr != nil:
		return fmt.Errorf("print write-ahead log: %w", writeErr)
	case len(bad) > 0:
		return fmt.Errorf("%d damaged places in %s, the first in %s at byte %d: %s",
			len(bad), dir, bad[0].File, bad[0].Offset, bad[0].Reason)
	case found == 0:
		return fmt.Errorf("no write-ahead log lies in %s", dir)
	}
	return nil
}

func lineOf(r wal.DumpRecord) dumpLine {
	line := dumpLine{File: r.Name, Offset: r.At.Offset, Bytes: r.Bytes}
	switch {
	case r.File != nil:
		line.Type, line.Session, line.Synced = "file", r.File.Session.String(), &r.File.Synced
	case r.Group != nil:
		line.Type, line.Session = "group", r.Group.Session.String()
		line.Sequence, line.Records, line.Synced = &r.Group.Sequence, &r.Group.Records, &r.Group.Synced
	default:
		line.record(r.Record)
	}
	return line
}

func (l *dumpLine) record(r *wal.Record) {
	base := int64(r.Base)
	l.Type = r.Kind.String()
	l.Topic, l.Partition, l.Base = r.Partition.Topic.String(), &r.Partition.Index, &base
	if r.Kind != wal.Data {
		return
	}
	epoch, count := int32(r.Epoch), r.Count
	l.Epoch, l.Count = &epoch, &count
	l.Batch = describeBatch(r.Payload)
}

// describeBatch reads a batch's header, and verifies its checksum.
func describeBatch(payload []byte) *batchLine {
	h, err := batch.ParseHeader(payload)
	if err != nil {
		return &batchLine{Damage: err.Error()}
	}
	line := &batchLine{Codec: h.Codec().String(), Records: h.Records, BaseTimestamp: h.BaseTimestamp,
		MaxTimestamp: h.MaxTimestamp, ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch,
		BaseSequence: h.BaseSequence, Transactional: h.Transactional(), Control: h.Control()}
	switch {
	case h.Size() != len(payload):
		line.Damage = fmt.Sprintf("batch says that it has %d bytes, and there are %d", h.Size(), len(payload))
	case batch.Checksum(payload) != h.CRC:
		line.Damage = "batch does not match its own checksum"
	}
	return line
}

func (l *dumpLine) write(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(l)
	}
	at := fmt.Sprintf("%s:%d", l.File, l.Offset)
	var err error
	switch {
	case l.Type == "damage":
		_, err = fmt.Fprintf(out, "%s damage: %s\n", at, l.Reason)
	case l.Type == "file":
		_, err = fmt.Fprintf(out, "%s file session=%s synced=%d\n", at, l.Session, *l.Synced)
	case l.Type == "group":
		_, err = fmt.Fprintf(out, "%s group sequence=%d records=%d bytes=%d session=%s synced=%d\n",
			at, *l.Sequence, *l.Records, l.Bytes, l.Session, *l.Synced)
	case l.Batch != nil:
		_, err = fmt.Fprintf(out, "%s   %s %s/%d epoch=%d base=%d count=%d bytes=%d%s\n",
			at, l.Type, l.Topic, *l.Partition, *l.Epoch, *l.Base, *l.Count, l.Bytes, l.Batch.text())
	default:
		_, err = fmt.Fprintf(out, "%s   %s %s/%d offset=%d\n", at, l.Type, l.Topic, *l.Partition, *l.Base)
	}
	return err
}

func (b *batchLine) text() string {
	text := fmt.Sprintf(" codec=%s records=%d max_timestamp=%d", b.Codec, b.Records, b.MaxTimestamp)
	if b.ProducerID >= 0 {
		text += fmt.Sprintf(" producer=%d/%d sequence=%d", b.ProducerID, b.ProducerEpoch, b.BaseSequence)
	}
	if b.Transactional {
		text += " transactional"
	}
	if b.Control {
		text += " control"
	}
	return text
}
