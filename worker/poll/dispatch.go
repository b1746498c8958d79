package poll

import (
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
	// heldLook is how often the dispatcher looks while the relay must not be asked.
	heldLook = 500 * time.Millisecond
)

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

// dispatch hands the first due task to the pool, unless a pause forbids it.
func (p *Poller) dispatch(ctx context.Context, t ticket) {
	w := p.takeDue(t.probe || p.paused())
	if w == nil {
		p.gate.cancel(t)
		return
	}
	onPath, wait := p.paths.admit(pathOf(w.task), time.Now())
	if wait > 0 {
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
		p.gate.cancel(t)
		p.paths.cancel(pathOf(w.task), onPath)
		p.putBack(w)
		if err != nil {
			sleep(ctx, heldLook) // the database is in trouble: what was asked could not be written
		}
		return
	}
	w.ticket, w.onPath, w.probe = t, onPath, probe
	p.hand(w)
}

// hand gives a task to the pool, which grows when nobody is free for a while.
func (p *Poller) hand(w *Watched) {
	if p.pooled < maxAsking {
		wait := growWait
		if p.pooled < fewAsking {
			wait = 0
		}
		if p.offer(w, wait) {
			return
		}
		p.pooled++
		p.pool.Go(p.exchange)
	}
	p.work <- w
}

// exchange is a goroutine of the pool.
func (p *Poller) exchange() {
	for w := range p.work {
		p.ask(w)
	}
}

// offer gives a task to a goroutine of the pool that is free within a while.
func (p *Poller) offer(w *Watched, within time.Duration) bool {
	select {
	case p.work <- w:
		return true
	default:
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case p.work <- w:
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
	begun := time.Now()
	err := p.limiter.Wait(ctx)
	p.Metrics.RateWaitSeconds.Observe(time.Since(begun).Seconds())
	return err
}

// takeDue takes the first task off the heap if it is due. A probe is better
// made with a task that had no trouble: one that cannot be answered would keep
// all the others waiting.
func (p *Poller) takeDue(probe bool) *Watched {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	w := p.waiting.first()
	if w == nil || w.due.After(now) {
		return nil
	}
	if probe && w.memory.Trouble > 0 {
		for _, other := range p.waiting.list {
			if other.memory.Trouble == 0 && !other.due.After(now) {
				w = other
				break
			}
		}
	}
	p.waiting.remove(w)
	return w
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
	case p.draining || w.stale:
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
