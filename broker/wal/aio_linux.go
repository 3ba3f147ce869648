package wal

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"outrigger/broker/fsname"
)

// A thread that waits in a system call for the device makes the runtime start another one in its place, and look every
// 20 microseconds whether it should: measured, a fifth of what a broker with many small groups costs. So a group is
// handed to the kernel (io_submit, with RWF_DSYNC: the write and what fdatasync would do for it), and its goroutine
// waits for an eventfd, as others do for a socket.
//
//	io_submit(iocb{pwrite, RWF_DSYNC, eventfd}) ──> read(eventfd) parks ──> io_getevents ──> bytes or errno

// ring is a context of the kernel with one write in flight at most.
type ring struct {
	context uintptr
	event   *os.File
	eventFD int
	control iocb
	// spent: what its eventfd says is not to be relied on any more.
	spent bool
}

// iocb is struct iocb of linux/aio_abi.h, of a little-endian machine (see aioWorks).
type iocb struct {
	_             uint64 // aio_data
	_             uint32 // aio_key
	flags         uint32 // aio_rw_flags
	opcode        uint16
	_             int16 // aio_reqprio
	fd            uint32
	buffer        uint64
	bytes         uint64
	offset        int64
	_             uint64
	resultFlags   uint32
	resultEventFD uint32
}

// ioEvent is struct io_event.
type ioEvent struct {
	_, _   uint64 // data, obj
	result int64  // bytes, or an errno below zero
	_      int64  // res2
}

const (
	opcodeWrite     = 1 // IOCB_CMD_PWRITE
	flagResultEvent = 1 // IOCB_FLAG_RESFD
)

// rings are contexts that nobody uses now: as many as files were ever written at once. They stay, since to end one
// takes the kernel milliseconds.
var rings struct {
	sync.Mutex
	free []*ring
	// refused is why the kernel, or who confines us, does not let us; nil if it does.
	refused atomic.Pointer[asyncRefusal]
}

// asyncRefusal is an error that wraps errRefused.
type asyncRefusal struct{ error }

func takeRing() (*ring, error) {
	rings.Lock()
	defer rings.Unlock()
	if n := len(rings.free); n > 0 {
		r := rings.free[n-1]
		rings.free = rings.free[:n-1]
		return r, nil
	}
	return newRing()
}

// giveRing is for a ring with nothing in flight.
func giveRing(r *ring) {
	if r.spent {
		_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, r.context, 0, 0)
		_ = r.event.Close()
		return
	}
	rings.Lock()
	defer rings.Unlock()
	rings.free = append(rings.free, r)
}

// newRing returns an error that wraps errRefused where there is none to be had.
func newRing() (*ring, error) {
	r := &ring{}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&r.context)), 0); errno != 0 {
		return nil, fmt.Errorf("%w: io_setup: %w", errRefused, errno)
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, r.context, 0, 0)
		return nil, fmt.Errorf("%w: eventfd: %w", errRefused, err)
	}
	r.eventFD, r.event = fd, os.NewFile(uintptr(fd), "eventfd")
	return r, nil
}

// Nothing was written, and another way may do: always, or this time.
var (
	errRefused = errors.New("asynchronous writes are refused")
	errBusy    = errors.New("no asynchronous write now")
)

// submit hands a write to the kernel. b and r must stay where they are until its event is taken.
func (r *ring) submit(f *os.File, b []byte, offset int64) error {
	r.control = iocb{flags: unix.RWF_DSYNC, opcode: opcodeWrite, fd: uint32(f.Fd()),
		buffer: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), bytes: uint64(len(b)), offset: offset,
		resultFlags: flagResultEvent, resultEventFD: uint32(r.eventFD)}
	control := &r.control
	for {
		n, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, r.context, 1, uintptr(unsafe.Pointer(&control)))
		switch errno {
		case 0:
			if n == 1 {
				return nil
			}
			return errBusy
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOMEM:
			return errBusy
		case unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.EPERM:
			return fmt.Errorf("%w: io_submit: %w", errRefused, errno)
		default:
			return errno
		}
	}
}

// write returns how much of b was written and is on stable storage.
func (r *ring) write(f *os.File, b []byte, offset int64) (int, error) {
	var pinned runtime.Pinner
	defer pinned.Unpin()
	pinned.Pin(unsafe.SliceData(b))
	pinned.Pin(r)
	if err := r.submit(f, b, offset); err != nil {
		return 0, err
	}
	// Whatever the read says, the buffer is the kernel's until the event is taken: that waits if need be.
	var count [8]byte
	if _, err := r.event.Read(count[:]); err != nil {
		r.spent = true // the count is there still
	}
	for {
		var event ioEvent
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, r.context, 1, 1, uintptr(unsafe.Pointer(&event)), 0, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0 || n != 1:
			panicf("the kernel does not give back a write to %s: %v, %d events", f.Name(), errno, n)
		case event.result < 0:
			return 0, syscall.Errno(-event.result)
		}
		return int(event.result), nil
	}
}

// aioWorks says where struct iocb is as we have it.
var aioWorks = func() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}()

// syncsAsync says whether f lies where RWF_DSYNC is known to be kept by a write that completes later. btrfs loses the
// sync of such a write, silently, from Linux 5.16 (and where that was carried back to) until commit 8184620ae212 in 6.1;
// what stacks, or goes to another machine or process, promises only what is below it.
func syncsAsync(f *os.File) bool {
	var fs unix.Statfs_t
	return aioWorks && unix.Fstatfs(int(f.Fd()), &fs) == nil && trusted(uint32(fs.Type))
}

func trusted(magic uint32) bool {
	return magic == unix.EXT4_SUPER_MAGIC || magic == unix.XFS_SUPER_MAGIC
}

// WriteDurable leaves the sync to the kernel, without a thread that waits, where that can be.
func (f *osFile) WriteDurable(b []byte, offset int64) (waited bool, err error) {
	if !f.async || len(b) == 0 || rings.refused.Load() != nil {
		return true, f.writeAndSync(b, offset)
	}
	n, err := f.writeAsync(b, offset)
	switch {
	case errors.Is(err, errRefused):
		rings.refused.Store(&asyncRefusal{err})
		return true, f.writeAndSync(b, offset)
	case errors.Is(err, errBusy):
		return true, f.writeAndSync(b, offset)
	case err != nil:
		return false, mapSpace(&os.PathError{Op: "write and sync", Path: f.Name(), Err: err})
	case n < len(b):
		return true, f.writeAndSync(b[n:], offset+int64(n))
	}
	return false, nil
}

func (f *osFile) writeAsync(b []byte, offset int64) (int, error) {
	r, err := takeRing()
	if err != nil {
		return 0, err
	}
	n, err := r.write(f.File, b, offset)
	giveRing(r)
	return n, err
}

// waits tells why WriteDurable makes a thread wait, "" if it does not, and what kind of file system f lies on. direct is
// whether it takes direct writes, which it may refuse although it was opened for them. The first block of f is written.
func (f *osFile) waits(direct bool) (reason, fileSystem string) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return "the file system is not known: " + err.Error(), ""
	}
	fileSystem = fsname.Of(uint32(fs.Type))
	switch {
	case !direct:
		return "no direct I/O", fileSystem
	case !aioWorks:
		return "not for this kind of machine", fileSystem
	case !f.async:
		return "this file system is not known to sync what is written asynchronously", fileSystem
	}
	// What a write may go wrong by otherwise, the first group meets, too.
	_, _ = f.WriteDurable(alignedBytes(blockBytes), 0)
	if refused := rings.refused.Load(); refused != nil {
		return refused.Error(), fileSystem
	}
	return "", fileSystem
}
