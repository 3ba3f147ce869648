package e2e

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestExactlyOnceChainSurvivesKilledBrokers: every input comes through three stages of transactions once,
// while brokers are killed with -9 and in each stage a member leaves and another one joins; and no reader of
// committed records waits for longer than a transaction may take, and what a partition needs to have a leader.
// OUTRIGGER_CHAIN, a duration, makes it go on for so long, with a kill every second or two.
func TestExactlyOnceChainSurvivesKilledBrokers(t *testing.T) {
	const (
		killsMin = 3
		each     = 500
	)
	var long time.Duration
	if wanted := os.Getenv("OUTRIGGER_CHAIN"); wanted != "" {
		var err error
		if long, err = time.ParseDuration(wanted); err != nil {
			t.Fatalf("OUTRIGGER_CHAIN: %v", err)
		}
	}
	c := &chain{cluster: start(t, options{restart: true, args: []string{"--set", "group.min.session.timeout.ms=2000",
		"--set", "group.initial.rebalance.delay.ms=0"}})}
	c.mu.committed = map[string]int{}
	var topics []string
	for stage := range chainStages + 1 {
		topics = append(topics, chainTopic(stage))
		c.createTopic(0, chainTopic(stage), chainPartitions, 3)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+2*long)
	defer c.members.Wait()
	defer cancel()
	watched := c.watchStability(chainTimeout+chainStable, append(slices.Clone(topics), "__consumer_offsets")...)
	defer watched()
	c.join(ctx, 0)
	leave := c.join(ctx, 1)
	c.joined(0, 1)
	began, kills := time.Now(), 0
	for ; kills < killsMin || time.Since(began) < long; kills++ {
		c.feed(ctx, kills*each, each)
		victim := rand.IntN(3)
		c.signal(victim, syscall.SIGKILL)
		leave()
		leave = c.join(ctx, kills+2)
		c.serves(victim)
	}
	c.joined(0, kills+1)
	began = time.Now()
	c.feed(ctx, kills*each, each)
	records := (kills + 1) * each
	c.arrived(ctx, records)
	t.Logf("%d records came through %d kills, the last %v after the last were fed", records, kills, time.Since(began).Round(time.Millisecond))
	cancel()
	c.members.Wait()
	c.decided(20 * time.Second)
	c.stable(watched(), topics)
	c.worked(kills + 1)
	c.exactlyOnce(records)
	if got := c.aborted(records); got <= 0 {
		t.Errorf("records of aborted transactions: got %d, want some, which were not read", got)
	}
	c.abortsByHand()
	c.decided(20 * time.Second)
	c.exactlyOnce(records)
}

// stable requires that no last stable offset has stood still for too long, and that all of them were watched.
func (c *chain) stable(seen *stability, topics []string) {
	c.t.Helper()
	for _, how := range seen.stuck {
		c.t.Errorf("%s, want at most %s", how, seen.limit)
	}
	const answers = 5
	for _, topic := range topics {
		for p := range int32(chainPartitions) {
			if got := seen.told[watchedPartition{topic, p}]; got < answers {
				c.t.Errorf("%s/%d has told its last stable offset %d times, want at least %d", topic, p, got, answers)
			}
		}
	}
	c.t.Logf("the last stable offset that stood for longest did so for %s", seen.longest.Round(time.Millisecond))
}

// abortsByHand has an operator abort a transaction whose producer is stuck.
func (c *chain) abortsByHand() {
	stuck, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.TransactionalID("stuck"), kgo.DefaultProduceTopic(chainTopic(3)))
	if err != nil {
		c.t.Fatal(err)
	}
	defer stuck.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := stuck.BeginTransaction(); err != nil {
		c.t.Fatal(err)
	}
	if err := stuck.ProduceSync(ctx, kgo.StringRecord("never committed")).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
	if out := c.run("txn", "list", "--state", "Ongoing", "--bootstrap-server", c.kafka[0]); !strings.Contains(out, "stuck") {
		c.t.Errorf("txn list: got %q, want the stuck transaction in it", out)
	}
	if out := c.run("txn", "abort", "stuck", "--bootstrap-server", c.kafka[1]); !strings.Contains(out, "aborted") {
		c.t.Errorf("txn abort: got %q", out)
	}
	if out := c.run("txn", "describe", "stuck", "--bootstrap-server", c.kafka[2]); !strings.Contains(out, "CompleteAbort") {
		c.t.Errorf("txn describe: got %q, want it aborted", out)
	}
	if err := stuck.EndTransaction(ctx, kgo.TryCommit); err == nil {
		c.t.Error("a transaction that was aborted by hand is committed")
	}
}
