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
	"modern beats in an unknown group":                "a member whose group was deleted joins anew, where Kafka's clients give up",
	"describe modern groups":                          "Kafka divides up to a second later (KIP-1263)",
	"list modern groups":                              "Kafka divides up to a second later (KIP-1263)",
	"alter t cleanup.policy subtract delete":          "a policy of nothing is not honoured, and so refused",
	"alter t unknown operation":                       "Kafka fails with UNKNOWN_SERVER_ERROR",
	"describe logger":                                 "log levels are no configs here",
	"list resources of all types":                     "Kafka lists the brokers' loggers, too",
	"fetch nothing in a session":                      "Kafka opens a session of no partition",
	"fetch in a session, 2":                           "the order of partitions in a session is ours",
	"describe scram users":                            "Kafka answers in another order",
	"set cleanup.policy=":                             "a policy of nothing is not honoured, and so refused",
	"validate a downgrade":                            "a version of ours has one level of each feature",
	"validate one feature twice":                      "Kafka takes the last of two that may differ",
	"txn old: described in a transaction":             "a group whose name has a negative hash has another partition here",
	"txn new: described in a transaction":             "a group whose name has a negative hash has another partition here",
	"txn old: described after the commit":             "an ended transaction has no beginning; Kafka tells the last one's",
	"txn old: described after the abort":              "an ended transaction has no beginning; Kafka tells the last one's",
	"txn new: described after the commit":             "an ended transaction has no beginning; Kafka tells the last one's",
	"txn new: described after the abort":              "an ended transaction has no beginning; Kafka tells the last one's",
	"delete an offset that is not there":              "a group of which nothing is left is gone at once",
	"delete an offset of an unknown topic":            "a group of which nothing is left is gone at once",
	"delete group \"diff-simple\"":                    "a group of which nothing is left is gone at once",
	"produce a batch that is cut":                     "refused by another code",
	"produce an unknown magic":                        "refused by another code",
	"fetch beyond the end":                            "Kafka does not say where the log begins and ends",
	"fetch before the start":                          "Kafka does not say where the log begins and ends",
	"fetch what is deleted":                           "Kafka does not say where the log begins and ends",
	"fetch an unknown partition":                      "Kafka lists no aborted transactions where we have no list",
	"fetch a stranger":                                "Kafka lists no aborted transactions where we have no list",
	"txn old: produce in no transaction":              "the transaction is looked at before the sequence",
	"txn new: produce in no transaction":              "the transaction is looked at before the sequence",
	"txn new: commit offsets of a strange topic":      "Kafka is asked in version 6, which has topic ids",
	"txn new: commit offsets as a stranger":           "Kafka is asked in version 6",
	"txn new: commit offsets of a generation":         "Kafka is asked in version 6",
	"share beats in an unknown group":                 "a member whose group was deleted joins anew, where Kafka's clients give up",
	"share offsets of \"diff-nothing\"":               "how much is left is not told before the first fetch",
	"share offsets with records in hand":              "where a group begins is kept before it is given the first record",
	"share acknowledge one twice":                     "what is out of order is judged before the state",
	"share acknowledge of another partition":          "what nobody was given is no valid request",
	"share offsets after acknowledgements":            "Kafka's start moves later",
	"share offsets after a gap":                       "Kafka's start moves later",
	"share fetch that acknowledges":                   "what a fetch releases it can be given at once",
	"share fetch that acknowledges what it has not":   "what a fetch releases it can be given at once",
	"alter share offsets to below zero":               "there is nothing below zero",
	"share offsets after they were altered":           "how much is left is not told before the first fetch",
	"delete share offsets of that topic again":        "what is gone is deleted",
	"share offsets after a topic was deleted, of all": "how much is left is not told before the first fetch",
	"list transactions of a duration":                 "Kafka lists ids without a transaction as old as the clock",
}

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
		"--set", "offsets.topic.num.partitions=3", "--set", "transaction.state.log.num.partitions=3"}})
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
		case meant && !slices.Contains(versionDependent, ours[i].step):
			t.Errorf("%s: %s from both, but listed as a difference", ours[i].step, ours[i].answer)
		}
	}
}

// versionDependent differences are none with every Kafka.
var versionDependent = []string{"alter t unknown operation"}

// exchanged is one step of the script and its answer, without what differs from run to run.
type exchanged struct{ step, answer string }

// dialogue asks one broker.
type dialogue struct {
	testing.TB
	ctx    context.Context
	broker *kgo.Broker
	// old is the same broker, asked in the versions of before KIP-890.
	old  *kgo.Broker
	said []exchanged
}

func transcribe(t *testing.T, seed string) []exchanged {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(seed))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	old, err := kgo.NewClient(kgo.SeedBrokers(seed), kgo.MaxVersions(kversion.V3_5_0()))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	d := &dialogue{TB: t, ctx: within(t, 3*time.Minute), broker: client.SeedBrokers()[0], old: old.SeedBrokers()[0]}
	d.topics("diff-a", "diff-b", "diff-c")
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
	d.deletions()
	d.values()
	d.clusters()
	d.transactions()
	d.moreConsumers()
	d.offsetDeletions()
	d.shares()
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
