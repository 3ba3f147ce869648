package verify

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/catalog"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/cmd/outrigger/internal/datadir"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/raft"
	"outrigger/sidecar/raftstore"
)

const (
	node      = topic.NodeID(1)
	clusterID = "MkU3OEVBNTcwNTJENDM2Qg"
	orders    = "orders"
)

var (
	ordersID = topic.ID{7}
	p0       = topic.Partition{Topic: ordersID}
	p1       = topic.Partition{Topic: ordersID, Index: 1}
	quiet    = slog.New(slog.DiscardHandler)
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dies(err error) { panic(err) }

// build makes the data directory of a broker that was stopped: with a snapshot and entries, packs, some
// of whose batches are not needed, and WAL files of three sessions.
func build(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	dir, err := datadir.Open(path, datadir.Owner{Cluster: clusterID, Node: node})
	must(t, err)
	buildMetadata(t, dir)
	for session := topic.Session(1); session <= 3; session++ {
		buildLogs(t, path, session)
	}
	must(t, dir.Close(true))
	return path
}

func buildMetadata(t testing.TB, dir *datadir.Dir) {
	t.Helper()
	at := dir.Path(datadir.Metadata)
	edit := cluster.Empty().Edit()
	apply := func(index uint64, c cluster.Command) raft.Entry {
		if r := edit.Apply(index, c); r.Status != cluster.OK {
			t.Fatalf("command %d: %v", index, r)
		}
		return raft.Entry{Index: index, Term: 1, Kind: raft.EntryCommand, Data: cluster.Encode(c)}
	}
	entries := []raft.Entry{
		apply(1, cluster.SetClusterID{ID: clusterID}),
		apply(2, cluster.RegisterBroker{Broker: topic.Broker{ID: node, Session: 9, Disk: dir.Identity().Disk}}),
	}
	data := edit.Image().Encode()
	member := raft.Member{Node: node, Disk: dir.Identity().Disk}
	membership := raft.Membership{Voters: []raft.Member{member}}
	store, err := raftstore.Open(at, quiet, dies)
	must(t, err)
	_, err = store.Load()
	must(t, err)
	must(t, store.Save(raft.Batch{Sync: true, Entries: entries,
		HardState: &raft.HardState{Term: 1, Vote: member, Commit: 2, Cluster: clusterID}}))
	must(t, store.SaveSnapshot(raft.Snapshot{Index: 2, Term: 1, Membership: membership, Size: uint64(len(data)),
		Hash: raft.HashOf(data)}, data, 1))
	must(t, store.Close())
	store, err = raftstore.Open(at, quiet, dies) // What was in the log lies in a table now.
	must(t, err)
	_, err = store.Load()
	must(t, err)
	topics := apply(3, cluster.CreateTopics{Topics: []topic.Creation{{ID: ordersID, Name: orders, Partitions: 2, ReplicationFactor: 1}}})
	must(t, store.Save(raft.Batch{Sync: true, Entries: []raft.Entry{topics}}))
	must(t, store.Save(raft.Batch{Sync: true, HardState: &raft.HardState{Term: 1, Vote: member, Commit: 3, Cluster: clusterID}}))
	must(t, store.Close())
}

// driven is an open store, driven by hand.
type driven struct {
	testing.TB
	store   *partition.Store
	driver  *partition.Driver
	catalog *catalog.Catalog
}

func openStore(t testing.TB, path string, session topic.Session) (*partition.Store, *catalog.Catalog, error) {
	table, err := catalog.Open(filepath.Join(path, datadir.Catalog), quiet, dies)
	if err != nil {
		return nil, nil, err
	}
	store, err := partition.Open(partition.Config{
		WAL:     wal.Config{Dir: filepath.Join(path, datadir.WAL), Session: session, FileBytes: 64 << 10, SparesMax: 1},
		Catalog: table, Now: func() time.Duration { return 0 },
	})
	if err != nil {
		return nil, nil, errors.Join(err, table.Close())
	}
	return store, table, nil
}

// settle carries out all I/O.
func (d *driven) settle() {
	d.Helper()
	must(d, d.driver.Turn())
	for d.driver.Writing() || d.driver.Written() || d.driver.Wanted() {
		if d.driver.Wanted() {
			must(d, d.driver.Prepare())
		}
		if d.driver.Writing() {
			d.driver.Disk()
		}
		if d.driver.Written() {
			must(d, d.driver.Complete())
		}
		must(d, d.driver.Turn())
	}
}

// append appends one batch of a record of that many bytes.
func (d *driven) append(p topic.Partition, epoch topic.Epoch, bytes int) {
	d.Helper()
	l := d.store.Create(p)
	l.Assume(partition.Role{Epoch: epoch})
	s := l.State()
	b := batch.NewBuilder(batch.CodecNone)
	b.BaseOffset, b.LeaderEpoch = int64(s.LogEnd), int32(epoch)
	value := make([]byte, bytes)
	random := rand.New(rand.NewPCG(uint64(s.LogEnd), uint64(p.Index)))
	for i := range value {
		value[i] = byte(random.Uint32())
	}
	b.Add(batch.Record{Value: value, Timestamp: 1700000000000 + int64(s.LogEnd)})
	payload, err := b.Build()
	must(d, err)
	must(d, l.AppendReplica(partition.Entry{Partition: p, Epoch: epoch, PrevEpoch: s.TailEpoch, Base: s.LogEnd, Count: 1, Payload: payload}))
	d.settle()
	l.SetHighWatermark(l.State().DurableEnd)
}

func buildLogs(t testing.TB, path string, session topic.Session) {
	t.Helper()
	store, table, err := openStore(t, path, session)
	must(t, err)
	driver, err := store.Drive()
	must(t, err)
	d := &driven{TB: t, store: store, driver: driver, catalog: table}
	for i := range 16 {
		d.append(p0, topic.Epoch(session), 5000)
		d.append(p1, topic.Epoch(session), 300+i)
	}
	if session < 3 {
		for drained := true; drained; {
			drained, err = driver.Drain()
			must(t, err)
		}
	}
	if session == 2 {
		must(t, store.Log(p0).MoveStart(5))
		d.settle()
	}
	must(t, driver.Close())
	must(t, store.Close())
	must(t, table.Close())
}

// contents is all that a broker would make of the directory, with its identity.
func contents(t testing.TB, path string) (string, error) {
	t.Helper()
	var out strings.Builder
	dir, err := datadir.Open(path, datadir.Owner{Node: node})
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&out, "%+v %v\n", dir.Identity(), dir.CleanStop())
	must(t, dir.Close(false))
	c, err := raftstore.Look(filepath.Join(path, datadir.Metadata), false)
	must(t, err)
	if len(c.Bad) > 0 {
		return "", fmt.Errorf("%v", c.Bad)
	}
	fmt.Fprintf(&out, "%+v\n%x\n", c.State, c.Image)
	store, table, err := openStore(t, path, 99)
	if err != nil {
		return "", err
	}
	for _, p := range store.Partitions() {
		l := store.Log(p)
		s := l.State()
		fmt.Fprintf(&out, "%v %+v %v\n", p, s, l.Epochs())
		for at := s.LogStart; at < s.HighWatermark; {
			read, err := l.Read(at, 1<<20, true)
			if err != nil {
				return "", errors.Join(err, store.Close(), table.Close())
			}
			for _, b := range read.Batches {
				h, err := batch.ParseHeader(b)
				must(t, err)
				fmt.Fprintf(&out, "%d %x\n", at, sha256.Sum256(b))
				at = topic.Offset(h.LastOffset() + 1)
			}
		}
	}
	return out.String(), errors.Join(store.Close(), table.Close())
}

