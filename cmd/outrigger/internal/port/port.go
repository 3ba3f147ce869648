// Package port answers two questions about TCP ports before anything else is touched: are those that
// somebody chose free, and which ones could be chosen. Both answers may be stale at once, so whoever
// then listens must still be ready to find a port taken.
package port

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// Use is one address and what it is wanted for.
type Use struct {
	Address string
	// Purpose completes "<address> is wanted for ...".
	Purpose string
	// Remedy tells how to choose another port.
	Remedy string
}

// TakenError says in one sentence that somebody else listens on an address.
type TakenError struct {
	Use
	cause error
}

// Error is the sentence.
func (e *TakenError) Error() string {
	if !errors.Is(e.cause, syscall.EADDRINUSE) {
		return fmt.Sprintf("cannot listen on %s for %s (%v): %s", e.Address, e.Purpose, reason(e.cause), e.Remedy)
	}
	return fmt.Sprintf("port %s for %s is taken by another process: %s", e.Address, e.Purpose, e.Remedy)
}

// Unwrap returns what the system said.
func (e *TakenError) Unwrap() error { return e.cause }

// reason drops the address that the system's error repeats.
func reason(err error) error {
	var operation *net.OpError
	if errors.As(err, &operation) {
		return operation.Err
	}
	return err
}

// Check listens on every address for a moment. The first that cannot be had is a *TakenError. All
// are held at once, so that two uses of one address are found too.
func Check(uses []Use) error {
	var held []net.Listener
	defer func() {
		for _, listener := range held {
			_ = listener.Close() // nobody ever connected
		}
	}()
	for _, use := range uses {
		listener, err := net.Listen("tcp", use.Address)
		if err != nil {
			return &TakenError{use, err}
		}
		held = append(held, listener)
	}
	return nil
}

// The ports that Free draws from lie below those that systems hand out by themselves (32768 up on
// Linux, 49152 up elsewhere): a port for which we let go of the socket is then not taken a moment
// later by somebody's outgoing connection.
const (
	drawnFrom = 20000
	drawnTo   = 32000
	triesMax  = 2000
)

// Free finds n different ports that nobody uses on any of the hosts.
func Free(n int, hosts []string) ([]int, error) {
	ports := make([]int, 0, n)
	taken := make(map[int]bool)
	for tries := 0; len(ports) < n; tries++ {
		if tries == triesMax {
			return nil, fmt.Errorf("find %d free ports: too many are taken", n)
		}
		candidate := drawnFrom + rand.IntN(drawnTo-drawnFrom)
		if taken[candidate] || !free(candidate, hosts) {
			continue
		}
		taken[candidate] = true
		ports = append(ports, candidate)
	}
	return ports, nil
}

func free(candidate int, hosts []string) bool {
	var uses []Use
	for _, host := range hosts {
		uses = append(uses, Use{Address: net.JoinHostPort(host, strconv.Itoa(candidate))})
	}
	return Check(uses) == nil
}

// Loopbacks are 127.0.0.1 and, where this machine has it, ::1.
func Loopbacks() []string {
	hosts := []string{"127.0.0.1"}
	if free(0, []string{"::1"}) {
		hosts = append(hosts, "::1")
	}
	return hosts
}
