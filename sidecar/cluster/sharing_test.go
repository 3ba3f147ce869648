package cluster

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"outrigger/broker/topic"
)

// bigImage has topics of one partition each, on three brokers.
func bigImage(t testing.TB, topics int) *world {
	t.Helper()
	w := newWorld(t, 3)
	batch := w.im.Edit()
	for i := range topics {
		w.index++
		r := batch.Apply(w.index, CreateTopics{Topics: []topic.Creation{numbered(i)}})
		if r.Items[0] != OK {
			t.Fatalf("create topic %d: %v", i, r.Items[0])
		}
	}
	w.im = batch.Image()
	return w
}

// numbered is a topic whose id is spread over the id space, as random ones are.
func numbered(i int) topic.Creation {
	c := topic.Creation{Name: fmt.Sprintf("topic-%d", i), Partitions: 1, ReplicationFactor: 3}
	binary.BigEndian.PutUint64(c.ID[:], uint64(i+1)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(c.ID[8:], uint64(i+1))
	return c
}

// copied counts the chunks of a list that another does not share.
func copied[T any](was, is sorted[T]) int {
	n := 0
	for _, chunk := range is.chunks {
		if !slices.ContainsFunc(was.chunks, func(c []T) bool { return &c[0] == &chunk[0] }) {
			n++
		}
	}
	return n
}

func TestOneRecordCopiesOneTopicOfTenThousand(t *testing.T) {
	w := bigImage(t, 10000)
	before := w.im
	w.must(AlterISR{Changes: []ISRChange{{Partition: topic.Partition{Topic: numbered(7).ID},
		Leader: leaderOf(w, 7), ISR: []topic.Member{leaderOf(w, 7)}}}})
	if a, b := copied(before.byID, w.im.byID), copied(before.byName, w.im.byName); a != 1 || b != 1 {
		t.Errorf("chunks copied: got %d and %d, want 1 and 1", a, b)
	}
	changes := slices.Collect(Changes(before, w.im))
	if len(changes) != 1 || changes[0].Topic.Name != "topic-7" || changes[0].Before == nil {
		t.Errorf("changes: got %+v, want one of topic-7", changes)
	}
	w.must(CreateTopics{Topics: []topic.Creation{numbered(10000)}})
	if a := copied(before.byID, w.im.byID); a > 4 {
		t.Errorf("chunks copied by a creation: got %d, want at most 4", a)
	}
}

func leaderOf(w *world, i int) topic.Member {
	p := w.partition(numbered(i).ID, 0)
	return topic.Member{Node: p.Leader, Session: p.LeaderSession}
}

func TestPublishedImageNeverChanges(t *testing.T) {
	w := bigImage(t, 300)
	published := w.im
	want := published.Hash()
	batch := published.Edit()
	d := newDice(3)
	d.sessions[1], d.sessions[2], d.sessions[3] = 1, 1, 1
	var hashes []uint64
	var images []*Image
	for i := range 300 {
		batch.Apply(w.index+uint64(i)+1, d.command(published))
		if i%10 == 0 {
			images = append(images, batch.Image())
			hashes = append(hashes, images[len(images)-1].Hash())
		}
	}
	if got := published.Hash(); got != want {
		t.Errorf("hash of the first image: got %x, want %x", got, want)
	}
	for i, im := range images {
		if got := im.Hash(); got != hashes[i] {
			t.Errorf("hash of image %d: got %x, want %x", i, got, hashes[i])
		}
	}
}

func TestChangesFindsExactlyWhatDiffers(t *testing.T) {
	for seed := range uint64(10) {
		d := newDice(seed)
		w := newWorld(t, 0)
		earlier := w.im
		for i := range 300 {
			w.apply(d.command(w.im))
			if i%25 > 0 {
				continue
			}
			got := map[topic.Partition]Change{}
			for c := range Changes(earlier, w.im) {
				got[c.Partition] = c
			}
			if want := differing(earlier, w.im); len(got) != want {
				t.Fatalf("seed %d: got %d changes, want %d", seed, len(got), want)
			}
			if n := len(slices.Collect(Changes(w.im, reopened(t, w.im)))); n > 0 {
				t.Fatalf("seed %d: got %d changes between an image and its snapshot", seed, n)
			}
			earlier = w.im
		}
	}
}

// differing counts by brute force.
func differing(a, b *Image) int {
	placements := map[topic.Partition]*topic.Placement{}
	for t := range a.All() {
		for i, p := range t.Partitions {
			placements[topic.Partition{Topic: t.ID, Index: int32(i)}] = p
		}
	}
	n := 0
	for t := range b.All() {
		for i, p := range t.Partitions {
			key := topic.Partition{Topic: t.ID, Index: int32(i)}
			if placements[key] != p {
				n++
			}
			delete(placements, key)
		}
	}
	return n + len(placements)
}

func TestSortedListAgreesWithASlice(t *testing.T) {
	d := newDice(1)
	var list sorted[int]
	var want []int
	order := func(v int) func(int) int { return func(x int) int { return x - v } }
	for range 5000 {
		v := d.IntN(1000)
		at, found := slices.BinarySearch(want, v)
		switch {
		case d.IntN(5) < 3:
			list = list.with(v, order(v))
			if !found {
				want = slices.Insert(want, at, v)
			}
		default:
			list = list.without(order(v))
			if found {
				want = slices.Delete(want, at, at+1)
			}
		}
		if _, got := list.get(order(v)); got != slices.Contains(want, v) {
			t.Fatalf("find %d: got %v", v, got)
		}
	}
	if got := slices.Collect(list.all()); !slices.Equal(got, want) || list.count != len(want) {
		t.Fatalf("got %d elements, want %d", len(got), len(want))
	}
	for len(want) > 0 {
		list = list.without(order(want[0]))
		want = want[1:]
	}
	if list.count != 0 || len(list.chunks) != 0 {
		t.Errorf("emptied list: got %d elements in %d chunks", list.count, len(list.chunks))
	}
}

func TestFencingTheLeaderOfTenThousandIsOnePass(t *testing.T) {
	w := bigImage(t, 10000)
	leaders := w.im.Counts().Brokers[0].Leaders
	allocations := testing.AllocsPerRun(1, func() {
		batch := w.im.Edit()
		batch.Apply(w.index+1, fence(1, 1))
		batch.Image()
	})
	if perLeader := allocations / float64(leaders); perLeader > 30 {
		t.Errorf("allocations per leadership moved: got %.1f, want at most 30", perLeader)
	}
	w.must(fence(1, 1))
	if c := w.im.Counts(); c.Offline != 0 || c.Brokers[0].Leaders != 0 || c.UnderReplicated != 10000 {
		t.Errorf("counts after the fence: got %+v", c)
	}
}

// BenchmarkCreateTopics publishes after every creation; ns per topic must hardly grow.
func BenchmarkCreateTopics(b *testing.B) {
	for _, topics := range []int{500, 5000, 20000} {
		b.Run(fmt.Sprint(topics), func(b *testing.B) {
			for b.Loop() {
				im := Empty()
				batch := im.Edit()
				for node := range topic.NodeID(3) {
					batch.Apply(uint64(node+1), register(node+1, 1))
				}
				im = batch.Image()
				for i := range topics {
					batch := im.Edit()
					batch.Apply(uint64(i+4), CreateTopics{Topics: []topic.Creation{numbered(i)}})
					im = batch.Image()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*topics), "ns/topic")
		})
	}
}

// BenchmarkFence ends the leaderships of one of three brokers over 10,000 partitions.
func BenchmarkFence(b *testing.B) {
	w := bigImage(b, 10000)
	for b.Loop() {
		batch := w.im.Edit()
		batch.Apply(w.index+1, fence(1, 1))
		batch.Image()
	}
}

// BenchmarkSnapshot encodes and decodes 10,000 partitions.
func BenchmarkSnapshot(b *testing.B) {
	w := bigImage(b, 10000)
	b.SetBytes(int64(len(w.im.Encode())))
	for b.Loop() {
		if _, err := DecodeImage(w.im.Encode()); err != nil {
			b.Fatal(err)
		}
	}
}
