package interop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// numbered are records of text from a number on, spread over partitions in turn.
func numbered(from, count int, partitions int32) []record {
	all := make([]record, count)
	for i := range all {
		n := from + i
		all[i] = record{partition: int32(n) % partitions, offset: -1, key: fmt.Sprint("k", n%7),
			value: fmt.Sprintf("value %05d æøå %s", n, strings.Repeat("x", n%300))}
	}
	return all
}

// awkward are those that no line holds.
func awkward(partitions int32) []record {
	all := []record{
		{0, -1, "zero\x00\xff\n", "\x00\x01\r\n\t\xfe\xff"},
		{1 % partitions, -1, "", "an empty key"},
		{2 % partitions, -1, "an empty value", ""},
		{0, -1, "large", strings.Repeat("0123456789abcdef", 20_000)},
	}
	return all
}

// sameRecords requires the same records in the same places, in any order of partitions.
func sameRecords(got, want []record) error {
	order := func(a, b record) int {
		if a.partition != b.partition {
			return int(a.partition - b.partition)
		}
		return int(a.offset - b.offset)
	}
	got, want = slices.SortedStableFunc(slices.Values(got), order), slices.SortedStableFunc(slices.Values(want), order)
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("got record %s, want %s (%d and %d in all)", got[i], want[i], len(got), len(want))
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("got %d records, want %d", len(got), len(want))
	}
	return nil
}

// sameValues requires each key and value once, wherever it is.
func sameValues(got, want []record) error {
	count := map[[2]string]int{}
	for _, r := range want {
		count[[2]string{r.key, r.value}]++
	}
	for _, r := range got {
		count[[2]string{r.key, r.value}]--
	}
	for kv, n := range count {
		if n != 0 {
			return fmt.Errorf("%q=%q was read %d times, want %d (%d records read, want %d)", kv[0], kv[1][:min(len(kv[1]), 40)],
				times(got, kv), times(want, kv), len(got), len(want))
		}
	}
	return nil
}

func times(records []record, kv [2]string) (n int) {
	for _, r := range records {
		if r.key == kv[0] && r.value == kv[1] {
			n++
		}
	}
	return n
}

// recordOf reads a message of a consumer, or of a producer that has no key.
func recordOf(m []string) record {
	r := record{partition: number(m[1]), offset: int64(number(m[2])), value: string(decode(m[len(m)-1]))}
	if m[0] == "record" {
		r.key = string(decode(m[3]))
	}
	return r
}

func recordsOf(messages [][]string) []record {
	all := make([]record, len(messages))
	for i, m := range messages {
		all[i] = recordOf(m)
	}
	return all
}

// line is a record as a client's producer reads it.
func (cl *client) input(r record) string {
	if cl.line != nil {
		return cl.line(r)
	}
	return fmt.Sprintf("%d\t%s\t%s", r.partition, encode([]byte(r.key)), encode([]byte(r.value)))
}

// produces writes with every codec, and reads with another client.
func produces(ctx context.Context, c *cluster, cl *client) error {
	topic := fresh("produce." + cl.name)
	if err := c.topic(ctx, topic, 3, 3); err != nil {
		return err
	}
	var wrote, acked []record
	for i, codec := range cl.codecs {
		batch := numbered(i*60, 60, 3)
		if !cl.textOnly {
			batch = append(batch, awkward(3)...)
		}
		p, err := start(cl.produce(producer{topic: topic, codec: codec}, c.broker(i)))
		if err != nil {
			return err
		}
		for _, r := range batch {
			if err := p.write(cl.input(r)); err != nil {
				return fmt.Errorf("with %s: %w", codec, err)
			}
		}
		if err := p.finish(ctx); err != nil {
			return fmt.Errorf("with %s: %w", codec, err)
		}
		wrote, acked = append(wrote, batch...), append(acked, recordsOf(p.messages(0, "acked"))...)
	}
	read, err := c.read(ctx, topic, false)
	if err != nil {
		return err
	}
	if err := sameValues(read, wrote); err != nil {
		return err
	}
	if !cl.textOnly && len(acked) != len(wrote) {
		return fmt.Errorf("%d records were acknowledged, want %d", len(acked), len(wrote))
	}
	return ackedWhereRead(acked, read)
}

// ackedWhereRead requires each acknowledged value at the place that was acknowledged.
func ackedWhereRead(acked, read []record) error {
	at := map[string]bool{}
	for _, r := range read {
		at[fmt.Sprintf("%d/%d/%s", r.partition, r.offset, r.value)] = true
	}
	for _, r := range acked {
		if r.offset >= 0 && !at[fmt.Sprintf("%d/%d/%s", r.partition, r.offset, r.value)] {
			return fmt.Errorf("%s was acknowledged and is not there", r)
		}
	}
	return nil
}

