package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// soakEnv is how long to soak; soakRateEnv how many records of 1 KiB a second, soakKeysEnv how many more of a
// compacted topic, an eighth of that unless set.
const (
	soakEnv     = "OUTRIGGER_SOAK"
	soakRateEnv = "OUTRIGGER_SOAK_RATE"
	soakKeysEnv = "OUTRIGGER_SOAK_KEYS_RATE"
)

const (
	soakTopic      = "soak"
	soakChurned    = "soak-churn-"
	soakPartitions = 12
	soakRate       = 2000
	soakSample     = 5 * time.Second
	// soakWarmUp is the part of the time in which caches fill and retention begins; it is not judged.
	soakWarmUp = 0.35
	soakTick   = 20 * time.Millisecond
	soakAnswer = 10 * time.Second
	// shownMiB is by how much files of a kind must have grown or shrunk to be told.
	shownMiB = 0.1
)

// gauged is one thing that must stay flat, in one unit. It may seem to grow by hourly in an hour; but in a run of minutes
// what comes and goes may seem to be least, whatever an hour would make of it.
type gauged struct {
	name   string
	hourly float64
	least  float64
}

var soakGauges = []gauged{{"memory MiB", 4, 24}, {"descriptors", 1, 8}, {"goroutines", 2, 16}, {"disk MiB", 8, 96}}

// sampled is one gauge of one broker at one time.
type sampled struct {
	at    time.Duration
	value float64
}

