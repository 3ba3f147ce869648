package interop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

const groupPartitions = 6

// group is one of a client's members, and what they are to read.
type group struct {
	c       *cluster
	cl      *client
	spec    member
	members []*process
	// gone is what members read that have left.
	gone []record
	all  []record
}

func newGroup(ctx context.Context, c *cluster, cl *client, protocol string) (*group, error) {
	name := fresh("group-" + protocol + "." + cl.name)
	g := &group{c: c, cl: cl, spec: member{topic: name, group: name, protocol: protocol}}
	return g, c.topic(ctx, name, groupPartitions, 3)
}

func (g *group) stop() {
	for _, m := range g.members {
		_ = m.stop() // the test has its verdict
	}
}

// join starts a member that knows one broker, as a static one if it has an instance.
func (g *group) join(broker int, instance string) (*process, error) {
	spec := g.spec
	spec.instance = instance
	p, err := start(g.cl.consume(spec, g.c.broker(broker)))
	if err != nil {
		return nil, err
	}
	g.members = append(g.members, p)
	return p, nil
}

// leave ends a member in order.
func (g *group) leave(ctx context.Context, m *process) error {
	g.members = slices.DeleteFunc(g.members, func(other *process) bool { return other == m })
	err := m.finish(ctx)
	g.gone = append(g.gone, recordsOf(m.messages(0, "record"))...)
	return err
}

// owns is what a member was last told to be its own.
func (p *process) owns() []string {
	said := p.messages(0, "assigned")
	if len(said) == 0 || len(said[len(said)-1]) < 2 || said[len(said)-1][1] == "" {
		return nil
	}
	return strings.Split(said[len(said)-1][1], ",")
}

// shared waits until every member has some partitions, no partition has two, and all have one.
func (g *group) shared(ctx context.Context) error {
	return eventually(ctx, func() error {
		owner := map[string]int{}
		for i, m := range g.members {
			if m.ended() {
				return final{fmt.Errorf("member %d has ended: %v: %s", i, m.err, m.complaint())}
			}
			mine := m.owns()
			if len(mine) == 0 {
				return fmt.Errorf("member %d of %d has nothing: %s", i, len(g.members), m.complaint())
			}
			for _, p := range mine {
				if other, taken := owner[p]; taken {
					return fmt.Errorf("partition %s belongs to members %d and %d", p, other, i)
				}
				owner[p] = i
			}
		}
		if len(owner) != groupPartitions {
			return fmt.Errorf("%d partitions have an owner, want %d", len(owner), groupPartitions)
		}
		return nil
	})
}

// work writes to every partition, and waits until the members have read all of it.
func (g *group) work(ctx context.Context) error {
	wrote, err := g.c.write(ctx, g.spec.topic, "none", numbered(len(g.all), 60, groupPartitions))
	if err != nil {
		return err
	}
	g.all = append(g.all, wrote...)
	return eventually(ctx, func() error {
		seen := map[[2]int64]string{}
		note := func(all []record) {
			for _, r := range all {
				seen[[2]int64{int64(r.partition), r.offset}] = r.value
			}
		}
		note(g.gone)
		for _, m := range g.members {
			note(recordsOf(m.messages(0, "record")))
		}
		for _, r := range g.all {
			if got, ok := seen[[2]int64{int64(r.partition), r.offset}]; !ok || got != r.value {
				return fmt.Errorf("%s is not read (%d of %d are)", r, len(seen), len(g.all))
			}
		}
		return nil
	})
}

// settled is shared, then work.
func (g *group) settled(ctx context.Context) error { return errorOf(g.shared(ctx), g.work(ctx)) }

// comesAndGoes has three members join, one leave, and one come.
func (g *group) comesAndGoes(ctx context.Context) error {
	for i := range 3 {
		if _, err := g.join(i, ""); err != nil {
			return err
		}
		if err := g.settled(ctx); err != nil {
			return fmt.Errorf("after join %d: %w", i+1, err)
		}
	}
	if err := errorOf(g.leave(ctx, g.members[0]), g.settled(ctx)); err != nil {
		return fmt.Errorf("after one has left: %w", err)
	}
	if _, err := g.join(0, ""); err != nil {
		return err
	}
	if err := g.settled(ctx); err != nil {
		return fmt.Errorf("after one has come again: %w", err)
	}
	for len(g.members) > 0 {
		if err := g.leave(ctx, g.members[0]); err != nil {
			return err
		}
	}
	return g.committed(ctx)
}

