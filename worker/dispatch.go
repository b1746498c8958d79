package worker

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

const (
	// maxAsking bounds the questions on their way at once: at the default rate
	// and timeout 750 are enough, even when every answer takes that long.
	maxAsking = klingapi.DefaultMaxConns
	// fewAsking are kept without a second thought. Beyond, the pool grows only
	// when nobody is free for growWait: a fast relay is asked most cheaply over
	// few connections, a slow one over many.
	fewAsking = 64
	growWait  = time.Millisecond
	// heldLook is how often tasks are looked at while the relay must not be asked.
	heldLook = 500 * time.Millisecond
)

// run dispatches until ctx ends, then waits for the pool.
func (p *poller) run(ctx context.Context) {
	defer func() { close(p.work); p.pool.Wait() }()
	for ctx.Err() == nil {
		if !p.awaitDue(ctx) {
			return
		}
		t, probe, wait := p.admit(ctx)
		if wait > 0 {
			p.expireHeld()
			sleep(ctx, min(wait, heldLook))
			continue
		}
		if p.awaitRate(ctx) != nil {
			p.gate.cancel(t)
			return
		}
		w := p.takeDue(t.probe || probe)
		if w == nil {
			p.gate.cancel(t)
			continue
		}
		w.ticket, w.probe = t, probe
		p.hand(w)
	}
}

// hand gives a task to the pool, which grows when nobody is free for a while.
func (p *poller) hand(w *watched) {
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

// offer gives a task to a goroutine of the pool that is free within a while.
func (p *poller) offer(w *watched, within time.Duration) bool {
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
func (p *poller) awaitDue(ctx context.Context) bool {
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
		case <-p.kick:
			timer.Stop()
		}
	}
}

// admit asks gate and pause. Trouble with the database holds everything back
// for a moment: what was asked could not be written.
func (p *poller) admit(ctx context.Context) (t ticket, probe bool, wait time.Duration) {
	now := time.Now()
	if t, wait = p.gate.admit(now); wait > 0 {
		return ticket{}, false, wait
	}
	probe, wait, err := p.admitCredential(ctx, now)
	if err != nil {
		if ctx.Err() == nil {
			p.Log.Warn("asking whether polling is paused, trying again", "error", err.Error())
		}
		wait = heldLook
	}
	if wait > 0 {
		p.gate.cancel(t)
	}
	return t, probe, wait
}

// takeDue takes the first task off the heap if it is due. A probe is better
// made with a task that had no trouble: one that cannot be answered would keep
// all the others waiting.
func (p *poller) takeDue(probe bool) *watched {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	w := p.waiting.first()
	if w == nil || w.due.After(now) {
		return nil
	}
	if probe && w.memory.Trouble > 0 {
		for _, other := range p.waiting {
			if other.memory.Trouble == 0 && !other.due.After(now) {
				w = other
				break
			}
		}
	}
	p.waiting.remove(w)
	return w
}

// expireHeld keeps deadlines while the relay must not be asked.
func (p *poller) expireHeld() {
	now := time.Now()
	var late []*watched
	p.mu.Lock()
	for _, w := range p.waiting {
		if !db.Terminal(w.task.Status) && w.task.Left <= now.Sub(w.read) {
			late = append(late, w)
		}
	}
	for _, w := range late {
		p.waiting.remove(w)
	}
	p.mu.Unlock()
	for _, w := range late {
		p.writer.add(p.settlement(w, expireUnasked(w.now(now), w.memory, "the relay could not be asked"), nil, now))
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
