package golden

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// broker is a process of some version on some directory.
type broker struct {
	testing.TB
	cmd   *exec.Cmd
	done  chan struct{}
	err   error
	kafka string
	said  *output
}

// output is what a process says.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// build makes the binary of today.
func build(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "outrigger")
	if out, err := exec.Command("go", "build", "-o", binary, "outrigger/cmd/outrigger").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// addresses are that many on which nobody listens.
func addresses(t testing.TB, n int) (all []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer func() { must(t, l.Close()) }()
		all = append(all, l.Addr().String())
	}
	return all
}

// start runs a broker on dir, and waits until it serves. Nothing expires while a directory is kept.
func start(t testing.TB, binary, dir string) *broker {
	t.Helper()
	free := addresses(t, 4)
	b := &broker{TB: t, kafka: free[0], said: &output{}, done: make(chan struct{})}
	args := []string{"start", "--stop-on-eof", "--log-format", "json"}
	for _, set := range []string{
		"node.id=1", "controller.quorum.voters=1@" + free[1], "log.dirs=" + dir,
		"listeners=PLAINTEXT://" + free[0], "nats.cluster.listen=" + free[1], "nats.client.listen=" + free[2],
		"http.listen=" + free[3], "nats.ops.password=ops", "nats.sys.password=admin",
		"wal.file.bytes=1048576", "wal.retained.bytes=16777216", "message.max.bytes=524288",
		"log.retention.ms=-1", "offsets.retention.minutes=5256000", "offsets.topic.num.partitions=2",
		"transaction.state.log.num.partitions=2", "transactional.id.expiration.ms=2147483647",
	} {
		args = append(args, "--set", set)
	}
	b.cmd = exec.Command(binary, args...)
	b.cmd.Stdout, b.cmd.Stderr = b.said, b.said
	_, err := b.cmd.StdinPipe()
	must(t, err)
	must(t, b.cmd.Start())
	go func() {
		b.err = b.cmd.Wait()
		close(b.done)
	}()
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill() // It has ended already unless the test has failed.
		<-b.done
		if t.Failed() {
			t.Log(b.said.String())
		}
	})
	b.eventually("the broker serves", func(ctx context.Context) error {
		select {
		case <-b.done:
			t.Fatalf("broker ended: %v\n%s", b.err, b.said.String())
		default:
		}
		admin, end := b.admin()
		defer end()
		_, err := admin.ListBrokers(ctx)
		return err
	})
	return b
}

// stop ends the broker by a signal, and waits for it.
func (b *broker) stop(signal syscall.Signal) {
	b.Helper()
	must(b, b.cmd.Process.Signal(signal))
	<-b.done
	if signal == syscall.SIGTERM && b.err != nil {
		b.Errorf("broker ended with %v after SIGTERM", b.err)
	}
}

func (b *broker) client(options ...kgo.Opt) (*kgo.Client, func()) {
	b.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.kafka), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(500_000)}, options...)...)
	must(b, err)
	return client, client.Close
}

func (b *broker) admin() (*kadm.Client, func()) {
	b.Helper()
	client, end := b.client()
	return kadm.NewClient(client), end
}

const patience = 30 * time.Second

// eventually tries until it works.
func (b *broker) eventually(what string, try func(context.Context) error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		once, end := context.WithTimeout(ctx, 3*time.Second)
		err := try(once)
		end()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			b.Fatalf("%s: %v", what, err)
		case <-ticker.C:
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// packs waits until the broker has drained files of its log.
func (b *broker) packs(dir string) {
	b.Helper()
	b.eventually("packs are written", func(context.Context) error {
		found, err := filepath.Glob(filepath.Join(dir, "wal", "*.pack"))
		if err == nil && len(found) < 2 {
			err = fmt.Errorf("%d packs", len(found))
		}
		return err
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
