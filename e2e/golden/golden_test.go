package golden

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	writeName   = flag.String("write", "", "write a golden directory of that name")
	writeBinary = flag.String("binary", "", "the binary that writes it, instead of today's")
	writeEarly  = flag.Bool("early", false, "the binary is of a version that knew nothing but to produce and to fetch")
)

// The topics. Retention is off: the records are old by the time they are read.
const (
	plainTopic   = "plain"     // every codec, idempotent, drained
	txnTopic     = "txn"       // transactions, committed and aborted
	cutTopic     = "cut"       // its front was deleted
	compactTopic = "compacted" // keys
	goneTopic    = "gone"      // deleted
	group        = "readers"
	txnID        = "golden-transactions"
)

var topics = map[string]int32{plainTopic: 3, txnTopic: 2, cutTopic: 1, compactTopic: 1}

// content is what clients read from a broker.
type content struct {
	// Early: a version wrote it that knew no groups, transactions, deletions or drains.
	Early   bool `json:",omitempty"`
	Cluster string
	// Format is the finalized format level. It is 0 where it was not noted, which is in level 1.
	Format int16 `json:",omitempty"`
	// Topics maps partitions to what they hold.
	Topics map[string]partition
	// Group maps partitions of the plain topic to what the group has committed.
	Group map[int32]int64
	// Keys is the newest value of each key of the compacted topic.
	Keys map[string]string
	// Configs of the compacted topic.
	Configs map[string]string
	// Later is what came after the first formats, nil in a directory from before it was written.
	Later *later `json:",omitempty"`
}

// partition is one partition's records: from where to where, and a hash of all, and of the committed ones.
type partition struct {
	Start, End     int64
	All, Committed string
}

func TestGoldenDirectoriesOpen(t *testing.T) {
	if *writeName != "" {
		write(t)
	}
	archives, err := filepath.Glob(filepath.Join("testdata", "*.tar.zst"))
	must(t, err)
	if len(archives) == 0 {
		t.Fatal("testdata holds no golden directory")
	}
	binary := build(t)
	for _, archive := range archives {
		name := strings.TrimSuffix(archive, ".tar.zst")
		t.Run(filepath.Base(name), func(t *testing.T) {
			raw, err := os.ReadFile(name + ".json")
			must(t, err)
			var want content
			must(t, json.Unmarshal(raw, &want))
			dir := filepath.Join(t.TempDir(), "data")
			unpack(t, archive, dir)
			clean(t, binary, dir, "as it was written", want.Early)
			b := start(t, binary, dir)
			if want.Early {
				b.compareEarly(want)
				b.fill()
			} else {
				b.compare(want)
				if want.Later != nil {
					b.compareLater(dir, *want.Later)
				}
				b.goOn(want)
				if want.Later != nil {
					b.goOnLater(binary)
				}
			}
			b.upgrade(binary, want)
			b.stop(syscall.SIGTERM)
			clean(t, binary, dir, "after today's version has run on it", want.Early)
		})
	}
}

// clean wants that verify finds nothing.
func clean(t *testing.T, binary, dir, when string, early bool) {
	t.Helper()
	out, err := exec.Command(binary, "verify", "--json", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: verify: %v\n%s", when, err, out)
	}
	var report struct {
		Checked struct{ Batches, Packs, Topics int }
	}
	must(t, json.Unmarshal(out, &report))
	if k := report.Checked; k.Batches == 0 || k.Topics == 0 || !early && (k.Packs == 0 || k.Topics < len(topics)) {
		t.Errorf("%s: verify has looked at %+v only", when, k)
	}
}

// write makes a golden directory: of runs of which the last is killed. What is in it is read when the archive is made, by a third run.
func write(t *testing.T) {
	binary := *writeBinary
	if binary == "" {
		binary = build(t)
	}
	dir := filepath.Join(t.TempDir(), "data")
	var b *broker
	var read content
	if *writeEarly {
		b = start(t, binary, dir)
		read = b.fillEarly()
	} else {
		b = writeLater(t, binary, dir)
		b.fill()
		b.packs(dir)
		b.stop(syscall.SIGTERM)
		b = start(t, binary, dir, "wal.file.bytes=8388608", "wal.retained.bytes=134217728") // as a fast one has
		b.fillMore()
		if _, newest := b.format(); newest >= adoptionLevel {
			b.fillFast()
		}
		if _, newest := b.format(); newest >= headLevel {
			b.fillMany()
		}
		b.fillLater()
	}
	b.stop(syscall.SIGKILL)
	archive := filepath.Join(t.TempDir(), "archive")
	pack(t, dir, archive)
	if !*writeEarly {
		b = start(t, binary, dir)
		read = b.read()
		l := b.readLater(dir)
		read.Later = &l
		b.stop(syscall.SIGKILL)
	}
	raw, err := json.MarshalIndent(read, "", "  ")
	must(t, err)
	target := filepath.Join("testdata", *writeName)
	if exists(target + ".json") {
		t.Fatalf("%s exists: a golden directory is never written anew", target)
	}
	must(t, os.WriteFile(target+".json", append(raw, '\n'), 0o644)) //nolint:gosec // it goes into the repository
	packed, err := os.ReadFile(archive)
	must(t, err)
	must(t, os.WriteFile(target+".tar.zst", packed, 0o644)) //nolint:gosec // it goes into the repository
}

