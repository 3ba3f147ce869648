package partition

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// spoiler makes the file that is drained next bad in some place, and whole again.
type spoiler struct {
	*hand
	luck *rand.Rand
}

// drain drains the oldest full file, if there is one, while a place in it is bad.
func (s *spoiler) drain() {
	sealed, ok := s.store.walLog.Sealed()
	if !ok {
		return
	}
	name := "wal/" + wal.Position{File: sealed.File}.FileName()
	at := 4096 + s.luck.Int64N(sealed.Bytes-4096)
	flip := func(b []byte) []byte { b[at] ^= 4; return b }
	whole := flip
	if s.luck.IntN(2) == 0 {
		s.fs.Unread(name, at/4096*4096, 4096)
		whole = func(b []byte) []byte { return b }
	} else {
		s.fs.Damage(name, flip)
	}
	drained, err := s.driver.Drain()
	s.tolerate("drain", err)
	if drained {
		s.drained++
	}
	if s.fs.Exists(name) {
		s.fs.Damage(name, whole)
	}
	for _, l := range s.logs {
		l.mu.damaged = nil // else what follows is not read
	}
}

// Files in which something is bad are drained by what is known of their records, cuts and log starts in what is bad among
// them. With the bytes as they were, nothing tells the store from one that was never drained.
func TestDamagedFilesAreDrainedAsWholeOnesAre(t *testing.T) {
	files, around := 0, int64(0)
	for seed := uint64(1); seed <= 12; seed++ {
		plain, spoilt := waltest.New(), waltest.New()
		table := &catalogtest.Catalog{}
		for session := range uint64(3) {
			want, err := openHand(t, plain, seed*10+session)
			if err != nil {
				t.Fatal(err)
			}
			got, err := openDraining(t, spoilt, seed*10+session, table)
			if err != nil {
				t.Fatalf("seed %d, session %d: open: %v", seed, session, err)
			}
			want.epoch, got.epoch = topic.Epoch(1+1000*session), topic.Epoch(1+1000*session)
			if !slices.EqualFunc(got.encoded(), want.encoded(), bytes.Equal) || got.digest() != want.digest() {
				t.Fatalf("seed %d, session %d: what was drained is not what was written", seed, session)
			}
			s := &spoiler{got, rand.New(rand.NewPCG(seed, session))}
			for range 20 {
				want.run(20)
				got.run(20)
				s.drain()
				want.clock.advance(time.Minute) // What was refused is asked for again.
				got.clock.advance(time.Minute)
			}
			if stats := got.store.Stats().Drain; stats.Stuck != 0 {
				t.Fatalf("seed %d, session %d: got %+v", seed, session, stats)
			}
			around += got.store.Stats().Drain.Adopted
			files += got.drained
			want.close()
			got.close()
		}
	}
	if files < 30 || around < 15 {
		t.Errorf("only %d files were drained, %d of them with damage", files, around)
	}
}

// Power is lost at changes of the disk while damaged files are drained.
func TestPowerLossWhileADamagedFileIsDrainedLosesNothing(t *testing.T) {
	const rounds, seed = 60, 4
	live := func(h *hand) {
		s := &spoiler{h, rand.New(rand.NewPCG(seed, 9))}
		for range rounds {
			h.run(20)
			s.drain()
			h.clock.advance(time.Minute)
		}
	}
	h, err := openDraining(t, waltest.New(), seed, dyingCatalog(waltest.New()))
	if err != nil {
		t.Fatal(err)
	}
	live(h)
	changes := h.fs.Changes()
	if got := h.store.Stats().Drain; got.Adopted < 2 {
		t.Fatalf("got %+v: the test proves nothing", got)
	}
	for at := 1; at <= changes; at += 7 {
		fs := waltest.New()
		fs.CrashAfter(at)
		table := dyingCatalog(fs)
		h, err := openDraining(t, fs, seed, table)
		if err == nil {
			live(h)
		}
		found, err := openDraining(t, fs.Crash(rand.New(rand.NewPCG(uint64(at), 5))), 2, table.Clone())
		if err != nil {
			t.Fatalf("change %d: open: %v", at, err)
		}
		if len(h.history) > 0 && !slices.ContainsFunc(h.history, func(m moment) bool {
			return m.records >= h.durable && m.digest == found.history[0].digest
		}) {
			t.Fatalf("change %d: the store is none that was, at or after %d records", at, h.durable)
		}
	}
}

