package nemesis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"outrigger/cmd/outrigger/internal/status"
	"outrigger/sidecar/bus"
)

const (
	statusSubject = "sidecar.status"
	statusWait    = time.Second
)

// whole is nil if every broker answers and is a voter, and every partition has a leader and all its
// replicas in sync: nothing that was lost is missing any more.
func whole(ctx context.Context, brokers []*broker, partitions int) error {
	var addresses []string
	for _, b := range brokers {
		addresses = append(addresses, "nats://ops:ops@"+b.address+":"+portNATS)
	}
	client, err := bus.Dial(strings.Join(addresses, ","), "", "")
	if err != nil {
		return err
	}
	defer client.Close()
	answers, err := client.RequestMany(ctx, statusSubject, statusWait, len(brokers))
	if err != nil {
		return err
	}
	report, err := status.Join(answers)
	if err != nil {
		return err
	}
	return judgeWhole(report, len(brokers), partitions)
}

func judgeWhole(r status.Report, brokers, partitions int) error {
	switch {
	case len(r.Brokers) != brokers:
		return fmt.Errorf("%d of %d brokers answer", len(r.Brokers), brokers)
	case !r.Healthy():
		return fmt.Errorf("%s", strings.Join(r.Problems, "; "))
	case len(r.Partitions) < partitions:
		return fmt.Errorf("%d of %d partitions are known", len(r.Partitions), partitions)
	case slices.ContainsFunc(r.Brokers, func(b status.Broker) bool { return b.Role == "learner" }):
		return fmt.Errorf("a broker is still a learner")
	}
	return nil
}
