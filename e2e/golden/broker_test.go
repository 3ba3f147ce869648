package golden

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
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
	"github.com/twmb/franz-go/pkg/kmsg"
)

// broker is a process of some version on some directory.
type broker struct {
	testing.TB
	cmd   *exec.Cmd
	done  chan struct{}
	err   error
	kafka string
	http  string
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
func start(t testing.TB, binary, dir string, sets ...string) *broker {
	t.Helper()
	free := addresses(t, 4)
	b := &broker{TB: t, kafka: free[0], http: free[3], said: &output{}, done: make(chan struct{})}
	args := []string{"start", "--stop-on-eof", "--log-format", "json"}
	for _, set := range append([]string{
		"node.id=1", "controller.quorum.voters=1@" + free[1], "log.dirs=" + dir,
		"listeners=PLAINTEXT://" + free[0], "nats.cluster.listen=" + free[1], "nats.client.listen=" + free[2],
		"http.listen=" + free[3], "nats.ops.password=ops", "nats.sys.password=admin",
		"wal.file.bytes=1048576", "wal.retained.bytes=16777216", "message.max.bytes=524288",
		"log.retention.ms=-1", "offsets.retention.minutes=5256000", "offsets.topic.num.partitions=2",
		"transaction.state.log.num.partitions=2", "transactional.id.expiration.ms=2147483647",
	}, sets...) {
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

// format is the format level that is finalized, and the newest that the broker speaks; 0 while it tells none.
func (b *broker) format() (finalized, newest int16) {
	b.Helper()
	const name = "outrigger.format"
	client, end := b.client()
	defer end()
	q := kmsg.NewPtrApiVersionsRequest()
	q.ClientSoftwareName, q.ClientSoftwareVersion = "golden", "1"
	b.eventually("the broker tells its format levels", func(ctx context.Context) error {
		r, err := q.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		for _, f := range r.SupportedFeatures {
			if f.Name == name {
				newest = f.MaxVersion
			}
		}
		for _, f := range r.FinalizedFeatures {
			if f.Name == name {
				finalized = f.MaxVersionLevel
			}
		}
		return nil
	})
	return finalized, newest
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

// adopted is how many files of its log the broker has adopted since it runs.
func (b *broker) adopted() int { return b.metric("outrigger_adopted_files_total") }

// metric is the value of a counter without labels.
func (b *broker) metric(name string) (value int) {
	b.Helper()
	b.eventually("metrics", func(ctx context.Context) error {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.http+"/metrics", nil)
		must(b, err)
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			return err
		}
		defer func() { must(b, r.Body.Close()) }()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		_, after, ok := strings.Cut(string(text), "\n"+name+" ")
		if !ok {
			return fmt.Errorf("no %s", name)
		}
		_, err = fmt.Sscan(after, &value)
		return err
	})
	return value
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
