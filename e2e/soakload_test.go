package e2e

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// soakMoved is the topic whose partitions move; its replicas leave a broker to move to.
	soakMoved         = "soak-moved"
	soakMovedReplicas = 2
	soakMoveEvery     = 5 * time.Second
	soakMoveWithin    = time.Minute
	// soakMember is how long a member of the share group lives.
	soakMember = 30 * time.Second
)

// share reads as a share group of one, which accepts all, and which another one follows from time to time.
func (s *soak) share(ctx context.Context) {
	for ctx.Err() == nil {
		living, cancel := context.WithTimeout(ctx, soakMember)
		client := s.client(kgo.ShareGroup("soak-shares"), kgo.ConsumeTopics(soakTopic), kgo.FetchMaxWait(200*time.Millisecond),
			kgo.ShareAckCallback(func(_ *kgo.Client, results kgo.ShareAckResults) {
				if err := results.Error(); err != nil && ctx.Err() == nil {
					what := "acknowledge"
					if living.Err() != nil {
						what = "acknowledge, and leave"
					}
					s.fail(what, err)
				}
			}))
		for living.Err() == nil {
			fetches := client.PollFetches(living)
			fetches.EachError(func(_ string, _ int32, err error) {
				if living.Err() == nil && !errors.Is(err, context.Canceled) {
					s.fail("share", err)
				}
			})
			client.MarkAcks(kgo.AckAccept)
			if err := client.FlushAcks(ctx); err == nil {
				s.count(&s.shared, fetches.NumRecords())
			} else if ctx.Err() == nil {
				s.fail("flush acknowledgements", err)
			}
		}
		cancel()
		client.Close()
	}
}

// move gives one partition after the other to the next two of the three brokers.
func (s *soak) move(ctx context.Context, admin *kadm.Client) {
	ticker := time.NewTicker(soakMoveEvery)
	defer ticker.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := s.moveOne(ctx, admin, int32(n%soakPartitions), int32(n/soakPartitions))
		switch {
		case err == nil:
			s.count(&s.moved, 1)
		case ctx.Err() == nil:
			s.fail("move", err)
		}
	}
}

// moveOne returns when the partition has come to where it was sent in a round.
func (s *soak) moveOne(ctx context.Context, admin *kadm.Client, partition, round int32) error {
	ctx, cancel := context.WithTimeout(ctx, soakMoveWithin)
	defer cancel()
	brokers := int32(len(s.pids))
	first := (partition + round) % brokers
	var to kadm.AlterPartitionAssignmentsReq
	to.Assign(soakMoved, partition, []int32{1 + first, 1 + (first+1)%brokers})
	moved, err := admin.AlterPartitionAssignments(ctx, to)
	if err := errors.Join(err, moved.Error()); err != nil {
		return err
	}
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	var of kadm.TopicsSet
	of.Add(soakMoved, partition)
	for {
		under, err := admin.ListPartitionReassignments(ctx, of)
		if err != nil || len(under) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
