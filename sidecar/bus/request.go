package bus

// PublishRequest publishes data with a subject for the answer and does not wait: the answer is a
// message like any other to whoever subscribes to reply. The server itself answers with an empty
// message when nobody subscribes to subject.
func (b *Bus) PublishRequest(l Lane, subject, reply string, data []byte) error {
	return translate(b.conns[l].PublishRequest(subject, reply, data))
}
