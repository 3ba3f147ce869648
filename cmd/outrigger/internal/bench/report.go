package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Report is what a run found; it is what --json prints.
type Report struct {
	Version string    `json:"version"`
	Mode    Mode      `json:"mode"`
	Started time.Time `json:"started"`
	// Loop is open (at a rate) or closed (as fast as answers come).
	Loop    string       `json:"loop"`
	Load    Load         `json:"load"`
	Cluster ClusterFacts `json:"cluster"`
	Machine MachineFacts `json:"machine"`

	Results map[string]Result `json:"results"`
	// Behind is how many records an open loop owed when it ended. If it is not 0, the cluster did not
	// keep up with the rate.
	Behind int64 `json:"behind"`

	// Errors are final ones, by code; Retries are codes after which the client tried again; Sockets
	// are connections that broke.
	Errors  map[string]int64 `json:"errors"`
	Retries map[string]int64 `json:"retries"`
	Sockets map[string]int64 `json:"connection_errors"`

	Batches    Batches    `json:"batches"`
	Processors Processors `json:"processors"`
	Failover   *Gaps      `json:"failover,omitempty"`

	Verification Verification `json:"verification"`
	Series       []Row        `json:"series"`
}

// Batches are how the client packed records, over all of the run.
type Batches struct {
	Count      int64   `json:"count"`
	Records    float64 `json:"records_per_batch"`
	WireBytes  float64 `json:"bytes_per_batch"`
	Compressed float64 `json:"compressed_to"`
}

// Processors are processor seconds within the window.
type Processors struct {
	// Brokers is how many broker processes are counted; without any their figures are 0.
	Brokers       int     `json:"brokers"`
	BrokerSeconds float64 `json:"broker_seconds"`
	BrokerPerGB   float64 `json:"broker_seconds_per_gb"`
	ClientSeconds float64 `json:"client_seconds"`
	// Seconds is the time in which they were used.
	Seconds float64 `json:"seconds"`
	// ResidentMB is the brokers' memory in RAM at the end.
	ResidentMB float64 `json:"resident_mb"`
}

const gigabyte = 1e9

func (b *bench) newReport(out *outcome) *Report {
	l := out.load
	r := &Report{Version: b.o.Version, Mode: b.o.Mode, Started: b.started, Loop: b.o.Load.loop(), Load: b.o.Load,
		Results: l.results(), Behind: l.behind, Errors: b.failures.counts(), Retries: b.retries.counts(),
		Sockets: b.sockets.counts(), Failover: out.failover, Verification: out.verification, Series: l.rows}
	r.Load.Topic = b.topic
	if n := b.batches.count.Load(); n > 0 {
		r.Batches = Batches{Count: n, Records: float64(b.batches.records.Load()) / float64(n),
			WireBytes:  float64(b.batches.wire.Load()) / float64(n),
			Compressed: float64(b.batches.wire.Load()) / float64(max(1, b.batches.raw.Load()))}
	}
	u := l.processors
	r.Processors = Processors{Brokers: u.known, BrokerSeconds: u.brokers.Seconds(), ClientSeconds: u.client.Seconds(),
		Seconds: u.seconds, ResidentMB: float64(b.processes.resident()) / megabyte}
	// both are rates: the two windows differ by what the clients' start and end took
	if mb := r.main().MBPerSecond; mb > 0 && u.known > 0 && u.seconds > 0 {
		r.Processors.BrokerPerGB = u.brokers.Seconds() / u.seconds / mb * gigabyte / megabyte
	}
	return r
}

// main is what processor time is held against: what was produced, or else consumed.
func (r *Report) main() Result {
	if produced, ok := r.Results[Produced]; ok {
		return produced
	}
	return r.Results[Consumed]
}

// publish writes the report to all places.
func (b *bench) publish(r *Report) error {
	b.live.done()
	if b.o.Outputs.JSON {
		if err := json.NewEncoder(b.o.Out).Encode(r); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	} else if err := writeTable(b.o.Out, r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return errors.Join(writeFile(b.o.Outputs.CSV, func(w io.Writer) error { return writeCSV(w, r.Series) }),
		writeFile(b.o.Outputs.Plot, func(w io.Writer) error { return writePlot(w, r) }))
}

// writeFile writes a file if there is a name for it.
func writeFile(path string, write func(io.Writer) error) (err error) {
	if path == "" {
		return nil
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), file.Close())
	}
	return file.Close()
}
