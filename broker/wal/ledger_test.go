package wal

import (
	"math/rand/v2"
	"testing"
)

func TestUseWithoutReservationPanics(t *testing.T) {
	for name, give := range map[string]func(*ledger){
		"append":  func(l *ledger) { l.use(Leader, 100) },
		"release": func(l *ledger) { l.release(Follower, 100) },
		"durable": func(l *ledger) { l.durable(Leader, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			give(&ledger{})
		})
	}
}

// Whatever sizes are promised, in whatever order they are placed and however many to a group: the
// files that the promise was made on take them.
func TestPromisedSpaceSuffices(t *testing.T) {
	const fileBytes, recordMax = 256 << 10, 64 << 10
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 3))
		l := ledger{queueMax: [budgets]int64{1 << 30, 1 << 30, 1 << 30}, wasteMax: charge(recordMax)}
		files := make([]*segment, 1+random.IntN(4))
		for i := range files {
			files[i] = &segment{capacity: fileBytes, used: blockBytes}
		}
		files[0].used += alignDown(random.Int64N(fileBytes - blockBytes))
		l.setSpace(files)
		var sizes [budgets][]int64
		for range 2000 {
			b := Budget(random.IntN(budgets))
			bytes := encodedLen(int(random.Int64N(1+random.Int64N(recordMax-recordHeaderBytes)) &^ 7))
			if b == Relief {
				bytes = recordHeaderBytes
			}
			if l.tryReserve(b, bytes) {
				sizes[b] = append(sizes[b], bytes)
			}
		}
		for len(sizes[Leader])+len(sizes[Follower])+len(sizes[Relief]) > 0 {
			group := int64(groupHeaderBytes)
			for b := range sizes {
				for len(sizes[b]) > 0 && random.IntN(3) > 0 {
					next := sizes[b][0]
					if alignUp(group+next) > fileBytes-blockBytes ||
						group > groupHeaderBytes && files[0].used+alignUp(group+next) > fileBytes {
						break
					}
					for files[0].used+alignUp(group+next) > fileBytes {
						if files = files[1:]; len(files) == 0 {
							t.Fatalf("seed %d: no file left for %d bytes", seed, next)
						}
					}
					group += next
					sizes[b] = sizes[b][1:]
				}
			}
			if group > groupHeaderBytes {
				files[0].used += alignUp(group)
			}
		}
	}
}

// However much of the space the others take, what gives space back finds the end of the last file.
func TestReliefFindsRoomWhereNobodyElseDoes(t *testing.T) {
	const fileBytes, recordMax = 256 << 10, 64 << 10
	l := ledger{queueMax: [budgets]int64{1 << 30, 1 << 30, 1 << 30}, wasteMax: charge(recordMax)}
	l.setSpace([]*segment{{capacity: fileBytes, used: fileBytes - blockBytes}, {capacity: fileBytes, used: blockBytes}})
	for _, b := range []Budget{Leader, Follower} {
		for l.tryReserve(b, recordHeaderBytes) {
		}
	}
	if l.strained() {
		t.Fatalf("%d bytes are left, of %d: what others take strains", l.left(), l.wasteMax)
	}
	count := int64(0)
	for ; l.tryReserve(Relief, recordHeaderBytes); count++ {
	}
	if want := l.wasteMax / charge(recordHeaderBytes); count < want || !l.strained() {
		t.Errorf("got room for %d records, want %d at least, strained %t", count, want, l.strained())
	}
}
