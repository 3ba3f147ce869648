package waltest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sort"
	"sync"

	"outrigger/broker/wal"
)

// Verb is an operation of a file system.
type Verb string

// The operations. Reads are told apart because they change nothing.
const (
	Create   Verb = "create"
	Open     Verb = "open"
	Rename   Verb = "rename"
	Remove   Verb = "remove"
	Shrink   Verb = "shrink"
	List     Verb = "list"
	SyncDir  Verb = "sync-dir"
	Read     Verb = "read"
	Write    Verb = "write"
	Sync     Verb = "sync"
	Allocate Verb = "allocate"
)

// Op is one operation, as Intercept sees it.
type Op struct {
	Verb   Verb
	Name   string
	Offset int64
	Bytes  int64
}

// ErrCrashed: the file system died while it was in use.
var ErrCrashed = errors.New("file system has crashed")

// FS is a file system in memory. It satisfies wal.FS. All methods may be called concurrently.
type FS struct {
	mu        sync.Mutex
	intercept func(Op) error
	// names as they are, and as they would be found if nothing of pending survived.
	names, durable map[string]*inode
	pending        []change
	locks          map[string]bool
	// dirs holds the directories that were made, true if their names are durable.
	dirs map[string]bool
	dead bool
	// crashIn counts changes until the FS dies; negative for never.
	crashIn  int
	changes  int
	capacity int64
	noDirect bool
}

// change of a name that no SyncDir has made durable.
type change struct {
	verb     Verb
	from, to string
	inode    *inode
}

// New returns an empty file system without a limit.
func New() *FS {
	return &FS{
		names:   make(map[string]*inode),
		durable: make(map[string]*inode),
		locks:   make(map[string]bool),
		dirs:    make(map[string]bool),
		crashIn: -1,
	}
}

// Intercept has f called before each operation, without locks held. An error of f is the operation's
// and nothing else happens, except that a Sync that fails forgets what was dirty: the pages are clean
// then and the data is not on disk. An *Amiss lets a write go wrong unnoticed. f may block.
func (f *FS) Intercept(fn func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.intercept = fn
}

// SetCapacity bounds the size of all files together; zero for no bound.
func (f *FS) SetCapacity(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = bytes
}

// RefuseDirect makes all files buffered.
func (f *FS) RefuseDirect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noDirect = true
}

// CrashAfter lets the FS die at the n-th change from now (writes, syncs, changes of names). A write
// or change of name that it dies at may still survive.
func (f *FS) CrashAfter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashIn = n
}

// Changes counts the changes so far, those that CrashAfter counts: a test that crashes at each of them
// runs once without a crash, to learn how many there are.
func (f *FS) Changes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changes
}

// Crash returns what a machine finds that lost power now.
func (f *FS) Crash(random *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	next := New()
	next.capacity, next.noDirect = f.capacity, f.noDirect
	names := make(map[string]*inode)
	for name, node := range f.durable {
		names[name] = node
	}
	keep := survivors(random)
	for _, c := range f.pending {
		if keep() {
			c.apply(names)
		}
	}
	f.loseDirsLocked(next, names, keep)
	next.adopt(names, func(node *inode) *inode { return node.crash(random) })
	return next
}

// Restart returns what a process finds that was killed and started again. What a failed sync forgot is
// not among it: reads go to the device, or past pages that are clean.
func (f *FS) Restart() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	for _, node := range f.names {
		node.revert()
	}
	return f.cloneLocked()
}

// Clone returns a file system of its own with the same content, to damage and to look at.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cloneLocked()
}

func (f *FS) cloneLocked() *FS {
	next := New()
	next.capacity, next.noDirect = f.capacity, f.noDirect
	maps.Copy(next.dirs, f.dirs)
	next.adopt(f.durable, (*inode).clone)
	// One inode may have a name that is durable and one that is not.
	clones := make(map[*inode]*inode)
	for name, node := range f.durable {
		clones[node] = next.durable[name]
	}
	next.names = make(map[string]*inode)
	for name, node := range f.names {
		if clones[node] == nil {
			clones[node] = node.clone()
		}
		next.names[name] = clones[node]
	}
	for _, c := range f.pending {
		if clones[c.inode] == nil {
			clones[c.inode] = c.inode.clone()
		}
		c.inode = clones[c.inode]
		next.pending = append(next.pending, c)
	}
	return next
}

// adopt fills an empty FS, in the order of names so that a seed decides everything.
func (f *FS) adopt(names map[string]*inode, clone func(*inode) *inode) {
	for _, name := range sortedNames(names) {
		node := clone(names[name])
		node.name = name
		f.names[name], f.durable[name] = node, node
	}
}

