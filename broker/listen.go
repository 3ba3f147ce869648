package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"outrigger/broker/topic"
)

// Listener is one named way in.
type Listener struct {
	// Name is the listener's name ("PLAINTEXT"). Clients that come in here are told the endpoints of
	// this name and no other.
	Name string
	// Addresses are what to bind, as host:port. A port 0 takes any free port with the first address,
	// and the port of the first with the later ones.
	Addresses []string
	// AdvertisedHost is what clients are told (the host of the first address).
	AdvertisedHost string
	// AdvertisedPort is what clients are told (the port that was bound).
	AdvertisedPort int32
}

// Sockets are open listeners. Nothing is accepted before Broker.Run, but clients may already
// connect: they wait in the kernel.
type Sockets struct {
	open      []socket
	endpoints []topic.Endpoint
}

type socket struct {
	listener string
	net.Listener
}

// Listen opens all listeners, or none.
func Listen(ctx context.Context, listeners []Listener) (*Sockets, error) {
	s := &Sockets{}
	for _, l := range listeners {
		if err := s.listen(ctx, l); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Endpoints are what to register for this broker: one per listener, ports resolved.
func (s *Sockets) Endpoints() []topic.Endpoint { return append([]topic.Endpoint(nil), s.endpoints...) }

// Close closes the sockets. It may be called more than once.
func (s *Sockets) Close() error {
	var errs []error
	for _, open := range s.open {
		if err := open.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("close listener %s: %w", open.listener, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Sockets) listen(ctx context.Context, l Listener) error {
	if len(l.Addresses) == 0 {
		return fmt.Errorf("listen on %s: no address", l.Name)
	}
	var bound int
	for i, address := range l.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", l.Name, err)
		}
		if i > 0 && port == "0" {
			port = strconv.Itoa(bound)
		}
		var config net.ListenConfig
		open, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, port))
		if err != nil {
			return fmt.Errorf("listen on %s: %w", l.Name, err)
		}
		s.open = append(s.open, socket{l.Name, open})
		if i > 0 {
			continue
		}
		bound = open.Addr().(*net.TCPAddr).Port
		e, err := advertised(l, host, bound)
		if err != nil {
			return err
		}
		s.endpoints = append(s.endpoints, e)
	}
	return nil
}

// advertised is what clients are told. A wildcard address leads nowhere, so it is never told.
func advertised(l Listener, host string, port int) (topic.Endpoint, error) {
	e := topic.Endpoint{Listener: l.Name, Host: l.AdvertisedHost, Port: l.AdvertisedPort}
	orDefault(&e.Host, host)
	orDefault(&e.Port, int32(port))
	if ip := net.ParseIP(e.Host); e.Host == "" || ip != nil && ip.IsUnspecified() {
		return e, fmt.Errorf("listen on %s: clients cannot be told the address %q", l.Name, e.Host)
	}
	return e, nil
}
