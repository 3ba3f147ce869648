package bus

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"outrigger/broker/uncleared"
)

const (
	// feedBufferBytes is what is read at once while it is not known what comes: several frames under a load of small
	// ones. Behind a frame of largeFrame only aheadOfLarge are, since of another large one each byte of them is copied.
	feedBufferBytes = 64 << 10
	largeFrame      = 128 << 10
	aheadOfLarge    = 4 << 10
	// fedBytesMax is the largest frame that is taken past nats.go; a larger one is left to it.
	fedBytesMax = 128 << 20
)

// errFeedStream: what a peer's server sent is not NATS' protocol, and where the next message begins is not known.
var errFeedStream = errors.New("stream of a feed is broken")

// feedStream is what a feed's connection receives. nats.go reads it and so sees everything but frames:
//
//	socket ─> INFO, PING, PONG, -ERR, other messages ─> nats.go
//	     └──> "MSG wal.… <sid> <bytes>" and its payload ─> deliver
//
// nats.go would read a frame in pieces of 32 KiB, and copy each into memory that it had filled with zeros before.
// Here the kernel writes it where it stays, in as many steps as the socket needs. It is for one goroutine, nats.go's
// reader.
type feedStream struct {
	socket socketReader
	// deliver is given each frame, and its bytes.
	deliver func(subject string, payload []byte)
	// came counts what the socket has brought, however little each time: a sign of life, also in the midst of a long frame.
	came atomic.Uint64

	// buffer[from:to] is what was read ahead.
	buffer   [feedBufferBytes]byte
	from, to int
	// pass is how many of the next bytes are for nats.go unseen; inLine says that after them the rest of a line is.
	pass   int
	inLine bool
	// subject is the last one, so that those that repeat cost no memory.
	subject string
}

// socketReader is a connection's receiving half.
type socketReader interface {
	// fill reads until b is full, or, if b is empty, until something has come, and puts what lay behind that into
	// spill, as far as it fits. It returns how much that is.
	fill(b, spill []byte) (spilled int, err error)
}

// Read is what nats.go calls.
func (s *feedStream) Read(p []byte) (int, error) {
	for {
		if s.pass > 0 && s.from < s.to {
			n := copy(p, s.buffer[s.from:min(s.to, s.from+s.pass)])
			s.from += n
			s.pass -= n
			return n, nil
		}
		if s.from == s.to || s.pass == 0 && !s.line() {
			if err := s.more(); err != nil {
				return 0, err
			}
			continue
		}
		if s.pass == 0 {
			if err := s.frame(); err != nil {
				return 0, err
			}
		}
	}
}

// more reads something behind what is in the buffer, which is not full.
func (s *feedStream) more() error {
	s.to = copy(s.buffer[:], s.buffer[s.from:s.to])
	s.from = 0
	n, err := s.socket.fill(nil, s.buffer[s.to:])
	s.to += n
	return err
}

// line looks at what begins at the start of the buffer. It reports whether that is known: a frame if pass is 0 then.
func (s *feedStream) line() (known bool) {
	ahead := s.buffer[s.from:s.to]
	end := bytes.IndexByte(ahead, '\n') + 1
	switch {
	case end == 0 && len(ahead) < len(s.buffer):
		return false
	case end == 0:
		// INFO may be longer than the buffer; no line that announces a payload is.
		s.pass, s.inLine = len(ahead), true
	case s.inLine:
		s.pass, s.inLine = end, false
	default:
		if _, _, ok := frameLine(ahead[:end]); !ok {
			s.pass = end + payloadBehind(ahead[:end])
		}
	}
	return true
}

// frame takes the frame whose line begins at the start of the buffer, and hands it on.
func (s *feedStream) frame() error {
	ahead := s.buffer[s.from:s.to]
	end := bytes.IndexByte(ahead, '\n') + 1
	subject, size, _ := frameLine(ahead[:end])
	if string(subject) != s.subject {
		s.subject = string(subject)
	}
	s.from += end
	// On an error payload is dropped: nobody has seen it.
	payload := uncleared.Bytes(size)
	n := copy(payload, s.buffer[s.from:s.to])
	if s.from += n; n < size {
		ahead := s.buffer[:]
		if size >= largeFrame {
			ahead = ahead[:aheadOfLarge]
		}
		spilled, err := s.socket.fill(payload[n:], ahead)
		if err != nil {
			return fmt.Errorf("read frame, %d bytes: %w", size, err)
		}
		s.from, s.to = 0, spilled
	}
	for s.to-s.from < len("\r\n") {
		if err := s.more(); err != nil {
			return fmt.Errorf("read end of frame: %w", err)
		}
	}
	if s.buffer[s.from] != '\r' || s.buffer[s.from+1] != '\n' {
		return fmt.Errorf("%w: frame of %d bytes ends in %q", errFeedStream, size, s.buffer[s.from:s.from+2])
	}
	s.from += len("\r\n")
	s.deliver(s.subject, payload)
	return nil
}

// frameLine reads "MSG <subject> <sid> <bytes>\r\n" if the subject is one of frames.
func frameLine(line []byte) (subject []byte, size int, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("MSG wal."))
	if !ok {
		return nil, 0, false
	}
	rest, ok = bytes.CutSuffix(rest, []byte("\r\n"))
	space := bytes.IndexByte(rest, ' ')
	if !ok || space < 0 {
		return nil, 0, false
	}
	subject = line[len("MSG "):][:len("wal.")+space]
	_, number, ok := bytes.Cut(rest[space+1:], []byte(" "))
	if !ok {
		return nil, 0, false
	}
	// With a reply subject, which frames have not, this is no number.
	size, err := strconv.Atoi(string(number))
	return subject, size, err == nil && size >= 0 && size <= fedBytesMax
}

// payloadBehind is how many bytes belong to a line that nats.go gets: of a message they must not be taken for lines.
func payloadBehind(line []byte) int {
	if !bytes.HasPrefix(line, []byte("MSG ")) && !bytes.HasPrefix(line, []byte("HMSG ")) {
		return 0
	}
	fields := bytes.Fields(line)
	size, err := strconv.ParseInt(string(fields[len(fields)-1]), 10, 32)
	if err != nil || size < 0 {
		return 0 // nats.go will refuse the line
	}
	return int(size) + len("\r\n")
}
