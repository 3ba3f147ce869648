package e2e

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What is promised of topics, and checked here: creations and deletions are linearizable, by whatever
// broker they go, also in what they refuse. A deletion is of the topic that has the name when it is
// asked for, and whoever else deletes that same topic is told success too. Listings are one broker's
// own image: they may be old, and never go back.

// verb is what a client does with a name.
type verb string

const (
	verbCreate verb = "create"
	verbDelete verb = "delete"
	// verbRead is the one listing that is linearizable: when nothing happens any more.
	verbRead verb = "read"
)

// deed is one operation on a name; became is what the client was told of it.
type deed struct {
	verb verb
	name string
}

type became struct {
	// id is the topic's, where it is known: created, deleted or seen.
	id string
	// refused: TOPIC_ALREADY_EXISTS for a creation, UNKNOWN_TOPIC_OR_PARTITION for a deletion, and
	// absence for the read in the end.
	refused, unknown bool
}

// nameState is what a name stands for: a topic, or nothing since the deletion of one.
type nameState struct {
	exists bool
	// id is someID for a topic whose creator was told nothing.
	id string
}

const someID = "?"

func (s nameState) is(id string) bool { return s.id == id || s.id == someID && id != "" }

// topicModel is the sequential specification of one name.
var topicModel = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byName := map[string][]porcupine.Operation{}
		for _, op := range history {
			name := op.Input.(deed).name
			byName[name] = append(byName[name], op)
		}
		var parts [][]porcupine.Operation
		for _, ops := range byName {
			parts = append(parts, ops)
		}
		return parts
	},
	Init: func() []any { return []any{nameState{}} },
	Step: func(state, input, output any) []any {
		return topicStep(state.(nameState), input.(deed), output.(became))
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
}

func topicStep(s nameState, d deed, b became) []any {
	switch {
	case d.verb == verbCreate && b.unknown:
		if s.exists {
			return []any{s}
		}
		return []any{s, nameState{exists: true, id: someID}}
	case d.verb == verbCreate && b.refused:
		return only(s.exists, s)
	case d.verb == verbCreate:
		return only(!s.exists, nameState{exists: true, id: b.id})
	case d.verb == verbDelete && b.unknown:
		if !s.exists {
			return []any{s}
		}
		return []any{s, nameState{id: s.id}}
	case d.verb == verbDelete && b.refused, d.verb == verbRead && b.refused:
		return only(!s.exists, s)
	case d.verb == verbDelete:
		return only(s.is(b.id), nameState{id: b.id})
	default:
		return only(s.exists && s.is(b.id), nameState{exists: true, id: b.id})
	}
}

func only(legal bool, next nameState) []any {
	if !legal {
		return nil
	}
	return []any{next}
}

