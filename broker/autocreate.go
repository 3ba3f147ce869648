package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"outrigger/broker/topic"
)

// creations remembers the automatic creations that this broker has under way, so that a hundred
// producers that meet a new topic at once make one proposal.
type creations struct {
	mu       sync.Mutex
	inFlight map[string]*creation
}

// creation is one automatic creation; err is set before done is closed.
type creation struct {
	done chan struct{}
	err  error
}

// join returns the creation of name, and whether the caller is to carry it out.
func (c *creations) join(name string) (*creation, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if under, ok := c.inFlight[name]; ok {
		return under, false
	}
	mine := &creation{done: make(chan struct{})}
	c.inFlight[name] = mine
	return mine, true
}

// settle ends a creation.
func (c *creations) settle(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	under := c.inFlight[name]
	delete(c.inFlight, name)
	under.err = err
	close(under.done)
}

// notAutoCreated are the topics that coordinators will make for themselves. An ordinary topic in
// their place would be in their way for ever.
var notAutoCreated = map[string]bool{
	"__consumer_offsets": true, "__transaction_state": true, "__share_group_state": true,
}

// autoCreate creates the named topics with the defaults: the one path by which a topic comes to be
// without CreateTopics. It returns the newest view and what to answer for those that are not in it.
func (b *Broker) autoCreate(ctx context.Context, view View, names []string) (View, map[string]code) {
	if len(names) == 0 {
		return view, nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.config.Requests.AutoCreateWait)
	defer cancel()
	under := map[string]*creation{}
	var mine []topic.Creation
	for _, name := range names {
		if topic.ValidateName(name) != nil || notAutoCreated[name] || under[name] != nil {
			continue
		}
		c, owned := b.creations.join(name)
		under[name] = c
		if owned {
			mine = append(mine, topic.Creation{
				ID: newTopicID(), Name: name, Partitions: b.config.Topics.Partitions,
				ReplicationFactor: b.config.Topics.ReplicationFactor,
			})
		}
	}
	b.propose(ctx, mine)
	refused := map[string]code{}
	var expected []string
	for name, c := range under {
		refused[name] = codeLeaderNotAvailable
		select {
		case <-c.done:
			refused[name] = creationCode(c.err)
			if mayExist(c.err) {
				expected = append(expected, name)
			}
		case <-ctx.Done():
		}
	}
	return b.awaitTopics(ctx, expected), refused
}

// mayExist reports whether the topic is known to exist, or may, though it is not in the view yet.
func mayExist(err error) bool {
	return err == nil || errors.Is(err, topic.ErrNameTaken) || errors.Is(err, topic.ErrOutcomeUnknown)
}

// propose carries out the creations that this request owns, and settles all of them.
func (b *Broker) propose(ctx context.Context, mine []topic.Creation) {
	if len(mine) == 0 {
		return
	}
	for i, err := range oneEach(b.cluster.CreateTopics(ctx, mine), len(mine)) {
		b.creations.settle(mine[i].Name, err)
		if b.judge("Metadata", err) == codeNone {
			b.logger.Info("created topic on demand", keyTopic, mine[i].Name,
				keyPartitions, mine[i].Partitions, keyReplicas, mine[i].ReplicationFactor)
		}
	}
}

// creationCode turns what became of a creation into what a metadata answer says while the topic is
// not in the view. LEADER_NOT_AVAILABLE makes clients ask again, and soon.
func creationCode(err error) code {
	for _, refusal := range []error{
		topic.ErrInvalidName, topic.ErrInvalidPartitions, topic.ErrInvalidReplicationFactor,
		topic.ErrInvalidAssignment, topic.ErrInvalidConfig,
	} {
		if errors.Is(err, refusal) {
			return codeBefore(err)
		}
	}
	return codeLeaderNotAvailable
}

// awaitTopics waits until the view holds all names: another broker may have created one, and its
// record may not have reached us yet.
func (b *Broker) awaitTopics(ctx context.Context, names []string) View {
	for {
		changed := b.cluster.Changed()
		view := b.cluster.View()
		waiting := false
		for _, name := range names {
			_, there := view.TopicByName(name)
			waiting = waiting || !there
		}
		if !waiting {
			return view
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return view
		}
	}
}

// newTopicID draws an id. Kafka's tools take ids on their command lines, so none begins with a dash.
func newTopicID() topic.ID {
	for {
		var id topic.ID
		_, _ = rand.Read(id[:]) // it never fails; the program ends instead
		if id.String()[0] != '-' && !reservedID(id) {
			return id
		}
	}
}

// reservedID: Kafka keeps the ids 0, 1 and 2 to itself.
func reservedID(id topic.ID) bool {
	for _, b := range id[:len(id)-1] {
		if b != 0 {
			return false
		}
	}
	return id[len(id)-1] <= 2
}
