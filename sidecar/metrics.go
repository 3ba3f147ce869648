package sidecar

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"outrigger/broker/partition"
	"outrigger/broker/wal"
	"outrigger/sidecar/node"
)

// metrics are the sidecar's counters. The labels are few and fixed.
type metrics struct {
	framesSent, framesUnsent, frameBytesSent prometheus.Counter
	raftSendFailures, raftRefused            prometheus.Counter
	eventsDropped                            prometheus.Counter
	malformed                                *prometheus.CounterVec
	partitionElections                       counter
	uncleanElections                         prometheus.Counter
	raftElections                            counter

	// framesFed are those of framesSent that went by feeds.
	framesFed atomic.Uint64
	// triggers and elections are read by status.
	triggers, elections, raftWins atomic.Uint64
	replication                   atomic.Pointer[node.Counters]
	// strays are the logs here of which the cluster knows nothing.
	strays atomic.Int64
}

// counter counts for status and for Prometheus alike.
type counter struct{ value *atomic.Uint64 }

// Inc adds one.
func (c counter) Inc() { c.value.Add(1) }

func newMetrics(s *Sidecar, registerer prometheus.Registerer) *metrics {
	if registerer == nil {
		registerer = prometheus.NewRegistry()
	}
	r := register{registerer}
	m := &metrics{
		framesSent:       r.counter("frames_sent_total", "Data frames handed to NATS."),
		framesUnsent:     r.counter("frames_unsent_total", "Frames that NATS did not take; they are asked for again."),
		frameBytesSent:   r.counter("frame_bytes_sent_total", "Bytes of data frames handed to NATS."),
		raftSendFailures: r.counter("raft_unsent_total", "Raft messages that NATS did not take."),
		raftRefused:      r.counter("raft_refused_total", "Raft messages of another cluster, disk or session."),
		uncleanElections: r.counter("unclean_elections_total", "Partition leaders elected by this node, as the controller, that may lack records."),
		eventsDropped:    r.counter("events_dropped_total", "Operator events and taps that were not published."),
		malformed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_malformed_total", Help: "Messages on NATS that could not be read, by kind.",
		}, []string{"kind"}),
	}
	registerer.MustRegister(m.malformed)
	r.read("frames_fed_total", "Data frames that went by feeds, past the followers' servers.", m.framesFed.Load)
	m.partitionElections = counter{&m.elections}
	m.raftElections = counter{&m.raftWins}
	m.replication.Store(&node.Counters{})
	r.read("watcher_triggers_total", "Requests that the timeout watcher made.", m.triggers.Load)
	r.read("partition_elections_total", "Partition leaders elected while this node was the controller.", m.elections.Load)
	r.read("raft_elections_total", "Elections of the metadata Raft that this node won.", m.raftWins.Load)
	r.read("isr_shrinks_total", "In-sync sets that this node proposed to shrink.", func() uint64 { return m.counters().Shrinks })
	r.read("isr_expands_total", "In-sync sets that this node proposed to grow.", func() uint64 { return m.counters().Expansions })
	r.read("gaps_total", "Gaps in the replicated stream that were asked for again.", func() uint64 { return m.counters().Gaps })
	r.read("frames_refused_total", "Frames that were damaged, or of another cluster or session.", func() uint64 { return m.counters().FramesRefused })
	r.read("stale_total", "Sections and acknowledgements of another epoch or session.", func() uint64 { return m.counters().Stale })
	r.read("log_cuts_total", "Logs of this node that were cut to their leader's.", func() uint64 { return m.counters().Cuts })
	r.read("replication_faults_total", "Contradictions between logs; a human acts.", func() uint64 { return m.counters().Faults })
	r.read("scrub_bytes_total", "Bytes of the write-ahead log read in search of damage.", func() uint64 {
		return uint64(s.cfg.Logs.Stats().Scrub.Bytes)
	})
	r.read("scrub_passes_total", "Readings of the whole write-ahead log in search of damage.", func() uint64 {
		return uint64(s.cfg.Logs.Stats().Scrub.Passes)
	})
	r.read("scrub_damage_total", "Damaged places found in the write-ahead log since the start.", func() uint64 {
		return uint64(s.cfg.Logs.Stats().Scrub.Damage)
	})
	r.gauge("scrub_last_pass_timestamp_seconds", "When the last reading of the whole log in search of damage ended, in this run or an "+
		"earlier one, in seconds since 1970; 0 if none ever did.", func() float64 {
		if ended := s.cfg.Logs.Stats().Scrub.Ended; !ended.IsZero() {
			return float64(ended.UnixMilli()) / 1000
		}
		return 0
	})
	groupMetrics(r, s.cfg.Logs.Stats)
	drainMetrics(r, s.cfg.Logs.Stats)
	cacheMetrics(r, s.cfg.Logs.Stats)
	compactionMetrics(r, s.cfg.Logs.Stats)
	r.gauge("damaged_replicas", "Replicas here in which a batch is damaged on disk.", func() float64 {
		return float64(len(s.cfg.Logs.Damaged()))
	})
	r.gauge("stray_logs", "Logs here of partitions that the cluster does not know: kept, since nothing says that they were deleted.",
		func() float64 { return float64(m.strays.Load()) })
	r.gauge("unsynced_age_seconds", "Age of the oldest group on its way to the disk.", func() float64 {
		return s.replication.unsyncedAge().Seconds()
	})
	r.gauge("feeds", "Peers whose frames come by a feed.", func() float64 { return float64(s.feeds.up.Load()) })
	r.gauge("format_level", "Format level that the cluster has finalized, as far as this broker knows.", func() float64 {
		return float64(s.current().Image.Level())
	})
	r.gauge("raft_term", "Term of the metadata Raft.", func() float64 { return float64(s.status.Load().Term) })
	r.gauge("raft_commit_index", "Commit index of the metadata Raft.", func() float64 { return float64(s.status.Load().Commit) })
	return m
}

