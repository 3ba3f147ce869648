package partition

import "outrigger/broker/topic"

// waiter is somebody who waits for an end of the log to reach an offset.
type waiter struct {
	until topic.Offset
	// place is the waiter's index in the heap, notWaiting once it was taken out. Whoever takes it
	// out, under the log's mutex, decides its fate: so done is called once, or never if it was
	// cancelled.
	place int
	done  func(error)
}

const notWaiting = -1

// waiters is a binary heap, the lowest offset on top: waking the k who are served costs
// O(k log n) however many others wait, and so does a cancellation.
type waiters []*waiter

func (h *waiters) add(w *waiter) {
	w.place = len(*h)
	*h = append(*h, w)
	h.up(w.place)
}

// remove takes w out and reports whether it was still waiting.
func (h *waiters) remove(w *waiter) bool {
	if w.place == notWaiting {
		return false
	}
	place, last := w.place, len(*h)-1
	h.swap(place, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	w.place = notWaiting
	if place < last {
		h.down(place)
		h.up(place)
	}
	return true
}

// reached takes out everybody who waits for end or less, and adds them to woken.
func (h *waiters) reached(end topic.Offset, woken wakeList) wakeList {
	for len(*h) > 0 && (*h)[0].until <= end {
		w := (*h)[0]
		h.remove(w)
		woken = append(woken, wake{done: w.done})
	}
	return woken
}

// all takes everybody out with err, and adds them to woken.
func (h *waiters) all(err error, woken wakeList) wakeList {
	for i, w := range *h {
		w.place = notWaiting
		woken = append(woken, wake{done: w.done, err: err})
		(*h)[i] = nil
	}
	*h = (*h)[:0]
	return woken
}

func (h waiters) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].until <= h[i].until {
			return
		}
		h.swap(parent, i)
		i = parent
	}
}

func (h waiters) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child].until < h[least].until {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h waiters) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// wake is one callback that became due under a mutex and is made after it.
type wake struct {
	done func(error)
	err  error
}

type wakeList []wake

// call makes the callbacks, in the order in which they became due. No lock may be held.
func (l wakeList) call() {
	for _, w := range l {
		w.done(w.err)
	}
}
