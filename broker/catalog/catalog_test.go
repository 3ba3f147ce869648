package catalog_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"outrigger/broker/catalog"
	"outrigger/broker/pebblefs"
)

func open(t *testing.T, dir string) (*catalog.Catalog, error) {
	t.Helper()
	return catalog.Open(dir, slog.New(slog.DiscardHandler), func(err error) { panic(err) })
}

func pairs(t *testing.T, c *catalog.Catalog, from, until string) (all []string) {
	t.Helper()
	err := c.Range([]byte(from), []byte(until), func(key, value []byte) error {
		all = append(all, fmt.Sprintf("%s=%s", key, value))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What was applied is there after a restart, edits count in their order, and a deletion ends before Until.
func TestEditsOutliveTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "catalog")
	c, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string) catalog.Edit { return catalog.Edit{Key: []byte(key), Value: []byte(value)} }
	if err := c.Apply([]catalog.Edit{put("a", "1"), put("b", "1"), put("c", "1"), put("d", "1")}); err != nil {
		t.Fatal(err)
	}
	if err := c.Apply([]catalog.Edit{{Key: []byte("b"), Until: []byte("d")}, put("c", "2")}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = open(t, dir); err != nil {
		t.Fatal(err)
	}
	if got, want := pairs(t, c, "a", "z"), []string{"a=1", "c=2", "d=1"}; !slices.Equal(got, want) {
		t.Errorf("all: got %q, want %q", got, want)
	}
	if got, want := pairs(t, c, "b", "d"), []string{"c=2"}; !slices.Equal(got, want) {
		t.Errorf("b to d: got %q, want %q", got, want)
	}
	stop := errors.New("stop")
	if err := c.Range([]byte("a"), []byte("z"), func(_, _ []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("range: got %v, want the error of its function", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// A view is of its moment, in whatever order it is looked into, and a deletion of one key deletes no other.
func TestViewIsOfItsMoment(t *testing.T) {
	c, err := open(t, filepath.Join(t.TempDir(), "catalog"))
	if err != nil {
		t.Fatal(err)
	}
	var edits []catalog.Edit
	for _, key := range []string{"a", "a\x00", "a\x00\x00", "b", "c"} {
		edits = append(edits, catalog.Edit{Key: []byte(key), Value: []byte("1")})
	}
	if err := c.Apply(edits); err != nil {
		t.Fatal(err)
	}
	v, err := c.View()
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("a")
	edits = []catalog.Edit{catalog.Deletion(key), {Key: []byte("b"), Value: []byte("2")}}
	key[0] = 'c'
	if err := c.Apply(edits); err != nil {
		t.Fatal(err)
	}
	look := func(in catalog.Ranger, from, until string, want ...string) {
		t.Helper()
		var got []string
		err := in.Range([]byte(from), []byte(until), func(key, value []byte) error {
			got = append(got, fmt.Sprintf("%s=%s", key, value))
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q to %q: got %q, %v, want %q", from, until, got, err, want)
		}
	}
	look(v, "a", "b", "a=1", "a\x00=1", "a\x00\x00=1")
	look(v, "b", "z", "b=1", "c=1")
	look(v, "a", "a\x00", "a=1")
	look(v, "d", "z")
	look(c, "a", "z", "a\x00=1", "a\x00\x00=1", "b=2", "c=1")
	stop := errors.New("stop")
	if err := v.Range([]byte("a"), []byte("z"), func(_, _ []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("range: got %v, want the error of its function", err)
	}
	if err := errors.Join(v.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// Pebble writes the file of an old log again, and what was in it stays behind the end of the new one.
func TestClosedCatalogIsWholeWhereItsLogsAreOldFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "catalog")
	c, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	old := func() (found bool) {
		err := pebblefs.EachLog(vfs.Default, dir, func(_ string, number uint32, content []byte) error {
			end := pebblefs.FollowLog(content, number, func([]byte) {})
			found = end > 0 && bytes.Contains(content[end:], []byte("old"))
			return nil
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return found
	}
	for n := 0; n%16 > 0 || !old(); n++ { // To look takes long.
		if n == 1000 {
			t.Fatal("the file of no log was used again")
		}
		value := bytes.Repeat([]byte("old "), 64<<10)
		if err := c.Apply([]catalog.Edit{{Key: []byte("key"), Value: value}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if !old() {
		t.Fatal("nothing lies behind the end of the last log")
	}
	looked, bad, err := catalog.Look(dir, true)
	if err != nil || len(bad) > 0 {
		t.Fatalf("got %v, %v, want nothing bad", bad, err)
	}
	if err := looked.Close(); err != nil {
		t.Fatal(err)
	}
}

// A catalog whose list of files is gone bad is no empty one.
func TestDamagedCatalogIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "catalog")
	c, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Apply([]catalog.Edit{{Key: []byte("a"), Value: []byte("1")}}), c.Close()); err != nil {
		t.Fatal(err)
	}
	manifests, err := filepath.Glob(filepath.Join(dir, "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("manifests: %q, %v", manifests, err)
	}
	for _, name := range manifests {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/2] ^= 1
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := open(t, dir); !errors.Is(err, catalog.ErrDamaged) {
		t.Fatalf("open: got %v, %v; want ErrDamaged", c, err)
	}
}

// A flipped bit takes the edits behind it away, and Pebble says nothing.
func TestFlippedBitInTheLogIsDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "catalog")
	c, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b"} {
		if err := c.Apply([]catalog.Edit{{Key: []byte(key), Value: []byte("value of " + key)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("got logs %v, %v", logs, err)
	}
	content, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	content[bytes.Index(content, []byte("value of a"))] ^= 1
	if err := os.WriteFile(logs[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir); !errors.Is(err, catalog.ErrDamaged) {
		t.Errorf("got %v, want %v", err, catalog.ErrDamaged)
	}
}
