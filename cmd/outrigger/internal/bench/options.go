package bench

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/cmd/outrigger/internal/config"
)

// Mode is what is measured.
type Mode string

// The modes.
const (
	Produce  Mode = "produce"
	Consume  Mode = "consume"
	EndToEnd Mode = "end-to-end"
	Mixed    Mode = "mixed"
	Failover Mode = "failover"
	Create   Mode = "create"
)

// Modes are all modes, in the order of the help text.
var Modes = []Mode{Produce, Consume, EndToEnd, Mixed, Failover, Create}

// Flags are those of `outrigger bench`.
type Flags struct {
	Mode    Mode
	Target  Target
	Load    Load
	Outputs Outputs
}

// Target is the cluster.
type Target struct {
	// Servers are the seeds; empty with Own or Ready.
	Servers []string
	// Ready is a file with the line that `outrigger dev` prints, or - for stdin.
	Ready string
	// Own starts a cluster for this run, with Sets for all its brokers, below Data or in a temporary
	// directory.
	Own  bool
	Data string
	Sets []string
	// PIDs are the brokers' processes on this machine, in the order of their node ids.
	PIDs []int
}

// Load is what is asked of the cluster.
type Load struct {
	Topic       string `json:"topic"`
	Partitions  int    `json:"partitions"`
	Replication int    `json:"replication_factor"`
	RecordBytes int    `json:"record_bytes"`
	Producers   int    `json:"producers"`
	Consumers   int    `json:"consumers"`
	// Rate is records (or topics) a second, of all producers together; 0 is a closed loop.
	Rate    float64 `json:"rate"`
	Seconds float64 `json:"seconds"`
	Warmup  float64 `json:"warmup_seconds"`

	Acks        string        `json:"acks"`
	Idempotent  bool          `json:"idempotent"`
	InFlight    int           `json:"max_in_flight"`
	Compression string        `json:"compression"`
	Linger      time.Duration `json:"linger_ns"`
	BatchBytes  int           `json:"batch_bytes"`
	// BufferBytes bounds the records of one producer that wait for their answers.
	BufferBytes int           `json:"buffer_bytes"`
	Partitioner string        `json:"partitioner"`
	Delivery    time.Duration `json:"delivery_timeout_ns"`

	Seed uint64 `json:"seed"`
	// FillBytes is how much the mode consume writes before it reads.
	FillBytes int64 `json:"fill_bytes"`
	// Topics bounds how many topics the mode create makes.
	Topics       int  `json:"topics"`
	CountRetries bool `json:"count_retries"`
	Verify       bool `json:"verify"`
}

// Outputs say where results go beside the table.
type Outputs struct {
	JSON  bool
	CSV   string
	Plot  string
	Quiet bool
}

// Options are what Run needs beside the flags.
type Options struct {
	Flags
	// Executable and Environ start the brokers of an own cluster.
	Executable string
	Environ    []string
	Version    string
	// Out takes the report; Err the live line if it is a terminal.
	Out    io.Writer
	Err    *os.File
	Stdin  io.Reader
	Logger *slog.Logger
}

// The partitioners.
const (
	RoundRobin = "round-robin"
	Sticky     = "sticky"
)

