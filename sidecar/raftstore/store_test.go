package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"outrigger/broker/pebblefs"
	"outrigger/broker/topic"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raft"
)

var _ node.Store = (*Store)(nil)

const testDir = "data/metadata"

func nobodyDies(err error) { panic(err) }

func open(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := OpenFS(fs, testDir, slog.New(slog.DiscardHandler), nobodyDies)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func load(t testing.TB, s *Store) raft.State {
	t.Helper()
	state, err := s.Load()
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return state
}

func member(node byte) raft.Member {
	return raft.Member{Node: topic.NodeID(node), Disk: topic.DiskID{node}}
}

// model is the second, dumber store: what is written, and what of it is synced.
type model struct {
	state   raft.State
	data    []byte // of the current snapshot
	staged  []byte
	history []version // one per write since the last sync, the synced one first
}

type version struct {
	state        raft.State
	data, staged []byte
}

func (m *model) wrote(sync bool) {
	v := version{state: m.state, data: m.data, staged: m.staged}
	v.state.Entries = append([]raft.Entry(nil), m.state.Entries...)
	if sync {
		m.history = m.history[:0]
	}
	m.history = append(m.history, v)
}

func (m *model) save(b raft.Batch) {
	if b.HardState != nil {
		m.state.Hard = *b.HardState
	}
	if b.TruncateFrom != 0 {
		for len(m.state.Entries) > 0 && m.state.Entries[len(m.state.Entries)-1].Index >= b.TruncateFrom {
			m.state.Entries = m.state.Entries[:len(m.state.Entries)-1]
		}
	}
	m.state.Entries = append(m.state.Entries, b.Entries...)
	for _, c := range b.Chunks {
		if c.Offset == 0 {
			m.staged = nil
		}
		m.state.Staged = c.Snapshot
		m.staged = append(bytes.Clone(m.staged), c.Data...)
		m.state.StagedBytes = uint64(len(m.staged))
	}
	m.wrote(b.Sync)
}

func (m *model) compact(s raft.Snapshot, data []byte, to uint64) {
	m.state.Snapshot, m.data = s, data
	for len(m.state.Entries) > 0 && m.state.Entries[0].Index <= to {
		m.state.Entries = m.state.Entries[1:]
	}
	m.wrote(true)
}

func (m *model) install(s raft.Snapshot, hard raft.HardState) {
	m.state = raft.State{Hard: hard, Snapshot: s}
	m.data, m.staged = m.staged, nil
	m.wrote(true)
}

func (m *model) last() uint64 {
	if n := len(m.state.Entries); n > 0 {
		return m.state.Entries[n-1].Index
	}
	return m.state.Snapshot.Index
}

// driver makes the same random writes to a store and to the model.
type driver struct {
	t     testing.TB
	rng   *rand.Rand
	store *Store
	model model
}

func (d *driver) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(d.rng.Uint32())
	}
	return b
}

func (d *driver) step() {
	var err error
	switch d.rng.IntN(12) {
	case 0:
		err = d.compact()
	case 1, 2:
		err = d.stage()
	default:
		err = d.write()
	}
	if err != nil {
		d.t.Fatalf("write: %v", err)
	}
}

func (d *driver) write() error {
	var b raft.Batch
	hard := d.model.state.Hard
	hard.Commit++
	b.HardState = &hard
	if d.rng.IntN(3) > 0 {
		b.Sync = true
		hard.Term++
		next := d.model.last() + 1
		if d.rng.IntN(4) == 0 && len(d.model.state.Entries) > 1 {
			next -= uint64(d.rng.IntN(len(d.model.state.Entries)))
			b.TruncateFrom = next
		}
		for range d.rng.IntN(5) {
			b.Entries = append(b.Entries, raft.Entry{Index: next, Term: hard.Term,
				Kind: raft.EntryCommand, Data: d.bytes(1 + d.rng.IntN(3000))})
			next++
		}
	}
	d.model.save(b)
	return d.store.Save(b)
}