func (b *broker) fill() {
	b.Helper()
	admin, end := b.admin()
	defer end()
	off, minimum, compacted := "-1", "1", "compact"
	for name, partitions := range topics {
		configs := map[string]*string{"retention.ms": &off, "min.insync.replicas": &minimum}
		if name == compactTopic {
			configs["cleanup.policy"] = &compacted
		}
		b.create(admin, name, partitions, configs)
	}
	b.create(admin, goneTopic, 1, nil)
	filler := strings.Repeat("a record that was written long ago. ", 3000)
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(),
		kgo.Lz4Compression(), kgo.ZstdCompression()} {
		client, end := b.client(kgo.ProducerBatchCompression(codec))
		for n := range 30 {
			for p := range topics[plainTopic] {
				value := fmt.Sprintf("codec %d, record %d", i, n)
				if i == 0 {
					value += filler // Enough to fill files, which are drained then.
				}
				b.produce(client, plainTopic, p, fmt.Sprint(n), value)
			}
		}
		end()
	}
	client, end := b.client()
	defer end()
	for n := range 100 {
		b.produce(client, cutTopic, 0, fmt.Sprint(n), "cut or kept")
		b.produce(client, compactTopic, 0, fmt.Sprint(n%10), fmt.Sprintf("value %d", n))
		b.produce(client, goneTopic, 0, "", "gone")
	}
	b.eventually("records are deleted", func(ctx context.Context) error {
		r, err := admin.DeleteRecords(ctx, kadm.Offsets{cutTopic: {0: {Topic: cutTopic, At: 40}}})
		return errors.Join(err, r.Error())
	})
	b.eventually("a topic is deleted", func(ctx context.Context) error {
		r, err := admin.DeleteTopics(ctx, goneTopic)
		return errors.Join(err, r.Error())
	})
	b.transaction(kgo.TryCommit, "committed at first")
	b.transaction(kgo.TryAbort, "aborted")
	b.commit(admin, 7)
}

func (b *broker) fillMore() {
	b.Helper()
	admin, end := b.admin()
	defer end()
	b.transaction(kgo.TryAbort, "aborted by the second run")
	b.transaction(kgo.TryCommit, "committed by the second run")
	b.commit(admin, 11)
	client, end := b.client()
	defer end()
	for n := range 50 {
		b.produce(client, plainTopic, int32(n)%topics[plainTopic], "", fmt.Sprintf("second run, record %d", n))
		b.produce(client, compactTopic, 0, fmt.Sprint(n%5), fmt.Sprintf("newer value %d", n))
	}
}

// adoptionLevel is the format level from which on a busy broker adopts the files of its log.
const adoptionLevel = 2

// fastBytes is how long the values are that are written fast, and no others.
const fastBytes = 450_000

