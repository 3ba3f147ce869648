package nemesis

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"outrigger/cmd/outrigger/internal/config"
	"outrigger/e2e/history"
)

// Flags are those of `outrigger nemesis`.
type Flags struct {
	Minutes    float64
	Seed       uint64
	Brokers    int
	Partitions int
	// Rate is how many records all producers together send in a second.
	Rate int
	// Data is where directories, logs and the history lie; empty means a new one, which is removed
	// when all went well.
	Data string
	// Kinds to draw from, with commas between; empty means all.
	Kinds string
	JSON  bool
	// Sets are key=value for all brokers, TopicConfigs for the topic that is compared.
	Sets, TopicConfigs []string
	// Compacted: a topic that is compacted lies beside it.
	Compacted bool
	// Inside is the network that this process was started in; empty in the process that the user
	// started.
	Inside string
}

// Options are what Run needs beside the flags.
type Options struct {
	Flags
	// Executable starts a broker, as in "<executable> start --set ...", and Run's own inner half.
	Executable string
	// Args are this process's arguments, for the inner half.
	Args []string
	// Out takes the report, Err what is said meanwhile. Stdin ends when the outer half is gone.
	Out    io.Writer
	Err    *os.File
	Stdin  *os.File
	Logger *slog.Logger
}

const (
	brokersMin    = 3
	brokersMax    = 5
	partitionsMax = 64
	minutesMax    = 7 * 24 * 60
	rateMax       = 20000
	minInSync     = 2
	replication   = 3
)

// Validate refuses flags that cannot be meant.
func (f Flags) Validate() error {
	refuse := func(flag, value, reason string) error {
		return &config.Refusal{Key: flag, Value: value, Reason: reason}
	}
	switch {
	case f.Brokers < brokersMin || f.Brokers > brokersMax:
		return refuse("--brokers", strconv.Itoa(f.Brokers), fmt.Sprintf("want %d to %d", brokersMin, brokersMax))
	case f.Minutes <= 0 || f.Minutes > minutesMax:
		return refuse("--minutes", fmt.Sprint(f.Minutes), "want more than 0 and at most a week")
	case f.Partitions < 1 || f.Partitions > partitionsMax:
		return refuse("--partitions", strconv.Itoa(f.Partitions), fmt.Sprintf("want 1 to %d", partitionsMax))
	case f.Rate < 1 || f.Rate > rateMax:
		return refuse("--rate", strconv.Itoa(f.Rate), fmt.Sprintf("want 1 to %d", rateMax))
	}
	for flag, pairs := range map[string][]string{"--set": f.Sets, "--topic-config": f.TopicConfigs} {
		for _, pair := range pairs {
			if key, _, ok := strings.Cut(pair, "="); !ok || key == "" {
				return refuse(flag, pair, "want key=value")
			}
		}
	}
	if f.configs()["cleanup.policy"] == "compact" {
		return refuse("--topic-config", "cleanup.policy=compact", "that topic's records have no keys: use --compacted")
	}
	if _, err := f.kept(); err != nil {
		return err
	}
	_, err := f.kinds()
	return err
}

// configs are those of the topic.
func (f Flags) configs() map[string]string {
	configs := map[string]string{}
	for _, pair := range f.TopicConfigs {
		key, value, _ := strings.Cut(pair, "=")
		configs[key] = value
	}
	return configs
}

// kept is what of the topic does not go by itself; nil if all of it stays. Without a bound of its own a topic keeps
// records for longer than a run takes.
func (f Flags) kept() (*history.Kept, error) {
	configs := f.configs()
	bounds := map[string]int64{retentionMillis: -1, retentionBytes: -1}
	bounded := false
	for key := range bounds {
		text, ok := configs[key]
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < -1 {
			return nil, &config.Refusal{Key: "--topic-config", Value: key + "=" + text, Reason: "want a number, or -1 for no bound"}
		}
		bounds[key], bounded = n, bounded || n >= 0
	}
	if !bounded {
		return nil, nil
	}
	age := max(-1, time.Duration(min(bounds[retentionMillis], math.MaxInt64/int64(time.Millisecond)))*time.Millisecond)
	return &history.Kept{Age: age, Bytes: bounds[retentionBytes], Slack: clockSlack}, nil
}

// placed is how many partitions there are.
func (f Flags) placed() int {
	if f.Compacted {
		return f.Partitions + compactedPartitions
	}
	return f.Partitions
}

const (
	retentionMillis = "retention.ms"
	retentionBytes  = "retention.bytes"
)

// kinds reads --faults.
func (f Flags) kinds() ([]Kind, error) {
	if f.Kinds == "" {
		return Kinds, nil
	}
	var kinds []Kind
	for name := range strings.SplitSeq(f.Kinds, ",") {
		kind := Kind(strings.TrimSpace(name))
		if !slices.Contains(Kinds, kind) {
			return nil, &config.Refusal{Key: "--faults", Value: name, Reason: fmt.Sprintf("want some of %v", Kinds)}
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

func (f Flags) length() time.Duration { return time.Duration(f.Minutes * float64(time.Minute)) }

// plan is what the schedule is drawn from.
func (f Flags) plan() (Plan, error) {
	kinds, err := f.kinds()
	return Plan{Seed: f.Seed, Brokers: f.Brokers, Length: f.length(), SmallDisk: f.Brokers, Kinds: kinds}, err
}

// ErrUnable: this machine or user cannot run a nemesis. A test skips.
var ErrUnable = errors.New("nemesis cannot run here")

// checkTools wants root and the tools that faults are made of.
func checkTools() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: network namespaces want root", ErrUnable)
	}
	for _, tool := range []string{"ip", "iptables", "strace", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: %s is not installed", ErrUnable, tool)
		}
	}
	return nil
}
