package bus

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// Inbox holds messages of several subjects until one goroutine takes them. Those of one lane keep their
// order, across subjects too, which subscriptions with a function each do not promise; and nothing
// stands between the connection and who takes.
type Inbox struct{ messages chan *nats.Msg }

// NewInbox returns an Inbox for at most that many messages; what comes while it is full is dropped and
// told to OnGap.
func NewInbox(messagesMax int) *Inbox { return &Inbox{make(chan *nats.Msg, messagesMax)} }

// Messages is for waiting in a select; Payload reads what comes out.
func (i *Inbox) Messages() <-chan *nats.Msg { return i.messages }

// Payload is what a message carries. It belongs to the receiver and is never written to again.
func Payload(m *nats.Msg) []byte { return m.Data }

// Drain appends the payloads of what is there, up to most of them, and does not wait.
func (i *Inbox) Drain(into [][]byte, most int) [][]byte {
	for len(into) < most {
		select {
		case m := <-i.messages:
			into = append(into, m.Data)
		default:
			return into
		}
	}
	return into
}

// SubscribeInto puts the messages to the subject into the inbox. The subscription lasts as long as the
// bus and survives reconnects.
func (b *Bus) SubscribeInto(l Lane, subject string, inbox *Inbox) error {
	if _, err := b.conns[l].ChanSubscribe(subject, inbox.messages); err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, translate(err))
	}
	return nil
}
