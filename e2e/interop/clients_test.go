package interop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"

	"outrigger/e2e/tools"
)

// talker answers words, as a driver or by translation.
type talker interface {
	ask(ctx context.Context, fields ...string) ([]string, error)
	stop() error
}

// member says how a consumer is to be; no group reads every partition.
type member struct {
	topic, group string
	// protocol is range, cooperative, consumer (KIP-848) or share (KIP-932).
	protocol, instance string
	committed          bool
}

func (m member) isolation() string {
	if m.committed {
		return "read_committed"
	}
	return "read_uncommitted"
}

// producer says how records are to be written.
type producer struct {
	topic, codec string
	idempotent   bool
}

// client is a column.
type client struct {
	name string
	// lacks says of which rows the client knows nothing, and why.
	lacks map[string]string
	// codecs are those that it comes with.
	codecs []string
	// textOnly: its records are lines.
	textOnly bool
	// line is how it is given a record; nil for our protocol.
	line func(record) string

	produce  func(p producer, broker string) command
	consume  func(m member, broker string) command
	transact func(id, topic, broker string) (talker, error)
	admin    func(broker string) (talker, error)
	// copy is a tool that consumes, transforms and produces; nil to have the test do it with transact.
	copy func(source, target, group, id string, count int, broker string) command
	// shows prints the records of an internal topic by a formatter.
	shows func(topic, formatter, broker string) *exec.Cmd
	// missing is why it cannot run.
	missing error
}

// clients are what is installed, and what is made of it.
type clients struct {
	python, pythonPath string
	node, nodePath     string
	kcat               string
	java               tools.Java
	classes            string
}

const noFormatters = "has no formatters of internal topics"

var allCodecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// installed gets the tools, each as it can be had, all at once, and returns the columns.
func installed(ctx context.Context, install bool) ([]*client, error) {
	cache, err := tools.Default(install)
	if err != nil {
		return nil, err
	}
	var c clients
	var kcatErr, pythonErr, nodeErr, javaErr error
	var all sync.WaitGroup
	all.Go(func() { c.python, c.pythonPath, pythonErr = cache.Python(ctx) })
	all.Go(func() { c.node, c.nodePath, nodeErr = cache.Node(ctx) })
	all.Go(func() { c.kcat, kcatErr = cache.Kcat(ctx) })
	all.Go(func() {
		if c.java, javaErr = cache.Java(ctx); javaErr == nil {
			c.classes, javaErr = cache.Compiled(ctx, c.java, "testdata/JavaDriver.java")
		}
	})
	all.Wait()
	columns := []*client{kcat(&c), kafkaPython(&c), confluent(&c), java(&c), franz(), kafkajs(&c)}
	for i, err := range []error{kcatErr, pythonErr, pythonErr, javaErr, nil, nodeErr} {
		columns[i].missing = err
	}
	return columns, nil
}

// scripted is a client whose driver speaks our protocol in every mode.
func scripted(name string, run func(args ...string) command) *client {
	talk := func(args ...string) (talker, error) { return start(run(args...)) }
	return &client{
		name: name, codecs: allCodecs,
		produce: func(p producer, broker string) command {
			return run(broker, "produce", p.topic, p.codec, fmt.Sprint(p.idempotent))
		},
		consume: func(m member, broker string) command {
			return run(broker, "consume", m.topic, m.group, m.protocol, m.instance, m.isolation())
		},
		transact: func(id, topic, broker string) (talker, error) { return talk(broker, "transact", id, topic) },
		admin:    func(broker string) (talker, error) { return talk(broker, "admin") },
	}
}

// noTool: the row is about what Kafka's own tool makes of several calls.
const noTool = "has no such tool"

// oneBroker: its calls refuse the empty name, which stands for all brokers.
const oneBroker = "names single brokers only"

func kafkaPython(c *clients) *client {
	column := scripted("kafka-python", func(args ...string) command { return python(c, "driver_kafka_python.py", args...) })
	const classic = "speaks the classic protocol only"
	column.lacks = map[string]string{rowConsumerGroup: classic, rowShareGroup: classic, rowAdminShares: classic,
		rowAdminDefaults: oneBroker, rowThrottled: noTool, rowCoordinators: noFormatters}
	return column
}

func confluent(c *clients) *client {
	column := scripted("confluent-kafka", func(args ...string) command { return python(c, "driver_confluent.py", args...) })
	column.lacks = map[string]string{
		rowReassign: "has no such call", rowLogDirs: "has no such call", rowAdminTransactions: "has no such call",
		rowHanging: "has no such call", rowDeleteOffsets: "has no such call", rowAdminShares: "has no such call",
		rowAdminDefaults: oneBroker, rowThrottled: noTool, rowCoordinators: noFormatters,
	}
	return column
}

func kafkajs(c *clients) *client {
	column := scripted("kafkajs", func(args ...string) command {
		cmd := exec.Command(c.node, append([]string{"testdata/driver_kafkajs.js"}, args...)...)
		cmd.Env = append(os.Environ(), "NODE_PATH="+c.nodePath, "KAFKAJS_NO_PARTITIONER_WARNING=1")
		return command{cmd: cmd}
	})
	column.codecs = []string{"none", "gzip", "snappy"}
	const replaces = "replaces all configs and alters none by itself"
	column.lacks = map[string]string{
		rowStatic: "has no static members", rowCooperative: "rebalances eagerly only",
		rowConsumerGroup: "speaks the classic protocol only", rowShareGroup: "speaks the classic protocol only",
		rowLogDirs:      "has no such call",
		rowAdminConfigs: replaces, rowAdminDefaults: replaces,
		rowElect: "has no such call", rowAdminTransactions: "has no such call", rowHanging: "has no such call",
		rowDeleteOffsets: "has no such call", rowAdminShares: "speaks the classic protocol only", rowThrottled: noTool,
		rowCoordinators: noFormatters,
	}
	return column
}

func franz() *client {
	run := func(args ...string) command {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), driverEnv+"=1")
		return command{cmd: cmd}
	}
	column := scripted("franz-go", run)
	column.lacks = map[string]string{rowThrottled: noTool, rowCoordinators: noFormatters}
	column.copy = func(source, target, group, id string, count int, broker string) command {
		return run(broker, "copy", source, target, group, id, fmt.Sprint(count))
	}
	return column
}
