package nemesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

const (
	// retentionSettles is longer than a pass of retention that has begun with the configs of before.
	retentionSettles = 5 * time.Second
	// startsEvery is how often starts are looked at: a record that is taken too early looks as much older.
	startsEvery, startsWithin = 200 * time.Millisecond, 2 * time.Second
	// deleteEvery is how old the records of partition 0 grow before a client deletes them, and at most twice that.
	deleteEvery, deleteWithin = 15 * time.Second, 10 * time.Second
	// clockSlack is for a clock that is put back between two looks at it; all are of one machine.
	clockSlack = time.Second
)

// watchStarts notes where partitions begin, as fast as brokers tell.
func (l *load) watchStarts(ctx context.Context) {
	const name = "watcher of starts"
	admin, err := l.admin()
	if err != nil {
		l.told(name, err)
		return
	}
	defer admin.Close()
	for pause(ctx, startsEvery) {
		asking, cancel := context.WithTimeout(ctx, startsWithin)
		first, err := admin.ListStartOffsets(asking, l.topic)
		cancel()
		if err != nil && ctx.Err() == nil {
			l.told(name, err)
		}
		first.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				l.history.Began(o.Topic, o.Partition, o.Offset)
			}
		})
	}
}

// deleteRecords deletes records of partition 0 before retention would: those that were acknowledged the last time.
func (l *load) deleteRecords(ctx context.Context) {
	const name = "deleter of records"
	admin, err := l.admin()
	if err != nil {
		l.told(name, err)
		return
	}
	defer admin.Close()
	for before := int64(0); pause(ctx, deleteEvery); before = l.ends[0].Load() {
		if before == 0 {
			continue
		}
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: l.topic, Partition: 0, At: before})
		l.history.Deleting(l.topic, 0, before)
		asking, cancel := context.WithTimeout(ctx, deleteWithin)
		deleted, err := admin.DeleteRecords(asking, offsets)
		cancel()
		if err := errors.Join(err, deleted.Error()); err != nil && ctx.Err() == nil {
			l.told(name, err)
		}
	}
}

// retainAll stops retention, and returns when the starts have stood still for long enough that nothing of it
// is under way: from then on everybody reads the same.
func (l *load) retainAll(ctx context.Context) error {
	if l.kept == nil {
		return nil
	}
	admin, err := l.admin()
	if err != nil {
		return err
	}
	defer admin.Close()
	forever := "-1"
	return eventually(ctx, finalWithin, "retention stopped", func() error {
		altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{
			{Name: retentionMillis, Value: &forever}, {Name: retentionBytes, Value: &forever},
		}, l.topic)
		for _, a := range altered {
			err = errors.Join(err, a.Err)
		}
		before, err1 := l.bounds(ctx)
		pause(ctx, retentionSettles)
		after, err2 := l.bounds(ctx)
		if err := errors.Join(err, err1, err2); err != nil {
			return err
		}
		for p, b := range before {
			if after[p].Start != b.Start {
				return fmt.Errorf("partition %d begins at %d now, at %d before", p, after[p].Start, b.Start)
			}
		}
		return nil
	})
}
