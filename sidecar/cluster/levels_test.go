package cluster

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"outrigger/broker/topic"
)

// speaking is a registration of a broker that speaks these levels.
func speaking(node topic.NodeID, session topic.Session, l topic.Levels) RegisterBroker {
	return RegisterBroker{Unconditional: true, Broker: topic.Broker{
		ID: node, Session: session, Disk: topic.DiskID{byte(node)}, Version: "1.2.3", Levels: l}}
}

// A level is finalized once every registered broker speaks it, and then nobody joins who does not.
func TestLevelIsFinalizedOnceEveryBrokerSpeaksIt(t *testing.T) {
	w := newWorld(t, 0)
	both := topic.Levels{Min: 1, Max: 3}
	w.gets(OK, speaking(1, 11, both))
	w.gets(OK, speaking(2, 21, both))
	w.gets(OK, speaking(3, 31, topic.Levels{})) // from before there were levels
	w.gets(Refused, SetLevel{Level: 3})
	w.gets(OK, FenceBroker{Node: 3, Session: 31})
	w.gets(Refused, SetLevel{Level: 3}) // it may come back
	if got := w.im.Lacking(3); !slices.Equal(got, []topic.NodeID{3}) {
		t.Errorf("got %v lacking level 3, want 3", got)
	}
	w.gets(OK, speaking(3, 32, both))
	w.gets(OK, SetLevel{Level: 3})
	w.gets(OK, SetLevel{Level: 2}) // late
	if w.im.Level() != 3 {
		t.Fatalf("got level %d, want 3", w.im.Level())
	}
	w.gets(Refused, speaking(3, 33, topic.Levels{}))
	w.gets(Refused, speaking(4, 41, topic.Levels{Min: 4, Max: 5}))
	w.gets(OK, speaking(4, 41, topic.Levels{Min: 3, Max: 4}))
	check := w.im.CheckLevel()
	read, decode := DecodeImage(w.im.Encode())
	switch {
	case Level < 3 && (!errors.Is(check, ErrLevel) || !errors.Is(decode, ErrLevel)):
		t.Errorf("got %v and %v from a build that does not speak level 3, want %v", check, decode, ErrLevel)
	case Level >= 3 && (check != nil || decode != nil || read.Level() != 3 || read.Hash() != w.im.Hash()):
		t.Errorf("got %v, %v and %+v, want the same image", check, decode, read)
	}
}

