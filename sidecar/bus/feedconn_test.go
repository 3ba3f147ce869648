package bus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// pieces is a socket that brings a stream in pieces, and spoils what it was not asked to fill.
type pieces struct {
	stream []byte
	next   func() int
}

func (p *pieces) fill(b, spill []byte) (int, error) {
	whole := len(b) == 0
	for {
		n := min(p.next(), len(p.stream), len(b)+len(spill))
		if n == 0 {
			return 0, io.ErrUnexpectedEOF
		}
		into := copy(b, p.stream[:n])
		spilled := copy(spill, p.stream[into:n])
		p.stream, b = p.stream[n:], b[into:]
		if spilled > 0 || len(b) == 0 && !whole {
			return spilled, nil
		}
	}
}

// taken is what a stream gave, frames as "subject payload" and the rest as it was passed on.
type taken struct {
	frames []string
	rest   []byte
	err    error
}

func take(stream []byte, next func() int, readBytes int) taken {
	var got taken
	s := &feedStream{socket: &pieces{stream: stream, next: next}}
	var owned [][]byte
	var subjects []string
	s.deliver = func(subject string, payload []byte) {
		owned, subjects = append(owned, payload), append(subjects, subject)
		// Whoever gets a frame may do with it as it likes: what comes later lies elsewhere.
		got.frames = append(got.frames, subject+" "+string(payload))
		for i := range payload {
			payload[i] = 0xdb
		}
	}
	p := make([]byte, readBytes)
	for {
		n, err := s.Read(p)
		got.rest = append(got.rest, p[:n]...)
		if err != nil {
			got.err = err
			break
		}
	}
	for i, payload := range owned {
		if bytes.Count(payload, []byte{0xdb}) != len(payload) {
			got.err = fmt.Errorf("frame %d of %s was written to after it was handed on", i, subjects[i])
		}
	}
	return got
}

// However the stream is cut, frames come whole and in order, and nats.go sees all of the rest and nothing else: also
// lines longer than the buffer, and messages that hold what looks like a frame.
func TestFeedTakesFramesAndPassesOnTheRest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	body := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return string(b)
	}
	var stream, rest strings.Builder
	var frames []string
	pass := func(text string) { stream.WriteString(text); rest.WriteString(text) }
	frame := func(subject, payload string) {
		fmt.Fprintf(&stream, "MSG %s 1 %d\r\n%s\r\n", subject, len(payload), payload)
		frames = append(frames, subject+" "+payload)
	}
	pass("INFO {\"connect_urls\":\"" + strings.Repeat("x", 3*feedBufferBytes) + "\"}\r\n")
	frame("wal.from.1.2", "")
	frame("wal.from.1.2", "a")
	pass("PING\r\n")
	pass("MSG other 7 17\r\nMSG wal.1 1 1\r\nx\r\n\r\n")
	pass("HMSG wal.h 7 12 15\r\nNATS/1.0\r\n\r\nabc\r\n")
	pass("MSG wal.x 7 reply 3\r\nabc\r\n")
	for _, n := range []int{1023, feedBufferBytes - 20, feedBufferBytes, largeFrame, 300_000, 1 << 20, 17} {
		frame(fmt.Sprintf("wal.from.1.%d", n), body(n))
		frame("wal.from.1.2", body(random.IntN(20000)))
		pass("PONG\r\n")
	}
	pass("-ERR 'bad'\r\n")
	for name, next := range map[string]func() int{
		"byte by byte":    func() int { return 1 },
		"as much as fits": func() int { return 1 << 30 },
		"at random":       func() int { return 1 + random.IntN(1<<random.IntN(20)) },
	} {
		for _, readBytes := range []int{1, 100, 32 << 10} {
			got := take([]byte(stream.String()), next, readBytes)
			if !errors.Is(got.err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: got %v, want the end of the stream", name, got.err)
			}
			if string(got.rest) != rest.String() {
				t.Errorf("%s: %d bytes passed on are not the %d that are for nats.go", name, len(got.rest), rest.Len())
			}
			if len(got.frames) != len(frames) {
				t.Fatalf("%s: got %d frames, want %d", name, len(got.frames), len(frames))
			}
			for i, want := range frames {
				if got.frames[i] != want {
					t.Errorf("%s: frame %d of %d bytes is not the %d bytes that were sent", name, i, len(got.frames[i]), len(want))
				}
			}
		}
	}
}

