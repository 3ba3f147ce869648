package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"outrigger/e2e/tools"
)

// referenceEnv names host:port of a real Kafka broker of its own cluster, on which this test may make
// topics, or says "start": then Apache Kafka is fetched and started. The test compares nothing without it.
const referenceEnv = "OUTRIGGER_REFERENCE"

const (
	referenceWithin   = 10 * time.Minute
	coordinatorWithin = 30 * time.Second
)

// startReference starts Apache Kafka until the test ends.
func startReference(t *testing.T) string {
	t.Helper()
	ctx := within(t, referenceWithin)
	cache, err := tools.Default(true)
	if err != nil {
		t.Fatal(err)
	}
	java, err := cache.Java(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kafka, err := java.StartKafka(ctx, t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kafka.Stop(); err != nil {
			t.Errorf("stop Kafka: %v", err)
		}
	})
	t.Logf("the reference is Apache Kafka %s", tools.KafkaVersion)
	return kafka.Address
}

func codeError(code int16) error { return kerr.ErrorForCode(code) }

// differences are the steps in which we mean to answer otherwise, each with the reason.
var differences = map[string]string{
	// Here because ours serves a user better.
	"modern beats in an unknown group": againAsNew, "share beats in an unknown group": againAsNew,
	"alter t unknown operation":  "the request is wrong, so it is said to be; Kafka trips over it: UNKNOWN_SERVER_ERROR",
	"validate one feature twice": "of two that may differ neither can be meant; Kafka drops the first without a word",
	"produce an unknown magic":   "such a batch is never taken; Kafka calls it damaged, and clients send it again until their time is up",
	"fetch beyond the end":       whereLogIs, "fetch before the start": whereLogIs, "fetch what is deleted": whereLogIs,
	"fetch nothing in a session":          "a session of nothing would take the place of one that saves something; asking anew costs as little",
	"txn old: described after the commit": noBeginning, "txn old: described after the abort": noBeginning,
	"txn new: described after the commit": noBeginning, "txn new: described after the abort": noBeginning,
	"list transactions of a duration":    "who looks for transactions that hang wants none; Kafka takes -1, the beginning of none, for 1970",
	"txn old: produce in no transaction": txnFirst, "txn new: produce in no transaction": txnFirst,
	"alter share offsets to below zero": "no record has such an offset; Kafka keeps -1, and what the group does next is its reset policy's, " +
		"which nobody asked for: deleting the offsets says that",
	"share offsets after they were altered":                      "Kafka has taken -1, see above, and tells of a start beyond the end that -100 records are left",
	"share offsets after a topic was deleted, of all":            "Kafka has taken -1, see above, and tells of a start beyond the end that -100 records are left",
	"group errors.deadletterqueue.topic.name=without-the-prefix": neverAQueue, "group errors.deadletterqueue.topic.name=dlq.a/b": neverAQueue,
	"group errors.deadletterqueue.topic.name=dlq.xxxxxxxxxxxxxxxx": neverAQueue, "group errors.deadletterqueue.topic.name= ": neverAQueue,
	"the letter of what was rejected": "a copy of a record has the record's headers, too; Kafka 4.4.0 loses them",
	// Here because ours is as good, and follows from what is promised.
	"share offsets with records in hand": "where a group begins is kept before it is given the first record, so that no leader that " +
		"takes over begins elsewhere; Kafka keeps it with the first acknowledgement",
	"share offsets after acknowledgements": startAtOnce, "share offsets after a gap": startAtOnce,
	"share fetch that acknowledges": atOnce, "share fetch that acknowledges what it has not": atOnce,
	// Here because something is not there.
	"other APIs":                                     "security, quotas, moves between directories of a broker, and groups of streams are not served, and not advertised",
	"finalized features":                             "eligible leaders of KIP-966 are not a level that could be off, and there are no groups of streams",
	"config of a group: all keys":                    "there are no groups of streams",
	"config of a broker: message.max.bytes":          "the messages between brokers are made for it, so that it needs a restart of all",
	"config of a broker: default.replication.factor": devSetsIt, "config of a broker: min.insync.replicas": devSetsIt,
	"config of a topic: min.insync.replicas": devSetsIt, "config of a topic with two set: min.insync.replicas": devSetsIt,
	"config of a broker: offsets.topic.replication.factor": "min(3, brokers) is the default here, Kafka's 3",
	"describe logger": noLoggers, "list resources of all types": noLoggers,
	"validate a downgrade": "all protocols of transactions are spoken whatever is finalized, so there is nothing to go back to",
	// Here because it cannot be changed any more without moving what is stored; no client sees it.
	"txn old: described in a transaction": negativeHash, "txn new: described in a transaction": negativeHash,
}

// Reasons that several differences have.
const (
	neverAQueue  = "no topic of that name is ever taken for letters; Kafka keeps the config, and loses the letters when they come"
	againAsNew   = "a member whose group was deleted joins anew; by Kafka's answer its clients give up, for good"
	whereLogIs   = "with the error comes where the log begins and ends, which is where to go on; Kafka tells -1"
	noBeginning  = "an ended transaction has no beginning; Kafka tells the last one's, and tools a duration that grows for ever"
	txnFirst     = "a batch outside of the transaction comes amid it, which is said; Kafka finds fault with its sequence, which is right"
	startAtOnce  = "the start is told as soon as what lies below is done; Kafka's moves when it next looks"
	atOnce       = "what a fetch releases it can be given at once, in the order of the log; in Kafka the next one gets it, mostly"
	devSetsIt    = "outrigger dev sets it for the number of brokers"
	noLoggers    = "log levels are given at the start and are no configs here"
	negativeHash = "a group whose name has a negative hash has another partition of __consumer_offsets here"
)

