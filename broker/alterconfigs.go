package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// incrementalAlterConfigs changes single configs of topics and brokers (KIP-339).
func (b *Broker) incrementalAlterConfigs(
	ctx context.Context, _ *request, q *kmsg.IncrementalAlterConfigsRequest,
) kmsg.Response {
	all := make([]*alteration, len(q.Resources))
	for i := range q.Resources {
		asked := &q.Resources[i]
		all[i] = &alteration{kind: asked.ResourceType, name: asked.ResourceName}
		for j := range asked.Configs {
			c := &asked.Configs[j]
			all[i].edits = append(all[i].edits, configEdit{c.Name, c.Op, c.Value})
		}
	}
	b.alterConfigsOf(ctx, all, q.ValidateOnly)
	response := kmsg.NewPtrIncrementalAlterConfigsResponse()
	for _, a := range all {
		answer := kmsg.NewIncrementalAlterConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = a.kind, a.name
		answer.ErrorCode, answer.ErrorMessage = b.outcome("IncrementalAlterConfigs", a.err)
		response.Resources = append(response.Resources, answer)
	}
	return response
}

// alterConfigs replaces all that is set for topics and brokers: what is not named is deleted.
func (b *Broker) alterConfigs(
	ctx context.Context, _ *request, q *kmsg.AlterConfigsRequest,
) kmsg.Response {
	all := make([]*alteration, len(q.Resources))
	for i := range q.Resources {
		asked := &q.Resources[i]
		all[i] = &alteration{kind: asked.ResourceType, name: asked.ResourceName, whole: true}
		for j := range asked.Configs {
			c := &asked.Configs[j]
			all[i].edits = append(all[i].edits, configEdit{c.Name, kmsg.IncrementalAlterConfigOpSet, c.Value})
		}
	}
	b.alterConfigsOf(ctx, all, q.ValidateOnly)
	response := kmsg.NewPtrAlterConfigsResponse()
	for _, a := range all {
		answer := kmsg.NewAlterConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = a.kind, a.name
		answer.ErrorCode, answer.ErrorMessage = b.outcome("AlterConfigs", a.err)
		response.Resources = append(response.Resources, answer)
	}
	return response
}

// outcome is an error as most administrative APIs tell it.
func (b *Broker) outcome(api string, err error) (int16, *string) {
	if err == nil {
		return 0, nil
	}
	why := b.judge(api, err)
	b.meters.failure(api, why)
	return int16(why), kmsg.StringPtr(err.Error())
}

// alteration is one resource of which configs are to be changed.
type alteration struct {
	kind  kmsg.ConfigResourceType
	name  string
	edits []configEdit
	// whole: what no edit names is deleted.
	whole  bool
	change topic.ConfigChange
	err    error
}

// configEdit is one change of one config.
type configEdit struct {
	name  string
	op    kmsg.IncrementalAlterConfigOp
	value *string
}

// alterConfigsOf changes what was asked for, each resource by itself. The edits are worked out on the
// configs as they are and proposed by compare-and-set. When another change came first they are worked
// out again, until ctx ends. An edit that was made, but of which we have not heard before somebody else
// made another, is then made twice: as if it had come later.
func (b *Broker) alterConfigsOf(ctx context.Context, all []*alteration, validateOnly bool) {
	ctx, cancel := b.within(ctx, 0)
	defer cancel()
	refuseTwins(all)
	pending := all
	for {
		pending = slices.DeleteFunc(slices.Clone(pending), func(a *alteration) bool { return a.err != nil })
		if len(pending) == 0 {
			return
		}
		stale := b.cluster.Fresh(ctx)
		view := b.cluster.View()
		var changes []topic.ConfigChange
		var proposed []*alteration
		for _, a := range pending {
			if a.err = stale; stale == nil {
				a.err = b.planAlteration(view, a)
			}
			if a.err == nil {
				changes, proposed = append(changes, a.change), append(proposed, a)
			}
		}
		if validateOnly || len(changes) == 0 {
			return
		}
		pending = nil
		for i, err := range oneEach(b.cluster.AlterConfigs(ctx, changes), len(changes)) {
			if errors.Is(err, topic.ErrStale) {
				pending = append(pending, proposed[i])
				continue
			}
			proposed[i].err = err
		}
	}
}

// refuseTwins refuses every resource that stands there more than once.
func refuseTwins(all []*alteration) {
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	first := map[resource]*alteration{}
	for _, a := range all {
		twin, twice := first[resource{a.kind, a.name}]
		if !twice {
			first[resource{a.kind, a.name}] = a
			continue
		}
		a.err = fmt.Errorf("%w: resource %q is named twice", errInvalidRequest, a.name)
		twin.err = a.err
	}
}

