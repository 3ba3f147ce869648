package dev

import (
	"fmt"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"outrigger/cmd/outrigger/internal/config"
	"outrigger/cmd/outrigger/internal/port"
)

// Flags are those of `outrigger dev`.
type Flags struct {
	Brokers int
	Data    string
	Ports   Ports
	Sets    []string
	Restart bool
}

// Ports are the first ones of each kind: broker i takes port+i-1. Zero means any free ones.
type Ports struct{ Kafka, NATS, Cluster, HTTP int }

// brokersMax is far above what one machine is good for, and below where ports run out.
const brokersMax = 99

// The login of NATS operators: nobody but this machine can reach the port, and nobody should have to
// look a password up to try something.
const (
	opsLogin = "ops"
	sysLogin = "admin"
)

// kinds are the four kinds of ports, in the order in which they are told.
var kinds = [...]struct{ name, flag string }{
	{"Kafka clients", "--kafka-port"}, {"NATS clients", "--nats-port"},
	{"the other brokers", "--cluster-port"}, {"HTTP", "--http-port"},
}

const (
	kindKafka = iota
	kindNATS
	kindCluster
	kindHTTP
	kindCount
)

func (p Ports) first() [kindCount]int { return [...]int{p.Kafka, p.NATS, p.Cluster, p.HTTP} }

// anyFree reports whether some ports are ours to choose.
func (p Ports) anyFree() bool { return slices.Contains([]int{p.Kafka, p.NATS, p.Cluster, p.HTTP}, 0) }

// Validate refuses flags that cannot be meant.
func (f Flags) Validate() error {
	if f.Brokers < 1 || f.Brokers > brokersMax {
		return &config.Refusal{Key: "--brokers", Value: strconv.Itoa(f.Brokers),
			Reason: fmt.Sprintf("want 1 to %d", brokersMax)}
	}
	if f.Data == "" {
		return &config.Refusal{Key: "--data", Reason: "want a directory"}
	}
	wanted := make(map[int]string)
	for kind, first := range f.Ports.first() {
		if first == 0 {
			continue
		}
		for i := range f.Brokers {
			number, purpose := first+i, purpose(kind, i)
			refuse := func(reason string) error {
				return &config.Refusal{Key: kinds[kind].flag, Value: strconv.Itoa(first), Reason: reason}
			}
			if first < 0 || number > math.MaxUint16 {
				return refuse(fmt.Sprintf("port %d for %s is not between 1 and 65535", number, purpose))
			}
			if other, twice := wanted[number]; twice {
				return refuse(fmt.Sprintf("port %d is wanted for %s and for %s", number, other, purpose))
			}
			wanted[number] = purpose
		}
	}
	return f.validateSets()
}

// validateSets refuses keys that differ from broker to broker, or that others rely on.
func (f Flags) validateSets() error {
	for _, set := range f.Sets {
		key, _, _ := strings.Cut(set, "=")
		if key = strings.TrimSpace(key); slices.Contains(ownedKeys, key) {
			return &config.Refusal{Key: "--set " + set, Reason: "dev chooses this key for each of its brokers"}
		}
	}
	return nil
}

var ownedKeys = []string{
	"node.id", "broker.id", "cluster.id", "process.roles", "log.dir", "log.dirs", "listeners",
	"advertised.listeners", "listener.security.protocol.map", "controller.listener.names",
	"controller.quorum.voters", "nats.client.listen", "nats.cluster.listen", "http.listen",
	"nats.ops.user", "nats.ops.password", "nats.sys.user", "nats.sys.password",
}

func purpose(kind, index int) string {
	return fmt.Sprintf("%s of broker %d", kinds[kind].name, index+1)
}

// voters is how many of so many brokers keep the metadata: an odd number that survives the loss of
// one broker, or of two from seven up. More would only make every change wait for more disks.
func voters(brokers int) int {
	if brokers >= 7 {
		return 5
	}
	return min(brokers, 3)
}

// broker is one of the cluster's.
type broker struct {
	id    int
	dir   string
	ports [kindCount]int
}

// plan is everything that is decided before anything is started.
type plan struct {
	brokers []broker
	hosts   []string
	cluster string
	sets    []string
}

