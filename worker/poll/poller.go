package poll

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

const (
	// residentFor is the longest wait that a task stays resident for; a longer one
	// costs two updates of its job and frees the slot.
	residentFor = 2 * time.Minute
	// crowdedFor takes its place when slots run short.
	crowdedFor = 5 * time.Second
	// rereadAfter bounds how old a task's row may be: rows that were deleted or
	// changed by hand are noticed then, the others at once.
	rereadAfter = 5 * time.Minute
	// fetchAhead brings a task back before its poll is due, so that the poll is on
	// time although River fetches sleeping jobs twice a second.
	fetchAhead = time.Second
	// restartSpread is the time over which tasks of an earlier life are asked
	// again.
	restartSpread = 2 * time.Second
)

// Poller asks about all tasks that are resident in a process: a heap of due
// times, one dispatcher that keeps the rate, the gate and the pause, and a pool
// of goroutines for the exchanges. No transaction is open while it asks.
type Poller struct {
	*Lane
	asking context.Context // ends what is on its way, at a hard stop
	writer *writer

	mu        sync.Mutex
	waiting   timeHeap           // tasks that wait for their poll, by when it is due
	deadlines timeHeap           // all tasks here that have not ended, by when they expire
	resident  map[int64]*Watched // all tasks here, waiting or not
	draining  bool

	dueMoved, deadlineMoved chan struct{} // the first time may have changed

	work   chan *Watched // to the pool
	pool   sync.WaitGroup
	pooled int // goroutines in the pool; the dispatcher's alone
}

// NewPoller returns a Poller without tasks; when asking ends, requests on their
// way are cut off.
func NewPoller(asking context.Context, lane *Lane) *Poller {
	p := &Poller{
		Lane: lane, asking: asking, waiting: newWaiting(), deadlines: newDeadlines(), resident: map[int64]*Watched{},
		dueMoved: make(chan struct{}, 1), deadlineMoved: make(chan struct{}, 1), work: make(chan *Watched),
	}
	p.writer = newWriter(lane, p.written)
	return p
}

// Start begins to write.
func (p *Poller) Start() { p.writer.Start() }

// Close writes what is left. Run must have returned.
func (p *Poller) Close() { p.writer.Close() }