// committed requires that the members, who commit what they read, have committed something of each
// partition, and nothing beyond its end: what came last may be read without having been committed.
func (g *group) committed(ctx context.Context) error {
	adm, err := g.c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	found, err := adm.FetchOffsets(ctx, g.spec.group)
	if err != nil {
		return err
	}
	ends := map[int32]int64{}
	for _, r := range g.all {
		ends[r.partition] = max(ends[r.partition], r.offset+1)
	}
	seen := 0
	var wrong error
	found.Each(func(o kadm.OffsetResponse) {
		seen++
		if o.Err != nil || o.At < 1 || o.At > ends[o.Partition] {
			wrong = fmt.Errorf("committed of partition %d is %d, want at most %d: %w", o.Partition, o.At, ends[o.Partition], o.Err)
		}
	})
	if wrong == nil && seen != groupPartitions {
		wrong = fmt.Errorf("offsets of %d partitions are committed, want of %d", seen, groupPartitions)
	}
	return wrong
}

func groupOfThree(ctx context.Context, c *cluster, cl *client) error {
	g, err := newGroup(ctx, c, cl, "range")
	if err != nil {
		return err
	}
	defer g.stop()
	return g.comesAndGoes(ctx)
}

// cooperative: besides, who was there keeps what it need not give away.
func cooperative(ctx context.Context, c *cluster, cl *client) error {
	return incremental(ctx, c, cl, "cooperative")
}

// consumerGroup is one of KIP-848.
func consumerGroup(ctx context.Context, c *cluster, cl *client) error {
	return incremental(ctx, c, cl, "consumer")
}

func incremental(ctx context.Context, c *cluster, cl *client, protocol string) error {
	g, err := newGroup(ctx, c, cl, protocol)
	if err != nil {
		return err
	}
	defer g.stop()
	first, err := g.join(0, "")
	if err != nil {
		return err
	}
	if err := g.settled(ctx); err != nil {
		return fmt.Errorf("alone: %w", err)
	}
	before := len(first.messages(0, ""))
	if _, err := g.join(1, ""); err != nil {
		return err
	}
	if err := g.settled(ctx); err != nil {
		return fmt.Errorf("after another has joined: %w", err)
	}
	for _, m := range first.messages(before, "assigned") {
		if len(m) < 2 || m[1] == "" {
			return errors.New("the first member has lost everything when the second joined")
		}
	}
	if err := errorOf(g.leave(ctx, g.members[1]), g.leave(ctx, first)); err != nil {
		return err
	}
	return g.comesAndGoes(ctx)
}

// static: a member that goes and comes back under its name gets what it had, and the others notice nothing.
func static(ctx context.Context, c *cluster, cl *client) error {
	g, err := newGroup(ctx, c, cl, "range")
	if err != nil {
		return err
	}
	defer g.stop()
	for i := range 3 {
		if _, err := g.join(i, fmt.Sprint("instance-", i)); err != nil {
			return err
		}
	}
	if err := g.settled(ctx); err != nil {
		return err
	}
	goes := g.members[1]
	others := []*process{g.members[0], g.members[2]}
	had := goes.owns()
	told := []int{len(others[0].messages(0, "assigned")), len(others[1].messages(0, "assigned"))}
	if err := g.leave(ctx, goes); err != nil {
		return err
	}
	back, err := g.join(2, "instance-1")
	if err != nil {
		return err
	}
	if err := g.settled(ctx); err != nil {
		return fmt.Errorf("after one has come back: %w", err)
	}
	if !slices.Equal(back.owns(), had) {
		return fmt.Errorf("the member that came back has %v, want %v as before", back.owns(), had)
	}
	for i, m := range others {
		if now := len(m.messages(0, "assigned")); now != told[i] {
			return fmt.Errorf("a member that stayed was told of %d new assignments, want none", now-told[i])
		}
	}
	return nil
}
