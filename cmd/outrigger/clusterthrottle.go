package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/cmd/outrigger/internal/moves"
)

// Configs of Kafka's by which the filling of replicas is slowed down: rates of brokers, lists of topics.
const (
	leaderRateConfig     = "leader.replication.throttled.rate"
	followerRateConfig   = "follower.replication.throttled.rate"
	leaderListedConfig   = "leader.replication.throttled.replicas"
	followerListedConfig = "follower.replication.throttled.replicas"
)

// throttledMax bounds the topics that status names in one line.
const throttledMax = 10

// throttleView is what bounds the filling of replicas of a broker, in bytes per second; nil where nothing does.
type throttleView struct {
	// Moves bounds those that reassignments bring, Leader and Follower those that topics list.
	Moves    *int64 `json:"moves,omitempty"`
	Leader   *int64 `json:"leader,omitempty"`
	Follower *int64 `json:"follower,omitempty"`
}

// throttledTopic is a topic that lists replicas.
type throttledTopic struct {
	Topic    string `json:"topic"`
	Leader   string `json:"leader"`
	Follower string `json:"follower"`
}

// note takes a config of the broker.
func (t *throttleView) note(c kadm.Config) {
	to := map[string]**int64{moves.RateConfig: &t.Moves, leaderRateConfig: &t.Leader, followerRateConfig: &t.Follower}[c.Key]
	rate, err := strconv.ParseInt(c.MaybeValue(), 10, 64)
	if to != nil && err == nil && rate < math.MaxInt64 {
		*to = &rate
	}
}

func (t throttleView) String() string {
	var parts []string
	for _, of := range []struct {
		name string
		rate *int64
	}{{"moves", t.Moves}, {"leader", t.Leader}, {"follower", t.Follower}} {
		if of.rate != nil {
			parts = append(parts, fmt.Sprintf("%s %d bytes/s", of.name, *of.rate))
		}
	}
	return strings.Join(parts, ", ")
}

// askThrottled asks which topics list replicas. Without a rate that counts for them nobody has to know.
func (v *clusterView) askThrottled(ctx context.Context, a *admins) error {
	counts := func(b brokerView) bool { return b.Throttle.Leader != nil || b.Throttle.Follower != nil }
	if !slices.ContainsFunc(v.Brokers, counts) {
		return nil
	}
	q := kmsg.NewPtrDescribeConfigsRequest()
	for i, p := range v.partitions {
		if i > 0 && p.Topic == v.partitions[i-1].Topic {
			continue
		}
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, p.Topic
		resource.ConfigNames = []string{leaderListedConfig, followerListedConfig}
		q.Resources = append(q.Resources, resource)
	}
	r, err := q.RequestWith(ctx, a.client)
	if err != nil {
		return fmt.Errorf("describe configs of topics: %w", err)
	}
	for _, of := range r.Resources {
		if of.ErrorCode == kerr.UnknownTopicOrPartition.Code {
			continue // deleted meanwhile
		}
		if err := kerr.ErrorForCode(of.ErrorCode); err != nil {
			return fmt.Errorf("describe configs of topic %s: %w", of.ResourceName, err)
		}
		t := throttledTopic{Topic: of.ResourceName}
		for _, c := range of.Configs {
			if to := map[string]*string{leaderListedConfig: &t.Leader, followerListedConfig: &t.Follower}[c.Name]; to != nil {
				*to = deref(c.Value)
			}
		}
		if t.Leader+t.Follower != "" {
			v.ThrottledTopics = append(v.ThrottledTopics, t)
		}
	}
	return nil
}

// writeThrottles tells what slows down the filling of replicas.
func (v *clusterView) writeThrottles(out io.Writer) error {
	text := ""
	for _, b := range v.Brokers {
		if said := b.Throttle.String(); said != "" {
			text += fmt.Sprintf("throttle of broker %d: %s\n", b.Broker, said)
		}
	}
	if text == "" {
		return nil
	}
	var names []string
	for _, t := range v.ThrottledTopics {
		names = append(names, t.Topic)
	}
	if more := len(names) - throttledMax; more > 0 {
		names = append(names[:throttledMax], fmt.Sprintf("%d more", more))
	}
	if len(names) > 0 {
		text += "leader and follower rates count for replicas of " + strings.Join(names, ", ") + "\n"
	}
	if len(v.Reassignments) == 0 && slices.ContainsFunc(v.Brokers, func(b brokerView) bool { return b.Throttle.Moves != nil }) {
		text += "nothing moves: `outrigger cluster cancel` ends the throttle of moves\n"
	}
	_, err := fmt.Fprintf(out, "\n%s", text)
	return err
}
