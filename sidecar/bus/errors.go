package bus

import (
	"errors"

	"github.com/nats-io/nats.go"
)

// What a caller can react to; anything else is a bug or a broken configuration.
var (
	// ErrNoResponders: nobody subscribes to the subject of a request right now. It comes at once,
	// so the caller backs off, with jitter, before it asks again; it is a hint that the peer is
	// down, never proof, and certainly no answer.
	ErrNoResponders = errors.New("nobody listens on the subject")
	// ErrDisconnected: the lane's connection is down and is being made anew. Nothing was sent;
	// the caller drops the message or tries again later.
	ErrDisconnected = errors.New("lane is disconnected")
	// ErrClosed: the bus was closed. The caller ends.
	ErrClosed = errors.New("bus is closed")
	// ErrTooLarge: the message is larger than the server's payload limit. The caller splits it.
	ErrTooLarge = errors.New("message is larger than the payload limit")
	// ErrNoReply: a message that was not a request cannot be answered. The caller ignores it.
	ErrNoReply = errors.New("message wants no reply")
	// ErrUnauthorized: the server knows no such user and password. The operator corrects them.
	ErrUnauthorized = errors.New("NATS user or password is wrong")
)

// translate puts nats.go's errors into our words and leaves the rest, context errors above all, as
// they are.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrNoResponders):
		return ErrNoResponders
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting),
		errors.Is(err, nats.ErrDisconnected):
		return ErrDisconnected
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return ErrClosed
	case errors.Is(err, nats.ErrMaxPayload):
		return ErrTooLarge
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrPermissionViolation):
		return ErrUnauthorized
	default:
		return err
	}
}
