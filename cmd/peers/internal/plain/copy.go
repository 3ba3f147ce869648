package plain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Rate is bytes in a time.
type Rate struct {
	Bytes int64
	Took  time.Duration
}

// MBPerSecond is in 10^6 bytes.
func (r Rate) MBPerSecond() float64 { return float64(r.Bytes) / 1e6 / r.Took.Seconds() }

const fillChunkBytes = 1 << 20

// Copy writes a file of so many bytes into dir, has the page cache dropped, and sends the file through
// a loopback connection as the kernel does it best (sendfile).
func Copy(ctx context.Context, dir string, bytes int64) (r Rate, err error) {
	file, err := filled(ctx, dir, bytes)
	if err != nil {
		return Rate{}, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if _, err := DropCaches(); err != nil {
		return Rate{}, err
	}
	return send(file)
}

// filled is a synced file, at its start.
func filled(ctx context.Context, dir string, bytes int64) (*os.File, error) {
	file, err := os.CreateTemp(dir, "outrigger-peers-copy-")
	if err != nil {
		return nil, fmt.Errorf("make a file: %w", err)
	}
	if err := fillFile(ctx, file, bytes); err != nil {
		return nil, errors.Join(fmt.Errorf("fill a file: %w", err), file.Close(), os.Remove(file.Name()))
	}
	return file, nil
}

func fillFile(ctx context.Context, file *os.File, bytes int64) error {
	chunk := make([]byte, fillChunkBytes)
	for i := range chunk {
		chunk[i] = byte(i * 31)
	}
	for left := bytes; left > 0; left -= int64(len(chunk)) {
		if _, err := file.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := file.Sync(); err != nil {
		return err
	}
	_, err := file.Seek(0, io.SeekStart)
	return err
}

// send copies what is left of a file to a reader on the other end of a connection.
func send(file *os.File) (r Rate, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Rate{}, fmt.Errorf("listen: %w", err)
	}
	defer func() { err = errors.Join(err, listener.Close()) }()
	type read struct {
		bytes int64
		err   error
	}
	reads := make(chan read, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			reads <- read{err: err}
			return
		}
		n, err := io.Copy(io.Discard, conn)
		reads <- read{bytes: n, err: errors.Join(err, conn.Close())}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return Rate{}, fmt.Errorf("connect: %w", err)
	}
	began := time.Now()
	sent, err := io.Copy(conn, file)
	if err = errors.Join(err, conn.Close()); err != nil {
		return Rate{}, fmt.Errorf("send a file: %w", err)
	}
	got := <-reads
	if got.err != nil || got.bytes != sent {
		return Rate{}, fmt.Errorf("receive a file: %d of %d bytes: %w", got.bytes, sent, got.err)
	}
	return Rate{Bytes: sent, Took: time.Since(began)}, nil
}

// dropAll asks for page cache, directory entries and inodes.
const dropAll = "3\n"

// DropCaches has the kernel forget what it keeps of files. Only root may: without, it reports false,
// and what follows is read from memory.
func DropCaches() (dropped bool, err error) {
	file, err := os.OpenFile("/proc/sys/vm/drop_caches", os.O_WRONLY, 0)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("drop the caches: %w", err)
	}
	_, err = file.WriteString(dropAll)
	if err = errors.Join(err, file.Close()); err != nil {
		return false, fmt.Errorf("drop the caches: %w", err)
	}
	return true, nil
}