const (
	acksAll  = "all"
	acksOne  = "1"
	acksNone = "0"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

const (
	partitionsMax  = 100_000
	producersMax   = 1024
	recordBytesMax = 16 << 20
	secondsMax     = 24 * 3600
	// defaultRate is that of the modes that make no sense at full speed.
	defaultRate = 1000
)

// withDefaults fills in what depends on the mode.
func (f Flags) withDefaults() Flags {
	l := &f.Load
	if l.Rate == 0 && (f.Mode == EndToEnd || f.Mode == Failover) {
		l.Rate = defaultRate
	}
	if f.Mode == Failover {
		l.CountRetries = true
		f.Target.Own = f.Target.Own || len(f.Target.PIDs)+len(f.Target.Servers) == 0 && f.Target.Ready == ""
	}
	if f.Mode == Consume || f.Mode == Create {
		l.Warmup = 0 // they end when the work is done
	}
	if f.Mode == Consume {
		l.Rate = 0
	}
	if l.Acks == "-1" {
		l.Acks = acksAll
	}
	l.Idempotent = l.Idempotent && l.Acks == acksAll
	return f
}

// Validate refuses flags that cannot be meant.
func (f Flags) Validate() error {
	if !slices.Contains(Modes, f.Mode) {
		return refuse("mode", string(f.Mode), fmt.Sprintf("want one of %v", Modes))
	}
	if err := f.Target.validate(f.Mode); err != nil {
		return err
	}
	return f.Load.validate()
}

func refuse(flag, value, reason string) error {
	return &config.Refusal{Key: flag, Value: value, Reason: reason}
}

func (t Target) validate(mode Mode) error {
	switch {
	case t.Own && (len(t.Servers) > 0 || t.Ready != "" || len(t.PIDs) > 0):
		return refuse("--own", "", "it excludes --bootstrap-server, --ready and --pids")
	case !t.Own && (t.Data != "" || len(t.Sets) > 0):
		return refuse("--data and --set", "", "they are for the brokers of --own")
	case t.Ready != "" && (len(t.Servers) > 0 || len(t.PIDs) > 0):
		return refuse("--ready", t.Ready, "it names servers and processes itself")
	case mode == Failover && !t.Own && t.Ready == "" && len(t.PIDs) == 0:
		return refuse("--pids", "", "failover kills a broker: want --own, or the brokers' processes")
	}
	return nil
}

func (l Load) validate() error {
	type bound struct {
		flag            string
		value, min, max float64
	}
	for _, b := range []bound{
		{"--partitions", float64(l.Partitions), 1, partitionsMax},
		{"--replication-factor", float64(l.Replication), 1, producersMax},
		{"--record-bytes", float64(l.RecordBytes), headerBytes, recordBytesMax},
		{"--producers", float64(l.Producers), 1, producersMax},
		{"--consumers", float64(l.Consumers), 1, producersMax},
		{"--rate", l.Rate, 0, 1e8},
		{"--seconds", l.Seconds, 0.1, secondsMax},
		{"--warmup", l.Warmup, 0, secondsMax},
		{"--max-in-flight", float64(l.InFlight), 1, producersMax},
		{"--batch-bytes", float64(l.BatchBytes), 512, 1 << 30},
		{"--buffer-bytes", float64(l.BufferBytes), 1, 1 << 34},
		{"--fill-bytes", float64(l.FillBytes), 1, 1 << 44},
		{"--topics", float64(l.Topics), 1, partitionsMax},
	} {
		if !(b.value >= b.min && b.value <= b.max) {
			return refuse(b.flag, strconv.FormatFloat(b.value, 'f', -1, 64), fmt.Sprintf("want %g to %g", b.min, b.max))
		}
	}
	if !slices.Contains([]string{acksAll, acksOne, acksNone}, l.Acks) {
		return refuse("--acks", l.Acks, "want all, 1 or 0")
	}
	if _, ok := codecs[l.Compression]; !ok {
		return refuse("--compression", l.Compression, "want none, gzip, snappy, lz4 or zstd")
	}
	if l.Partitioner != RoundRobin && l.Partitioner != Sticky {
		return refuse("--partitioner", l.Partitioner, "want "+strings.Join([]string{RoundRobin, Sticky}, " or "))
	}
	if l.Linger < 0 || l.Delivery < time.Second {
		return refuse("--linger and --delivery-timeout", "", "want 0 or more, and a second or more")
	}
	return nil
}

// loop is the kind of load.
func (l Load) loop() string {
	if l.Rate > 0 {
		return "open"
	}
	return "closed"
}

// window is the measured time, since the load began.
func (l Load) window() window {
	from := time.Duration(l.Warmup * float64(time.Second))
	return window{from: from, to: from + time.Duration(l.Seconds*float64(time.Second))}
}
