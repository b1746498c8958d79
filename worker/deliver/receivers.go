package deliver

import (
	"context"
	"sync"
	"time"
)

const (
	// Receivers whose last answer was a 2xx, and the others, leave some of them to
	// each other: neither those that never answer can take every slot, however many
	// they are, nor those that are slow.
	maxProven   = MaxSending * 9 / 10
	maxUnproven = MaxSending * 3 / 4
	// maxWaiting deliveries wait in memory for a slot of their receiver, for
	// maxWait; the others are brought back when their turn has come. More of them
	// where that is sooner than they would be brought back.
	maxWaiting     = 200
	maxWaitingFast = 1000
	maxWait        = 15 * time.Second
	// Those that wait keep jobs resident, whose number is bounded, too: receivers
	// without a 2xx must leave some to the others.
	maxWaitingInAll    = 5 * MaxSending / 2
	maxWaitingUnproven = MaxSending
	// forgetAfter is how long an idle receiver is remembered.
	forgetAfter = 15 * time.Minute
)

// receivers are the places that webhooks go to, with a bound of requests at once
// and a breaker for each: one that is slow or dead delays no other.
type receivers struct {
	mu      sync.Mutex
	byPlace map[string]*receiver
	sending sending
	waiting int
	queued  []*receiver // have a delivery to send, but no slot of the process is free
}

// sending counts requests on their way by what their receivers were then.
type sending struct{ proven, unproven int }

func (s sending) all() int { return s.proven + s.unproven }

// turn is a delivery that waits for a slot.
type turn struct {
	granted chan *pass // one value; nil: stay away
}

// pass is the right to send one request to a receiver.
type pass struct {
	receiver *receiver
	proven   bool // the receiver was, then
	probe    bool // the one request that an open breaker lets through
	released bool
	waited   bool // so that what was read before may be old
}

func newReceivers() *receivers { return &receivers{byPlace: map[string]*receiver{}} }

// acquire returns a pass, perhaps after waiting for a slot, or a heldError, or
// ctx's error. Every pass must be given back with release or cancel.
func (rs *receivers) acquire(ctx context.Context, place string) (*pass, error) {
	rs.mu.Lock()
	now := time.Now()
	r := rs.at(place, now)
	if now.Before(r.openUntil) || r.broken() && r.probing {
		defer rs.mu.Unlock()
		return nil, r.holdBack(now)
	}
	if rs.free(r) && len(r.waiting) == 0 {
		defer rs.mu.Unlock()
		return rs.take(r), nil
	}
	if !rs.room(r) {
		defer rs.mu.Unlock()
		return nil, r.holdBack(now)
	}
	t := &turn{granted: make(chan *pass, 1)}
	r.waiting = append(r.waiting, t)
	rs.waiting++
	rs.queueForSlot(r)
	rs.mu.Unlock()
	return rs.await(ctx, r, t)
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

// cancel gives a pass back unused; one that was released already stays so.
func (rs *receivers) cancel(p *pass) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if !p.released {
		rs.giveBack(p)
	}
}

// release gives a pass back after a request that took some time. slowDown, above
// 0, is how long the receiver wants to be left alone. It returns true when the
// breaker opened or closed.
func (rs *receivers) release(p *pass, a answer, took, slowDown time.Duration) (changed bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r, now := p.receiver, time.Now()
	before := r.broken()
	r.note(a, took)
	if a == answerBad {
		r.trip(now, slowDown)
	}
	if now.Before(r.openUntil) {
		for _, t := range r.waiting {
			t.granted <- nil
		}
		rs.waiting -= len(r.waiting)
		r.waiting = nil
	}
	rs.giveBack(p)
	return before != r.broken()
}

// room reports whether one more delivery may wait here. The first one always may,
// so that a receiver gets its turn however many others wait.
func (rs *receivers) room(r *receiver) bool {
	inAll := maxWaitingInAll
	if !r.proven {
		inAll = maxWaitingUnproven
	}
	here, turn := maxWaiting, r.turnIn(len(r.waiting))
	if r.proven && turn < minHold {
		here = maxWaitingFast
	}
	return len(r.waiting) == 0 || rs.waiting < inAll && len(r.waiting) < here && turn <= maxWait
}

// free reports whether a request may be sent now.
func (rs *receivers) free(r *receiver) bool {
	switch {
	case rs.sending.all() >= MaxSending:
		return false
	case r.broken():
		return !r.probing
	case r.sending >= r.window:
		return false
	case r.proven:
		return rs.sending.proven < maxProven
	}
	return rs.sending.unproven < maxUnproven
}

func (rs *receivers) take(r *receiver) *pass {
	p := &pass{receiver: r, proven: r.proven, probe: r.broken()}
	r.sending++
	rs.count(p, 1)
	r.probing = r.probing || p.probe
	return p
}

func (rs *receivers) count(p *pass, n int) {
	if p.proven {
		rs.sending.proven += n
	} else {
		rs.sending.unproven += n
	}
}

// giveBack frees the slot of a pass for those that wait.
func (rs *receivers) giveBack(p *pass) {
	r := p.receiver
	p.released = true
	r.probing = r.probing && !p.probe
	r.sending--
	rs.count(p, -1)
	r.used = time.Now()
	rs.advance(r)
}

// advance grants turns. The receiver that gives a slot back stands at the end of
// the line of all that lack only a slot of the process: else a slow one with a
// backlog would take its own slots again and again.
func (rs *receivers) advance(r *receiver) {
	rs.queueForSlot(r)
	for range len(rs.queued) {
		if rs.sending.all() >= MaxSending {
			return
		}
		s := rs.queued[0]
		rs.queued = rs.queued[1:]
		s.queued = false
		rs.grant(s)
	}
}

// grant gives a receiver's waiting deliveries what is free.
func (rs *receivers) grant(r *receiver) {
	for len(r.waiting) > 0 && rs.free(r) && !time.Now().Before(r.openUntil) {
		t := r.waiting[0]
		r.waiting = r.waiting[1:]
		rs.waiting--
		t.granted <- rs.take(r)
	}
	if len(r.waiting) == 0 && !r.broken() {
		r.busyUntil = r.openUntil // nobody is before those that come now
	}
	rs.queueForSlot(r)
}

// queueForSlot notes a receiver that could send if the process had a slot.
func (rs *receivers) queueForSlot(r *receiver) {
	if len(r.waiting) > 0 && !r.queued && (r.broken() || r.sending < r.window) {
		r.queued = true
		rs.queued = append(rs.queued, r)
	}
}

// drop takes a turn out of the line.
func (rs *receivers) drop(r *receiver, t *turn) {
	for i, other := range r.waiting {
		if other == t {
			rs.waiting--
			r.waiting = append(r.waiting[:i:i], r.waiting[i+1:]...)
			return
		}
	}
}

// at returns the receiver at a place; a new one is given the benefit of the doubt.
func (rs *receivers) at(place string, now time.Time) *receiver {
	r := rs.byPlace[place]
	if r == nil {
		r = &receiver{place: place, window: firstWindow, latency: guessedLatency}
		rs.byPlace[place] = r
	}
	r.used = now
	return r
}

// survey forgets receivers that were idle for long, and counts the breakers
// that are open.
func (rs *receivers) survey() (open, sending int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	now := time.Now()
	for place, r := range rs.byPlace {
		if r.sending == 0 && len(r.waiting) == 0 && now.Sub(r.used) > forgetAfter {
			delete(rs.byPlace, place)
			continue
		}
		if r.broken() {
			open++
		}
	}
	return open, rs.sending.all()
}
