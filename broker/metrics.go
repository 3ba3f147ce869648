package broker

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"outrigger/broker/wire"
)

// meters are the counters of the broker, under the names by which dashboards know Kafka's, with
// our own beside them. Nothing on the path of a request looks a label up: the series of an API, and
// of a topic, are resolved once.
type meters struct {
	requests    *prometheus.CounterVec
	errors      *prometheus.CounterVec
	totalTime   *prometheus.HistogramVec
	badInput    *prometheus.CounterVec
	connections *prometheus.GaugeVec
	accepted    *prometheus.CounterVec
	refused     prometheus.Counter
	idleClosed  prometheus.Counter
	redirected  prometheus.Counter
	retained    prometheus.Counter

	acceptErrors prometheus.Counter

	// What coordinators do, as long as this process lives.
	rebalances, commits prometheus.Counter
	// letters are the dead letters written, lostLetters those that never can be.
	letters, lostLetters prometheus.Counter
	txnEnds              *prometheus.CounterVec
	loads                *prometheus.HistogramVec

	topics topicMeters
	apis   map[int16]*apiMeter
	other  *apiMeter
}

// apiMeter counts one API.
type apiMeter struct {
	requests prometheus.Counter
	total    prometheus.Observer
}

// observe records how long a request took from its last byte to its encoded answer.
func (m *apiMeter) observe(took time.Duration) {
	m.total.Observe(float64(took) / float64(time.Millisecond))
}

func newMeters(limits MetricLimits) *meters {
	m := &meters{
		requests:    counters("kafka_network_requestmetrics_requests_total", "Requests.", "request"),
		errors:      counters("kafka_network_requestmetrics_errors_total", "Error codes told.", "request", "error"),
		badInput:    counters("outrigger_broker_bad_input_total", "Input that no client should send.", "reason"),
		accepted:    counters("kafka_server_socketservermetrics_connection_creation_total", "Connections taken.", "listener"),
		connections: gauges("kafka_server_socketservermetrics_connection_count", "Open connections.", "listener"),
		totalTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kafka_network_requestmetrics_totaltimems",
			Help: "Milliseconds from a request's last byte to its answer, waits included.",
			Buckets: []float64{
				.25, .5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000,
			},
		}, []string{"request"}),
		refused:      counter("outrigger_broker_connections_refused_total", "Connections closed at once, too many."),
		idleClosed:   counter("outrigger_broker_connections_idle_closed_total", "Connections closed for idleness."),
		retained:     counter("outrigger_broker_retention_deleted_bytes_total", "Bytes of batches that retention has deleted, as leader."),
		redirected:   counter("outrigger_broker_fetches_redirected_total", "Partitions to be read from a nearer follower."),
		acceptErrors: counter("outrigger_broker_accept_errors_total", "Errors of accept."),
		rebalances:   counter(groupMetrics+"group_completed_rebalance_count", "Rebalances of groups coordinated here."),
		letters:      counter("outrigger_dead_letters_total", "Dead letters of share groups, written by this broker."),
		lostLetters:  counter("outrigger_dead_letters_lost_total", "Records of share groups archived without the dead letter that was to be written."),
		commits:      counter(groupMetrics+"offset_commit_count", "Offsets committed here."),
		txnEnds:      counters("outrigger_transactions_ended_total", "Transactions ended by their producers.", "outcome"),
		loads: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "outrigger_coordinator_load_seconds",
			Help:    "Time to read a partition of a coordinator's topic from its start.",
			Buckets: []float64{.001, .01, .1, 1, 10, 60},
		}, []string{"topic"}),
		apis: map[int16]*apiMeter{},
	}
	m.topics.init(limits.Topics)
	for _, api := range wire.Supported() {
		m.apis[api.Key] = m.newAPI(api.Name)
	}
	m.other = m.newAPI("unknown")
	return m
}

func (m *meters) newAPI(name string) *apiMeter {
	return &apiMeter{m.requests.WithLabelValues(name), m.totalTime.WithLabelValues(name)}
}

// api is the meter of an API, known or not.
func (m *meters) api(key int16) *apiMeter {
	if known, ok := m.apis[key]; ok {
		return known
	}
	return m.other
}