func (d *driver) compact() error {
	if len(d.model.state.Entries) == 0 {
		return nil
	}
	at := d.model.state.Entries[d.rng.IntN(len(d.model.state.Entries))]
	data := d.bytes(d.rng.IntN(3 * pieceBytes))
	s := raft.Snapshot{Index: at.Index, Term: at.Term, Size: uint64(len(data)), Hash: raft.HashOf(data),
		Membership: raft.Membership{Voters: []raft.Member{member(1)}}}
	if s.Index < d.model.state.Snapshot.Index {
		return nil
	}
	to := at.Index - min(at.Index-d.model.state.Entries[0].Index, uint64(d.rng.IntN(4)))
	d.model.compact(s, data, to)
	return d.store.SaveSnapshot(s, data, to)
}

// stage pulls a piece of a snapshot, and installs it when it is there.
func (d *driver) stage() error {
	st := d.model.state.Staged
	if st.IsZero() || d.rng.IntN(8) == 0 {
		st = raft.Snapshot{Index: d.model.last() + 10, Term: 1, Size: 20_000, Hash: raft.HashOf(d.bytes(4)),
			Membership: raft.Membership{Voters: []raft.Member{member(2)}}}
		d.model.state.StagedBytes = 0
	}
	if have := d.model.state.StagedBytes; have < st.Size {
		chunk := raft.Chunk{Snapshot: st, Offset: have, Data: d.bytes(int(min(7_000, st.Size-have)))}
		b := raft.Batch{Chunks: []raft.Chunk{chunk}}
		d.model.save(b)
		return d.store.Save(b)
	}
	if st.Index <= d.model.last() {
		return nil
	}
	hard := d.model.state.Hard
	hard.Commit = max(hard.Commit, st.Index)
	d.model.install(st, hard)
	return d.store.InstallSnapshot(st, hard)
}

// check compares a loaded store with one version of the model.
func check(s *Store, got raft.State, want version) error {
	if len(got.Entries) == 0 && len(want.state.Entries) == 0 {
		got.Entries, want.state.Entries = nil, nil
	}
	if !reflect.DeepEqual(got, want.state) {
		return fmt.Errorf("got %+v, want %+v", brief(got), brief(want.state))
	}
	for _, staged := range []bool{false, true} {
		index, data := want.state.Snapshot.Index, want.data
		if staged {
			index, data = want.state.Staged.Index, want.staged
		}
		var read []byte
		for len(read) < len(data) {
			piece, err := s.ReadSnapshot(index, staged, uint64(len(read)), 5_000)
			if err != nil || len(piece) == 0 {
				return fmt.Errorf("snapshot %d at %d: %d bytes, %v", index, len(read), len(piece), err)
			}
			read = append(read, piece...)
		}
		if !bytes.Equal(read, data) {
			return fmt.Errorf("snapshot %d (staged %t) holds other bytes", index, staged)
		}
	}
	return nil
}

func brief(s raft.State) string {
	first, last := uint64(0), uint64(0)
	if len(s.Entries) > 0 {
		first, last = s.Entries[0].Index, s.Entries[len(s.Entries)-1].Index
	}
	return fmt.Sprintf("%+v snapshot %d staged %d/%d log %d..%d", s.Hard, s.Snapshot.Index,
		s.Staged.Index, s.StagedBytes, first, last)
}

