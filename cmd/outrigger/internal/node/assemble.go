package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"time"

	crypto "crypto/rand"

	"outrigger/broker"
	"outrigger/broker/catalog"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/cmd/outrigger/internal/config"
	"outrigger/cmd/outrigger/internal/datadir"
	"outrigger/cmd/outrigger/internal/port"
	"outrigger/natsconf"
	"outrigger/sidecar"
	"outrigger/sidecar/bus"
)

const (
	// A log file holds at least four of the largest batches.
	walShare = 4
	walAlign = 1 << 20
	// At least so many log files may be there: the one in use, two ahead, and one to be drained.
	walFilesMin = 4
	// One of so many files may be a drained one that waits to be written again.
	walSparesShare = 4
	// recordOverhead is ample for a record's header beside its batch.
	recordOverhead = 4096
	// requestOverhead is ample for what a request holds beside one batch.
	requestOverhead = 64 << 10
)

// idleForever stands for connections.max.idle.ms=-1.
const idleForever = 100 * 365 * 24 * time.Hour

// newSession draws the number of this run of this process: random, and never zero.
func newSession() topic.Session {
	for {
		var raw [8]byte
		_, _ = crypto.Read(raw[:]) // never fails, by its documentation
		if session := topic.Session(binary.BigEndian.Uint64(raw[:])); session != 0 {
			return session
		}
	}
}

// claim takes hold of what only one process can have: sockets and the data directory. Everything is
// looked at before anything is taken, so that a refusal leaves no trace.
func (n *node) claim(ctx context.Context) error {
	cfg := n.Config
	owner := datadir.Owner{Cluster: cfg.Node.ClusterID, Node: cfg.Node.ID}
	if err := datadir.Check(cfg.Node.DataDir, owner); err != nil {
		return err
	}
	if err := port.Check(uses(cfg)); err != nil {
		return err
	}
	sockets, err := broker.Listen(ctx, listeners(cfg.Kafka.Listeners))
	if err != nil {
		return err
	}
	n.sockets = sockets
	n.web = newWeb(cfg.Node.ID, n.session, n.Version)
	n.web.profiles = cfg.HTTPProfiles
	for _, address := range cfg.HTTP {
		listener, err := net.Listen("tcp", address.String())
		if err != nil {
			return fmt.Errorf("listen on http.listen: %w", err)
		}
		n.web.listeners = append(n.web.listeners, listener)
	}
	if n.dir, err = datadir.Open(cfg.Node.DataDir, owner); err != nil {
		return err
	}
	if err := n.dir.SetFlush(cfg.WAL.FlushAlways); err != nil {
		return err
	}
	n.Logger.Info("data directory opened", attrDir, n.dir.Path(), attrCluster, n.dir.Identity().Cluster,
		attrClean, n.dir.CleanStop())
	return nil
}

// assemble starts the parts, each as soon as what it needs is there.
func (n *node) assemble(ctx context.Context) error {
	n.tasks.http = launch("HTTP server", n.failed, func(ctx context.Context) error { return n.web.run(ctx, n.registry) })
	err := n.startNATS(ctx)
	if err != nil {
		return err
	}
	n.web.stage("recovering the write-ahead log")
	clock := monotonic()
	if err := n.guardSpace(); err != nil {
		return err
	}
	// The metadata tell of a format level that this build does not speak: before that is known, nothing of a later
	// format may be looked at, which would seem damaged.
	if n.metadata, err = sidecar.OpenMetadata(n.dir.Path(), n.Logger, n.Died); err != nil {
		return n.explainMetadata(err)
	}
	if n.catalog, err = catalog.Open(n.dir.Path(datadir.Catalog), n.Logger, n.Died); err != nil {
		return n.explainCatalog(err)
	}
	logConfig := n.logConfig(clock)
	logConfig.Spill = n.openSpill()
	if logConfig.TailBytesMax, err = limitMemory(n.Config.WAL.TailBytes, n.Logger); err != nil {
		return err
	}
	logs, err := n.openLogs(ctx, logConfig)
	if err != nil {
		return err
	}
	n.logs = logs
	n.guard.StarvedBy(n.logs.Starved)
	if n.sidecar, err = n.newSidecar(clock); err != nil {
		return n.explainMetadata(err)
	}
	level := func() uint16 { return n.sidecar.View().Level() }
	n.level.Store(&level)
	n.broker, err = broker.New(n.brokerConfig(), n.sidecar, n.logs, n.Logger, n.registry)
	if err != nil {
		return err
	}
	n.tasks.wal = launch("write-ahead log", n.failed, n.runLogs)
	n.tasks.sidecar = launch("sidecar", n.failed, n.sidecar.Run)
	n.tasks.cluster = launch("cluster id", n.failed, n.recordCluster)
	n.tasks.broker = launch("broker", n.failed, n.broker.Run)
	n.web.answer(n.readiness)
	return nil
}