// consumes reads what another client wrote with every codec, each record once and where it is.
func consumes(ctx context.Context, c *cluster, cl *client) error {
	topic := fresh("consume." + cl.name)
	if err := c.topic(ctx, topic, 3, 3); err != nil {
		return err
	}
	var wrote []record
	for i, codec := range cl.codecs {
		batch := numbered(i*100, 100, 3)
		if !cl.textOnly {
			batch = append(batch, awkward(3)...)
		}
		written, err := c.write(ctx, topic, codec, batch)
		if err != nil {
			return err
		}
		wrote = append(wrote, written...)
	}
	return reads(ctx, c, cl, member{topic: topic}, wrote, nil)
}

// reads has a client read until it has as many records as are wanted, then more is done, and what comes
// of that counts, too.
func reads(ctx context.Context, c *cluster, cl *client, m member, want []record, more func() ([]record, error)) error {
	p, err := start(cl.consume(m, c.broker(2)))
	if err != nil {
		return err
	}
	defer func() { _ = p.stop() }() // it was stopped in order, or the error is another one
	for {
		if err := eventually(ctx, func() error { return p.holds(want) }); err != nil {
			return err
		}
		if more == nil {
			break
		}
		added, err := more()
		if err != nil {
			return err
		}
		want, more = append(want, added...), nil
	}
	if err := p.finish(ctx); err != nil {
		return err
	}
	return sameRecords(recordsOf(p.messages(0, "record")), want)
}

// holds waits for so many records; too many end the waiting.
func (p *process) holds(want []record) error {
	got := recordsOf(p.messages(0, "record"))
	switch {
	case len(got) > len(want):
		return final{sameRecords(got, want)}
	case len(got) == len(want):
		return nil
	case p.ended():
		return final{fmt.Errorf("the client has ended after %d of %d records: %v: %s", len(got), len(want), p.err, p.complaint())}
	}
	return fmt.Errorf("%d of %d records are read: %s", len(got), len(want), p.complaint())
}

// What the producers write while brokers are killed; a tool of Kafka's makes the same values itself.
const (
	killRecords = 1500
	killRate    = 150
	killPrefix  = "7"
)

// killRun is one client's producer during the kills.
type killRun struct {
	client *client
	topic  string
	wrote  []record
	p      *process
	fed    chan error
}

func startKillRun(ctx context.Context, c *cluster, cl *client, tick <-chan struct{}) (*killRun, error) {
	r := &killRun{client: cl, topic: fresh("idempotent." + cl.name), fed: make(chan error, 1)}
	if err := c.topic(ctx, r.topic, 3, 3); err != nil {
		return nil, err
	}
	for i := range killRecords {
		r.wrote = append(r.wrote, record{partition: int32(i % 3), offset: -1, key: fmt.Sprint("k", i%5), value: fmt.Sprintf("%s.%d", killPrefix, i)})
	}
	var err error
	r.p, err = start(cl.produce(producer{topic: r.topic, codec: "none", idempotent: true}, strings.Join(c.kafka, ",")))
	if err != nil {
		return nil, err
	}
	go func() { r.fed <- r.feed(tick) }()
	return r, nil
}

// feed writes the first records at once, and then a few for each tick. A tool that has values of its own reads none.
func (r *killRun) feed(tick <-chan struct{}) error {
	for i, record := range r.wrote {
		if i >= killAhead && i%killEach == 0 {
			<-tick
		}
		if r.client.name == "Java and its tools" {
			continue
		}
		if err := r.p.write(r.client.input(record)); err != nil {
			return err
		}
	}
	return nil
}

// writes waits until the log holds a record of the client's.
func (r *killRun) writes(ctx context.Context, c *cluster) error {
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	return eventually(ctx, func() error {
		ends, err := adm.ListEndOffsets(ctx, r.topic)
		if err := errorOf(err, ends.Error()); err != nil {
			return fmt.Errorf("ends of %s: %w", r.topic, err)
		}
		written := false
		ends.Each(func(o kadm.ListedOffset) { written = written || o.Offset > 0 })
		switch {
		case written:
			return nil
		case r.p.ended():
			return final{fmt.Errorf("the client has ended before it wrote: %v: %s", r.p.err, r.p.complaint())}
		}
		return fmt.Errorf("the client has written nothing: %s", r.p.complaint())
	})
}

