package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ClusterFacts are what the brokers say of themselves.
type ClusterFacts struct {
	ID      string `json:"id"`
	Brokers int    `json:"brokers"`
	// Versions are the highest that the brokers offer of some APIs.
	Versions    string `json:"versions"`
	Partitions  int    `json:"partitions"`
	Replication int    `json:"replication_factor"`
	MinInSync   string `json:"min_insync_replicas"`
	FlushPolicy string `json:"flush_policy"`
	LogDirs     string `json:"log_dirs,omitempty"`
}

const factsWithin = 10 * time.Second

// clusterFacts asks. What it is not told is unknown.
func (b *bench) clusterFacts(ctx context.Context) ClusterFacts {
	ctx, cancel := context.WithTimeout(ctx, factsWithin)
	defer cancel()
	admin := kadm.NewClient(b.admin)
	f := ClusterFacts{ID: unknown, Versions: unknown, MinInSync: unknown, FlushPolicy: unknown,
		Partitions: b.partitions, Replication: b.o.Load.Replication}
	var anyBroker int32 = -1
	if metadata, err := admin.Metadata(ctx, b.topics()...); err == nil {
		f.ID, f.Brokers = metadata.Cluster, len(metadata.Brokers)
		for _, broker := range metadata.Brokers {
			anyBroker = broker.NodeID
		}
		for _, p := range metadata.Topics[b.topic].Partitions {
			f.Replication = len(p.Replicas)
		}
	}
	if versions, err := admin.ApiVersions(ctx); err == nil {
		f.Versions = versionsOf(versions)
	}
	brokerConfigs, topicConfigs := map[string]string{}, map[string]string{}
	if all, err := admin.DescribeBrokerConfigs(ctx, anyBroker); err == nil {
		brokerConfigs = valuesOf(all)
	}
	if b.topic != "" {
		if all, err := admin.DescribeTopicConfigs(ctx, b.topic); err == nil {
			topicConfigs = valuesOf(all)
		}
	}
	for _, configs := range []map[string]string{brokerConfigs, topicConfigs} { // the topic's go first
		if value, ok := configs["min.insync.replicas"]; ok {
			f.MinInSync = value
		}
	}
	f.FlushPolicy = flushPolicy(brokerConfigs, topicConfigs)
	for _, key := range []string{"log.dir", "log.dirs"} {
		if value := brokerConfigs[key]; value != "" {
			f.LogDirs = value
		}
	}
	return f
}

// topics are those to ask about: none but ours.
func (b *bench) topics() []string {
	if b.topic == "" {
		return []string{} // nil would mean all
	}
	return []string{b.topic}
}

// toldAPIs are those whose highest versions tell one broker from another.
var toldAPIs = []kmsg.Key{kmsg.Produce, kmsg.Fetch, kmsg.Metadata, kmsg.ApiVersions}

// versionsOf lists the highest version of some APIs, for each kind of broker that there is.
func versionsOf(all kadm.BrokersApiVersions) string {
	var kinds []string
	all.Each(func(v kadm.BrokerApiVersions) {
		if v.Err != nil {
			return
		}
		var versions []string
		for _, key := range toldAPIs {
			if highest, ok := v.KeyMaxVersion(key.Int16()); ok {
				versions = append(versions, fmt.Sprintf("%s v%d", key.Name(), highest))
			}
		}
		if kind := strings.Join(versions, ", "); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	})
	if len(kinds) == 0 {
		return unknown
	}
	slices.Sort(kinds)
	return strings.Join(kinds, "; ")
}

func valuesOf(all kadm.ResourceConfigs) map[string]string {
	values := map[string]string{}
	for _, resource := range all {
		for _, c := range resource.Configs {
			if resource.Err == nil && c.Value != nil {
				values[c.Key] = *c.Value
			}
		}
	}
	return values
}

// flushPolicy says when a record is forced to the disk, as far as the configuration tells. Outrigger
// has a key for it; Kafka counts messages and time, both without end by default.
func flushPolicy(broker, topic map[string]string) string {
	switch policy := broker["log.flush.policy"]; policy {
	case "":
	case "always":
		return "always: synced before it is acknowledged"
	default:
		return policy
	}
	messages, known := topic["flush.messages"]
	if !known {
		messages, known = broker["log.flush.interval.messages"]
	}
	if !known {
		return unknown
	}
	every, timed := topic["flush.ms"]
	if !timed {
		every = broker["log.flush.interval.ms"]
	}
	switch {
	case messages == "1":
		return "synced after every batch (flush.messages=1)"
	case messages != strconv.Itoa(math.MaxInt64):
		return fmt.Sprintf("synced every %s messages", messages)
	case every != "" && every != "null" && every != strconv.Itoa(math.MaxInt64):
		return fmt.Sprintf("synced every %s ms, not before it is acknowledged", every)
	}
	return "left to the operating system, not before it is acknowledged"
}
