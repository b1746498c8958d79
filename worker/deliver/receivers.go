package deliver

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// Receivers whose last answer was a 2xx, and the others, leave some of them to
	// each other: neither those that never answer can take every slot, however many
	// they are, nor those that are slow.
	maxProven   = MaxSending * 9 / 10
	maxUnproven = MaxSending * 3 / 4
	// Requests whose answer is late have slots of their own, and one host leaves some
	// of them to others.
	maxLate     = MaxLate
	maxLateHost = MaxLate * 4 / 5
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

// place names a receiver: an endpoint is alone on its host, callbacks have a key for
// each URL.
type place struct {
	host string
	key  uint64
}

// receivers are the places that webhooks go to, with a bound of requests at once
// and a breaker for each and for its host: one that is slow or dead delays no other.
type receivers struct {
	mu      sync.Mutex
	hosts   map[string]*host
	sending sending
	waiting int
	queued  []*host // have a delivery to send, but no slot of the process is free
}

// sending counts requests on their way by what their receivers were then; late are
// those whose answer should have come.
type sending struct{ proven, unproven, late int }

func (s *sending) all() int { return s.proven + s.unproven + s.late }

// timely counts those that may be answered any moment.
func (s *sending) timely() int { return s.proven + s.unproven }

func (s *sending) count(p *pass, n int) {
	switch {
	case p.late:
		s.late += n
	case p.proven:
		s.proven += n
	default:
		s.unproven += n
	}
}

// turn is a delivery that waits for a slot.
type turn struct {
	granted chan *pass // one value; nil: stay away
}