func (n *node) startNATS(ctx context.Context) error {
	operator, drawn, err := n.dir.Operator(datadir.Operator{
		Ops: datadir.Login(n.Config.NATS.Ops),
		Sys: datadir.Login(n.Config.NATS.Sys),
	})
	if err != nil {
		return err
	}
	natsConfig := NATSConfig(n.Config)
	natsConfig.OpsPassword, natsConfig.SysPassword = operator.Ops.Password, operator.Sys.Password
	natsConfig.Logger = n.Logger
	natsConfig.Fatal = func(err error) { n.failed <- failure{&task{name: "NATS server"}, err} }
	if n.nats, err = natsconf.Start(ctx, natsConfig); err != nil {
		// The server says in words of its own that a port was taken since we looked; ask again.
		if taken := port.Check(natsUses(n.Config)); taken != nil {
			return taken
		}
		return err
	}
	if drawn {
		operator.URL = n.nats.ClientURL()
		if err := n.dir.RecordOperator(operator); err != nil {
			return err
		}
		n.Logger.Info("NATS passwords were drawn at random", attrFile, n.dir.Path("nats-operator.json"))
	}
	n.bus, err = bus.Open(ctx, bus.Config{Server: n.nats, Node: n.Config.Node.ID, Logger: n.Logger, OnGap: n.onGap})
	return err
}

// runLogs runs the writer, and passes it the time.
func (n *node) runLogs(ctx context.Context) error {
	next := func() time.Duration { return time.Until(time.Now().Truncate(tickEvery).Add(tickEvery)) }
	timer := time.NewTimer(next())
	defer timer.Stop()
	ended := make(chan error, 1)
	go func() { ended <- n.logs.Run(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-timer.C:
			n.watchSpace()
			n.logs.Tick()
			timer.Reset(next())
		}
	}
}