// Watch takes a task in. One that is here already, or comes while the process
// stops, leaves at once, to come back.
func (p *Poller) Watch(task db.PollTarget, m Memory) *Watched {
	now := time.Now()
	w := &Watched{
		task: task, read: now, memory: m, due: firstDue(task, m, p.Interval, now, rand.Float64()),
		inWaiting: -1, inDeadlines: -1, done: make(chan Departure, 1),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, here := p.resident[task.ID]; here || p.draining {
		w.done <- Departure{Snooze: fetchAhead, Memory: m}
		return w
	}
	w.expiry = now.Add(task.Left + deadlineGrace)
	p.resident[task.ID] = w
	p.wait(w)
	return w
}

// firstDue is when to ask about a task that comes in: a new one at once, one
// that was planned at its time, and one of an earlier life soon, but not all of
// them in the same moment.
func firstDue(task db.PollTarget, m Memory, interval time.Duration, now time.Time, random float64) time.Time {
	switch {
	case task.Status == db.Pending && task.Polls == 0 && m.Polls == 0:
		return now
	case m.Next.After(now.Add(2 * fetchAhead)):
		return now // somebody woke its job long before the time
	case m.Next.After(now):
		return m.Next
	case !m.Next.IsZero():
		return now // planned, and a little late
	}
	return now.Add(time.Duration(random * float64(min(interval, restartSpread))))
}

// wait lets a task wait for its poll, and for its deadline; the mutex is held.
func (p *Poller) wait(w *Watched) {
	p.waiting.add(w)
	if w.inWaiting == 0 {
		signal(p.dueMoved)
	}
	if w.inDeadlines < 0 && !db.Terminal(w.task.Status) {
		p.deadlines.add(w)
		if w.inDeadlines == 0 {
			signal(p.deadlineMoved)
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// leave ends a task's stay; the mutex is held.
func (p *Poller) leave(w *Watched, d Departure) {
	p.waiting.remove(w)
	p.deadlines.remove(w)
	delete(p.resident, w.task.ID)
	d.Memory = w.memory
	w.done <- d
}

// leaveToBeRead ends a task's stay so that it comes back at once, with its row
// read again; the mutex is held.
func (p *Poller) leaveToBeRead(w *Watched) {
	w.memory.Next = time.Time{}
	p.leave(w, Departure{})
}

// Abandon forgets a task whose job was cut off.
func (p *Poller) Abandon(w *Watched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resident[w.task.ID] == w {
		p.leave(w, Departure{})
	}
}

// Reread sends a task back, so that its row is read again: at once when it
// waits, else after its poll.
func (p *Poller) Reread(task int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.resident[task]
	switch {
	case w == nil:
	case w.asked():
		w.stale = true
	default:
		p.leaveToBeRead(w)
	}
}

// Drain sends all tasks back: what waits now, what is on its way when it is
// written.
func (p *Poller) Drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = true
	for w := p.waiting.first(); w != nil; w = p.waiting.first() {
		p.leaveToBeRead(w)
	}
}

// ask makes one exchange with the relay and judges it.
func (p *Poller) ask(w *Watched) {
	begun := time.Now()
	p.Metrics.PollLateness.Observe(begun.Sub(w.due).Seconds())
	if p.TestHook != nil {
		p.TestHook(w.task.ID, w.due, begun)
	}
	credential := p.Relay.Credential()
	reply, err := p.Relay.GetTask(p.asking, klingapi.Ref{Action: w.task.Action, Action2: w.task.Action2, TaskID: w.task.TaskID})
	now := time.Now()
	if p.asking.Err() != nil {
		p.gate.cancel(w.ticket)
		p.paths.cancel(pathOf(w.task), w.onPath)
		p.returnProbe(w)
		p.Abandon(w)
		return
	}
	p.Metrics.PollSeconds.Observe(now.Sub(begun).Seconds())
	if p.gate.report(w.ticket, w.task.ID, err, now) {
		p.logGate(err)
	}
	if p.paths.report(pathOf(w.task), w.onPath, w.task.ID, err, now) {
		p.logPath(pathOf(w.task), err)
	}
	if failed := p.notePauses(p.asking, w.task.ID, credential, w.probe, err); failed != nil {
		p.Log.Warn("pausing or resuming polling", "error", failed.Error())
	}
	task := w.now(now)
	v := judge(task, w.memory, p.NotFoundGrace, reply, err)
	p.count(task, v, reply)
	r := p.newResult(w, v, reply, now)
	if r.change == nil && r.trouble == nil {
		p.written(r, true, nil)
		return
	}
	p.tracePoll(r, begun, now, err)
	p.writer.Add(r)
}

// written goes on after a poll was written, or needed no writing.
func (p *Poller) written(r *pollResult, applied bool, err error) {
	w, v := r.watched, r.verdict
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resident[w.task.ID] != w {
		return // its job was cut off meanwhile
	}
	w.memory = v.memory
	if applied && err == nil {
		w.take(r)
	}
	wait, again := p.next(w, v)
	switch {
	case err != nil:
		p.leave(w, Departure{Err: err})
	case !applied || w.stale:
		p.leaveToBeRead(w) // somebody changed the task
	case !again:
		p.leave(w, Departure{Ended: true})
	case !p.staysFor(w, wait):
		p.leave(w, Departure{Snooze: max(wait-fetchAhead, 0)})
	case p.draining:
		p.leaveToBeRead(w)
	default:
		p.wait(w)
	}
}

// take brings what is known of the row up to date with what was written.
func (w *Watched) take(r *pollResult) {
	w.task.Status, w.task.EndedBy, w.task.Polls = r.verdict.status, r.verdict.endedBy, r.verdict.memory.Polls
	if r.change != nil || r.trouble != nil {
		w.task.Version++
		w.task.LastError = r.verdict.trouble
	}
	if r.reply != nil {
		w.task.UpstreamStatus = r.reply.Record.Word
	}
}

// next plans the poll after a verdict; false when there is none. The mutex is
// held.
func (p *Poller) next(w *Watched, v verdict) (wait time.Duration, again bool) {
	now := time.Now()
	task := w.now(now)
	switch {
	case v.checkedLate():
		if wait, again = latePace(task.Ended, rand.Float64()); !again {
			return 0, false
		}
	case db.Terminal(v.status):
		return 0, false
	default:
		usual := p.schedules.usualWait(task, p.Interval, rand.Float64())
		wait = pace(v, usual, p.Interval, task.Left, rand.Float64())
	}
	w.due = now.Add(wait)
	w.memory.Next = w.due
	return wait, true
}

// staysFor reports whether a task stays resident until its next poll; the mutex
// is held.
func (p *Poller) staysFor(w *Watched, wait time.Duration) bool {
	longest := residentFor
	if len(p.resident) > p.Slots*9/10 {
		longest = crowdedFor
	}
	return wait <= longest && time.Since(w.read) < rereadAfter
}

// Residents counts the tasks here.
func (p *Poller) Residents() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.resident)
}
