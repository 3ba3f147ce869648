package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/cmd/outrigger/internal/config"
	"outrigger/cmd/outrigger/internal/datadir"
	"outrigger/sidecar/raft"
)

// movingFS calls moving before anything gets another name.
type movingFS struct {
	wal.FS
	moving func(to string) error
}

func (f movingFS) Rename(from, to string) error {
	if err := f.moving(to); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

// damagedLog writes a log of three sessions into a data directory and flips a bit in the first.
func damagedLog(t *testing.T, dir *datadir.Dir, session *topic.Session) partition.Config {
	t.Helper()
	cfg := partition.Config{
		WAL: wal.Config{Dir: dir.Path(datadir.WAL), FileBytes: 1 << 20},
		Now: monotonic(),
	}
	p := topic.Partition{Topic: topic.ID{1}}
	for range 3 {
		*session++
		cfg.WAL.Session = *session
		store, err := partition.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- store.Run(ctx) }()
		log := store.Create(p)
		log.SetHighWatermark(log.State().LogEnd)
		if err := store.Remove(p); err != nil {
			t.Fatal(err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	spoil(t, cfg.WAL.Dir)
	*session++
	cfg.WAL.Session = *session
	return cfg
}

// spoil flips a bit in the first file, or flips it back.
func spoil(t *testing.T, dir string) {
	t.Helper()
	name := filepath.Join(dir, "00000000000000000001.wal")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content[4096+70] ^= 4
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func newNode(t *testing.T, sets ...string) *node {
	t.Helper()
	cfg, _, err := config.Load(config.Sources{Sets: append([]string{"node.id=1", "listeners=PLAINTEXT://127.0.0.1:9092"}, sets...)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := datadir.Open(t.TempDir(), datadir.Owner{Node: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(false); err != nil {
			t.Error(err)
		}
	})
	return &node{Options: Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)}, dir: dir}
}

// A crash between the two steps must leave the new name and the damage, never the old name and a log
// that looks whole.
func TestDamagedLogIsRenamedBeforeAnythingIsSetAside(t *testing.T) {
	n := newNode(t)
	session := topic.Session(0)
	cfg := damagedLog(t, n.dir, &session)
	old := n.dir.Identity()
	moved := 0
	crash := errors.New("crash")
	cfg.WAL.FS = movingFS{wal.OS(), func(string) error {
		moved++
		written, err := os.ReadFile(n.dir.Path("meta.properties"))
		if err != nil || strings.Contains(string(written), "log.id="+old.Log.String()) {
			t.Errorf("a file moves under the old name of the log: %s, %v", written, err)
		}
		return crash
	}}
	if _, err := n.openLogs(t.Context(), cfg); !errors.Is(err, crash) || moved != 1 {
		t.Fatalf("got %v after %d moves", err, moved)
	}
	between := n.dir.Identity()
	if between.Log == old.Log || between.Disk != old.Disk {
		t.Errorf("got %+v after %+v", between, old)
	}
	cfg.WAL.FS, cfg.WAL.Session = nil, session+1
	store, err := n.openLogs(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	aside, err := filepath.Glob(n.dir.Path(datadir.WAL, "quarantine-*", "00000000000000000001.wal"))
	if err != nil || len(aside) != 1 {
		t.Errorf("got %v, %v, want the damaged file set aside", aside, err)
	}
	if again := n.dir.Identity(); again.Log == old.Log || again.Disk != old.Disk {
		t.Errorf("got %+v after %+v", again, old)
	}
}

// refusingFS does not give back the second block of the first file, whatever its name: until then, if that is set. It
// takes its time to say so.
type refusingFS struct {
	wal.FS
	until time.Time
	slow  time.Duration
}

func (f refusingFS) Open(name string, direct bool) (wal.File, error) {
	file, err := f.FS.Open(name, direct)
	if err == nil && filepath.Base(name) == "00000000000000000001.wal" {
		if size, _ := file.Size(); size > 8192 { // not the one that takes its place
			file = refusingFile{file, f}
		}
	}
	return file, err
}

type refusingFile struct {
	wal.File
	fs refusingFS
}

func (f refusingFile) ReadAt(b []byte, offset int64) (int, error) {
	if offset < 8192 && offset+int64(len(b)) > 4096 && (f.fs.until.IsZero() || time.Now().Before(f.fs.until)) {
		time.Sleep(f.fs.slow) //nolint:forbidigo // the clock of a bubble
		return 0, fmt.Errorf("read: %w", syscall.EIO)
	}
	return f.File.ReadAt(b, offset)
}

// An unreadable sector is damage as bad bytes are: the policy decides, and with repair the broker starts. Before that the
// log was opened several times, within a minute.
func TestUnreadableLogIsRepairedOrRefusedAsThePolicySays(t *testing.T) {
	for _, policy := range []string{"refuse", "repair"} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, "log.damage.policy="+policy)
			var said bytes.Buffer
			n.Logger = slog.New(slog.NewTextHandler(&said, nil))
			session := topic.Session(0)
			cfg := damagedLog(t, n.dir, &session)
			cfg.WAL.FS = refusingFS{FS: wal.OS()}
			old, began := n.dir.Identity(), time.Now()
			store, err := n.openLogs(t.Context(), cfg)
			if took := time.Since(began); took != 31*time.Second || strings.Count(said.String(), "after a pause") != 5 {
				t.Errorf("%s: waited for %v, and said\n%s", policy, took, &said)
			}
			if policy == "refuse" {
				if !errors.Is(err, wal.ErrDamaged) || n.dir.Identity() != old {
					t.Errorf("refuse: got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			aside, err := filepath.Glob(n.dir.Path(datadir.WAL, "quarantine-*", "*1.wal"))
			if err != nil || len(aside) != 1 || n.dir.Identity().Log == old.Log {
				t.Errorf("repair: set aside are %v, %v, the log is named %v", aside, err, n.dir.Identity().Log)
			}
		})
	}
}

// A path that fails over answers EIO for seconds. The log keeps its name then, and all that is in it.
func TestReadErrorThatPassesLeavesTheLogItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		session := topic.Session(0)
		cfg := damagedLog(t, n.dir, &session)
		spoil(t, cfg.WAL.Dir) // The bit is as it was.
		until := time.Now().Add(10 * time.Second)
		cfg.WAL.FS = refusingFS{FS: wal.OS(), until: until}
		old := n.dir.Identity()
		store, err := n.openLogs(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if n.dir.Identity() != old || time.Now().Before(until) {
			t.Errorf("got %+v after %+v", n.dir.Identity(), old)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if aside, err := filepath.Glob(n.dir.Path(datadir.WAL, "quarantine-*")); err != nil || len(aside) != 0 {
			t.Errorf("got %v, %v, want nothing set aside", aside, err)
		}
	})
}

// A device that takes long for each answer is not asked for longer: the tries count for the minute as the pauses do.
func TestLogOnASlowDeviceIsNotOpenedForLongerThanAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		session := topic.Session(0)
		cfg := damagedLog(t, n.dir, &session)
		cfg.WAL.FS = refusingFS{FS: wal.OS(), slow: 10 * time.Second}
		var said bytes.Buffer
		n.Logger = slog.New(slog.NewTextHandler(&said, nil))
		store, err := n.openLogs(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if tries := strings.Count(said.String(), "after a pause"); tries < 1 || tries > 3 {
			t.Errorf("it was opened again %d times\n%s", tries, &said)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// A broker that is stopped while it waits stops, and the log keeps its name.
func TestStopEndsTheWaitForAnUnreadableLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		session := topic.Session(0)
		cfg := damagedLog(t, n.dir, &session)
		cfg.WAL.FS = refusingFS{FS: wal.OS()}
		old := n.dir.Identity()
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		if _, err := n.openLogs(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if aside, err := filepath.Glob(n.dir.Path(datadir.WAL, "quarantine-*")); n.dir.Identity() != old || err != nil || len(aside) != 0 {
			t.Errorf("got %+v after %+v, set aside are %v, %v", n.dir.Identity(), old, aside, err)
		}
	})
}

func TestDamagedLogIsRefusedUntouchedIfSoConfigured(t *testing.T) {
	n := newNode(t, "log.damage.policy=refuse")
	session := topic.Session(0)
	cfg := damagedLog(t, n.dir, &session)
	old := n.dir.Identity()
	cfg.WAL.FS = movingFS{wal.OS(), func(to string) error { return errors.New("moved " + to) }}
	_, err := n.openLogs(t.Context(), cfg)
	if !errors.Is(err, wal.ErrDamaged) || !strings.HasSuffix(err.Error(), "(log.damage.policy=refuse)") {
		t.Errorf("got %v", err)
	}
	if n.dir.Identity() != old {
		t.Errorf("got %+v after %+v", n.dir.Identity(), old)
	}
}

func TestDamagedMetadataStoreNamesTheRemedy(t *testing.T) {
	n := newNode(t)
	err := n.explainMetadata(raft.ErrDamaged)
	if !errors.Is(err, raft.ErrDamaged) || !strings.Contains(err.Error(), "empty "+n.dir.Path()+", all of it") {
		t.Errorf("got %v", err)
	}
	if other := errors.New("other"); n.explainMetadata(other) != other {
		t.Error("another error is said to be damage")
	}
}
