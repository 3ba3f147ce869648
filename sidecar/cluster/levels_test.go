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
	both := topic.Levels{Min: 1, Max: 2}
	w.gets(OK, speaking(1, 11, both))
	w.gets(OK, speaking(2, 21, both))
	w.gets(OK, speaking(3, 31, topic.Levels{})) // from before there were levels
	w.gets(Refused, SetLevel{Level: 2})
	w.gets(OK, FenceBroker{Node: 3, Session: 31})
	w.gets(Refused, SetLevel{Level: 2}) // it may come back
	if got := w.im.Lacking(2); !slices.Equal(got, []topic.NodeID{3}) {
		t.Errorf("got %v lacking level 2, want 3", got)
	}
	w.gets(OK, speaking(3, 32, both))
	w.gets(OK, SetLevel{Level: 2})
	w.gets(OK, SetLevel{Level: 1}) // late
	if w.im.Level() != 2 {
		t.Fatalf("got level %d, want 2", w.im.Level())
	}
	w.gets(Refused, speaking(3, 33, topic.Levels{}))
	w.gets(Refused, speaking(4, 41, topic.Levels{Min: 3, Max: 4}))
	w.gets(OK, speaking(4, 41, topic.Levels{Min: 2, Max: 3}))
	check := w.im.CheckLevel()
	read, decode := DecodeImage(w.im.Encode())
	switch {
	case Level < 2 && (!errors.Is(check, ErrLevel) || !errors.Is(decode, ErrLevel)):
		t.Errorf("got %v and %v from a build that does not speak level 2, want %v", check, decode, ErrLevel)
	case Level >= 2 && (check != nil || decode != nil || read.Level() != 2 || read.Hash() != w.im.Hash()):
		t.Errorf("got %v, %v and %+v, want the same image", check, decode, read)
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
