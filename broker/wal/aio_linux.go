package wal

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
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
	// refused says that the kernel, or who confines us, does not let us.
	refused atomic.Bool
}

func takeRing() *ring {
	rings.Lock()
	defer rings.Unlock()
	if n := len(rings.free); n > 0 {
		r := rings.free[n-1]
		rings.free = rings.free[:n-1]
		return r
	}
	return newRing()
}

func giveRing(r *ring) {
	rings.Lock()
	defer rings.Unlock()
	rings.free = append(rings.free, r)
}

// newRing returns nil where there is none to be had.
func newRing() *ring {
	r := &ring{}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&r.context)), 0); errno != 0 {
		return nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, r.context, 0, 0)
		return nil
	}
	r.eventFD, r.event = fd, os.NewFile(uintptr(fd), "eventfd")
	return r
}

// errRefused means that nothing was written, and that another way may do.
var errRefused = errors.New("asynchronous writes are refused")

// write returns how much of b was written and is on stable storage.
func (r *ring) write(f *os.File, b []byte, offset int64) (int, error) {
	var pinned runtime.Pinner
	defer pinned.Unpin()
	pinned.Pin(unsafe.SliceData(b))
	pinned.Pin(r)
	r.control = iocb{flags: unix.RWF_DSYNC, opcode: opcodeWrite, fd: uint32(f.Fd()),
		buffer: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), bytes: uint64(len(b)), offset: offset,
		resultFlags: flagResultEvent, resultEventFD: uint32(r.eventFD)}
	control := &r.control
	for {
		_, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, r.context, 1, uintptr(unsafe.Pointer(&control)))
		switch errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.EAGAIN, unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.EPERM:
			return 0, errRefused
		default:
			return 0, errno
		}
		break
	}
	// Whatever the read says, the buffer is the kernel's until the event is taken: that waits if need be.
	var count [8]byte
	_, waited := r.event.Read(count[:])
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
		case waited != nil:
			return 0, waited // the ring is of no use any more
		}
		return int(event.result), nil
	}
}

// aioWorks says where struct iocb is as we have it.
var aioWorks = func() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}()

// writeDurable writes and syncs what it writes, without a thread that waits, where that can be.
func (f *osFile) writeDurable(b []byte, offset int64) error {
	if !f.direct || !aioWorks || len(b) == 0 || rings.refused.Load() {
		return f.writeAndSync(b, offset)
	}
	r := takeRing()
	if r == nil {
		rings.refused.Store(true)
		return f.writeAndSync(b, offset)
	}
	n, err := r.write(f.File, b, offset)
	switch {
	case errors.Is(err, errRefused):
		rings.refused.Store(true)
		giveRing(r)
		return f.writeAndSync(b, offset)
	case err != nil:
		return mapSpace(&os.PathError{Op: "write and sync", Path: f.Name(), Err: err}) // the ring is left alone
	}
	giveRing(r)
	if n < len(b) {
		return f.writeAndSync(b[n:], offset+int64(n))
	}
	return nil
}
