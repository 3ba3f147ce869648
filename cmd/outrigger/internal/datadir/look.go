package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Looked is a data directory that nobody runs on while somebody looks into it. Nothing in it is changed.
type Looked struct {
	Path string
	// Identity is who it belongs to, unless Damage says why that cannot be read.
	Identity Identity
	Damage   error
	// CleanStop: the last process that had it stopped in good order.
	CleanStop bool

	lock *os.File
}

// Look takes a directory to look into it: no broker can start on it meanwhile. Others may look, too. One
// that is none of ours, or that is in use, is a *Refusal.
func Look(path string) (*Looked, error) {
	path = Absolute(path)
	content, err := os.ReadFile(filepath.Join(path, metaName))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, &Refusal{Path: path, Problem: "holds no " + metaName + ", so it is not a broker's",
			Remedy: "name the directory that is log.dirs of the broker", cause: err}
	case err != nil:
		return nil, &Refusal{Path: path, Problem: "cannot be read",
			Remedy: fmt.Sprintf("run this as a user who may read it (%v)", err), cause: err}
	}
	l := &Looked{Path: path}
	if l.Identity, err = decode(content); errors.Is(err, errForeign) || errors.As(err, new(*formatError)) {
		return nil, unreadable(path, err)
	} else if err != nil {
		l.Damage = fmt.Errorf("%s is damaged: %w", metaName, err)
	}
	if l.lock, err = lockShared(path); err != nil {
		return nil, err
	}
	_, err = os.Stat(filepath.Join(path, cleanName))
	l.CleanStop = err == nil
	return l, nil
}

// Close lets brokers have the directory again.
func (l *Looked) Close() error {
	if l.lock == nil {
		return nil
	}
	return l.lock.Close()
}

// lockShared takes the lock together with others who only look. A directory without a lock file, such as
// a copy, has nobody to fear.
func lockShared(path string) (*os.File, error) {
	file, err := os.Open(filepath.Join(path, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unusable(path, "cannot be locked", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = held(path, holder(file))
	case err != nil:
		err = unusable(path, "cannot be locked", err)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
