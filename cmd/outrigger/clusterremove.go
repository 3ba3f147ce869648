package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (f *clusterFlags) remove() *cobra.Command {
	var wait time.Duration
	command := &cobra.Command{
		Use:   "remove BROKER",
		Short: "Take a drained broker out of the cluster, once it is stopped",
		Args:  exactlyArguments(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := brokerID(args[0])
			if err != nil {
				return err
			}
			return f.reach(c.Context(), wait, func(ctx context.Context, a *admins) error {
				line := newProgress(c.ErrOrStderr())
				defer line.end()
				if err := a.removeBroker(ctx, line, id); err != nil {
					return err
				}
				line.end()
				if f.asJSON {
					_, err := fmt.Fprintf(c.OutOrStdout(), "{\"removed\":%d}\n", id)
					return err
				}
				_, err := fmt.Fprintf(c.OutOrStdout(), "broker %d removed\n", id)
				return err
			})
		},
	}
	command.Flags().DurationVar(&wait, "wait", 5*time.Minute, "how long to wait for the broker to be stopped")
	return command
}

// removeBroker takes away the vote, waits until the broker is gone, and unregisters it.
func (a *admins) removeBroker(ctx context.Context, line *progress, id int32) error {
	view, err := lookAtCluster(ctx, a)
	if err != nil {
		return err
	}
	b := view.broker(id)
	switch {
	case b == nil:
		return fmt.Errorf("broker %d is not registered", id)
	case b.Replicas > 0:
		return fmt.Errorf("broker %d holds %d replicas: drain it first, with `outrigger cluster drain %d`", id, b.Replicas, id)
	case b.Quorum == "voter":
		if err := a.takeVote(ctx, id); err != nil {
			return err
		}
	}
	began := time.Now()
	for {
		view, err = lookAtCluster(ctx, a)
		if err != nil {
			return err
		}
		if b = view.broker(id); b == nil {
			return nil
		}
		if !b.Live && b.Quorum != "voter" {
			return a.unregister(ctx, id)
		}
		line.say(fmt.Sprintf("waiting until broker %d is stopped and votes no more, for %v", id, time.Since(began).Round(time.Second)))
		select {
		case <-ctx.Done():
			return fmt.Errorf("broker %d still runs, or still votes: stop it, then run this command again", id)
		case <-time.After(movePoll):
		}
	}
}

func (a *admins) unregister(ctx context.Context, id int32) error {
	q := kmsg.NewPtrUnregisterBrokerRequest()
	q.BrokerID = id
	r, err := q.RequestWith(ctx, a.client)
	if err == nil {
		err = kerr.ErrorForCode(r.ErrorCode)
	}
	if errors.Is(err, kerr.BrokerIDNotRegistered) {
		return nil // an earlier attempt went through
	}
	if r == nil {
		return fmt.Errorf("unregister broker %d: %w", id, err)
	}
	return explain(fmt.Sprintf("unregister broker %d", id), err, deref(r.ErrorMessage))
}

// takeVote asks that a node not vote any more.
func (a *admins) takeVote(ctx context.Context, id int32) error {
	q := kmsg.NewPtrRemoveRaftVoterRequest()
	q.VoterID = id
	r, err := q.RequestWith(ctx, a.client)
	if err == nil {
		err = kerr.ErrorForCode(r.ErrorCode)
	}
	if errors.Is(err, kerr.VoterNotFound) {
		return nil
	}
	if r == nil {
		return fmt.Errorf("take the vote of broker %d: %w", id, err)
	}
	return explain(fmt.Sprintf("take the vote of broker %d", id), err, deref(r.ErrorMessage))
}

// addVoter asks that a node vote.
func (a *admins) addVoter(ctx context.Context, id int32) error {
	q := kmsg.NewPtrAddRaftVoterRequest()
	q.VoterID, q.TimeoutMillis = id, int32(topicTimeout.Milliseconds())
	r, err := q.RequestWith(ctx, a.client)
	if err == nil {
		err = kerr.ErrorForCode(r.ErrorCode)
	}
	if errors.Is(err, kerr.DuplicateVoter) {
		return nil
	}
	if r == nil {
		return fmt.Errorf("let broker %d vote: %w", id, err)
	}
	return explain(fmt.Sprintf("let broker %d vote", id), err, deref(r.ErrorMessage))
}

// awaitBroker waits until a broker is registered and live.
func (a *admins) awaitBroker(ctx context.Context, patience time.Duration, id int32) error {
	deadline := time.After(patience)
	for {
		view, err := lookAtCluster(ctx, a)
		if err != nil {
			return err
		}
		if b := view.broker(id); b != nil && b.Live {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("broker %d did not come within %v: start it with node.id=%d and the others' controller.quorum.voters",
				id, patience, id)
		case <-time.After(movePoll):
		}
	}
}

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
