// Package bench measures a Kafka-compatible cluster with real clients (franz-go), and verifies what it
// measured: every record that the cluster acknowledged is read back, once, at its offset.
//
//	Run ── own cluster, or --bootstrap-server ──> topic ──> load (mode) ──> final polls ──> report
//	                                                          │
//	   schedule or window ──> producers ──ack──> meters ──────┼── each second ──> series ──> csv, svg, live line
//	                 consumers, creators ──────> meters ──────┘        totals ──> percentiles ──> table, json
//	                          │
//	                          └──> history ── Check ──> verdict (package outrigger/e2e/history)
//
// Latency is taken from the moment at which a record was meant to be sent. In an open loop (--rate)
// that is its place in the schedule, however late the client or the cluster was: a cluster that stalls
// for a second gives a thousand records of a kilohertz up to a second, not one record (no coordinated
// omission). In a closed loop it is the moment at which a producer had room for it, and the figure is
// mostly that of the producer's own buffer.
//
// The measured window follows the warm-up. Throughput counts what was answered within the window;
// latency counts what was due within it, also if the answer came later.
//
// Pure: schedule, payload, percentiles, silence, verdict, and what writes table, csv and svg. The rest
// owns clients and processes.
package bench