// The same requests get the same answers, error codes first, from a real Kafka and from Outrigger.
func TestAnswersAreThoseOfKafka(t *testing.T) {
	reference := os.Getenv(referenceEnv)
	if reference == "" {
		t.Skipf("%s is not set: there is no Kafka to compare with", referenceEnv)
	}
	if reference == "start" {
		reference = startReference(t)
	}
	c := start(t, options{brokers: 1, args: []string{"--set", "group.initial.rebalance.delay.ms=0",
		"--set", "offsets.topic.num.partitions=3", "--set", "transaction.state.log.num.partitions=3",
		"--set", "transaction.state.log.min.isr=1", "--set", "share.coordinator.state.topic.min.isr=1", // as the reference
		"--set", "group.consumer.assignment.interval.ms=1000", "--set", "group.share.assignment.interval.ms=1000"}}) // Kafka's defaults
	ours, theirs := transcribe(t, c.kafka[0]), transcribe(t, reference)
	if len(ours) != len(theirs) {
		t.Fatalf("got %d answers, Kafka gave %d", len(ours), len(theirs))
	}
	t.Logf("%d steps", len(ours))
	for i := range ours {
		reason, meant := differences[ours[i].step]
		switch same := ours[i].answer == theirs[i].answer; {
		case !same && !meant:
			t.Errorf("%s:\ngot   %s\nKafka %s", ours[i].step, ours[i].answer, theirs[i].answer)
		case !same:
			t.Logf("%s: %s (Kafka: %s): %s", ours[i].step, ours[i].answer, theirs[i].answer, reason)
		case meant && !slices.Contains(sometimes, ours[i].step):
			t.Errorf("%s: %s from both, but listed as a difference", ours[i].step, ours[i].answer)
		}
	}
}

// sometimes are differences that are none with every Kafka, or not each time: Kafka acknowledges and fetches at once, and the
// fetch may come second.
var sometimes = []string{"alter t unknown operation", "share fetch that acknowledges", "share fetch that acknowledges what it has not"}

// exchanged is one step of the script and its answer, without what differs from run to run.
type exchanged struct{ step, answer string }

// dialogue asks one broker.
type dialogue struct {
	testing.TB
	ctx    context.Context
	broker *kgo.Broker
	// old, older and oldest are the same broker, asked in the versions of before KIP-890, of the first flexible
	// ones, and of Kafka 1.1.
	old, older, oldest *kgo.Broker
	said               []exchanged
}

func transcribe(t *testing.T, seed string) []exchanged {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(seed))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	d := &dialogue{TB: t, ctx: within(t, 3*time.Minute), broker: client.SeedBrokers()[0]}
	for _, as := range []struct {
		broker   **kgo.Broker
		versions *kversion.Versions
	}{{&d.old, kversion.V3_5_0()}, {&d.older, kversion.V2_4_0()}, {&d.oldest, kversion.V1_1_0()}} {
		client, err := kgo.NewClient(kgo.SeedBrokers(seed), kgo.MaxVersions(as.versions))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		*as.broker = client.SeedBrokers()[0]
	}
	d.topics("diff-a", "diff-b", "diff-c")
	d.beginnings()
	d.configs()
	d.pages()
	d.features()
	d.elections()
	d.sessions()
	d.creations()
	d.growths()
	d.removals()
	d.offsets()
	d.moves()
	d.groups()
	d.consumers()
	d.policies()
	d.appends()
	d.refusals()
	d.deletions()
	d.values()
	d.clusters()
	d.transactions()
	d.moreConsumers()
	d.offsetDeletions()
	d.shares()
	d.letters()
	d.coordinators()
	d.statics()
	d.described()
	d.ofOld()
	return d.said
}

// ask makes one request and notes what show makes of the answer.
func (d *dialogue) ask(step string, q kmsg.Request, show func(kmsg.Response) string) {
	d.Helper()
	r, err := d.broker.Request(d.ctx, q)
	if err != nil {
		d.Fatalf("%s: %v", step, err)
	}
	d.said = append(d.said, exchanged{step, show(r)})
}

func codeName(code int16) string {
	if known := kerr.TypedErrorForCode(code); known != nil {
		return known.Message
	}
	return "NONE"
}

// topics makes topics of three partitions, and waits until they are known.
func (d *dialogue) topics(names ...string) {
	d.Helper()
	q := kmsg.NewPtrCreateTopicsRequest()
	q.TimeoutMillis = 10_000
	for _, name := range names {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, 3, 1
		q.Topics = append(q.Topics, t)
	}
	if _, err := d.broker.Request(d.ctx, q); err != nil {
		d.Fatal(err)
	}
	eventually(d, 20*time.Second, "topics", func() error {
		for _, name := range names {
			if d.topicID(name) == ([16]byte{}) {
				return fmt.Errorf("%s is unknown", name)
			}
		}
		return nil
	})
}

func (d *dialogue) topicID(name string) [16]byte {
	q := kmsg.NewPtrMetadataRequest()
	q.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	r, err := d.broker.Request(d.ctx, q)
	if err != nil {
		d.Fatal(err)
	}
	t := r.(*kmsg.MetadataResponse).Topics[0]
	for _, p := range t.Partitions {
		if p.ErrorCode != 0 {
			return [16]byte{}
		}
	}
	return t.TopicID
}

// ownOf leaves out the names that are not of this script: the reference may hold other topics.
func ownOf(words []string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool {
		return !strings.Contains(w, "diff-") && !strings.HasPrefix(w, "4:") && !strings.HasPrefix(w, "8:")
	}), " ")
}
