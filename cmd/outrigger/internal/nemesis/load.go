package nemesis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/broker/topic"
	"outrigger/e2e/history"
)

// The load: how many clients, and which share of the rate each producer has.
const (
	franzProducers = 2
	franzShare     = 0.4
	pythonShare    = 0.2
	// inFlightMax is per producer and partition. When so many wait, no more are sent.
	inFlightMax = 32
	// renewAfter is how long a producer keeps its client; a new one has another producer id.
	renewAfter = 30 * time.Second
	// answersWithin is how long the last sends may take once the cluster is whole.
	answersWithin = 60 * time.Second
	finalWithin   = 5 * time.Minute
)

// load is all clients, and what they were told.
type load struct {
	topic      string
	configs    map[string]string
	partitions int
	// placed counts those of all topics.
	placed int
	// kept is what of the topic does not go by itself, nil if all of it stays. keys is nil without a compacted topic.
	kept         *history.Kept
	keys         *compacted
	rate         int
	seeds        []string
	python       string
	script       string
	history      *history.History
	availability *availability
	clock        func() time.Duration

	values values
	// ends are the highest acknowledged offsets, for readers that begin in the middle.
	ends []atomic.Int64

	running sync.WaitGroup
	// stopSending ends the producers, stopReading the readers.
	stopSending, stopReading context.CancelFunc

	mu struct {
		sync.Mutex
		// errors counts what clients were told, by text.
		errors map[string]int
		// unanswered are the producers that still wait after the end.
		unanswered map[string]int
		// dataLoss is what only a producer hears whose acknowledged records are gone.
		dataLoss []string
	}
}

func (l *load) begin(ctx context.Context) {
	l.ends = make([]atomic.Int64, l.partitions)
	l.mu.errors, l.mu.unanswered = map[string]int{}, map[string]int{}
	var sending, reading context.Context
	sending, l.stopSending = context.WithCancel(ctx)
	reading, l.stopReading = context.WithCancel(ctx)
	for i := range franzProducers {
		name := fmt.Sprintf("franz-go producer %d", i+1)
		l.running.Go(func() { l.franzProducer(sending, name, i) })
	}
	if l.keys != nil {
		l.running.Go(func() { l.keys.run(sending) })
	}
	if l.kept != nil {
		l.running.Go(func() { l.watchStarts(reading) })
		l.running.Go(func() { l.deleteRecords(sending) })
	}
	l.running.Go(func() { l.franzTail(reading) })
	l.running.Go(func() { l.franzSpots(reading) })
	if l.python != "" {
		l.running.Go(func() { l.pythonProducer(sending) })
		l.running.Go(func() { l.pythonTail(reading) })
	}
}

// end stops the producers, waits until everything that was sent has an answer, and stops the readers.
// What is still unanswered after the deadline is an anomaly of a cluster that is whole.
func (l *load) end() error {
	l.stopSending()
	l.stopReading()
	l.running.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.unanswered) > 0 {
		return &misbehaviour{fmt.Sprintf("%v after the end sends have no answer: %v", answersWithin, l.mu.unanswered)}
	}
	return nil
}

// acked notes a success for everybody who wants to know.
func (l *load) acked(partition int32, offset int64) {
	l.availability.acked(partition, l.clock())
	for end := &l.ends[partition]; ; {
		known := end.Load()
		if offset <= known || end.CompareAndSwap(known, offset) {
			return
		}
	}
}

// told counts an error that a client was told.
func (l *load) told(who string, err error) {
	text := shorten(who+": "+err.Error(), 120)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.errors[text]++
	var lost *kgo.ErrDataLoss
	if errors.As(err, &lost) || strings.Contains(text, "OUT_OF_ORDER") || strings.Contains(text, "OutOfOrder") {
		l.mu.dataLoss = append(l.mu.dataLoss, text)
	}
}

func (l *load) unanswered(who string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.unanswered[who] += n
}

// errors is a copy of the counts.
func (l *load) errors() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.mu.errors)
}

// createTopics waits for the brokers that they need.
func (l *load) createTopics(ctx context.Context) error {
	err := l.createTopic(ctx, l.topic, l.partitions, l.configs)
	if err == nil && l.keys != nil {
		err = l.createTopic(ctx, compactedName, compactedPartitions, compactedConfigs)
	}
	return err
}

// admin is a client for one who closes it.
func (l *load) admin() (*kadm.Client, error) {
	client, err := kgo.NewClient(l.franzOptions()...)
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(client), nil
}

func (l *load) createTopic(ctx context.Context, name string, partitions int, configs map[string]string) error {
	admin, err := l.admin()
	if err != nil {
		return err
	}
	defer admin.Close()
	told := map[string]*string{}
	for key, value := range configs {
		told[key] = &value
	}
	return eventually(ctx, startWithin, "topic created", func() error {
		created, err := admin.CreateTopic(ctx, int32(partitions), replication, told, name)
		return errors.Join(err, created.Err)
	})
}

// id is the topic id of a name.
func (l *load) id(ctx context.Context, name string) (topic.ID, error) {
	admin, err := l.admin()
	if err != nil {
		return topic.ID{}, err
	}
	defer admin.Close()
	topics, err := admin.ListTopics(ctx, name)
	return topic.ID(topics[name].ID), errors.Join(err, topics[name].Err)
}

// bounds are what every partition holds, as the brokers say.
func (l *load) bounds(ctx context.Context) (map[int32]history.Range, error) {
	admin, err := l.admin()
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	asked := l.history.Now()
	first, err1 := admin.ListStartOffsets(ctx, l.topic)
	last, err2 := admin.ListEndOffsets(ctx, l.topic)
	if err := errors.Join(err1, err2, first.Error(), last.Error()); err != nil {
		return nil, fmt.Errorf("ask for the ends: %w", err)
	}
	bounds := map[int32]history.Range{}
	for p := range int32(l.partitions) {
		from, ok1 := first.Lookup(l.topic, p)
		to, ok2 := last.Lookup(l.topic, p)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("no broker names the ends of partition %d", p)
		}
		bounds[p] = history.Range{Asked: asked, Start: from.Offset, End: to.Offset}
	}
	return bounds, nil
}

// finalPolls read everything once more with every library.
func (l *load) finalPolls(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, finalWithin)
	defer cancel()
	bounds, err := l.bounds(ctx)
	if err != nil {
		return err
	}
	if err := l.franzFinal(ctx, bounds); err != nil {
		return fmt.Errorf("final polls of franz-go: %w", err)
	}
	if l.python == "" {
		return nil
	}
	if err := l.pythonFinal(ctx, bounds); err != nil {
		return fmt.Errorf("final polls of %s: %w", pythonName, err)
	}
	return nil
}
