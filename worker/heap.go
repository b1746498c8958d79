package worker

import (
	"container/heap"
	"time"

	"github.com/klingwatch/klingwatch/db"
)

// watched is a task that is resident in this process: its River job waits for
// done while the poller asks.
type watched struct {
	task   db.PollTarget
	read   time.Time // when task was read; its Age and Left count from then
	memory memory
	due    time.Time
	place  int         // in the heap; -1: being asked or written
	ticket ticket      // of the question on its way
	probe  bool        // it probes a refused credential
	stale  bool        // somebody changed the task: read it again before the next poll
	done   chan result // what the job returns; one value
}

// result ends a job's stay: nil, a snooze, or an error of ours.
type result struct {
	memory memory
	err    error
}

// now returns the task with its times brought forward.
func (w *watched) now(now time.Time) db.PollTarget {
	task := w.task
	passed := now.Sub(w.read)
	task.Age += passed
	task.Left -= passed
	if task.Ended > 0 {
		task.Ended += passed
	}
	return task
}

// dueHeap orders the waiting tasks by the time of their next poll.
type dueHeap []*watched

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push is for container/heap.
func (h *dueHeap) Push(x any) {
	w := x.(*watched)
	w.place = len(*h)
	*h = append(*h, w)
}

// Pop is for container/heap.
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	w.place = -1
	return w
}

func (h *dueHeap) add(w *watched) { heap.Push(h, w) }

func (h *dueHeap) first() *watched {
	if len(*h) == 0 {
		return nil
	}
	return (*h)[0]
}

func (h *dueHeap) remove(w *watched) {
	if w.place >= 0 {
		heap.Remove(h, w.place)
	}
}