// newPlan gives every broker its ports. free are as many ports as are not chosen.
func newPlan(f Flags, hosts, dirs []string, free []int) plan {
	p := plan{hosts: hosts, sets: f.Sets}
	for i := range f.Brokers {
		b := broker{id: i + 1, dir: dirs[i]}
		for kind, first := range f.Ports.first() {
			if first != 0 {
				b.ports[kind] = first + i
				continue
			}
			b.ports[kind], free = free[0], free[1:]
		}
		p.brokers = append(p.brokers, b)
	}
	return p
}

// unchosen is how many free ports newPlan needs.
func (f Flags) unchosen() int {
	var kinds int
	for _, first := range f.Ports.first() {
		if first == 0 {
			kinds++
		}
	}
	return kinds * f.Brokers
}

// hostsOf are the addresses that a kind of port is opened on. NATS opens one only.
func (p plan) hostsOf(kind int) []string {
	if kind == kindNATS || kind == kindCluster {
		return p.hosts[:1]
	}
	return p.hosts
}

// uses lists every address of the cluster.
func (p plan) uses() []port.Use {
	var all []port.Use
	for i, b := range p.brokers {
		for kind, number := range b.ports {
			for _, host := range p.hostsOf(kind) {
				all = append(all, port.Use{Address: address(host, number), Purpose: purpose(kind, i),
					Remedy: "stop that process, or choose other ports with " + kinds[kind].flag + " (0 takes free ones)"})
			}
		}
	}
	return all
}

func address(host string, number int) string { return net.JoinHostPort(host, strconv.Itoa(number)) }

// arguments are those that broker b is started with, as --set values; the operator's own come last.
// Keys that are set to nothing are those that an environment made for another broker may hold.
func (p plan) settings(b broker) []string {
	list := func(kind int, prefix string) string {
		var all []string
		for _, host := range p.hostsOf(kind) {
			all = append(all, prefix+address(host, b.ports[kind]))
		}
		return strings.Join(all, ",")
	}
	settings := []string{
		"node.id=" + strconv.Itoa(b.id), "broker.id=", "process.roles=",
		"cluster.id=" + p.cluster,
		"log.dirs=", "log.dir=" + b.dir,
		"listeners=" + list(kindKafka, "PLAINTEXT://"),
		"advertised.listeners=PLAINTEXT://" + address(p.hosts[0], b.ports[kindKafka]),
		"listener.security.protocol.map=", "controller.listener.names=",
		"controller.quorum.voters=" + p.quorum(),
		"nats.client.listen=" + list(kindNATS, ""),
		"nats.cluster.listen=" + list(kindCluster, ""),
		"nats.ops.user=" + opsLogin, "nats.ops.password=" + opsLogin,
		"nats.sys.user=" + sysLogin, "nats.sys.password=" + sysLogin,
		"http.listen=" + list(kindHTTP, ""),
	}
	return append(settings, p.sets...)
}

func (p plan) quorum() string {
	var all []string
	for _, b := range p.brokers[:voters(len(p.brokers))] {
		all = append(all, fmt.Sprintf("%d@%s", b.id, address(p.hosts[0], b.ports[kindCluster])))
	}
	return strings.Join(all, ",")
}

// readyLine is what dev prints, once, when every broker serves.
func (p plan) readyLine(pids []int) string {
	columns := func(show func(broker) string) string {
		var all []string
		for _, b := range p.brokers {
			all = append(all, show(b))
		}
		return strings.Join(all, ",")
	}
	at := func(kind int) func(broker) string {
		return func(b broker) string { return address(p.hosts[0], b.ports[kind]) }
	}
	var numbers []string
	for _, pid := range pids {
		numbers = append(numbers, strconv.Itoa(pid))
	}
	return fmt.Sprintf("ready kafka=%s nats=%s http=%s pids=%s",
		columns(at(kindKafka)),
		columns(func(b broker) string {
			return fmt.Sprintf("nats://%s:%s@%s", opsLogin, opsLogin, at(kindNATS)(b))
		}),
		columns(at(kindHTTP)), strings.Join(numbers, ","))
}

// brokerDirs are the data directories of the brokers.
func brokerDirs(data string, brokers int) []string {
	var dirs []string
	for i := range brokers {
		dirs = append(dirs, filepath.Join(data, fmt.Sprintf("broker-%d", i+1)))
	}
	return dirs
}
