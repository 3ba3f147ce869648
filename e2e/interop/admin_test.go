package interop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// The words of administration, and their answers:
//
//	create TOPIC PARTITIONS REPLICAS KEY VALUE   describe TOPIC -> partitions, replicas
//	config TOPIC KEY -> value                    alter TOPIC KEY VALUE
//	config-of KIND NAME KEY -> own value or none set-config KIND NAME KEY VALUE
//	delete-config KIND NAME KEY                  KIND is topics or brokers; NAME default is all brokers
//	partitions TOPIC COUNT                       delete TOPIC
//	list TOPIC -> whether it is there            delete-records TOPIC PARTITION OFFSET -> start
//	reassign TOPIC PARTITION BROKERS             reassigning TOPIC PARTITION -> number
//	reassign-slowly TOPIC PARTITION BROKERS RATE reassign-verify TOPIC PARTITION BROKERS -> completed or progress
//	reassign-cancel TOPIC PARTITION BROKERS
//	log-dirs TOPIC -> number of replicas         elect TOPIC PARTITION
//	groups GROUP -> whether it is there          group GROUP -> state, members
//	offset GROUP TOPIC PARTITION -> offset       reset GROUP TOPIC PARTITION OFFSET
//	delete-group GROUP                           transactions ID -> whether it is there
//	transaction ID -> state                      hanging TOPIC PARTITION -> whether a transaction hangs there
//	abort-at TOPIC PARTITION OFFSET              delete-offset GROUP TOPIC PARTITION
//	share-group GROUP -> state, members          share-offset GROUP TOPIC PARTITION -> start or none
//	share-reset GROUP TOPIC PARTITION OFFSET     share-delete-offsets GROUP TOPIC

// expect asks and holds the answer against what is wanted.
func expect(ctx context.Context, with talker, want string, fields ...string) error {
	said, err := with.ask(ctx, fields...)
	if err != nil {
		return err
	}
	// Python says True where others say true.
	if got := strings.ToLower(strings.Join(said, " ")); got != strings.ToLower(want) {
		return fmt.Errorf("%s: got %q, want %q", strings.Join(fields, " "), got, want)
	}
	return nil
}

// awaits is expect for what spreads through the brokers.
func awaits(ctx context.Context, with talker, want string, fields ...string) error {
	return eventually(ctx, func() error { return expect(ctx, with, want, fields...) })
}

// administered runs a check with a client's admin, and one of ours to look with.
func administered(c *cluster, cl *client, check func(with talker, adm *kadm.Client) error) (err error) {
	with, err := cl.admin(strings.Join(c.kafka, ","))
	if err != nil {
		return err
	}
	defer func() { err = errorOf(err, with.stop()) }()
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	return check(with, adm)
}

func adminTopics(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, adm *kadm.Client) error {
		topic := fresh("admin." + cl.name)
		if _, err := with.ask(ctx, "create", topic, "2", "3", "max.message.bytes", "123456"); err != nil {
			return err
		}
		if err := errorOf(
			awaits(ctx, with, "2 3", "describe", topic),
			awaits(ctx, with, "true", "list", topic),
			awaits(ctx, with, "123456", "config", topic, "max.message.bytes"),
		); err != nil {
			return err
		}
		if _, err := with.ask(ctx, "create", topic, "2", "3", "max.message.bytes", "123456"); err == nil {
			return errors.New("a topic that exists was created again")
		}
		if _, err := with.ask(ctx, "alter", topic, "max.message.bytes", "234567"); err != nil {
			return err
		}
		if err := awaits(ctx, with, "234567", "config", topic, "max.message.bytes"); err != nil {
			return err
		}
		if _, err := with.ask(ctx, "partitions", topic, "5"); err != nil {
			return err
		}
		if err := awaits(ctx, with, "5 3", "describe", topic); err != nil {
			return err
		}
		if found, err := adm.ListTopics(ctx, topic); err != nil || len(found[topic].Partitions) != 5 {
			return fmt.Errorf("another client sees %d partitions, want 5: %w", len(found[topic].Partitions), err)
		}
		if _, err := with.ask(ctx, "delete", topic); err != nil {
			return err
		}
		return awaits(ctx, with, "false", "list", topic)
	})
}

func adminGroups(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, adm *kadm.Client) error {
		topic, group := fresh("group-admin."+cl.name), fresh("group-admin."+cl.name)
		if err := c.topic(ctx, topic, 1, 3); err != nil {
			return err
		}
		if _, err := c.write(ctx, topic, "none", numbered(0, 9, 1)); err != nil {
			return err
		}
		offsets := kadm.Offsets{}
		offsets.AddOffset(topic, 0, 7, -1)
		if err := eventually(ctx, func() error { return adm.CommitAllOffsets(ctx, group, offsets) }); err != nil {
			return err
		}
		if err := errorOf(
			awaits(ctx, with, "true", "groups", group),
			awaits(ctx, with, "empty 0", "group", group),
			awaits(ctx, with, "7", "offset", group, topic, "0"),
		); err != nil {
			return err
		}
		if _, err := with.ask(ctx, "reset", group, topic, "0", "3"); err != nil {
			return err
		}
		if err := awaits(ctx, with, "3", "offset", group, topic, "0"); err != nil {
			return err
		}
		if _, err := with.ask(ctx, "delete-group", group); err != nil {
			return err
		}
		return awaits(ctx, with, "false", "groups", group)
	})
}

