// Package verify looks into the data directory of a broker that is stopped, all of it, and says what is
// damaged. It reads with the code that a broker starts with and changes nothing.
//
//	meta.properties ──> who, and was it stopped in good order
//	metadata/ ────────> every block, log and key; the cluster image and every entry behind it
//	catalog/ ─────────> every block, log and key; where things lie
//	wal/ ─────────────> every group, record, pack and batch; against the catalog, and each log by itself
//
// nats-operator.json has no checksum: it holds passwords that a broker draws again if the file is gone.
package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"outrigger/broker/catalog"
	"outrigger/broker/partition"
	"outrigger/broker/pebblefs"
	"outrigger/broker/topic"
	"outrigger/cmd/outrigger/internal/datadir"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/raft"
	"outrigger/sidecar/raftstore"
)

// Report is what was found, as `outrigger verify --json` prints it.
type Report struct {
	Directory string       `json:"directory"`
	Cluster   string       `json:"cluster"`
	Node      topic.NodeID `json:"node"`
	// CleanStop: the broker was stopped in good order. Otherwise the end of its log may be torn, which is
	// no damage.
	CleanStop bool     `json:"clean_stop"`
	Damage    []Damage `json:"damage"`
	// Unneeded files are named by nothing, and nothing is lost with them.
	Unneeded []string `json:"unneeded"`
	Checked  Checked  `json:"checked"`
}

// Checked is what was looked at.
type Checked struct {
	Bytes      int64  `json:"bytes"`
	Files      int    `json:"files"`
	Packs      int    `json:"packs"`
	Groups     uint64 `json:"groups"`
	Batches    int64  `json:"batches"`
	Partitions int    `json:"partitions"`
	Topics     int    `json:"topics"`
	Entries    int    `json:"entries"`
}

// Damage is one place that is damaged.
type Damage struct {
	// File is relative to the directory, Byte the position in it, -1 if it is not known.
	File   string `json:"file"`
	Byte   int64  `json:"byte"`
	Reason string `json:"reason"`
	// Lost are the offsets that lie there, as far as that is known.
	Lost   []Lost `json:"lost"`
	Remedy string `json:"remedy"`
}

// Lost is a range of a partition's offsets, from From and below To.
type Lost struct {
	// Topic is the name, or the id if the cluster image has no such topic.
	Topic     string       `json:"topic"`
	Partition int32        `json:"partition"`
	From      topic.Offset `json:"from"`
	To        topic.Offset `json:"to"`
}

// Progress is told what is looked at, and how far that has come.
type Progress func(what string, done, all int64)

// What helps.
const (
	remedyRefill = "move the directory away, all of it, and start the broker: it joins with a new disk and is filled from " +
		"the other brokers; without another replica, restore the directory from a copy"
	remedyWAL = "start the broker with log.damage.policy=repair (the default): it sets this file and the later ones aside " +
		"and fetches from the leaders what they held; a partition without another replica loses the offsets named here"
	remedyPack = "start the broker: it cuts these partitions before the damage and fetches the rest from their leaders; " +
		"a partition without another replica loses the offsets named here"
	remedyUnused = "none is needed: no batch that is still needed lies there, and the pack goes with its other batches"
	remedyMeta   = "restore meta.properties from a copy; without one, move the directory away, all of it, and start the broker"
)

