package broker

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// inventory is what /metrics shows of topics and partitions: read from the image and the logs when
// it is asked for, so that it costs nothing otherwise. The gauges per partition are those of the
// partitions that this node leads, under the names of Kafka's log and of kafka_exporter.
type inventory struct{ broker *Broker }

func newInventory(b *Broker) *inventory { return &inventory{broker: b} }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

const manager = "kafka_server_replicamanager_"

// Gauges of the node.
var (
	descPartitions = describe(manager+"partitioncount", "Partitions with a replica on this broker.")
	descLeaders    = describe(manager+"leadercount", "Partitions led by this broker.")
	descUnderRepl  = describe(manager+"underreplicatedpartitions", "Led here, in-sync set incomplete.")
	descUnderMin   = describe(manager+"underminisrpartitioncount", "Led here, in-sync set below min.insync.replicas.")
	descActive     = describe("kafka_controller_kafkacontroller_activecontrollercount", "1 on the controller.")
	descOffline    = describe("kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions without a leader.")
	descTopics     = describe("kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.")
	descBrokers    = describe("kafka_brokers", "Live brokers.")
)

// Gauges of one partition.
var (
	descLogSize   = describe("kafka_log_log_size", "Bytes of the log.", "topic", "partition")
	descLogEnd    = describe("kafka_log_log_logendoffset", "Log end offset.", "topic", "partition")
	descLogStart  = describe("kafka_log_log_logstartoffset", "Log start offset.", "topic", "partition")
	descCurrent   = describe("kafka_topic_partition_current_offset", "High watermark.", "topic", "partition")
	descOldest    = describe("kafka_topic_partition_oldest_offset", "Log start offset.", "topic", "partition")
	descLeader    = describe("kafka_topic_partition_leader", "Leader.", "topic", "partition")
	descReplicas  = describe("kafka_topic_partition_replicas", "Replicas.", "topic", "partition")
	descInSync    = describe("kafka_topic_partition_in_sync_replica", "Replicas in sync.", "topic", "partition")
	descPreferred = describe("kafka_topic_partition_leader_is_preferred", "1 if the first replica leads.", "topic", "partition")
	descUnder     = describe("kafka_topic_partition_under_replicated_partition", "1 if not all are in sync.", "topic", "partition")
	descCount     = describe("kafka_topic_partitions", "Partitions of the topic.", "topic")
)

// Describe implements prometheus.Collector.
func (inventory) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descPartitions, descLeaders, descUnderRepl, descUnderMin, descActive, descOffline, descTopics,
		descBrokers, descLogSize, descLogEnd, descLogStart, descCurrent, descOldest, descLeader,
		descReplicas, descInSync, descPreferred, descUnder, descCount,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (i *inventory) Collect(out chan<- prometheus.Metric) {
	view := i.broker.cluster.View()
	i.broker.meters.topics.sweep(view)
	var sum tallies
	shown := 0
	for number, t := range view.Topics() {
		if number < i.broker.config.Metrics.Topics {
			out <- gauge(descCount, len(t.Partitions), t.Name)
		}
		for index, placement := range t.Partitions {
			if !i.tally(&sum, view, t, placement) || shown >= i.broker.config.Metrics.Partitions {
				continue
			}
			log := i.broker.logs.Log(topic.Partition{Topic: t.ID, Index: int32(index)})
			if log != nil {
				shown++
				partitionGauges(out, t, index, placement, log.State())
			}
		}
	}
	out <- gauge(descPartitions, sum.hosted)
	out <- gauge(descLeaders, sum.led)
	out <- gauge(descUnderRepl, sum.under)
	out <- gauge(descUnderMin, sum.underMin)
	out <- gauge(descActive, bit(view.Controller() == i.broker.config.Node))
	out <- gauge(descOffline, sum.offline)
	out <- gauge(descTopics, len(view.Topics()))
	out <- gauge(descBrokers, len(view.Brokers()))
}

// tallies sums up the partitions of the image.
type tallies struct{ hosted, led, under, underMin, offline int }

// tally counts one partition, and reports whether it is led here.
func (i *inventory) tally(sum *tallies, view View, t *topic.Topic, p *topic.Placement) bool {
	self := i.broker.config.Node
	if p.Leader == topic.NoNode {
		sum.offline++
	}
	if p.Hosts(self) {
		sum.hosted++
	}
	if p.Leader != self {
		return false
	}
	sum.led++
	if p.UnderReplicated() {
		sum.under++
	}
	if len(p.ISR) < min(i.minInSync(view, t), p.Factor()) {
		sum.underMin++
	}
	return true
}

func (i *inventory) minInSync(view View, t *topic.Topic) int {
	if own, err := strconv.Atoi(t.Configs[configMinInSync]); err == nil {
		return own
	}
	told := view.Configs(topic.BrokerConfigs, "").Values[configMinInSync]
	if all, err := strconv.Atoi(told); err == nil {
		return all
	}
	return int(i.broker.config.Topics.MinInSyncReplicas)
}

func partitionGauges(
	out chan<- prometheus.Metric, t *topic.Topic, index int, p *topic.Placement, s partition.State,
) {
	labels := []string{t.Name, strconv.Itoa(index)}
	out <- gauge(descLogSize, s.Size, labels...)
	out <- gauge(descLogEnd, s.LogEnd, labels...)
	out <- gauge(descLogStart, s.LogStart, labels...)
	out <- gauge(descCurrent, s.HighWatermark, labels...)
	out <- gauge(descOldest, s.LogStart, labels...)
	out <- gauge(descLeader, p.Leader, labels...)
	out <- gauge(descReplicas, len(p.Replicas), labels...)
	out <- gauge(descInSync, len(p.ISR), labels...)
	out <- gauge(descPreferred, bit(p.Replicas[0] == p.Leader), labels...)
	out <- gauge(descUnder, bit(len(p.ISR) < len(p.Replicas)), labels...)
}

func gauge[N ~int | ~int32 | ~int64](d *prometheus.Desc, value N, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
}

func bit(set bool) int {
	if set {
		return 1
	}
	return 0
}
