package cluster

import (
	"maps"
	"math"
	"slices"
	"testing"

	"outrigger/broker/topic"
)

// configure sets a topic's configs whatever they are.
func configure(id topic.ID, values map[string]string) AlterConfigs {
	return AlterConfigs{Changes: []topic.ConfigChange{{
		Kind: topic.TopicConfigs, ID: id, Epoch: topic.AnyEpoch, Values: values,
	}}}
}

// configureBrokers sets the configs of a broker, or of all under the empty name, by compare-and-set.
func configureBrokers(name string, epoch int32, values map[string]string) AlterConfigs {
	return AlterConfigs{Changes: []topic.ConfigChange{{
		Kind: topic.BrokerConfigs, Name: name, Epoch: epoch, Values: values,
	}}}
}

// TestConfigsAreComparedAndSet: of two changes derived from the same configs the second loses, and a
// change that is made again is success.
func TestConfigsAreComparedAndSet(t *testing.T) {
	w := newWorld(t, 2)
	id := w.create("t", 1, nil, 1, 2)
	change := func(epoch int32, values map[string]string) AlterConfigs {
		c := configure(id, values)
		c.Changes[0].Epoch = epoch
		return c
	}
	w.must(change(0, minimum("1")))
	w.must(change(0, minimum("1")))
	w.gets(Stale, change(0, minimum("2")))
	w.must(change(1, minimum("2")))
	if got, _ := w.im.TopicByID(id); got.ConfigEpoch != 2 || got.Configs[ConfigMinInSync] != "2" {
		t.Errorf("got %v at epoch %d, want the minimum 2 at epoch 2", got.Configs, got.ConfigEpoch)
	}
	w.must(configureBrokers("1", 0, map[string]string{"max.connections": "5"}))
	w.gets(Stale, configureBrokers("1", 0, nil))
	w.must(configureBrokers("1", 1, nil))
	w.gets(Stale, configureBrokers("1", 0, map[string]string{"max.connections": "5"}))
	w.gets(Unknown, configureBrokers("3", 0, nil))
	w.gets(Unknown, configureBrokers("01", 0, nil))
	w.gets(InvalidConfig, configureBrokers("1", 2, minimum("1")))
	w.gets(InvalidConfig, configureBrokers("", 0, minimum("none")))
	w.gets(Refused, AlterConfigs{Changes: []topic.ConfigChange{{Kind: 99, Name: "x"}}})
}

// TestGroupsHaveConfigsOfTheirOwn, by compare-and-set, and they are in a snapshot.
func TestGroupsHaveConfigsOfTheirOwn(t *testing.T) {
	w := newWorld(t, 1)
	change := func(name string, epoch int32, values map[string]string) AlterConfigs {
		return AlterConfigs{Changes: []topic.ConfigChange{{
			Kind: topic.GroupConfigs, Name: name, Epoch: epoch, Values: values,
		}}}
	}
	session := map[string]string{"consumer.session.timeout.ms": "50000"}
	w.must(change("b", 0, session))
	w.must(change("a", 0, session))
	w.gets(Stale, change("a", 0, nil))
	w.must(change("a", 1, nil))
	w.gets(Refused, change("", 0, session))
	if got := w.im.Configured(topic.GroupConfigs); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("configured: got %v, want a and b", got)
	}
	if got := w.im.Configs(topic.GroupConfigs, "b"); !maps.Equal(got.Values, session) || got.Epoch != 1 {
		t.Errorf("configs of b: got %+v, want %v in epoch 1", got, session)
	}
}

// TestBrokersConfigsAreInherited by topics that are silent, over the defaults of the controller, and
// whoever is eligible is forgotten in the record that lowers the minimum.
func TestBrokersConfigsAreInherited(t *testing.T) {
	w := newWorld(t, 3)
	w.must(SetDefaults{MinInSync: 2})
	own := w.create("own", 1, minimum("2"), 1, 2, 3)
	inherits := w.create("inherits", 1, nil, 1, 2, 3)
	w.must(w.alter(own, member(1, 1)))
	w.must(w.alter(inherits, member(1, 1)))
	w.must(configureBrokers("", 0, minimum("1")))
	w.wants(own, "leader 1 epoch 0 isr [1.1] eligible [2.1 3.1] last []")
	w.wants(inherits, "leader 1 epoch 0 isr [1.1] eligible [] last []")
	w.must(SetDefaults{MinInSync: 3})
	w.im = reopened(t, w.im)
	if got := w.im.Inherited().MinInSync; got != 1 {
		t.Errorf("inherited minimum: got %d, want 1: what was set while running goes before", got)
	}
	w.must(configureBrokers("", 1, nil))
	if got := w.im.Inherited(); got != w.im.Defaults() {
		t.Errorf("inherited: got %+v, want the defaults %+v", got, w.im.Defaults())
	}
	w.must(fence(1, 1))
	w.wants(inherits, "leader -1 epoch 1 isr [] eligible [1.1] last []")
	w.must(configureBrokers("", 2, map[string]string{ConfigUncleanElection: "true"}))
	if got := w.partition(inherits, 0); got.Leader != 2 || !got.Unclean {
		t.Errorf("got %+v, want node 2 elected uncleanly at once", got)
	}
}

// TestConfigsSurviveASnapshot, and an image of the version before them is still read.
func TestConfigsSurviveASnapshot(t *testing.T) {
	w := newWorld(t, 2)
	id := w.create("t", 1, minimum("1"), 1, 2)
	w.must(configure(id, minimum("2")))
	values := map[string]string{"max.connections": "7"}
	w.must(configureBrokers("2", 0, values))
	fresh := reopened(t, w.im)
	if got := fresh.Configs(topic.BrokerConfigs, "2"); got.Epoch != 1 || !maps.Equal(got.Values, values) {
		t.Errorf("broker: got %+v, want %v at epoch 1", got, values)
	}
	if got, _ := fresh.TopicByID(id); got.ConfigEpoch != 1 {
		t.Errorf("topic: got epoch %d, want 1", got.ConfigEpoch)
	}
	if minimum := fresh.Inherited().MinInSync; minimum < 1 || minimum == math.MaxInt32 {
		t.Errorf("inherited minimum: got %d", minimum)
	}
	old := Empty().Encode()
	old[0] = imageVersionStatic // which ends before the configs and the voters
	if im, err := DecodeImage(old[:len(old)-2]); err != nil || im.Inherited() != im.Defaults() {
		t.Errorf("image of version 1: got %v, want it read", err)
	}
}