// ended counts the end of a transaction; asked for twice it counts twice.
func (m *meters) ended(commit bool) {
	outcome := "abort"
	if commit {
		outcome = "commit"
	}
	m.txnEnds.WithLabelValues(outcome).Inc()
}

// failure counts an error code that a client is told.
func (m *meters) failure(api string, why code) {
	if why != codeNone {
		m.errors.WithLabelValues(api, why.String()).Inc()
	}
}

// topic is the meter of a topic.
func (m *meters) topic(name string) *topicMeter { return m.topics.of(name) }

func (m *meters) collectors() []prometheus.Collector {
	all := []prometheus.Collector{
		m.requests, m.errors, m.totalTime, m.badInput, m.connections, m.accepted, m.refused,
		m.idleClosed, m.redirected, m.retained, m.acceptErrors, m.rebalances, m.commits, m.txnEnds, m.loads,
		m.letters, m.lostLetters,
	}
	for _, v := range m.topics.all() {
		all = append(all, v)
	}
	return all
}

// otherTopics is the label under which topics beyond the bound are counted together. No topic can
// bear it.
const otherTopics = "~other"

// topicMeters are the counters per topic, of a bounded number of topics.
type topicMeters struct {
	messagesIn, bytesIn, bytesOut *prometheus.CounterVec
	produces, fetches             *prometheus.CounterVec
	failedProduces, failedFetches *prometheus.CounterVec

	most  int
	other *topicMeter

	mu     sync.RWMutex
	byName map[string]*topicMeter
}

// topicMeter counts one topic.
type topicMeter struct {
	messagesIn, bytesIn, bytesOut prometheus.Counter
	produces, fetches             prometheus.Counter
	failedProduces, failedFetches prometheus.Counter
}

// appended counts one batch.
func (m *topicMeter) appended(messages, bytes int64) {
	m.messagesIn.Add(float64(messages))
	m.bytesIn.Add(float64(bytes))
}

func (m *topicMeters) init(most int) {
	const prefix = "kafka_server_brokertopicmetrics_"
	m.messagesIn = counters(prefix+"messagesin_total", "Records appended by producers.", "topic")
	m.bytesIn = counters(prefix+"bytesin_total", "Bytes appended by producers.", "topic")
	m.bytesOut = counters(prefix+"bytesout_total", "Bytes sent to consumers.", "topic")
	m.produces = counters(prefix+"totalproducerequests_total", "Produce requests.", "topic")
	m.fetches = counters(prefix+"totalfetchrequests_total", "Fetch requests.", "topic")
	m.failedProduces = counters(prefix+"failedproducerequests_total", "Produces refused.", "topic")
	m.failedFetches = counters(prefix+"failedfetchrequests_total", "Fetches refused.", "topic")
	m.most, m.byName = most, map[string]*topicMeter{}
	m.other = m.resolve(otherTopics)
}

func (m *topicMeters) all() []*prometheus.CounterVec {
	return []*prometheus.CounterVec{
		m.messagesIn, m.bytesIn, m.bytesOut, m.produces, m.fetches, m.failedProduces, m.failedFetches,
	}
}

func (m *topicMeters) resolve(name string) *topicMeter {
	return &topicMeter{
		messagesIn: m.messagesIn.WithLabelValues(name), bytesIn: m.bytesIn.WithLabelValues(name),
		bytesOut: m.bytesOut.WithLabelValues(name), produces: m.produces.WithLabelValues(name),
		fetches:        m.fetches.WithLabelValues(name),
		failedProduces: m.failedProduces.WithLabelValues(name),
		failedFetches:  m.failedFetches.WithLabelValues(name),
	}
}

func (m *topicMeters) of(name string) *topicMeter {
	m.mu.RLock()
	known, full := m.byName[name], len(m.byName) >= m.most
	m.mu.RUnlock()
	if known != nil {
		return known
	}
	if full {
		return m.other
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byName[name] == nil {
		m.byName[name] = m.resolve(name)
	}
	return m.byName[name]
}

// sweep drops the series of topics that are gone, so that churn does not use up the bound.
func (m *topicMeters) sweep(view View) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var gone []string
	for name := range m.byName {
		if _, ok := view.TopicByName(name); !ok {
			gone = append(gone, name)
		}
	}
	for _, name := range gone {
		delete(m.byName, name)
		for _, v := range m.all() {
			v.DeleteLabelValues(name)
		}
	}
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}