// recordCluster writes the cluster's id into the data directory once the first controller has drawn
// it, so that the directory cannot join another cluster later.
func (n *node) recordCluster(ctx context.Context) error {
	for {
		changed := n.sidecar.Changed()
		if id := n.sidecar.View().ClusterID(); id != "" {
			if err := n.dir.SetCluster(id); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// monotonic is a clock that starts now and never jumps.
func monotonic() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// openSpill makes the file of indexes; nil where it cannot be made, for a broker is well without.
func (n *node) openSpill() *partition.Spill {
	spill, err := partition.OpenSpill(n.dir.Path(), n.Logger)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		n.Logger.Info("what is known of drained batches stays in memory", attrReason, err.Error())
	case err != nil:
		n.Logger.Warn("what is known of drained batches stays in memory", attrReason, err.Error())
	}
	return spill
}

// fileBytes is the size of a file of the write-ahead log: a few of the largest batches fit.
func fileBytes(cfg *config.Config) int64 {
	record := roundUp(int64(cfg.Kafka.MessageBytesMax)+recordOverhead, walAlign)
	return max(roundUp(cfg.WAL.FileBytes, walAlign), walShare*record)
}

// batchBytesMax is the largest batch that this node can carry if a topic allows it: the log holds it, a request
// brings it, and a message between brokers takes it along. All that is bounded beside that takes one batch of any
// size when it is alone.
func batchBytesMax(cfg *config.Config) int {
	carried := min(int(fileBytes(cfg)/walShare)-recordOverhead, cfg.Kafka.RequestBytesMax-requestOverhead, topic.BatchBytesMost)
	return max(cfg.Kafka.MessageBytesMax, carried)
}

func (n *node) logConfig(clock func() time.Duration) partition.Config {
	fileBytes := fileBytes(n.Config)
	files := int(max(n.Config.WAL.RetainedBytes/fileBytes, walFilesMin))
	cfg := partition.Config{
		WAL: wal.Config{
			FS:        wal.OS(),
			Dir:       n.dir.Path(datadir.WAL),
			Session:   n.session,
			Logger:    n.Logger,
			FileBytes: fileBytes,
			FilesMax:  files,
			SparesMax: files / walSparesShare,
			Cache:     wal.Cache{BytesMax: n.Config.WAL.CacheBytes},
			Room:      n.guard.Room,
			Space:     n.guard.Space,
			Sync:      wal.Policy{Interval: n.Config.WAL.FlushInterval},
			Scrub:     wal.Scrub{Interval: n.Config.WAL.ScrubInterval, BytesPerSecond: n.Config.WAL.ScrubBytesPerSecond},
		},
		Catalog:               n.catalog,
		MayAdopt:              func() bool { return n.mayWrite(topic.AdoptionLevel) },
		MayBeTerse:            func() bool { return n.mayWrite(topic.TerseLevel) },
		MayHead:               func() bool { return n.mayWrite(topic.HeadLevel) },
		ProducerIDExpiration:  n.Config.Kafka.ProducerExpiration,
		CompactBytesMax:       n.Config.WAL.CleanerBytes,
		CompactBackoff:        n.Config.WAL.CleanerBackoff,
		CompactBytesPerSecond: n.Config.WAL.CleanerRate,
		Now:                   clock,
		Logger:                n.Logger,
	}
	if n.Config.WAL.DiskFreeMin != 0 { // Else nothing is kept, not for Relief either.
		cfg.WAL.ReliefRoom = n.guard.ReliefRoom
	}
	return cfg
}

// mayWrite reports whether the cluster has finalized a level, as far as this broker knows. The logs are there before the
// sidecar is: until then the answer is no.
func (n *node) mayWrite(level uint16) bool {
	finalized := n.level.Load()
	return finalized != nil && (*finalized)() >= level
}

func roundUp(bytes, unit int64) int64 { return (bytes + unit - 1) / unit * unit }

func shareConfig(s config.Shares) broker.ShareConfig {
	return broker.ShareConfig{
		Partitions: s.Partitions, ReplicationFactor: s.ReplicationFactor, MinInSync: s.MinInSync, SnapshotUpdates: s.SnapshotUpdates,
		WriteTimeout: s.WriteTimeout, PruneInterval: s.PruneInterval, ColdInterval: s.ColdInterval, MembersMax: s.MembersMax, SessionsMax: s.SessionsMax,
		Session: s.Session, Sessions: broker.Span{Min: s.SessionMin, Max: s.SessionMax},
		Assign: s.Assignment.Interval, Assigns: broker.Span{Min: s.Assignment.Min, Max: s.Assignment.Max},
		Interval: s.Interval, Intervals: broker.Span{Min: s.IntervalMin, Max: s.IntervalMax},
		Lock: s.Lock, Locks: broker.Span{Min: s.LockMin, Max: s.LockMax},
		Deliveries: s.Deliveries, DeliveriesMin: s.DeliveriesMin, DeliveriesMax: s.DeliveriesMax,
		LetterTopics: s.LetterTopics, LetterPrefix: s.LetterPrefix,
		Held: s.Held, HeldMin: s.HeldMin, HeldMax: s.HeldMax,
	}
}

func (n *node) brokerConfig() broker.Config {
	kafka := n.Config.Kafka
	cfg := broker.Config{
		Node:         n.Config.Node.ID,
		Sockets:      n.sockets,
		PeerListener: kafka.PeerListener,
		Levels:       sidecar.Levels(),
		Topics: broker.TopicDefaults{
			AutoCreateOff:     !kafka.Topics.AutoCreate,
			DeleteOff:         !kafka.Topics.Deletable,
			Partitions:        kafka.Topics.Partitions,
			ReplicationFactor: kafka.Topics.ReplicationFactor,
			MinInSyncReplicas: int32(kafka.Topics.MinInSyncReplicas),
			MessageBytesMax:   int32(kafka.MessageBytesMax),
			BatchBytesMax:     int32(batchBytesMax(n.Config)),
			UncleanElection:   kafka.Topics.Unclean,
			Configs:           kafka.TopicConfigs,
			RetentionCheck:    kafka.RetentionCheck,
			FlushInterval:     n.Config.WAL.FlushInterval,
			CleanerOff:        n.Config.WAL.CleanerOff,
		},
		Groups: groupConfig(kafka.Groups),
		Shares: shareConfig(kafka.Shares),
		Transactions: broker.TransactionConfig{
			Partitions: kafka.Transactions.Partitions, ReplicationFactor: kafka.Transactions.ReplicationFactor,
			MinInSync:  kafka.Transactions.MinInSync,
			TimeoutMax: kafka.Transactions.TimeoutMax, Expiration: kafka.Transactions.Expiration,
		},
		Connections: broker.ConnectionLimits{Max: kafka.ConnectionsMax, MaxPerIP: kafka.ConnectionsPerIPMax, Idle: kafka.IdleMax},
		Requests:    broker.RequestLimits{BytesMax: int32(kafka.RequestBytesMax), FetchBytesMax: int32(kafka.FetchBytesMax), FollowerReads: kafka.FollowerReads},
	}
	if n.dir != nil {
		cfg.LogDir = broker.LogDir{Path: n.dir.Path(), Space: n.dir.Space, Low: n.guard.Low}
	}
	if cfg.Requests.FetchSessionsMax = kafka.FetchSessionsMax; kafka.FetchSessionsMax == 0 {
		cfg.Requests.FetchSessionsMax = -1
	}
	if kafka.IdleMax == 0 {
		cfg.Connections.Idle = idleForever
	}
	for _, p := range n.Config.Properties() {
		cfg.Properties = append(cfg.Properties, broker.Property{
			Name: p.Name, Value: p.Value, Set: p.Set, Default: p.Default, Sensitive: p.Secret, Kind: propertyKind(p), Doc: p.Doc,
		})
	}
	return cfg
}

// propertyKind is the kind of a key in the broker's words. Its bound tells how many bits Kafka has for it.
func propertyKind(p config.Property) broker.PropertyKind {
	switch {
	case p.Kind != config.Integer || p.Max > math.MaxInt32:
		return propertyKinds[p.Kind]
	case p.Max == math.MaxInt16:
		return broker.PropertyShort
	default:
		return broker.PropertyInt
	}
}

// propertyKinds are the kinds of keys in the broker's words.
var propertyKinds = map[config.Kind]broker.PropertyKind{
	config.Integer: broker.PropertyInteger, config.Flag: broker.PropertyFlag, config.List: broker.PropertyList,
	config.Fraction: broker.PropertyFraction,
}

// groupConfig hands on what groups may do; the broker's zero values mean defaults.
func groupConfig(g config.Groups) broker.GroupConfig {
	c := broker.GroupConfig{
		Partitions: g.Partitions, ReplicationFactor: g.ReplicationFactor, InitialDelay: g.InitialDelay,
		SessionMin: g.SessionMin, SessionMax: g.SessionMax, MembersMax: g.MembersMax,
		MetadataBytesMax: g.MetadataBytesMax, Retention: g.Retention, RetentionCheck: g.RetentionCheck,
		CommitTimeout: g.CommitTimeout, ConsumersOff: g.Consumers.Off, ConsumerMembersMax: g.Consumers.MembersMax,
		ConsumerSession: g.Consumers.Session, ConsumerInterval: g.Consumers.Interval,
		ConsumerSessions:  broker.Span{Min: g.Consumers.SessionMin, Max: g.Consumers.SessionMax},
		ConsumerIntervals: broker.Span{Min: g.Consumers.IntervalMin, Max: g.Consumers.IntervalMax},
		ConsumerAssign:    g.Consumers.Assignment.Interval,
		ConsumerAssigns:   broker.Span{Min: g.Consumers.Assignment.Min, Max: g.Consumers.Assignment.Max},
		Assignors:         g.Consumers.Assignors, Migration: broker.Migration(g.Consumers.Migration),
	}
	if g.InitialDelay == 0 {
		c.InitialDelay = -1
	}
	if g.MetadataBytesMax == 0 {
		c.MetadataBytesMax = -1
	}
	return c
}

// NATSConfig is what the embedded server is configured with; passwords that nobody chose are empty.
func NATSConfig(cfg *config.Config) natsconf.Config {
	nats := natsconf.Config{
		NodeID:          int32(cfg.Node.ID),
		ClientListen:    cfg.NATS.Client.String(),
		ClusterListen:   cfg.NATS.Cluster.String(),
		ClusterSecret:   cfg.NATS.ClusterSecret,
		OpsUser:         cfg.NATS.Ops.User,
		OpsPassword:     cfg.NATS.Ops.Password,
		SysUser:         cfg.NATS.Sys.User,
		SysPassword:     cfg.NATS.Sys.Password,
		OperatorFile:    cfg.NATS.File,
		MaxMessageBytes: batchBytesMax(cfg),
		DebugTap:        cfg.NATS.Tap,
		NoFeeds:         !cfg.NATS.Feeds,
	}
	if cfg.NATS.Cluster == (config.Address{}) {
		// The server always opens this listener; for a cluster of one nobody is told its port.
		nats.ClusterListen = "127.0.0.1:0"
	}
	if cfg.NATS.File != "" {
		if full, err := filepath.Abs(cfg.NATS.File); err == nil {
			nats.OperatorFile = full
		}
	}
	for _, voter := range cfg.Node.Voters {
		// A node knows itself by its id: its voters' address may be another than the one it listens on.
		if voter.ID != cfg.Node.ID {
			nats.Routes = append(nats.Routes, voter.String())
		}
	}
	return nats
}

func listeners(configured []config.Listener) []broker.Listener {
	var all []broker.Listener
	for _, l := range configured {
		one := broker.Listener{Name: l.Name, AdvertisedHost: l.Advertised.Host, AdvertisedPort: int32(l.Advertised.Port)}
		for _, address := range l.Addresses {
			one.Addresses = append(one.Addresses, address.String())
		}
		all = append(all, one)
	}
	return all
}

// uses lists every address that this process is going to listen on.
func uses(cfg *config.Config) []port.Use {
	var all []port.Use
	for _, l := range cfg.Kafka.Listeners {
		for _, address := range l.Addresses {
			all = append(all, port.Use{Address: address.String(), Purpose: "Kafka listener " + l.Name,
				Remedy: "stop that process or change listeners"})
		}
	}
	for _, address := range cfg.HTTP {
		all = append(all, port.Use{Address: address.String(), Purpose: "HTTP", Remedy: "stop that process or change http.listen"})
	}
	return append(all, natsUses(cfg)...)
}

func natsUses(cfg *config.Config) []port.Use {
	all := []port.Use{{Address: cfg.NATS.Client.String(), Purpose: "NATS clients",
		Remedy: "stop that process or change nats.client.listen"}}
	if cfg.NATS.Cluster != (config.Address{}) {
		all = append(all, port.Use{Address: cfg.NATS.Cluster.String(), Purpose: "the other brokers",
			Remedy: "stop that process or change nats.cluster.listen"})
	}
	return all
}