// adminTransactions looks at a transaction while it is open, and after it was decided.
func adminTransactions(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, _ *kadm.Client) error {
		topic, id := fresh("txn-admin."+cl.name), fresh("txn-admin."+cl.name)
		if err := c.topic(ctx, topic, 1, 3); err != nil {
			return err
		}
		writer, err := begun(ctx, franz(), id, topic, c.broker(0))
		if err != nil {
			return err
		}
		defer func() { _ = writer.stop() }() // only a tool of this test
		if _, err := writer.ask(ctx, "send", "0", encode([]byte("x"))); err != nil {
			return err
		}
		if err := errorOf(
			awaits(ctx, with, "true", "transactions", id),
			awaits(ctx, with, "ongoing", "transaction", id),
		); err != nil {
			return err
		}
		if _, err := writer.ask(ctx, "commit"); err != nil {
			return err
		}
		return awaits(ctx, with, "completecommit", "transaction", id)
	})
}

func deleteRecords(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, adm *kadm.Client) error {
		topic := fresh("delete-records." + cl.name)
		if err := c.topic(ctx, topic, 1, 3); err != nil {
			return err
		}
		written, err := c.write(ctx, topic, "none", numbered(0, 20, 1))
		if err != nil {
			return err
		}
		if err := expect(ctx, with, "12", "delete-records", topic, "0", "12"); err != nil {
			return err
		}
		if starts, err := adm.ListStartOffsets(ctx, topic); errorOf(err, starts.Error()) != nil || starts[topic][0].Offset != 12 {
			return fmt.Errorf("the start is %d, want 12: %w", starts[topic][0].Offset, errorOf(err, starts.Error()))
		}
		read, err := c.read(ctx, topic, false)
		if err != nil {
			return err
		}
		return sameRecords(read, written[12:])
	})
}

func logDirs(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, _ *kadm.Client) error {
		topic := fresh("log-dirs." + cl.name)
		if err := c.topic(ctx, topic, 1, 2); err != nil {
			return err
		}
		if _, err := c.write(ctx, topic, "none", numbered(0, 5, 1)); err != nil {
			return err
		}
		return awaits(ctx, with, "2", "log-dirs", topic)
	})
}

func reassign(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, adm *kadm.Client) error {
		topic := fresh("reassign." + cl.name)
		if err := c.topic(ctx, topic, 1, 2); err != nil {
			return err
		}
		written, err := c.write(ctx, topic, "none", numbered(0, 200, 1))
		if err != nil {
			return err
		}
		found, err := adm.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		old := found[topic].Partitions[0].Replicas
		if len(old) != 2 {
			return fmt.Errorf("the partition has replicas %v, want two of three", old)
		}
		other := 6 - old[0] - old[1] // the third of 1, 2 and 3
		want := []int32{other, old[1]}
		if _, err := with.ask(ctx, "reassign", topic, "0", fmt.Sprintf("%d,%d", want[0], want[1])); err != nil {
			return err
		}
		if err := awaits(ctx, with, "0", "reassigning", topic, "0"); err != nil {
			return err
		}
		err = eventually(ctx, func() error {
			found, err := adm.ListTopics(ctx, topic)
			p := found[topic].Partitions[0]
			if err != nil || !slices.Equal(p.Replicas, want) || len(p.ISR) != 2 || !slices.Contains(want, p.Leader) {
				return fmt.Errorf("replicas %v, in sync %v, leader %d, want replicas %v: %w", p.Replicas, p.ISR, p.Leader, want, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		read, err := c.read(ctx, topic, false)
		if err != nil {
			return err
		}
		return sameRecords(read, written)
	})
}

// elect runs after every broker was killed, so that some partition is not led by the replica that should.
func elect(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, adm *kadm.Client) error {
		topic := electTopic(cl)
		found, err := adm.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		moved := 0
		for _, p := range found[topic].Partitions.Sorted() {
			if p.Leader == p.Replicas[0] {
				continue
			}
			moved++
			if _, err := with.ask(ctx, "elect", topic, fmt.Sprint(p.Partition)); err != nil {
				return err
			}
			if err := eventually(ctx, func() error {
				now, err := adm.ListTopics(ctx, topic)
				if got := now[topic].Partitions[p.Partition].Leader; err != nil || got != p.Replicas[0] {
					return fmt.Errorf("broker %d leads, want %d: %w", got, p.Replicas[0], err)
				}
				return nil
			}); err != nil {
				return err
			}
		}
		if moved == 0 {
			return errors.New("every partition is led by its preferred replica, so nothing was shown")
		}
		return nil
	})
}

func electTopic(cl *client) string { return "elect." + strings.ReplaceAll(cl.name, " ", "-") }