// planAlteration works out what a resource's configs are to be.
func (b *Broker) planAlteration(view View, a *alteration) error {
	var current topic.ConfigSet
	var rules configRules
	switch a.kind {
	case kmsg.ConfigResourceTypeTopic:
		if a.name == "" {
			return fmt.Errorf("%w: no topic is named; what all topics inherit is set for all brokers", errInvalidRequest)
		}
		if err := topic.ValidateName(a.name); err != nil {
			return err
		}
		t, known := view.TopicByName(a.name)
		if !known {
			return fmt.Errorf("%w: %q", topic.ErrUnknown, a.name)
		}
		a.change = topic.ConfigChange{Kind: topic.TopicConfigs, ID: t.ID}
		current = topic.ConfigSet{Values: t.Configs, Epoch: t.ConfigEpoch}
		rules = b.topicDefaults(view)
	case kmsg.ConfigResourceTypeBroker:
		if err := judgeBrokerName(view, a.name); err != nil {
			return err
		}
		a.change = topic.ConfigChange{Kind: topic.BrokerConfigs, Name: a.name}
		current = view.Configs(topic.BrokerConfigs, a.name)
		rules = b.brokerRules(a.name)
	case kmsg.ConfigResourceTypeGroupConfig:
		if a.name == "" {
			return fmt.Errorf("%w: no group is named", errInvalidRequest)
		}
		a.change = topic.ConfigChange{Kind: topic.GroupConfigs, Name: a.name}
		current = view.Configs(topic.GroupConfigs, a.name)
		rules = groupRules{b}
	case kmsg.ConfigResourceTypeClientMetrics:
		return fmt.Errorf("%w: %s configs are not supported yet", topic.ErrInvalidConfig, resourceWord(a.kind))
	default:
		return fmt.Errorf("%w: configs of %s cannot be altered", errInvalidRequest, resourceWord(a.kind))
	}
	a.change.Epoch = current.Epoch
	var err error
	a.change.Values, err = a.edit(current.Values, rules)
	return err
}

func resourceWord(kind kmsg.ConfigResourceType) string {
	return strings.ToLower(strings.ReplaceAll(kind.String(), "_", " "))
}

// configRules say what may be set for a resource.
type configRules interface {
	// find returns the type of a key and what holds while it is not set.
	find(name string) (kind kmsg.ConfigType, inherited string, err error)
	// judge refuses a value, or says whether it is worth keeping: one that asks for what happens
	// anyway, of a key that is not honoured yet, is not.
	judge(name, value string) (keep bool, err error)
	// consistent refuses values that are right each by itself and not together.
	consistent(set map[string]string) error
}

// edit returns what is to be set after the edits. Only what is edited is judged: what was set before
// stays, whatever this broker thinks of it.
func (a *alteration) edit(before map[string]string, rules configRules) (map[string]string, error) {
	after := map[string]string{}
	if !a.whole {
		maps.Copy(after, before)
	}
	edited := map[string]bool{}
	for _, e := range a.edits {
		if edited[e.name] {
			return nil, fmt.Errorf("%w: config %s is named twice", errInvalidRequest, e.name)
		}
		edited[e.name] = true
		if e.op == kmsg.IncrementalAlterConfigOpDelete {
			delete(after, e.name) // as in Kafka, whether or not there is such a key
			continue
		}
		kind, inherited, err := rules.find(e.name)
		if err != nil {
			return nil, err
		}
		if set, isSet := after[e.name]; isSet {
			inherited = set
		}
		value, err := e.result(kind, inherited)
		if err != nil {
			return nil, err
		}
		keep, err := rules.judge(e.name, value)
		if err != nil {
			return nil, err
		}
		if delete(after, e.name); keep {
			after[e.name] = value
		}
	}
	return after, rules.consistent(after)
}

// result is the value after an edit that leaves one.
func (e configEdit) result(kind kmsg.ConfigType, present string) (string, error) {
	if e.value == nil {
		return "", fmt.Errorf("%w: config %s has no value", errInvalidRequest, e.name)
	}
	if e.op == kmsg.IncrementalAlterConfigOpSet {
		return *e.value, nil
	}
	if e.op != kmsg.IncrementalAlterConfigOpAppend && e.op != kmsg.IncrementalAlterConfigOpSubtract {
		return "", fmt.Errorf("%w: operation %d on config %s", errInvalidRequest, e.op, e.name)
	}
	if kind != kmsg.ConfigTypeList {
		return "", fmt.Errorf("%w: %s is no list, so nothing can be appended to or subtracted from it",
			topic.ErrInvalidConfig, e.name)
	}
	parts := partsOf(present)
	for _, part := range partsOf(*e.value) {
		parts = slices.DeleteFunc(parts, func(p string) bool {
			return p == part && e.op == kmsg.IncrementalAlterConfigOpSubtract
		})
		if e.op == kmsg.IncrementalAlterConfigOpAppend && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ","), nil
}

// partsOf takes a comma-separated list apart.
func partsOf(value string) []string {
	var parts []string
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
