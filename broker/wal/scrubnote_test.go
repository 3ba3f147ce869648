package wal_test

import (
	"testing"
	"testing/synctest"
	"time"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

const week = 7 * 24 * time.Hour

// weekly is a log that is scrubbed once a week at that pace, and what was found in it.
func weekly(fs *waltest.FS, pace int64, found *[]wal.Damage) wal.Config {
	cfg := small(fs)
	cfg.Scrub = wal.Scrub{Interval: week, BytesPerSecond: pace,
		Found: func(d wal.Damage) { *found = append(*found, d) }}
	return cfg
}

// during runs the log for so long, does something first, and returns what it has scrubbed.
func during(t *testing.T, cfg wal.Config, span time.Duration, do func(*node)) wal.ScrubStats {
	t.Helper()
	n := start(t, cfg)
	if do != nil {
		do(n)
	}
	time.Sleep(span) //nolint:forbidigo // the clock of a bubble
	synctest.Wait()
	stats := n.ScrubStats()
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	return stats
}

// A broker that is started again before each pass is scrubbed as often as one that runs on.
func TestScrubComesInItsTimeHoweverOftenTheLogIsStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var found []wal.Damage
		cfg := weekly(waltest.New(), 1<<30, &found)
		write := func(n *node) { n.putDurable(series(1, 20, 5000)...) }
		if stats := during(t, cfg, 3*24*time.Hour, write); stats.Passes != 0 || stats.Ended.IsZero() {
			t.Fatalf("got %+v after three days", stats)
		}
		cfg.Session = nextSession()
		if stats := during(t, cfg, 3*24*time.Hour, nil); stats.Passes != 0 {
			t.Fatalf("got %+v after six days", stats)
		}
		cfg.Session = nextSession()
		stats := during(t, cfg, 2*24*time.Hour, nil)
		if stats.Passes != 1 || stats.Bytes < 100_000 || time.Since(stats.Ended).Round(time.Second) != 24*time.Hour {
			t.Fatalf("got %+v after eight days, want a pass that ended a day ago", stats)
		}
		cfg.Session = nextSession()
		if again := during(t, cfg, time.Hour, nil); !again.Ended.Equal(stats.Ended.Truncate(time.Millisecond)) || again.Passes != 0 {
			t.Errorf("got %+v after a start, want to know of the pass that ended at %v", again, stats.Ended)
		}
		if len(found) > 0 {
			t.Errorf("found %v in a good log", found)
		}
	})
}

// aWeekAfter writes a log, and passes a week after it was stopped.
func aWeekAfter(t *testing.T, cfg wal.Config) (all []wal.Placed) {
	t.Helper()
	during(t, cfg, time.Hour, func(n *node) {
		n.putDurable(series(1, 60, 5000)...)
		all = n.sink.durables()
	})
	time.Sleep(week) //nolint:forbidigo // the clock of a bubble
	return all
}

// A pass that a stop cuts short goes on where it was: nothing good looks bad there, and what is bad is found.
func TestScrubGoesOnWhereAStopHasCutItShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var found []wal.Damage
		fs := waltest.New()
		cfg := weekly(fs, 1<<10, &found)
		all := aWeekAfter(t, cfg)
		bytes, cut := int64(0), 3
		for range cut {
			cfg.Session = nextSession()
			stats := during(t, cfg, 40*time.Second, nil)
			if stats.Passes != 0 || stats.Bytes == 0 {
				t.Fatalf("got %+v of a pass that is to be cut short", stats)
			}
			bytes += stats.Bytes
		}
		cfg.Session = nextSession()
		hit := all[len(all)-1]
		stats := during(t, cfg, time.Hour, func(*node) { unread(fs, hit.At.File, hit.At.Offset) })
		if bytes += stats.Bytes; stats.Passes != 1 || stats.Bytes > 400_000 || bytes > 550_000 {
			t.Errorf("got %+v, and %d bytes in all", stats, bytes)
		}
		if len(found) != 1 || found[0].At != groupOf(hit) {
			t.Errorf("found %v, want the group at %v", found, groupOf(hit))
		}
	})
}

// What a note says of a file that was set aside since, or that another got the number of, is not held against what lies
// there now. A note that is torn is none.
func TestScrubTrustsNoNoteOfWhatIsGone(t *testing.T) {
	for _, torn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var found []wal.Damage
			fs := waltest.New()
			cfg := weekly(fs, 1<<10, &found)
			all := aWeekAfter(t, cfg)
			cfg.Session = nextSession()
			if stats := during(t, cfg, 3*time.Minute, nil); stats.Passes != 0 {
				t.Fatalf("got %+v, want a pass that is cut short", stats)
			}
			if torn {
				fs.Damage(dir+"/scrub", func(b []byte) []byte { b[20]++; return b })
			}
			flip(fs, all[3].At.File, all[3].At.Offset+100)
			cfg.Session = nextSession()
			if _, err := wal.Quarantine(cfg); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				cfg.Session = nextSession()
				during(t, cfg, time.Minute, func(n *node) { n.putDurable(series(1000, 60, 5000)...) })
			}
			cfg.Session = nextSession()
			if stats := during(t, cfg, 2*week, nil); stats.Passes == 0 || len(found) > 0 {
				t.Errorf("got %+v, found %v in a good log", stats, found)
			}
		})
	}
}
