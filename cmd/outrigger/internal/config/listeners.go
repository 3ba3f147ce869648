package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// plaintext is the one protocol that this version speaks, and the name of its listener unless another is given.
const plaintext = "PLAINTEXT"

// Listener is one named way in for Kafka clients.
type Listener struct {
	Name string
	// Addresses are what to bind, all with the same port. Kafka allows one; we allow a name several
	// times (127.0.0.1 and [::1]), so that both loopbacks lead to the same endpoint.
	Addresses []Address
	// Advertised is what clients of this listener are told. Its port is zero if the listener's is:
	// then the port that was bound is told.
	Advertised Address
}

// Address is a host and a port. An empty host means every address of the machine.
type Address struct {
	Host string
	Port int
}

// String is "host:port", with brackets around an IPv6 host.
func (a Address) String() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

// wildcard reports whether the address means every interface.
func (a Address) wildcard() bool {
	if a.Host == "" {
		return true
	}
	ip, err := netip.ParseAddr(a.Host)
	return err == nil && ip.IsUnspecified()
}

// Loopback reports whether only this machine can reach the address. A name other than localhost may
// resolve to anything, so it does not count.
func (a Address) Loopback() bool {
	if strings.EqualFold(a.Host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(a.Host)
	return err == nil && ip.IsLoopback()
}

// ParseAddress reads "host:port".
func ParseAddress(text string) (Address, error) {
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		return Address{}, fmt.Errorf("want host:port, with brackets around an IPv6 address")
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return Address{}, fmt.Errorf("port %q is not between 0 and 65535", portText)
	}
	if strings.ContainsAny(host, " /@") {
		return Address{}, fmt.Errorf("%q is not a host", host)
	}
	return Address{Host: host, Port: int(port)}, nil
}

// endpoint is a parsed "name://host:port".
type endpoint struct {
	name string
	Address
}

func parseEndpoint(text string) (endpoint, error) {
	name, rest, ok := strings.Cut(text, "://")
	if !ok || name == "" {
		return endpoint{}, fmt.Errorf("%q is not name://host:port", text)
	}
	address, err := ParseAddress(rest)
	if err != nil {
		return endpoint{}, fmt.Errorf("%q: %w", text, err)
	}
	return endpoint{name: strings.ToUpper(name), Address: address}, nil
}

// listenerSettings are the four keys that together say what is opened and what is told.
type listenerSettings struct {
	listeners   string
	advertised  string
	protocolMap string
	controllers string
	// machine finds this machine's resolvable name.
	machine func() string
}

// resolve returns the listeners to open. The first problem is returned as a Refusal.
func (s listenerSettings) resolve() ([]Listener, []Note, error) {
	opened, notes, err := s.toOpen()
	if err != nil {
		return nil, nil, err
	}
	told, err := s.toTell(opened)
	if err != nil {
		return nil, nil, err
	}
	var listeners []Listener
	var machine string
	for _, e := range opened {
		if i := indexOf(listeners, e.name); i >= 0 {
			listeners[i].Addresses = append(listeners[i].Addresses, e.Address)
			continue
		}
		listener := Listener{Name: e.name, Addresses: []Address{e.Address}, Advertised: e.Address}
		if address, ok := told[e.name]; ok {
			listener.Advertised = address
		}
		if listener.Advertised.wildcard() {
			if machine == "" {
				machine = s.machine()
			}
			listener.Advertised.Host = machine
			notes = append(notes, hostNameAdvertised(e.name, machine))
		}
		listeners = append(listeners, listener)
	}
	return listeners, notes, nil
}

func indexOf(listeners []Listener, name string) int {
	return slices.IndexFunc(listeners, func(l Listener) bool { return l.Name == name })
}