// slope is the median of the slopes between all pairs, in units a second (Theil and Sen): what comes and
// goes, as garbage does, does not turn it.
func slope(samples []sampled) float64 {
	var all []float64
	for i, a := range samples {
		for _, b := range samples[i+1:] {
			all = append(all, (b.value-a.value)/(b.at-a.at).Seconds())
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// flat judges samples: how much grew over their time by the fitted slope, and how much may have.
func (g gauged) flat(samples []sampled) (grown, allowed float64) {
	over := samples[len(samples)-1].at - samples[0].at
	return slope(samples) * over.Seconds(), max(g.least, g.hourly*over.Hours())
}

// A leak is found by what it comes to in an hour, the slower the longer a run is; and what a collector of garbage, or
// whoever else works in turns, takes and gives back is none.
func TestSlopeSeesALeakThroughNoise(t *testing.T) {
	memory := soakGauges[0]
	for name, c := range map[string]struct {
		over time.Duration
		// hourly is the leak, saw the height of the teeth and turn how long each is, of a random height up to noise.
		hourly, saw, noise float64
		turn               time.Duration
		found              bool
	}{
		"nothing":                      {over: 10 * time.Minute},
		"sawtooth of minutes":          {over: 10 * time.Minute, saw: 60, turn: 97 * time.Second},
		"sawtooth and noise":           {over: 10 * time.Minute, saw: 40, noise: 40, turn: 31 * time.Second},
		"sawtooth of an hour, a night": {over: 8 * time.Hour, saw: 60, noise: 20, turn: 50 * time.Minute},
		"noise of a night":             {over: 8 * time.Hour, noise: 100},
		"a leak of minutes":            {over: 10 * time.Minute, hourly: 300, saw: 40, noise: 20, turn: 31 * time.Second, found: true},
		"a slow leak, an hour":         {over: time.Hour, hourly: 40, saw: 40, noise: 20, turn: 97 * time.Second, found: true},
		"a slower leak, a night":       {over: 8 * time.Hour, hourly: 6, saw: 40, noise: 20, turn: 97 * time.Second, found: true},
		"garbage that shrinks":         {over: time.Hour, hourly: -60, saw: 40, turn: 97 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(5) {
				var samples []sampled
				random := rand.New(rand.NewPCG(seed, 1))
				for at := time.Duration(0); at < c.over; at += max(soakSample, c.over/1000) {
					value := 230 + c.hourly*at.Hours() + c.noise*random.Float64()
					if c.turn > 0 {
						value += c.saw * float64(at%c.turn) / float64(c.turn)
					}
					samples = append(samples, sampled{at, value})
				}
				if grown, allowed := memory.flat(samples); grown > allowed != c.found {
					t.Errorf("seed %d: got %.1f grown, %.1f allowed, want found %v", seed, grown, allowed, c.found)
				}
			}
		})
	}
}

// A cluster under a moderate load of every kind, with small files that are drained, retention and compaction,
// keeps its memory, descriptors, goroutines and disk. `task soak` runs it for minutes.
func TestSoakStaysFlat(t *testing.T) {
	text := os.Getenv(soakEnv)
	if text == "" {
		t.Skipf("%s is not set: minutes of load", soakEnv)
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", soakEnv, err)
	}
	c := start(t, options{args: []string{
		"--set", "wal.tail.bytes=33554432", "--set", "wal.file.bytes=8388608", "--set", "wal.retained.bytes=41943040", "--set", "min.insync.replicas=2",
		"--set", "log.retention.check.interval.ms=2000", "--set", "log.cleaner.backoff.ms=2000",
	}})
	s := &soak{cluster: c, failed: map[string]int{}, rate: rateOf(t, soakRateEnv, soakRate)}
	s.keysRate = rateOf(t, soakKeysEnv, s.rate/8)
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	s.load(ctx)
	warmUp := time.Duration(float64(length) * soakWarmUp)
	s.watch(ctx, warmUp)
	s.running.Wait()
	s.judge(warmUp)
}

// rateOf reads a rate from the environment.
func rateOf(t *testing.T, name string, preset int) int {
	text := os.Getenv(name)
	if text == "" {
		return preset
	}
	rate, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return rate
}

// soak is a cluster, its load, and what was seen of it.
type soak struct {
	*cluster
	rate, keysRate int
	running        sync.WaitGroup
	// seen are the samples by gauge and broker.
	seen [4][3][]sampled
	// first and last are what the brokers' directories held at the ends of the judged part, in MiB, by name.
	first, last [3]map[string]float64
	// began and ended are how much the logs of each topic took then, of all brokers.
	began, ended map[string]float64
	mu           sync.Mutex
	// acked to moved count what the clients did.
	acked, read, committed, churned, shared, moved int
	// failed counts what clients were told, by text.
	failed map[string]int
}

func (s *soak) client(extra ...kgo.Opt) *kgo.Client {
	// No broker is paused here, and a client that gives up early loses its connection, and its share session with it.
	extra = append([]kgo.Opt{kgo.RequestTimeoutOverhead(soakAnswer)}, extra...)
	client, err := kgo.NewClient(clientOptions(s.kafka, extra...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	return client
}

func (s *soak) count(what *int, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*what += n
}

// fail notes what a client was told that it should not have been.
func (s *soak) fail(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[fmt.Sprintf("%s: %v", what, err)]++
}

// load starts all clients; they end with ctx.
func (s *soak) load(ctx context.Context) {
	admin := s.client()
	s.t.Cleanup(admin.Close)
	text := func(v string) *string { return &v }
	for name, configs := range map[string]map[string]*string{
		soakTopic:           {"retention.ms": text("20000")},
		soakTopic + "-keys": {"cleanup.policy": text("compact"), "min.cleanable.dirty.ratio": text("0.05")},
		soakMoved:           {"retention.ms": text("20000")},
	} {
		replicas := int16(3)
		if name == soakMoved {
			replicas = soakMovedReplicas
		}
		if _, err := kadm.NewClient(admin).CreateTopic(ctx, soakPartitions, replicas, configs, name); err != nil {
			s.t.Fatal(err)
		}
	}
	s.running.Go(func() { s.produce(ctx, soakTopic, s.rate) })
	s.running.Go(func() { s.produce(ctx, soakTopic+"-keys", s.keysRate) })
	s.running.Go(func() { s.consume(ctx) })
	s.running.Go(func() { s.transact(ctx) })
	s.running.Go(func() { s.churn(ctx, kadm.NewClient(admin)) })
	s.running.Go(func() { s.share(ctx) })
	s.running.Go(func() { s.produce(ctx, soakMoved, s.rate/8) })
	s.running.Go(func() { s.move(ctx, kadm.NewClient(admin)) })
}

// produce sends at a rate; the compacted topic's keys are few.
func (s *soak) produce(ctx context.Context, topic string, rate int) {
	const keys = 500
	client := s.client(kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerLinger(5*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer client.Close()
	ticker := time.NewTicker(soakTick)
	defer ticker.Stop()
	value, each, sent := make([]byte, 1<<10), max(1, rate*int(soakTick)/int(time.Second)), 0
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			for range each {
				sent++
				r := &kgo.Record{Topic: topic, Key: []byte(strconv.Itoa(sent % keys)), Value: value}
				client.Produce(ctx, r, func(_ *kgo.Record, err error) {
					if err == nil {
						s.count(&s.acked, 1)
					} else if ctx.Err() == nil {
						s.fail("produce", err)
					}
				})
			}
		}
	}
	if err := client.Flush(within(s.t, time.Minute)); err != nil {
		s.t.Errorf("flush: %v", err)
	}
}

// consume reads as a group of one, which commits.
func (s *soak) consume(ctx context.Context) {
	client := s.client(kgo.ConsumerGroup("soak"), kgo.ConsumeTopics(soakTopic), kgo.AutoCommitInterval(time.Second))
	defer client.Close()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		s.count(&s.read, fetches.NumRecords())
		fetches.EachError(func(_ string, _ int32, err error) {
			if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				s.fail("consume", err)
			}
		})
	}
}

// transact runs a transaction a second, each third aborted, with a new producer from time to time.
func (s *soak) transact(ctx context.Context) {
	const lifetime = 20
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var client *kgo.Client
	for n := 0; ctx.Err() == nil; n++ {
		if n%lifetime == 0 {
			if client != nil {
				client.Close()
			}
			client = s.client(kgo.TransactionalID("soak"), kgo.DefaultProduceTopic(soakTopic))
		}
		select {
		case <-ctx.Done():
			client.Close()
			return
		case <-ticker.C:
		}
		err := client.BeginTransaction()
		if err == nil {
			err = client.ProduceSync(ctx, &kgo.Record{Value: []byte("in a transaction")}).FirstErr()
		}
		err = errors.Join(err, client.EndTransaction(ctx, kgo.TransactionEndTry(n%3 > 0 && err == nil)))
		switch {
		case err == nil:
			s.count(&s.committed, 1)
		case ctx.Err() == nil:
			s.fail("transact", err)
		}
	}
	client.Close()
}

// churn makes topics and deletes them.
func (s *soak) churn(ctx context.Context, admin *kadm.Client) {
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		name := fmt.Sprint(soakChurned, n)
		_, err := admin.CreateTopic(ctx, soakPartitions, 3, nil, name)
		if err == nil {
			_, err = admin.DeleteTopic(ctx, name)
		}
		switch {
		case err == nil:
			s.count(&s.churned, 1)
		case ctx.Err() == nil:
			s.fail("make and delete topics", err)
		}
	}
}

// watch samples until ctx ends.
func (s *soak) watch(ctx context.Context, warmUp time.Duration) {
	client := s.client()
	defer client.Close()
	began, ticker := time.Now(), time.NewTicker(soakSample)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			if s.ended = s.sizes(ctx, kadm.NewClient(client)); time.Since(began) < warmUp {
				s.began = s.ended
			}
			for i, pid := range s.pids {
				told := s.metrics(i)
				at, disk := time.Since(began), s.disk(i)
				disk["spilled index"] = told["outrigger_spilled_index_bytes"] / (1 << 20) // A file without a name.
				if s.first[i] == nil || at < warmUp {
					s.first[i] = disk
				}
				s.last[i] = disk
				for g, value := range []float64{
					resident(s.t, pid), float64(descriptors(s.t, pid)), told["go_goroutines"], mibOf(disk),
				} {
					s.seen[g][i] = append(s.seen[g][i], sampled{at, value})
				}
			}
		}
	}
}

