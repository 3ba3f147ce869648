package system

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// JetStreamStarter starts clusters of nats-server with JetStream.
type JetStreamStarter struct {
	// Executable is nats-server.
	Executable string
	// Parent is where the data goes; empty for the system's temporary directory.
	Parent string
}

// Start runs the servers and waits until they listen.
func (j JetStreamStarter) Start(ctx context.Context) (*Cluster, error) {
	c := &Cluster{Name: JetStream}
	var err error
	if c.dir, err = directory(j.Parent, JetStream); err != nil {
		return nil, err
	}
	first, err := freePorts(2 * nodes)
	if err != nil {
		return c.abandon(err)
	}
	clients, routes := addresses(first), addresses(first+nodes)
	c.Began = time.Now()
	for node := range nodes {
		c.Servers = append(c.Servers, "nats://"+clients[node])
		path := filepath.Join(c.dir, fmt.Sprintf("%d.conf", node+1))
		text := jetStreamConfig(node, clients, routes, filepath.Join(c.dir, fmt.Sprintf("data-%d", node+1)))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return c.abandon(fmt.Errorf("configure server %d: %w", node+1, err))
		}
		p, err := start(c.dir, fmt.Sprintf("nats-server-%d", node+1), nil, j.Executable, "-c", path)
		if err != nil {
			return c.abandon(err)
		}
		c.processes, c.PIDs = append(c.processes, p), append(c.PIDs, p.pid())
	}
	for _, address := range clients {
		if err := c.awaitListener(ctx, address); err != nil {
			return c.abandon(err)
		}
	}
	return c, nil
}

// jetStreamConfig syncs every write before it is acknowledged, as we do.
func jetStreamConfig(node int, clients, routes []string, dir string) string {
	var urls []string
	for _, route := range routes {
		urls = append(urls, fmt.Sprintf("%q", "nats://"+route))
	}
	return fmt.Sprintf(`server_name: n%d
listen: %q
jetstream: { store_dir: %q, sync_interval: always }
cluster: { name: peers, listen: %q, routes: [%s] }
`, node+1, clients[node], dir, routes[node], strings.Join(urls, ", "))
}

const listenEvery = 50 * time.Millisecond

func (c *Cluster) awaitListener(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		if err := c.alive(); err != nil {
			return err
		}
		if !Pause(ctx, listenEvery) {
			return fmt.Errorf("wait for %s: %w", address, err)
		}
	}
}
