package interop

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const kafkaTools = "org.apache.kafka.tools."

// java is Kafka's client as its own tools use it: kafka-console-producer and -consumer,
// kafka-verifiable-producer, -consumer and -share-consumer, TransactionalMessageCopier, and kafka-topics and its kin. The
// transactions of one word at a time are of a driver of ours.
func java(c *clients) *client {
	driver := func(args ...string) (talker, error) {
		return start(command{cmd: c.java.Command(c.classes, "JavaDriver", args...)})
	}
	return &client{
		name: "Java and its tools", codecs: allCodecs, textOnly: true,
		line:    func(r record) string { return r.key + "\t" + r.value },
		produce: func(p producer, broker string) command { return javaProducer(c, p, broker) },
		consume: func(m member, broker string) command {
			switch {
			case m.group == "":
				return consoleConsumer(c, m, broker)
			case m.protocol == "share":
				return shareConsumer(c, m, broker)
			}
			return verifiableConsumer(c, m, broker)
		},
		transact: func(id, topic, broker string) (talker, error) { return driver(broker, "transact", id, topic) },
		admin: func(broker string) (talker, error) {
			box, err := driver(broker, "tools")
			return &javaTools{talker: box, broker: broker}, err
		},
		copy: func(source, target, group, id string, count int, broker string) command {
			return command{cmd: c.java.Command("", kafkaTools+"TransactionalMessageCopier", "--broker-list", broker,
				"--input-topic", source, "--input-partition", "0", "--output-topic", target, "--max-messages", strconv.Itoa(count),
				"--consumer-group", group, "--transactional-id", id, "--transaction-size", strconv.Itoa(copySize),
				"--enable-random-aborts", "--use-group-metadata", "--group-mode"),
				translate: func(string) [][]string { return nil }}
		},
		shows: c.shows,
	}
}

// javaProducer is the console producer, and where brokers are killed, the verifiable one, whose values are
// its own: a number after the topic's.
func javaProducer(c *clients, p producer, broker string) command {
	cmd := c.java.Command("", kafkaTools+"ConsoleProducer", "--bootstrap-server", broker, "--topic", p.topic,
		"--compression-codec", p.codec, "--reader-property", "parse.key=true", "--max-block-ms", "20000")
	if !p.idempotent {
		return command{cmd: cmd, translate: func(string) [][]string { return nil }}
	}
	cmd = c.java.Command("", kafkaTools+"VerifiableProducer", "--bootstrap-server", broker, "--topic", p.topic,
		"--max-messages", strconv.Itoa(killRecords), "--throughput", strconv.Itoa(killRate), "--value-prefix", killPrefix,
		"--command-config", "testdata/producer.properties")
	return command{cmd: cmd, translate: func(line string) [][]string {
		var said struct {
			Name, Value, Exception, Message string
			Partition                       int32
			Offset                          int64
		}
		if json.Unmarshal([]byte(line), &said) != nil {
			return nil
		}
		switch said.Name {
		case "producer_send_success":
			return [][]string{{"acked", fmt.Sprint(said.Partition), fmt.Sprint(said.Offset), encode([]byte(said.Value))}}
		case "producer_send_error":
			return [][]string{{"failed", said.Value, said.Exception, said.Message}}
		}
		return nil
	}}
}

// consoleConsumer prints a line such as
//
//	Partition:0	Offset:7	key	value
func consoleConsumer(c *clients, m member, broker string) command {
	args := []string{"--bootstrap-server", broker, "--topic", m.topic, "--from-beginning", "--isolation-level", m.isolation()}
	for _, property := range []string{"print.partition=true", "print.offset=true", "print.key=true", "null.literal="} {
		args = append(args, "--formatter-property", property)
	}
	cmd := c.java.Command("", kafkaTools+"consumer.ConsoleConsumer", args...)
	return command{cmd: cmd, ends: syscall.SIGTERM, translate: func(line string) [][]string {
		fields := strings.SplitN(line, "\t", 4)
		if len(fields) != 4 || !strings.HasPrefix(fields[0], "Partition:") {
			return nil
		}
		return [][]string{{"record", strings.TrimPrefix(fields[0], "Partition:"), strings.TrimPrefix(fields[1], "Offset:"),
			encode([]byte(fields[2])), encode([]byte(fields[3]))}}
	}}
}