// compactionMetrics tell what compaction does.
func compactionMetrics(r register, stats func() partition.Stats) {
	r.read("compacted_logs_total", "Times that a partition's log was compacted.", func() uint64 {
		return uint64(stats().Compaction.Logs)
	})
	r.read("compaction_read_bytes_total", "Bytes that compaction has read of logs, once to learn the keys and once to write what stays.", func() uint64 {
		return uint64(stats().Compaction.ReadBytes)
	})
	r.read("compaction_saved_bytes_total", "Bytes by which logs became smaller.", func() uint64 {
		return uint64(max(0, stats().Compaction.SavedBytes))
	})
	r.gauge("uncleanable_partitions", "Partitions whose logs hold what compaction cannot read.", func() float64 {
		return float64(stats().Compaction.Uncleanable)
	})
	// Which log it is, `outrigger status` tells: as a label it would leave a series behind for each one.
	for name, of := range map[string]struct {
		help string
		now  func(partition.Compacting) float64
	}{
		"compaction_progress": {"How far the compaction under way has come, from 0 to 1; 0 while there is none.",
			func(c partition.Compacting) float64 { return c.Progress }},
		"compaction_bytes": {"Bytes of the log that is compacted, 0 while none is.",
			func(c partition.Compacting) float64 { return float64(c.Bytes) }},
		"compaction_waiting_logs": {"Logs that are to be compacted after the one that is.",
			func(c partition.Compacting) float64 { return float64(c.Waiting) }},
	} {
		r.gauge(name, of.help, func() float64 {
			if now := stats().Compaction.Now; now != nil {
				return of.now(*now)
			}
			return 0
		})
	}
}

// groupMetrics tell how the write-ahead log is written.
func groupMetrics(r register, stats func() partition.Stats) {
	r.read("wal_groups_total", "Groups of the write-ahead log that became durable.", func() uint64 {
		return uint64(stats().Groups.Groups)
	})
	r.read("wal_waited_groups_total", "Those of them for which a thread waited for the device, since the system did not take "+
		"them to write them by itself: that costs processor time. If it is so from the start, the broker's log says why.",
		func() uint64 { return uint64(stats().Groups.Waited) })
	r.MustRegister(writeTimes{
		prometheus.NewDesc(metricPrefix+"wal_write_seconds", "Time of the device for a group of the write-ahead log, flush included.", nil, nil),
		stats,
	})
}

// writeTimes tells how long the writes of the write-ahead log took.
type writeTimes struct {
	desc  *prometheus.Desc
	stats func() partition.Stats
}

// Describe implements prometheus.Collector.
func (w writeTimes) Describe(to chan<- *prometheus.Desc) { to <- w.desc }

// Collect implements prometheus.Collector.
func (w writeTimes) Collect(to chan<- prometheus.Metric) {
	took := w.stats().Groups.Took
	count, buckets := uint64(0), map[float64]uint64{}
	for i, bound := range wal.WriteBounds() {
		count += uint64(took.Counts[i])
		buckets[bound.Seconds()] = count
	}
	count += uint64(took.Counts[len(took.Counts)-1])
	to <- prometheus.MustNewConstHistogram(w.desc, count, took.Sum.Seconds(), buckets)
}

