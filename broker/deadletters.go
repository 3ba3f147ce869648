package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

const (
	// lettersAtOnce is how many share-partitions have letters on their way at the same time.
	lettersAtOnce = 16
	// letterRetry is the pause before a letter that could not be written is tried again, letterWait how long one
	// attempt may take.
	letterRetry = time.Second
	letterWait  = 10 * time.Second
)

// Letters that will never be written: who tries again meets the same.
var (
	errNoLetters     = errors.New("the group's dead-letter queue cannot be used")
	errLetterRefused = errors.New("the dead-letter queue has refused the record")
)

// deadLetters writes the records that share groups have given up to their dead-letter queues (KIP-1191). Its
// goroutine takes the share-partitions that have letters, a batch of each at a time, in the order of their log.
//
// A letter that cannot be written for now is tried again for as long as this node leads, and whoever leads next
// goes on; meanwhile the records hold up the group's start, and so how far it gets. One that never can be is
// counted and logged, and the record is archived without it: a group must not stand still for a queue that
// somebody has named wrongly.
type deadLetters struct {
	broker *Broker
	// cue says that there is something to do; one token.
	cue chan struct{}
	mu  struct {
		sync.Mutex
		due map[*sharePartition]bool
	}
}

func newDeadLetters(b *Broker) *deadLetters {
	d := &deadLetters{broker: b, cue: make(chan struct{}, 1)}
	d.mu.due = map[*sharePartition]bool{}
	return d
}

// note notes that a share-partition has letters.
func (d *deadLetters) note(p *sharePartition) {
	d.mu.Lock()
	d.mu.due[p] = true
	d.mu.Unlock()
	select {
	case d.cue <- struct{}{}:
	default:
	}
}

// take takes share-partitions that have letters, at most so many, and none that is busy.
func (d *deadLetters) take(most int, busy map[*sharePartition]bool) (taken []*sharePartition) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p := range d.mu.due {
		if len(taken) == most {
			break
		}
		if !busy[p] {
			delete(d.mu.due, p)
			taken = append(taken, p)
		}
	}
	return taken
}

