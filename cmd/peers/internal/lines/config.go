package lines

import (
	"errors"
	"fmt"
	"io"
	"time"

	"outrigger/cmd/peers/internal/system"
)

// Config says what is compared, and for how long.
type Config struct {
	// Bench is the binary of Outrigger, whose bench measures.
	Bench string
	// NATS is the nats CLI.
	NATS string

	Kafka     system.KafkaStarter
	Outrigger system.OutriggerStarter
	JetStream system.JetStreamStarter

	// Lines are names, as Select returns them.
	Lines []string
	// Pairs is how often every line is measured, for each system.
	Pairs int
	// Seconds is the measured window of a line; Warmup is before it, each time.
	Seconds float64
	Warmup  float64
	// WarmJVM is for how long at most each system is loaded before the first pair, until it gets no faster.
	WarmJVM time.Duration
	// Idle is for how long a cluster at rest is watched.
	Idle time.Duration
	// ColdBytes is how much is read from the disk, and TailBytes just after it was written.
	ColdBytes int64
	TailBytes int64
	// KeepingBytes is how much is written over, and how much expires, beside each sample of Keeping.
	KeepingBytes int64
	// Dir is where the programs without a cluster write; empty for the system's temporary directory.
	Dir string
	// Progress hears of every sample.
	Progress io.Writer
}

// Validate refuses what cannot be meant.
func (c Config) Validate() error {
	switch {
	case c.Pairs < 1:
		return fmt.Errorf("--pairs %d: want 1 or more", c.Pairs)
	case !(c.Seconds >= 1):
		return fmt.Errorf("--seconds %g: want 1 or more", c.Seconds)
	case !(c.Warmup >= 0) || c.WarmJVM < 0:
		return errors.New("--warmup and --warm-jvm: want 0 or more")
	case c.Idle < time.Second:
		return fmt.Errorf("--idle %s: want 1s or more", c.Idle)
	case c.ColdBytes < 1<<20 || c.TailBytes < 1<<20:
		return errors.New("--cold-mb and --tail-mb: want 1 or more")
	case c.KeepingBytes < keepingBytesMin:
		return fmt.Errorf("--keeping-mb: want %d or more", keepingBytesMin/1_000_000)
	}
	return nil
}