// check waits for the end, and holds the log against what was written: each once, each partition in the
// order of writing, and each where it was acknowledged.
func (r *killRun) check(ctx context.Context, c *cluster) error {
	if err := errorOf(<-r.fed, r.p.finish(ctx)); err != nil {
		return fmt.Errorf("%w; %s", err, r.told())
	}
	read, err := c.read(ctx, r.topic, false)
	if err != nil {
		return err
	}
	for i := range read { // keys are those of whoever wrote
		read[i].key = ""
	}
	want := slices.Clone(r.wrote)
	for i := range want {
		want[i].key = ""
	}
	// One that is not there is worse if it was acknowledged, so that is asked first.
	if err := errorOf(ackedWhereRead(recordsOf(r.p.messages(0, "acked")), read), sameValues(read, want)); err != nil {
		return fmt.Errorf("%w; %s; the client says: %s", err, r.told(), r.p.complaint())
	}
	number := map[string]int{}
	for i, w := range r.wrote {
		number[w.value] = i
	}
	last := map[int32]int{}
	for _, got := range read {
		if before, ok := last[got.partition]; ok && number[got.value] < before {
			return fmt.Errorf("partition %d: %s comes after number %d", got.partition, got, before)
		}
		last[got.partition] = number[got.value]
	}
	return nil
}

// told is what came of its records, as far as the client tells.
func (r *killRun) told() string {
	return fmt.Sprintf("%d records are acknowledged, failed are %q", len(r.p.messages(0, "acked")), r.p.messages(0, "failed"))
}

// transaction begins one, as a new incarnation of an id.
func begun(ctx context.Context, cl *client, id, topic, broker string) (talker, error) {
	t, err := cl.transact(id, topic, broker)
	if err != nil {
		return nil, err
	}
	for _, word := range []string{"init", "begin"} {
		if _, err := t.ask(ctx, word); err != nil {
			return nil, errorOf(err, t.stop())
		}
	}
	return t, nil
}

// transacts runs a script of words, and then reads what is committed.
func transacts(ctx context.Context, c *cluster, cl *client, name string, script [][]string, want ...string) (err error) {
	topic := fresh(name + "." + cl.name)
	if err := c.topic(ctx, topic, 2, 3); err != nil {
		return err
	}
	t, err := begun(ctx, cl, topic, topic, c.broker(0))
	if err != nil {
		return err
	}
	defer func() { err = errorOf(err, t.stop()) }()
	for _, words := range script {
		if words[0] == "send" {
			words = []string{"send", words[1], encode([]byte(words[2]))}
		}
		if _, err := t.ask(ctx, words...); err != nil {
			return err
		}
	}
	return c.committed(ctx, topic, want...)
}

// committed waits until exactly these values are, in any order: that a transaction is decided is told
// before its markers are written.
func (c *cluster) committed(ctx context.Context, topic string, want ...string) error {
	return eventually(ctx, func() error {
		read, err := c.read(ctx, topic, true)
		if err != nil {
			return err
		}
		var got []string
		for _, r := range read {
			got = append(got, r.value)
		}
		slices.Sort(got)
		if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			return fmt.Errorf("committed are %q, want %q", got, want)
		}
		return nil
	})
}

func commits(ctx context.Context, c *cluster, cl *client) error {
	return transacts(ctx, c, cl, "commit", [][]string{
		{"send", "0", "a"}, {"send", "1", "b"}, {"commit"}, {"begin"}, {"send", "1", "c"}, {"commit"},
	}, "a", "b", "c")
}

func aborts(ctx context.Context, c *cluster, cl *client) error {
	return transacts(ctx, c, cl, "abort", [][]string{
		{"send", "0", "a"}, {"send", "1", "b"}, {"abort"}, {"begin"}, {"send", "1", "c"}, {"commit"},
	}, "c")
}

// fences has a second producer take over an id in the midst of a transaction of the first.
func fences(ctx context.Context, c *cluster, cl *client) error {
	topic := fresh("fence." + cl.name)
	if err := c.topic(ctx, topic, 1, 3); err != nil {
		return err
	}
	first, err := begun(ctx, cl, topic, topic, c.broker(0))
	if err != nil {
		return err
	}
	defer func() { _ = first.stop() }() // it was fenced: how it ends is its own affair
	if _, err := first.ask(ctx, "send", "0", encode([]byte("of the fenced"))); err != nil {
		return err
	}
	second, err := begun(ctx, cl, topic, topic, c.broker(1))
	if err != nil {
		return err
	}
	defer func() { _ = second.stop() }() // its commit has told
	if _, err := second.ask(ctx, "send", "0", encode([]byte("of the second"))); err != nil {
		return err
	}
	if _, err := first.ask(ctx, "commit"); err == nil {
		return errors.New("the fenced producer was told that its transaction is committed")
	} else if said := strings.ToLower(err.Error()); !strings.Contains(said, "fence") && !strings.Contains(said, "epoch") {
		return fmt.Errorf("the fenced producer was told something else: %w", err)
	}
	if _, err := second.ask(ctx, "commit"); err != nil {
		return err
	}
	return c.committed(ctx, topic, "of the second")
}