// The model takes what is promised and nothing else.
func TestTopicModelTellsRightFromWrong(t *testing.T) {
	create, remove, read := deed{verbCreate, "n"}, deed{verbDelete, "n"}, deed{verbRead, "n"}
	type step struct {
		d deed
		b became
	}
	for name, c := range map[string]struct {
		steps []step
		want  porcupine.CheckResult
	}{
		"created, deleted, gone":       {[]step{{create, became{id: "a"}}, {remove, became{id: "a"}}, {read, became{refused: true}}}, porcupine.Ok},
		"created twice":                {[]step{{create, became{id: "a"}}, {create, became{id: "b"}}}, porcupine.Illegal},
		"refused what was not there":   {[]step{{create, became{refused: true}}}, porcupine.Illegal},
		"missed what was there":        {[]step{{create, became{id: "a"}}, {remove, became{refused: true}}}, porcupine.Illegal},
		"deleted another":              {[]step{{create, became{id: "a"}}, {remove, became{id: "b"}}}, porcupine.Illegal},
		"deleted one after its return": {[]step{{create, became{id: "a"}}, {remove, became{id: "a"}}, {create, became{id: "b"}}, {remove, became{id: "a"}}}, porcupine.Illegal},
		"deleted by two":               {[]step{{create, became{id: "a"}}, {remove, became{id: "a"}}, {remove, became{id: "a"}}}, porcupine.Ok},
		"unknown, and there":           {[]step{{create, became{unknown: true}}, {read, became{id: "a"}}}, porcupine.Ok},
		"unknown, and not there":       {[]step{{create, became{unknown: true}}, {read, became{refused: true}}}, porcupine.Ok},
		"another is there in the end":  {[]step{{create, became{id: "a"}}, {read, became{id: "b"}}}, porcupine.Illegal},
		"lost in the end":              {[]step{{create, became{id: "a"}}, {read, became{refused: true}}}, porcupine.Illegal},
	} {
		var ops []porcupine.Operation
		for i, s := range c.steps {
			op := porcupine.Operation{Input: s.d, Output: s.b, Call: int64(10 * i), Return: int64(10*i + 5)}
			if s.b.unknown {
				op.Return = math.MaxInt64
			}
			ops = append(ops, op)
		}
		if got := porcupine.CheckOperationsTimeout(topicModel.ToModel(), ops, 10*time.Second); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// observer is what all clients have done and seen.
type observer struct {
	began time.Time
	// session counts the kills of each broker: what two of its processes show is not compared.
	session [3]atomic.Int64

	mu       sync.Mutex
	ops      []porcupine.Operation
	sights   []sight
	unknowns int
}

// sight is what one broker showed of a name between two moments.
type sight struct {
	broker  int
	session int64
	name    string
	// id is empty if there was nothing. gone is an id of which the broker knew the deletion.
	id, gone   string
	from, till int64
}

func (o *observer) now() int64 { return time.Since(o.began).Nanoseconds() }

// note keeps an operation; what is unknown may happen as long as anything does.
func (o *observer) note(client int, d deed, b became, call int64) {
	op := porcupine.Operation{ClientId: client, Input: d, Output: b, Call: call, Return: o.now()}
	o.mu.Lock()
	defer o.mu.Unlock()
	if b.unknown {
		op.Return = math.MaxInt64
		o.unknowns++
	}
	o.ops = append(o.ops, op)
}

func (o *observer) see(s sight) {
	s.till = o.now()
	if o.session[s.broker].Load() != s.session {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sights = append(o.sights, s)
}

// metadataClient does things to a few names, through all brokers in turn.
type metadataClient struct {
	t       *testing.T
	number  int
	o       *observer
	brokers []*kgo.Client
	r       *rand.Rand
}

// act does one thing.
func (m *metadataClient) act(names []string) {
	broker, name := m.r.IntN(len(m.brokers)), names[m.r.IntN(len(names))]
	switch n := m.r.IntN(10); {
	case n < 4:
		m.create(broker, name)
	case n < 8:
		m.delete(broker, name)
	default:
		m.list(broker, names)
	}
}

// ask returns nothing for a request that has no answer; sent says whether the broker may have heard it.
func (m *metadataClient) ask(broker int, q kmsg.Request) (answer kmsg.Response, sent bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	answer, err := m.brokers[broker].SeedBrokers()[0].Request(ctx, q)
	var dial *net.OpError
	if err != nil {
		return nil, !errors.As(err, &dial) || dial.Op != "dial"
	}
	return answer, true
}

func (m *metadataClient) create(broker int, name string) {
	q := kmsg.NewPtrCreateTopicsRequest()
	q.TimeoutMillis = 2000
	one := kmsg.NewCreateTopicsRequestTopic()
	one.Topic, one.NumPartitions, one.ReplicationFactor = name, 1, 3
	q.Topics = append(q.Topics, one)
	session, call := m.o.session[broker].Load(), m.o.now()
	answer, sent := m.ask(broker, q)
	if answer == nil {
		if sent {
			m.o.note(m.number, deed{verbCreate, name}, became{unknown: true}, call)
		}
		return
	}
	made := answer.(*kmsg.CreateTopicsResponse).Topics[0]
	id := hex.EncodeToString(made.TopicID[:])
	switch err := kerr.ErrorForCode(made.ErrorCode); {
	case err == nil:
		m.o.note(m.number, deed{verbCreate, name}, became{id: id}, call)
		// The answer says that this broker's image has it, or had it already.
		m.o.see(sight{broker: broker, session: session, name: name, id: id, from: call})
	case errors.Is(err, kerr.TopicAlreadyExists):
		m.o.note(m.number, deed{verbCreate, name}, became{refused: true}, call)
	case errors.Is(err, kerr.NotController): // nothing was proposed
	default:
		m.expect(err)
		m.o.note(m.number, deed{verbCreate, name}, became{unknown: true}, call)
	}
}

func (m *metadataClient) delete(broker int, name string) {
	q := kmsg.NewPtrDeleteTopicsRequest()
	q.TimeoutMillis = 2000
	one := kmsg.NewDeleteTopicsRequestTopic()
	one.Topic = kmsg.StringPtr(name)
	q.Topics, q.TopicNames = append(q.Topics, one), append(q.TopicNames, name)
	session, call := m.o.session[broker].Load(), m.o.now()
	answer, sent := m.ask(broker, q)
	if answer == nil {
		if sent {
			m.o.note(m.number, deed{verbDelete, name}, became{unknown: true}, call)
		}
		return
	}
	gone := answer.(*kmsg.DeleteTopicsResponse).Topics[0]
	id := hex.EncodeToString(gone.TopicID[:])
	switch err := kerr.ErrorForCode(gone.ErrorCode); {
	case err == nil:
		m.o.note(m.number, deed{verbDelete, name}, became{id: id}, call)
		m.o.see(sight{broker: broker, session: session, name: name, gone: id, from: call})
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		m.o.note(m.number, deed{verbDelete, name}, became{refused: true}, call)
	case errors.Is(err, kerr.NotController):
	default:
		m.expect(err)
		m.o.note(m.number, deed{verbDelete, name}, became{unknown: true}, call)
	}
}

// expect allows the one error that says that the outcome is unknown.
func (m *metadataClient) expect(err error) {
	if !errors.Is(err, kerr.RequestTimedOut) {
		m.t.Errorf("a change of topics was answered with %v", err)
	}
}

// list notes what a broker shows of each name.
func (m *metadataClient) list(broker int, names []string) {
	session, call := m.o.session[broker].Load(), m.o.now()
	answer, _ := m.ask(broker, kmsg.NewPtrMetadataRequest())
	if answer == nil {
		return
	}
	shown := map[string]string{}
	for _, topic := range answer.(*kmsg.MetadataResponse).Topics {
		shown[*topic.Topic] = hex.EncodeToString(topic.TopicID[:])
	}
	for _, name := range names {
		m.o.see(sight{broker: broker, session: session, name: name, id: shown[name], from: call})
	}
}

// goneBack are the sights that show what their broker had known to be deleted.
func (o *observer) goneBack() []string {
	type key struct {
		broker   int
		session  int64
		name, id string
	}
	// seen and gone are the first moments at which an id had been shown, and had been known as gone
	seen, gone := map[key]int64{}, map[key]int64{}
	first := func(in map[key]int64, k key, at int64) {
		if was, ok := in[k]; !ok || at < was {
			in[k] = at
		}
	}
	of := func(s sight, id string) key { return key{s.broker, s.session, s.name, id} }
	for _, s := range o.sights {
		if s.id != "" {
			first(seen, of(s, s.id), s.till)
		}
		if s.gone != "" {
			first(gone, of(s, s.gone), s.till)
		}
	}
	for _, s := range o.sights {
		for k, at := range seen {
			if s.gone == "" && k == of(s, k.id) && k.id != s.id && at < s.from {
				first(gone, k, s.till)
			}
		}
	}
	var wrong []string
	for _, s := range o.sights {
		if at, ok := gone[of(s, s.id)]; s.id != "" && ok && at < s.from {
			wrong = append(wrong, fmt.Sprintf("broker %d showed %s as %s from %d on, which it knew as gone at %d",
				s.broker+1, s.name, s.id, s.from, at))
		}
	}
	return wrong
}

func TestBrokerThatGoesBackIsSeen(t *testing.T) {
	shows := func(id string, at int64) sight { return sight{name: "n", id: id, from: at, till: at + 5} }
	for name, c := range map[string]struct {
		sights []sight
		want   int
	}{
		"a topic, nothing, another": {[]sight{shows("a", 0), shows("", 10), shows("b", 20)}, 0},
		"a topic again":             {[]sight{shows("a", 0), shows("", 10), shows("a", 20)}, 1},
		"the one before":            {[]sight{shows("a", 0), shows("b", 10), shows("a", 20)}, 1},
		"at the same time":          {[]sight{shows("a", 0), shows("b", 10), shows("a", 12)}, 0},
		"after its deletion":        {[]sight{shows("a", 0), {name: "n", gone: "a", from: 10, till: 15}, shows("a", 20)}, 1},
		"on another broker":         {[]sight{shows("a", 0), shows("", 10), {broker: 1, name: "n", id: "a", from: 20, till: 25}}, 0},
	} {
		if got := (&observer{sights: c.sights}).goneBack(); len(got) != c.want {
			t.Errorf("%s: got %v, want %d", name, got, c.want)
		}
	}
}

// failure modes 7, 45 and 54: clients create, delete and list the same few topics through all brokers,
// while the controller is killed again and again.
func TestTopicChangesAreLinearizable(t *testing.T) {
	const clients, kills = 4, 3
	names := []string{"x", "y", "z"}
	c := start(t, options{restart: true})
	o := &observer{began: time.Now()}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for n := range clients {
		m := &metadataClient{t: t, number: n, o: o, r: rand.New(rand.NewPCG(seed, uint64(n)))}
		for _, address := range c.kafka {
			m.brokers = append(m.brokers, impatient(t, address))
		}
		workers.Go(func() {
			for ctx.Err() == nil {
				m.act(names)
			}
		})
	}
	for range kills {
		o.moved(t, 150)
		victim := c.controller()
		pid := c.pid(victim)
		o.session[victim].Add(1)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		o.moved(t, 50)
		c.serves(victim)
	}
	o.moved(t, 100)
	cancel()
	workers.Wait()
	o.finalRead(c, names)
	o.judge(t)
}

// impatient is a client of one broker that tries everything once.
func impatient(t testing.TB, address string) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RequestRetries(0), kgo.DialTimeout(time.Second),
		kgo.RequestTimeoutOverhead(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// moved waits for so many more operations with a known outcome.
func (o *observer) moved(t testing.TB, more int) {
	t.Helper()
	known := func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.ops) - o.unknowns
	}
	before := known()
	eventually(t, 60*time.Second, "operations on topics", func() error {
		if now := known(); now < before+more {
			return fmt.Errorf("%d after %d", now, before)
		}
		return nil
	})
}

// finalRead waits until all brokers show the same, and notes it.
func (o *observer) finalRead(c *cluster, names []string) {
	c.t.Helper()
	c.healthy(30 * time.Second)
	call := o.now()
	var shown map[string]topicFacts
	c.eventually(20*time.Second, "the same topics on every broker", func() error {
		shown = listTopics(c.t, c.kafka[0])
		for i, address := range c.kafka[1:] {
			listed := listTopics(c.t, address)
			for _, name := range names {
				if listed[name].id != shown[name].id {
					return fmt.Errorf("broker %d shows %s as %x, broker 1 as %x", i+2, name, listed[name].id, shown[name].id)
				}
			}
		}
		return nil
	})
	for _, name := range names {
		b := became{refused: true}
		if facts, ok := shown[name]; ok {
			b = became{id: hex.EncodeToString(facts.id[:])}
		}
		o.note(0, deed{verbRead, name}, b, call)
	}
}

// judge requires that everything was as promised. That the checker came to no end is a failure.
func (o *observer) judge(t *testing.T) {
	t.Helper()
	made, gone, refused := 0, 0, 0
	for _, op := range o.ops {
		switch d, b := op.Input.(deed), op.Output.(became); {
		case b.refused:
			refused++
		case !b.unknown && d.verb == verbCreate:
			made++
		case !b.unknown && d.verb == verbDelete:
			gone++
		}
	}
	t.Logf("%d operations: %d created, %d deleted, %d refused, %d unknown; %d sights", len(o.ops), made, gone, refused,
		o.unknowns, len(o.sights))
	model := topicModel.ToModel()
	result, info := porcupine.CheckOperationsVerbose(model, o.ops, time.Minute)
	if result != porcupine.Ok {
		path := filepath.Join(os.TempDir(), "outrigger-"+t.Name()+".html")
		t.Errorf("the operations on topics are %s, want %s; see %s", result, porcupine.Ok, path)
		if err := porcupine.VisualizePath(model, info, path); err != nil {
			t.Log(err)
		}
	}
	if wrong := o.goneBack(); len(wrong) > 0 {
		t.Errorf("%d listings went back, for example %s", len(wrong), wrong[0])
	}
}
