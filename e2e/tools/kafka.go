package tools

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const stopKafkaWithin = 20 * time.Second

// Kafka is one running broker of Apache Kafka, which is its own controller.
type Kafka struct {
	// Address is where clients connect.
	Address string

	cmd  *exec.Cmd
	said *said
	done chan error
}

// said keeps what a process wrote.
type said struct {
	mu   sync.Mutex
	text []byte
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, p...)
	return len(p), nil
}

func (s *said) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text[max(0, len(s.text)-saidBytesMax):])
}

// StartKafka formats a directory and starts a broker on it. It serves when clients can connect; the
// caller stops it. Clients are told the advertised address, or its own if there is none.
func (j Java) StartKafka(ctx context.Context, dir, advertised string) (*Kafka, error) {
	addresses, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	if advertised == "" {
		advertised = addresses[0]
	}
	text := serverProperties(addresses[0], addresses[1], filepath.Join(dir, "data")) + "advertised.listeners=PLAINTEXT://" + advertised + "\n"
	properties := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(properties, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("configure Kafka: %w", err)
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	format := j.server("kafka.tools.StorageTool", "format", "--cluster-id="+base64.RawURLEncoding.EncodeToString(id), "--config", properties)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format Kafka's storage: %w: %s", err, out[max(0, len(out)-saidBytesMax):])
	}
	k := &Kafka{Address: addresses[0], cmd: j.server("kafka.Kafka", properties), said: &said{}, done: make(chan error, 1)}
	k.cmd.Stdout, k.cmd.Stderr = k.said, k.said
	if err := k.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	go func() { k.done <- k.cmd.Wait() }()
	if err := k.serves(ctx); err != nil {
		return nil, errors.Join(err, k.Stop())
	}
	return k, nil
}

func (j Java) server(class string, args ...string) *exec.Cmd {
	flags := []string{"-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(j.Libs, "*"), class}
	return exec.Command(j.Path, append(flags, args...)...)
}

// serves waits until the broker takes connections: it listens once it is caught up.
func (k *Kafka) serves(ctx context.Context) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", k.Address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for Kafka: %w: %s", errors.Join(ctx.Err(), err), k.said.tail())
		case ended := <-k.done:
			k.done <- ended
			return fmt.Errorf("wait for Kafka: it has ended: %w: %s", ended, k.said.tail())
		case <-ticker.C:
		}
	}
}

// Stop ends the broker.
func (k *Kafka) Stop() error {
	_ = k.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.AfterFunc(stopKafkaWithin, func() { _ = k.cmd.Process.Kill() })
	defer timer.Stop()
	err := <-k.done
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 128+int(syscall.SIGTERM) {
		return nil // that is how a JVM ends when it is told to
	}
	return err
}

// serverProperties are those of a cluster of one; the rest is as it comes, but that groups do not wait.
func serverProperties(broker, controller, dir string) string {
	var b bytes.Buffer
	for _, line := range []string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@" + controller,
		"listeners=PLAINTEXT://" + broker + ",CONTROLLER://" + controller,
		"controller.listener.names=CONTROLLER", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + dir, "offsets.topic.replication.factor=1", "offsets.topic.num.partitions=3",
		"transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1", "transaction.state.log.num.partitions=3",
		"share.coordinator.state.topic.replication.factor=1", "share.coordinator.state.topic.min.isr=1",
		"group.initial.rebalance.delay.ms=0",
	} {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// freeAddresses are of ports that nobody listens on at this moment.
func freeAddresses(n int) ([]string, error) {
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }() // held until all are found, so that none is found twice
		all = append(all, l.Addr().String())
	}
	return all, nil
}
