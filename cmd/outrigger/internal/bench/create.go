package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// create makes topics, looks on every broker whether they are there, and deletes them.
func (b *bench) create(ctx context.Context) (*outcome, error) {
	l := b.newLoad(b.o.Load.window(), Created)
	prefix := b.o.Load.Topic
	if prefix == "" {
		prefix = "bench-" + strconv.FormatInt(b.started.UnixMilli(), 36)
	}
	var made []string
	err := l.run(ctx, func(ctx context.Context) error {
		made = l.creators(ctx, prefix)
		return ctx.Err()
	})
	out := &outcome{load: l}
	if err == nil {
		b.live.say("looking for the topics on every broker")
		out.verification, err = b.verifyTopics(ctx, made)
	}
	if b.target.own == nil {
		b.deleteTopics(context.WithoutCancel(ctx), made)
	}
	return out, err
}

// creators make topics until the window ends, or there are enough. It returns those that were
// acknowledged.
func (l *load) creators(ctx context.Context, prefix string) []string {
	var all sync.WaitGroup
	var next atomic.Int64
	var made struct {
		sync.Mutex
		names []string
	}
	open := newSchedule(max(l.o.Load.Rate, 1), 0, 1)
	for range l.o.Load.Producers {
		m := l.meters[Created].worker(l.window)
		all.Go(func() {
			for {
				i := next.Add(1) - 1
				due := l.now()
				if l.o.Load.Rate > 0 {
					due = open.due(i)
				}
				if i >= int64(l.o.Load.Topics) || due >= l.window.to || !l.wait(ctx, due) {
					return
				}
				name := fmt.Sprintf("%s-%d", prefix, i)
				if l.createOne(ctx, name, due, m) {
					made.Lock()
					made.names = append(made.names, name)
					made.Unlock()
				}
			}
		})
	}
	all.Wait()
	return made.names
}

func (l *load) createOne(ctx context.Context, name string, due time.Duration, m *meter) bool {
	created, err := kadm.NewClient(l.admin).CreateTopic(ctx, int32(l.partitions), int16(l.o.Load.Replication), nil, name)
	if err = errors.Join(err, created.Err); err != nil {
		l.failures.add(codeOf(err))
		m.addError()
		return false
	}
	m.add(event{due: due, now: l.now()})
	return true
}

const (
	agreeWithin = 60 * time.Second
	deleteChunk = 100
)

// verifyTopics wants every broker to know every topic with all its partitions.
func (b *bench) verifyTopics(ctx context.Context, made []string) (Verification, error) {
	if !b.o.Load.Verify {
		return Verification{OK: true, Skipped: true, Text: "skipped"}, nil
	}
	v := Verification{Acked: len(made)}
	brokers, err := kadm.NewClient(b.admin).ListBrokers(ctx)
	if err != nil {
		return v, fmt.Errorf("list brokers: %w", err)
	}
	began := time.Now()
	missing := eventually(ctx, agreeWithin, "look for the topics", func() error {
		v.Seen = len(made)
		for _, broker := range brokers {
			known, err := b.knownTo(ctx, broker.NodeID, made)
			if err != nil {
				return err
			}
			v.Seen = min(v.Seen, known)
		}
		if v.Seen < len(made) {
			return fmt.Errorf("a broker knows %d of %d topics", v.Seen, len(made))
		}
		return nil
	})
	v.Seconds = time.Since(began).Seconds()
	v.OK = missing == nil && len(made) > 0
	v.Text = fmt.Sprintf("%d topics acknowledged, %d of them known to each of %d brokers", v.Acked, v.Seen, len(brokers))
	if missing != nil {
		v.Wrong = append(v.Wrong, missing.Error())
	}
	return v, nil
}

// knownTo is how many of the topics a broker knows in full.
func (b *bench) knownTo(ctx context.Context, node int32, names []string) (int, error) {
	request := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		request.Topics = append(request.Topics, topic)
	}
	response, err := b.admin.Broker(int(node)).RetriableRequest(ctx, request)
	if err != nil {
		return 0, err
	}
	known := 0
	for _, topic := range response.(*kmsg.MetadataResponse).Topics {
		if topic.ErrorCode == 0 && len(topic.Partitions) == b.partitions {
			known++
		}
	}
	return known, nil
}

func (b *bench) deleteTopics(ctx context.Context, names []string) {
	ctx, cancel := context.WithTimeout(ctx, 2*deleteWithin)
	defer cancel()
	for len(names) > 0 {
		chunk := names[:min(deleteChunk, len(names))]
		names = names[len(chunk):]
		deleted, err := kadm.NewClient(b.admin).DeleteTopics(ctx, chunk...)
		if err = errors.Join(err, deleted.Error()); err != nil {
			b.o.Logger.Warn("topics are left behind", "topics", len(chunk)+len(names), "error", err)
			return
		}
	}
}
