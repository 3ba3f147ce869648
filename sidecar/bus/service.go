package bus

import (
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/micro"
)

const (
	statusSubject  = "sidecar.status"
	statusBytesMax = 1 * mib
)

// ServiceConfig describes what `nats micro` shows of this node.
type ServiceConfig struct {
	// Name is "sidecar".
	Name string
	// Version is a semantic version.
	Version string
	// Description is what `nats micro ls` shows beside the name: it must tell the node.
	Description string
	// Metadata never changes while the service runs: node, cluster, kafka_addr, pid, version.
	Metadata map[string]string
	// Status answers sidecar.status with a JSON object. It is called from nats.go's goroutines,
	// concurrently, and must not block.
	Status func() []byte
	// Stats are the live numbers in `nats micro stats`, anything that encodes to JSON. Called like
	// Status.
	Stats func() any
}

// Service makes the node visible to `nats micro`. Every node answers sidecar.status; this one alone
// answers sidecar.status.<node>. It lasts until the bus is closed.
func (b *Bus) Service(c ServiceConfig) error {
	service, err := micro.AddService(b.conns[Ops], micro.Config{
		Name:               c.Name,
		Version:            c.Version,
		Description:        c.Description,
		Metadata:           c.Metadata,
		QueueGroupDisabled: true,
		StatsHandler:       func(*micro.Endpoint) any { return c.Stats() },
	})
	if err != nil {
		return fmt.Errorf("announce service %s: %w", c.Name, translate(err))
	}
	answer := micro.HandlerFunc(func(r micro.Request) {
		// an answer that cannot be sent is the asker's to ask again
		_ = r.Respond(c.Status())
	})
	node := strconv.Itoa(int(b.config.Node))
	for name, subject := range map[string]string{
		"status":      statusSubject,
		"status-node": statusSubject + "." + node,
	} {
		if err := service.AddEndpoint(name, answer,
			micro.WithEndpointSubject(subject),
			micro.WithEndpointQueueGroupDisabled(),
			micro.WithEndpointPendingLimits(-1, statusBytesMax),
		); err != nil {
			return fmt.Errorf("serve %s: %w", subject, translate(err))
		}
	}
	return nil
}
