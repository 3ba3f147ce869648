package partition

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger/broker/catalog"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// walOf makes a WAL of these records, whose checksums hold.
func walOf(t *testing.T, records ...wal.Record) string {
	t.Helper()
	dir := t.TempDir()
	log, err := wal.Open(wal.Config{Dir: dir, Session: 1, FileBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	for _, r := range records {
		if err := log.Reserve(ctx, wal.Leader, wal.EncodedLen(r)); err != nil {
			t.Fatal(err)
		}
		log.Append(wal.Leader, r)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return dir
}

func record(base topic.Offset, epoch topic.Epoch) wal.Record {
	return wal.Record{Kind: wal.Data, Partition: p0, Epoch: epoch, Base: base, Count: 1, Payload: placed(spec{}, base, epoch)}
}

// What was written wrongly has good checksums.
func TestVerifyFindsLogsThatContradictThemselves(t *testing.T) {
	marker := func(kind wal.Kind, base topic.Offset) wal.Record {
		return wal.Record{Kind: kind, Partition: p0, Epoch: topic.NoEpoch, Base: base}
	}
	flawed := record(1, 1)
	flawed.Payload = slices.Clone(flawed.Payload)
	flawed.Payload[len(flawed.Payload)-1] ^= 1
	moved := record(1, 1)
	moved.Payload = placed(spec{}, 5, 1)
	counted := record(1, 1)
	counted.Count = 2
	for _, c := range []struct {
		name    string
		records []wal.Record
		reason  string
	}{
		{"nothing", []wal.Record{record(0, 1), record(1, 1), marker(wal.HighWatermark, 2), record(2, 3)}, ""},
		{"a cut and a log start", []wal.Record{record(0, 1), record(1, 1), marker(wal.Truncate, 1), record(1, 2),
			marker(wal.HighWatermark, 2), marker(wal.LogStart, 1)}, ""},
		{"a gap", []wal.Record{record(0, 1), record(2, 1)}, "has base 2, epoch 1, count 1; log ends at 1"},
		{"an offset twice", []wal.Record{record(0, 1), record(0, 1)}, "has base 0, epoch 1, count 1; log ends at 1"},
		{"an older epoch", []wal.Record{record(0, 2), record(1, 1)}, "epoch 2"},
		{"a bad batch in a good record", []wal.Record{record(0, 1), flawed}, "its own checksum"},
		{"a batch with another offset", []wal.Record{record(0, 1), moved}, "begins at offset 5"},
		{"a batch with another count", []wal.Record{record(0, 1), counted}, "count 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := Verify(Verification{Dir: walOf(t, c.records...)})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.reason == "" && len(found.Damage) == 0:
			case c.reason == "" || len(found.Damage) != 1:
				t.Errorf("got %+v, want %q", found.Damage, c.reason)
			case found.Damage[0].Place != InLog || !strings.Contains(found.Damage[0].Reason, c.reason):
				t.Errorf("got %+v, want %q", found.Damage[0], c.reason)
			}
		})
	}
}

// A catalog that nobody damaged and that does not fit what lies there.
func TestVerifyComparesTheCatalogWithThePacks(t *testing.T) {
	run := func(base topic.Offset, at int64, count, bytes int32) catalog.Edit {
		return catalog.Edit{Key: runKey(p0, base), Value: encodeRun([]extent{{base: base, count: count, bytes: bytes, epoch: 1,
			at: wal.Position{File: 65536 | wal.PackBit, Offset: at}}})}
	}
	bytes := int32(len(record(0, 1).Payload))
	second := 4096 + wal.EncodedBytes(int(bytes))
	head := func(end topic.Offset) catalog.Edit {
		l := newLog(newStore(testConfig(&clock{})), p0)
		l.mu.end = end
		l.mu.epochs.note(1, 0)
		return catalog.Edit{Key: partitionKey(keyLog, p0), Value: l.encodeLog()}
	}
	for _, c := range []struct {
		name   string
		edits  []catalog.Edit
		reason string
	}{
		{"all as it is", []catalog.Edit{head(2), run(0, 4096, 1, bytes), run(1, second, 1, bytes)}, ""},
		{"two batches the wrong way round", []catalog.Edit{head(2), run(0, second, 1, bytes), run(1, 4096, 1, bytes)}, "lies where the catalog names"},
		{"one that no record begins with", []catalog.Edit{head(2), run(0, 4096, 1, bytes), run(1, second+8, 1, bytes)}, "no record begins"},
		{"one that is not named", []catalog.Edit{head(2), run(0, 4096, 1, bytes)}, "the last batch ends at 1, the log at 2"},
		{"one in the midst that is not named", []catalog.Edit{head(2), run(1, second, 1, bytes)}, "log starts at 0, its first batch at 1"},
		{"one of another length", []catalog.Edit{head(2), run(0, 4096, 1, bytes-1), run(1, second, 1, bytes)}, "lies where the catalog names"},
		{"one in a pack that is gone", []catalog.Edit{head(2), {Key: runKey(p0, 0), Value: encodeRun([]extent{{base: 0, count: 1, bytes: bytes,
			epoch: 1, at: wal.Position{File: 131072 | wal.PackBit, Offset: 4096}}})}, run(1, second, 1, bytes)}, "no record begins"},
		{"a log of another format", []catalog.Edit{{Key: partitionKey(keyLog, p0), Value: []byte{9}}}, "log of format 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := walOf(t)
			log, err := wal.Open(wal.Config{Dir: dir, Session: 2, FileBytes: 64 << 10})
			if err != nil {
				t.Fatal(err)
			}
			w, err := log.NewPack(65536)
			if err != nil {
				t.Fatal(err)
			}
			for base := range topic.Offset(2) {
				r := record(base, 1)
				if _, err := w.Add(&r); err != nil {
					t.Fatal(err)
				}
			}
			pack, err := w.Finish()
			if err != nil {
				t.Fatal(err)
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			table := &catalogtest.Catalog{}
			edits := append(c.edits, catalog.Edit{Key: packKey(65536), Value: encodePack(pack)})
			if err := table.Apply(edits); err != nil {
				t.Fatal(err)
			}
			found, err := Verify(Verification{Dir: dir, Catalog: table})
			if err != nil {
				t.Fatal(err)
			}
			said := slices.ContainsFunc(found.Damage, func(f Finding) bool { return strings.Contains(f.Reason, c.reason) })
			if strings.HasSuffix(c.name, "is gone") && (len(found.Damage) != 1 || !slices.Equal(found.Damage[0].Lost, []Span{{p0, 0, 1}})) {
				t.Errorf("got %+v, want the one that is gone", found.Damage)
			}
			if c.reason == "" && len(found.Damage) > 0 || c.reason != "" && !said {
				t.Errorf("got %+v, want %q", found.Damage, c.reason)
			}
		})
	}
}

// Whatever a store did, with drains, cuts, log starts, removals and compactions, and however it ended,
// nothing is wrong with what it leaves.
func TestVerifyFindsNothingWrongWithWhatAStoreLeaves(t *testing.T) {
	batches, packs := int64(0), 0
	for seed := uint64(1); seed <= 6; seed++ {
		fs, table := waltest.New(), &catalogtest.Catalog{}
		random := rand.New(rand.NewPCG(seed, 5))
		for session := range uint64(4) {
			h, err := openCompacting(t, fs, seed*10+session, table, 0.25, int64(2+seed))
			if err != nil {
				t.Fatal(err)
			}
			h.draining = random
			h.clock.advance(time.Duration(session) * 20 * time.Second)
			h.epoch = topic.Epoch(1 + 1000*session)
			h.run(800)
			how := "closed"
			switch random.IntN(3) {
			case 0:
				h.close()
			case 1:
				how, fs = "killed", fs.Restart()
			case 2:
				how, fs = "without power", fs.Crash(random)
			}
			found, err := Verify(Verification{FS: fs, Dir: "wal", Catalog: table})
			if err != nil {
				t.Fatal(err)
			}
			if len(found.Damage) > 0 {
				t.Fatalf("seed %d, session %d, %s: got %+v, want no damage", seed, session, how, found.Damage)
			}
			batches, packs = batches+found.Batches, packs+found.Packs
		}
	}
	if batches < 1000 || packs < 20 {
		t.Errorf("looked at %d batches and %d packs: too few", batches, packs)
	}
}