// verifiableConsumer prints its events as JSON.
func verifiableConsumer(c *clients, m member, broker string) command {
	args := []string{"--bootstrap-server", broker, "--topic", m.topic, "--group-id", m.group, "--verbose"}
	if m.protocol == "consumer" {
		args = append(args, "--group-protocol", "consumer")
	} else {
		assignor := "RangeAssignor"
		if m.protocol == "cooperative" {
			assignor = "CooperativeStickyAssignor"
		}
		args = append(args, "--session-timeout", "10000", "--assignment-strategy", "org.apache.kafka.clients.consumer."+assignor)
	}
	if m.instance != "" {
		args = append(args, "--group-instance-id", m.instance)
	}
	var cmd *exec.Cmd
	if m.protocol == "consumer" {
		cmd = c.java.Command("", kafkaTools+"VerifiableConsumer", args...)
	} else {
		cmd = c.java.Command("", kafkaTools+"VerifiableConsumer", append(args, "--command-config", "testdata/consumer.properties")...)
	}
	incremental := m.protocol != "range"
	var owned []int
	return command{cmd: cmd, ends: syscall.SIGTERM, translate: func(line string) [][]string {
		var said struct {
			Name       string
			Partitions json.RawMessage
			Partition  int32
			Offset     int64
			Key, Value string
		}
		if json.Unmarshal([]byte(line), &said) != nil {
			return nil
		}
		switch said.Name {
		case "record_data":
			return [][]string{{"record", fmt.Sprint(said.Partition), fmt.Sprint(said.Offset), encode([]byte(said.Key)), encode([]byte(said.Value))}}
		case "partitions_assigned", "partitions_revoked":
			owned = javaOwned(owned, said.Name == "partitions_assigned", incremental, said.Partitions)
			return [][]string{{"assigned", strings.Trim(strings.ReplaceAll(fmt.Sprint(owned), " ", ","), "[]")}}
		}
		return nil
	}}
}

func javaOwned(owned []int, assigned, incremental bool, partitions json.RawMessage) []int {
	var list []struct{ Partition int }
	if json.Unmarshal(partitions, &list) != nil {
		return owned
	}
	var named []int
	for _, p := range list {
		named = append(named, p.Partition)
	}
	now := slices.DeleteFunc(append([]int{}, owned...), func(p int) bool { return slices.Contains(named, p) })
	if assigned && !incremental {
		now = nil
	}
	if assigned {
		now = append(now, named...)
	}
	slices.Sort(now)
	return now
}

// javaTools says each word to a tool, and reads the answer in what the tool prints for people.
type javaTools struct {
	talker
	broker string
}

