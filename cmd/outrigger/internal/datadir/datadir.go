package datadir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"outrigger/broker/topic"
)

const (
	metaName  = "meta.properties"
	lockName  = ".lock"
	cleanName = "clean-stop"
	directory = 0o755
	ordinary  = 0o644
	private   = 0o600
)

// The directories below a data directory that others own.
const (
	WAL      = "wal"
	Catalog  = "catalog"
	Metadata = "metadata"
)

// Dir is a data directory that this process holds.
type Dir struct {
	path     string
	lock     *os.File
	identity Identity
	clean    bool
	// wasLazy is Identity.Lazy as the last run left it.
	wasLazy bool
}

// Check says whether Open would refuse the directory now, and changes nothing. A directory that does
// not exist is fine if its nearest existing parent may be written.
func Check(path string, owner Owner) error {
	path = Absolute(path)
	names, err := Inspect(path)
	if err != nil {
		return err
	}
	if err := checkNames(path, names, owner); err != nil {
		return err
	}
	return CheckLock(path)
}

// Inspect lists a directory that this user may write. One that does not exist is empty, provided
// that it could be made. Anything else is a *Refusal.
func Inspect(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, checkParent(path)
	case errors.Is(err, syscall.ENOTDIR):
		return nil, unusable(path, "is a file, or lies below one", err)
	case err != nil:
		return nil, unusable(path, "cannot be read", err)
	}
	if err := syscall.Access(path, accessWrite); err != nil {
		return nil, unusable(path, "cannot be written", err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

// Open takes the directory, making it if there is none.
func Open(path string, owner Owner) (*Dir, error) {
	path = Absolute(path)
	if err := Check(path, owner); err != nil {
		return nil, err
	}
	lock, err := Lock(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path, lock: lock}
	if err := d.load(owner); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// load reads or writes the identity and takes the mark of a clean stop away, all under the lock.
func (d *Dir) load(owner Owner) error {
	names, err := Inspect(d.path)
	if err != nil {
		return err
	}
	if err := checkNames(d.path, names, owner); err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(d.path, metaName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.identity = Identity{Cluster: owner.Cluster, Node: owner.Node}
		if _, err := rand.Read(d.identity.Disk[:]); err != nil {
			return fmt.Errorf("draw disk id: %w", err)
		}
		d.identity.Log = d.identity.Disk
		return d.writeMeta()
	case err != nil:
		return unusable(d.path, "cannot be read", err)
	}
	if d.identity, err = decode(content); err != nil {
		return unreadable(d.path, err)
	}
	d.wasLazy = d.identity.Lazy
	if has, _ := summed(content); !has { // an earlier version wrote it
		if err := d.writeMeta(); err != nil {
			return err
		}
	}
	if err := d.takeCleanMark(); err != nil {
		return err
	}
	return d.SetCluster(owner.Cluster)
}

// takeCleanMark notes whether the last stop was clean, and makes sure that the mark cannot outlive
// the present run: a crash after this must not look like a clean stop.
func (d *Dir) takeCleanMark() error {
	err := os.Remove(filepath.Join(d.path, cleanName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return unusable(d.path, "cannot be written", err)
	}
	d.clean = true
	return syncDir(d.path)
}

// Path is the absolute path of the directory, or of an entry in it.
func (d *Dir) Path(elements ...string) string {
	return filepath.Join(append([]string{d.path}, elements...)...)
}

// Identity is who the directory belongs to.
func (d *Dir) Identity() Identity { return d.identity }

// CleanStop reports whether the process that held the directory before closed it cleanly.
func (d *Dir) CleanStop() bool { return d.clean }

// FlushedAlways reports whether the run before this one synced before it acknowledged: then nothing
// that it acknowledged can be missing, however it ended.
func (d *Dir) FlushedAlways() bool { return !d.wasLazy }

// SetFlush records whether this run syncs before it acknowledges. It must be called before anything is
// acknowledged: a later run must not be trusted with what this one promised.
func (d *Dir) SetFlush(always bool) error {
	if d.identity.Lazy == !always {
		return nil
	}
	d.identity.Lazy = !always
	return d.writeMeta()
}

// RenewLog draws another log id. It must return before anything is taken away from a write-ahead log
// that may have been acknowledged: under the new name the cluster trusts the log with nothing until it
// has caught up, and the old name never comes back. A crash after it and before the loss costs a
// catch-up and no more.
func (d *Dir) RenewLog() error {
	var fresh topic.DiskID
	if _, err := rand.Read(fresh[:]); err != nil {
		return fmt.Errorf("draw log id: %w", err)
	}
	old := d.identity.Log
	d.identity.Log = fresh
	if err := d.writeMeta(); err != nil {
		d.identity.Log = old
		return err
	}
	return nil
}

// SetCluster records the cluster's id once it is known. Another id than the recorded one is an
// error: the directory would change hands.
func (d *Dir) SetCluster(id string) error {
	if id == "" || id == d.identity.Cluster {
		return nil
	}
	if d.identity.Cluster != "" {
		return mismatch(d.path, d.identity, Owner{Cluster: id, Node: d.identity.Node})
	}
	d.identity.Cluster = id
	return d.writeMeta()
}

// Close gives the directory back. clean leaves the mark that says that everything written is
// durable; a crash just before it is a crash, and just after it there is nothing left to lose.
func (d *Dir) Close(clean bool) error {
	var err error
	if clean {
		err = writeFile(d.Path(cleanName), nil, ordinary)
	}
	return errors.Join(err, d.lock.Close())
}

// writeMeta replaces meta.properties in one step. A crash before the rename leaves the old one (or a
// directory that is still nobody's), one after it the new one.
func (d *Dir) writeMeta() error {
	return writeFile(d.Path(metaName), d.identity.encode(), ordinary)
}

// checkNames judges what lies in the directory. Only an empty one, or one of ours, will do: a
// directory that holds somebody else's files was named by mistake.
func checkNames(path string, names []string, owner Owner) error {
	if !slices.Contains(names, metaName) {
		if other := Foreign(names, metaName); other != "" {
			return &Refusal{Path: path, Problem: fmt.Sprintf("holds %s but no %s, so it is not Outrigger's", other, metaName),
				Remedy: "name an empty or a new directory"}
		}
		return nil
	}
	content, err := os.ReadFile(filepath.Join(path, metaName))
	if err != nil {
		return unusable(path, "cannot be read", err)
	}
	identity, err := decode(content)
	if err != nil {
		return unreadable(path, err)
	}
	if refusal := mismatch(path, identity, owner); refusal != nil {
		return refusal
	}
	return nil
}

// Foreign returns a name that does not belong into a directory which is still nobody's, or "". What
// we leave if we crash while writing the file main is fine, and so is what a fresh file system has at
// its root.
func Foreign(names []string, main string) string {
	for _, name := range names {
		if name != lockName && name != "lost+found" && !strings.HasPrefix(name, main) {
			return name
		}
	}
	return ""
}

// checkParent looks whether a directory that does not exist could be made.
func checkParent(path string) error {
	for parent := filepath.Dir(path); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		switch {
		case errors.Is(err, fs.ErrNotExist) && parent != filepath.Dir(parent):
			continue
		case err != nil:
			return unusable(path, "cannot be made", err)
		case !info.IsDir():
			return unusable(path, "cannot be made", fmt.Errorf("%s is not a directory", parent))
		}
		if err := syscall.Access(parent, accessWrite); err != nil {
			return unusable(path, "cannot be made", fmt.Errorf("write %s: %w", parent, err))
		}
		return nil
	}
}

// accessWrite is W_OK|X_OK of access(2): make and find entries.
const accessWrite = 0x2 | 0x1

// CheckLock asks whether somebody holds the directory's lock, by taking it for a moment. It opens
// the file without making one.
func CheckLock(path string) error {
	file, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return unusable(path, "cannot be locked", err)
	}
	return errors.Join(flock(path, file), file.Close())
}

// Lock makes the directory if there is none and holds its lock until the file is closed or the
// process ends, however it ends.
func Lock(path string) (*os.File, error) {
	if err := os.MkdirAll(path, directory); err != nil {
		return nil, unusable(path, "cannot be made", err)
	}
	// Without its name in the directory above, a loss of power takes all that is put into it.
	if err := syncDir(filepath.Dir(filepath.Clean(path))); err != nil {
		return nil, unusable(path, "cannot be made durable", err)
	}
	file, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, ordinary)
	if err != nil {
		return nil, unusable(path, "cannot be locked", err)
	}
	if err := flock(path, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := errors.Join(file.Truncate(0), writeAt(file, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, errors.Join(unusable(path, "cannot be written", err), file.Close())
	}
	return file, nil
}

// flock takes the lock, or says who has it.
func flock(path string, file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return held(path, holder(file))
	case err != nil:
		return unusable(path, "cannot be locked", err)
	}
	return nil
}

// holder reads the process id that the holder of the lock wrote; 0 if it has not yet.
func holder(file *os.File) int {
	var text [32]byte
	n, _ := file.ReadAt(text[:], 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return 0
	}
	return pid
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}

// WriteFile makes or replaces a file so that a crash leaves the old one or the new one, whole.
func WriteFile(path string, content []byte) error { return writeFile(path, content, ordinary) }

func writeFile(path string, content []byte, mode fs.FileMode) error {
	temporary := path + ".tmp"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// Absolute makes messages and other processes independent of the working directory.
func Absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}
