package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// foundGroup is a group that is to be changed. How, goes by its protocol, which is empty if there is no such
// group.
type foundGroup struct {
	name     string
	protocol string
	members  int
}

// findGroup asks for a group in each of the protocols; the describe requests of one know nothing of the
// groups of another.
func findGroup(ctx context.Context, admin *kadm.Client, name string) (foundGroup, error) {
	consumers, err := admin.DescribeConsumerGroups(ctx, name)
	if err != nil {
		return foundGroup{}, fmt.Errorf("describe group %s: %w", name, err)
	}
	consumer, found := consumers[name]
	if err := refusal(name, found, consumer.Err); !errors.Is(err, errOtherProtocol) {
		return foundGroup{name, consumerGroup, len(consumer.Members)}, err
	}
	shares, err := admin.DescribeShareGroups(ctx, name)
	if err != nil {
		return foundGroup{}, fmt.Errorf("describe group %s: %w", name, err)
	}
	share, found := shares[name]
	if err := refusal(name, found, share.Err); !errors.Is(err, errOtherProtocol) {
		return foundGroup{name, shareGroup, len(share.Members)}, err
	}
	classics, err := admin.DescribeGroups(ctx, name)
	if err != nil {
		return foundGroup{}, fmt.Errorf("describe group %s: %w", name, err)
	}
	classic, found := classics[name]
	err = refusal(name, found, classic.Err)
	switch {
	case errors.Is(err, errOtherProtocol), err == nil && classic.State == deadGroup:
		return foundGroup{name: name}, nil
	default:
		return foundGroup{name, classicGroup, len(classic.Members)}, err
	}
}

// offsets are those that the group has committed, or from which on it shares; -1 where it has none yet.
func (g foundGroup) offsets(ctx context.Context, admin *kadm.Client) (kadm.Offsets, error) {
	doing := "fetch offsets of " + g.name
	if g.protocol != shareGroup {
		committed, err := admin.FetchOffsets(ctx, g.name)
		if err == nil {
			err = committed.Error()
		}
		if err != nil {
			return nil, explainGroup(doing, err)
		}
		return committed.Offsets(), nil
	}
	described, err := admin.DescribeShareGroupOffsets(ctx, g.name)
	if err == nil {
		err = described[g.name].Err
	}
	if err != nil {
		return nil, explainGroup(doing, err)
	}
	starts := kadm.Offsets{}
	for _, o := range described[g.name].Offsets.Sorted() {
		if o.Err != nil {
			return nil, explainGroup(fmt.Sprintf("%s in %s-%d", doing, o.Topic, o.Partition), o.Err)
		}
		starts.AddOffset(o.Topic, o.Partition, o.StartOffset, -1)
	}
	return starts, nil
}

// move has the group begin at other offsets. A group that is not there is made by it.
func (g foundGroup) move(ctx context.Context, admin *kadm.Client, to kadm.Offsets) error {
	if g.protocol != shareGroup {
		return explainGroup("commit offsets of "+g.name, admin.CommitAllOffsets(ctx, g.name, to))
	}
	doing := "alter offsets of " + g.name
	altered, err := admin.AlterShareGroupOffsets(ctx, g.name, to)
	if err != nil {
		return explainGroup(doing, err)
	}
	var failed []error
	altered.EachError(func(topic string, partition int32, err error) {
		failed = append(failed, explainGroup(fmt.Sprintf("%s in %s-%d", doing, topic, partition), err))
	})
	slices.SortFunc(failed, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(failed...)
}

// errNoGroup is what is said of a group that is not there.
func errNoGroup(doing string) error { return explainGroup(doing, kerr.GroupIDNotFound) }

// deadGroup is the state of a group that is not there, in versions before KIP-1043.
const deadGroup = "Dead"

// explainGroup adds what to do about the refusals that people meet.
func explainGroup(doing string, err error) error {
	switch {
	case errors.Is(err, kerr.NonEmptyGroup):
		return fmt.Errorf("%s: the group has members; stop its consumers first (%s)", doing, kerr.NonEmptyGroup.Message)
	case errors.Is(err, kerr.GroupSubscribedToTopic):
		return fmt.Errorf("%s: members of the group are subscribed to the topic; stop its consumers first (%s)",
			doing, kerr.GroupSubscribedToTopic.Message)
	case errors.Is(err, kerr.GroupIDNotFound):
		return fmt.Errorf("%s: there is no such group; `outrigger group list` names those that there are (%s)",
			doing, kerr.GroupIDNotFound.Message)
	default:
		return explain(doing, err, "")
	}
}