func TestFeedEndsAtWhatIsNoFrame(t *testing.T) {
	got := take([]byte("MSG wal.1 1 3\r\nabcdMSG wal.1 1 3\r\nabc\r\n"), func() int { return 1 << 30 }, 100)
	if !errors.Is(got.err, errFeedStream) || len(got.frames) != 0 {
		t.Errorf("got %v and %q, want a broken stream and no frame", got.err, got.frames)
	}
}

var longNumber = regexp.MustCompile("[0-9]{7}")

// However a stream is cut, the same comes out of it, and nothing is lost or doubled.
func FuzzFeedStream(f *testing.F) {
	f.Add([]byte("INFO {}\r\nMSG wal.1 1 3\r\nabc\r\nPING\r\nMSG x 1 1\r\na\r\n"), uint64(1))
	f.Add([]byte("MSG wal.1 1 -3\r\nabc\r\nMSG  \r\n"), uint64(2))
	f.Add([]byte("MSG wal. 1 00\r\n\r\nHMSG wal.1 1 2 99999999999\r\n"), uint64(3))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		if len(stream) > 1<<16 || longNumber.Match(stream) {
			t.Skip("frames of megabytes are slow")
		}
		random := rand.New(rand.NewPCG(seed, 0))
		whole := take(stream, func() int { return 1 << 30 }, 1<<16)
		cut := take(stream, func() int { return 1 + random.IntN(9) }, 1+random.IntN(9))
		if !bytes.Equal(whole.rest, cut.rest) || strings.Join(whole.frames, "|") != strings.Join(cut.frames, "|") {
			t.Errorf("got %q and %q in pieces, %q and %q at once", cut.frames, cut.rest, whole.frames, whole.rest)
		}
	})
}

// A socket that waits for all of a frame is woken by its last bytes, however they come, and by an end in its midst.
func TestSocketWakesForTheLastBytes(t *testing.T) {
	near, far := tcpPair(t)
	s, err := newSocket(near, &atomic.Uint64{})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 60 {
		size := 1 + random.IntN(1<<(4+random.IntN(17)))
		want := bytes.Repeat([]byte{byte(round + 1)}, size+3)
		go func() {
			left := want
			for len(left) > 0 {
				n := min(len(left), 1+len(want)/(1+round%7))
				if _, err := far.Write(left[:n]); err != nil {
					return
				}
				left = left[n:]
				runtime.Gosched() // to the reader, so that it has to wait
			}
		}()
		got, spill := make([]byte, size), make([]byte, 3)
		n, err := s.fill(got, spill)
		for err == nil && n < 3 {
			var more int
			more, err = s.fill(nil, spill[n:])
			n += more
		}
		if got = append(got, spill...); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: got %v, or other bytes than the %d that were sent", round, err, len(want))
		}
	}
	go func() {
		_, _ = far.Write(make([]byte, 1000))
		_ = far.Close()
	}()
	if _, err := s.fill(make([]byte, 1<<20), make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want the end", err)
	}
}

// What has come of a long frame shows that the peer is there, before all of it has.
func TestPartOfALongFrameIsASignOfLife(t *testing.T) {
	near, far := tcpPair(t)
	var came atomic.Uint64
	s, err := newSocket(near, &came)
	if err != nil {
		t.Fatal(err)
	}
	filled := make(chan error, 1)
	go func() {
		_, err := s.fill(make([]byte, 1<<20), make([]byte, 1))
		filled <- err
	}()
	for range 2 {
		before := came.Load()
		if _, err := far.Write(make([]byte, 1<<19)); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); came.Load() == before; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("half a frame is no sign of life")
			}
		}
	}
	if err := <-filled; err != nil {
		t.Error(err)
	}
}

// What is still read of a feed that is over goes to nobody.
func TestNothingIsDeliveredOnceAFeedIsOver(t *testing.T) {
	inbox, open := NewInbox(2), &OpenFeed{}
	for _, over := range []bool{false, true} {
		open.over.Store(over)
		open.take(inbox, "wal.1", []byte("frame"))
	}
	if got := len(inbox.messages); got != 1 {
		t.Errorf("got %d frames, want the one from before the end", got)
	}
}

// tcpPair is a connection with itself, whose reads end in time.
func tcpPair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	dialed, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	near, far = dialed.(*net.TCPConn), accepted.(*net.TCPConn)
	t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	if err := near.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return near, far
}
