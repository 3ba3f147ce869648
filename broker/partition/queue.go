package partition

// queue is a first-in-first-out list that lets go of what was taken out of it. The zero value is
// empty.
type queue[T any] struct {
	items []T
	head  int
}

// compactAt is how many taken items a queue carries along before it moves the rest to the front.
const compactAt = 8

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(item T) { q.items = append(q.items, item) }

// at returns the item i places behind the front.
func (q *queue[T]) at(i int) *T { return &q.items[q.head+i] }

// pop takes the front item out. The move to the front costs O(1) amortised, since it happens only
// once at least half of the slice was taken.
func (q *queue[T]) pop() T {
	var none T
	item := q.items[q.head]
	q.items[q.head] = none
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	} else if q.head >= compactAt && q.head*2 >= len(q.items) {
		kept := copy(q.items, q.items[q.head:])
		clear(q.items[kept:])
		q.items, q.head = q.items[:kept], 0
	}
	return item
}

// cut keeps the first n items.
func (q *queue[T]) cut(n int) {
	clear(q.items[q.head+n:])
	q.items = q.items[:q.head+n]
}