func (j *javaTools) ask(ctx context.Context, fields ...string) ([]string, error) {
	word, args := fields[0], fields[1:]
	switch word {
	case "delete-records":
		return j.deleteRecords(ctx, args)
	case "reassign":
		_, err := j.reassign(ctx, args, "--execute", "--additional") // to what other cells move
		return nil, err
	case "reassign-slowly":
		out, err := j.reassign(ctx, args, "--execute", "--additional", "--throttle", args[3])
		if err == nil && !strings.Contains(out, "throttle limit was set to "+args[3]) {
			err = errors.New("no throttle was set: " + out)
		}
		return nil, err
	case "reassign-verify":
		return j.reassignVerify(ctx, args)
	case "reassign-cancel":
		_, err := j.reassign(ctx, args, "--cancel")
		return nil, err
	case "config-of", "set-config", "delete-config":
		return j.configs(ctx, word, args)
	case "hanging", "abort-at":
		return j.hanging(ctx, word, args)
	case "delete-offset":
		return nil, j.deleteOffset(ctx, args)
	case "share-group", "share-offset", "share-reset", "share-delete-offsets":
		return j.shares(ctx, word, args)
	case "groups", "group", "offset", "reset", "delete-group":
		return j.groups(ctx, word, args)
	}
	topic := "--topic=" + args[0]
	switch word {
	case "create":
		return j.nothing(ctx, "TopicCommand", "--create", topic, "--partitions", args[1], "--replication-factor", args[2], "--config", args[3]+"="+args[4])
	case "describe":
		out, err := j.tool(ctx, "TopicCommand", "--describe", topic)
		return []string{after(out, "PartitionCount:"), after(out, "ReplicationFactor:")}, err
	case "config":
		out, err := j.tool(ctx, "ConfigCommand", "--describe", "--entity-type", "topics", "--entity-name", args[0])
		return []string{after(out, args[1]+"=")}, err
	case "alter":
		return j.nothing(ctx, "ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", args[0], "--add-config", args[1]+"="+args[2])
	case "partitions":
		return j.nothing(ctx, "TopicCommand", "--alter", topic, "--partitions", args[1])
	case "delete":
		return j.nothing(ctx, "TopicCommand", "--delete", topic)
	case "list":
		return j.holds(ctx, args[0], "TopicCommand", "--list")
	case "reassigning":
		out, err := j.tool(ctx, "reassign.ReassignPartitionsCommand", "--list")
		return []string{strconv.Itoa(strings.Count(out, args[0]+"-"+args[1]))}, err
	case "log-dirs":
		out, err := j.tool(ctx, "LogDirsCommand", "--describe", "--topic-list", args[0])
		if err != nil {
			return nil, err
		}
		return replicasWithBytes(out, args[0]+"-0")
	case "elect":
		return j.nothing(ctx, "LeaderElectionCommand", "--election-type", "preferred", topic, "--partition", args[1])
	case "transactions":
		return j.holds(ctx, args[0], "TransactionsCommand", "list")
	case "transaction":
		out, err := j.tool(ctx, "TransactionsCommand", "describe", "--transactional-id", args[0])
		rows := strings.Split(strings.TrimSpace(out), "\n")
		columns := strings.Fields(rows[len(rows)-1])
		return []string{column(rows[0], columns, "TransactionState")}, err
	}
	return nil, fmt.Errorf("%w: %s", errors.ErrUnsupported, word)
}

// replicasWithBytes counts the replicas of a partition that take up space, by the JSON that kafka-log-dirs prints.
func replicasWithBytes(out, partition string) ([]string, error) {
	var said struct {
		Brokers []struct {
			LogDirs []struct {
				Partitions []struct {
					Partition string
					Size      int64
				}
			}
		}
	}
	_, text, _ := strings.Cut(out, "\n{")
	if err := json.NewDecoder(strings.NewReader("{" + text)).Decode(&said); err != nil {
		return nil, fmt.Errorf("kafka-log-dirs printed %q: %w", out, err)
	}
	replicas := 0
	for _, b := range said.Brokers {
		for _, dir := range b.LogDirs {
			for _, p := range dir.Partitions {
				if p.Partition == partition && p.Size > 0 {
					replicas++
				}
			}
		}
	}
	return []string{strconv.Itoa(replicas)}, nil
}

// tool runs one, and returns what it printed.
func (j *javaTools) tool(ctx context.Context, name string, args ...string) (string, error) {
	words := []string{kafkaTools + name, ""}
	if slices.Contains([]string{"TransactionsCommand", "DeleteRecordsCommand", "FeatureCommand", "MetadataQuorumCommand"}, name) {
		args = append([]string{"--bootstrap-server", j.broker}, args...)
	} else {
		args = append(args, "--bootstrap-server", j.broker)
	}
	said, err := j.talker.ask(ctx, append(words, args...)...)
	if err != nil {
		return "", err
	}
	return string(decode(said[0])), nil
}

func (j *javaTools) nothing(ctx context.Context, name string, args ...string) ([]string, error) {
	_, err := j.tool(ctx, name, args...)
	return nil, err
}

// configs are those of a topic, of a broker or of all brokers: described are the ones that are set there.
func (j *javaTools) configs(ctx context.Context, word string, args []string) ([]string, error) {
	entity := []string{"--entity-type", args[0], "--entity-name", args[1]}
	if args[1] == forAllBrokers {
		entity = []string{"--entity-type", args[0], "--entity-default"}
	}
	switch word {
	case "set-config":
		return j.nothing(ctx, "ConfigCommand", append(entity, "--alter", "--add-config", args[2]+"="+args[3])...)
	case "delete-config":
		return j.nothing(ctx, "ConfigCommand", append(entity, "--alter", "--delete-config", args[2])...)
	}
	out, err := j.tool(ctx, "ConfigCommand", append(entity, "--describe")...)
	return []string{cmp.Or(after(out, " "+args[2]+"="), "none")}, err
}