// A new cluster begins at the newest level, once somebody is registered. Its id comes last.
func TestNewClusterIsFoundedAtTheNewestLevel(t *testing.T) {
	w := newWorld(t, 0)
	wants := func(id string, want ...Command) {
		t.Helper()
		if got := w.im.Found(id); !slices.Equal(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
	wants("new") // nobody is registered
	w.gets(OK, speaking(1, 11, Supported()))
	w.gets(OK, speaking(2, 21, Supported()))
	wants("") // the Raft has no id
	wants("new", SetLevel{Level: Level}, SetClusterID{ID: "new"})
	w.gets(OK, SetLevel{Level: Level})
	wants("new", SetClusterID{ID: "new"}) // as the next controller, if the first has come no further
	w.gets(OK, SetClusterID{ID: "new"})
	wants("new")
	if w.im.Level() != Level {
		t.Errorf("got level %d, want %d", w.im.Level(), Level)
	}
	w.gets(Refused, speaking(3, 31, topic.Levels{})) // of an older version, late
}

// Whichever of the founder's commands and an older version's registration stands first in the log, no broker
// is registered that does not speak the level, and the cluster gets its id.
func TestOlderVersionThatRegistersInTimeKeepsTheLevel(t *testing.T) {
	older := speaking(2, 21, topic.Levels{})
	for name, late := range map[string]bool{"before the founder looks": false, "when it has proposed": true} {
		w := newWorld(t, 0)
		w.gets(OK, speaking(1, 11, Supported()))
		if late {
			proposed := w.im.Found("new")
			w.gets(OK, older)
			w.gets(Refused, proposed[0])
			w.gets(OK, proposed[1])
		} else {
			w.gets(OK, older)
			proposed := w.im.Found("new")
			if !slices.Equal(proposed, []Command{SetClusterID{ID: "new"}}) {
				t.Fatalf("%s: got %+v, want that the cluster gets its id", name, proposed)
			}
			w.gets(OK, proposed[0])
		}
		w.gets(OK, speaking(2, 22, Supported())) // upgraded
		if got := w.im.Found("new"); len(got) > 0 || w.im.Level() != topic.FirstLevel {
			t.Errorf("%s: got %+v next at level %d, want nothing at level %d: an operator decides", name, got, w.im.Level(), topic.FirstLevel)
		}
	}
}

// A cluster from before there were more levels is not taken for a new one, not even if all its brokers were
// replaced by ones that speak more.
func TestFoundedClusterStaysAtItsLevel(t *testing.T) {
	w := newWorld(t, 0)
	w.gets(OK, SetClusterID{ID: "old"}) // as versions did that spoke the first level alone
	w.gets(OK, speaking(1, 11, topic.Levels{}))
	w.gets(OK, speaking(2, 21, Supported()))
	w.gets(OK, FenceBroker{Node: 1, Session: 11})
	w.gets(OK, UnregisterBroker{Node: 1})
	if got := w.im.Found("old"); len(got) > 0 || w.im.Level() != topic.FirstLevel {
		t.Errorf("got %+v at level %d, want nothing at level %d", got, w.im.Level(), topic.FirstLevel)
	}
	w.gets(OK, SetLevel{Level: Level}) // outrigger cluster upgrade
	if w.im.Level() != Level {
		t.Errorf("got level %d, want %d", w.im.Level(), Level)
	}
}

// Adoption changes nothing but catalogs: an image of its level has the layout of the first.
func TestImageOfAdoptionLevelHasTheOldLayout(t *testing.T) {
	w := newWorld(t, 0)
	w.gets(OK, speaking(1, 11, Supported()))
	w.gets(OK, SetLevel{Level: topic.AdoptionLevel})
	b := w.im.Encode()
	if b[0] != imageVersion || b[2] != topic.AdoptionLevel {
		t.Errorf("got version %d at level %d, want version %d at level %d", b[0], b[2], imageVersion, topic.AdoptionLevel)
	}
	if read, err := DecodeImage(b); err != nil || read.Hash() != w.im.Hash() {
		t.Errorf("got %v, want the same image", err)
	}
}

// A version from before there were levels carries them in the string that it knows as the version.
func TestLevelsTravelBehindTheVersion(t *testing.T) {
	for joined, want := range map[string]topic.Levels{
		"1.2.3": {}, "1.2.3 levels=1-2": {Min: 1, Max: 2}, "": {}, " levels=2-9": {Min: 2, Max: 9},
		"1 levels=x-2": {}, "1 levels=1": {}, "1 levels=1-70000": {}, "a levels=1-2 levels=3-4": {Min: 3, Max: 4},
	} {
		version, got := splitLevels(joined)
		if got != want || joinLevels(version, got) != joined {
			t.Errorf("%q: got %q and %v, want %v", joined, version, got, want)
		}
	}
	for joined, want := range map[string]int32{
		"1.2.3": 0, "1.2.3 batch=5": 5, "": 0, " batch=2147483647": 1<<31 - 1, "1 batch=2147483648": 0, "1 batch=0": 0,
		"1 batch=-1": 0, "1 batch=05": 0, "1 batch=": 0, "a batch=1 batch=2": 2,
	} {
		if version, got := splitBatchBytes(joined); got != want || joinBatchBytes(version, got) != joined {
			t.Errorf("%q: got %q and %d, want %d", joined, version, got, want)
		}
	}
	said := speaking(1, 1, Supported())
	said.Broker.Version, said.Broker.BatchBytesMax = "1.2.3", 77
	w := newWorld(t, 0)
	w.gets(OK, said)
	if read, err := DecodeImage(w.im.Encode()); err != nil || read.Registered()[0].BatchBytesMax != 77 || read.Registered()[0].Version != "1.2.3" {
		t.Errorf("got %+v and %v, want what was registered", read, err)
	}
	first := topic.Levels{Min: 1, Max: 1}
	old, told := speaking(1, 1, topic.Levels{}), speaking(1, 1, first)
	if !bytes.Equal(Encode(old), Encode(told)) {
		t.Error("a broker that speaks the first level alone registers with other bytes than it used to")
	}
}

// While the first level is finalized, images and commands are what every version reads; a command that
// finalizes another one is not for versions that know of no levels.
func TestFirstLevelIsWrittenAsEver(t *testing.T) {
	w := newWorld(t, 3)
	if b := w.im.Encode(); b[0] != imageVersion {
		t.Errorf("got an image of version %d, want %d", b[0], imageVersion)
	}
	for c, want := range map[Command]byte{SetClusterID{ID: "a"}: 1, SetLevel{Level: 1}: 1, SetLevel{Level: 2}: 2, FenceBroker{}: 1} {
		if b := Encode(c); b[1] != 0 || b[2] != want {
			t.Errorf("%T: got level %d, want %d", c, b[2], want)
		}
	}
}
