package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// callAgain is how long a caller waits before it asks once more, as a client backs off.
	callAgain = 50 * time.Millisecond
	// callWithin is how long one answer may take: that to JoinGroup comes when the group is complete.
	callWithin = 90 * time.Second
)

// caller is a client that costs nothing but its connections, one to each broker that it talks to, so that a
// process can be ten thousand of them. It asks one thing at a time.
type caller struct {
	conns map[string]net.Conn
}

// seat is where something lives, such as the coordinator of a group, as far as is known.
type seat struct {
	find  func(ctx context.Context) (address string, err error)
	known string
}

func (s *seat) address(ctx context.Context) (string, error) {
	if s.known == "" {
		found, err := s.find(ctx)
		if err != nil {
			return "", err
		}
		s.known = found
	}
	return s.known, nil
}

// call asks whoever is in charge until there is an answer that is not "ask again" or "ask another one".
func (c *caller) call(ctx context.Context, at *seat, q kmsg.Request) (kmsg.Response, error) {
	for {
		r, err := c.once(ctx, at, q)
		if err == nil || errors.As(err, new(*kerr.Error)) && !kerr.IsRetriable(err) {
			return r, err
		}
		at.known = ""
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(callAgain):
		}
	}
}

func (c *caller) once(ctx context.Context, at *seat, q kmsg.Request) (kmsg.Response, error) {
	address, err := at.address(ctx)
	if err != nil {
		return nil, err
	}
	r, err := c.ask(ctx, address, q)
	if err != nil {
		return nil, err
	}
	return r, said(r)
}

var callFormat = kmsg.NewRequestFormatter(kmsg.FormatterClientID("crowd"))

// ask sends a request in its version, and reads the answer. After an error, whether it was carried out is not known.
func (c *caller) ask(ctx context.Context, address string, q kmsg.Request) (r kmsg.Response, err error) {
	conn, err := c.conn(ctx, address)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close() // what may still come is nobody's
			delete(c.conns, address)
		}
	}()
	until := time.Now().Add(callWithin)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	if err := conn.SetDeadline(until); err != nil {
		return nil, err
	}
	if _, err := conn.Write(callFormat.AppendRequest(nil, q, 1)); err != nil {
		return nil, err
	}
	head := make([]byte, 8) // size and correlation id
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head)-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	r = q.ResponseKind()
	r.SetVersion(q.GetVersion())
	if r.IsFlexible() {
		body = body[1:] // no tags
	}
	return r, r.ReadFrom(body)
}

func (c *caller) conn(ctx context.Context, address string) (net.Conn, error) {
	if conn := c.conns[address]; conn != nil {
		return conn, nil
	}
	conn, err := (&net.Dialer{Timeout: callWithin}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if c.conns == nil {
		c.conns = map[string]net.Conn{}
	}
	c.conns[address] = conn
	return conn, nil
}

func (c *caller) close() {
	for _, conn := range c.conns {
		_ = conn.Close() // nothing is asked any more
	}
	c.conns = nil
}

// said is the first error of an answer.
func said(r kmsg.Response) error {
	var codes []int16
	switch r := r.(type) {
	case *kmsg.JoinGroupResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.SyncGroupResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.HeartbeatResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.ConsumerGroupHeartbeatResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.OffsetCommitResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	case *kmsg.InitProducerIDResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.EndTxnResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.ProduceResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	default:
		return fmt.Errorf("%T: its errors are not known", r)
	}
	for _, code := range codes {
		if err := kerr.ErrorForCode(code); err != nil {
			return err
		}
	}
	return nil
}

// coordinatorOf is that of a group or a transactional id, found through a client that all callers share.
func coordinatorOf(client *kgo.Client, kind int8, key string) *seat {
	return &seat{find: func(ctx context.Context) (string, error) {
		q := kmsg.NewPtrFindCoordinatorRequest()
		q.CoordinatorType, q.CoordinatorKey, q.CoordinatorKeys = kind, key, []string{key}
		r, err := q.RequestWith(ctx, client)
		if err != nil {
			return "", err
		}
		if len(r.Coordinators) != 1 {
			return "", fmt.Errorf("got %d coordinators of %s, want 1", len(r.Coordinators), key)
		}
		found := r.Coordinators[0]
		return net.JoinHostPort(found.Host, strconv.Itoa(int(found.Port))), kerr.ErrorForCode(found.ErrorCode)
	}}
}

// leaderOfPartition is that of a partition, found likewise.
func leaderOfPartition(client *kgo.Client, topic string, partition int32) *seat {
	admin := kadm.NewClient(client)
	return &seat{find: func(ctx context.Context) (string, error) {
		m, err := admin.Metadata(ctx, topic)
		if err != nil {
			return "", err
		}
		leader := m.Topics[topic].Partitions[partition].Leader
		for _, b := range m.Brokers {
			if b.NodeID == leader {
				return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), nil
			}
		}
		return "", fmt.Errorf("nobody leads partition %d of %s", partition, topic)
	}}
}
