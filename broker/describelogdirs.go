package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// describeLogDirs tells what lies in this broker's one data directory. The size of a partition is that
// of its batches; the log that they lie in is shared by all.
func (b *Broker) describeLogDirs(
	_ context.Context, _ *request, q *kmsg.DescribeLogDirsRequest,
) kmsg.Response {
	view := b.cluster.View()
	response := kmsg.NewPtrDescribeLogDirsResponse()
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir, dir.TotalBytes, dir.UsableBytes = b.config.LogDir.Path, -1, -1
	if b.config.LogDir.Space != nil {
		total, usable, err := b.config.LogDir.Space()
		if err != nil {
			b.logger.Warn("describe data directory", keyError, err)
		} else {
			dir.TotalBytes, dir.UsableBytes = total, usable
		}
	}
	if q.Topics == nil {
		for _, t := range view.Topics() {
			all := make([]int32, len(t.Partitions))
			for index := range all {
				all[index] = int32(index)
			}
			dir.Topics = b.appendSizes(dir.Topics, t, all)
		}
	}
	for i := range q.Topics {
		if t, ok := view.TopicByName(q.Topics[i].Topic); ok {
			dir.Topics = b.appendSizes(dir.Topics, t, q.Topics[i].Partitions)
		}
	}
	response.Dirs = append(response.Dirs, dir)
	return response
}

// appendSizes describes those replicas of a topic that are here.
func (b *Broker) appendSizes(
	to []kmsg.DescribeLogDirsResponseDirTopic, t *topic.Topic, asked []int32,
) []kmsg.DescribeLogDirsResponseDirTopic {
	described := kmsg.NewDescribeLogDirsResponseDirTopic()
	described.Topic = t.Name
	for _, index := range asked {
		if log := b.resolve(t, index).log; log != nil {
			state := log.State()
			p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			p.Partition, p.Size = index, state.Size
			p.OffsetLag = max(0, int64(state.HighWatermark-state.LogEnd))
			described.Partitions = append(described.Partitions, p)
		}
	}
	if len(described.Partitions) == 0 {
		return to
	}
	return append(to, described)
}
