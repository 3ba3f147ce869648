package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// deleteRecords moves the starts of partitions that are led here, and answers once every in-sync replica
// has moved its own on disk: no leader that is elected from among them shows the records again. (Kafka
// waits for all live replicas; one that lags must not hold this up, since it cannot lead before it has
// followed.) All partitions are begun before any is waited for. A deletion that was begun is not taken
// back when its wait ends, and asking again waits for the same.
func (b *Broker) deleteRecords(
	ctx context.Context, _ *request, q *kmsg.DeleteRecordsRequest,
) kmsg.Response {
	ctx, cancel := b.within(ctx, q.TimeoutMillis)
	defer cancel()
	view := b.cluster.View()
	response := kmsg.NewPtrDeleteRecordsResponse()
	var waits []func() // in the order of the answer
	for i := range q.Topics {
		asked := &q.Topics[i]
		answered := kmsg.NewDeleteRecordsResponseTopic()
		answered.Topic = asked.Topic
		answered.Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(asked.Partitions))
		t, unknown := topicOf(view, asked.Topic, topic.ID{}, false)
		if unknown == codeNone {
			unknown = b.judgeDeletion(view, t)
		}
		for j := range asked.Partitions {
			p := &answered.Partitions[j]
			p.Partition, p.LowWatermark, p.ErrorCode = asked.Partitions[j].Partition, -1, int16(unknown)
			if unknown == codeNone {
				waits = append(waits, b.deleteFrom(ctx, b.resolve(t, p.Partition), asked.Partitions[j].Offset, p))
			}
		}
		response.Topics = append(response.Topics, answered)
	}
	for _, wait := range waits {
		wait()
	}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			b.meters.failure("DeleteRecords", code(p.ErrorCode))
		}
	}
	return response
}

// judgeDeletion refuses topics of which records may not be deleted on request: those of coordinators, and
// those that are only compacted.
func (b *Broker) judgeDeletion(view View, t *topic.Topic) code {
	switch policy := b.settingsOf(view, t).cleanup; {
	case t.Internal:
		return codeInvalidTopic
	case policy.compact && !policy.delete:
		return codePolicyViolation
	}
	return codeNone
}

// deleteFrom begins one deletion. What it returns waits for it and fills in the answer.
func (b *Broker) deleteFrom(
	ctx context.Context, to target, before int64, p *kmsg.DeleteRecordsResponseTopicPartition,
) (wait func()) {
	p.ErrorCode = int16(to.code)
	if to.code != codeNone {
		return func() {}
	}
	if before < -1 {
		p.ErrorCode = int16(codeOffsetOutOfRange)
		return func() {}
	}
	start, epoch, err := to.log.DeleteRecords(ctx, topic.Offset(before))
	if err != nil {
		p.ErrorCode = int16(b.judge("DeleteRecords", err))
		return func() {}
	}
	done := make(chan error, 1)
	cancel := to.log.AwaitLowWatermark(epoch, start, func(err error) { done <- err })
	return func() {
		var err error
		select {
		case err = <-done:
		case <-ctx.Done():
			cancel()
			err = fmt.Errorf("wait for the in-sync replicas to delete: %w", context.Cause(ctx))
		}
		if err != nil {
			// Asking again does no harm, so that is what the client is to do.
			p.ErrorCode = int16(b.judge("DeleteRecords", err))
			return
		}
		p.LowWatermark = int64(to.log.State().LowWatermark)
	}
}
