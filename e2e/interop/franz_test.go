package interop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// driverEnv makes this test's binary the driver of franz-go.
const driverEnv = "OUTRIGGER_INTEROP_DRIVER"

const (
	franzCallWithin = 30 * time.Second
	// copySize is how many records a transaction copies at most.
	copySize = 10
)

// franzDriver is what runs in that process.
type franzDriver struct {
	bootstrap []string
	mu        sync.Mutex
}

func driveFranz(args []string) int {
	d := &franzDriver{bootstrap: strings.Split(args[0], ",")}
	modes := map[string]func([]string) error{
		"produce": d.produce, "consume": d.consume, "transact": d.transact, "admin": d.administer,
		"copy": d.copy,
	}
	if err := modes[args[1]](args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (d *franzDriver) say(fields ...any) {
	words := make([]string, len(fields))
	for i, f := range fields {
		words[i] = fmt.Sprint(f)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Println(strings.Join(words, "\t"))
}

func (d *franzDriver) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(d.bootstrap...), kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.FetchMaxWait(100 * time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner())}, options...)...)
}

func number(s string) int32 {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return -1 // no broker knows that partition
	}
	return int32(n)
}

var franzCodecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func (d *franzDriver) produce(args []string) error {
	options := []kgo.Opt{kgo.DefaultProduceTopic(args[0]), kgo.ProducerBatchCompression(franzCodecs[args[1]])}
	if args[2] != "true" {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := d.client(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	var mu sync.Mutex
	var failed error
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		r := &kgo.Record{Partition: number(fields[0]), Key: decode(fields[1]), Value: decode(fields[2])}
		client.Produce(context.Background(), r, func(r *kgo.Record, err error) {
			if err == nil {
				d.say("acked", r.Partition, r.Offset, encode(r.Value))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = client.Flush(ctx)
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(err, failed, lines.Err())
}

// owned are a member's partitions, told when they change.
type owned struct {
	mu         sync.Mutex
	partitions []int32
	tell       func(partitions string)
}

func (o *owned) change(taken, lost []int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.partitions = slices.DeleteFunc(append(o.partitions, taken...), func(p int32) bool { return slices.Contains(lost, p) })
	slices.Sort(o.partitions)
	o.tell(strings.Trim(strings.ReplaceAll(fmt.Sprint(o.partitions), " ", ","), "[]"))
}

func (d *franzDriver) consume(args []string) error {
	topic, group, protocol, instance, isolation := args[0], args[1], args[2], args[3], args[4]
	if protocol == "share" {
		return d.share(topic, group)
	}
	o := &owned{tell: func(partitions string) { d.say("assigned", partitions) }}
	lost := func(_ context.Context, _ *kgo.Client, m map[string][]int32) { o.change(nil, m[topic]) }
	level, balancer := kgo.ReadUncommitted(), kgo.RangeBalancer()
	if isolation == "read_committed" {
		level = kgo.ReadCommitted()
	}
	if protocol == "cooperative" {
		balancer = kgo.CooperativeStickyBalancer()
	}
	options := []kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(level)}
	if group != "" {
		options = append(options, kgo.ConsumerGroup(group), kgo.DisableAutoCommit(), kgo.Balancers(balancer),
			kgo.HeartbeatInterval(200*time.Millisecond), kgo.SessionTimeout(10*time.Second),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { o.change(m[topic], nil) }),
			kgo.OnPartitionsRevoked(lost), kgo.OnPartitionsLost(lost))
	}
	if instance != "" {
		options = append(options, kgo.InstanceID(instance))
	}
	if protocol == "consumer" {
		options = append(options, kgo.ServerSideBalancer())
	}
	client, err := d.client(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	d.read(client, func(ctx context.Context, records int) {
		if group == "" || records == 0 {
			return
		}
		// Between two generations nothing may be committed; what was read is read again.
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "commit:", err)
		}
	})
	return nil
}

// read says what the client is given until stdin ends, and has done called with the number of records of each
// poll.
func (d *franzDriver) read(client *kgo.Client, done func(ctx context.Context, records int)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that counts
		cancel()
	}()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(_ string, p int32, err error) { fmt.Fprintln(os.Stderr, "fetch:", p, err) })
		fetches.EachRecord(func(r *kgo.Record) { d.say("record", r.Partition, r.Offset, encode(r.Key), encode(r.Value)) })
		done(ctx, fetches.NumRecords())
	}
}