// run writes letters until ctx ends, and returns when none is on its way any more.
func (d *deadLetters) run(ctx context.Context) {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	type done struct {
		p      *sharePartition
		failed bool
	}
	over := make(chan done)
	busy := map[*sharePartition]bool{}
	var failed []*sharePartition
	retry := time.NewTimer(letterRetry)
	retry.Stop()
	for {
		for _, p := range d.take(lettersAtOnce-len(busy), busy) {
			busy[p] = true
			attempts.Go(func() {
				select {
				case over <- done{p, !d.write(ctx, p)}:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-d.cue:
		case one := <-over:
			delete(busy, one.p)
			switch {
			case !one.failed && one.p.hasLetters():
				d.note(one.p)
			case one.failed && len(failed) == 0:
				retry.Reset(letterRetry)
				fallthrough
			case one.failed:
				failed = append(failed, one.p)
			}
		case <-retry.C:
			for _, p := range failed {
				d.note(p)
			}
			failed = nil
		case <-ctx.Done():
			return
		}
	}
}

// write writes the first letters of a share-partition, and reports whether it may go on at once.
func (d *deadLetters) write(ctx context.Context, p *sharePartition) bool {
	if !p.leads() {
		d.broker.shares.finish(p, partition.ErrNotLeader) // somebody else writes them
		return true
	}
	due := p.letters(lettersMax)
	if len(due) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, letterWait)
	defer cancel()
	m, err := d.send(ctx, p, due)
	if errors.Is(err, errLetterRefused) && m.count > 1 {
		// One of them is at fault: each goes by itself.
		due[0].Last = due[0].First
		due = due[:1]
		m, err = d.send(ctx, p, due)
	}
	switch {
	case err == nil:
		d.broker.meters.letters.Add(float64(m.count))
	case errors.Is(err, errNoLetters), errors.Is(err, errLetterRefused):
		d.broker.meters.lostLetters.Add(float64(m.count))
		d.broker.troubles.report("dead letters of group "+p.key.Group, codeInvalidConfig, err)
	default:
		d.broker.troubles.report("dead letters of group "+p.key.Group, codeRequestTimedOut, err)
		return false
	}
	p.wrote(due, m.last)
	return true
}

// send makes a batch of letters and appends it to the group's queue. The batch is told of with an error, too;
// without a queue it would hold all letters.
func (d *deadLetters) send(ctx context.Context, p *sharePartition, due []share.Letter) (mail, error) {
	settings := d.broker.shareSettings(p.key.Group)
	to, err := d.queue(ctx, p.key, settings.letters)
	if err != nil {
		m := mail{last: due[len(due)-1].Last}
		for _, l := range due {
			m.count += l.Last - l.First + 1
		}
		return m, err
	}
	m, err := newMail(p, due, to, settings.copies, time.Now())
	if err != nil {
		return m, err
	}
	return m, d.post(ctx, to, m.batch)
}

// letterBox is a partition of a dead-letter queue.
type letterBox struct {
	id        topic.ID
	name      string
	partition int32
	leader    topic.NodeID
	bytesMax  int
}

// queue finds where the letters of a share-partition belong, and makes the topic if that is asked for.
func (d *deadLetters) queue(ctx context.Context, key share.Key, name string) (letterBox, error) {
	b := d.broker
	if name == "" {
		return letterBox{}, fmt.Errorf("%w: it is no longer named", errNoLetters)
	}
	// The prefix is the broker's, and may be another one than when the group's config was judged.
	if want := judgeLetterQueue(name, b.config.Shares.LetterPrefix); want != "" {
		return letterBox{}, fmt.Errorf("%w: %q must be %s", errNoLetters, name, want)
	}
	view := b.cluster.View()
	t, known := view.TopicByName(name)
	if !known && !b.config.Shares.LetterTopics {
		return letterBox{}, fmt.Errorf("%w: topic %q does not exist, and %s is false", errNoLetters, name, configLetterTopics)
	}
	if !known {
		var why code
		view, why = b.createLetterTopic(ctx, name)
		if t, known = view.TopicByName(name); !known && why != codeNone && why != codeLeaderNotAvailable {
			return letterBox{}, fmt.Errorf("%w: create topic %q: %v", errNoLetters, name, why)
		}
		if !known {
			return letterBox{}, fmt.Errorf("%w: topic %q is not there yet", errCoordinatorShut, name)
		}
	}
	s := b.settingsOf(view, t)
	if !s.letters {
		return letterBox{}, fmt.Errorf("%w: topic %q has not %s=true", errNoLetters, name, configLetterTopic)
	}
	box := letterBox{id: t.ID, name: t.Name, partition: key.Partition % int32(len(t.Partitions)), bytesMax: s.messageBytesMax}
	if box.leader = t.Partitions[box.partition].Leader; box.leader == topic.NoNode {
		return letterBox{}, fmt.Errorf("%w: nobody leads partition %d of %q", errCoordinatorShut, box.partition, name)
	}
	return box, nil
}

// createLetterTopic makes a topic for dead letters, with the broker's defaults.
func (b *Broker) createLetterTopic(ctx context.Context, name string) (View, code) {
	c, mine := b.creations.join(name)
	if mine {
		b.propose(ctx, []topic.Creation{{
			ID: newTopicID(), Name: name, Partitions: b.config.Topics.Partitions,
			ReplicationFactor: b.config.Topics.ReplicationFactor,
			Configs:           map[string]string{configLetterTopic: "true", configTimestampType: "CreateTime"},
		}})
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return b.cluster.View(), codeLeaderNotAvailable
	}
	if !mayExist(c.err) {
		return b.cluster.View(), creationCode(c.err)
	}
	return b.awaitTopics(ctx, []string{name}), codeNone
}

// post appends letters where they belong. The broker that leads there is asked as clients do, this one too.
func (d *deadLetters) post(ctx context.Context, to letterBox, records []byte) error {
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks, q.TimeoutMillis = produceByID, -1, int32(letterWait.Milliseconds())
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = to.partition, records
	q.Topics = []kmsg.ProduceRequestTopic{{Topic: to.name, TopicID: to.id, Partitions: []kmsg.ProduceRequestTopicPartition{p}}}
	response, err := d.broker.peers.ask(ctx, to.leader, q)
	if err != nil {
		return err
	}
	topics := response.(*kmsg.ProduceResponse).Topics
	if len(topics) != 1 || len(topics[0].Partitions) != 1 {
		return fmt.Errorf("%w: nothing of the letters in the answer", errPeer)
	}
	switch why := code(topics[0].Partitions[0].ErrorCode); why {
	case codeNone:
		return nil
	case codeInvalidRecord, codeMessageTooLarge, codeInvalidTimestamp, codePolicyViolation, codeUnsupportedCompression:
		return fmt.Errorf("%w: topic %q: %v", errLetterRefused, to.name, why)
	default:
		return fmt.Errorf("%w: topic %q: %v", errCoordinatorShut, to.name, why)
	}
}