// files lists the regular files below path, sorted.
func files(t testing.TB, path string) (names []string) {
	t.Helper()
	must(t, filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	}))
	return names
}

// snapshot is everything about a directory that a process could change.
func snapshot(t testing.TB, path string) string {
	t.Helper()
	var out strings.Builder
	must(t, filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&out, name, info.Mode(), info.Size(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(name)
			fmt.Fprintf(&out, "%x\n", sha256.Sum256(content))
			return err
		}
		return nil
	}))
	return out.String()
}

func duplicate(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(to, os.DirFS(path)))
	return to
}

func verified(t testing.TB, path string) *Report {
	t.Helper()
	r, err := Dir(path, nil)
	must(t, err)
	return r
}

func TestCleanDirectoryIsCleanAndStaysAsItIs(t *testing.T) {
	path := build(t)
	before := snapshot(t, path)
	r := verified(t, path)
	if after := snapshot(t, path); after != before {
		t.Errorf("verify has changed the directory from\n%s\nto\n%s", before, after)
	}
	if len(r.Damage) > 0 {
		t.Errorf("got damage %+v, want none", r.Damage)
	}
	k := r.Checked
	if k.Packs == 0 || k.Files == 0 || k.Groups == 0 || k.Batches < 96 || k.Partitions != 2 || k.Topics != 1 || k.Entries == 0 || !r.CleanStop {
		t.Errorf("got %+v", r)
	}
	if _, err := contents(t, duplicate(t, path)); err != nil {
		t.Errorf("a broker does not read it: %v", err)
	}
}

