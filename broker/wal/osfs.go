package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// OS is the operating system's file system.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) MakeDir(dir string) error { return os.MkdirAll(dir, 0o750) }

func (osFS) Create(name string, direct bool) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, direct)
}

func (osFS) Open(name string, direct bool) (File, error) { return openOS(name, os.O_RDWR, direct) }

func (osFS) Rename(from, to string) error { return mapSpace(os.Rename(from, to)) }

func (osFS) Remove(name string) error { return os.Remove(name) }

// Shrink gives up the end of a file.
func (osFS) Shrink(name string, bytes int64) error { return os.Truncate(name, bytes) }

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

func (osFS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return mapSpace(errors.Join(f.Sync(), f.Close()))
}

// Lock holds an advisory lock on the open file, which the kernel drops with the process, however it
// ends; the file itself stays. The pid in it is for the message alone.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(&LockedError{PID: readPID(f)}, f.Close())
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if err := errors.Join(f.Truncate(0), writeAt(f, pid)); err != nil && !isNoSpace(err) {
		return nil, errors.Join(fmt.Errorf("write %s: %w", name, err), f.Close())
	}
	return f, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// readPID returns zero when the holder could not, or not yet, write its own.
func readPID(f *os.File) int {
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}

// osFile is a file of the operating system.
type osFile struct {
	*os.File
	direct bool
	// async: WriteDurable may leave the sync to the kernel, see syncsAsync.
	async bool
}

func openOS(name string, flags int, direct bool) (File, error) {
	if direct && directFlag != 0 {
		f, err := os.OpenFile(name, flags|directFlag, 0o640)
		if err == nil {
			return &osFile{File: f, direct: true, async: syncsAsync(f)}, nil
		}
		if !errors.Is(err, syscall.EINVAL) {
			return nil, mapSpace(err)
		}
	}
	f, err := os.OpenFile(name, flags, 0o640)
	if errors.Is(err, os.ErrExist) && direct && flags&os.O_EXCL != 0 {
		// The refused direct open may have made the file before it was refused.
		f, err = os.OpenFile(name, flags&^os.O_EXCL, 0o640)
	}
	if err != nil {
		return nil, mapSpace(err)
	}
	dropCache(f)
	return &osFile{File: f}, nil
}

func (f *osFile) Direct() bool { return f.direct }

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// ReadAt ends at the end of the file also where that is not on a block: what os.File reads next, from
// there on, direct I/O refuses.
func (f *osFile) ReadAt(b []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(b, offset)
	if f.direct && n%blockBytes != 0 && errors.Is(err, syscall.EINVAL) {
		err = io.EOF
	}
	return n, err
}

func (f *osFile) WriteAt(b []byte, offset int64) (int, error) {
	n, err := f.File.WriteAt(b, offset)
	return n, mapSpace(err)
}

func (f *osFile) Allocate(bytes int64) (bool, error) {
	taken, err := allocate(f.File, bytes)
	return taken, mapSpace(err)
}

func (f *osFile) writeAndSync(b []byte, offset int64) error {
	if _, err := f.WriteAt(b, offset); err != nil {
		return err
	}
	return f.Sync()
}

func (f *osFile) Sync() error { return mapSpace(dataSync(f.File)) }

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// mapSpace marks the errors that mean a full device; the original stays in the chain.
func mapSpace(err error) error {
	if isNoSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