// pass is the right to send one request to a receiver.
type pass struct {
	receiver  *receiver
	proven    bool // the receiver was, then
	probe     bool // the one request that the open breaker of the receiver lets through
	hostProbe bool // the same of its host
	begun     time.Time
	connected time.Time   // zero: not yet
	patience  *time.Timer // from then on, until the answer is late
	late      bool
	released  bool
	waited    bool // so that what was read before may be old
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

// lookAt sets a request apart whose answer is late, as soon as there is a slot for it.
func (rs *receivers) lookAt(p *pass) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r, now := p.receiver, time.Now()
	h, waited := r.host, now.Sub(p.connected)
	switch {
	case p.released:
		return
	case waited < h.lateIn():
		p.patience.Reset(min(lateAfter, h.lateIn()-waited)) // an answer may show meanwhile how quick they can be
		return
	case h.sending.late >= maxLateHost || rs.sending.late >= maxLate:
		p.patience.Reset(lateAfter)
		return
	}
	rs.count(p, -1)
	p.late = true
	rs.count(p, 1)
	if waited > lateFactor*r.latency { // else it always takes its time
		r.doubt()
		rs.sendAway(r)
	}
	if !p.proven {
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
	if now.Before(h.openUntil) {
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

// room reports whether one more delivery may wait here. The first one of a host
// always may, so that it gets its turn however many others wait, and there is some
// room for the first ones of receivers alone.
func (rs *receivers) room(r *receiver) bool {
	if r.host.waiting == 0 {
		return true
	}
	if r.silent() {
		return false
	}
	if len(r.waiting) == 0 {
		return rs.waiting < maxWaitingInAll+maxLine && r.host.room(r.standing())
	}
	inAll := maxWaitingInAll
	if !r.proven {
		inAll = maxWaitingUnproven
	}
	here, turn := maxWaiting, r.turnIn(len(r.waiting))
	if r.proven && turn < minHold {
		here = maxWaitingFast
	}
	return rs.waiting < inAll && len(r.waiting) < here && turn <= maxWait
}

// free reports whether a request may be sent now.
func (rs *receivers) free(r *receiver, now time.Time) bool {
	return r.takes(now) && r.host.admits(r.standing(), now) && rs.slot(r.standing())
}

// slot reports whether the process has one for a receiver of this standing.
func (rs *receivers) slot(s standing) bool {
	switch {
	case rs.sending.timely() >= MaxSending:
		return false
	case s == standingProven:
		return rs.sending.proven < maxProven
	}
	return rs.sending.unproven < maxUnproven
}

func (rs *receivers) take(r *receiver, now time.Time) *pass {
	p := &pass{receiver: r, begun: now, proven: r.proven, probe: r.broken(), hostProbe: r.host.broken()}
	rs.count(p, 1)
	r.probing = r.probing || p.probe
	r.host.probing = r.host.probing || p.hostProbe
	return p
}

func (rs *receivers) count(p *pass, n int) {
	rs.sending.count(p, n)
	p.receiver.host.sending.count(p, n)
	p.receiver.sending.count(p, n)
}

func (rs *receivers) countWaiting(r *receiver, n int) {
	rs.waiting += n
	r.host.waiting += n
}

// giveBack frees the slot of a pass for those that wait.
func (rs *receivers) giveBack(p *pass) {
	r, now := p.receiver, time.Now()
	p.released = true
	if p.patience != nil {
		p.patience.Stop()
	}
	r.probing = r.probing && !p.probe
	r.host.probing = r.host.probing && !p.hostProbe
	rs.count(p, -1)
	r.used = now
	r.settle()
	r.host.line(r, now)
	rs.advance(r.host)
}

// advance grants turns. The host that has changed stands at the end of the line of
// all that lack only a slot of the process: else a slow one with a backlog would
// take its own slots again and again.
func (rs *receivers) advance(h *host) {
	rs.queue(h)
	for range len(rs.queued) {
		if rs.sending.timely() >= MaxSending {
			return
		}
		next := rs.queued[0]
		rs.queued = rs.queued[1:]
		next.queued = false
		rs.grant(next)
	}
}

func (rs *receivers) queue(h *host) {
	if !h.queued {
		h.queued = true
		rs.queued = append(rs.queued, h)
	}
}

// grant gives a host's waiting deliveries what is free, the proven receivers first,
// and one after the other.
func (rs *receivers) grant(h *host) {
	now := time.Now()
	for i := range h.lines {
		for s := standing(i); len(h.lines[s]) > 0 && h.admits(s, now); {
			if !rs.slot(s) {
				rs.queue(h)
				break
			}
			if r := h.next(s, now); r != nil {
				rs.grantTo(r, now)
				h.line(r, now)
			}
		}
	}
	h.settle()
	if !h.waking && now.Before(h.owes) && len(h.lines[standingUntried])+len(h.lines[standingFailing]) > 0 {
		h.waking = true
		time.AfterFunc(h.owes.Sub(now), func() { rs.wake(h) })
	}
}

// grantTo lets the first that waits for a receiver be sent.
func (rs *receivers) grantTo(r *receiver, now time.Time) {
	t := r.waiting[0]
	r.waiting = r.waiting[1:]
	rs.countWaiting(r, -1)
	t.granted <- rs.take(r, now)
	r.settle()
}

// wake goes on with a host that has waited after failures.
func (rs *receivers) wake(h *host) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	h.waking = false
	rs.advance(h)
}

// drop takes a turn out of the line.
func (rs *receivers) drop(r *receiver, t *turn) {
	if i := slices.Index(r.waiting, t); i >= 0 {
		r.waiting = slices.Concat(r.waiting[:i], r.waiting[i+1:])
		rs.countWaiting(r, -1)
	}
}

// at returns the receiver at a place.
func (rs *receivers) at(p place, now time.Time) *receiver {
	h := rs.hosts[p.host]
	if h == nil {
		h = &host{receivers: map[uint64]*receiver{}, window: firstShare}
		rs.hosts[p.host] = h
	}
	return h.at(p.key, now)
}

// survey forgets receivers that were idle for long, and counts those whose breaker
// is open; a host that cannot be reached counts as one.
func (rs *receivers) survey() (open, sending int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	now := time.Now()
	for name, h := range rs.hosts {
		open += h.survey(now)
		if len(h.receivers) == 0 {
			delete(rs.hosts, name)
		}
	}
	return open, rs.sending.all()
}
