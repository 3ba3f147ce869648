package port

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func listen(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

func TestTakenPortIsOneSentence(t *testing.T) {
	address := listen(t)
	err := Check([]Use{{"127.0.0.1:0", "x", ""}, {address, "Kafka clients of broker 2", "choose another --kafka-port"}})
	want := "port " + address + " for Kafka clients of broker 2 is taken by another process: choose another --kafka-port"
	var taken *TakenError
	if err == nil || err.Error() != want || !errors.As(err, &taken) || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAddressThatIsNotOurs(t *testing.T) {
	err := Check([]Use{{"192.0.2.1:9092", "Kafka clients", "name an address of this machine"}})
	if err == nil || !strings.HasPrefix(err.Error(), "cannot listen on 192.0.2.1:9092 for Kafka clients (") {
		t.Errorf("got %v", err)
	}
}

func TestOneAddressForTwoUses(t *testing.T) {
	free, err := Free(1, []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(free[0]))
	if err := Check([]Use{{Address: address}, {Address: address}}); err == nil {
		t.Error("two uses of one address passed")
	}
	if err := Check([]Use{{Address: address}}); err != nil {
		t.Errorf("the port was not given back: %v", err)
	}
}

func TestFreePortsAreDifferentAndFree(t *testing.T) {
	hosts := Loopbacks()
	ports, err := Free(40, hosts)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if seen[p] {
			t.Errorf("%d twice", p)
		}
		seen[p] = true
		if !free(p, hosts) {
			t.Errorf("%d is taken", p)
		}
	}
}
