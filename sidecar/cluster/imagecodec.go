package cluster

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"sort"

	"outrigger/broker/topic"
)

// ImageBytesMax bounds an encoded image: a few million partitions.
const ImageBytesMax = 512 << 20

const (
	imageVersion = 4
	// imageVersionOld is read, too: its registrations do not tell a largest batch, nobody claims anything.
	imageVersionOld = 1
	// imageVersionStatic is the one before configs of other resources than topics, and epochs of configs.
	imageVersionStatic = 2
	// imageVersionFixed is the one before replicas, brokers and voters could move.
	imageVersionFixed = 3
	// imageVersionNext is that of levelNext.
	imageVersionNext = 5

	// levelNext is the level that only builds for tests speak.
	levelNext = 4
)

// imageVersionAt is the version that an image is written in: what every broker reads.
func imageVersionAt(level uint16) uint8 {
	if level >= levelNext {
		return imageVersionNext
	}
	return imageVersion
}

// Encode writes the whole image, the same bytes for the same image on every node. With the notation
// of Encode for commands:
//
//	version u8 = 4 | level u16 | u applied | s cluster id
//	v default min in sync | u8 default unclean | v next producer id | v placed | u buried
//	[ broker | u8 fenced | [session] | v message bytes max ]              by node id
//	[ id | s name | configs | v config epoch | u8 internal | [ placement ] ]   by topic id
//	[ id | u order ]                                                      tombstones, by order
//	[ u8 resource kind | s name | v epoch | configs ]                     by kind and name
//	[ v node ] voters | at level 4: u8 1
//
//	placement   [v replica] | u8 0, or u8 1 | [v node] origin | [v node] target
//	            [v node] evicted | [member] in sync | [member] eligible | [v node] last known
//	            v leader | leader session | v leader epoch | u8 unclean | v unclean epoch
//	            v partition epoch | if nobody leads: [ member | v tail epoch | v end ] claims
func (im *Image) Encode() []byte {
	w := writer{bytes: make([]byte, 0, 1024+256*im.byID.count)}
	version := imageVersionAt(im.level)
	w.u8(version)
	w.u16(im.level)
	w.uvarint(im.applied)
	w.string(im.clusterID)
	im.defaults.append(&w)
	w.varint(im.nextProducerID)
	w.varint(im.placed)
	w.uvarint(im.buried)
	w.uvarint(uint64(len(im.brokers)))
	for i := range im.brokers {
		w.registration(&im.brokers[i])
	}
	w.uvarint(uint64(im.byID.count))
	for t := range im.byID.all() {
		w.topic(t)
	}
	w.uvarint(uint64(im.burials.count))
	for s := range im.burials.all() {
		w.raw(s.id[:])
		w.uvarint(s.order)
	}
	w.uvarint(uint64(im.configs.count))
	for c := range im.configs.all() {
		w.configured(c)
	}
	w.nodes(im.voters)
	if version == imageVersionNext {
		w.bool(true)
	}
	return w.bytes
}

// CheckImageLevel looks at the front of what Image.Encode wrote, and returns a LevelError if this build does not
// speak its level. Whatever else is wrong there DecodeImage tells.
func CheckImageLevel(b []byte) error {
	r := reader{bytes: b}
	r.u8()
	if level := r.u16(); r.err == nil && level > Level {
		return unsupported(level)
	}
	return nil
}

// DecodeImage reads what Image.Encode wrote and checks the result as Check does.
func DecodeImage(b []byte) (*Image, error) {
	if len(b) > ImageBytesMax {
		return nil, fmt.Errorf("decode image: %w: %d bytes, at most %d",
			ErrFormat, len(b), ImageBytesMax)
	}
	if err := CheckImageLevel(b); err != nil {
		return nil, fmt.Errorf("decode image: %w", err)
	}
	r := reader{bytes: b}
	version := r.u8()
	level := r.u16()
	if r.err == nil && (version < imageVersionOld || version > imageVersionAt(level)) {
		r.fail("version %d at level %d", version, level)
	}
	im := r.image(version, level)
	if err := r.finish(); err != nil {
		return nil, fmt.Errorf("decode image: %w", err)
	}
	if err := im.Check(); err != nil {
		return nil, fmt.Errorf("decode image: %w: %w", ErrFormat, err)
	}
	return im, nil
}

// Hash tells images apart: it is that of the encoded image. Nodes compare it at equal indexes.
func (im *Image) Hash() uint64 {
	h := fnv.New64a()
	_, _ = h.Write(im.Encode()) // A hash never fails.
	return h.Sum64()
}

func (w *writer) registration(r *registration) {
	w.broker(&r.broker)
	w.bool(r.broker.Fenced)
	w.uvarint(uint64(len(r.retired)))
	for _, session := range r.retired {
		w.u64(uint64(session))
	}
	w.varint(int64(r.broker.MessageBytesMax))
}

func (w *writer) topic(t *topic.Topic) {
	w.raw(t.ID[:])
	w.string(t.Name)
	w.strings(t.Configs)
	w.varint(int64(t.ConfigEpoch))
	w.bool(t.Internal)
	w.uvarint(uint64(len(t.Partitions)))
	for _, p := range t.Partitions {
		w.placement(p)
	}
}