func TestStoreSurvivesEveryCrashWithAllThatWasSynced(t *testing.T) {
	crashes := 60
	if testing.Short() {
		crashes = 10
	}
	rng := rand.New(rand.NewPCG(1, 2))
	fs := vfs.NewCrashableMem()
	d := &driver{t: t, rng: rng, store: open(t, fs)}
	load(t, d.store)
	d.model.wrote(true)
	for crash := range crashes {
		for range rng.IntN(25) {
			d.step()
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		if err := d.store.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		fs, d.store = clone, open(t, clone)
		got := load(t, d.store)
		var found *version
		var last error
		for i := range d.model.history {
			if last = check(d.store, got, d.model.history[i]); last == nil {
				found = &d.model.history[i]
			}
		}
		if found == nil {
			t.Fatalf("crash %d: store holds none of %d possible states: %v", crash, len(d.model.history), last)
		}
		d.model.state, d.model.data, d.model.staged = found.state, found.data, found.staged
		d.model.history = append(d.model.history[:0], *found)
	}
	if err := d.store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// A marker that survives while the manifest that it names does not would leave a store that cannot be
// opened: whenever a marker is there, a loss of all that is not synced leaves its manifest.
func TestMarkersNameOnlyDurableManifests(t *testing.T) {
	mem := vfs.NewCrashableMem()
	if err := mem.MkdirAll(filepath.Dir(testDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := pebblefs.SyncDir(mem, "/"); err != nil {
		t.Fatal(err)
	}
	var looked atomic.Int64 // Pebble writes from goroutines of its own too
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		names, _ := mem.List(testDir) // none while there is no directory
		kept, _ := mem.CrashClone(vfs.CrashCloneCfg{}).List(testDir)
		for _, name := range names {
			manifest, ok := strings.CutPrefix(name, "marker.manifest.")
			if !ok {
				continue
			}
			looked.Add(1)
			if _, manifest, _ = strings.Cut(manifest, "."); !slices.Contains(kept, manifest) &&
				slices.Contains(names, manifest) {
				t.Errorf("%s is there before %s is durable", name, manifest)
			}
		}
		return nil
	}))
	for range 3 {
		s := open(t, fs)
		load(t, s)
		if err := s.Save(raft.Batch{HardState: &raft.HardState{Term: 1}, Sync: true}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if looked.Load() == 0 {
		t.Error("no marker was ever seen")
	}
}

func TestStoreRefusesForeignDirectories(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "00000000000000000000.log.keep"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(foreign, logger, nobodyDies); !errors.Is(err, ErrFormat) {
		t.Errorf("foreign files: got %v, want ErrFormat", err)
	}
	if names, _ := os.ReadDir(foreign); len(names) != 1 {
		t.Errorf("foreign directory was touched: %v", names)
	}

	fs := vfs.NewMem()
	s := open(t, fs)
	if err := s.db.Set([]byte{'f'}, []byte("outrigger raft store 99"), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFS(fs, testDir, logger, nobodyDies); !errors.Is(err, ErrFormat) {
		t.Errorf("later format: got %v, want ErrFormat", err)
	}
}

func TestStoreIsSilentAfterAFailedSync(t *testing.T) {
	fail := false
	fs := &failingFS{FS: vfs.NewMem(), fail: &fail}
	s := open(t, fs)
	load(t, s)
	if err := s.Save(raft.Batch{HardState: &raft.HardState{Term: 1}, Sync: true}); err != nil {
		t.Fatalf("save: %v", err)
	}
	fail = true
	if err := s.Save(raft.Batch{HardState: &raft.HardState{Term: 2}, Sync: true}); !errors.Is(err, ErrFailed) {
		t.Fatalf("save over a failing disk: got %v, want ErrFailed", err)
	}
	fail = false
	if err := s.Save(raft.Batch{HardState: &raft.HardState{Term: 3}, Sync: true}); !errors.Is(err, ErrFailed) {
		t.Errorf("save after a failure: got %v, want ErrFailed", err)
	}
}

// failingFS fails every sync once told to.
type failingFS struct {
	vfs.FS
	fail *bool
}

// Create implements vfs.FS.
func (f *failingFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, category)
	return &failingFile{File: file, fail: f.fail}, err
}

type failingFile struct {
	vfs.File
	fail *bool
}

var errDisk = errors.New("input/output error")

// Sync implements vfs.File.
func (f *failingFile) Sync() error {
	if *f.fail {
		return errDisk
	}
	return f.File.Sync()
}

// SyncData implements vfs.File.
func (f *failingFile) SyncData() error {
	if *f.fail {
		return errDisk
	}
	return f.File.SyncData()
}

// SyncTo implements vfs.File.
func (f *failingFile) SyncTo(length int64) (bool, error) {
	if *f.fail {
		return false, errDisk
	}
	return f.File.SyncTo(length)
}

func BenchmarkSaveSynced(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "metadata"), slog.New(slog.DiscardHandler), nobodyDies)
	if err != nil {
		b.Fatal(err)
	}
	load(b, s)
	data := make([]byte, 200)
	index := uint64(0)
	for b.Loop() {
		index++
		e := raft.Entry{Index: index, Term: 1, Kind: raft.EntryCommand, Data: data}
		if err := s.Save(raft.Batch{Entries: []raft.Entry{e}, Sync: true}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// fullFS has no space for the first files that are made.
type fullFS struct {
	vfs.FS
	refusals int
}

// Create implements vfs.FS.
func (f *fullFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if f.refusals > 0 {
		f.refusals--
		return nil, syscall.ENOSPC
	}
	return f.FS.Create(name, category)
}

func TestFullDiskIsWaitedForAndTriedAgain(t *testing.T) {
	const pause = 20 * time.Millisecond
	inner := &fullFS{FS: vfs.NewMem(), refusals: 1}
	fs := pebblefs.Wrap(inner, "metadata", pause, slog.New(slog.DiscardHandler))
	began := time.Now()
	file, err := fs.Create("file", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatalf("space came back and the file was not made: %v", err)
	}
	if took := time.Since(began); took < pause {
		t.Errorf("tried again after %s, want a pause of %s", took, pause)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	inner.refusals = 2
	if _, err := fs.Create("other", vfs.WriteCategoryUnspecified); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v while the disk stays full, want ENOSPC", err)
	}
}

// listFS has no space for the list of files: Pebble writes it when it flushes, in a goroutine of its
// own.
type listFS struct {
	vfs.FS
	full *atomic.Bool
}

// Create implements vfs.FS.
func (f *listFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, category)
	if err == nil && strings.HasPrefix(filepath.Base(name), "MANIFEST-") {
		return &listFile{File: file, full: f.full}, nil
	}
	return file, err
}

type listFile struct {
	vfs.File
	full *atomic.Bool
}

// Write implements vfs.File.
func (f *listFile) Write(p []byte) (int, error) {
	if f.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(p)
}

// A process that panics in a goroutine of Pebble's ends with code 2, which says that its configuration
// was refused. Found by the nemesis, which left no byte free on a disk.
func TestFailureBehindOurBackEndsTheProcessAsFailedStorage(t *testing.T) {
	var full atomic.Bool
	died := make(chan error, 2)
	s, err := OpenFS(&listFS{FS: vfs.NewMem(), full: &full}, testDir, slog.New(slog.DiscardHandler), func(err error) {
		died <- err
		select {} // it does not return; the store is left behind as a process leaves it
	})
	if err != nil {
		t.Fatal(err)
	}
	load(t, s)
	full.Store(true)
	go func() { // Pebble holds its locks when it dies, and a save may wait for them for ever
		data := make([]byte, 100<<10)
		for index := uint64(1); index*uint64(len(data)) < 2*memTableBytes; index++ {
			e := raft.Entry{Index: index, Term: 1, Kind: raft.EntryCommand, Data: data}
			if err := s.Save(raft.Batch{Entries: []raft.Entry{e}, Sync: true}); err != nil {
				died <- fmt.Errorf("save: %w", err)
				return
			}
		}
	}()
	select {
	case err := <-died:
		if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("died of %v, want ErrFailed for want of space", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("nobody was told that the list of files could not be written")
	}
}

// A store that does not have its checksums any more says so, and is never taken for a shorter one: it
// is the voter's memory of what it promised.
func TestDamagedStoreIsNamedAsSuch(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	fs := vfs.NewMem()
	s := open(t, fs)
	load(t, s)
	for i := range uint64(200) {
		err := s.Save(raft.Batch{Sync: true, Entries: []raft.Entry{{Index: i + 1, Term: 1, Data: bytes.Repeat([]byte{byte(i)}, 500)}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, name := range names {
		if filepath.Ext(name) != ".sst" {
			continue
		}
		damaged++
		flipMiddle(t, fs, fs.PathJoin(testDir, name))
		s, err := OpenFS(fs, testDir, logger, nobodyDies)
		if err == nil {
			_, err = s.Load()
			if closing := s.Close(); closing != nil {
				t.Fatal(closing)
			}
		}
		if !errors.Is(err, raft.ErrDamaged) {
			t.Errorf("%s: got %v, want ErrDamaged", name, err)
		}
	}
	if damaged == 0 {
		t.Fatalf("no table among %v", names)
	}
}

func flipMiddle(t *testing.T, fs vfs.FS, name string) {
	t.Helper()
	file, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := file.ReadAt(b, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 8
	if _, err := file.WriteAt(b, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}
