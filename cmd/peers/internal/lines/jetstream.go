package lines

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"outrigger/cmd/peers/internal/score"
	"outrigger/cmd/peers/internal/system"
)

// What is published: records of the size of the throughput line, with a window of messages that wait
// for their answers.
const (
	jetStreamRecordBytes = 1024
	jetStreamWindow      = 500
	jetStreamStreams     = 6
	jetStreamClients     = 4
	// jetStreamGuess is how many messages a second are expected, which decides how many are sent.
	jetStreamGuess  = 20_000
	jetStreamWithin = 5 * time.Minute
	jetStreamTries  = 5
	jetStreamEvery  = 3 * time.Second
)

// jetStream measures one stream with four clients, and six streams with a client each.
func (r *Runner) jetStream(ctx context.Context) error {
	c := r.warm[system.JetStream]
	if c == nil {
		var err error
		if c, err = r.start(ctx, system.JetStream); err != nil {
			return err
		}
		r.warm[system.JetStream] = c
	}
	if err := c.Resume(); err != nil {
		return err
	}
	for figure, streams := range map[string]int{"one": 1, "six": jetStreamStreams} {
		r.sample(ctx, JetStream, "jetstream", func() (score.Values, error) {
			mb, err := r.publish(ctx, c, streams)
			return score.Values{"jetstream/jetstream." + figure: mb}, err
		})
	}
	err := c.Pause()
	system.FlushDisks()
	return err
}

// publish sends to so many streams at once, and returns MB/s of all of them together. The streams are
// made first, with one message each, so that the making is not measured.
func (r *Runner) publish(ctx context.Context, c *system.Cluster, streams int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, jetStreamWithin)
	defer cancel()
	clients := max(1, jetStreamClients/streams)
	total := int(r.cfg.Seconds * jetStreamGuess)
	each := total / streams / clients * clients
	for i := range streams {
		if err := r.makeStream(ctx, c, streamName(r.pair, streams, i)); err != nil {
			return 0, err
		}
	}
	errs := make([]error, streams)
	var publishing sync.WaitGroup
	began := time.Now()
	for i := range streams {
		publishing.Go(func() {
			errs[i] = r.natsBench(ctx, c, streamName(r.pair, streams, i), "--msgs", strconv.Itoa(each), "--clients", strconv.Itoa(clients))
		})
	}
	publishing.Wait()
	took := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	return float64(each*streams*jetStreamRecordBytes) / 1e6 / took.Seconds(), r.removeStreams(ctx, c, streams)
}

func streamName(pair, streams, i int) string { return fmt.Sprintf("peers-%d-%d-%d", pair, streams, i) }

// makeStream tries again while the servers have no leader, as just after they went on.
func (r *Runner) makeStream(ctx context.Context, c *system.Cluster, name string) error {
	var err error
	for range jetStreamTries {
		if err = r.natsBench(ctx, c, name, "--msgs", "1", "--create", "--maxbytes", "8GB"); err == nil {
			return nil
		}
		if !system.Pause(ctx, jetStreamEvery) {
			break
		}
	}
	return fmt.Errorf("make stream %s: %w", name, err)
}

func (r *Runner) natsBench(ctx context.Context, c *system.Cluster, stream string, args ...string) error {
	return r.nats(ctx, c, append([]string{"bench", "js", "pub", "async", stream + ".s", "--stream", stream, "--replicas", "3",
		"--size", strconv.Itoa(jetStreamRecordBytes), "--batch", strconv.Itoa(jetStreamWindow), "--no-progress"}, args...)...)
}

func (r *Runner) removeStreams(ctx context.Context, c *system.Cluster, streams int) error {
	var errs []error
	for i := range streams {
		errs = append(errs, r.nats(ctx, c, "stream", "rm", "--force", streamName(r.pair, streams, i)))
	}
	return errors.Join(errs...)
}

func (r *Runner) nats(ctx context.Context, c *system.Cluster, args ...string) error {
	cmd := exec.CommandContext(ctx, r.cfg.NATS, append([]string{"--no-context", "--server", strings.Join(c.Servers, ",")}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("nats %s: %w: %s", strings.Join(args[:2], " "), errors.Join(err, ctx.Err()), tail(out))
	}
	return nil
}
