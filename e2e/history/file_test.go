package history

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

const header = `{"header":{"version":1,"rules":{}}}` + "\n"

func TestWhatIsNoHistoryIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                   "",
		"no header":                 `{"fault":{"kind":"kill"}}`,
		"a later version":           `{"header":{"version":2}}`,
		"two headers":               header + header,
		"a send of nobody":          header + `{"send":{"topic":"t","value":"01","outcome":"acked"}}`,
		"a read of nobody":          header + `{"read":{"topic":"t","values":["01"]}}`,
		"a line that says nothing":  header + `{}`,
		"a cut line":                header + `{"fault":{"ki`,
		"a value that is no number": header + `{"producer":{}}{"send":{"value":"x","outcome":"acked"}}`,
		"an outcome of no kind":     header + `{"producer":{}}{"send":{"value":"1","outcome":"maybe"}}`,
		"a move of no kind":         header + `{"consumer":{}}{"move":{"kind":"leap"}}`,
		"final polls of no range":   header + `{"consumer":{}}{"move":{"kind":"final"}}`,
		"a read below 0":            header + `{"consumer":{}}{"read":{"offset":-1,"values":["1"]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if h, err := Read(strings.NewReader(text)); !errors.Is(err, ErrFile) || h != nil {
				t.Errorf("got %v, %v, want %v", h, err, ErrFile)
			}
		})
	}
}

// FuzzRead: whatever a file says, it is refused or judged, in time that fits its length.
func FuzzRead(f *testing.F) {
	rules := holes
	rules.Kept = &Kept{Age: time.Second, Bytes: -1}
	h := New(Config{Clock: ticking(), Rules: rules})
	p, c := h.Producer(idempotent), h.Consumer(committed)
	x := p.Begin()
	p.Send(topicName, 0, 1).Acked(0)
	x.Committing()
	x.Committed()
	c.Final(topicName, 0, Range{End: 2})
	c.Poll()
	c.Read(topicName, 0, 0, 1)
	c.Finished(topicName, 0)
	h.Fault("kill", "")
	h.Began(topicName, 0, 1)
	h.Deleting(topicName, 0, 1)
	var file strings.Builder
	if _, err := h.WriteTo(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.String())
	f.Add(header + `{"consumer":{}}{"move":{"kind":"seek","offset":5}}{"read":{"offset":9223372036854775806,"values":["1"]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		h, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		v := Check(h)
		if again := Check(copied(t, h)); again.String() != v.String() {
			t.Errorf("from the file: got %v, want %v", again, v)
		}
	})
}

func TestRecordersMayBeUsedAtOnce(t *testing.T) {
	const hands, records = 8, 500
	h := New(Config{})
	p, c := h.Producer(ProducerConfig{Idempotent: true}), h.Consumer(ConsumerConfig{Subscribed: true})
	var workers sync.WaitGroup
	for hand := range hands {
		workers.Go(func() {
			own := h.Producer(ProducerConfig{Idempotent: true})
			for i := range records {
				v := Value(hand*records + i + 1)
				p.Send("shared", AnyPartition, v).AckedAt(int32(hand), int64(i))
				own.Send("own", int32(hand), v<<32).Acked(int64(i))
				h.Fault("kill", "")
				c.Poll()
				c.Read("shared", int32(hand), int64(i), v)
				c.Done()
			}
		})
	}
	workers.Wait()
	v := Check(h)
	if v.Total() != 0 || v.Acked != 2*hands*records || v.Seen != hands*records || v.Faults["kill"] != hands*records {
		t.Errorf("got %v", v.Err())
	}
	if len(v.Incomplete) != 2*hands {
		t.Errorf("got %d partitions without final polls, want %d", len(v.Incomplete), 2*hands)
	}
}
