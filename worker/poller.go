package worker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

const (
	// residentFor is the longest wait that a job stays resident for; a longer one
	// costs two row updates and frees the slot.
	residentFor = 2 * time.Minute
	// crowdedFor takes its place when slots run short.
	crowdedFor = 5 * time.Second
	// rereadAfter bounds how old a task's row may be: rows that were deleted or
	// changed by hand are noticed then, the others at once.
	rereadAfter = 5 * time.Minute
	// fetchAhead brings a snoozed job back before its poll is due, so that the
	// poll is on time although rows are fetched twice a second.
	fetchAhead = time.Second
	// restartSpread is the time over which tasks of an earlier life are asked
	// again.
	restartSpread = 2 * time.Second
)

// poller asks about all resident tasks of a process: a heap of due times, one
// dispatcher that keeps the rate, the gate and the pause, and a pool of
// goroutines for the exchanges. No transaction is open while it asks.
type poller struct {
	*Worker
	asking context.Context // ends what is on its way, at a hard stop
	writer *writer

	mu       sync.Mutex
	waiting  dueHeap
	resident map[int64]*watched // all tasks here, waiting or not
	draining bool

	kick   chan struct{} // the first due time may have changed
	work   chan *watched // to the pool
	pool   sync.WaitGroup
	pooled int // goroutines in the pool; the dispatcher's alone
}

func newPoller(w *Worker, asking context.Context, wr *writer) *poller {
	return &poller{
		Worker: w, asking: asking, writer: wr, resident: map[int64]*watched{},
		kick: make(chan struct{}, 1), work: make(chan *watched),
	}
}

// watch takes a task in and returns it; its job waits for done. A task that is
// here already, or comes while the process stops, is sent back.
func (p *poller) watch(task db.PollTarget, m memory) *watched {
	now := time.Now()
	w := &watched{task: task, read: now, memory: m, due: firstDue(task, m, p.PollInterval, now, rand.Float64()), place: -1, done: make(chan result, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, here := p.resident[task.ID]; here || p.draining {
		w.done <- result{m, river.JobSnooze(fetchAhead)}
		return w
	}
	p.resident[task.ID] = w
	p.wait(w)
	return w
}

// firstDue is when to ask about a task that comes in: a new one at once, one
// that was planned at its time, and one of an earlier life soon, but not all of
// them in the same moment.
func firstDue(task db.PollTarget, m memory, interval time.Duration, now time.Time, random float64) time.Time {
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

// wait puts a task into the heap; the mutex is held.
func (p *poller) wait(w *watched) {
	p.waiting.add(w)
	if w.place == 0 {
		select {
		case p.kick <- struct{}{}:
		default:
		}
	}
}

// leave ends a task's stay; the mutex is held.
func (p *poller) leave(w *watched, err error) {
	p.waiting.remove(w)
	delete(p.resident, w.task.ID)
	w.done <- result{w.memory, err}
}

// abandon forgets a task whose job was cut off.
func (p *poller) abandon(w *watched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resident[w.task.ID] == w {
		p.leave(w, river.JobSnooze(0))
	}
}

// reread sends a task's job back to River, so that its row is read again: at
// once when it waits, else after its poll.
func (p *poller) reread(task int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.resident[task]
	switch {
	case w == nil:
	case w.place >= 0:
		w.memory.Next = time.Time{}
		p.leave(w, river.JobSnooze(0))
	default:
		w.stale = true
	}
}

// drain sends all jobs back to River: what waits now, what is on its way when
// it is written.
func (p *poller) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = true
	for len(p.waiting) > 0 {
		w := p.waiting[len(p.waiting)-1]
		w.memory.Next = time.Time{}
		p.leave(w, river.JobSnooze(0))
	}
}

// exchange is a goroutine of the pool.
func (p *poller) exchange() {
	for w := range p.work {
		p.ask(w)
	}
}

// ask makes one exchange with the relay and judges it.
func (p *poller) ask(w *watched) {
	begun := time.Now()
	p.Metrics.PollLateness.Observe(begun.Sub(w.due).Seconds())
	if p.OnPoll != nil {
		p.OnPoll(w.task.ID, w.due, begun)
	}
	credential := p.Relay.Credential()
	reply, answer := p.Relay.GetTask(p.asking, klingapi.Ref{Action: w.task.Action, Action2: w.task.Action2, TaskID: w.task.TaskID})
	now := time.Now()
	if p.asking.Err() != nil {
		p.gate.cancel(w.ticket)
		p.abandon(w)
		return
	}
	p.Metrics.PollSeconds.Observe(now.Sub(begun).Seconds())
	if p.gate.report(w.ticket, w.task.ID, answer, now) {
		p.tellGate(answer)
	}
	if err := p.learn(p.asking, w.task.ID, credential, w.probe, answer); err != nil {
		p.Log.Warn("learning from an answer", "error", err.Error())
	}
	task := w.now(now)
	v := judge(task, w.memory, p.NotFoundGrace, reply, answer)
	p.count(task, v, reply)
	s := p.settlement(w, v, reply, now)
	if s.change == nil && s.trouble == nil {
		p.settled(s, true, nil)
		return
	}
	p.tracePoll(s, begun, now, answer)
	p.writer.add(s)
}

// settled goes on after a poll was written, or needed no writing.
func (p *poller) settled(s *settlement, applied bool, err error) {
	w, v := s.watched, s.verdict
	w.memory = v.memory
	if applied && err == nil {
		w.task.Status, w.task.Polls = v.status, v.memory.Polls
		if s.change != nil || s.trouble != nil {
			w.task.LastError = v.trouble
		}
		if s.reply != nil {
			w.task.UpstreamStatus = s.reply.Record.Word
		}
	}
	wait, resident := p.next(w, v)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.resident[w.task.ID] != w: // its job was cut off meanwhile
	case err != nil:
		p.leave(w, err)
	case !applied || w.stale:
		w.memory.Next = time.Time{}
		p.leave(w, river.JobSnooze(0)) // somebody changed the task: read it again
	case wait < 0:
		p.leave(w, nil)
	case p.draining && resident:
		w.memory.Next = time.Time{}
		p.leave(w, river.JobSnooze(0))
	case !resident:
		p.leave(w, river.JobSnooze(max(wait-fetchAhead, 0)))
	default:
		p.wait(w)
	}
}

// next plans the poll after a verdict. wait is negative when there is none;
// resident says whether to stay here for it.
func (p *poller) next(w *watched, v verdict) (wait time.Duration, resident bool) {
	now := time.Now()
	task := w.now(now)
	longest := residentFor
	if p.crowded() {
		longest = crowdedFor
	}
	switch {
	case v.status == db.Expired:
		late, again := latePace(task.Ended, rand.Float64())
		if !again {
			return -1, false
		}
		wait = late
	case db.Terminal(v.status):
		return -1, false
	default:
		usual := p.schedules.usualWait(task, p.PollInterval, rand.Float64())
		wait = pace(v, usual, p.PollInterval, task.Left, rand.Float64())
	}
	w.due = now.Add(wait)
	w.memory.Next = w.due
	return wait, wait <= longest && now.Sub(w.read) < rereadAfter
}

// residents counts the tasks here.
func (p *poller) residents() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.resident)
}

// crowded tells whether slots run short.
func (p *poller) crowded() bool {
	return p.residents() > pollSlots*pollQueues*9/10
}