// drainMetrics tell how the write-ahead log and the packs fill and empty.
func drainMetrics(r register, stats func() partition.Stats) {
	r.read("drained_files_total", "Files of the write-ahead log that were drained into packs.", func() uint64 {
		return uint64(stats().Drain.Files)
	})
	r.read("adopted_files_total", "Files of them that became packs as they were, since the disk was busy or full.", func() uint64 {
		return uint64(stats().Drain.Adopted)
	})
	r.read("merged_packs_total", "Small packs that were merged with their neighbours.", func() uint64 {
		return uint64(stats().Drain.Merged)
	})
	r.read("catalog_heads_total", "Notes of some hundred drained batches each, which a start then need not read.", func() uint64 {
		return uint64(stats().Drain.Heads)
	})
	r.read("drained_bytes_total", "Bytes that were copied from the write-ahead log into packs.", func() uint64 {
		return uint64(stats().Drain.Bytes)
	})
	for name, of := range map[string]struct {
		help  string
		bytes func(partition.DrainStats) int64
	}{
		"packs": {"Packs of drained records.", func(d partition.DrainStats) int64 { return d.Packs }},
		"spilled_index_bytes": {"Bytes that the logs know of drained batches, outside of the heap.",
			func(d partition.DrainStats) int64 { return d.SpilledBytes }},
		"damaged_packs":       {"Packs that cannot be written anew, since something is damaged there.", func(d partition.DrainStats) int64 { return d.BadPacks }},
		"pack_bytes":          {"Bytes of all packs.", func(d partition.DrainStats) int64 { return d.PackBytes }},
		"wal_bytes":           {"Bytes of the write-ahead log's files, spares aside.", func(d partition.DrainStats) int64 { return d.ChainBytes }},
		"wal_spare_bytes":     {"Bytes of drained files that wait to be written again.", func(d partition.DrainStats) int64 { return d.SpareBytes }},
		"wal_waste_bytes":     {"Bytes of files that nobody needs and that wait to be removed.", func(d partition.DrainStats) int64 { return d.WasteBytes }},
		"wal_undrained_bytes": {"Bytes of full files that are not drained yet.", func(d partition.DrainStats) int64 { return d.WaitingBytes }},
	} {
		r.gauge(name, of.help, func() float64 { return float64(of.bytes(stats().Drain)) })
	}
	r.gauge("drain_stuck", "1 while a file of the write-ahead log is damaged so that nothing is drained and the log grows: restart the "+
		"broker, which sets the file aside and fetches what it held from the leaders; else 0.",
		func() float64 { return float64(stats().Drain.Stuck) })
}

// cacheMetrics tell how consumers fare that read what is in memory no more.
func cacheMetrics(r register, stats func() partition.Stats) {
	for name, of := range map[string]struct {
		help  string
		count func(partition.Stats) int64
	}{
		"cache_hits_total":    {"Chunks of files that a consumer wanted and that were in the cache.", func(s partition.Stats) int64 { return s.Cache.Hits }},
		"cache_misses_total":  {"Chunks of files that were read from disk, ahead or not.", func(s partition.Stats) int64 { return s.Cache.Misses }},
		"cache_ahead_total":   {"Chunks of files that were read ahead of consumers.", func(s partition.Stats) int64 { return s.Cache.Ahead }},
		"cache_refused_total": {"Chunks of files for which the cache had no room, since all of it was in use.", func(s partition.Stats) int64 { return s.Cache.Refused }},
	} {
		r.read(name, of.help, func() uint64 { return uint64(of.count(stats())) })
	}
	r.gauge("cache_bytes", "Memory of the cache of files.", func() float64 { return float64(stats().Cache.Bytes) })
	r.gauge("cache_lent_bytes", "Memory of the cache of files that is on its way to consumers.", func() float64 {
		return float64(stats().Cache.Lent)
	})
}

func (m *metrics) counters() node.Counters { return *m.replication.Load() }

// register makes metrics under one prefix.
type register struct{ prometheus.Registerer }

const metricPrefix = "outrigger_"

func (r register) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help})
	r.MustRegister(c)
	return c
}

func (r register) read(name, help string, value func() uint64) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: metricPrefix + name, Help: help},
		func() float64 { return float64(value()) }))
}

func (r register) gauge(name, help string, value func() float64) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: metricPrefix + name, Help: help}, value))
}
