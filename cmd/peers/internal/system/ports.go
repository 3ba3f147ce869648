package system

import (
	"errors"
	"fmt"
	"net"
)

const (
	portTries = 50
	portMax   = 65535
)

// freePorts finds a run of ports that nobody listens on now. Somebody may take one before it is used:
// the cluster then does not start, and says so.
func freePorts(count int) (first int, err error) {
	for range portTries {
		if first, err = tryPorts(count); err == nil {
			return first, nil
		}
	}
	return 0, fmt.Errorf("find %d free ports in a row: %w", count, err)
}

func tryPorts(count int) (first int, err error) {
	var all []net.Listener
	defer func() {
		for _, l := range all {
			err = errors.Join(err, l.Close())
		}
	}()
	for i := range count {
		port := 0
		if i > 0 {
			if port = first + i; port > portMax {
				return 0, errors.New("beyond the last port")
			}
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return 0, err
		}
		all = append(all, l)
		if i == 0 {
			first = l.Addr().(*net.TCPAddr).Port
		}
	}
	return first, nil
}

func addresses(first int) []string {
	var all []string
	for i := range nodes {
		all = append(all, fmt.Sprintf("127.0.0.1:%d", first+i))
	}
	return all
}