func (d *franzDriver) transact(args []string) error {
	client, err := d.client(kgo.TransactionalID(args[0]), kgo.DefaultProduceTopic(args[1]))
	if err != nil {
		return err
	}
	defer client.Close()
	return d.converse(func(ctx context.Context, word string, args []string) ([]any, error) {
		switch word {
		case "init":
			_, _, err := client.ProducerID(ctx)
			return nil, err
		case "begin":
			return nil, client.BeginTransaction()
		case "send":
			r := &kgo.Record{Partition: number(args[0]), Value: decode(args[1])}
			if len(args) > 2 { // franz-go alone is asked for records of another time
				at, err := strconv.ParseInt(args[2], 10, 64)
				if err != nil {
					return nil, err
				}
				r.Timestamp = time.UnixMilli(at)
			}
			return nil, client.ProduceSync(ctx, r).FirstErr()
		case "commit":
			return nil, client.EndTransaction(ctx, kgo.TryCommit)
		case "abort":
			return nil, client.EndTransaction(ctx, kgo.TryAbort)
		}
		return nil, fmt.Errorf("%w: %s", errors.ErrUnsupported, word)
	})
}

// copy consumes, and produces what it consumed and commits its offsets in one transaction for each poll.
func (d *franzDriver) copy(args []string) error {
	source, target, group, name, count := args[0], args[1], args[2], args[3], int(number(args[4]))
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(d.bootstrap...), kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(source), kgo.TransactionalID(name), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DefaultProduceTopic(target), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for copied := 0; copied < count; {
		records := session.PollRecords(ctx, copySize).Records()
		if err := session.Begin(); err != nil {
			return err
		}
		for _, r := range records {
			if err := session.ProduceSync(ctx, kgo.KeySliceRecord(r.Key, r.Value)).FirstErr(); err != nil {
				return err
			}
		}
		committed, err := session.End(ctx, kgo.TryCommit)
		if err != nil {
			return err
		}
		if committed {
			copied += len(records)
		}
	}
	return nil
}

// converse answers each line with one.
func (d *franzDriver) converse(run func(ctx context.Context, word string, args []string) ([]any, error)) error {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fields := strings.Split(lines.Text(), "\t")
		ctx, cancel := context.WithTimeout(context.Background(), franzCallWithin)
		said, err := run(ctx, fields[0], fields[1:])
		cancel()
		if err != nil {
			d.say("error", strings.Join(strings.Fields(err.Error()), " "))
			continue
		}
		d.say(append([]any{"ok"}, said...)...)
	}
	return nil
}

func (d *franzDriver) administer([]string) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	adm := kadm.NewClient(client)
	defer adm.Close()
	return d.converse(func(ctx context.Context, word string, args []string) ([]any, error) {
		switch word {
		case "groups", "group", "offset", "reset", "delete-group", "delete-offset", "transactions", "transaction":
			return franzGroups(ctx, adm, word, args)
		case "delete-records", "reassign", "reassigning", "log-dirs", "elect":
			return franzPartitions(ctx, adm, word, args)
		}
		switch word {
		case "config-of", "set-config", "delete-config":
			return franzConfigs(ctx, adm, word, args)
		case "hanging", "abort-at":
			return franzHanging(ctx, adm, word, args)
		case "share-group", "share-offset", "share-reset", "share-delete-offsets":
			return franzShares(ctx, adm, word, args)
		}
		return franzTopics(ctx, adm, word, args)
	})
}

func franzConfigs(ctx context.Context, adm *kadm.Client, word string, args []string) ([]any, error) {
	describe, alter := adm.DescribeTopicConfigs, adm.AlterTopicConfigs
	if args[0] == "brokers" {
		var ids []int32
		if args[1] != forAllBrokers {
			ids = []int32{number(args[1])}
		}
		describe = func(ctx context.Context, _ ...string) (kadm.ResourceConfigs, error) {
			return adm.DescribeBrokerConfigs(ctx, ids...)
		}
		alter = func(ctx context.Context, configs []kadm.AlterConfig, _ ...string) (kadm.AlterConfigsResponses, error) {
			return adm.AlterBrokerConfigs(ctx, configs, ids...)
		}
	}
	switch word {
	case "set-config", "delete-config":
		edit := kadm.AlterConfig{Op: kadm.DeleteConfig, Name: args[2]}
		if word == "set-config" {
			edit = kadm.AlterConfig{Op: kadm.SetConfig, Name: args[2], Value: &args[3]}
		}
		all, err := alter(ctx, []kadm.AlterConfig{edit}, args[1])
		for _, r := range all {
			err = errors.Join(err, r.Err)
		}
		return nil, err
	}
	all, err := describe(ctx, args[1])
	for _, r := range all {
		err = errors.Join(err, r.Err)
		for _, config := range r.Configs {
			own := config.Source == kmsg.ConfigSourceDynamicTopicConfig || config.Source == kmsg.ConfigSourceDynamicBrokerConfig ||
				config.Source == kmsg.ConfigSourceDynamicDefaultBrokerConfig
			if config.Key == args[2] && own {
				return []any{config.MaybeValue()}, err
			}
		}
	}
	return []any{"none"}, err
}

