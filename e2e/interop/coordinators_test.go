package interop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// shownFor is how long a formatter waits for another record before it ends.
const shownFor = "3000"

// shows prints the records of an internal topic by one of Kafka's own formatters: JSON, without lines.
func (c *clients) shows(topic, formatter, broker string) *exec.Cmd {
	return c.java.Command("", kafkaTools+"consumer.ConsoleConsumer", "--bootstrap-server", broker, "--topic", topic,
		"--from-beginning", "--timeout-ms", shownFor, "--formatter", kafkaTools+"consumer."+formatter)
}

// readsCoordinators has a client's formatters read what coordinators keep in their topics: what a group has committed,
// what it consists of, what became of a transaction, and where a share group is.
func readsCoordinators(ctx context.Context, c *cluster, cl *client) error {
	name := fresh("coordinators." + cl.name)
	if err := c.topic(ctx, name, 1, 3); err != nil {
		return err
	}
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	committer := "committer-" + name
	offsets := kadm.Offsets{}
	offsets.AddOffset(name, 0, 4711, -1)
	if err := eventually(ctx, func() error { return adm.CommitAllOffsets(ctx, committer, offsets) }); err != nil {
		return err
	}
	t, err := begun(ctx, franz(), name, name, c.broker(0))
	if err != nil {
		return err
	}
	defer func() { _ = t.stop() }() // a tool of this test
	if _, err := t.ask(ctx, "send", "0", encode([]byte("x"))); err != nil {
		return err
	}
	if _, err := t.ask(ctx, "commit"); err != nil {
		return err
	}
	g := &group{c: c, cl: franz(), spec: member{topic: name, group: name, protocol: "range"}}
	defer g.stop()
	reader, err := g.join(1, "")
	if err != nil {
		return err
	}
	if err := eventually(ctx, func() error {
		if len(reader.owns()) != 1 {
			return errors.New("the member has no partition: " + reader.complaint())
		}
		return nil
	}); err != nil {
		return err
	}
	shares := &sharing{group: &group{c: c, cl: franz(), spec: member{topic: name, group: "sharer-" + name, protocol: "share"}}, adm: adm}
	defer shares.stop()
	if err := shares.earliest(ctx); err != nil {
		return err
	}
	if _, err := shares.join(0, ""); err != nil {
		return err
	}
	for _, s := range []struct {
		topic, formatter string
		holds            []string
	}{
		{"__consumer_offsets", "OffsetsMessageFormatter", []string{`"group":"` + committer + `"`, `"topic":"` + name + `"`, `"offset":4711`}},
		{"__consumer_offsets", "GroupMetadataMessageFormatter", []string{`"group":"` + name + `"`, `"protocolType":"consumer"`, `"memberId":"`}},
		{"__transaction_state", "TransactionLogMessageFormatter", []string{`"transactionalId":"` + name + `"`, `"producerEpoch":`, `"transactionStatus":`}},
		{"__share_group_state", "group.share.ShareGroupStateMessageFormatter", []string{`"groupId":"sharer-` + name + `"`, `"startOffset":0`}},
	} {
		if err := shown(ctx, func() *exec.Cmd { return cl.shows(s.topic, s.formatter, c.broker(2)) }, s.holds); err != nil {
			return fmt.Errorf("%s of %s: %w", s.formatter, s.topic, err)
		}
	}
	return nil
}

// shown waits until one record holds all of these. It does not wait for the formatter to end, which it does not
// while there is always another record: every commit of every group of the cluster is one.
func shown(ctx context.Context, shows func() *exec.Cmd, holds []string) error {
	return eventually(ctx, func() error {
		cmd := shows()
		var complaint strings.Builder
		cmd.Stderr = &complaint
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // it may have ended
		records, found, read := scanned(out, holds)
		if found {
			_ = cmd.Process.Kill() // it may have ended
		}
		err = cmd.Wait()
		stop()
		if found {
			return nil
		}
		if err := errors.Join(read, err); err != nil {
			return fmt.Errorf("%w, after %d records: %s", err, records, complaint.String())
		}
		return fmt.Errorf("none of %d records holds %q", records, holds)
	})
}

// scanned looks for a record that holds all of these, and counts those that it looked at.
func scanned(out io.Reader, holds []string) (records int, found bool, err error) {
	const begin = `{"key":` // of a record: the formatters write no line ends
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	lines.Split(func(data []byte, ended bool) (int, []byte, error) {
		if next := bytes.Index(data[min(1, len(data)):], []byte(begin)); next >= 0 {
			return next + 1, data[:next+1], nil
		}
		if ended && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	for lines.Scan() {
		record := lines.Text()
		if !slices.ContainsFunc(holds, func(want string) bool { return !strings.Contains(record, want) }) {
			return records, true, nil
		}
		records++
	}
	return records, false, lines.Err()
}
