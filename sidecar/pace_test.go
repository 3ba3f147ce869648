package sidecar

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPacesTickTogetherWheneverTheyWereStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		<-time.After(37 * time.Millisecond)
		slow := newPace(200 * time.Millisecond)
		defer slow.stop()
		<-time.After(16 * time.Millisecond)
		fast := newPace(100 * time.Millisecond)
		defer fast.stop()
		for range 5 {
			<-slow.C
			slow.fired()
			slow.next(1)
			if past := time.Now().UnixMilli() % 200; past != 0 {
				t.Fatalf("the slow pace ticked %d ms past a multiple of its period, want 0", past)
			}
			for range 2 {
				<-fast.C
				fast.fired()
				fast.next(1)
				if past := time.Now().UnixMilli() % 100; past != 0 {
					t.Fatalf("the fast pace ticked %d ms past a multiple of its period, want 0", past)
				}
			}
		}
	})
}

func TestPaceSkipsWhatItsOwnerWasTooBusyFor(t *testing.T) {
	const period = 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		p := newPace(period)
		defer p.stop()
		<-p.C
		<-time.After(370 * time.Millisecond)
		p.fired()
		p.next(1)
		last := time.Now()
		for range 3 {
			<-p.C
			p.fired()
			p.next(1)
			if apart := time.Since(last); apart < period/2 || apart > 3*period/2 {
				t.Fatalf("ticks are %s apart, want %s give or take half", apart, period)
			}
			last = time.Now()
		}
	})
}

func TestStrideStandsForThePlannedTicksHoweverLateItIs(t *testing.T) {
	const period = 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		p := newPace(period)
		defer p.stop()
		<-p.C
		p.fired()
		for !p.onBeat(2) {
			p.next(1)
			<-p.C
			p.fired()
		}
		p.next(2)
		<-time.After(time.Minute) // A stopped process.
		if got := p.gone(); got != 1 {
			t.Errorf("ticks gone before the end of a stride of two: got %d, want 1", got)
		}
		<-p.C
		if got := p.fired(); got != 1 {
			t.Errorf("ticks at the end of the stride: got %d, want the other 1", got)
		}
		p.next(2)
		<-p.C
		if got := p.fired(); got < 1 || got > 2 {
			t.Errorf("ticks after a minute's stop: got %d, want at most 2", got)
		}
	})
}

func TestHurriedStrideTicksAtTheNextPeriod(t *testing.T) {
	const period = 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		p := newPace(period)
		defer p.stop()
		for {
			<-p.C
			p.fired()
			if p.onBeat(4) {
				break
			}
			p.next(1)
		}
		began := time.Now()
		p.next(4)
		<-time.After(130 * time.Millisecond)
		passed := p.gone()
		p.hurry()
		<-p.C
		passed += p.fired()
		if took := time.Since(began); took != 2*period || passed != 2 {
			t.Errorf("hurried after 1.3 periods: got %d ticks in %s, want 2 in %s", passed, took, 2*period)
		}
	})
}