// Dir verifies the data directory at path. A *datadir.Refusal or any other error means that it could not
// look; damage is in the report.
func Dir(path string, progress Progress) (report *Report, err error) {
	dir, err := datadir.Look(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	v := &verifier{dir: dir, progress: progress, report: &Report{
		Directory: dir.Path, Cluster: dir.Identity.Cluster, Node: dir.Identity.Node, CleanStop: dir.CleanStop,
		Damage: []Damage{}, Unneeded: []string{},
	}, image: cluster.Empty()}
	if dir.Damage != nil {
		v.damaged(Damage{File: "meta.properties", Byte: -1, Reason: dir.Damage.Error(), Remedy: remedyMeta})
	}
	if err := v.metadata(); err != nil {
		return nil, err
	}
	if err := v.logs(); err != nil {
		return nil, err
	}
	return v.report, nil
}

type verifier struct {
	dir      *datadir.Looked
	progress Progress
	report   *Report
	// image is the cluster image as far as it can be made: it has the names of topics.
	image *cluster.Image
}

func (v *verifier) damaged(d Damage) {
	if d.Lost == nil {
		d.Lost = []Lost{}
	}
	v.report.Damage = append(v.report.Damage, d)
}

// bad notes damaged places of a Pebble. Those that name a directory have no position.
func (v *verifier) bad(places []pebblefs.Bad) {
	for _, b := range places {
		d := Damage{File: v.relative(b.File), Byte: b.Byte, Reason: b.Reason, Remedy: remedyRefill}
		if info, err := os.Stat(b.File); err == nil && info.IsDir() {
			d.Byte = -1
		}
		v.damaged(d)
	}
}

func (v *verifier) relative(path string) string {
	if short, err := filepath.Rel(v.dir.Path, path); err == nil {
		return short
	}
	return path
}

// exists reports whether the directory of a store is there. A broker that was never more than begun has
// none of them yet; one that was used and lacks one is damaged.
func (v *verifier) exists(name string) (bool, error) {
	entries, err := os.ReadDir(filepath.Join(v.dir.Path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into %s: %w", name, err)
	}
	return len(entries) > 0, nil
}

// metadata verifies the Raft store, and makes the cluster image of it.
func (v *verifier) metadata() error {
	v.progress("metadata", 0, 0)
	there, err := v.exists(datadir.Metadata)
	if err != nil {
		return err
	}
	if !there {
		if v.dir.Identity.Cluster != "" || v.dir.CleanStop {
			v.damaged(Damage{File: datadir.Metadata, Byte: -1, Reason: "directory is missing or empty", Remedy: remedyRefill})
		}
		return nil
	}
	content, err := raftstore.Look(filepath.Join(v.dir.Path, datadir.Metadata), v.dir.CleanStop)
	if err != nil {
		return err
	}
	v.bad(content.Bad)
	if len(content.Bad) > 0 {
		return nil
	}
	v.report.Checked.Entries = len(content.Entries)
	if err := v.replay(content); errors.Is(err, cluster.ErrLevel) {
		return err
	} else if err != nil {
		v.damaged(Damage{File: datadir.Metadata, Byte: -1, Reason: err.Error(), Remedy: remedyRefill})
	}
	v.report.Checked.Topics = v.image.TopicCount()
	return nil
}

// replay decodes the image and applies the entries behind it. The last ones may not be committed: how far that
// goes is told late, and what they would do is nothing worse than what the others do.
func (v *verifier) replay(c raftstore.Content) error {
	identity := v.dir.Identity
	if v.dir.Damage == nil {
		_, err := raft.New(raft.Config{Node: identity.Node, Disk: identity.Disk, Session: 1,
			Voters: []topic.NodeID{identity.Node}, Cluster: identity.Cluster}, c.State)
		if err != nil {
			return err
		}
	}
	image := cluster.Empty()
	if c.Image != nil {
		var err error
		if image, err = cluster.DecodeImage(c.Image); err != nil {
			return err
		}
	}
	batch := image.Edit()
	for _, e := range c.Entries {
		if e.Kind == raft.EntryMembership {
			if _, err := raft.DecodeMembership(e.Data); err != nil {
				return fmt.Errorf("entry %d: %w", e.Index, err)
			}
		}
		var command cluster.Command
		if e.Kind == raft.EntryCommand {
			var err error
			if command, err = cluster.Decode(e.Data); err != nil {
				return fmt.Errorf("entry %d: %w", e.Index, err)
			}
		}
		switch {
		case e.Index <= image.AppliedIndex():
		case command != nil:
			batch.Apply(e.Index, command)
		default:
			batch.Advance(e.Index)
		}
	}
	v.image = batch.Image()
	if err := v.image.CheckLevel(); err != nil {
		return err
	}
	if err := v.image.Check(); err != nil {
		return fmt.Errorf("cluster image at %d: %w", v.image.AppliedIndex(), err)
	}
	return nil
}

// logs verifies the write-ahead log and the packs, with the catalog.
func (v *verifier) logs() (err error) {
	v.progress("catalog", 0, 0)
	there, err := v.exists(datadir.WAL)
	if err != nil {
		return err
	}
	if !there {
		if v.dir.CleanStop {
			v.damaged(Damage{File: datadir.WAL, Byte: -1, Reason: "directory is missing or empty", Remedy: remedyRefill})
		}
		return nil
	}
	c := partition.Verification{Dir: filepath.Join(v.dir.Path, datadir.WAL)}
	if there, err = v.exists(datadir.Catalog); err != nil {
		return err
	}
	if there {
		table, bad, err := catalog.Look(filepath.Join(v.dir.Path, datadir.Catalog), v.dir.CleanStop)
		if err != nil {
			return err
		}
		v.bad(bad)
		if table == nil {
			return nil // Without it nobody can say what the log should hold.
		}
		defer func() { err = errors.Join(err, table.Close()) }()
		c.Catalog = table
	}
	c.Sized = func(bytes int64) { v.report.Checked.Bytes = bytes }
	read := int64(0)
	c.Read = func(bytes int64) {
		read += bytes
		v.progress("logs", read, v.report.Checked.Bytes)
	}
	found, err := partition.Verify(c)
	if err != nil {
		return err
	}
	v.take(found)
	return nil
}

// take translates what package partition found.
func (v *verifier) take(found partition.Findings) {
	k := &v.report.Checked
	k.Files, k.Packs, k.Groups = found.Files, found.Packs, found.Groups
	k.Batches, k.Partitions = found.Batches, found.Partitions
	for _, name := range found.Unneeded {
		v.report.Unneeded = append(v.report.Unneeded, v.relative(name))
	}
	for _, f := range found.Damage {
		d := Damage{File: filepath.Join(datadir.WAL, f.File), Byte: f.Byte, Reason: f.Reason}
		switch f.Place {
		case partition.InChain:
			d.Remedy = remedyWAL
		case partition.InPack:
			d.Remedy = remedyPack
			if len(f.Lost) == 0 && f.Byte > 0 {
				d.Remedy = remedyUnused
			}
		case partition.InCatalog, partition.InLog:
			d.Remedy = remedyRefill
		}
		if f.File == "" {
			d.Byte = -1
		}
		for _, s := range f.Lost {
			d.Lost = append(d.Lost, Lost{Topic: v.name(s.Partition.Topic), Partition: s.Partition.Index, From: s.From, To: s.To})
		}
		v.damaged(d)
	}
}

func (v *verifier) name(id topic.ID) string {
	if t, ok := v.image.TopicByID(id); ok {
		return t.Name
	}
	return id.String()
}

// Sentence tells of one damaged place.
func (d Damage) Sentence() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Byte >= 0 {
		fmt.Fprintf(&b, " at byte %d", d.Byte)
	}
	b.WriteString(": " + d.Reason)
	return b.String()
}

// Offsets tells what lies there.
func (d Damage) Offsets() string {
	if len(d.Lost) == 0 {
		return "none known"
	}
	var all []string
	for _, l := range d.Lost {
		if l.To > l.From {
			all = append(all, fmt.Sprintf("%s/%d %d..%d", l.Topic, l.Partition, l.From, l.To-1))
		} else {
			all = append(all, fmt.Sprintf("%s/%d at %d", l.Topic, l.Partition, l.From))
		}
	}
	return strings.Join(all, ", ")
}