func (w *writer) placement(p *topic.Placement) {
	w.nodes(p.Replicas)
	w.bool(p.Moving())
	if p.Moving() {
		w.nodes(p.Origin)
		w.nodes(p.Target)
	}
	w.nodes(p.Evicted)
	w.members(p.ISR)
	w.members(p.Eligible)
	w.nodes(p.LastKnown)
	w.varint(int64(p.Leader))
	w.u64(uint64(p.LeaderSession))
	w.varint(int64(p.LeaderEpoch))
	w.bool(p.Unclean)
	w.varint(int64(p.UncleanEpoch))
	w.varint(int64(p.PartitionEpoch))
	if p.Leader != topic.NoNode {
		return
	}
	w.uvarint(uint64(len(p.Claims)))
	for _, c := range p.Claims {
		w.member(c.Member)
		w.varint(int64(c.TailEpoch))
		w.varint(int64(c.End))
	}
}

// Least encoded sizes of what an image lists.
const (
	registrationBytesMin = 30
	topicBytesMin        = 20
	placementBytesMin    = 18
	tombstoneBytesMin    = 17
)

func (r *reader) image(version uint8, level uint16) *Image {
	im := &Image{level: level}
	if r.err == nil && level == 0 {
		r.fail("level 0")
	}
	im.applied = r.uvarint()
	im.clusterID = r.string()
	im.defaults = SetDefaults{MinInSync: r.i32(), UncleanElection: r.bool()}
	im.nextProducerID = r.varint()
	im.placed = r.varint()
	im.buried = r.uvarint()
	im.brokers = list(r, registrationBytesMin, func() registration { return r.registration(version) })
	topics := list(r, topicBytesMin, func() *topic.Topic { return r.topic(version) })
	tombstones := list(r, tombstoneBytesMin, r.tombstone)
	if version > imageVersionStatic {
		im.configs = build(list(r, configuredBytesMin, r.configured))
	}
	if version > imageVersionFixed {
		im.voters = r.nodes()
	}
	if version == imageVersionNext && !r.bool() {
		r.fail("no mark of level 4")
	}
	if r.err != nil {
		return nil
	}
	im.index(topics)
	im.entomb(tombstones)
	im.inherit()
	return im
}

// index builds the indexes of topics; their order and whether they are unique is Check's to say.
func (im *Image) index(topics []*topic.Topic) {
	im.byID = build(topics)
	byName := append([]*topic.Topic(nil), topics...)
	sort.Slice(byName, func(i, j int) bool { return byName[i].Name < byName[j].Name })
	im.byName = build(byName)
	var folded []string
	for _, t := range topics {
		if collides(t.Name) {
			folded = append(folded, t.Name)
		}
	}
	sort.Slice(folded, func(i, j int) bool { return fold(folded[i]) < fold(folded[j]) })
	im.folded = build(folded)
}

// entomb builds the indexes of tombstones, likewise.
func (im *Image) entomb(burials []tombstone) {
	im.burials = build(burials)
	byID := append([]tombstone(nil), burials...)
	sort.Slice(byID, func(i, j int) bool { return bytes.Compare(byID[i].id[:], byID[j].id[:]) < 0 })
	im.tombstones = build(byID)
}

func (r *reader) registration(version uint8) registration {
	registered := registration{broker: r.broker()}
	registered.broker.Fenced = r.bool()
	registered.retired = list(r, 8, r.session)
	if version > imageVersionOld {
		registered.broker.MessageBytesMax = r.i32()
	}
	return registered
}

func (r *reader) topic(version uint8) *topic.Topic {
	t := &topic.Topic{ID: r.topicID(), Name: r.string(), Configs: r.strings()}
	if version > imageVersionStatic {
		t.ConfigEpoch = r.i32()
	}
	t.Internal = r.bool()
	t.Partitions = list(r, placementBytesMin, func() *topic.Placement { return r.placement(version) })
	return t
}

func (r *reader) tombstone() tombstone { return tombstone{id: r.topicID(), order: r.uvarint()} }

func (r *reader) placement(version uint8) *topic.Placement {
	p := &topic.Placement{Replicas: r.nodes()}
	if version > imageVersionFixed {
		if r.bool() {
			p.Origin, p.Target = r.nodes(), r.nodes()
		}
		p.Evicted = r.nodes()
	}
	p.ISR, p.Eligible, p.LastKnown = r.members(), r.members(), r.nodes()
	p.Leader, p.LeaderSession, p.LeaderEpoch = r.node(), r.session(), topic.Epoch(r.i32())
	p.Unclean, p.UncleanEpoch, p.PartitionEpoch = r.bool(), topic.Epoch(r.i32()), r.i32()
	if p.Leader == topic.NoNode && version > imageVersionOld {
		p.Claims = list(r, memberBytesMin+2, r.claim)
	}
	return p
}

func (r *reader) claim() topic.Claim {
	return topic.Claim{Member: r.member(), TailEpoch: topic.Epoch(r.i32()), End: topic.Offset(r.varint())}
}
