package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func admin(t testing.TB, seeds ...string) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(50*time.Millisecond),
		kgo.DialTimeout(time.Second), kgo.RequestTimeoutOverhead(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	adm := kadm.NewClient(client)
	t.Cleanup(adm.Close)
	return adm
}

// endOffsets asks for the high watermark of every partition, and goes on asking while a new leader is
// not ready.
func endOffsets(t testing.TB, seeds []string, topic string, partitions int) map[int32]int64 {
	t.Helper()
	adm := admin(t, seeds...)
	ends := map[int32]int64{}
	eventually(t, 30*time.Second, "end offsets of "+topic, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		listed, err := adm.ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		for p := range int32(partitions) {
			o, _ := listed.Lookup(topic, p)
			if o.Err != nil {
				return o.Err
			}
			ends[p] = o.Offset
		}
		return listed.Error()
	})
	return ends
}

// leaderOf asks for the leader of a partition, as a broker index, -1 if nobody leads.
func leaderOf(t testing.TB, seeds []string, topic string, partition int32) int {
	t.Helper()
	leader := -1
	adm := admin(t, seeds...)
	eventually(t, 20*time.Second, "metadata of "+topic, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		details, err := adm.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		if err := details[topic].Err; err != nil {
			return err
		}
		leader = int(details[topic].Partitions[partition].Leader) - 1
		return nil
	})
	return leader
}
