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
	// crowdedPart of the slots taken means that they run short; beyond heldPart, tasks
	// that cannot be asked about now are sent away for heldAway and more.
	crowdedPart = 0.9
	heldPart    = 0.5
	heldAway    = time.Minute
	// unaskedAway is how soon a task comes back whose relay cannot be asked here any more:
	// its queue is about to be left to others.
	unaskedAway = time.Second
	// forever is longer than any grace, by far.
	forever = 10_000 * time.Hour
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

// Poller asks about the tasks of one lane that are resident in a process: a heap of due
// times, one dispatcher that keeps the rate, the gate and the pause, and a pool
// of goroutines for the exchanges. No transaction is open while it asks.
type Poller struct {
	*lane
	ctx  context.Context    // ends what is on its way, at a hard stop
	stop context.CancelFunc // of Run; nil before

	mu        sync.Mutex
	waiting   timeHeap           // tasks that wait for their poll, by when it is due
	deadlines timeHeap           // all tasks here that have not ended, by when they expire
	resident  map[int64]*Watched // all tasks here, waiting or not
	probed    map[string]int     // probes by place

	dueMoved, deadlineMoved chan struct{} // the first time may have changed

	work   chan *request // to the pool
	pool   sync.WaitGroup
	pooled int // goroutines in the pool; the dispatcher's alone
}

func newPoller(asking context.Context, l *lane) *Poller {
	return &Poller{
		lane: l, ctx: asking, waiting: newWaiting(), deadlines: newDeadlines(), resident: map[int64]*Watched{}, probed: map[string]int{},
		dueMoved: make(chan struct{}, 1), deadlineMoved: make(chan struct{}, 1), work: make(chan *request),
	}
}

// admit takes a task of a relay in.
func (p *Poller) admit(at *relay, w *Watched) {
	now := time.Now()
	w.relay, w.place, w.due = at, at.place(&w.task), w.firstDue(p.Interval, now, rand.Float64())
	w.heedWaking(p.Interval, now)
	if at.crowded(heldPart) && w.task.Left > 2*heldAway && (p.gate.closed() || p.paused()) {
		w.turnAway(jittered(heldAway)) // others need the slot
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, here := p.resident[w.task.ID]; here || p.draining.Load() {
		w.turnAway(fetchAhead)
		return
	}
	w.expiry = w.read.Add(w.task.Left + deadlineGrace)
	p.resident[w.task.ID] = w
	p.residents.Add(1)
	at.residents.Add(1)
	p.wait(w)
}

// makeRoom sends tasks away that are due, but must not be asked about now, where slots
// run short.
func (p *Poller) makeRoom() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for now := time.Now(); ; {
		w := p.waiting.first()
		if w == nil || w.due.After(now) || !w.relay.crowded(heldPart) {
			return
		}
		w.memory.Next = time.Time{}
		p.leave(w, Departure{Snooze: max(min(jittered(heldAway), w.expiry.Sub(now)-deadlineGrace-fetchAhead), 0)})
	}
}

// jittered spreads a wait by half of it.
func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2))
}

