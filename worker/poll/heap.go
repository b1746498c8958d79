package poll

import (
	"container/heap"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

// Watched is a task that is resident in this process.
type Watched struct {
	relay      *relay
	place      string // where the relay is asked, without the id
	task       db.PollTarget
	known      klingapi.Known // the last answer, where it said plainly that the task runs
	read       time.Time      // when task was read; its Age and Left count from then
	memory     Memory
	due        time.Time // of the next poll
	answered   time.Time // when the last poll was settled; zero: none has been since it came
	expiry     time.Time // when it expires if it could not be asked about by then
	refusedAt  time.Time // the first of the refusals in a row; zero: the last answer was none
	probes     int       // of a refused credential, made with this task
	trial      *trial    // it was in a request that was refused as a whole; nil: in none
	aloneUntil time.Time // it is asked about in requests of its own until then
	most       int       // it is asked about with at most so many; 0: as many as the relay takes
	stale      bool      // somebody changed the task: read it again before the next poll
	called     time.Time // when it was asked about last because of a callback, or will be
	seen       time.Time // Memory.Woken
	again      time.Time // a callback came while it was being asked about: it is asked again then; zero: none did
	done       chan *Departure

	inWaiting, inDeadlines int // places in the heaps; -1: it is in none
}

// NewWatched is a task as it was read just now, which Relays.Admit takes in.
func NewWatched(task db.PollTarget, m Memory) *Watched {
	now := time.Now()
	m = m.until(now, task.Age)
	return &Watched{
		task: task, read: now, memory: m, aloneUntil: m.AloneUntil, refusedAt: m.RefusedAt,
		inWaiting: -1, inDeadlines: -1, done: make(chan *Departure, 1),
	}
}

// Done receives one Departure, when the task leaves.
func (w *Watched) Done() <-chan *Departure { return w.done }

// turnAway has a task leave that was not taken in.
func (w *Watched) turnAway(snooze time.Duration) {
	w.done <- &Departure{Snooze: snooze, Memory: w.memory}
}

// Departure is why a task leaves the poller: one of Ended, an Err of the
// database, or else it is to be brought back after Snooze.
type Departure struct {
	Ended  bool // nothing is left to do
	Err    error
	Snooze time.Duration
	Memory Memory // to be handed in with the task when it comes back
}

// now returns the task with its times brought forward.
func (w *Watched) now(now time.Time) db.PollTarget {
	task := w.task
	passed := now.Sub(w.read)
	task.Age += passed
	task.Left -= passed
	if task.Ended > 0 {
		task.Ended += passed
	}
	return task
}

// heedWaking plans the poll of a task that a callback woke from its sleep.
func (w *Watched) heedWaking(interval time.Duration, now time.Time) {
	m := &w.memory
	w.called, w.seen = m.Called, m.Woken
	if m.Woken.Equal(m.Seen) || m.Next.IsZero() {
		return
	}
	w.due = m.Next
	if turn, news := calledTurn(m.Called, now, interval); news && !m.backsOff() && turn.Before(w.due) {
		w.called, w.due = turn, turn
	}
}

// asked reports whether a request about the task is on its way, or being
// written.
func (w *Watched) asked() bool { return w.inWaiting < 0 }

// timeHeap orders tasks by one of their times, which does not change while they are in it.
type timeHeap struct {
	list  []timed
	time  func(*Watched) time.Time
	place func(*Watched) *int
}

// timed has the time beside the task: to compare, thousands of tasks need not be fetched.
type timed struct {
	at time.Time
	*Watched
}

func newWaiting() timeHeap {
	return timeHeap{time: func(w *Watched) time.Time { return w.due }, place: func(w *Watched) *int { return &w.inWaiting }}
}

func newDeadlines() timeHeap {
	return timeHeap{time: func(w *Watched) time.Time { return w.expiry }, place: func(w *Watched) *int { return &w.inDeadlines }}
}

// Len is for container/heap, as are Less, Swap, Push and Pop.
func (h *timeHeap) Len() int           { return len(h.list) }
func (h *timeHeap) Less(i, j int) bool { return h.list[i].at.Before(h.list[j].at) }
func (h *timeHeap) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	*h.place(h.list[i].Watched), *h.place(h.list[j].Watched) = i, j
}

func (h *timeHeap) Push(x any) {
	w := x.(*Watched)
	*h.place(w) = len(h.list)
	h.list = append(h.list, timed{h.time(w), w})
}

func (h *timeHeap) Pop() any {
	last := len(h.list) - 1
	w := h.list[last].Watched
	h.list[last] = timed{}
	h.list = h.list[:last]
	*h.place(w) = -1
	return w
}

func (h *timeHeap) add(w *Watched) { heap.Push(h, w) }

func (h *timeHeap) first() *Watched {
	if len(h.list) == 0 {
		return nil
	}
	return h.list[0].Watched
}

// eachBefore calls visit with all tasks whose time is before a moment, until it returns
// false; i is where to begin: 0, the root.
func (h *timeHeap) eachBefore(moment time.Time, i int, visit func(*Watched) bool) bool {
	if i >= len(h.list) || !h.list[i].at.Before(moment) {
		return true
	}
	return visit(h.list[i].Watched) && h.eachBefore(moment, 2*i+1, visit) && h.eachBefore(moment, 2*i+2, visit)
}

func (h *timeHeap) remove(w *Watched) {
	if place := *h.place(w); place >= 0 {
		heap.Remove(h, place)
	}
}
