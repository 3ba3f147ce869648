package system

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// KafkaJVM are the flags that Kafka's own kafka-server-start gives to its JVM by default (without its
// logs of collections and its JMX, which only cost).
var KafkaJVM = []string{"-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
	"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true"}

// KafkaStarter starts clusters of Apache Kafka.
type KafkaStarter struct {
	// Libs is the directory of the jars.
	Libs string
	// Parent is where the data goes; empty for the system's temporary directory.
	Parent string
}

const formatWithin = 2 * time.Minute

// Start formats the storage, which does not count as starting, and runs the nodes.
func (k KafkaStarter) Start(ctx context.Context) (*Cluster, error) {
	c := &Cluster{Name: Kafka}
	var err error
	if c.dir, err = directory(k.Parent, Kafka); err != nil {
		return nil, err
	}
	first, err := freePorts(2 * nodes)
	if err != nil {
		return c.abandon(err)
	}
	c.Servers = addresses(first)
	if err := os.WriteFile(filepath.Join(c.dir, logConfigName), []byte(logConfig), 0o600); err != nil {
		return c.abandon(fmt.Errorf("configure the log: %w", err))
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	for node := range nodes {
		text := kafkaProperties(node, c.Servers, addresses(first+nodes), filepath.Join(c.dir, fmt.Sprintf("data-%d", node+1)))
		if err := os.WriteFile(k.properties(c, node), []byte(text), 0o600); err != nil {
			return c.abandon(fmt.Errorf("configure node %d: %w", node+1, err))
		}
		if err := k.format(ctx, c, node, base64.RawURLEncoding.EncodeToString(id)); err != nil {
			return c.abandon(err)
		}
	}
	c.Began = time.Now()
	for node := range nodes {
		args := append(k.java(c, node), "kafka.Kafka", k.properties(c, node))
		p, err := start(c.dir, fmt.Sprintf("kafka-%d", node+1), nil, "java", args...)
		if err != nil {
			return c.abandon(err)
		}
		c.processes, c.PIDs = append(c.processes, p), append(c.PIDs, p.pid())
	}
	return c, nil
}

func (k KafkaStarter) properties(c *Cluster, node int) string {
	return filepath.Join(c.dir, fmt.Sprintf("%d.properties", node+1))
}

// java are a node's arguments before the main class.
func (k KafkaStarter) java(c *Cluster, node int) []string {
	return append(append([]string{}, KafkaJVM...),
		"-Dkafka.logs.dir="+filepath.Join(c.dir, fmt.Sprintf("logs-%d", node+1)),
		"-Dlog4j2.configurationFile="+filepath.Join(c.dir, logConfigName), "-cp", filepath.Join(k.Libs, "*"))
}

const logConfigName = "log4j2.properties"

// logConfig is the level of Kafka's own: what changes, and no requests.
const logConfig = `rootLogger.level = INFO
rootLogger.appenderRef.stdout.ref = STDOUT
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = [%d] %p %m (%c)%n
`

func (k KafkaStarter) format(ctx context.Context, c *Cluster, node int, id string) error {
	ctx, cancel := context.WithTimeout(ctx, formatWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, "java", append(k.java(c, node), "kafka.tools.StorageTool", "format",
		"--cluster-id="+id, "--config", k.properties(c, node))...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("format node %d: %w: %s", node+1, err, out[max(0, len(out)-logTailBytes):])
	}
	return nil
}

// kafkaProperties names who is who, and leaves everything else as it comes: log.flush.interval.messages
// is without end by default, so nothing is synced before it is acknowledged. But deleted topics go after a
// second, not after a minute: the clusters share a disk.
func kafkaProperties(node int, brokers, controllers []string, dir string) string {
	var voters []string
	for i, address := range controllers {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, address))
	}
	return strings.Join([]string{
		"process.roles=broker,controller",
		fmt.Sprintf("node.id=%d", node+1),
		"controller.quorum.voters=" + strings.Join(voters, ","),
		"listeners=PLAINTEXT://" + brokers[node] + ",CONTROLLER://" + controllers[node],
		"advertised.listeners=PLAINTEXT://" + brokers[node],
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + dir,
		"log.segment.delete.delay.ms=1000",
		"",
	}, "\n")
}