func sortedNames(names map[string]*inode) []string {
	var list []string
	for name := range names {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

// survivors draws the way in which a crash treats what was not synced: all lost, all there, or a coin
// for each.
func survivors(random *rand.Rand) func() bool {
	switch random.IntN(4) {
	case 0:
		return func() bool { return false }
	case 1:
		return func() bool { return true }
	default:
		return func() bool { return random.IntN(2) == 0 }
	}
}

// name that tells the directory of the change. A move to another directory is of that one, and is
// durable, or lost, as a whole: a file never ends in both or in none.
func (c change) name() string {
	if c.to == "" {
		return c.from
	}
	return c.to
}

func (c change) apply(names map[string]*inode) {
	switch c.verb {
	case Create:
		names[c.to] = c.inode
	case Remove:
		delete(names, c.from)
	case Rename:
		if names[c.from] == c.inode {
			delete(names, c.from)
		}
		names[c.to] = c.inode
	}
}

// begin runs the interceptor and then, for a change, the countdown. last says that this operation is
// the one at which the FS dies.
func (f *FS) begin(op Op) (last bool, err error) {
	f.mu.Lock()
	intercept, dead := f.intercept, f.dead
	f.mu.Unlock()
	if dead {
		return false, ErrCrashed
	}
	var amiss error
	if intercept != nil {
		err := intercept(op)
		if _, ok := err.(*Amiss); err != nil && (!ok || op.Verb != Write) { //nolint:errorlint // ours
			return false, err
		}
		amiss = err
	}
	if op.Verb == Read || op.Verb == List || op.Verb == Open {
		return false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead || f.crashIn == 0 {
		return false, ErrCrashed
	}
	f.changes++
	if f.crashIn > 0 {
		f.crashIn--
		last = f.crashIn == 0
		f.dead = last
	}
	return last, amiss
}

// rename records a change of a name.
func (f *FS) rename(op Op, c change) error {
	last, err := f.begin(op)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.inode == nil {
		c.inode = f.names[c.from]
	}
	if c.inode == nil {
		return fmt.Errorf("%s %s: %w", c.verb, c.from, fs.ErrNotExist)
	}
	if c.verb == Create && f.names[c.to] != nil {
		return fmt.Errorf("%s %s: %w", c.verb, c.to, fs.ErrExist)
	}
	c.apply(f.names)
	if c.to != "" {
		c.inode.name = c.to
	}
	f.pending = append(f.pending, c)
	if last {
		return ErrCrashed
	}
	return nil
}

// loseDirsLocked takes from names what lies in directories that do not survive.
func (f *FS) loseDirsLocked(next *FS, names map[string]*inode, keep func() bool) {
	for _, dir := range slices.Sorted(maps.Keys(f.dirs)) {
		if f.dirs[dir] || keep() {
			next.dirs[dir] = true
			continue
		}
		maps.DeleteFunc(names, func(name string, _ *inode) bool { return filepath.Dir(name) == dir })
	}
}

// MakeDir makes dir; all above it are there. A dir that is never made is there too.
func (f *FS) MakeDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return ErrCrashed
	}
	if dir = filepath.Clean(dir); !f.dirs[dir] {
		f.dirs[dir] = false
	}
	return nil
}

// Create makes a new file.
func (f *FS) Create(name string, direct bool) (wal.File, error) {
	node := &inode{name: name}
	if err := f.rename(Op{Verb: Create, Name: name}, change{Create, "", name, node}); err != nil {
		return nil, err
	}
	return &file{fs: f, node: node, direct: direct && !f.noDirect}, nil
}

// Open opens an existing file.
func (f *FS) Open(name string, direct bool) (wal.File, error) {
	if _, err := f.begin(Op{Verb: Open, Name: name}); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.names[name]
	if node == nil {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return &file{fs: f, node: node, direct: direct && !f.noDirect}, nil
}

// Rename gives a file another name, which it takes from whatever had it.
func (f *FS) Rename(from, to string) error {
	return f.rename(Op{Verb: Rename, Name: to}, change{Rename, from, to, nil})
}

// Remove takes a file's name.
func (f *FS) Remove(name string) error {
	return f.rename(Op{Verb: Remove, Name: name}, change{Remove, name, "", nil})
}

// Shrink gives up the end of a file. As with a change of a name, nobody knows what a crash makes of that before a sync.
func (f *FS) Shrink(name string, bytes int64) error {
	last, err := f.begin(Op{Verb: Shrink, Name: name, Bytes: bytes})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.names[name]
	if node == nil {
		return fmt.Errorf("shrink %s: %w", name, fs.ErrNotExist)
	}
	node.shrink(bytes)
	if last {
		return ErrCrashed
	}
	return nil
}

// List returns the base names in dir, sorted.
func (f *FS) List(dir string) ([]string, error) {
	if _, err := f.begin(Op{Verb: List, Name: dir}); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, name := range sortedNames(f.names) {
		if filepath.Dir(name) == filepath.Clean(dir) {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

// Names returns the full names of all files, sorted.
func (f *FS) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return sortedNames(f.names)
}

// SyncDir makes the names in dir durable.
func (f *FS) SyncDir(dir string) error {
	last, err := f.begin(Op{Verb: SyncDir, Name: dir})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if last {
		return ErrCrashed
	}
	var rest []change
	for _, c := range f.pending {
		if filepath.Dir(c.name()) == filepath.Clean(dir) {
			c.apply(f.durable)
		} else {
			rest = append(rest, c)
		}
	}
	f.pending = rest
	for made := range f.dirs {
		if filepath.Dir(made) == filepath.Clean(dir) {
			f.dirs[made] = true
		}
	}
	return nil
}

// Lock takes a name until it is closed; a crash or restart frees it.
func (f *FS) Lock(name string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, ErrCrashed
	}
	if f.locks[name] {
		return nil, &wal.LockedError{PID: 1}
	}
	f.locks[name] = true
	return &lock{fs: f, name: name}, nil
}

type lock struct {
	fs   *FS
	name string
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.name)
	return nil
}

// Damage changes what is durable under a name, and what is read: fn gets the content and returns what
// takes its place.
func (f *FS) Damage(name string, fn func([]byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.names[name]
	node.replace(fn(node.content()))
}

// Exists reports whether there is a file of that name.
func (f *FS) Exists(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.names[name] != nil
}

// Delete takes a file away for good.
func (f *FS) Delete(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.names, name)
	delete(f.durable, name)
}

// Content returns a copy of what reads see.
func (f *FS) Content(name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.names[name].content()
}