// toOpen parses `listeners` and leaves out those of Kafka's controllers.
func (s listenerSettings) toOpen() ([]endpoint, []Note, error) {
	protocols, err := s.protocols()
	if err != nil {
		return nil, nil, err
	}
	var opened []endpoint
	var notes []Note
	ports := make(map[string]int)
	for _, text := range splitList(s.listeners) {
		e, err := parseEndpoint(text)
		if err != nil {
			return nil, nil, &Refusal{keyListeners, s.listeners, err.Error()}
		}
		if port, seen := ports[e.name]; seen && port != e.Port {
			return nil, nil, &Refusal{keyListeners, s.listeners,
				fmt.Sprintf("the name %s occurs twice, with different ports", e.name)}
		}
		ports[e.name] = e.Port
		if s.isController(e.name) {
			notes = append(notes, controllerListenerClosed(e.name))
			continue
		}
		if reason := protocolReason(e.name, protocols); reason != "" {
			return nil, nil, &Refusal{keyListeners, s.listeners, reason}
		}
		if other, clash := clashing(opened, e); clash {
			return nil, nil, &Refusal{keyListeners, s.listeners,
				fmt.Sprintf("%s and %s listen on the same port", other, e.name)}
		}
		opened = append(opened, e)
	}
	if len(opened) == 0 {
		return nil, nil, &Refusal{keyListeners, s.listeners, "no listener is left to open for Kafka clients"}
	}
	return opened, notes, nil
}

// toTell parses `advertised.listeners` into one address per listener name. Those of controllers are
// passed over, since nobody would answer there.
func (s listenerSettings) toTell(opened []endpoint) (map[string]Address, error) {
	told := make(map[string]Address)
	for _, text := range splitList(s.advertised) {
		refusal := func(reason string) error { return &Refusal{keyAdvertised, s.advertised, reason} }
		e, err := parseEndpoint(text)
		if err != nil {
			return nil, refusal(err.Error())
		}
		if s.isController(e.name) {
			continue
		}
		if !slices.ContainsFunc(opened, func(o endpoint) bool { return o.name == e.name }) {
			return nil, refusal(fmt.Sprintf("%s is not among the listeners", e.name))
		}
		if _, twice := told[e.name]; twice {
			return nil, refusal(fmt.Sprintf("the name %s occurs twice", e.name))
		}
		if e.Host != "" && e.wildcard() {
			return nil, refusal(fmt.Sprintf("no client can connect to %s; name a host that clients can resolve", e.Host))
		}
		if e.Port == 0 {
			return nil, refusal("clients need a port other than 0")
		}
		told[e.name] = e.Address
	}
	return told, nil
}

// protocols parses the protocol map. Without one, each protocol's own name is a listener's name.
func (s listenerSettings) protocols() (map[string]string, error) {
	known := []string{plaintext, "SSL", "SASL_PLAINTEXT", "SASL_SSL"}
	protocols := make(map[string]string)
	for _, protocol := range known {
		protocols[protocol] = protocol
	}
	for _, pair := range splitList(s.protocolMap) {
		name, protocol, ok := strings.Cut(pair, ":")
		protocol = strings.ToUpper(strings.TrimSpace(protocol))
		if !ok || !slices.Contains(known, protocol) {
			return nil, &Refusal{keyProtocolMap, s.protocolMap,
				fmt.Sprintf("%q is not name:protocol with a protocol of %s", pair, strings.Join(known, ", "))}
		}
		protocols[strings.ToUpper(strings.TrimSpace(name))] = protocol
	}
	return protocols, nil
}

func protocolReason(name string, protocols map[string]string) string {
	protocol, ok := protocols[name]
	switch {
	case !ok:
		return fmt.Sprintf("%s has no protocol in %s; known are %s", name, keyProtocolMap,
			strings.Join(slices.Sorted(maps.Keys(protocols)), ", "))
	case protocol != plaintext:
		// Opening it in the clear would betray whoever asked for TLS or a password.
		return fmt.Sprintf("%s wants %s, and this version speaks PLAINTEXT only", name, protocol)
	}
	return ""
}

func (s listenerSettings) isController(name string) bool {
	return slices.ContainsFunc(splitList(s.controllers), func(controller string) bool {
		return strings.EqualFold(controller, name)
	})
}

// clashing finds a listener that would want the same socket: the same port on the same host, or a
// port that one of them wants on every address. 0.0.0.0 and [::] beside each other are left to the
// system to judge (KIP-797 allows one listener per IP version).
func clashing(opened []endpoint, e endpoint) (string, bool) {
	for _, o := range opened {
		if o.Port != e.Port || e.Port == 0 {
			continue
		}
		bothWild := o.wildcard() && e.wildcard()
		if o.Host == e.Host || (!bothWild && (o.wildcard() || e.wildcard())) {
			return o.name, true
		}
	}
	return "", false
}
