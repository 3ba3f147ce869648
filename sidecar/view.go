package sidecar

import (
	"context"
	"fmt"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// View is one published state of the cluster, immutable: the image, and who is the controller.
type View struct {
	*cluster.Image
	controller topic.NodeID
}

// Controller is the leader of the metadata Raft if it is a live broker, topic.NoNode while unknown.
func (v View) Controller() topic.NodeID {
	if b, ok := v.Broker(v.controller); ok && !b.Fenced {
		return v.controller
	}
	return topic.NoNode
}

// View is the newest published state.
func (s *Sidecar) View() View {
	current := s.current()
	return View{Image: current.Image, controller: current.Controller}
}

// Changed is closed when a newer View than the present one is published.
func (s *Sidecar) Changed() <-chan struct{} { return s.current().changed }

// Fresh waits until this node's View shows everything that was committed before the call: a change of
// nothing is committed behind it.
func (s *Sidecar) Fresh(ctx context.Context) error {
	_, err := s.propose(ctx, cluster.DeleteTopics{})
	return err
}

// CreateTopics has topics created, with one error per creation: nil when committed and shown by this
// node's View.
func (s *Sidecar) CreateTopics(ctx context.Context, topics []topic.Creation) []error {
	return s.proposeItems(ctx, cluster.CreateTopics{Topics: topics}, len(topics))
}

// DeleteTopics has topics deleted, with one error per id.
func (s *Sidecar) DeleteTopics(ctx context.Context, ids []topic.ID) []error {
	return s.proposeItems(ctx, cluster.DeleteTopics{IDs: ids}, len(ids))
}

// CreatePartitions has topics grown, with one error per growth.
func (s *Sidecar) CreatePartitions(ctx context.Context, growths []topic.Growth) []error {
	return s.proposeItems(ctx, cluster.CreatePartitions{Growths: growths}, len(growths))
}

func (s *Sidecar) proposeItems(ctx context.Context, c cluster.Command, items int) []error {
	result, err := s.propose(ctx, c)
	if err == nil && len(result.Items) == items {
		return result.ItemErrs()
	}
	if err == nil {
		err = result.Err()
	}
	if err == nil {
		err = topic.ErrOutcomeUnknown
	}
	errs := make([]error, items)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// AlterConfigs has configs replaced, with one error per change.
func (s *Sidecar) AlterConfigs(ctx context.Context, changes []topic.ConfigChange) []error {
	return s.proposeItems(ctx, cluster.AlterConfigs{Changes: changes}, len(changes))
}

// ProducerIDs hands out a block of producer ids that nobody else ever gets.
func (s *Sidecar) ProducerIDs(ctx context.Context) (first int64, count int32, err error) {
	result, err := s.propose(ctx, cluster.AllocateProducerIDs{Node: s.cfg.Node, Session: s.cfg.Session})
	if err != nil {
		return 0, 0, err
	}
	return result.FirstID, result.IDCount, result.Err()
}

// Levels are the format levels that this build speaks.
func Levels() topic.Levels { return cluster.Supported() }

// FinalizeLevel has a format level finalized. The errors wrap topic.ErrLevelLacking, if a registered broker
// does not speak it, and those of a change that was not made.
func (s *Sidecar) FinalizeLevel(ctx context.Context, level uint16) error {
	if err := s.Fresh(ctx); err != nil {
		return fmt.Errorf("finalize format level %d: %w", level, err)
	}
	// Versions from before there were levels stop at such a command: it is not made while one is registered.
	if lacking := s.current().Image.Lacking(level); len(lacking) > 0 {
		return fmt.Errorf("finalize format level %d: %w: brokers %v", level, topic.ErrLevelLacking, lacking)
	}
	result, err := s.propose(ctx, cluster.SetLevel{Level: level})
	if err == nil {
		err = refusedAs(result.Err(), topic.ErrLevelLacking)
	}
	if err != nil {
		return fmt.Errorf("finalize format level %d: %w", level, err)
	}
	return nil
}
