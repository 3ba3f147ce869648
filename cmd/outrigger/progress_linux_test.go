package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is both ends of a pseudo terminal.
func terminal(t *testing.T) (seen, shown *os.File) {
	t.Helper()
	seen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { seen.Close() })
	var number int
	if err = unix.IoctlSetPointerInt(int(seen.Fd()), unix.TIOCSPTLCK, 0); err == nil {
		number, err = unix.IoctlGetInt(int(seen.Fd()), unix.TIOCGPTN)
	}
	if err != nil {
		t.Fatal(err)
	}
	if shown, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shown.Close() })
	return seen, shown
}

// A person at a terminal sees the bar; a file, a pipe, and whoever reads them, get nothing of it.
func TestProgressIsShownOnTerminalsOnly(t *testing.T) {
	const bar = "[###############...............] 1/2 files"
	play := func(p *progress) bool {
		p.show(1, 2, "files")
		p.say("waiting")
		p.end()
		return p.seen()
	}
	seen, shown := terminal(t)
	if !play(newProgress(shown)) {
		t.Error("nobody looks at a terminal")
	}
	if err := seen.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for part := make([]byte, 1024); !bytes.Contains(got, []byte("waiting"+progressClear)); {
		n, err := seen.Read(part)
		if err != nil {
			t.Fatalf("got %q and %v", got, err)
		}
		got = append(got, part[:n]...)
	}
	if !strings.Contains(string(got), bar) {
		t.Errorf("a terminal shows %q, want %q in it", got, bar)
	}

	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var memory bytes.Buffer
	if play(newProgress(file)) || play(newProgress(&memory)) {
		t.Error("somebody looks where there is no terminal")
	}
	if written, err := os.ReadFile(file.Name()); err != nil || len(written)+memory.Len() > 0 {
		t.Errorf("a file holds %q (%v) and a buffer %q, want nothing", written, err, memory.String())
	}
}
