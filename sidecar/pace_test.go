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