// Wherever a bit flips, it is reported, or a broker would read the very same from the directory.
func TestEveryFlippedBitIsReportedOrMeansNothing(t *testing.T) {
	path := build(t)
	want, err := contents(t, duplicate(t, path))
	must(t, err)
	perFile := 24
	if testing.Short() {
		perFile = 6
	}
	random := rand.New(rand.NewPCG(1, 2))
	reported, dead := 0, 0
	for _, name := range files(t, path) {
		original, err := os.ReadFile(name)
		must(t, err)
		short, err := filepath.Rel(path, name)
		must(t, err)
		offsets := random.Perm(len(original))
		slices.SortStableFunc(offsets, func(a, b int) int { return deadness(original[a]) - deadness(original[b]) })
		for _, at := range offsets[:min(perFile, len(offsets))] {
			flipped := slices.Clone(original)
			flipped[at] ^= 1 << random.IntN(8)
			must(t, os.WriteFile(name, flipped, 0o600))
			r, err := Dir(path, nil)
			if err != nil || len(r.Damage) > 0 {
				reported++
				continue
			}
			dead++
			got, err := contents(t, duplicate(t, path))
			if err != nil || got != want {
				t.Errorf("%s: a flip at byte %d of %d is not reported, and a broker reads something else: %v",
					short, at, len(original), err)
			}
		}
		must(t, os.WriteFile(name, original, 0o600))
	}
	t.Logf("%d flips were reported, %d meant nothing", reported, dead)
	if reported < dead {
		t.Errorf("%d flips were reported and %d were not: the test looks at the wrong places", reported, dead)
	}
}

// deadness puts zeros, of which most are padding, behind the rest.
func deadness(b byte) int {
	if b == 0 {
		return 1
	}
	return 0
}

// packOf returns the first pack, and a position in the middle of it.
func packOf(t testing.TB, path string) string {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(path, datadir.WAL, "*.pack"))
	must(t, err)
	if len(packs) == 0 {
		t.Fatal("no packs")
	}
	return packs[0]
}

func TestDamageIsNamedWithFilePositionPartitionAndOffsets(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(path string)
		// file, reason and remedy are parts of what is said; lost is all of it.
		file, reason, remedy, lost string
	}{
		{"a bit in a pack", func(path string) { flipBatch(t, path, p0, 6) },
			".pack", "checksum", "cuts these partitions", "orders/0 6..6"},
		{"a pack is gone", func(path string) { must(t, os.Remove(packOf(t, path))) },
			".pack", "missing", "cuts these partitions", "orders/1 0..4"},
		{"a bit in the WAL", func(path string) { flip(t, newest(t, path), 4096+64+48+100) },
			".wal", "synced", "sets this file and the later ones aside", ""},
		{"a WAL file is gone", func(path string) { must(t, os.Remove(oldest(t, path))) },
			".wal", "missing", "sets this file", ""},
		{"the catalog is gone", func(path string) { must(t, os.RemoveAll(filepath.Join(path, datadir.Catalog))) },
			".wal", "missing", "", ""},
		{"the metadata is gone", func(path string) { must(t, os.RemoveAll(filepath.Join(path, datadir.Metadata))) },
			"metadata", "missing", "move the directory away", ""},
		{"a bit in meta.properties", func(path string) { flip(t, filepath.Join(path, "meta.properties"), 150) },
			"meta.properties", "damaged", "restore meta.properties", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := build(t)
			c.damage(path)
			before := snapshot(t, path)
			r := verified(t, path)
			if snapshot(t, path) != before {
				t.Error("verify has changed the directory")
			}
			if len(r.Damage) == 0 {
				t.Fatal("got no damage")
			}
			d := r.Damage[0]
			if !strings.Contains(d.Sentence(), c.file) || !strings.Contains(d.Reason, c.reason) ||
				!strings.Contains(d.Remedy, c.remedy) || d.Remedy == "" || c.lost != "" && d.Offsets() != c.lost {
				t.Errorf("got %s, offsets %s, remedy %s", d.Sentence(), d.Offsets(), d.Remedy)
			}
		})
	}
}

