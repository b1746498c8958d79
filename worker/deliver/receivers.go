package deliver

import (
	"context"
	"sync"
	"time"
)

// forgetAfter is how long an idle receiver is remembered.
const forgetAfter = 15 * time.Minute

// place names a receiver: an endpoint is alone on its host, callbacks have a key for
// each URL.
type place struct {
	host string
	key  uint64
}

// receivers are the places that webhooks go to, with a bound of requests at once
// and a breaker for each and for its host: one that is slow or dead delays no other.
type receivers struct {
	mu         sync.Mutex
	hosts      map[string]*host
	sending    sending
	waiting    int
	remembered int     // receivers
	queued     []*host // have a delivery to send, but no slot of the process is free
}

func newReceivers() *receivers { return &receivers{hosts: map[string]*host{}} }

// acquire returns a pass, perhaps after waiting for a slot, or a heldError, or
// ctx's error. Every pass must be given back with release or cancel.
func (rs *receivers) acquire(ctx context.Context, at place) (*pass, error) {
	rs.mu.Lock()
	now := time.Now()
	r := rs.at(at, now)
	switch {
	case r.shut(now), r.host.shut(now):
	case len(r.waiting) == 0 && rs.free(r, now):
		defer rs.mu.Unlock()
		return rs.take(r, now), nil
	case rs.room(r):
		t := &turn{granted: make(chan *pass, 1)}
		r.waiting = append(r.waiting, t)
		rs.countWaiting(r, 1)
		r.host.line(r, now)
		rs.grant(r.host)
		rs.mu.Unlock()
		return rs.await(ctx, r, t)
	}
	defer rs.mu.Unlock()
	return nil, r.holdBack(now)
}

// await waits for a turn.
func (rs *receivers) await(ctx context.Context, r *receiver, t *turn) (*pass, error) {
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	var p *pass
	decided := false
	select {
	case p = <-t.granted:
		decided = true
	case <-timer.C:
	case <-ctx.Done():
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if !decided {
		select {
		case p = <-t.granted: // at the last moment
		default:
			rs.drop(r, t)
		}
	}
	switch {
	case ctx.Err() == nil && p != nil:
		p.waited = true
		return p, nil
	case ctx.Err() == nil:
		return nil, r.holdBack(time.Now())
	case p != nil:
		rs.giveBack(p)
	}
	return nil, ctx.Err()
}

// connected notes that a request has reached its server: from now on it is for the
// receiver to answer. It returns true when that closed the host's breaker.
func (rs *receivers) connected(p *pass) (mended bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if p.released || !p.connected.IsZero() {
		return false
	}
	p.connected = time.Now()
	p.patience = time.AfterFunc(lateAfter, func() { rs.lookAt(p) })
	mended = p.receiver.host.reached()
	rs.advance(p.receiver.host)
	return mended
}

// lookAt sets a request apart whose answer is late, as soon as there is a slot for it,
// and later sends those away that wait for its receiver.
func (rs *receivers) lookAt(p *pass) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r, now := p.receiver, time.Now()
	h, waited := r.host, now.Sub(p.connected)
	switch {
	case p.released:
		return
	case p.late:
		if r.stuck(now) {
			rs.sendAway(r)
		}
		return
	case waited < h.lateIn():
		p.patience.Reset(min(lateAfter, h.lateIn()-waited)) // an answer may show meanwhile how quick they can be
		return
	case h.sending.late >= maxLateHost || rs.sending.late >= maxLate:
		p.patience.Reset(lateAfter)
		return
	}
	rs.count(p, -1)
	if p.late = true; r.sending.late == 0 {
		r.lateSince = now
	}
	rs.count(p, 1)
	if waited > lateFactor*r.latency { // else it always takes its time
		r.doubt()
		p.patience.Reset(stuckAfter)
	}
	if p.standing != proven {
		h.charge(p.begun, now)
	}
	rs.advance(h)
}

// cancel gives a pass back unused; one that was released already stays so.
func (rs *receivers) cancel(p *pass) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if !p.released {
		rs.giveBack(p)
	}
}

// release gives a pass back after a request. It returns true when a breaker opened
// or closed, that of the receiver or its host's.
func (rs *receivers) release(p *pass, seen reply) (changed bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r, h, now := p.receiver, p.receiver.host, time.Now()
	before, hostBefore := r.broken(), h.broken()
	if seen.answer != answerUnreached && p.connected.IsZero() {
		h.reached()
	}
	r.note(seen, now)
	h.note(seen, p, now)
	if now.Before(r.openUntil) {
		rs.sendAway(r)
	}
	if h.waiting > 0 && now.Before(h.openUntil) {
		for _, other := range h.receivers {
			rs.sendAway(other)
		}
	}
	rs.giveBack(p)
	return before != r.broken() || hostBefore != h.broken()
}

// sendAway tells those that wait for a receiver not to.
func (rs *receivers) sendAway(r *receiver) {
	for _, t := range r.waiting {
		t.granted <- nil
	}
	rs.countWaiting(r, -len(r.waiting))
	r.waiting = nil
}

// at returns the receiver at a place.
func (rs *receivers) at(p place, now time.Time) *receiver {
	h := rs.hosts[p.host]
	if h == nil {
		h = &host{receivers: map[uint64]*receiver{}, window: firstShare}
		rs.hosts[p.host] = h
	}
	r := h.receivers[p.key]
	if r == nil {
		if (len(h.receivers) >= maxReceivers || rs.remembered >= maxRemembered) && h.forgetOne() {
			rs.remembered--
		}
		r = h.add(p.key)
		rs.remembered++
	}
	r.used = now
	return r
}

// survey forgets receivers that were idle for long, and counts those whose breaker
// is open; a host that cannot be reached counts as one.
func (rs *receivers) survey() (open, sending int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	now := time.Now()
	rs.remembered = 0
	for name, h := range rs.hosts {
		open += h.survey(now)
		rs.remembered += len(h.receivers)
		if len(h.receivers) == 0 {
			delete(rs.hosts, name)
		}
	}
	return open, rs.sending.all()
}
