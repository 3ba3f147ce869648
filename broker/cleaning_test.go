package broker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/partition"
)

// cleaned is a tuned broker whose topic is compacted, by itself, on a node where nothing else happens.
type cleaned struct {
	*tuned
	number int
}

func startCleaned(t *testing.T, edit ...func(*Config)) *cleaned {
	t.Helper()
	h := startWith(t, func(c *partition.Config) {
		c.WAL.FileBytes, c.Catalog = 4<<20, &catalogtest.Catalog{}
		c.CompactBackoff, c.RollBackoff = 10*time.Millisecond, 50*time.Millisecond
	}, edit...)
	h.create("t", 1)
	c := &cleaned{tuned: &tuned{h, h.dial()}}
	c.set(configCleanupPolicy, "compact")
	c.set(configDirtyRatio, "0")
	return c
}

// put produces the next value of a key, as of so long ago; without a value if it is to be a tombstone.
func (c *cleaned) put(key string, ago time.Duration, tombstone ...bool) {
	c.Helper()
	c.number++
	r := batch.Record{Timestamp: time.Now().Add(-ago).UnixMilli(), Key: []byte(key), Value: fmt.Append(nil, c.number)}
	if len(tombstone) > 0 {
		r.Value = nil
	}
	b := batch.NewBuilder(batch.CodecNone)
	b.Add(r)
	made, err := b.Build()
	if err != nil {
		c.Fatal(err)
	}
	c.produced(key, made, codeNone)
}

// kept are the records that a consumer gets, as key=value, or the key alone.
func (c *cleaned) kept() (all []string) {
	c.Helper()
	end := int64(c.cluster.log(c, "t", 0).State().HighWatermark)
	for from := int64(0); from < end; {
		raw, header := c.stored(from)
		for r, err := range batch.Records(raw) {
			if err != nil {
				c.Fatal(err)
			}
			if all = append(all, string(r.Key)); r.Value != nil {
				all[len(all)-1] += "=" + string(r.Value)
			}
		}
		from = header.LastOffset() + 1
	}
	return all
}

// becomes waits until that is what consumers get.
func (c *cleaned) becomes(what string, want ...string) {
	c.Helper()
	var got []string
	defer func() {
		if c.Failed() {
			c.Logf("%s: got %v, want %v", what, got, want)
		}
	}()
	eventually(c, what, func() bool {
		c.store.Tick()
		got = c.kept()
		return slices.Equal(got, want)
	})
}

// rounds lets the store look for work so many times.
func (c *cleaned) rounds(n int) {
	c.Helper()
	for range n {
		before := time.Now()
		eventually(c, "time passes", func() bool {
			c.store.Tick()
			return time.Since(before) > 15*time.Millisecond
		})
	}
}

// max.compaction.lag.ms, on an otherwise idle broker: what was overwritten goes within it and a little more, however
// little is written and whatever the ratio. A topic without it keeps the value until a file is full.
func TestOverwrittenValuesGoWithinTheCompactionLag(t *testing.T) {
	const lag = 1500 * time.Millisecond
	h := startCleaned(t)
	h.set(configDirtyRatio, "1")
	h.put("a", 0)
	h.put("a", 0)
	h.put("b", 0)
	h.becomes("nothing goes yet", "a=1", "a=2", "b=3")
	h.rounds(20)
	h.becomes("nothing goes without a lag", "a=1", "a=2", "b=3")
	h.set(configMaxLag, fmt.Sprint(lag.Milliseconds()))
	h.becomes("the overwritten value goes", "a=2", "b=3")
	h.put("b", 0, true)
	began := time.Now()
	h.becomes("what a tombstone deletes goes", "a=2", "b")
	if took := time.Since(began); took < lag {
		t.Errorf("the deleted value went after %v, want it there for %v", took, lag)
	}
}

// segment.ms and min.cleanable.dirty.ratio: what has waited for so long is compacted if that share is new.
func TestDirtyRatioDecidesWhatIsCompacted(t *testing.T) {
	h := startCleaned(t)
	h.set(configDirtyRatio, "1")
	h.set(configSegmentMillis, "50")
	h.put("a", 0)
	h.put("a", 0)
	h.becomes("nothing goes by that ratio", "a=1", "a=2")
	eventually(t, "the log is drained", func() bool { h.store.Tick(); return h.store.Stats().Drain.Files > 0 })
	h.rounds(10)
	h.becomes("nothing goes by that ratio", "a=1", "a=2")
	h.set(configDirtyRatio, "0.5")
	h.becomes("half of it is new", "a=2")
}

// min.compaction.lag.ms: who reads within it misses no value, however often a key is overwritten.
func TestYoungValuesAreNotCompacted(t *testing.T) {
	h := startCleaned(t)
	h.set(configMinLag, "3600000")
	h.set(configSegmentMillis, "50")
	h.put("a", 3*time.Hour)
	h.put("a", 2*time.Hour)
	h.put("a", time.Minute)
	h.put("a", 0)
	h.becomes("what is old and was overwritten by what is old goes", "a=2", "a=3", "a=4")
	h.rounds(20)
	h.becomes("no more goes", "a=2", "a=3", "a=4")
}

// delete.retention.ms: a tombstone stays for so long after it was compacted, so that consumers hear of the deletion.
func TestTombstonesStayForTheirRetention(t *testing.T) {
	h := startCleaned(t)
	h.set(configSegmentMillis, "50")
	h.put("a", 0)
	h.put("a", 0, true)
	h.put("b", 0)
	h.becomes("the deleted value goes", "a", "b=3")
	h.put("b", 0)
	h.becomes("the tombstone stays", "a", "b=4")
	h.set(configDeleteRetention, "0")
	h.put("b", 0, true)
	h.becomes("the deleted value goes", "a", "b")
	h.put("c", 0)
	h.becomes("the second tombstone goes, the first has a day from its compaction on", "a", "c=6")
}

// log.cleaner.enable=false: nothing is compacted, whatever topics ask for, and no file is sealed for that.
func TestNothingIsCompactedWithoutTheCleaner(t *testing.T) {
	h := startCleaned(t, func(c *Config) { c.Topics.CleanerOff = true })
	h.set(configSegmentMillis, "1")
	h.set(configMaxLag, "1")
	h.put("a", time.Hour)
	h.put("a", time.Hour)
	h.rounds(20)
	h.becomes("all values stay", "a=1", "a=2")
	if got := h.store.Stats(); got.Drain.Rolled > 0 || got.Compaction.Logs > 0 {
		t.Errorf("got %d files sealed early, %d logs compacted, want none", got.Drain.Rolled, got.Compaction.Logs)
	}
}
