package cluster

import (
	"iter"
	"sort"
)

// chunkMax is the longest chunk of a sorted list. An edit copies one chunk and the list of chunks:
// at 10,000 elements about 1 KiB and 3 KiB.
const chunkMax = 128

// sorted is an immutable ordered list in chunks. Edits return a new list that shares every chunk
// but one with the old. The order is that of the compare functions its callers pass; a compare
// function says how the element stands to what is sought: negative when the element comes before.
type sorted[T any] struct {
	chunks [][]T
	count  int
}

// build makes a list of values that are in order already.
func build[T any](values []T) sorted[T] {
	s := sorted[T]{count: len(values)}
	for len(values) > 0 {
		n := min(len(values), chunkMax)
		s.chunks = append(s.chunks, values[:n:n])
		values = values[n:]
	}
	return s
}

// find returns the place of the sought element, or the place where it belongs.
func (s sorted[T]) find(compare func(T) int) (chunk, at int, found bool) {
	chunk = sort.Search(len(s.chunks), func(i int) bool {
		c := s.chunks[i]
		return compare(c[len(c)-1]) >= 0
	})
	if chunk == len(s.chunks) {
		return chunk, 0, false
	}
	c := s.chunks[chunk]
	at = sort.Search(len(c), func(i int) bool { return compare(c[i]) >= 0 })
	return chunk, at, compare(c[at]) == 0
}

// get returns the sought element.
func (s sorted[T]) get(compare func(T) int) (value T, found bool) {
	chunk, at, found := s.find(compare)
	if found {
		value = s.chunks[chunk][at]
	}
	return value, found
}

// with returns the list with value in the sought place, replacing what was there.
func (s sorted[T]) with(value T, compare func(T) int) sorted[T] {
	chunk, at, found := s.find(compare)
	if len(s.chunks) == 0 {
		return sorted[T]{chunks: [][]T{{value}}, count: 1}
	}
	if chunk == len(s.chunks) {
		chunk--
		at = len(s.chunks[chunk])
	}
	old := s.chunks[chunk]
	if found {
		fresh := append([]T(nil), old...)
		fresh[at] = value
		return s.splice(chunk, 1, s.count, fresh)
	}
	fresh := make([]T, 0, len(old)+1)
	fresh = append(append(append(fresh, old[:at]...), value), old[at:]...)
	if len(fresh) <= chunkMax {
		return s.splice(chunk, 1, s.count+1, fresh)
	}
	// A list that only grows at its end keeps full chunks; elsewhere chunks split in half.
	cut := len(fresh) / 2
	if at == len(old) {
		cut = at
	}
	return s.splice(chunk, 1, s.count+1, fresh[:cut:cut], fresh[cut:])
}

// without returns the list without the sought element.
func (s sorted[T]) without(compare func(T) int) sorted[T] {
	chunk, at, found := s.find(compare)
	if !found {
		return s
	}
	old := s.chunks[chunk]
	fresh := make([]T, 0, len(old)-1)
	fresh = append(append(fresh, old[:at]...), old[at+1:]...)
	if len(fresh) == 0 {
		return s.splice(chunk, 1, s.count-1)
	}
	// Small neighbours join, or deletions would leave a chunk per element.
	if next := chunk + 1; next < len(s.chunks) && len(fresh)+len(s.chunks[next]) <= chunkMax/2 {
		return s.splice(chunk, 2, s.count-1, append(fresh, s.chunks[next]...))
	}
	return s.splice(chunk, 1, s.count-1, fresh)
}

// splice returns the list with n chunks from at on replaced.
func (s sorted[T]) splice(at, n, count int, fresh ...[]T) sorted[T] {
	chunks := make([][]T, 0, len(s.chunks)-n+len(fresh))
	chunks = append(append(append(chunks, s.chunks[:at]...), fresh...), s.chunks[at+n:]...)
	return sorted[T]{chunks: chunks, count: count}
}

// mapped returns the list with change applied to every element, in order. It copies only chunks in
// which change returned something else; change must not alter the order.
func mapped[T comparable](s sorted[T], change func(T) T) sorted[T] {
	var chunks [][]T
	for i, old := range s.chunks {
		var fresh []T
		for j, value := range old {
			changed := change(value)
			if changed == value {
				continue
			}
			if fresh == nil {
				fresh = append([]T(nil), old...)
			}
			fresh[j] = changed
		}
		if fresh == nil {
			continue
		}
		if chunks == nil {
			chunks = append([][]T(nil), s.chunks...)
		}
		chunks[i] = fresh
	}
	if chunks == nil {
		return s
	}
	return sorted[T]{chunks: chunks, count: s.count}
}

// all walks the list in order.
func (s sorted[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, chunk := range s.chunks {
			for _, value := range chunk {
				if !yield(value) {
					return
				}
			}
		}
	}
}

// first returns the first element.
func (s sorted[T]) first() (value T, found bool) {
	if len(s.chunks) == 0 {
		return value, false
	}
	return s.chunks[0][0], true
}
