package group

// Time is one moment on two clocks.
type Time struct {
	// Mono is milliseconds on a clock that never jumps: timers count on it.
	Mono int64
	// Wall is milliseconds since 1970: what records say and what expires offsets.
	Wall int64
}

// Token names a request that waits for its reply; zero names none.
type Token uint64

// Event is a request to a group.
type Event interface{ token() Token }

// Protocol is one way of assigning partitions that a member knows, with what it says of itself in it.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Join asks to be a member of the next generation. The answer is *Joined.
type Join struct {
	Token Token
	// MemberID is empty for a new member; NewID is the id that it gets then.
	MemberID, NewID string
	// Instance is the id of a static member, nil for a dynamic one.
	Instance       *string
	ClientID, Host string
	ProtocolType   string
	Protocols      []Protocol
	// SessionMillis is after how much silence the member is taken out, RebalanceMillis how long the
	// others wait for it to join again.
	SessionMillis, RebalanceMillis int32
	// NamesFirst: a new dynamic member is told its id and joins under it (JoinGroup v4).
	NamesFirst bool
	// Skips: a leader that comes back understands that it need not assign (JoinGroup v9).
	Skips bool
}

// Joined is a member's place in a generation.
type Joined struct {
	MemberID               string
	Generation             int32
	ProtocolType, Protocol string
	Leader                 string
	// Skip: the leader need not assign anything.
	Skip bool
	// Members are told to the leader alone.
	Members []JoinedMember
}

// JoinedMember is a member as the leader sees it.
type JoinedMember struct {
	ID       string
	Instance *string
	Metadata []byte
}

// Sync brings the leader's assignment, or asks for one's own. The answer is *Synced.
type Sync struct {
	Token      Token
	MemberID   string
	Instance   *string
	Generation int32
	// ProtocolType and Protocol are checked if given (SyncGroup v5).
	ProtocolType, Protocol *string
	// Assignments by member id; the leader's alone count.
	Assignments map[string][]byte
}

// Synced is a member's assignment.
type Synced struct {
	ProtocolType, Protocol string
	Assignment             []byte
}

// Heartbeat says that a member lives. The answer has no result.
type Heartbeat struct {
	Token      Token
	MemberID   string
	Instance   *string
	Generation int32
}

// Leave takes members out. The answer is *Left.
type Leave struct {
	Token   Token
	Members []Leaver
}

// Leaver is a member that leaves; an empty ID stands for whoever has the instance id.
type Leaver struct {
	ID       string
	Instance *string
}

// Left tells what became of each member that was to leave, in the order of the request.
type Left struct{ Errs []error }

// Place is a partition of a topic.
type Place struct {
	Topic     string
	Partition int32
}

// Offset is what was committed for a partition.
type Offset struct {
	Offset int64
	// LeaderEpoch is that of the last record that was consumed, -1 if not told.
	LeaderEpoch int32
	Metadata    string
	// CommittedAt and ExpiresAt are milliseconds since 1970; ExpiresAt is -1 unless the client set it.
	CommittedAt, ExpiresAt int64
	// TopicID is that of the topic at the time of the commit, zero if not known.
	TopicID [16]byte
}

// Commit keeps offsets. The answer is *Committed.
type Commit struct {
	Token    Token
	MemberID string
	Instance *string
	// Generation is negative for those who are not members.
	Generation int32
	// KnowsEpochs: the request is of a version that tells member epochs (OffsetCommit v9).
	KnowsEpochs bool
	Offsets     []CommitOffset
}

// CommitOffset is one offset to keep. CommittedAt is filled in by the Machine.
type CommitOffset struct {
	Place
	Offset
}

// Committed tells what became of each offset, in the order of the request.
type Committed struct{ Errs []error }

// Fetch asks for committed offsets. The answer is *Fetched.
type Fetch struct {
	Token Token
	// All asks for every offset of the group, otherwise Places says which.
	All    bool
	Places []Place
	// MemberID and Epoch are those of a member of a consumer group that asks (OffsetFetch v9); nobody's
	// is nil and negative.
	MemberID *string
	Epoch    int32
	// Stable asks which of the offsets an open transaction may change.
	Stable bool
}

// Fetched holds one offset for each place of the request, or all that there are, sorted. Where
// nothing was committed the offset is -1.
type Fetched struct {
	Offsets []CommitOffset
	// Unstable says of each offset whether an open transaction may change it; nil if that is so of none,
	// or was not asked.
	Unstable []bool
}

// DeleteOffsets takes committed offsets away. The answer is *Committed.
type DeleteOffsets struct {
	Token  Token
	Places []Place
}

// Delete takes the whole group away, if it is empty. The answer has no result.
type Delete struct{ Token Token }

func (e Join) token() Token          { return e.Token }
func (e Sync) token() Token          { return e.Token }
func (e Heartbeat) token() Token     { return e.Token }
func (e Leave) token() Token         { return e.Token }
func (e Commit) token() Token        { return e.Token }
func (e Fetch) token() Token         { return e.Token }
func (e DeleteOffsets) token() Token { return e.Token }
func (e Delete) token() Token        { return e.Token }

// Effects is what is to be done after a Step or a Tick.
type Effects struct {
	// Records are to be appended to the group's partition, in this order and in one go: all of them
	// or none. When that fails the Machine must not be used any more.
	Records []Record
	// Replies are to be sent, each to the request of its token, which is waited for no longer.
	Replies []Reply
}

// Reset empties fx for the next use.
func (fx *Effects) Reset() { fx.Records, fx.Replies = fx.Records[:0], fx.Replies[:0] }

// Reply answers one request.
type Reply struct {
	Token Token
	// AfterRecords: the reply tells of state whose records may not be committed yet. It must not be
	// sent before everything that this group has ever put into Effects.Records is: a client that heard of it
	// sooner could see it undone by a new coordinator.
	AfterRecords bool
	// Result is of the type that the event names; with an Err it may be nil.
	Result any
	Err    error
}

func (fx *Effects) refuse(t Token, err error) {
	if t != 0 {
		fx.Replies = append(fx.Replies, Reply{Token: t, Err: err})
	}
}

func (fx *Effects) reply(t Token, result any) {
	if t != 0 {
		fx.Replies = append(fx.Replies, Reply{Token: t, Result: result, AfterRecords: true})
	}
}