// readsCommitted has franz-go commit, abort and leave open, and the client read around it.
func readsCommitted(ctx context.Context, c *cluster, cl *client) error {
	topic := fresh("read-committed." + cl.name)
	if err := c.topic(ctx, topic, 1, 3); err != nil {
		return err
	}
	var want []record
	t, err := begun(ctx, franz(), topic, topic, c.broker(0))
	if err != nil {
		return err
	}
	defer func() { _ = t.stop() }() // a tool of this test
	run := func(words ...string) error {
		_, err := t.ask(ctx, words...)
		return err
	}
	// offsets: 0 committed, 1 marker, 2 aborted, 3 marker, 4 plain, 5 open
	if err := errorOf(
		run("send", "0", encode([]byte("committed"))), run("commit"),
		run("begin"), run("send", "0", encode([]byte("aborted"))), run("abort"),
	); err != nil {
		return err
	}
	plain, err := c.write(ctx, topic, "none", []record{{0, -1, "", "plain"}})
	if err != nil {
		return err
	}
	if err := errorOf(run("begin"), run("send", "0", encode([]byte("open")))); err != nil {
		return err
	}
	hidden, err := c.write(ctx, topic, "none", []record{{0, -1, "", "behind the open one"}})
	if err != nil {
		return err
	}
	want = append(want, record{0, 0, "", "committed"}, plain[0])
	return reads(ctx, c, cl, member{topic: topic, committed: true}, want, func() ([]record, error) {
		if err := run("abort"); err != nil {
			return nil, err
		}
		return hidden, nil
	})
}

// copies consumes, and produces in transactions which commit the offsets, too.
func copies(ctx context.Context, c *cluster, cl *client) error {
	source, target, group := fresh("copy-from."+cl.name), fresh("copy-to."+cl.name), fresh("copy."+cl.name)
	if err := errorOf(c.topic(ctx, source, 1, 3), c.topic(ctx, target, 1, 3)); err != nil {
		return err
	}
	const count = 40
	wrote, err := c.write(ctx, source, "none", numbered(0, count, 1))
	if err != nil {
		return err
	}
	if cl.copy != nil {
		p, err := start(cl.copy(source, target, group, target, count, c.broker(0)))
		if err != nil {
			return err
		}
		if err := eventually(ctx, func() error {
			if !p.ended() {
				return errors.New("the copier has not ended: " + p.complaint())
			}
			return nil
		}); err != nil {
			p.kill()
			return err
		}
		err = p.finish(ctx)
		if err != nil {
			return err
		}
	} else if err := copyByWords(ctx, c, cl, [4]string{source, target, group, target}, wrote); err != nil {
		return err
	}
	var values []string
	for _, r := range wrote {
		values = append(values, r.value)
	}
	if err := c.committed(ctx, target, values...); err != nil {
		return err
	}
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	return eventually(ctx, func() error {
		found, err := adm.FetchOffsets(ctx, group)
		if at, _ := found.Lookup(source, 0); err != nil || at.At != count {
			return fmt.Errorf("the group's offset is %d, want %d: %w", at.At, count, errorOf(err, kadmError(at)))
		}
		return nil
	})
}

func kadmError(o kadm.OffsetResponse) error { return o.Err }

// copyByWords copies ten at a time, and aborts the second time once before it does it again.
func copyByWords(ctx context.Context, c *cluster, cl *client, names [4]string, wrote []record) (err error) {
	source, target, group, id := names[0], names[1], names[2], names[3]
	t, err := begun(ctx, cl, id, target, c.broker(0))
	if err != nil {
		return err
	}
	defer func() { err = errorOf(err, t.stop()) }()
	ends := []string{"commit", "abort", "commit", "commit", "commit"}
	done := 0
	for i, end := range ends {
		for _, r := range wrote[done : done+copySize] {
			if _, err := t.ask(ctx, "send", "0", encode([]byte(r.value))); err != nil {
				return err
			}
		}
		if _, err := t.ask(ctx, "offsets", group, source, "0", fmt.Sprint(done+copySize)); err != nil {
			return err
		}
		if _, err := t.ask(ctx, end); err != nil {
			return err
		}
		if end == "commit" {
			done += copySize
		}
		if i < len(ends)-1 {
			if _, err := t.ask(ctx, "begin"); err != nil {
				return err
			}
		}
	}
	return nil
}
