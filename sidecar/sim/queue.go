package sim

import "outrigger/sidecar/raft"

// eventKind says what happens at an event.
type eventKind uint8

const (
	deliver  eventKind = iota // a message arrives
	tick                      // a host's clock
	turn                      // a host carries out what it was fed
	restart                   // a crashed host comes back
	resume                    // a paused host goes on
	nemesis                   // the next fault
	client                    // the next proposal or read
	letter                    // mail arrives
	turnPart                  // a part of a broker has its turn
	call                      // something that was put off
)

// event is one entry of the queue. Times are microseconds of virtual time.
type event struct {
	at   int64
	seq  uint64 // order among equal times
	kind eventKind
	host int
	// run is the host's run that the event belongs to; it is void after a crash. 0: any.
	run uint64
	// What the event is about, by its kind.
	msg  *raft.Message
	mail *mail
	part part
	// planned is the time that the part was given.
	planned int64
	call    func()
}

// queue is a binary heap of events by (at, seq).
type queue struct {
	heap []event
	seq  uint64
}

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	for i := len(q.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q.heap[i].before(&q.heap[parent]) {
			break
		}
		q.heap[i], q.heap[parent] = q.heap[parent], q.heap[i]
		i = parent
	}
}

func (q *queue) pop() (event, bool) {
	if len(q.heap) == 0 {
		return event{}, false
	}
	top := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if q.heap[child].before(&q.heap[least]) {
				least = child
			}
		}
		if least == i {
			return top, true
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }
