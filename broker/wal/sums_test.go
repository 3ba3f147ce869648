package wal

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestChecksumsOfPiecesMakeTheChecksumOfTheWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b := make([]byte, random.IntN(1<<random.IntN(19)))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		cut, seed := random.IntN(len(b)+1), random.Uint32()
		head := crc32.Update(seed, castagnoli, b[:cut])
		got := multiply(head, shift(len(b)-cut)) ^ crc32.Checksum(b[cut:], castagnoli)
		if want := crc32.Update(seed, castagnoli, b); got != want {
			t.Fatalf("%d bytes cut at %d: got %08x, want %08x", len(b), cut, got, want)
		}
	}
}

func TestCarriedSumsWriteTheSameBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, size := range []int{sumsMin, sumsMin + 1, sumsMin + 7, 300_000, 1_048_588} {
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		plain := Record{Kind: Data, Base: 7, Count: 3, Epoch: 2, Payload: payload}
		summed := plain
		summed.Summed = size - 21
		summed.Sum = crc32.Checksum(payload[21:], castagnoli)
		var groups [2]openGroup
		for i, r := range []Record{plain, summed} {
			groups[i].begin(&segment{number: 5, seed: 99}, blockBytes, 2<<20)
			if !groups[i].add(&queued{record: r, bytes: EncodedLen(r)}) {
				t.Fatal("record does not fit")
			}
		}
		if groups[0].bodyCRC != groups[1].bodyCRC {
			t.Errorf("%d bytes: body checksum %08x, want %08x", size, groups[1].bodyCRC, groups[0].bodyCRC)
		}
		a, b := groups[0], groups[1]
		if string(a.buffer[groupHeaderBytes:a.length]) != string(b.buffer[groupHeaderBytes:b.length]) {
			t.Errorf("%d bytes: a carried checksum changes what is written", size)
		}
		lone := [2][]byte{make([]byte, EncodedLen(plain)), make([]byte, EncodedLen(plain))}
		putLoneRecord(lone[0], &plain, 99)
		putLoneRecord(lone[1], &summed, 99)
		if string(lone[0]) != string(lone[1]) {
			t.Errorf("%d bytes: a carried checksum changes what a pack holds", size)
		}
		payload[size/2] ^= 1 // after it was summed
		putLoneRecord(lone[1], &summed, 99)
		if _, _, err := parseRecord(lone[1], 99); err == nil && summed.Summed >= sumsMin {
			t.Errorf("%d bytes: a payload that changed in memory passes for the one that was summed", size)
		}
	}
}

// The shorter sizes say where sumsMin is to lie.
func BenchmarkSums(b *testing.B) {
	for _, size := range []int{1 << 10, 2 << 10, 4 << 10, 8 << 10, 15_700, 300_000} {
		payload := make([]byte, size)
		r := Record{Kind: Data, Payload: payload, Summed: size - 21, Sum: crc32.Checksum(payload[21:], castagnoli)}
		into := make([]byte, EncodedLen(r))
		encodeRecord(into, &r)
		b.Run(fmt.Sprintf("carried/%d", size), func(b *testing.B) {
			for b.Loop() {
				carrySums(into, &r, 1, 2)
			}
		})
		b.Run(fmt.Sprintf("computed/%d", size), func(b *testing.B) {
			for b.Loop() {
				recordCRC(into, 1)
				crc32.Update(2, castagnoli, into)
			}
		})
	}
}