// sizes is how much the logs of each topic take on all brokers, in MiB; those of the topics that come and go together.
func (s *soak) sizes(ctx context.Context, admin *kadm.Client) map[string]float64 {
	all, err := admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		if ctx.Err() == nil {
			s.fail("describe log directories", err)
		}
		return s.ended
	}
	sizes := map[string]float64{}
	for _, dirs := range all {
		dirs.EachPartition(func(p kadm.DescribedLogDirPartition) {
			name := p.Topic
			if strings.HasPrefix(name, soakChurned) {
				name = soakChurned + "..."
			}
			sizes[name] += float64(p.Size) / (1 << 20)
		})
	}
	return sizes
}

// disk is what a broker's directory holds, in MiB, by directory and kind of file.
func (s *soak) disk(i int) map[string]float64 {
	held := map[string]float64{}
	err := filepath.WalkDir(s.brokerDir(i), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return ignoreGone(err)
		}
		info, err := entry.Info()
		if err == nil {
			held[filepath.Base(filepath.Dir(path))+"/*"+filepath.Ext(path)] += float64(info.Size()) / (1 << 20)
		}
		return ignoreGone(err)
	})
	if err != nil {
		s.t.Fatalf("look at the disk of broker %d: %v", i+1, err)
	}
	return held
}

