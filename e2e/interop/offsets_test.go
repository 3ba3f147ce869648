package interop

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// deleteOffsets takes one of two committed offsets of a group away, and may not while a member reads the topic.
func deleteOffsets(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, adm *kadm.Client) error {
		name := fresh("delete-offsets." + cl.name)
		if err := c.topic(ctx, name, 2, 3); err != nil {
			return err
		}
		g := &group{c: c, cl: franz(), spec: member{topic: name, group: name, protocol: "range"}}
		defer g.stop()
		reader, err := g.join(0, "")
		if err != nil {
			return err
		}
		if err := eventually(ctx, func() error {
			if got := reader.owns(); len(got) != 2 {
				return fmt.Errorf("the member has partitions %v: %s", got, reader.complaint())
			}
			return nil
		}); err != nil {
			return err
		}
		if _, err := c.write(ctx, name, "none", numbered(0, 20, 2)); err != nil {
			return err
		}
		if err := committedIn(ctx, adm, name, map[int32]int64{0: 10, 1: 10}); err != nil {
			return err
		}
		if _, err := with.ask(ctx, "delete-offset", name, name, "0"); err == nil {
			return errors.New("the offset of a topic that a member reads was deleted")
		}
		if err := g.leave(ctx, reader); err != nil {
			return err
		}
		if _, err := with.ask(ctx, "delete-offset", name, name, "0"); err != nil {
			return err
		}
		return committedIn(ctx, adm, name, map[int32]int64{1: 10})
	})
}

// committedIn waits until these are the committed offsets of a group, which is named as its topic is.
func committedIn(ctx context.Context, adm *kadm.Client, name string, want map[int32]int64) error {
	return eventually(ctx, func() error {
		found, err := adm.FetchOffsets(ctx, name)
		if err != nil {
			return err
		}
		got := map[int32]int64{}
		for p, o := range found[name] {
			got[p] = o.At
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("committed are %v, want %v", got, want)
		}
		return nil
	})
}

// shareAdmin has a share group begin where the client says, looks at it while it has a member and afterwards, and
// takes its offsets away.
func shareAdmin(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, adm *kadm.Client) error {
		name := fresh("share-admin." + cl.name)
		g := &group{c: c, cl: franz(), spec: member{topic: name, group: name, protocol: "share"}}
		defer g.stop()
		s := &sharing{group: g, adm: adm}
		if err := errorOf(c.topic(ctx, name, 1, 3), s.earliest(ctx)); err != nil {
			return err
		}
		written, err := c.write(ctx, name, "none", numbered(0, 9, 1))
		if err != nil {
			return err
		}
		if err := reset(ctx, s, with, "6", written[6:]); err != nil {
			return fmt.Errorf("reset to 6: %w", err)
		}
		if err := reset(ctx, s, with, "2", written[2:]); err != nil {
			return fmt.Errorf("reset to 2: %w", err)
		}
		if _, err := with.ask(ctx, "share-delete-offsets", name, name); err != nil {
			return err
		}
		return awaits(ctx, with, "none", "share-offset", name, name, "0")
	})
}

// reset has a share group begin at an offset, and a member of it read from there.
func reset(ctx context.Context, s *sharing, with talker, to string, want []record) error {
	name := s.spec.group
	if _, err := with.ask(ctx, "share-reset", name, name, "0", to); err != nil {
		return err
	}
	if err := errorOf(
		awaits(ctx, with, "empty 0", "share-group", name),
		awaits(ctx, with, to, "share-offset", name, name, "0"),
	); err != nil {
		return err
	}
	reader, err := s.join(0, "")
	if err != nil {
		return err
	}
	if err := eventually(ctx, func() error { return reader.holds(want) }); err != nil {
		return err
	}
	if err := awaits(ctx, with, "stable 1", "share-group", name); err != nil {
		return err
	}
	// What was read is accepted before the member goes.
	if err := awaits(ctx, with, "9", "share-offset", name, name, "0"); err != nil {
		return err
	}
	if _, err := with.ask(ctx, "share-reset", name, name, "0", to); err == nil {
		return errors.New("a share group with a member was reset")
	}
	if err := s.leave(ctx, reader); err != nil {
		return err
	}
	if err := sameRecords(recordsOf(reader.messages(0, "record")), want); err != nil {
		return err
	}
	return awaits(ctx, with, "empty 0", "share-group", name)
}

// franzShares administers share groups.
func franzShares(ctx context.Context, adm *kadm.Client, word string, args []string) ([]any, error) {
	switch word {
	case "share-group":
		found, err := adm.DescribeShareGroups(ctx, args[0])
		g := found[args[0]]
		return []any{g.GroupState, len(g.Members)}, errors.Join(err, g.Err)
	case "share-offset":
		found, err := adm.DescribeShareGroupOffsets(ctx, args[0])
		o, ok := found[args[0]].Offsets.Lookup(args[1], number(args[2]))
		if err := errors.Join(err, found[args[0]].Err, o.Err); err != nil || !ok || o.StartOffset < 0 {
			return []any{"none"}, err
		}
		return []any{o.StartOffset}, nil
	case "share-reset":
		offsets := kadm.Offsets{}
		offsets.AddOffset(args[1], number(args[2]), int64(number(args[3])), -1)
		return nil, eventually(ctx, func() error {
			said, err := adm.AlterShareGroupOffsets(ctx, args[0], offsets)
			if err = errors.Join(err, said.Error()); err != nil && !errors.Is(err, kerr.CoordinatorNotAvailable) {
				return final{err}
			}
			return err // the topic of the states is made for the first who asks, and kadm does not ask again
		})
	}
	said, err := adm.DeleteShareGroupOffsets(ctx, args[0], args[1])
	return nil, errors.Join(err, said.Error())
}

const shareCommand = "consumer.group.ShareGroupCommand"

// deleteOffset has kafka-consumer-groups delete one, which tells what became of it in a table.
func (j *javaTools) deleteOffset(ctx context.Context, args []string) error {
	out, err := j.tool(ctx, groupCommand, "--delete-offsets", "--group", args[0], "--topic", args[1]+":"+args[2])
	if err == nil && !strings.Contains(out, "Successful") {
		err = errors.New(strings.Join(strings.Fields(out), " "))
	}
	return err
}

// shares has kafka-share-groups say it.
func (j *javaTools) shares(ctx context.Context, word string, args []string) ([]string, error) {
	group := "--group=" + args[0]
	switch word {
	case "share-group":
		out, err := j.tool(ctx, shareCommand, "--describe", group, "--state")
		titles, row := rowOf(out, args[0])
		return []string{column(titles, row, "STATE"), column(titles, row, "#MEMBERS")}, err
	case "share-offset":
		out, err := j.tool(ctx, shareCommand, "--describe", group)
		titles, row := rowOf(out, args[0])
		if row == nil && err == nil {
			return []string{"none"}, nil
		}
		return []string{column(titles, row, "START-OFFSET")}, err
	case "share-reset":
		out, err := j.tool(ctx, shareCommand, "--reset-offsets", group, "--topic", args[1]+":"+args[2], "--to-offset", args[3], "--execute")
		if _, row := rowOf(out, args[0]); err == nil && row == nil {
			err = errors.New(strings.Join(strings.Fields(out), " "))
		}
		return nil, err
	}
	out, err := j.tool(ctx, shareCommand, "--delete-offsets", group, "--topic", args[1])
	if err == nil && !strings.Contains(out, "Successful") {
		err = errors.New(strings.Join(strings.Fields(out), " "))
	}
	return nil, err
}