// firstDue is when to ask about a task that comes in: a new one at once, one
// that was planned at its time, and one of an earlier life soon, but not all of
// them in the same moment.
func (w *Watched) firstDue(interval time.Duration, now time.Time, random float64) time.Time {
	m := &w.memory
	switch {
	case w.task.Status == db.Pending && w.task.Polls == 0 && m.Polls == 0:
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
	p.residents.Add(-1)
	w.relay.residents.Add(-1)
	d.Memory = w.memory
	d.Memory.AloneUntil, d.Memory.RefusedAt, d.Memory.Called, d.Memory.Seen = time.Time{}, w.refusedAt.Round(0), w.called.Round(0), w.seen
	if time.Now().Before(w.aloneUntil) {
		d.Memory.AloneUntil = w.aloneUntil.Round(0)
	}
	w.done <- &d
}

// leaveToBeRead ends a task's stay so that it comes back at once, with its row
// read again; the mutex is held.
func (p *Poller) leaveToBeRead(w *Watched) {
	w.memory.Next = time.Time{}
	p.leave(w, Departure{})
}

// abandon forgets a task whose job was cut off.
func (p *Poller) abandon(w *Watched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resident[w.task.ID] == w {
		p.leave(w, Departure{})
	}
}

// reread sends a task back whose row has another version by now.
func (p *Poller) reread(task int64, version int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.resident[task]; w != nil && w.task.Version != version {
		p.sendBack(w)
	}
}

// call asks about a task soon, since the provider says that it has changed. A callback
// never brings forward what is put off for a reason, and at most one poll in an interval.
func (p *Poller) call(task int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.resident[task]
	if w == nil || w.memory.backsOff() {
		return
	}
	turn, news := calledTurn(w.called, time.Now(), p.Interval)
	switch {
	case !news:
	case w.asked(): // the answer may be older than the callback
		if w.again.IsZero() || turn.Before(w.again) {
			w.called, w.again = turn, turn
		}
	case turn.Before(w.due):
		p.waiting.remove(w)
		w.called, w.due = turn, turn
		p.wait(w)
	}
}

// overdue is how many requests the tasks take that are due; it stops counting at enough.
func (p *Poller) overdue(now time.Time, enough float64) (requests float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting.eachBefore(now, 0, func(w *Watched) bool {
		requests += 1 / float64(w.relay.atOnce())
		return requests < enough
	})
	return requests
}

// has reports whether a task is here.
func (p *Poller) has(task int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resident[task] != nil
}

// look tells what is known here of a task; false when it is not here.
func (p *Poller) look(task int64) (live db.LivePoll, here bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.resident[task]
	if w == nil {
		return live, false
	}
	now := time.Now()
	live = db.LivePoll{Task: task, Polls: w.memory.Polls, Asking: w.asked(), Due: w.due.Sub(now)}
	if !w.answered.IsZero() {
		live.Answered = max(now.Sub(w.answered), 1)
	}
	return live, true
}

// release sends the tasks of a relay back: it is asked about elsewhere from now on.
func (p *Poller) release(r *relay) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.resident {
		if w.relay == r {
			p.sendBack(w)
		}
	}
}

// sendBack lets a task leave, at once or after its poll; the mutex is held.
func (p *Poller) sendBack(w *Watched) {
	if w.asked() {
		w.stale = true
		return
	}
	p.leaveToBeRead(w)
}

// drain sends all tasks back: what waits now, what is on its way when it is
// written.
func (p *Poller) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := p.waiting.first(); w != nil; w = p.waiting.first() {
		p.leaveToBeRead(w)
	}
}

// retire ends a lane that no relay has any more, when its last requests are answered.
func (p *Poller) retire() {
	if p.stop != nil {
		p.stop()
	}
	if p.paused() {
		p.Log.Info("polling resumes", "relay", p.relayNames(), "credential", p.credential, "reason", "the relay has another key or address now")
	}
}

// ask makes one exchange with the relay and judges what it said of each task.
func (p *Poller) ask(q *request) {
	q.begun = time.Now()
	p.sent.Add(1)
	for _, w := range q.tasks {
		p.Metrics.PollLateness.Observe(q.begun.Sub(w.due).Seconds())
		if p.TestHook != nil {
			p.TestHook(w.task.ID, w.due, q.begun)
		}
	}
	var one [1]klingapi.Answer
	answers, err := p.exchangeAbout(q, one[:])
	if p.ctx.Err() != nil {
		p.giveBack(q)
		p.returnProbe(q.probe)
		for _, w := range q.tasks {
			p.abandon(w)
		}
		return
	}
	now := time.Now()
	p.Metrics.PollSeconds.Observe(now.Sub(q.begun).Seconds())
	if p.gate.report(q.ticket, q.tasks[0].task.ID, err, now) {
		p.logGate(q.relay.Name, err)
	}
	if len(q.tasks) > 1 && refusesAll(err) && !q.relay.batch.isHopeless() {
		q.relay.paths.cancel(q.place, q.onPath) // whose trouble it is, the halves will tell
		p.split(q)
		return
	}
	if isRefusal(err) && !p.isAccepted(now) {
		q.relay.paths.cancel(q.place, q.onPath) // it may be the key's trouble, on all paths
	} else if q.relay.paths.report(q.place, q.onPath, q.tasks[0].task.ID, err, now) {
		q.relay.logPath(p.Log, q.place, err)
	}
	p.noteAnswer(p.ctx, q, err)
	switch {
	case !q.relay.Client.Batches():
	case err == nil || len(q.tasks) == 1 && refusesAll(err):
		p.endTrial(q, err)
	case len(q.tasks) > 1 && !refusesAll(err):
		p.shrink(q)
	}
	for i, w := range q.tasks {
		if err != nil {
			p.settle(q, w, nil, err, now)
		} else {
			p.settle(q, w, answers[i].Reply, answers[i].Err, now)
		}
	}
}