func mibOf(held map[string]float64) (sum float64) {
	for _, mib := range held {
		sum += mib
	}
	return sum
}

// ignoreGone: files come and go while they are looked at.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s *soak) judge(warmUp time.Duration) {
	s.t.Logf("%d records acknowledged, %d read, %d by share groups, %d transactions, %d topics made and deleted, %d partitions moved",
		s.acked, s.read, s.shared, s.committed, s.churned, s.moved)
	if s.acked == 0 || s.read == 0 || s.committed == 0 || s.churned == 0 || s.shared == 0 || s.moved == 0 {
		s.t.Error("a part of the load did nothing, so nothing is proved")
	}
	for text, n := range s.failed {
		s.t.Errorf("%d times in a cluster that nobody disturbed: %s", n, text)
	}
	for i := range s.first {
		for _, kind := range slices.Sorted(maps.Keys(s.last[i])) {
			if was, is := s.first[i][kind], s.last[i][kind]; max(is-was, was-is) > shownMiB {
				s.t.Logf("broker %d, %-20s %6.1f to %6.1f MiB", i+1, kind, was, is)
			}
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(s.ended)) {
		s.t.Logf("logs of %-28s %6.1f to %6.1f MiB", topic, s.began[topic], s.ended[topic])
	}
	for g, gauge := range soakGauges {
		for i := range s.seen[g] {
			judged := slices.DeleteFunc(slices.Clone(s.seen[g][i]), func(a sampled) bool { return a.at < warmUp })
			if len(judged) < 10 {
				s.t.Fatalf("%d samples of %s are too few to judge: soak for longer", len(judged), gauge.name)
			}
			grown, allowed := gauge.flat(judged)
			first, last := judged[0], judged[len(judged)-1]
			s.t.Logf("broker %d, %-12s %8.1f to %8.1f, fitted %+.1f an hour, %+.1f in %v", i+1, gauge.name, first.value, last.value,
				3600*slope(judged), grown, (last.at - first.at).Round(time.Second))
			if grown > allowed {
				s.t.Errorf("broker %d: %s grew by %.1f in %v, want at most %.1f: %s", i+1, gauge.name, grown, last.at-first.at, allowed, course(judged))
			}
		}
	}
}

// course is how samples went, by some of them.
func course(samples []sampled) string {
	const shown = 24
	var said []string
	for i := range min(shown, len(samples)) {
		a := samples[i*(len(samples)-1)/(min(shown, len(samples))-1)]
		said = append(said, fmt.Sprintf("%.0f", a.value))
	}
	return strings.Join(said, ", ")
}