// fillFast writes as fast as the broker takes it, until it has adopted files.
func (b *broker) fillFast() {
	b.Helper()
	client, end := b.client(kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	defer end()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	value := make([]byte, fastBytes) // zeros, which take no room in the archive
	for n := 0; b.adopted() < 3; n++ {
		for i := range int32(30) {
			r := &kgo.Record{Topic: plainTopic, Partition: i % topics[plainTopic], Value: value}
			client.Produce(ctx, r, func(_ *kgo.Record, err error) { must(b, err) })
		}
		must(b, client.Flush(ctx))
		if n == 50 {
			b.Fatal("the broker adopts no files: its disk is too slow")
		}
	}
}

// headLevel is the format level from which on the catalog tells of many batches together.
const headLevel = 4

// fillMany writes so many batches that the catalog does so.
func (b *broker) fillMany() {
	b.Helper()
	client, end := b.client(kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(manyBytes*3/2))
	defer end()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	value := make([]byte, manyBytes)
	for n := 0; b.metric("outrigger_catalog_heads_total") == 0; n++ {
		for range 1000 {
			r := &kgo.Record{Topic: plainTopic, Partition: 0, Value: value}
			client.Produce(ctx, r, func(_ *kgo.Record, err error) { must(b, err) })
		}
		must(b, client.Flush(ctx))
		if n == 100 {
			b.Fatal("the catalog tells of no batches together")
		}
	}
}

// manyBytes is how long the values are of which there are many, each in a batch of its own.
const manyBytes = 2000

func (b *broker) create(admin *kadm.Client, name string, partitions int32, configs map[string]*string) {
	b.Helper()
	b.eventually("topic "+name+" is created", func(ctx context.Context) error {
		_, err := admin.CreateTopic(ctx, partitions, 1, configs, name)
		return err
	})
}

func (b *broker) produce(client *kgo.Client, name string, p int32, key, value string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	r := &kgo.Record{Topic: name, Partition: p, Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(key)}}}
	if key != "" {
		r.Key = []byte(key)
	}
	must(b, client.ProduceSync(ctx, r).FirstErr())
}

// transaction writes to both partitions in one transaction.
func (b *broker) transaction(end kgo.TransactionEndTry, value string) {
	b.Helper()
	client, closing := b.client(kgo.TransactionalID(txnID))
	defer closing()
	must(b, client.BeginTransaction())
	for n := range 5 {
		for p := range topics[txnTopic] {
			b.produce(client, txnTopic, p, "", fmt.Sprintf("%s %d", value, n))
		}
	}
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	must(b, client.EndTransaction(ctx, end))
}

func (b *broker) commit(admin *kadm.Client, at int64) {
	b.Helper()
	offsets := kadm.Offsets{}
	for p := range topics[plainTopic] {
		offsets.AddOffset(plainTopic, p, at+int64(p), -1)
	}
	b.eventually("a commit", func(ctx context.Context) error { return admin.CommitAllOffsets(ctx, group, offsets) })
}

// read reads all.
func (b *broker) read() content {
	b.Helper()
	admin, end := b.admin()
	defer end()
	c := content{Topics: map[string]partition{}, Group: map[int32]int64{}, Keys: map[string]string{}, Configs: map[string]string{}}
	b.eventually("offsets", func(ctx context.Context) error {
		meta, err := admin.Metadata(ctx)
		if err != nil {
			return err
		}
		c.Cluster = meta.Cluster
		c.Format, _ = b.format()
		starts, err := admin.ListStartOffsets(ctx, slices.Collect(maps.Keys(topics))...)
		if err != nil {
			return err
		}
		ends, err := admin.ListEndOffsets(ctx, slices.Collect(maps.Keys(topics))...)
		if err := errors.Join(err, starts.Error(), ends.Error()); err != nil {
			return err
		}
		ends.Each(func(o kadm.ListedOffset) {
			from, _ := starts.Lookup(o.Topic, o.Partition)
			c.Topics[fmt.Sprintf("%s-%d", o.Topic, o.Partition)] = partition{Start: from.Offset, End: o.Offset}
		})
		committed, err := admin.FetchOffsets(ctx, group)
		if err != nil {
			return err
		}
		committed.Each(func(o kadm.OffsetResponse) { c.Group[o.Partition] = o.At })
		configs, err := admin.DescribeTopicConfigs(ctx, compactTopic)
		if err != nil || len(configs) != 1 {
			return fmt.Errorf("%d configs, %w", len(configs), err)
		}
		for _, one := range configs[0].Configs {
			if one.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
				c.Configs[one.Key] = one.MaybeValue()
			}
		}
		return nil
	})
	for name, partitions := range topics {
		for p := range partitions {
			key := fmt.Sprintf("%s-%d", name, p)
			one := c.Topics[key]
			one.All = b.hash(name, p, one, kgo.ReadUncommitted(), &c)
			one.Committed = b.hash(name, p, one, kgo.ReadCommitted(), nil)
			c.Topics[key] = one
		}
	}
	return c
}

