package poll

import (
	"cmp"
	"context"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

const (
	// maxAsking bounds the requests on their way at once: at the default rate
	// and timeout 750 are enough, even when every answer takes that long.
	maxAsking = klingapi.DefaultMaxConns
	// fewAsking are kept without a second thought. Beyond, the pool grows only
	// when nobody is free for growWait: a fast relay is asked most cheaply over
	// few connections, a slow one over many.
	fewAsking = 64
	growWait  = time.Millisecond
	// rateLook is how often the dispatcher looks at a rate that is very low.
	rateLook = time.Second
	// heldLook is how often the dispatcher looks while the relay must not be asked.
	heldLook = 500 * time.Millisecond
)

// request is one exchange with a relay, about one task or several.
type request struct {
	relay  *relay
	place  string // where the relay is asked
	tasks  []*Watched
	only   [1]*Watched // room for the tasks of most requests
	ticket ticket      // of the lane
	onPath ticket      // of the place
	probe  bool        // it probes a refused credential
	begun  time.Time
}

// newRequest is one about a task, to which others may be added.
func newRequest(w *Watched, t ticket) *request {
	q := &request{relay: w.relay, place: w.place, ticket: t, only: [1]*Watched{w}}
	q.tasks = q.only[:]
	return q
}

// Run asks about tasks as they come due until ctx ends, then waits for the
// requests on their way.
func (p *Poller) Run(ctx context.Context) {
	keeping, stopKeeping := context.WithCancel(ctx)
	var keeper = make(chan struct{})
	go func() { defer close(keeper); p.keepDeadlines(keeping) }()
	defer func() {
		stopKeeping()
		<-keeper
		close(p.work)
		p.pool.Wait()
	}()
	for ctx.Err() == nil {
		if !p.awaitDue(ctx) {
			return
		}
		now := time.Now()
		t, wait := p.gate.admit(now)
		if wait == 0 {
			if wait = p.pauseWait(now); wait > 0 {
				p.gate.cancel(t)
			}
		}
		if wait > 0 {
			p.makeRoom()
			sleep(ctx, min(wait, heldLook))
			continue
		}
		if p.awaitRate(ctx) != nil {
			p.gate.cancel(t)
			return
		}
		p.dispatch(ctx, t)
	}
}

// dispatch hands the first due task, with others that the relay can be asked about in
// the same request, to the pool, unless a pause forbids it.
func (p *Poller) dispatch(ctx context.Context, t ticket) {
	w := p.takeDue(t.probe || p.paused())
	if w == nil {
		p.gate.cancel(t)
		return
	}
	q := newRequest(w, t)
	var wait time.Duration
	if q.onPath, wait = q.relay.paths.admit(q.place, time.Now()); wait > 0 {
		p.gate.cancel(t)
		p.putOff(w, wait)
		return
	}
	// only now, with a task in hand: a probe that is claimed and not made is a minute lost
	probe, admitted, err := p.claimProbe(ctx)
	if err != nil && ctx.Err() == nil {
		p.Log.Warn("reading whether polling is paused, trying again", "error", err.Error())
	}
	if err != nil || !admitted {
		p.giveBack(q)
		p.hastenProbe(ctx, w)
		p.putBack(w)
		if err != nil {
			sleep(ctx, heldLook) // the database is in trouble: what was asked could not be written
		}
		return
	}
	if q.probe = probe; probe {
		p.noteProbe(q)
	}
	if q.relay.Client.Batches() && !probe {
		p.gather(q)
	}
	p.hand(q)
}

// giveBack returns the tickets of a request that is not made.
func (p *Poller) giveBack(q *request) {
	p.gate.cancel(q.ticket)
	q.relay.paths.cancel(q.place, q.onPath)
}

// hand gives a request to the pool, which grows when nobody is free for a while.
func (p *Poller) hand(q *request) {
	if p.pooled < maxAsking {
		wait := growWait
		if p.pooled < fewAsking {
			wait = 0
		}
		if p.offer(q, wait) {
			return
		}
		p.pooled++
		p.pool.Go(p.exchange)
	}
	p.work <- q
}

// exchange is a goroutine of the pool.
func (p *Poller) exchange() {
	for q := range p.work {
		p.ask(q)
	}
}

// offer gives a request to a goroutine of the pool that is free within a while.
func (p *Poller) offer(q *request, within time.Duration) bool {
	select {
	case p.work <- q:
		return true
	default:
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case p.work <- q:
		return true
	case <-timer.C:
		return false
	}
}

// awaitDue returns true when a task is due, false when ctx ends.
func (p *Poller) awaitDue(ctx context.Context) bool {
	for {
		p.mu.Lock()
		wait := time.Hour
		if first := p.waiting.first(); first != nil {
			wait = time.Until(first.due)
		}
		p.mu.Unlock()
		if wait <= 0 {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		case <-p.dueMoved:
			timer.Stop()
		}
	}
}

// awaitRate waits until the rate limit lets one more request through.
func (p *Poller) awaitRate(ctx context.Context) error {
	if p.limiter.Allow() {
		p.Metrics.RateWaitSeconds.Observe(0)
		return ctx.Err()
	}
	begun := time.Now()
	defer func() { p.Metrics.RateWaitSeconds.Observe(time.Since(begun).Seconds()) }()
	for ctx.Err() == nil {
		turn := p.limiter.Reserve()
		wait := turn.Delay()
		if wait > rateLook {
			turn.Cancel() // the rate may be raised meanwhile
			wait = rateLook
			sleep(ctx, wait)
			continue
		}
		if wait > 0 {
			sleep(ctx, wait)
		}
		return ctx.Err()
	}
	return ctx.Err()
}

// takeDue takes the first task off the heap if it is due. A probe is made with another
// task each time, and at another place, first with those that had no trouble: one that
// cannot be answered would keep all the others waiting.
func (p *Poller) takeDue(probe bool) *Watched {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	w := p.waiting.first()
	if w == nil || w.due.After(now) {
		return nil
	}
	if probe {
		for _, other := range p.waiting.list {
			if !other.due.After(now) && p.betterProbe(other.Watched, w) {
				w = other.Watched
			}
		}
	}
	p.waiting.remove(w)
	return w
}

// noteProbe counts a probe that is made.
func (p *Poller) noteProbe(q *request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.probed) >= maxPaths {
		clear(p.probed)
	}
	q.tasks[0].probes++
	p.probed[q.place]++
}

// betterProbe reports whether a task is the better one to probe with; the mutex is held.
func (p *Poller) betterProbe(w, than *Watched) bool {
	trouble := func(w *Watched) int {
		if !w.refusedAt.IsZero() {
			return 2
		}
		return min(w.memory.Trouble, 1)
	}
	return cmp.Or(
		cmp.Compare(trouble(w), trouble(than)),
		cmp.Compare(p.probed[w.place], p.probed[than.place]),
		cmp.Compare(w.probes, than.probes)) < 0
}

// putBack undoes takeDue.
func (p *Poller) putBack(w *Watched) { p.putOff(w, 0) }

// putOff undoes takeDue and lets the task wait for a while longer.
func (p *Poller) putOff(w *Watched, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if wait > 0 {
		w.due = time.Now().Add(wait)
	}
	switch {
	case p.resident[w.task.ID] != w: // its job was cut off meanwhile
	case p.draining.Load() || w.stale:
		p.leaveToBeRead(w)
	default:
		p.wait(w)
	}
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
