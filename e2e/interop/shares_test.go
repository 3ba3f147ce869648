package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	sharePartitions = 6
	// shareEach records are written at a time, the same number to each partition.
	shareEach = 5 * sharePartitions
)

// shareGroup is one of KIP-932: its members are given each record between them, and what one has accepted
// is given to nobody again.
func shareGroup(ctx context.Context, c *cluster, cl *client) error {
	name := fresh("group-share." + cl.name)
	g := &group{c: c, cl: cl, spec: member{topic: name, group: name, protocol: "share"}}
	defer g.stop()
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	s := &sharing{group: g, adm: adm}
	if err := errorOf(c.topic(ctx, name, sharePartitions, 3), s.earliest(ctx), s.write(ctx)); err != nil {
		return err
	}
	first, err := g.join(0, "")
	if err != nil {
		return err
	}
	if err := s.accepted(ctx); err != nil {
		return fmt.Errorf("alone: %w", err)
	}
	second, err := g.join(1, "")
	if err != nil {
		return err
	}
	// The second need not have its part yet when records come: more of them do.
	for len(second.messages(0, "record")) == 0 {
		if err := errorOf(s.write(ctx), s.accepted(ctx)); err != nil {
			return fmt.Errorf("after another has joined: %w", err)
		}
	}
	if err := errorOf(g.leave(ctx, first), s.write(ctx), s.accepted(ctx)); err != nil {
		return fmt.Errorf("after one has left: %w", err)
	}
	if err := g.leave(ctx, second); err != nil {
		return err
	}
	return s.unchanged()
}

// sharing is a share group at work.
type sharing struct {
	*group
	adm *kadm.Client
	// given is how often each record was given when all of those before it were accepted.
	given map[[2]int64]int
}

// earliest has the group begin at the start of partitions.
func (s *sharing) earliest(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.c.kafka...))
	if err != nil {
		return err
	}
	defer client.Close()
	value := "earliest"
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	q.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeGroupConfig, ResourceName: s.spec.group,
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "share.auto.offset.reset", Value: &value}},
	}}
	r, err := q.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(r.Resources[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("have %s begin at the start: %w", s.spec.group, err)
	}
	return nil
}

// write writes to every partition.
func (s *sharing) write(ctx context.Context) error {
	wrote, err := s.c.write(ctx, s.spec.topic, "none", numbered(len(s.all), shareEach, sharePartitions))
	s.all = append(s.all, wrote...)
	return err
}

// reads counts how often each record was given to anybody, and fails if one is not what was written.
func (s *sharing) reads() (map[[2]int64]int, error) {
	wrote := map[[2]int64]string{}
	for _, r := range s.all {
		wrote[[2]int64{int64(r.partition), r.offset}] = r.value
	}
	read := append([]record{}, s.gone...)
	for i, m := range s.members {
		if m.ended() {
			return nil, final{fmt.Errorf("member %d has ended: %v: %s", i, m.err, m.complaint())}
		}
		read = append(read, recordsOf(m.messages(0, "record"))...)
	}
	seen := map[[2]int64]int{}
	for _, r := range read {
		at := [2]int64{int64(r.partition), r.offset}
		if want, ok := wrote[at]; !ok || r.value != want {
			return nil, final{fmt.Errorf("%s was given, want value %q", r, want)}
		}
		seen[at]++
	}
	return seen, nil
}

// accepted waits until each record was given to a member, and the group has nothing left to do.
func (s *sharing) accepted(ctx context.Context) error {
	err := eventually(ctx, func() error {
		seen, err := s.reads()
		if err != nil {
			return err
		}
		if len(seen) != len(s.all) {
			return fmt.Errorf("%d of %d records were given", len(seen), len(s.all))
		}
		return s.done(ctx)
	})
	if err != nil {
		return err
	}
	if err := s.unchanged(); err != nil {
		return err
	}
	s.given, err = s.reads()
	return err
}

// unchanged requires that nothing that was accepted has been given again.
func (s *sharing) unchanged() error {
	seen, err := s.reads()
	if err != nil {
		return err
	}
	for at, times := range s.given {
		if seen[at] != times {
			return fmt.Errorf("record %d of partition %d was accepted, and is given again", at[1], at[0])
		}
	}
	return nil
}

// done requires that every partition has a state, and nothing behind it.
func (s *sharing) done(ctx context.Context) error {
	described, err := s.adm.DescribeShareGroupOffsets(ctx, s.spec.group)
	g := described[s.spec.group]
	if err := errorOf(err, g.Err); err != nil {
		return err
	}
	partitions := 0
	g.Offsets.Each(func(o kadm.ShareOffset) {
		partitions++
		if o.Err != nil || o.Lag != 0 {
			err = errors.Join(fmt.Errorf("partition %d is at %d with %d left", o.Partition, o.StartOffset, o.Lag), o.Err)
		}
	})
	if err == nil && partitions != sharePartitions {
		err = fmt.Errorf("%d partitions have a state, want %d", partitions, sharePartitions)
	}
	return err
}

// shareConsumer prints its events as JSON, too, and accepts what it has printed.
func shareConsumer(c *clients, m member, broker string) command {
	cmd := c.java.Command("", kafkaTools+"VerifiableShareConsumer", "--bootstrap-server", broker, "--topic", m.topic,
		"--group-id", m.group, "--verbose", "--acknowledgement-mode", "sync")
	return command{cmd: cmd, ends: syscall.SIGTERM, translate: func(line string) [][]string {
		var said struct {
			Name, Key, Value string
			Partition        int32
			Offset           int64
		}
		if json.Unmarshal([]byte(line), &said) != nil || said.Name != "record_data" {
			return nil
		}
		return [][]string{{"record", fmt.Sprint(said.Partition), fmt.Sprint(said.Offset), encode([]byte(said.Key)), encode([]byte(said.Value))}}
	}}
}

// share reads as a member of a share group, and accepts what it has read.
func (d *franzDriver) share(topic, group string) error {
	client, err := d.client(kgo.ConsumeTopics(topic), kgo.ShareGroup(group), kgo.ShareAckCallback(
		func(_ *kgo.Client, results kgo.ShareAckResults) {
			if err := results.Error(); err != nil {
				fmt.Fprintln(os.Stderr, "acknowledge:", err)
			}
		}))
	if err != nil {
		return err
	}
	defer client.Close()
	d.read(client, func(ctx context.Context, _ int) {
		client.MarkAcks(kgo.AckAccept)
		if err := client.FlushAcks(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "acknowledge:", err)
		}
	})
	return nil
}