// holds says whether a tool lists something, in one of the fields of its lines.
func (j *javaTools) holds(ctx context.Context, what, name string, args ...string) ([]string, error) {
	out, err := j.tool(ctx, name, args...)
	return []string{strconv.FormatBool(slices.Contains(strings.Fields(out), what))}, err
}

// after is the word behind a mark.
func after(out, mark string) string {
	_, rest, _ := strings.Cut(out, mark)
	words := strings.Fields(rest)
	if len(words) == 0 {
		return ""
	}
	return strings.TrimSuffix(words[0], ",")
}

// column is the field of a row below a title.
func column(titles string, row []string, title string) string {
	at := slices.Index(strings.Fields(titles), title)
	if at < 0 || at >= len(row) {
		return ""
	}
	return row[at]
}

func (j *javaTools) deleteRecords(ctx context.Context, args []string) ([]string, error) {
	return j.withFile(fmt.Sprintf(`{"version":1,"partitions":[{"topic":%q,"partition":%s,"offset":%s}]}`, args[0], args[1], args[2]),
		func(file string) ([]string, error) {
			out, err := j.tool(ctx, "DeleteRecordsCommand", "--offset-json-file", file)
			if err == nil && !strings.Contains(out, "low_watermark:") {
				err = errors.New(strings.Join(strings.Fields(out), " "))
			}
			return []string{after(out, "low_watermark:")}, err
		})
}

// reassign has the tool do what is asked of one partition, and returns in one line what it printed.
func (j *javaTools) reassign(ctx context.Context, args []string, how ...string) (string, error) {
	said, err := j.withFile(fmt.Sprintf(`{"version":1,"partitions":[{"topic":%q,"partition":%s,"replicas":[%s]}]}`, args[0], args[1], args[2]),
		func(file string) ([]string, error) {
			out, err := j.tool(ctx, "reassign.ReassignPartitionsCommand", append([]string{"--reassignment-json-file", file}, how...)...)
			out = strings.Join(strings.Fields(out), " ")
			wants := map[string]string{"--execute": "Successfully started", "--cancel": "Successfully cancelled", "--verify": "Status of"}[how[0]]
			if err == nil && !strings.Contains(out, wants) {
				err = errors.New(out)
			}
			return []string{out}, err
		})
	return strings.Join(said, ""), err
}

func (j *javaTools) reassignVerify(ctx context.Context, args []string) ([]string, error) {
	out, err := j.reassign(ctx, args, "--verify")
	of := "Reassignment of partition " + args[0] + "-" + args[1]
	switch {
	case err != nil:
		return nil, err
	case strings.Contains(out, of+" is completed."):
		return []string{"completed"}, nil
	case strings.Contains(out, of+" is still in progress."):
		return []string{"progress"}, nil
	}
	return nil, errors.New(out)
}

func (j *javaTools) withFile(text string, use func(file string) ([]string, error)) ([]string, error) {
	dir, err := os.MkdirTemp("", "outrigger-interop-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "input.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return use(file)
}

const groupCommand = "consumer.group.ConsumerGroupCommand"

func (j *javaTools) groups(ctx context.Context, word string, args []string) ([]string, error) {
	group := "--group=" + args[0]
	switch word {
	case "groups":
		return j.holds(ctx, args[0], groupCommand, "--list")
	case "group":
		out, err := j.tool(ctx, groupCommand, "--describe", group, "--state")
		titles, row := rowOf(out, args[0])
		return []string{column(titles, row, "STATE"), column(titles, row, "#MEMBERS")}, err
	case "offset":
		out, err := j.tool(ctx, groupCommand, "--describe", group)
		titles, row := rowOf(out, args[0])
		return []string{column(titles, row, "CURRENT-OFFSET")}, err
	case "reset":
		return j.nothing(ctx, groupCommand, "--reset-offsets", group, "--topic", args[1]+":"+args[2], "--to-offset", args[3], "--execute")
	}
	return j.nothing(ctx, groupCommand, "--delete", group)
}

// rowOf is the row that begins with a name, and the titles above it.
func rowOf(out, name string) (titles string, row []string) {
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 0 && fields[0] == "GROUP":
			titles = line
		case len(fields) > 0 && fields[0] == name:
			return titles, fields
		}
	}
	return titles, nil
}