// The batches that lie in what is bad are found at once and come back from the leader, and the next start finds nothing
// to set aside.
func TestBatchesOfADamagedFileAreRepairedWithoutAStart(t *testing.T) {
	var said bytes.Buffer
	fs, table := waltest.New(), &catalogtest.Catalog{}
	h, err := openDraining(t, fs, 1, table, func(cfg *Config) {
		cfg.TailBytesMax, cfg.Logger = 1, slog.New(slog.NewTextHandler(&said, nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	h.fill(1)
	r := &rotten{hand: h}
	entries, want := r.entries(), h.digest()
	var places []wal.Position
	for _, l := range h.logs[2:4] {
		places = append(places, l.mu.index.at(1).at)
	}
	name := "wal/" + places[0].FileName()
	fs.Damage(name, func(b []byte) []byte { b[places[0].Offset+60] ^= 1; return b })
	fs.Unread(name, places[1].Offset/4096*4096, 4096)
	if drained, err := h.driver.Drain(); err != nil || !drained {
		t.Fatalf("got drained %v, %v", drained, err)
	}
	if got := h.store.Damaged(); len(got) < 2 {
		t.Fatalf("got damage %v, want both places", got)
	}
	if !strings.Contains(said.String(), "it is kept as a pack") {
		t.Errorf("it says\n%s", &said)
	}
	r.repair(entries)
	if h.digest() != want {
		t.Error("the repair gave something else than was lost")
	}
	h.fill(3)
	for drained := true; drained; {
		if drained, err = h.driver.Drain(); err != nil {
			t.Fatal(err)
		}
	}
	want = h.digest()
	h.close()
	h, err = openDraining(t, fs.Restart(), 2, table)
	if err != nil {
		t.Fatalf("open: %v, want nothing to set aside", err)
	}
	if h.digest() != want {
		t.Error("the next start finds something else")
	}
	h.close()
}

// Without a digest nobody knows what a bad group did. The drain says that it is stuck, and how that ends, and goes on by
// itself if the bytes come back.
func TestDrainThatIsStuckSaysSoAndTriesAgain(t *testing.T) {
	var said bytes.Buffer
	fs := waltest.New()
	h, err := openDraining(t, fs, 1, &catalogtest.Catalog{}, func(cfg *Config) {
		cfg.TailBytesMax, cfg.Logger, cfg.WAL.FilesMax = 1, slog.New(slog.NewTextHandler(&said, nil)), 8
	})
	if err != nil {
		t.Fatal(err)
	}
	h.store.digests.bytesMax = 0
	h.fill(1)
	name := "wal/" + wal.Position{File: 1}.FileName()
	fs.Unread(name, 8192, 4096)
	drain := func(want bool, stuck int64) {
		t.Helper()
		if drained, err := h.driver.Drain(); err != nil || drained != want {
			t.Fatalf("got drained %v, %v, want %v", drained, err, want)
		}
		if got := h.store.Stats().Drain.Stuck; got != stuck {
			t.Errorf("got stuck %d, want %d", got, stuck)
		}
	}
	drain(false, 1)
	if got := h.store.Damaged(); len(got) == 0 {
		t.Error("the batches there are not known to be damaged")
	}
	h.fill(12) // beyond the bound
	drain(false, 1)
	fs.Damage(name, func(b []byte) []byte { return b })
	drain(false, 1)
	h.clock.advance(stuckLeast)
	drain(true, 0)
	if text := said.String(); strings.Count(text, "cannot be drained") != 1 || !strings.Contains(text, "until the broker is started again") ||
		strings.Count(text, "is drained again") != 1 {
		t.Errorf("it says\n%s", text)
	}
	for h.driver.Wanted() {
		t.Fatal("the log still grows beyond its bound")
	}
	h.close()
}

// A file without records needs no digest to be drained although it is bad: a stop can leave one behind a file that was
// ended early.
func TestDamagedFileWithoutRecordsIsDrained(t *testing.T) {
	fs, table := waltest.New(), &catalogtest.Catalog{}
	h, err := openDraining(t, fs, 1, table)
	if err != nil {
		t.Fatal(err)
	}
	h.append(h.logs[1])
	h.settle()
	h.store.walLog.Seal(1)
	h.settle()
	want := h.digest()
	if err := h.driver.wal.Close(); err != nil { // Without the records of a stop.
		t.Fatal(err)
	}
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	h, err = openDraining(t, fs, 2, table)
	if err != nil {
		t.Fatal(err)
	}
	fs.Unread("wal/"+wal.Position{File: 2}.FileName(), 4096, 4096)
	for range 2 {
		if drained, err := h.driver.Drain(); err != nil || !drained {
			t.Fatalf("got drained %v, %v, stuck %d", drained, err, h.store.Stats().Drain.Stuck)
		}
	}
	if got := h.digest(); got != want {
		t.Error("that changed a log")
	}
	h.close()
}

// What a drain had begun to write of a damaged file, and cannot remove, is told.
func TestDrainOfADamagedFileTellsWhatItCannotRemove(t *testing.T) {
	fs := waltest.New()
	h, err := openDraining(t, fs, 1, &catalogtest.Catalog{}, func(cfg *Config) {
		cfg.TailBytesMax, cfg.WAL.FileBytes, cfg.WAL.GroupBytesMax = 1, 24<<20, 2<<20
	})
	if err != nil {
		t.Fatal(err)
	}
	l := h.logs[1]
	for h.store.walLog.End().File < 2 {
		state := l.State()
		err := l.AppendReplica(Entry{Partition: l.partition, Epoch: 1, PrevEpoch: state.TailEpoch, Base: state.LogEnd, Count: 1,
			Payload: placed(spec{value: make([]byte, 1<<20)}, state.LogEnd, 1)})
		if err != nil {
			t.Fatal(err)
		}
		h.settle()
	}
	fs.Unread("wal/"+wal.Position{File: 1}.FileName(), 21<<20, 4096)
	broken, begun := errors.New("no"), false
	fs.Intercept(func(op waltest.Op) error {
		pack := strings.HasSuffix(op.Name, ".pack")
		if pack && begun && op.Verb == waltest.Remove {
			begun = false
			return broken
		}
		begun = begun || pack && op.Verb == waltest.Create
		return nil
	})
	if _, err := h.store.drainer.turn(false); !errors.Is(err, broken) || h.store.Stats().Drain.Adopted != 1 {
		t.Errorf("got %+v, %v", h.store.Stats().Drain, err)
	}
}

// group appends until that many files are full and durable, several batches in a group.
func (h *hand) group(files uint64) {
	h.t.Helper()
	for i := 0; h.store.walLog.End().File <= files; i++ {
		if h.append(h.logs[i%len(h.logs)]); i%6 == 5 {
			h.settle()
		}
	}
	h.settle()
}

// Without a digest what is good is read, and the index knows what is bad: the file is drained, and nothing tells the
// store from one that was never drained once the bytes are as they were.
func TestDamagedFileWithoutADigestIsDrainedByTheIndex(t *testing.T) {
	for seed := range uint64(20) {
		fs, table := waltest.New(), &catalogtest.Catalog{}
		h, err := openDraining(t, fs, 1+2*seed, table, func(cfg *Config) { cfg.TailBytesMax = 1 })
		if err != nil {
			t.Fatal(err)
		}
		h.store.digests.bytesMax = 0
		h.group(2)
		want, encoded := h.digest(), h.encoded()
		random := rand.New(rand.NewPCG(seed, 11))
		var places []wal.Position
		for _, l := range h.logs {
			for i := range l.mu.settled {
				if at := l.mu.index.at(i).at; at.File == 1 && at.Offset%4096 > 1000 {
					places = append(places, at)
				}
			}
		}
		name := "wal/" + wal.Position{File: 1}.FileName()
		var flips []func([]byte) []byte
		for range 1 + random.IntN(3) {
			at := places[random.IntN(len(places))].Offset + 10
			flips = append(flips, func(b []byte) []byte { b[at] ^= 1; return b })
			fs.Damage(name, flips[len(flips)-1])
		}
		unread := int64(0)
		for _, at := range places { // the second block of a group
			if at.Offset/4096%2 == 0 && random.IntN(4) == 0 {
				unread = at.Offset / 4096 * 4096
			}
		}
		if sealed, _ := h.store.walLog.Sealed(); unread > 0 && !beginsGroup(fs, name, unread) && unread < sealed.Bytes {
			fs.Unread(name, unread, 4096)
		}
		if drained, err := h.driver.Drain(); err != nil || !drained || h.store.Stats().Drain.Stuck != 0 {
			t.Fatalf("seed %d: got drained %v, %v, stuck %d", seed, drained, err, h.store.Stats().Drain.Stuck)
		}
		if got := h.store.Damaged(); len(got) == 0 {
			t.Errorf("seed %d: the batches there are not known to be damaged", seed)
		}
		for _, flip := range flips {
			fs.Damage(name, flip)
		}
		h.clock.advance(time.Minute)
		if err := h.driver.wal.Close(); err != nil { // Without the records of a stop.
			t.Fatal(err)
		}
		if err := h.store.Close(); err != nil {
			t.Fatal(err)
		}
		h, err = openDraining(t, fs, 2+2*seed, table)
		if err != nil {
			t.Fatal(err)
		}
		if h.digest() != want || !slices.EqualFunc(h.encoded(), encoded, bytes.Equal) {
			t.Errorf("seed %d: what was drained is not what was written", seed)
		}
		h.close()
	}
}

// beginsGroup reports whether a group begins at a block.
func beginsGroup(fs *waltest.FS, name string, at int64) bool {
	return string(fs.Content(name)[at:at+4]) == "ORWG"
}

// What nobody knows is not guessed: a batch that was cut since, or a record that is no batch, in what is bad.
func TestDamagedRecordThatTheIndexDoesNotKnowLeavesTheDrainStuck(t *testing.T) {
	for _, cut := range []bool{true, false} {
		fs := waltest.New()
		h, err := openDraining(t, fs, 1, &catalogtest.Catalog{}, func(cfg *Config) { cfg.TailBytesMax = 1 })
		if err != nil {
			t.Fatal(err)
		}
		h.store.digests.bytesMax = 0
		l := h.logs[2]
		h.append(h.logs[1])
		h.append(l)
		at := wal.Position{}
		if cut {
			h.settle()
			at = l.mu.index.at(0).at
			h.tolerate("truncate", l.Truncate(0))
		} else {
			h.tolerate("truncate", l.Truncate(0))
			h.settle()
			e := h.logs[1].mu.index.at(0)
			at = wal.Position{File: 1, Offset: e.at.Offset + int64(e.encoded)}
			r := fs.Content("wal/" + at.FileName())[at.Offset:]
			at.Offset += wal.EncodedBytes(int(uint32(r[8]) | uint32(r[9])<<8 | uint32(r[10])<<16))
		}
		h.group(1)
		fs.Damage("wal/"+at.FileName(), func(b []byte) []byte { b[at.Offset+20] ^= 1; return b })
		if drained, err := h.driver.Drain(); err != nil || drained || h.store.Stats().Drain.Stuck != 1 {
			t.Errorf("cut %v: got drained %v, %v, stuck %d", cut, drained, err, h.store.Stats().Drain.Stuck)
		}
		h.close()
	}
}

// What kept a damaged file without a digest from being salvaged has passed; the drain must go on.
func TestStuckDrainIsTriedByTheIndexAgain(t *testing.T) {
	fs, may := waltest.New(), false
	h, err := openDraining(t, fs, 1, &catalogtest.Catalog{}, func(cfg *Config) {
		cfg.TailBytesMax, cfg.MayAdopt = 1, func() bool { return may }
	})
	if err != nil {
		t.Fatal(err)
	}
	h.store.digests.bytesMax = 0
	h.group(2)
	at := h.logs[1].mu.index.at(0).at
	fs.Damage("wal/"+wal.Position{File: 1}.FileName(), func(b []byte) []byte { b[at.Offset+10] ^= 1; return b })
	if drained, err := h.driver.Drain(); err != nil || drained {
		t.Fatalf("drained %v, %v", drained, err)
	}
	may = true // the last old version has left the cluster
	for range 5 {
		h.clock.advance(2 * time.Hour)
		if drained, err := h.driver.Drain(); err != nil {
			t.Fatal(err)
		} else if drained {
			return
		}
	}
	t.Errorf("still stuck after ten hours: %+v", h.store.Stats().Drain.Stuck)
}
