package config

import (
	"fmt"
	"strings"
)

// peerListener finds the listener at which brokers ask each other. Kafka takes the one whose name is that of
// the protocol between brokers if none is named, and does not start without it; we take the first then,
// since a broker with one listener of any name leaves no choice.
func (b *builder) peerListener(opened []Listener) string {
	if len(opened) == 0 {
		return "" // they are refused already
	}
	name, protocol := strings.ToUpper(b.text(keyPeerListener)), strings.ToUpper(b.text(keyPeerProtocol))
	if refusal := b.judgePeerListener(name, protocol, opened); refusal != nil {
		b.refuse(refusal)
		return ""
	}
	switch {
	case name != "":
		return name
	case protocol != "":
		return protocol
	case indexOf(opened, plaintext) >= 0:
		b.derive(keyPeerListener, plaintext, "named as the protocol between brokers")
		return plaintext
	}
	first := opened[0].Name
	b.derive(keyPeerListener, first, "the first of "+keyListeners)
	if len(opened) > 1 {
		b.note(firstListenerForBrokers(first))
	}
	return first
}

// judgePeerListener refuses what names no listener, or two, or one that is not what was asked for.
func (b *builder) judgePeerListener(name, protocol string, opened []Listener) error {
	switch {
	case name != "" && protocol != "":
		return &Refusal{keyPeerProtocol, b.text(keyPeerProtocol),
			fmt.Sprintf("%s is set too; remove one of them", keyPeerListener)}
	case protocol != "" && protocol != plaintext:
		return &Refusal{keyPeerProtocol, b.text(keyPeerProtocol), "this version speaks PLAINTEXT only; remove the key"}
	case protocol != "" && indexOf(opened, protocol) < 0:
		return &Refusal{keyPeerProtocol, b.text(keyPeerProtocol),
			fmt.Sprintf("no listener has that name; set %s to one of %s instead", keyPeerListener, namesOf(opened))}
	case name != "" && indexOf(opened, name) < 0:
		return &Refusal{keyPeerListener, b.text(keyPeerListener),
			fmt.Sprintf("it is not among the %s that are opened; name one of %s", keyListeners, namesOf(opened))}
	}
	return nil
}

func namesOf(listeners []Listener) string {
	var names []string
	for _, l := range listeners {
		names = append(names, l.Name)
	}
	return strings.Join(names, ", ")
}