func franzTopics(ctx context.Context, adm *kadm.Client, word string, args []string) ([]any, error) {
	switch word {
	case "create":
		r, err := adm.CreateTopic(ctx, number(args[1]), int16(number(args[2])), map[string]*string{args[3]: &args[4]}, args[0])
		return nil, errors.Join(err, r.Err)
	case "describe":
		found, err := adm.ListTopics(ctx, args[0])
		t := found[args[0]]
		return []any{len(t.Partitions), t.Partitions.NumReplicas()}, errors.Join(err, t.Err)
	case "config":
		found, err := adm.DescribeTopicConfigs(ctx, args[0])
		if err != nil {
			return nil, err
		}
		r, err := found.On(args[0], nil)
		for _, c := range r.Configs {
			if c.Key == args[1] {
				return []any{c.MaybeValue()}, err
			}
		}
		return nil, errors.Join(err, errors.New("no such key"))
	case "alter":
		r, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: args[1], Value: &args[2]}}, args[0])
		if err == nil {
			_, err = r.On(args[0], func(r *kadm.AlterConfigsResponse) error { return r.Err })
		}
		return nil, err
	case "partitions":
		r, err := adm.UpdatePartitions(ctx, int(number(args[1])), args[0])
		return nil, errors.Join(err, r.Error())
	case "delete":
		r, err := adm.DeleteTopics(ctx, args[0])
		return nil, errors.Join(err, r.Error())
	case "list":
		found, err := adm.ListTopics(ctx)
		return []any{found.Has(args[0])}, err
	}
	return nil, fmt.Errorf("%w: %s", errors.ErrUnsupported, word)
}

func franzPartitions(ctx context.Context, adm *kadm.Client, word string, args []string) ([]any, error) {
	topic, p := args[0], int32(0)
	if len(args) > 1 {
		p = number(args[1])
	}
	set := kadm.TopicsSet{}
	set.Add(topic, p)
	switch word {
	case "delete-records":
		offsets := kadm.Offsets{}
		offsets.AddOffset(topic, p, int64(number(args[2])), -1)
		r, err := adm.DeleteRecords(ctx, offsets)
		d, _ := r.Lookup(topic, p)
		return []any{d.LowWatermark}, errors.Join(err, r.Error())
	case "reassign":
		var to []int32
		for b := range strings.SplitSeq(args[2], ",") {
			to = append(to, number(b))
		}
		q := kadm.AlterPartitionAssignmentsReq{}
		q.Assign(topic, p, to)
		r, err := adm.AlterPartitionAssignments(ctx, q)
		return nil, errors.Join(err, r.Error())
	case "reassigning":
		r, err := adm.ListPartitionReassignments(ctx, set)
		return []any{len(r.Sorted())}, err
	case "log-dirs":
		r, err := adm.DescribeAllLogDirs(ctx, set)
		found := 0
		r.Each(func(d kadm.DescribedLogDir) { d.Topics.Each(func(kadm.DescribedLogDirPartition) { found++ }) })
		return []any{found}, err
	}
	r, err := adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, set)
	if said := r[topic][p].Err; said != nil && !errors.Is(said, kerr.ElectionNotNeeded) {
		err = errors.Join(err, said)
	}
	return nil, err
}

func franzGroups(ctx context.Context, adm *kadm.Client, word string, args []string) ([]any, error) {
	switch word {
	case "groups":
		found, err := adm.ListGroups(ctx)
		return []any{slices.Contains(found.Groups(), args[0])}, err
	case "group":
		found, err := adm.DescribeGroups(ctx, args[0])
		g := found[args[0]]
		return []any{g.State, len(g.Members)}, errors.Join(err, g.Err)
	case "offset":
		found, err := adm.FetchOffsets(ctx, args[0])
		o, _ := found.Lookup(args[1], number(args[2]))
		return []any{o.At}, errors.Join(err, o.Err)
	case "reset":
		offsets := kadm.Offsets{}
		offsets.AddOffset(args[1], number(args[2]), int64(number(args[3])), -1)
		return nil, adm.CommitAllOffsets(ctx, args[0], offsets)
	case "delete-group":
		r, err := adm.DeleteGroup(ctx, args[0])
		return nil, errors.Join(err, r.Err)
	case "delete-offset":
		set := kadm.TopicsSet{}
		set.Add(args[1], number(args[2]))
		said, err := adm.DeleteOffsets(ctx, args[0], set)
		return nil, errors.Join(err, said.Error())
	case "transactions":
		found, err := adm.ListTransactions(ctx, nil, nil)
		return []any{slices.Contains(found.TransactionalIDs(), args[0])}, err
	}
	found, err := adm.DescribeTransactions(ctx, args[0])
	return []any{found[args[0]].State}, errors.Join(err, found[args[0]].Err)
}