// A damaged group names the records in it, as far as they can still be read.
func TestRecordsOfADamagedGroupAreNamed(t *testing.T) {
	path := build(t)
	flipBatch(t, path, p0, 40)
	r := verified(t, path)
	if len(r.Damage) != 1 || r.Damage[0].Offsets() != "orders/0 40..40" {
		t.Errorf("got %+v, want that offset 40 of orders/0 is lost", r.Damage)
	}
}

func TestTornTailIsNoDamage(t *testing.T) {
	path := build(t)
	must(t, os.Remove(filepath.Join(path, "clean-stop")))
	name, at := "", int64(0)
	_, err := wal.Dump(wal.ReadOnly(), filepath.Join(path, datadir.WAL), func(r wal.DumpRecord) {
		if r.Group != nil {
			name, at = r.Name, r.At.Offset
		}
	})
	must(t, err)
	flip(t, name, at+20)
	if r := verified(t, path); len(r.Damage) > 0 || r.CleanStop {
		t.Errorf("got %+v", r)
	}
}

func TestFilesThatNothingNamesAreListed(t *testing.T) {
	path := build(t)
	content, err := os.ReadFile(packOf(t, path))
	must(t, err)
	stray := filepath.Join(path, datadir.WAL, "00000000000009999999.pack")
	must(t, os.WriteFile(stray, content, 0o600))
	r := verified(t, path)
	if len(r.Damage) > 0 || !slices.Contains(r.Unneeded, "wal/00000000000009999999.pack") {
		t.Errorf("got damage %v, unneeded %v", r.Damage, r.Unneeded)
	}
}

func TestDirectoryInUseIsRefused(t *testing.T) {
	path := build(t)
	dir, err := datadir.Open(path, datadir.Owner{Node: node})
	must(t, err)
	defer func() { must(t, dir.Close(false)) }()
	var refusal *datadir.Refusal
	if _, err := Dir(path, nil); !errors.As(err, &refusal) || !refusal.Held {
		t.Errorf("got %v, want that it is in use", err)
	}
	if _, err := Dir(t.TempDir(), nil); !errors.As(err, &refusal) {
		t.Errorf("got %v for an empty directory, want a refusal", err)
	}
}

// Nothing is opened for writing: the kernel would refuse.
func TestReadOnlyFileSystemIsVerified(t *testing.T) {
	path := build(t)
	if out, err := exec.Command("mount", "--bind", "-o", "ro", path, path).CombinedOutput(); err != nil {
		t.Skipf("cannot make %s read-only, which takes root: %s", path, out)
	}
	defer func() {
		if out, err := exec.Command("umount", path).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %s", path, out)
		}
	}()
	if err := os.WriteFile(filepath.Join(path, "x"), nil, 0o600); err == nil {
		t.Skip("the mount is not read-only")
	}
	if r := verified(t, path); len(r.Damage) > 0 {
		t.Errorf("got damage %+v", r.Damage)
	}
}

func flip(t testing.TB, name string, at int64) {
	t.Helper()
	content, err := os.ReadFile(name)
	must(t, err)
	content[at] ^= 4
	must(t, os.WriteFile(name, content, 0o600))
}

// flipBatch flips a bit in a batch, wherever that lies.
func flipBatch(t testing.TB, path string, p topic.Partition, base topic.Offset) {
	t.Helper()
	name, at := "", int64(0)
	_, err := wal.Dump(wal.ReadOnly(), filepath.Join(path, datadir.WAL), func(r wal.DumpRecord) {
		if r.Record != nil && r.Record.Kind == wal.Data && r.Record.Base == base && r.Record.Partition == p {
			name, at = r.Name, r.At.Offset+200
		}
	})
	must(t, err)
	flip(t, name, at)
}

func newest(t testing.TB, path string) string { t.Helper(); w := walFiles(t, path); return w[len(w)-1] }
func oldest(t testing.TB, path string) string { t.Helper(); return walFiles(t, path)[0] }

// walFiles are the files of the chain that hold groups.
func walFiles(t testing.TB, path string) (names []string) {
	t.Helper()
	_, err := wal.Dump(wal.ReadOnly(), filepath.Join(path, datadir.WAL), func(r wal.DumpRecord) {
		if r.Group != nil && r.At.File&wal.PackBit == 0 && !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
	})
	must(t, err)
	return names
}
