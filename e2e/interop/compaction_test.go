package interop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// compactedTopic is read by every client once it was compacted: it has batches of which records are gone,
// and empty ones that stand for many.
const compactedTopic = "compacted"

const (
	compactedKeys  = 15
	compactedRound = 200
	compactedSize  = 4 << 10
	compactedFill  = 900 << 10
)

// compacts fills the topic until every broker has compacted it, and then has it left as it is.
func (c *cluster) compacts(ctx context.Context) error {
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	ctx, cancel := context.WithTimeout(ctx, cellWithin)
	defer cancel()
	policy, ratio := "compact", "0.01"
	if _, err := adm.CreateTopic(ctx, 3, int16(len(c.kafka)), map[string]*string{
		"cleanup.policy": &policy, "min.cleanable.dirty.ratio": &ratio}, compactedTopic); err != nil {
		return fmt.Errorf("create %s: %w", compactedTopic, err)
	}
	if err := c.topic(ctx, "filler", 1, 3); err != nil {
		return err
	}
	for wrote, left := 0, 1; c.http != nil && left*3 > wrote; {
		for _, codec := range []string{"none", "gzip"} {
			if _, err := c.write(ctx, compactedTopic, codec, overwriting(wrote)); err != nil {
				return err
			}
			wrote += compactedRound
		}
		// What is in the open file of the log is not compacted.
		if _, err := c.write(ctx, "filler", "none", []record{{0, -1, "", strings.Repeat("filler", compactedFill/6)}}); err != nil {
			return err
		}
		if c.each("outrigger_compaction_saved_bytes_total", float64(wrote*compactedSize/4)) != nil {
			left = wrote + 1
			continue
		}
		all, err := c.read(ctx, compactedTopic, false)
		if err != nil {
			return err
		}
		left = len(all)
	}
	ratio = "1"
	if _, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "min.cleanable.dirty.ratio", Value: &ratio}},
		compactedTopic); err != nil {
		return fmt.Errorf("stop the compaction: %w", err)
	}
	return eventually(ctx, func() error { return c.rests(ctx, adm) })
}

// overwriting are records of few keys, and now and then one of a key that is not written again.
func overwriting(from int) []record {
	all := numbered(from, compactedRound, 3)
	for i := range all {
		n := from + i
		all[i].key = fmt.Sprint("often ", n%compactedKeys)
		if n%101 == 0 {
			all[i].key = fmt.Sprint("once ", n)
		}
		all[i].value += strings.Repeat(strconv.Itoa(n%10), compactedSize)
	}
	return all
}

// rests wants no compaction to be under way, nor to come.
func (c *cluster) rests(ctx context.Context, adm *kadm.Client) error {
	configs, err := adm.DescribeTopicConfigs(ctx, compactedTopic)
	if err != nil {
		return err
	}
	for _, value := range configs[0].Configs {
		if value.Key == "min.cleanable.dirty.ratio" && value.MaybeValue() != "1" {
			return fmt.Errorf("%s is %s", value.Key, value.MaybeValue())
		}
	}
	for i := range c.http {
		if progress, err := c.metric(i, "outrigger_compaction_progress"); err != nil || progress > 0 {
			return fmt.Errorf("broker %d compacts, %v of it is done: %w", i+1, progress, err)
		}
	}
	return nil
}

// each wants a metric to be so much at every broker.
func (c *cluster) each(name string, want float64) error {
	for i := range c.http {
		if got, err := c.metric(i, name); err != nil || got < want {
			return fmt.Errorf("broker %d: %s is %v, want %v: %w", i+1, name, got, want, err)
		}
	}
	return nil
}

func (c *cluster) metric(broker int, name string) (float64, error) {
	r, err := httpClient.Get("http://" + c.http[broker] + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

// consumesCompacted reads what compaction has left, as another client sees it. It does so again if meanwhile the log
// has lost something: what is drained later leaves out what later records have overwritten, whatever the ratio.
func consumesCompacted(ctx context.Context, c *cluster, cl *client) error {
	want, err := c.read(ctx, compactedTopic, false)
	if err != nil {
		return err
	}
	for before := error(nil); ; {
		attempt, cancel := context.WithTimeout(ctx, cellWithin/3)
		failed := reads(attempt, c, cl, member{topic: compactedTopic}, want, nil)
		cancel()
		if failed == nil {
			return nil
		}
		now, err := c.read(ctx, compactedTopic, false)
		if err != nil {
			return errors.Join(before, failed, err)
		}
		if slices.Equal(now, want) {
			return errors.Join(before, failed)
		}
		before = errors.Join(before, fmt.Errorf("of %d records %d were left: %w", len(want), len(now), failed))
		want = now
	}
}
