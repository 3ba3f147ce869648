package interop

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// kcat is a tool of lines: keys and values are text, and it tells no offsets of what it wrote.
func kcat(c *clients) *client {
	const admin, classic = "describes only", "comes with librdkafka 2.0 in Debian, which speaks the classic protocol only"
	return &client{
		name: "kcat", codecs: allCodecs, textOnly: true,
		line: func(r record) string { return r.key + ":" + r.value },
		lacks: map[string]string{
			rowConsumerGroup: classic, rowShareGroup: classic, rowCopy: "has no such call",
			rowAdminTopics: admin, rowAdminConfigs: admin, rowAdminDefaults: admin, rowAdminGroups: admin, rowDeleteOffsets: admin, rowAdminShares: admin,
			rowAdminTransactions: admin, rowHanging: admin, rowDeleteRecords: admin,
			rowReassign: admin, rowThrottled: noTool, rowLogDirs: admin, rowElect: admin, rowCoordinators: noFormatters,
		},
		produce: func(p producer, broker string) command {
			return command{
				cmd: exec.Command(c.kcat, "-P", "-b", broker, "-t", p.topic, "-K:", "-z", p.codec, "-X", "acks=all",
					"-X", fmt.Sprintf("enable.idempotence=%v", p.idempotent)),
				translate: func(string) [][]string { return nil },
			}
		},
		consume: func(m member, broker string) command { return kcatConsumer(c.kcat, m, broker) },
		transact: func(id, topic, broker string) (talker, error) {
			return &kcatTransactions{kcat: c.kcat, id: id, topic: topic, broker: broker}, nil
		},
	}
}

var kcatAssigned = regexp.MustCompile(`rebalanced.*(assigned|revoked|incremental assignment|incremental revoke)`)

func kcatConsumer(kcat string, m member, broker string) command {
	args := []string{"-b", broker, "-u", "-X", "isolation.level=" + m.isolation(), "-X", "fetch.wait.max.ms=100",
		"-X", "topic.metadata.refresh.interval.ms=1000", "-f", `%p\t%o\t%k\t%s\n`}
	if m.group == "" {
		args = append(args, "-C", "-t", m.topic, "-o", "beginning", "-q")
	} else {
		strategy := "range"
		if m.protocol == "cooperative" {
			strategy = "cooperative-sticky"
		}
		args = append(args, "-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=10000", "-X", "heartbeat.interval.ms=200",
			"-X", "auto.commit.interval.ms=100", "-X", "partition.assignment.strategy="+strategy)
		if m.instance != "" {
			args = append(args, "-X", "group.instance.id="+m.instance)
		}
		args = append(args, "-G", m.group, m.topic)
	}
	var owned []int
	return command{cmd: exec.Command(kcat, args...), ends: syscall.SIGTERM, translate: func(line string) [][]string {
		if strings.HasPrefix(line, "%") {
			now := kcatOwned(owned, line)
			if now == nil {
				return nil
			}
			owned = now
			return [][]string{{"assigned", strings.Trim(strings.ReplaceAll(fmt.Sprint(owned), " ", ","), "[]")}}
		}
		fields := strings.SplitN(line, "\t", 4)
		if len(fields) != 4 {
			return nil
		}
		return [][]string{{"record", fields[0], fields[1], encode([]byte(fields[2])), encode([]byte(fields[3]))}}
	}}
}

var kcatPartition = regexp.MustCompile(`\[(\d+)\]`)

// kcatOwned is what a member owns after a line such as
//
//	% Group g rebalanced (memberid m): assigned: t [0], t [1]
//	% Group g rebalanced: incremental revoke of 1 partition(s) (memberid m, COOPERATIVE rebalance protocol): t [1]
//
// or nil for another line.
func kcatOwned(owned []int, line string) []int {
	found := kcatAssigned.FindStringSubmatch(line)
	if found == nil {
		return nil
	}
	var named []int
	for _, p := range kcatPartition.FindAllStringSubmatch(line, -1) {
		n, err := strconv.Atoi(p[1])
		if err == nil {
			named = append(named, n)
		}
	}
	now := append([]int{}, named...)
	switch found[1] {
	case "incremental assignment":
		now = append(now, owned...)
	case "revoked", "incremental revoke":
		now = slices.DeleteFunc(append([]int{}, owned...), func(p int) bool { return slices.Contains(named, p) })
	}
	slices.Sort(now)
	return now
}

// kcatTransactions are runs of kcat: each is one transaction, which the end of its input commits and a
// signal aborts.
type kcatTransactions struct {
	kcat, id, topic, broker string
	running                 *process
}

func (k *kcatTransactions) ask(ctx context.Context, fields ...string) (answer []string, err error) {
	switch fields[0] {
	case "init":
		return nil, k.start(ctx)
	case "begin":
		if k.running == nil {
			err = k.start(ctx)
		}
	case "send":
		err = k.running.write(fields[1] + ":" + string(decode(fields[2])))
	case "commit":
		err = k.running.finish(ctx)
		k.running = nil
	case "abort":
		err = k.running.interrupt(ctx)
		k.running = nil
	default:
		err = errors.ErrUnsupported
	}
	return nil, err
}

// start has kcat claim its id. What it says of its own accord, it says before it asks for the id: two that
// were started in turn could have it in either order. So librdkafka's debug lines tell.
func (k *kcatTransactions) start(ctx context.Context) (err error) {
	cmd := exec.Command(k.kcat, "-P", "-b", k.broker, "-t", k.topic, "-K:", "-d", "eos", "-X", "transactional.id="+k.id)
	if k.running, err = start(command{cmd: cmd, translate: transactionLines}); err != nil {
		return err
	}
	return eventually(ctx, func() error {
		switch said := k.running.complaint(); {
		case len(k.running.messages(0, "begun")) > 0:
			return nil
		case k.running.ended():
			return final{errors.New("kcat has ended: " + said)}
		default:
			return errors.New("kcat has begun no transaction: " + said)
		}
	})
}

// transactionLines tells when librdkafka has its producer id and has begun a transaction.
func transactionLines(line string) [][]string {
	if strings.HasPrefix(line, debugLine) && strings.Contains(line, "Ready -> InTransaction") {
		return [][]string{{"begun"}}
	}
	return nil
}

func (k *kcatTransactions) stop() error {
	if k.running == nil {
		return nil
	}
	k.running.kill()
	return nil
}