// hash reads a partition to its end. What is behind the last record that a reader gets are markers, so the
// client is asked how far it has come.
func (b *broker) hash(name string, p int32, of partition, level kgo.IsolationLevel, c *content) string {
	b.Helper()
	client, end := b.client(kgo.FetchIsolationLevel(level), kgo.KeepControlRecords(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		name: {p: kgo.NewOffset().At(of.Start)}}))
	defer end()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	sum := sha256.New()
	for next := of.Start; next < of.End; {
		fetches := client.PollFetches(ctx)
		must(b, fetches.Err0())
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				if len(r.Value) == fastBytes { // To quote it would take long.
					short := sha256.Sum256(r.Value)
					r.Value = short[:]
				}
				fmt.Fprintf(sum, "%d %q %q %v\n", r.Offset, r.Key, r.Value, r.Headers)
				if c != nil && name == compactTopic {
					c.Keys[string(r.Key)] = string(r.Value)
				}
			}
		})
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// compare wants everything as it was. The compacted topic may have lost values that are not the newest.
func (b *broker) compare(want content) {
	b.Helper()
	got := b.read()
	if got.Cluster != want.Cluster || !maps.Equal(got.Group, want.Group) || !maps.Equal(got.Keys, want.Keys) ||
		!maps.Equal(got.Configs, want.Configs) {
		b.Errorf("got %+v\nwant %+v", got, want)
	}
	for name, w := range want.Topics {
		if g := got.Topics[name]; g != w && !strings.HasPrefix(name, compactTopic) {
			b.Errorf("%s: got %+v, want %+v", name, g, w)
		}
	}
	if len(want.Topics) != 7 || len(want.Group) != 3 || len(want.Keys) != 10 {
		b.Errorf("too little was written: %+v", want)
	}
}

// goOn wants that what was begun can be gone on with.
func (b *broker) goOn(want content) {
	b.Helper()
	admin, end := b.admin()
	defer end()
	b.eventually("the deleted topic is not there", func(ctx context.Context) error {
		listed, err := admin.ListTopics(ctx)
		if err == nil && listed.Has(goneTopic) {
			err = errors.New("it is")
		}
		return err
	})
	client, end := b.client()
	defer end()
	b.produce(client, plainTopic, 0, "", "today")
	b.transaction(kgo.TryCommit, "committed today")
	b.commit(admin, 23)
	got := b.read()
	if g, w := got.Topics[plainTopic+"-0"], want.Topics[plainTopic+"-0"]; g.End != w.End+1 {
		b.Errorf("%s ends at %d after one more record, want %d", plainTopic, g.End, w.End+1)
	}
	if g, w := got.Topics[txnTopic+"-0"], want.Topics[txnTopic+"-0"]; g.End != w.End+6 || g.Committed == w.Committed {
		b.Errorf("%s is %+v after a transaction of five records, was %+v", txnTopic, g, w)
	}
	if got.Group[0] != 23 {
		b.Errorf("the group is at %d, want 23", got.Group[0])
	}
}

// upgrade wants the cluster at the level at which it was, until an operator has it raised to today's.
func (b *broker) upgrade(binary string, want content) {
	b.Helper()
	before, newest := b.format()
	if before != max(want.Format, 1) {
		b.Errorf("format level %d is finalized, want %d as it was written", before, max(want.Format, 1))
	}
	out, err := exec.Command(binary, "cluster", "upgrade", "--bootstrap-server", b.kafka).CombinedOutput()
	if err != nil {
		b.Fatalf("cluster upgrade: %v\n%s", err, out)
	}
	if after, _ := b.format(); after != newest || newest < 2 {
		b.Errorf("format level %d is finalized after the upgrade, want %d", after, newest)
	}
}

// earlyTopic is all that an early version has.
const earlyTopic = "early"

// fillEarly writes what an early version could hold, and reads it.
func (b *broker) fillEarly() content {
	b.Helper()
	admin, end := b.admin()
	defer end()
	b.create(admin, earlyTopic, 1, nil)
	client, end := b.client(kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer end()
	for n := range 100 {
		b.produce(client, earlyTopic, 0, fmt.Sprint(n), fmt.Sprintf("early record %d", n))
	}
	return b.readEarly()
}

func (b *broker) readEarly() content {
	b.Helper()
	admin, end := b.admin()
	defer end()
	c := content{Early: true}
	b.eventually("metadata", func(ctx context.Context) error {
		meta, err := admin.Metadata(ctx)
		c.Cluster = meta.Cluster
		return err
	})
	p := partition{End: 100}
	p.All = b.hash(earlyTopic, 0, p, kgo.ReadUncommitted(), nil)
	c.Topics = map[string]partition{earlyTopic + "-0": p}
	return c
}

func (b *broker) compareEarly(want content) {
	b.Helper()
	if got := b.readEarly(); got.Cluster != want.Cluster || !maps.Equal(got.Topics, want.Topics) || len(want.Topics) != 1 {
		b.Errorf("got %+v, want %+v", got, want)
	}
}