// exchangeAbout asks about one task or several. An error about the only task is that of
// the request; its answer is put into one.
func (p *Poller) exchangeAbout(q *request, one []klingapi.Answer) (_ []klingapi.Answer, err error) {
	if len(q.tasks) == 1 {
		w := q.tasks[0]
		one[0].Reply, err = q.relay.Client.GetTaskAgain(p.ctx, refOf(w.task), w.knownAnswer(q.begun))
		return one, err
	}
	refs := make([]klingapi.Ref, len(q.tasks))
	for i, w := range q.tasks {
		refs[i] = refOf(w.task)
	}
	return q.relay.Client.GetTasks(p.ctx, refs)
}

// settle judges what the relay said of a task, and writes what is new.
func (p *Poller) settle(q *request, w *Watched, reply *klingapi.Reply, err error, now time.Time) {
	task := w.now(now)
	v := judge(task, w.memory, p.NotFoundGrace, reply, err)
	if len(q.tasks) > 1 && v.status == db.NotFound && !db.Terminal(task.Status) {
		v = judge(task, w.memory, forever, reply, err)
		p.askAlone(w) // a relay that answers with ids of its own knows it perhaps
	}
	p.count(w, v, reply)
	r := p.newResult(w, v, reply, now)
	if r == nil {
		p.goOn(w, v, reply, writing{})
		return
	}
	p.tracePoll(r, q.begun, now, err)
	p.writer.Add(r)
}

// written goes on after a poll was written.
func (p *Poller) written(r *pollResult, applied bool, err error) {
	p.goOn(r.watched, r.verdict, r.reply, writing{made: true, applied: applied, err: err})
}

// writing is how it went to write a poll.
type writing struct {
	made    bool // false: nothing was to be written
	applied bool // false: somebody changed the task
	err     error
}

// goOn plans what follows a poll that was written, or needed no writing.
func (p *Poller) goOn(w *Watched, v verdict, reply *klingapi.Reply, row writing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resident[w.task.ID] != w {
		return // its job was cut off meanwhile
	}
	w.memory, w.answered = v.memory, time.Now()
	stale := row.made && !row.applied
	if !stale && row.err == nil {
		w.take(v, reply, row.made)
	}
	wait, again := p.next(w, v)
	switch {
	case row.err != nil:
		p.leave(w, Departure{Err: row.err})
	case stale || w.stale:
		p.leaveToBeRead(w) // somebody changed the task
	case !again:
		p.leave(w, Departure{Ended: true})
	case !p.staysFor(w, wait):
		p.leave(w, Departure{Snooze: max(wait-fetchAhead, 0)})
	case p.draining.Load():
		p.leaveToBeRead(w)
	default:
		p.wait(w)
	}
}

// take brings what is known of the row up to date with what was written.
func (w *Watched) take(v verdict, reply *klingapi.Reply, written bool) {
	w.task.Status, w.task.EndedBy, w.task.Polls = v.status, v.endedBy, v.memory.Polls
	if written {
		w.task.Version++
		w.task.LastError = v.trouble
	}
	w.known = klingapi.Known{}
	if reply != nil {
		w.task.UpstreamStatus, w.known = reply.Record.Word, reply.Known
	}
}

// knownAnswer is the last answer, which need not be read again: unless the task may reach
// its deadline meanwhile, since then the answer is stored.
func (w *Watched) knownAnswer(now time.Time) klingapi.Known {
	if w.now(now).Left <= 2*w.relay.Client.Timeout() {
		return klingapi.Known{}
	}
	return w.known
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
	if !w.again.IsZero() {
		if !v.memory.backsOff() {
			wait = max(min(wait, w.again.Sub(now)), v.retryAfter)
		}
		w.called, w.again = now.Add(wait), time.Time{} // it may be asked about before the turn of the callback
	}
	w.due = now.Add(wait)
	w.memory.Next = w.due
	return wait, true
}

// staysFor reports whether a task stays resident until its next poll; the mutex
// is held.
func (p *Poller) staysFor(w *Watched, wait time.Duration) bool {
	return Stays(wait, time.Since(w.read), w.relay.crowded(crowdedPart))
}

// Stays reports whether a task stays resident for a wait; read is how long ago its row was
// read, crowded whether slots run short.
func Stays(wait, read time.Duration, crowded bool) bool {
	longest := residentFor
	if crowded {
		longest = crowdedFor
	}
	return wait <= longest && read < rereadAfter
}
