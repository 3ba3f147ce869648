package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func mustOpen(t *testing.T, path string, owner Owner) *Dir {
	t.Helper()
	d, err := Open(path, owner)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return d
}

// snapshot lists every file under path with its content, to show that nothing was touched.
func snapshot(t *testing.T, path string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&out, name, info.Mode(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(name)
			fmt.Fprintf(&out, "%q\n", content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestIdentitySurvivesRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	first := mustOpen(t, path, Owner{Cluster: "c", Node: 3})
	if first.CleanStop() {
		t.Error("a new directory claims a clean stop")
	}
	want := first.Identity()
	if want.Disk.IsZero() || want.Cluster != "c" || want.Node != 3 {
		t.Fatalf("got %+v", want)
	}
	if err := first.Close(true); err != nil {
		t.Fatal(err)
	}
	second := mustOpen(t, path, Owner{Node: 3})
	if got := second.Identity(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !second.CleanStop() {
		t.Error("the clean stop was forgotten")
	}
	if err := second.Close(false); err != nil {
		t.Fatal(err)
	}
	third := mustOpen(t, path, Owner{Node: 3})
	defer third.Close(false)
	if third.CleanStop() {
		t.Error("an unclean stop passes for a clean one")
	}
}

func TestClusterIsRecordedOnceItIsKnown(t *testing.T) {
	path := t.TempDir()
	d := mustOpen(t, path, Owner{Node: 1})
	if err := d.SetCluster("x"); err != nil {
		t.Fatal(err)
	}
	if err := d.SetCluster("y"); err == nil || d.Identity().Cluster != "x" {
		t.Errorf("got %v and cluster %q, want a refusal and x", err, d.Identity().Cluster)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, path, Owner{Node: 1})
	defer again.Close(false)
	if got := again.Identity().Cluster; got != "x" {
		t.Errorf("got cluster %q, want x", got)
	}
}

func TestForeignDirectoriesAreRefusedUntouched(t *testing.T) {
	ours := Identity{Cluster: "c1", Node: 1, Disk: [16]byte{1}, Log: [16]byte{2}}
	for _, c := range []struct {
		name    string
		files   map[string]string
		owner   Owner
		problem string
		remedy  string
	}{
		{"other node", map[string]string{metaName: string(ours.encode())}, Owner{Node: 2},
			"belongs to node 1, and this is node 2", "name another directory, or use this one for a broker with node.id=1"},
		{"other cluster", map[string]string{metaName: string(ours.encode())}, Owner{Cluster: "c2", Node: 1},
			"belongs to cluster c1, and this broker is to join c2", "name another directory, or use this one for a broker with cluster.id=c1"},
		{"other format", map[string]string{metaName: "format=outrigger\nformat.version=7\n"}, Owner{Node: 1},
			`has format version "7", and this version of Outrigger reads 1`, "start the version that wrote it, or name another directory"},
		{"Kafka's", map[string]string{metaName: "version=1\ncluster.id=x\nnode.id=1\ndirectory.id=y\n"}, Owner{Node: 1},
			"belongs to another program, its meta.properties was not written by Outrigger", "name another directory"},
		{"damaged", map[string]string{metaName: "format=outrigger\nformat.version=1\nnode.id=x\n"}, Owner{Node: 1},
			`has a damaged meta.properties (node.id is "x")`, "restore that file, or name another directory"},
		{"damaged disk id", map[string]string{metaName: "format=outrigger\nformat.version=1\nnode.id=1\ndisk.id=12\n"}, Owner{Node: 1},
			`has a damaged meta.properties (disk.id is "12")`, "restore that file, or name another directory"},
		{"damaged log id", map[string]string{metaName: "format=outrigger\nformat.version=1\nnode.id=1\n" +
			"disk.id=00112233445566778899aabbccddeeff\nlog.id=\n"}, Owner{Node: 1},
			`has a damaged meta.properties (log.id is "")`, "restore that file, or name another directory"},
		{"somebody's files", map[string]string{"thesis.tex": "x"}, Owner{Node: 1},
			"holds thesis.tex but no meta.properties, so it is not Outrigger's", "name an empty or a new directory"},
	} {
		path := t.TempDir()
		for name, content := range c.files {
			if err := os.WriteFile(filepath.Join(path, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		before := snapshot(t, path)
		_, err := Open(path, c.owner)
		want := fmt.Sprintf("data directory %s %s: %s", path, c.problem, c.remedy)
		if err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.name, err, want)
		}
		if checked := Check(path, c.owner); fmt.Sprint(checked) != fmt.Sprint(err) {
			t.Errorf("%s: Check says %v, Open %v", c.name, checked, err)
		}
		if after := snapshot(t, path); after != before {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, after, before)
		}
	}
}

func TestLeftoversOfAnInterruptedStartAreNobodys(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{lockName, metaName + ".tmp"} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(path, "lost+found"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, path, Owner{Node: 1})
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}

func TestLockedDirectoryNamesItsHolder(t *testing.T) {
	path := t.TempDir()
	d := mustOpen(t, path, Owner{Node: 1})
	before := snapshot(t, path)
	for name, open := range map[string]func() error{
		"Check": func() error { return Check(path, Owner{Node: 1}) },
		"Open":  func() error { _, err := Open(path, Owner{Node: 1}); return err },
	} {
		err := open()
		want := fmt.Sprintf("data directory %s is in use by process %d: stop it, or name another directory", path, os.Getpid())
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
		var refusal *Refusal
		if !errors.As(err, &refusal) || !refusal.Held || refusal.HeldBy != os.Getpid() {
			t.Errorf("%s: got %+v", name, refusal)
		}
	}
	if after := snapshot(t, path); after != before {
		t.Errorf("got\n%s\nwant\n%s", after, before)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	if err := Check(path, Owner{Node: 1}); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

// TestLockDiesWithItsHolder runs this test binary as the holder and kills it.
func TestLockDiesWithItsHolder(t *testing.T) {
	if path := os.Getenv("DATADIR_HOLD"); path != "" {
		mustOpen(t, path, Owner{Node: 1})
		fmt.Fprintln(os.Stdout, "held")
		select {}
	}
	path := t.TempDir()
	command := exec.Command(os.Args[0], "-test.run=^TestLockDiesWithItsHolder$")
	command.Env = append(os.Environ(), "DATADIR_HOLD="+path)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := output.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	var refusal *Refusal
	if err := Check(path, Owner{Node: 1}); !errors.As(err, &refusal) || refusal.HeldBy != command.Process.Pid {
		t.Errorf("got %v, want held by %d", err, command.Process.Pid)
	}
	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait()
	d := mustOpen(t, path, Owner{Node: 1})
	defer d.Close(false)
	if d.CleanStop() {
		t.Error("a killed holder left a clean stop")
	}
}

func TestUnusablePathsAreRefused(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	readOnly := filepath.Join(base, "read-only")
	if err := os.Mkdir(readOnly, 0o555); err != nil {
		t.Fatal(err)
	}
	for path, problem := range map[string]string{
		file:                         "is a file, or lies below one",
		filepath.Join(file, "x"):     "is a file, or lies below one",
		readOnly:                     "cannot be written",
		filepath.Join(readOnly, "x"): "cannot be made",
	} {
		if os.Getuid() == 0 && strings.HasPrefix(path, readOnly) {
			continue // root may write everything
		}
		_, err := Open(path, Owner{Node: 1})
		want := "data directory " + path + " " + problem
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s...", err, want)
		}
	}
}

func TestPasswordsAreDrawnOnceAndPrivate(t *testing.T) {
	path := t.TempDir()
	d := mustOpen(t, path, Owner{Node: 1})
	defer d.Close(false)
	want := Operator{URL: "nats://127.0.0.1:4222", Ops: Login{User: "ops"}, Sys: Login{User: "admin", Password: "chosen"}}
	first, filled, err := d.Operator(want)
	if err != nil || !filled {
		t.Fatalf("got %v, %v", filled, err)
	}
	if len(first.Ops.Password) < 20 || first.Sys.Password != "chosen" {
		t.Errorf("got %+v", first)
	}
	first.URL = "nats://127.0.0.1:4333" // the server has started, on a port of its own choice
	if err := d.RecordOperator(first); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(path, operatorName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
	}
	second, _, err := d.Operator(want)
	if err != nil || second.Ops != first.Ops || second.Sys != first.Sys {
		t.Errorf("got %+v, %v; want the logins of before, %+v", second, err, first)
	}
}

func TestChosenPasswordsAreNotWrittenDown(t *testing.T) {
	path := t.TempDir()
	d := mustOpen(t, path, Owner{Node: 1})
	defer d.Close(false)
	want := Operator{Ops: Login{"ops", "a"}, Sys: Login{"admin", "b"}}
	got, filled, err := d.Operator(want)
	if err != nil || filled || got != want {
		t.Errorf("got %+v, %v, %v", got, filled, err)
	}
	if _, err := os.Stat(filepath.Join(path, operatorName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want no file", err)
	}
}

func FuzzMetaPropertiesNeverPanics(f *testing.F) {
	f.Add(Identity{Cluster: "c", Node: 1, Disk: [16]byte{1}, Log: [16]byte{2}}.encode())
	f.Fuzz(func(t *testing.T, content []byte) {
		id, err := decode(content)
		if err == nil && (id.Node < 0 || id.Disk.IsZero() || id.Log.IsZero()) {
			t.Errorf("took %+v", id)
		}
	})
}

// A run under `always` must not vouch for what the run before it acknowledged under `interval`.
func TestFlushPolicyOfTheLastRunIsRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	for i, run := range []struct{ always, want bool }{
		{always: false, want: true}, {always: true, want: false}, {always: true, want: true},
	} {
		d, err := Open(path, Owner{Node: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got := d.FlushedAlways(); got != run.want {
			t.Errorf("run %d: the run before synced always: got %t, want %t", i+1, got, run.want)
		}
		if err := errors.Join(d.SetFlush(run.always), d.Close(false)); err != nil {
			t.Fatal(err)
		}
	}
}

// A log that lost something never gets its old name back, whatever happens to the process; the disk
// stays who it was.
func TestRenewedLogKeepsItsNewName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d := mustOpen(t, path, Owner{Node: 1})
	first := d.Identity()
	if first.Log != first.Disk {
		t.Errorf("a new log is named %s, its disk %s", first.Log, first.Disk)
	}
	if err := d.RenewLog(); err != nil {
		t.Fatal(err)
	}
	renewed := d.Identity()
	if renewed.Disk != first.Disk || renewed.Log == first.Log || renewed.Log.IsZero() {
		t.Errorf("got %+v after %+v", renewed, first)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, path, Owner{Node: 1})
	defer again.Close(false)
	if got := again.Identity(); got != renewed {
		t.Errorf("got %+v after a restart, want %+v", got, renewed)
	}
}

func TestDirectoryOfAnOlderVersionNamesItsLogLikeItsDisk(t *testing.T) {
	path := t.TempDir()
	old := "format=outrigger\nformat.version=1\ncluster.id=c\nnode.id=1\ndisk.id=00112233445566778899aabbccddeeff\nflush.lazy=false\n"
	if err := os.WriteFile(filepath.Join(path, metaName), []byte(old), 0o644); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, path, Owner{Node: 1})
	defer d.Close(false)
	if id := d.Identity(); id.Log != id.Disk || id.Disk.IsZero() {
		t.Errorf("got %+v", id)
	}
}
